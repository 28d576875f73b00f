"""Scores that hold the music of one that is kept apart are found by their notes."""

from __future__ import annotations

import numpy as np

from arietta.data.twins import KeptApart
from arietta.midi.piece import Piece


def a_score(seed: int, notes: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.choice([250, 500], notes)), rng.integers(40, 80, notes)


def piece(onset: np.ndarray, pitch: np.ndarray) -> Piece:
    return Piece.from_ms(onset, 200, pitch, 64)


def test_a_piece_without_its_repeat_is_found_under_any_name() -> None:
    onset, pitch = a_score(1)
    repeated = piece(np.append(onset, onset + onset[-1] + 500), np.append(pitch, pitch))
    apart = KeptApart([("Op. 1", repeated), ("Op. 2", piece(*a_score(2)))])
    found = apart.twin("first half, faster", piece(onset[:120] // 2, pitch[:120]))
    assert found is not None
    assert (found.name, found.of) == ("first half, faster", "Op. 1") and found.share > 0.9


def test_another_piece_is_not_found() -> None:
    onset, pitch = a_score(3)
    apart = KeptApart([("Op. 1", piece(*a_score(1)))])
    assert apart.twin("Op. 3", piece(onset, pitch)) is None
    quoted = pitch.copy()
    quoted[:20] = a_score(1)[1][:20]  # a few bars of it
    assert apart.twin("Op. 3 with a quotation", piece(onset, quoted)) is None
    assert KeptApart([]).twin("Op. 3", piece(onset, pitch)) is None
