"""MEI as verovio gives it: mended where it plays less than is written, and read as a list of bars.

Mended: editors' choices, signs that repeat a bar or a beat, one movement of several. Measures come
back in the order of the page with everything that decides in which order they are played.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from xml.etree import ElementTree

from arietta.errors import InputError

Element = ElementTree.Element
ID = "{http://www.w3.org/XML/1998/namespace}id"
_NAMESPACE = "http://www.music-encoding.org/ns/mei"
ElementTree.register_namespace("", _NAMESPACE)  # verovio reads no prefixes

_PREFERRED = {"choice": ("corr", "reg", "expan", "unclear"), "app": ("lem",), "subst": ("add",)}
_BAR_SIGNS = ("mRpt", "mRpt2", "multiRpt")
_COPIED = ("tie", "slur", "trill", "mordent", "turn", "fermata", "arpeg", "dynam", "hairpin")


def tag_of(element: Element) -> str:
    """Return the name of an element without its namespace."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def text_of(element: Element) -> str:
    """Return the words of an element, spaces made single."""
    return " ".join("".join(element.itertext()).split())


def movements(tree: Element) -> list[Element]:
    """Return the movements of a file."""
    return [e for e in tree.iter() if tag_of(e) == "mdiv" and any(tag_of(c) == "score" for c in e)]


def keep_movement(tree: Element, number: int) -> None:
    """Drop all movements but one, counted from 1.

    Raises:
        InputError: there are fewer.
    """
    listed = movements(tree)
    if number > max(len(listed), 1):
        raise InputError(f"`movement` {number}: the file has {max(len(listed), 1)}")
    for parent in list(tree.iter()):
        for child in list(parent):
            if child in listed and child is not listed[number - 1]:
                parent.remove(child)


def mend(tree: Element, bars_back: dict[int, int] | None = None) -> bool:
    """Write out what verovio does not play.

    Args:
        tree: changed in place.
        bars_back: which bar before a bar its sign repeats, where the sign does not say.

    Returns:
        Whether anything was changed.
    """
    changed = _choose(tree)
    measures = [e for e in tree.iter() if tag_of(e) == "measure"]
    names = (f"copied-{number}" for number in count(1))
    for at, measure in enumerate(measures):
        for staff in (e for e in measure if tag_of(e) == "staff"):
            for layer in [e for e in staff if tag_of(e) == "layer"]:
                signs = [e for e in layer if tag_of(e) in _BAR_SIGNS]
                if signs:
                    back = (bars_back or {}).get(at, 1)
                    if tag_of(signs[0]) == "mRpt2":
                        back = 2
                        _follow(measures, at, staff)
                    elif tag_of(signs[0]) == "multiRpt":
                        given = signs[0].get("num", "1")
                        back = int(given) if given.isdecimal() else 1
                    if at >= back and _copy_bar(measures[at - back], measure, staff, names):
                        changed = True
            changed |= _repeat_beats(staff, names)
    return changed


def _choose(tree: Element) -> bool:
    """Put the preferred reading in place of every choice."""
    changed = False
    for parent in list(tree.iter()):
        for child in list(parent):
            wanted = _PREFERRED.get(tag_of(child))
            if wanted is None or not len(child):
                continue
            readings = {tag_of(reading): reading for reading in reversed(list(child))}
            best = next((readings[name] for name in wanted if name in readings), child[0])
            place = list(parent).index(child)
            parent.remove(child)
            for number, element in enumerate(best):
                parent.insert(place + number, element)
            changed = True
    # A reading may itself hold a choice.
    return changed and (_choose(tree) or True)


def _staff_of(measure: Element, number: str | None) -> Element | None:
    return next((e for e in measure if tag_of(e) == "staff" and e.get("n") == number), None)


def _follow(measures: list[Element], at: int, staff: Element) -> None:
    """Give the second bar of a two-bar sign a sign of its own, where it holds nothing."""
    if at + 1 >= len(measures):
        return
    other = _staff_of(measures[at + 1], staff.get("n"))
    for layer in other if other is not None else ():
        if tag_of(layer) == "layer" and all(
            tag_of(e) in ("mSpace", "space", "mRest", "mRpt2") for e in layer
        ):
            layer[:] = [ElementTree.Element(f"{{{_NAMESPACE}}}multiRpt", {"num": "2"})]


def _copy_bar(source: Element, measure: Element, staff: Element, names: Iterator[str]) -> bool:
    """Fill a staff with the music of the same staff in another bar."""
    original = _staff_of(source, staff.get("n"))
    if original is None:
        return False
    ids: dict[str, str] = {}
    for layer in [e for e in staff if tag_of(e) == "layer"]:
        staff.remove(layer)
    for layer in [e for e in original if tag_of(e) == "layer"]:
        staff.append(_renamed(layer, ids, names))
    for event in [e for e in source if tag_of(e) in _COPIED]:
        start, end = event.get("startid", "#")[1:], event.get("endid", "#")[1:]
        if start in ids and (not end or end in ids):
            extra = _renamed(event, {}, names)
            extra.set("startid", f"#{ids[start]}")
            if end:
                extra.set("endid", f"#{ids[end]}")
            measure.append(extra)
        elif tag_of(event) == "arpeg" and event.get("plist"):
            parts = [p[1:] for p in event.get("plist", "").split()]
            if all(p in ids for p in parts):
                extra = _renamed(event, {}, names)
                extra.set("plist", " ".join(f"#{ids[p]}" for p in parts))
                measure.append(extra)
    return True


def _renamed(element: Element, ids: dict[str, str], names: Iterator[str]) -> Element:
    """Return a copy whose elements have names of their own."""
    found = copy.deepcopy(element)
    for item in found.iter():
        old, new = item.get(ID), next(names)
        if old:
            ids[old] = new
        item.set(ID, new)
    return found


def _repeat_beats(staff: Element, names: Iterator[str]) -> bool:
    """Write out signs that repeat the beat (or the half bar) before them."""
    changed = False
    for layer in (e for e in staff if tag_of(e) == "layer"):
        for element in list(layer):
            if tag_of(element) in ("beatRpt", "halfmRpt"):
                place = list(layer).index(element)
                if place:
                    layer[place] = _renamed(layer[place - 1], {}, names)
                    changed = True
    return changed


# ---- structure ---------------------------------------------------------------------------------


@dataclass
class Measure:
    """A bar of the page.

    Attributes:
        element: its MEI.
        meter: beats and kind of beat that hold.
        sharps, minor: the key that holds.
        left, right: whether a repeat begins, ends here.
        ending: numbers of the passes it is played in; empty outside endings.
        ending_group: which bracket of endings it belongs to; -1 outside.
        times: how often a repeat that ends here is played.
        marks: ``segno``, ``coda``, ``tocoda``, ``early tocoda`` (before its music), ``fine``,
            ``dacapo``, ``dalsegno``, ``al fine``.
    """

    element: Element
    meter: tuple[int, int] = (4, 4)
    sharps: int = 0
    minor: bool = False
    left: bool = False
    right: bool = False
    ending: frozenset[int] = frozenset()
    ending_group: int = -1
    times: int = 2
    marks: set[str] = field(default_factory=set)


_WORDS = (
    (re.compile(r"\bd\.? ?c\.?(?![a-z])|\bda capo\b"), "dacapo"),
    (re.compile(r"\bd\.? ?s\.?(?![a-z])|\bdal segno\b"), "dalsegno"),
    (re.compile(r"\bto coda\b|\balla coda\b"), "tocoda"),
    (re.compile(r"^fine\.?$"), "fine"),
    (re.compile(r"^segno$|^𝄋$|^\ue047$"), "segno"),
    (re.compile(r"^coda$|^𝄌$|^\ue048$"), "coda"),
)
_NAMED = {
    "daCapo": "dacapo",
    "dalSegno": "dalsegno",
    "segno": "segno",
    "coda": "coda",
    "fine": "fine",
    "tocoda": "tocoda",
    "dacapo": "dacapo",
    "dalsegno": "dalsegno",
}


def measures_of(tree: Element, times: dict[int, int]) -> list[Measure]:
    """Return all bars in the order of the page."""
    found: list[Measure] = []
    state = Measure(tree)

    def visit(element: Element, ending: frozenset[int], group: int) -> None:
        for child in element:
            name = tag_of(child)
            if name in ("scoreDef", "staffDef"):
                _definitions(child, state)
            elif name == "measure":
                found.append(_measure(child, state, ending, group, times.get(len(found), 2)))
                for inside in child.iter():
                    if tag_of(inside) in ("meterSig", "keySig", "scoreDef", "staffDef"):
                        _definitions(inside, state)
            elif name == "ending":
                group = group if _after_ending(found, group) else len(found)
                visit(child, _numbers(child.get("n", ""), found, group), group)
            elif name not in ("expansion", "pgHead", "pgFoot"):
                visit(child, ending, group if ending else -1)

    visit(tree, frozenset(), -1)
    coda = [m for m in found if "coda" in m.marks]
    if len(coda) > 1 and not any(m.marks & {"tocoda", "early tocoda"} for m in found):
        coda[0].marks.discard("coda")  # the same sign stands where one leaves
        coda[0].marks.add("tocoda")
    return found


def _after_ending(found: list[Measure], group: int) -> bool:
    return bool(found) and group >= 0 and found[-1].ending_group == group


def _numbers(text: str, found: list[Measure], group: int) -> frozenset[int]:
    """``1, 2`` or ``1-3`` as numbers; the next free one where none is given."""
    numbers: set[int] = set()
    for first, last in re.findall(r"(\d+)(?:\s*-\s*(\d+))?", text):
        numbers |= set(range(int(first), min(int(last or first), int(first) + 64) + 1))
    if not numbers:
        numbers = {max((max(m.ending) for m in found if m.ending_group == group), default=0) + 1}
    return frozenset(numbers)


def _definitions(element: Element, state: Measure) -> None:
    """Keep the metre and the key that a definition gives."""
    for item in element.iter():
        name = tag_of(item)
        beats = item.get("meter.count") or (item.get("count") if name == "meterSig" else None)
        unit = item.get("meter.unit") or (item.get("unit") if name == "meterSig" else None)
        if beats and unit and unit.isdecimal() and int(unit):
            parts = [int(x) for x in re.findall(r"\d+", beats)]
            if sum(parts):
                state.meter = (sum(parts), int(unit))
        elif (item.get("meter.sym") or (item.get("sym") if name == "meterSig" else None)) == "cut":
            state.meter = (2, 2)
        key = item.get("keysig") or item.get("key.sig")
        key = key or (item.get("sig") if name == "keySig" else None)
        if key and (match := re.fullmatch(r"(\d)([sf]?)", key)) and int(match[1]) <= 7:
            state.sharps = int(match[1]) * (-1 if match[2] == "f" else 1)
            state.minor = (item.get("mode") or item.get("key.mode")) == "minor"


def _measure(
    element: Element, state: Measure, ending: frozenset[int], group: int, times: int
) -> Measure:
    left, right = element.get("left", ""), element.get("right", "")
    found = Measure(
        element,
        state.meter,
        state.sharps,
        state.minor,
        left in ("rptstart", "rptboth"),
        right in ("rptend", "rptboth"),
        ending,
        group if ending else -1,
        times,
    )
    for first in element:  # a change of metre or key at the beginning of the bar is its own
        if tag_of(first) == "staff":
            for layer in first:
                for item in layer:
                    if tag_of(item) not in ("meterSig", "keySig", "clef"):
                        break
                    probe = Measure(element, found.meter, found.sharps, found.minor)
                    _definitions(item, probe)
                    found.meter, found.sharps, found.minor = probe.meter, probe.sharps, probe.minor
    for event in element:
        name = tag_of(event)
        if name not in ("repeatMark", "dir", "tempo"):
            continue
        words = text_of(event).lower()
        named = _NAMED.get(event.get("func", "")) or _NAMED.get(event.get("type", ""))
        marks = {named} if named else {mark for pattern, mark in _WORDS if pattern.search(words)}
        if marks & {"dacapo", "dalsegno"}:
            marks -= {"tocoda", "coda", "segno"}
            if "fine" in words:
                marks.add("al fine")
            marks.discard("fine")
        if "tocoda" in marks:
            marks.discard("coda")
            if event.get("tstamp", "9") in ("0", "1", "1.0") and name == "repeatMark":
                marks = {"early tocoda"}
        found.marks |= marks
    return found


_MAX_BARS = 20_000


def play_order(measures: list[Measure]) -> list[int]:
    """Return indices of the bars in the order in which they are played."""
    order: list[int] = []
    at, start, turn = 0, 0, 1
    done: set[int] = set()
    al_fine = False
    n = len(measures)
    while at < n and len(order) < _MAX_BARS:
        bar = measures[at]
        jumped = bool(done)
        if bar.left and at != start:
            start, turn = at, 1
        if bar.ending:
            group = [m for m in measures if m.ending_group == bar.ending_group]
            last = max(max(m.ending) for m in group)
            wanted = last if jumped else min(turn, last)
            if wanted not in bar.ending:
                at += 1
                continue
        elif order and turn > 1 and measures[order[-1]].ending and at == order[-1] + 1:
            start, turn = at, 1
        if jumped and "early tocoda" in bar.marks and not al_fine and (to := _coda(measures, at)):
            at = to
            continue
        order.append(at)
        if jumped and "fine" in bar.marks:
            break
        if jumped and "tocoda" in bar.marks and not al_fine and (to := _coda(measures, at)):
            at = to
            continue
        if bar.right and not jumped:
            total = bar.times
            if bar.ending:
                total = max(max(m.ending) for m in group)
                if total == max(bar.ending) and len({m.ending for m in group}) == 1:
                    total += 1  # a first ending without a second
            if turn < total:
                turn += 1
                at = start
                continue
            start, turn = at + 1, 1
        jump = bar.marks & {"dacapo", "dalsegno"}
        if jump and at not in done:
            done.add(at)
            al_fine = "al fine" in bar.marks
            segno = [i for i, m in enumerate(measures[: at + 1]) if "segno" in m.marks]
            at = segno[-1] if "dalsegno" in jump and segno else 0
            start, turn = at, 1
            continue
        at += 1
    return order


def _coda(measures: list[Measure], at: int) -> int | None:
    return next((i for i in range(at + 1, len(measures)) if "coda" in measures[i].marks), None)


def given_order(tree: Element, measures: list[Measure]) -> list[int] | None:
    """Return the order that an MEI file lists itself, if it does."""
    by_id = {e.get(ID): e for e in tree.iter() if e.get(ID)}
    number = {id(m.element): i for i, m in enumerate(measures)}
    expansion = next((e for e in tree.iter() if tag_of(e) == "expansion"), None)
    if expansion is None:
        return None

    def flat(element: Element, depth: int) -> Iterator[int]:
        if depth > 20:
            return
        name = tag_of(element)
        if name == "measure":
            yield number[id(element)]
        elif name == "expansion":
            for item in element.get("plist", "").split():
                target = by_id.get(item.lstrip("#"))
                if target is not None:
                    yield from flat(target, depth + 1)
        else:
            own = next((e for e in element if tag_of(e) == "expansion"), None)
            for child in [own] if own is not None else element:
                yield from flat(child, depth + 1)

    parent = next(e for e in tree.iter() if expansion in list(e))
    before: list[int] = []
    after: list[int] = []
    inside = {number[id(m)] for m in parent.iter() if id(m) in number}
    if inside:
        before = list(range(min(inside)))
        after = list(range(max(inside) + 1, len(measures)))
    order = list(flat(expansion, 0))[:_MAX_BARS]
    return before + order + after if order else None
