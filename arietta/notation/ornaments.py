"""Trills, mordents and turns played out, which verovio leaves to the reader.

A trill begins on the written note and alternates with the one above in the key (or under the
accidental over its sign), about twelve keys a second whatever the tempo; a mordent touches the one
below (above when inverted); a turn goes above, through, below and back, after its note where it
stands behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from arietta.notation.mei import Element, tag_of
from arietta.notation.timeline import SheetNote, Timeline

_STEPS, _MAJOR = "cdefgab", (0, 2, 4, 5, 7, 9, 11)
_FIFTHS = (3, 0, 4, 1, 5, 2, 6)
"""Places of F C G D A E B in ``_STEPS``."""
_TRILL_RATE = 12.5
"""Keys a second; pianists play 9 to 14, in slow and in fast music."""

_SHORT_SECONDS = 0.085
"""Of a note of a mordent or a turn, where there is room."""

_ALTERS = {"s": 1, "f": -1, "n": 0, "ss": 2, "x": 2, "ff": -2}


class Sign(NamedTuple):
    """An ornament over a note.

    Attributes:
        kind: ``trill``, ``mordent``, ``inverted mordent``, ``turn`` or ``inverted turn``.
        upper, lower: accidentals over and under the sign, as MEI writes them.
        delayed: it comes at the end of the note.
    """

    kind: str
    upper: str = ""
    lower: str = ""
    delayed: bool = False


def signs_of(tree: Element) -> dict[str, Sign]:
    """Return id of a note or chord -> its ornament."""
    found: dict[str, Sign] = {}
    for element in tree.iter():
        kind = tag_of(element)
        if kind in ("trill", "mordent", "turn") and element.get("startid"):
            usual = {"trill": "", "mordent": "lower", "turn": "upper"}[kind]
            inverted = bool(usual) and element.get("form", usual) != usual
            found[element.get("startid", "")[1:]] = Sign(
                f"inverted {kind}" if inverted else kind,
                element.get("accidupper", ""),
                element.get("accidlower", ""),
                element.get("delayed") == "true",
            )
    return found


def play_out(
    line: Timeline, signs: dict[str, Sign], seconds: Callable[[float, float], float]
) -> Iterator[tuple[SheetNote, bool]]:
    """Return all strokes, those with an ornament replaced by its notes.

    Args:
        line: the score as played.
        signs: see ``signs_of``.
        seconds: time between two places, in quarters.

    Yields:
        A stroke, and whether it belongs to an ornament.
    """
    tops = _tops(line.notes)
    for note in line.notes:
        sign = signs.get(note.name)
        if sign is None and note.owner is not note.element and id(note) in tops:
            sign = signs.get(_name(note.owner))
        parts = _parts(note, sign, line, seconds) if sign and not note.grace else []
        if parts:
            for part in parts:
                yield part, True
        else:
            yield note, False


def _name(element: Element) -> str:
    return element.get("{http://www.w3.org/XML/1998/namespace}id", "")


def _tops(notes: Iterable[SheetNote]) -> set[int]:
    """Return the highest stroke of every chord: an ornament over a chord is its."""
    best: dict[tuple[int, int], SheetNote] = {}
    for note in notes:
        key = (id(note.owner), note.bar)
        if key not in best or best[key].pitch < note.pitch:
            best[key] = note
    return {id(note) for note in best.values()}


def _parts(
    note: SheetNote, sign: Sign, line: Timeline, seconds: Callable[[float, float], float]
) -> list[SheetNote]:
    """Return the notes of an ornament; none where there is no room."""
    main = note.pitch
    sharps = line.measures[line.bars[note.bar].measure].sharps
    above, below = (
        _neighbour(note, sharps, side, accidental)
        for side, accidental in ((1, sign.upper), (-1, sign.lower))
    )
    length = note.offset - note.onset
    time = seconds(note.onset, note.offset)
    if length <= 0 or time <= 0:
        return []
    if sign.kind == "trill":
        count = max(2 * round((time * _TRILL_RATE - 1) / 2) + 1, 3)
        if sign.lower and not sign.upper:
            above = below
        pitches = [above if number % 2 else main for number in range(count)]
        starts = [note.onset + length * number / count for number in range(count)]
    else:
        inverted = sign.kind.startswith("inverted")
        if sign.kind.endswith("mordent"):
            pitches = [main, above if inverted else below, main]
        else:
            first, last = (below, above) if inverted else (above, below)
            pitches = [first, main, last, main]
        # As fast as a hand, but never more than half of a note that is held afterwards.
        share = 0.5 if len(pitches) == 3 or sign.delayed else 0.9
        short = min(_SHORT_SECONDS / time * length, length * share / len(pitches))
        if sign.delayed:
            begin = note.offset - short * len(pitches)
            starts = [note.onset] + [begin + short * number for number in range(len(pitches))]
            pitches = [main, *pitches]
        else:
            starts = [note.onset + short * number for number in range(len(pitches))]
    if not all(0 <= pitch < 128 for pitch in pitches):
        return []
    return [
        replace(note, onset=start, offset=end, pitch=pitch)
        for (start, end), pitch in zip(pairwise([*starts, note.offset]), pitches, strict=True)
    ]


def _neighbour(note: SheetNote, sharps: int, side: int, accidental: str) -> int:
    """Return the pitch of the next step above (1) or below (-1), in the key or as marked."""
    step = _STEPS.find(note.element.get("pname") or "?")
    place = (step + side) % 7
    # The key raises F C G D A E B in this order, or lowers them in the other.
    order = _FIFTHS.index(place)
    in_key = (sharps + 6 - order) // 7
    pitch_class = _MAJOR[place] + _ALTERS.get(accidental, in_key)
    distance = (pitch_class - note.pitch) * side % 12
    if step >= 0 and 1 <= distance <= 4:
        return note.pitch + side * distance
    scale = {(degree + 7 * sharps) % 12 for degree in _MAJOR}
    return next(p for k in range(1, 4) if (p := note.pitch + side * k) % 12 in scale)
