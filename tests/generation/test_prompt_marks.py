"""What a prompt says besides its notes to a model that knows it: music as written."""

from __future__ import annotations

import numpy as np

from arietta.generation.continuation import marked, prepare
from arietta.generation.settings import Request
from arietta.midi.piece import Piece
from arietta.tokenizers.aria import AriaTokenizer
from arietta.tokenizers.vocabulary import BOS

FILLING, PIANO = AriaTokenizer("piano-fill"), AriaTokenizer("piano")


def piece(jitter_ms: float, n: int = 64) -> Piece:
    rng = np.random.default_rng(0)
    onset = np.arange(n) * 250.0 + rng.uniform(0, jitter_ms, n)
    return Piece.from_ms(onset, np.full(n, 200.0), 60 + np.arange(n) % 12, np.full(n, 70))


def test_music_as_written_is_marked_and_a_performance_is_not() -> None:
    score = FILLING.vocabulary.score_id
    written = prepare(FILLING, piece(0.0), Request()).ids.tolist()
    assert written[1] == score and written.index(BOS) == 2
    assert score not in prepare(FILLING, piece(90.0), Request()).ids.tolist()


def test_a_vocabulary_without_the_mark_is_left_alone() -> None:
    ids = PIANO.encode(piece(0.0), eos=False)
    assert marked(PIANO.vocabulary, ids, piece(0.0)) is ids
    assert prepare(PIANO, piece(0.0), Request()).ids.tolist() == ids.tolist()
