"""Scores and performances, and their keys, are told apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from arietta.midi.grid import estimate_kind, grid_share, has_grid
from arietta.midi.key import estimate_key
from arietta.midi.notes import note_table
from arietta.midi.piece import Piece
from arietta.midi.reader import read
from arietta.midi.tempo import TempoMap

SCALES = {
    ("C", 0, False): (60, 62, 64, 65, 67, 69, 71, 72, 67, 64, 60),
    ("a", 0, True): (57, 59, 60, 62, 64, 65, 68, 69, 64, 60, 57),
}


def on_grid(division: int, steps: int) -> Piece:
    onset = np.arange(64) * division // steps
    return Piece(TempoMap.constant(division), note_table(onset, onset + division // 8, 60, 70))


@pytest.mark.parametrize("division", [96, 120, 480, 960, 1024])
@pytest.mark.parametrize("steps", [2, 4, 3])
def test_notes_on_fractions_of_a_quarter_are_a_score(division: int, steps: int) -> None:
    piece = on_grid(division, steps)
    assert has_grid(piece)
    kind = estimate_kind(piece)
    assert kind is not None and kind.kind == "score" and kind.confidence > 0.9


def test_free_notes_are_a_performance(prompts_dir: Path) -> None:
    for path in sorted(prompts_dir.glob("*.mid")):
        kind = estimate_kind(read(path))
        assert kind is not None and kind.kind == "performance"
    onset = np.cumsum(np.random.default_rng(0).integers(20, 400, 200))
    free = Piece(TempoMap.constant(480), note_table(onset, onset + 90, 60, 70))
    assert grid_share(free) < 0.2
    few = Piece(TempoMap.constant(480), note_table([0, 480], [100, 600], 60, 70))
    assert estimate_kind(few) is None


@pytest.mark.parametrize("up", range(12))
def test_keys_in_every_transposition(up: int) -> None:
    for (_, sharps, is_minor), scale in SCALES.items():
        pitch = np.tile(np.array(scale) + up, 4)
        onset = np.arange(len(pitch)) * 500
        found = estimate_key(Piece.from_ms(onset, 450, pitch, 70))
        assert found is not None and found.is_minor == is_minor
        wanted = (sharps + 7 * up) % 12
        assert found.sharps % 12 == wanted and 0.2 < found.confidence <= 1


def test_drums_have_no_key() -> None:
    drums = Piece(TempoMap.constant(), note_table([0], [9], 40, 60, 9))
    assert estimate_key(drums) is None
