"""A part of a piece, as it sounds from a moment on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from arietta.midi.notes import PedalTable
from arietta.midi.piece import Piece
from arietta.midi.tempo import TempoMap


def piece_from(piece: Piece, start_ms: float) -> Piece:
    """Return the music from a time on: time 0 of the result is that time.

    Notes that sound there begin at 0 with what is left of them, and a pressed pedal stays pressed.
    Signatures and texts stay behind.

    Args:
        piece: the whole.
        start_ms: from tick 0.
    """
    if start_ms <= 0:
        return piece
    start = int(piece.tempo.tick_at(start_ms))
    tempo = piece.tempo.from_start
    first = max(int(np.searchsorted(tempo.tick, start, side="right")) - 1, 0)
    notes = piece.notes.take(piece.notes.offset_tick > start)
    pedals = piece.pedals
    keep = pedals.tick > start
    for channel in np.unique(pedals.channel):
        before = np.flatnonzero((pedals.channel == channel) & ~keep)
        keep[before[-1:]] = True
    pedals = pedals.take(keep)
    return Piece(
        TempoMap(
            tempo.division,
            np.maximum(tempo.tick[first:] - start, 0),
            tempo.us_per_quarter[first:],
        ),
        replace(
            notes,
            onset_tick=np.maximum(notes.onset_tick - start, 0),
            offset_tick=notes.offset_tick - start,
        ),
        PedalTable(np.maximum(pedals.tick - start, 0), pedals.value, pedals.channel, pedals.track),
        replace(piece.programs, tick=np.maximum(piece.programs.tick - start, 0)),
        metadata=piece.metadata,
        source=piece.source,
    )
