"""Trills, mordents and turns played out, which verovio leaves to the reader.

Short notes of an eighth of a quarter, as common notation programs have them. A trill begins on the
written note and alternates with the one above in the key; a mordent touches the one below (above
when inverted); a turn goes above, through, below and back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from arietta.midi.notes import NoteTable
from arietta.midi.piece import Piece

_MAJOR = (0, 2, 4, 5, 7, 9, 11)
_SHORT = 8  # short notes a quarter
_MIN_TRILL = 4


class Ornament(NamedTuple):
    """A sign over a note.

    Attributes:
        quarter: when the note begins, quarters as performed.
        pitch: of the written note.
        kind: ``trill``, ``mordent``, ``inverted mordent``, ``turn`` or ``inverted turn``.
    """

    quarter: float
    pitch: int
    kind: str


def play_out(piece: Piece, ornaments: list[Ornament]) -> Piece:
    """The piece with short notes for every ornament whose note it has; the rest is unchanged."""
    notes = piece.notes
    division = piece.tempo.division
    rows = {
        (int(tick), int(pitch)): row
        for row, (tick, pitch) in enumerate(zip(notes.onset_tick, notes.pitch, strict=True))
    }
    instead: dict[int, list[tuple[int, int, int]]] = {}
    for ornament in ornaments:
        tick = round(ornament.quarter * division)
        near = ((tick + d, ornament.pitch) for d in (0, -1, 1))  # rounded to a tick
        row = next((rows[key] for key in near if key in rows), None)
        if row is None:
            continue
        start, end = int(notes.onset_tick[row]), int(notes.offset_tick[row])
        pitches = list(_pitches(ornament, piece, start, (end - start) * _SHORT // division))
        if not pitches or not all(0 <= pitch < 128 for pitch in pitches):
            continue
        short = max(min(division // _SHORT, (end - start) // len(pitches)), 1)
        ticks = [start + short * i for i in range(len(pitches))] + [end]
        if ticks[-2] < end:
            instead[row] = [(a, b, p) for (a, b), p in zip(pairwise(ticks), pitches, strict=True)]
    return replace(piece, notes=_replaced(notes, instead)) if instead else piece


def _pitches(ornament: Ornament, piece: Piece, tick: int, room: int) -> Iterator[int]:
    """What is played; the last one lasts to the end of the note."""
    main = ornament.pitch
    above, below = _neighbours(piece, tick, main)
    if ornament.kind == "trill":
        for number in range(max(room, _MIN_TRILL) // 2 * 2 + 1):
            yield above if number % 2 else main
    elif ornament.kind.endswith("mordent"):
        yield from (main, above if ornament.kind.startswith("inverted") else below, main)
    elif ornament.kind == "turn":
        yield from (above, main, below, main)
    elif ornament.kind == "inverted turn":
        yield from (below, main, above, main)


def _neighbours(piece: Piece, tick: int, pitch: int) -> tuple[int, int]:
    """The next pitches above and below in the key that holds."""
    sharps = next((s for at, s, _ in reversed(piece.key_signatures) if at <= tick), 0)
    scale = {(degree + 7 * sharps) % 12 for degree in _MAJOR}
    above = next(p for p in range(pitch + 1, pitch + 4) if p % 12 in scale)
    below = next(p for p in range(pitch - 1, pitch - 4, -1) if p % 12 in scale)
    return above, below


def _replaced(notes: NoteTable, instead: Mapping[int, list[tuple[int, int, int]]]) -> NoteTable:
    """The table with some rows replaced by several."""
    copies = np.ones(len(notes), np.int64)
    for row, parts in instead.items():
        copies[row] = len(parts)
    first = np.cumsum(copies) - copies
    longer = notes.take(np.repeat(np.arange(len(notes)), copies))
    written = (longer.onset_tick, longer.offset_tick, longer.pitch)
    onset, offset, pitch = (np.array(column, np.int64) for column in written)
    for row, parts in instead.items():
        here = slice(first[row], first[row] + len(parts))
        onset[here], offset[here], pitch[here] = zip(*parts, strict=True)
    table = replace(longer, onset_tick=onset, offset_tick=offset, pitch=pitch.astype(np.uint8))
    return table.take(np.argsort(onset, kind="stable"))
