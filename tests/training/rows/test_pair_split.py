"""Pairs on the side of training and of validation."""

from __future__ import annotations

import numpy as np
import pytest

from arietta.data.pairs import Pair
from arietta.midi.notes import note_table
from arietta.midi.piece import Piece
from arietta.midi.tempo import TempoMap
from arietta.notation.score_notes import ScoreNotes, deadpan
from arietta.training.rows.pair_split import split_pairs


def pairs_of(pieces: int, takes: int) -> list[Pair]:
    out = []
    for number in range(pieces):
        tick = np.arange(80) * 240
        pitch = 48 + np.random.default_rng(number).integers(0, 24, 80)
        score = ScoreNotes.from_piece(
            Piece(TempoMap.constant(480), note_table(tick, tick + 240, pitch, 64))
        )
        take = deadpan(score).to_piece(score)
        for one in range(takes):
            about = {"piece_id": f"piece {number}", "score_sha256": str(number)}
            out.append(Pair(f"{number}/{one}.mid", score, take, np.arange(80), about))
    return out


@pytest.mark.parametrize(("pieces", "held"), [(2, 1), (3, 1), (9, 1), (60, 9)])
def test_a_tenth_of_the_pieces_is_held_out_and_one_at_least(pieces: int, held: int) -> None:
    train, valid = split_pairs(pairs_of(pieces, 2), {}, {"split": "valid"})
    names = [{pair.about["piece_id"] for pair in side} for side in (train, valid)]
    assert len(train) + len(valid) == 2 * pieces and not names[0] & names[1]
    assert 1 <= len(names[1]) <= held and names[0]


def test_of_a_single_piece_takes_are_held_out() -> None:
    train, valid = split_pairs(pairs_of(1, 3), {}, {"split": "valid"})
    assert (len(train), len(valid)) == (2, 1)
    train, valid = split_pairs(pairs_of(1, 1), {}, {"split": "valid"})
    assert (len(train), len(valid)) == (1, 0)


def test_what_is_named_is_held_out() -> None:
    pairs = pairs_of(3, 1)
    train, valid = split_pairs(pairs, {}, {"piece_id": "piece 1"})
    assert [pair.id for pair in valid] == ["1/0.mid"] and len(train) == 2
