"""Notes in the form of MIREX's yearly task."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from arietta.errors import InputError
from arietta.evaluation.listening.mirex import CONTINUATION, PROMPT, notes_of
from arietta.midi.notes import ExtraTable, note_table
from arietta.midi.piece import Piece
from arietta.midi.tempo import TempoMap

QUARTER = 480


def a_piece(*notes: tuple[int, int, int]) -> Piece:
    """Return notes of onset and offset in ticks, and pitch."""
    on, off, pitch = zip(*notes, strict=True)
    return Piece(TempoMap.constant(QUARTER), note_table(on, off, pitch, 64))


def test_the_first_full_measure_is_the_second_of_the_form() -> None:
    piece = a_piece(
        (0, 3 * QUARTER // 2, 72), (0, 3 * QUARTER + 240, 57), (16 * QUARTER, 17 * QUARTER, 40)
    )
    assert notes_of(piece, PROMPT) == [
        {"start": 16, "pitch": 57, "duration": 14},
        {"start": 16, "pitch": 72, "duration": 6},
    ]
    assert notes_of(piece, CONTINUATION) == [{"start": 80, "pitch": 40, "duration": 4}]


def test_the_grid_and_its_end() -> None:
    last = 63 * QUARTER + 360  # the last sixteenth of the sixteenth measure
    piece = a_piece(
        (50, 60, 60), (70, 100, 61), (last, last + 4000, 62), (64 * QUARTER, 65 * QUARTER, 63)
    )
    assert notes_of(piece, PROMPT) == [
        {"start": 16, "pitch": 60, "duration": 1},
        {"start": 17, "pitch": 61, "duration": 1},
    ]
    assert notes_of(piece, CONTINUATION) == [{"start": 271, "pitch": 62, "duration": 1}]


def test_what_the_form_cannot_hold() -> None:
    piece = a_piece((0, 480, 60))
    with pytest.raises(InputError, match="measures 5 to 16"):
        notes_of(piece, CONTINUATION)
    three_four = ExtraTable(
        np.zeros(1, np.int64), np.zeros(1, np.int32), (b"\xff\x58\x03\x02\x18\x08",)
    )
    with pytest.raises(InputError, match="in 3/4"):
        notes_of(replace(piece, extra=three_four), PROMPT)
