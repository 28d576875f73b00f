"""A part of a piece sounds as that part of the whole."""

from __future__ import annotations

import numpy as np
import pytest

from arietta.midi.notes import note_table, pedal_table
from arietta.midi.passages import piece_from
from arietta.midi.piece import Piece
from arietta.midi.tempo import TempoMap


def test_from_a_time_on() -> None:
    piece = Piece(
        TempoMap(480, np.array([480]), np.array([1_000_000])),
        note_table([0, 480, 960, 1440], [400, 1000, 1400, 1900], [60, 62, 64, 65], 80),
        pedal_table([100, 500, 1500], [127, 0, 90]),
    )
    later = piece_from(piece, 1000.0)  # half a second at 120, then half a quarter at 60
    assert later.notes.pitch.tolist() == [62, 64, 65]
    wanted = np.maximum(piece.onset_ms[1:] - 1000, 0)
    assert later.onset_ms.tolist() == pytest.approx(wanted.tolist())
    assert later.end_ms == pytest.approx(piece.end_ms - 1000)
    assert later.pedals.value.tolist() == [0, 90]
    assert piece_from(piece, 0.0) is piece
    assert len(piece_from(piece, piece.end_ms + 1)) == 0
