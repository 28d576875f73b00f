"""What a prompt says besides its notes to a model that knows it: music as written, density."""

from __future__ import annotations

import numpy as np
import pytest

from arietta.generation.continuation import marked, prepare, with_density
from arietta.generation.settings import Request
from arietta.midi.piece import Piece
from arietta.tokenizers.aria import AriaTokenizer
from arietta.tokenizers.controls import control_id, density_level
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


@pytest.mark.parametrize("density", [0.5, 1.5, 2.0])
def test_density_is_told_in_notes_a_second(density: float) -> None:
    vocab = FILLING.vocabulary
    ids = FILLING.encode(piece(0.0), eos=False)
    told = with_density(vocab, ids, density)
    rate = 64 / (63 * 0.25)
    assert told[:-1].tolist() == ids.tolist()
    assert told[-1] == control_id(vocab, "density", density_level(rate * density))


def test_density_without_a_prompt_is_of_a_usual_rate() -> None:
    vocab = FILLING.vocabulary
    ids = prepare(FILLING, None, Request()).ids
    assert with_density(vocab, ids, 1.0)[-1] == control_id(vocab, "density", density_level(8.0))
