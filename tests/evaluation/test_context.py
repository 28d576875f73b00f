"""Memory: the same notes behind more and less context."""

from __future__ import annotations

import numpy as np
import pytest

from arietta.arrays import FloatArray, Int32Array
from arietta.data.token_grid import NoteColumns
from arietta.evaluation.context import TARGETS, bits_behind, context_gain, places
from arietta.evaluation.likelihood import Recording
from arietta.tokenizers.aria import AriaTokenizer
from arietta.tokenizers.vocabulary import Kind

PIANO = AriaTokenizer("piano")


def recording(name: str, notes: int) -> Recording:
    rng = np.random.default_rng(notes)
    onset = np.cumsum(rng.integers(1, 40, notes)) * 10
    columns = NoteColumns(
        onset, rng.integers(5, 90, notes) * 10, rng.integers(30, 90, notes), np.full(notes, 60)
    )
    return Recording(name, name[0], columns)


def test_places_hold_context_and_targets_whatever_else_is_there() -> None:
    pieces = [recording(f"{'abc'[i % 3]}{i}", 20 + 10 * i) for i in range(9)]
    drawn = places(pieces, 4, (8, 32))
    assert len(drawn) == 4
    assert all(len(columns.pitch) == 32 + TARGETS for _, columns in drawn)
    again = places(pieces[::-1], 4, (8, 32))
    for (group, one), (same, other) in zip(drawn, again, strict=True):
        assert group == same
        np.testing.assert_array_equal(one.onset_ms, other.onset_ms)


def test_only_the_targets_count_and_all_of_them() -> None:
    seen: list[int] = []

    def score(ids: Int32Array, first: int) -> FloatArray:
        kinds = PIANO.vocabulary.kinds[ids]
        seen.append(int((kinds[:first] == Kind.NOTE).sum()))
        assert (kinds[first:] == Kind.NOTE).sum() == TARGETS
        return np.full(len(ids) - first, np.log(2))  # one bit a token

    ((_, columns),) = places([recording("a", 60)], 1, (8, 32))
    bits = bits_behind(columns, 8, PIANO, score)
    assert seen == [8]
    assert 2.99 < bits < 4  # three tokens a note, now and then a <T>


def test_gain_is_what_more_context_saves() -> None:
    def score(ids: Int32Array, first: int) -> FloatArray:
        notes = (PIANO.vocabulary.kinds[ids[:first]] == Kind.NOTE).sum()
        found = np.zeros(len(ids) - first)
        found[0] = TARGETS * np.log(2) * (10 if notes < 32 else 7)
        return found

    drawn = places([recording(f"{i}", 80) for i in range(5)], 5, (8, 16, 32))
    found = context_gain(drawn, PIANO, score, (8, 16, 32))
    assert found["places"] == 5
    assert found["bits_per_note"] == {"8": 10.0, "16": 10.0, "32": 7.0}
    assert found["gain"] == {"8 -> 32": pytest.approx([3.0, 3.0, 3.0])}
