"""Columns into the relative vocabularies, as training does for every row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from arietta.errors import UsageError
from arietta.midi.piece import Piece
from arietta.tokenizers.relative import RelativeTokenizer
from arietta.tokenizers.vocabulary import RELATIVE_NAMES
from tests.tokenizers.pieces import pieces


@given(pieces(piano_only=True, tempos=1))
def test_columns_encode_as_the_piece(piece: Piece) -> None:
    onset = np.rint(piece.onset_ms).astype(np.int64)
    plain = Piece.from_ms(
        onset,
        np.rint(piece.duration_ms),
        piece.notes.pitch,
        piece.notes.velocity,
        metadata={"composer": "chopin"},
    )
    for name in RELATIVE_NAMES:
        tokenizer = RelativeTokenizer(name)
        label = tokenizer.vocabulary.label_id("composer", "chopin")
        assert label is not None
        ids = tokenizer.encode_columns(
            onset,
            np.rint(piece.duration_ms).astype(np.int64),
            piece.notes.pitch,
            piece.notes.velocity,
            prefix_ids=[tokenizer.vocabulary.instrument_start, label],
        )
        assert ids.tolist() == tokenizer.encode(plain).tolist()


def test_columns_read_back() -> None:
    rng = np.random.default_rng(0)
    n = 300
    onset = np.append(0, np.cumsum(rng.geometric(0.03, n - 1) - 1)) * 10
    onset[200:] += 12_340  # a rest longer than one wait
    duration = rng.integers(1, 501, n) * 10
    pitch, velocity = rng.integers(0, 128, n), rng.integers(1, 13, n) * 10
    for name in RELATIVE_NAMES:
        tokenizer = RelativeTokenizer(name)
        ids = tokenizer.encode_columns(onset + 777, duration, pitch, velocity, dim_offset=0)
        columns = tokenizer.decode_columns(ids)
        assert np.array_equal(columns.onset_ms, onset)
        assert np.array_equal(columns.duration_ms, duration)
        assert np.array_equal(columns.pitch, pitch)
        assert np.array_equal(columns.velocity, velocity)
        assert columns.dropped == 0
        assert (ids == tokenizer.dim).sum() == 1 and ids[-1] == tokenizer.eos


def test_no_notes_and_no_such_vocabulary() -> None:
    none = np.zeros(0, np.int64)
    tokenizer = RelativeTokenizer("relative-piano")
    ids = tokenizer.encode_columns(none, none, none, none)
    assert tokenizer.tokens(ids) == [("prefix", "instrument", "piano"), "<S>", "<E>"]
    with pytest.raises(UsageError, match="relative, relative-piano"):
        RelativeTokenizer("piano")
