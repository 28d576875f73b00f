"""The notes of a score in the order in which they are played, each with what stands over it.

Verovio says when the notes of every bar begin and end on the page, and at which pitch; the bars are
put in the order of the repeats here, ties joined where both ends are played, tremolos written out.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from arietta.notation.mei import ID, Element, Measure, tag_of

_SAME = 0.02  # quarters; grid positions are rounded


@dataclass
class PlayedBar:
    """One time that a bar is played.

    Attributes:
        measure: index of the bar on the page.
        start, length: in quarters as played.
    """

    measure: int
    start: float
    length: float


@dataclass
class SheetNote:
    """One key stroke as the score asks for it.

    Attributes:
        name: id of its MEI element.
        bar: which ``PlayedBar``.
        onset, offset: quarters as played.
        pitch: MIDI.
        staff: number of its staff on the page, from 1.
        layer: its voice in the staff.
        element: its MEI.
        owner: the chord that it belongs to, or itself.
        grace: a grace note.
        tremolo: the tremolo that it belongs to.
    """

    name: str
    bar: int
    onset: float
    offset: float
    pitch: int
    staff: int
    layer: str
    element: Element
    owner: Element
    grace: bool
    tremolo: Element | None = None


@dataclass
class Timeline:
    """A score as played.

    Attributes:
        measures: on the page.
        bars: as played.
        notes: as played, by bar.
        by_name: id of a note or chord -> its strokes, as played.
        rests: (bar, id of a rest) -> where it begins and ends, in quarters.
        staffs: number of a staff -> (name of its part, which part, place in the part, staves of
            the part).
        cues: notes left out because they are another's.
    """

    measures: Sequence[Measure]
    bars: list[PlayedBar]
    notes: list[SheetNote]
    by_name: dict[str, list[SheetNote]] = field(default_factory=dict)
    rests: dict[tuple[int, str], tuple[float, float]] = field(default_factory=dict)
    staffs: dict[int, tuple[str, int, int, int]] = field(default_factory=dict)
    cues: int = 0


@dataclass
class _WrittenNote:
    element: Element
    measure: int
    staff: int
    layer: str
    owner: Element
    grace: bool
    tremolo: Element | None


def timeline(
    tree: Element, measures: Sequence[Measure], order: Sequence[int], toolkit: Any
) -> Timeline:
    """Put the bars in the order of ``order``.

    Args:
        tree: the MEI of the score that the toolkit holds.
        measures: its bars.
        order: indices of bars as played.
        toolkit: verovio, loaded without unfolding repeats.
    """
    moments = toolkit.renderToTimemap({"includeMeasures": True, "includeRests": True})
    moments = json.loads(moments) if isinstance(moments, str) else moments
    starts, ons, offs, rests, end = _moments(moments)
    listed = {m.element.get(ID, ""): i for i, m in enumerate(measures)}
    start = [starts.get(m.element.get(ID, ""), None) for m in measures]
    begins = _filled(start, end)
    lengths = [b - a for a, b in zip(begins, [*begins[1:], end], strict=True)]
    if lengths and lengths[-1] <= 0:
        beats, unit = measures[-1].meter
        lengths[-1] = beats * 4 / unit
    found = Timeline(measures, [], [])
    page: list[list[SheetNote]] = [[] for _ in measures]
    for written in _written_notes(tree, listed, found):
        name = written.element.get(ID, "")
        if name not in ons:
            continue
        values = toolkit.getMIDIValuesForElement(name)
        values = json.loads(values) if isinstance(values, str) else values
        if "pitch" not in values or not 0 <= int(values["pitch"]) < 128:
            continue
        at = ons[name] - begins[written.measure]
        until = max(offs.get(name, ons[name]) - begins[written.measure], at)
        stroke = SheetNote(
            name,
            -1,
            at,
            until,
            int(values["pitch"]),
            written.staff,
            written.layer,
            written.element,
            written.owner,
            written.grace,
            written.tremolo,
        )
        page[written.measure].append(stroke)
    page = [_tremolos(here) for here in page]
    quiet: list[list[tuple[str, float, float]]] = [[] for _ in measures]
    for name, (a, b) in rests.items():
        index = max(bisect_right(begins, a + _SAME) - 1, 0)
        quiet[index].append((name, a - begins[index], b - begins[index]))
    now = 0.0
    for number, measure in enumerate(order):
        found.bars.append(PlayedBar(measure, now, lengths[measure]))
        for note in page[measure]:
            found.notes.append(
                replace(note, bar=number, onset=note.onset + now, offset=note.offset + now)
            )
        found.rests |= {(number, name): (a + now, b + now) for name, a, b in quiet[measure]}
        now += lengths[measure]
    _join_ties(tree, found)
    for note in found.notes:
        found.by_name.setdefault(note.name, []).append(note)
        chord = note.owner.get(ID, "")
        if note.owner is not note.element and chord:
            found.by_name.setdefault(chord, []).append(note)
    found.staffs = staffs_of(tree)
    return found


def _moments(
    moments: Sequence[Mapping[str, Any]],
) -> tuple[
    dict[str, float], dict[str, float], dict[str, float], dict[str, tuple[float, float]], float
]:
    """Return when bars begin, when notes begin and end, the spans of rests, and the end."""
    starts: dict[str, float] = {}
    rests: dict[str, tuple[float, float]] = {}
    ons: dict[str, float] = {}
    offs: dict[str, float] = {}
    end = 0.0
    for moment in moments:
        quarter = float(moment["qstamp"])
        end = max(end, quarter)
        if "measureOn" in moment:
            starts.setdefault(moment["measureOn"], quarter)
        for name in moment.get("on", ()):
            ons.setdefault(name, quarter)
        for name in moment.get("off", ()):
            offs[name] = quarter
        for name in moment.get("restsOn", ()):
            rests.setdefault(name, (quarter, quarter))
        for name in moment.get("restsOff", ()):
            rests[name] = (rests.get(name, (quarter, quarter))[0], quarter)
    return starts, ons, offs, rests, end


def _filled(start: Sequence[float | None], end: float) -> list[float]:
    """Return beginnings of all bars; one that verovio does not name begins with the next."""
    found: list[float] = []
    following = end
    for value in reversed(start):
        following = value if value is not None else following
        found.append(following)
    return found[::-1]


def _written_notes(
    tree: Element, listed: Mapping[str, int], found: Timeline
) -> Iterator[_WrittenNote]:
    """Return every note of the page."""
    for measure in tree.iter():
        if tag_of(measure) != "measure" or measure.get(ID, "") not in listed:
            continue
        index = listed[measure.get(ID, "")]
        for staff in (e for e in measure if tag_of(e) == "staff"):
            for layer in (e for e in staff if tag_of(e) == "layer"):
                start = _WrittenNote(
                    layer, index, _number(staff.get("n")), layer.get("n", ""), layer, False, None
                )
                yield from _inside(start, layer.get("cue") == "true", found)


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 1


def _inside(outer: _WrittenNote, cue: bool, found: Timeline) -> Iterator[_WrittenNote]:
    """Return the notes inside an element."""
    for child in outer.element:
        name = tag_of(child)
        small = cue or child.get("cue") == "true"
        here = replace(outer, element=child)
        here.grace |= child.get("grace") is not None or name == "graceGrp"
        here.staff = _number(child.get("staff")) if child.get("staff") else outer.staff
        if name in ("bTrem", "fTrem"):
            here.tremolo = child
        if name == "chord" or (name == "note" and tag_of(outer.owner) != "chord"):
            here.owner = child
        if name != "note":
            yield from _inside(here, small, found)
        elif small:
            found.cues += 1
        else:
            yield here


def _unit(tremolo: Element) -> float:
    """Return quarters of one stroke of a tremolo."""
    given = tremolo.get("unitdur", "")
    if given.isdecimal() and int(given):
        return 4 / int(given)
    slashes = int(tremolo.get("beams", "0")) if tremolo.get("beams", "0").isdecimal() else 0
    flags = 0
    for inner in tremolo.iter():
        mod = inner.get("stem.mod", "")
        if mod[:1].isdecimal():
            slashes = max(slashes, int(mod[0]))
        dur = inner.get("dur", "")
        if tag_of(tremolo) == "bTrem" and dur.isdecimal() and int(dur) > 4:
            flags = max(flags, int(dur).bit_length() - 3)
    return float(0.5 ** ((slashes or 3) + flags))


def _tremolos(notes: list[SheetNote]) -> list[SheetNote]:
    """Return the notes of a bar with tremolos written out stroke by stroke."""
    groups: dict[int, list[SheetNote]] = {}
    out: list[SheetNote] = []
    for note in notes:
        if note.tremolo is not None and not note.grace:
            groups.setdefault(id(note.tremolo), []).append(note)
        else:
            out.append(note)
    for group in groups.values():
        tremolo = group[0].tremolo
        assert tremolo is not None
        unit = _unit(tremolo)
        start, end = min(n.onset for n in group), max(n.offset for n in group)
        moments = sorted({round(n.onset, 6) for n in group})
        two = tag_of(tremolo) == "fTrem" and len(moments) > 1
        turns = [[n for n in group if abs(n.onset - m) < 1e-5] for m in moments] if two else [group]
        count = min(max(round((end - start) / unit), len(turns)), 4096)
        step = (end - start) / count
        for number in range(count):
            for note in turns[number % len(turns)]:
                out.append(
                    replace(
                        note,
                        onset=start + number * step,
                        offset=start + (number + 1) * step,
                    )
                )
    return sorted(out, key=lambda note: note.onset)


def _join_ties(tree: Element, found: Timeline) -> None:
    """Make one stroke of tied notes where both are played one after the other."""
    tied: dict[str, str] = {}
    for element in tree.iter():
        if tag_of(element) == "tie" and element.get("startid"):
            tied[element.get("startid", "")[1:]] = element.get("endid", "")[1:]
    places: dict[tuple[int, str], SheetNote] = {}
    by_pitch: dict[tuple[int, int], list[SheetNote]] = {}
    for note in found.notes:
        places.setdefault((note.bar, note.name), note)
        by_pitch.setdefault((note.bar, note.pitch), []).append(note)
    gone: set[int] = set()
    for note in reversed(found.notes):
        if note.name not in tied or id(note) in gone:
            continue
        following = None
        for bar in (note.bar, note.bar + 1):
            other = places.get((bar, tied[note.name]))
            if other is not None and abs(other.onset - note.offset) < _SAME:
                following = other
                break
        next_bar = note.bar + 1
        # A tie into a second ending is written from the note before the first alone.
        last = next_bar >= len(found.bars)
        if following is None and not last and found.measures[found.bars[next_bar].measure].ending:
            following = next(
                (
                    other
                    for other in by_pitch.get((next_bar, note.pitch), ())
                    if abs(other.onset - note.offset) < _SAME and other.staff == note.staff
                ),
                None,
            )
        if following is not None and following.pitch == note.pitch and id(following) not in gone:
            note.offset = max(note.offset, following.offset)
            gone.add(id(following))
    found.notes = [note for note in found.notes if id(note) not in gone]


def staffs_of(tree: Element) -> dict[int, tuple[str, int, int, int]]:
    """Return, by number of staff, name and number of its part, place in it, and its staves."""
    found: dict[int, tuple[str, int, int, int]] = {}
    part = 0

    def label(element: Element) -> str:
        given = next(("".join(e.itertext()).strip() for e in element if tag_of(e) == "label"), "")
        return given or element.get("label", "")

    def visit(group: Element, name: str) -> None:
        nonlocal part
        braced = group.get("symbol") == "brace" or any(
            tag_of(e) == "grpSym" and e.get("symbol") == "brace" for e in group
        )
        staves = [e for e in group if tag_of(e) == "staffDef"]
        name = label(group) or name
        for place, staff in enumerate(staves):
            number = staff.get("n", "")
            if number.isdecimal() and int(number) not in found:
                if braced:
                    found[int(number)] = (name or label(staff), part, place, len(staves))
                else:
                    found[int(number)] = (label(staff) or name, part, 0, 1)
                    part += 1
        part += bool(braced and staves)
        for child in group:
            if tag_of(child) == "staffGrp":
                visit(child, name)

    for element in tree.iter():
        if tag_of(element) == "scoreDef":
            for group in element:
                if tag_of(group) == "staffGrp":
                    visit(group, "")
    return found
