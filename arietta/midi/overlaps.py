"""Notes that are struck again before they end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from arietta.arrays import IntArray
from arietta.midi.notes import NoteTable


def neighbours(notes: NoteTable, order: IntArray) -> tuple[IntArray, IntArray]:
    """Row numbers of every note and of the next one of its channel and pitch, in ``order``."""
    key = notes.channel[order].astype(np.int64) * 128 + notes.pitch[order]
    same = key[1:] == key[:-1]
    return order[:-1][same], order[1:][same]


def resolve_overlaps(notes: NoteTable) -> NoteTable:
    """End a note where the next one of its channel and pitch starts; rows keep their order.

    Of two notes with one start the shorter gets zero length.
    """
    order = np.lexsort((notes.offset_tick, notes.onset_tick, notes.pitch, notes.channel))
    before, after = neighbours(notes, order)
    offset = notes.offset_tick.copy()
    offset[before] = np.minimum(offset[before], notes.onset_tick[after])
    return replace(notes, offset_tick=offset)
