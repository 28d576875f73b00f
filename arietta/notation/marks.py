"""Dynamics and hairpins as a score writes them -> velocities."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np

from arietta.midi.piece import Piece

DYNAMICS = {
    "pppp": 12,
    "ppp": 20,
    "pp": 33,
    "p": 49,
    "mp": 64,
    "mf": 80,
    "f": 96,
    "ff": 112,
    "fff": 124,
    "ffff": 127,
}
"""Velocities of the written dynamics, as common notation programs play them."""


_ID = "{http://www.w3.org/XML/1998/namespace}id"


_HAIRPIN = 16  # velocity steps, where no dynamic is written at its end


class Mark(NamedTuple):
    """A dynamic, or a hairpin towards ``change``; quarters from the beginning as performed."""

    start: float
    end: float
    level: int
    change: int


def with_dynamics(piece: Piece, found: Iterable[Mark]) -> Piece:
    """The piece with velocities from the written dynamics; as it is where there are none."""
    marks = sorted(found, key=lambda mark: mark.start)
    levels = [mark for mark in marks if mark.level]
    if not levels:
        return piece
    quarter = piece.notes.onset_tick / piece.tempo.division
    starts = np.array([mark.start for mark in levels])
    at = np.searchsorted(starts, quarter + 1e-3, side="right") - 1
    # Before the first mark the first one's level holds.
    velocity = np.array([mark.level for mark in levels], np.float64)[np.maximum(at, 0)]
    for mark in marks:
        if not mark.change or mark.end <= mark.start:
            continue
        inside = (quarter >= mark.start - 1e-3) & (quarter < mark.end - 1e-3)
        level = velocity[inside][:1]
        if not len(level):
            continue
        near = [m.level for m in levels if -0.5 <= m.start - mark.end <= 1.0]
        target = near[0] if near else float(level[0]) + mark.change * _HAIRPIN
        share = (quarter[inside] - mark.start) / (mark.end - mark.start)
        velocity[inside] += share * (target - level[0])
        if not near:  # what was reached holds until the next mark
            after = [m.start for m in levels if m.start > mark.end]
            until = after[0] if after else np.inf
            rest = (quarter >= mark.end - 1e-3) & (quarter < until - 1e-3)
            velocity[rest] = target
    column = np.clip(np.rint(velocity), 1, 127).astype(np.uint8)
    return replace(piece, notes=replace(piece.notes, velocity=column))


def marks_of(tree: ElementTree.Element, moments: Iterable[Mapping[str, Any]]) -> Iterator[Mark]:
    """The dynamics of a score wherever its measures are performed."""
    starts: dict[str, list[float]] = {}
    for moment in moments:
        if "measureOn" in moment:
            starts.setdefault(written_id(moment["measureOn"]), []).append(float(moment["qstamp"]))
    unit = 4
    measures: list[tuple[str, ElementTree.Element, int]] = []
    for element in tree.iter():
        tag = element.tag.rpartition("}")[2]
        given = element.get("meter.unit") or (element.get("unit") if tag == "meterSig" else None)
        unit = int(given) if given and given.isdecimal() and int(given) else unit
        if tag == "measure":
            name = element.get(_ID, "")
            measures.append((name, element, unit))
    for number, (name, measure, unit) in enumerate(measures):
        for element in measure:
            tag = element.tag.rpartition("}")[2]
            text = "".join(element.itertext()).strip()
            if tag == "dynam" and text in DYNAMICS:
                level, change = DYNAMICS[text], 0
            elif tag == "hairpin":
                level, change = 0, -1 if element.get("form") == "dim" else 1
            else:
                continue
            inside = _beat(element.get("tstamp")) * 4 / unit
            bars, _, beat = element.get("tstamp2", "").rpartition("m+")
            further = int(bars) if bars.isdecimal() else 0
            last, _, last_unit = measures[min(number + further, len(measures) - 1)]
            for k, start in enumerate(starts.get(name, ())):
                ends = starts.get(last, [])
                end = ends[min(k, len(ends) - 1)] if ends else start
                yield Mark(start + inside, end + _beat(beat) * 4 / last_unit, level, change)


def written_id(name: str) -> str:
    """The id in the score of what is performed under this id: repeats have ids of their own."""
    return name.split("-rend")[0]


def _beat(text: str | None) -> float:
    """Beats from the beginning of a measure of a time stamp, which counts from 1."""
    try:
        return max(float(text or 1) - 1, 0.0)
    except ValueError:
        return 0.0
