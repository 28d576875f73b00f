"""The n-gram floor is a probability distribution and learns."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arietta.errors import UsageError
from arietta.evaluation.ngram import NgramModel, packed


@given(st.integers(1, 4), st.lists(st.integers(0, 4), min_size=6, max_size=80), st.data())
def test_probabilities_sum_to_one(order: int, ids: list[int], data: st.DataObject) -> None:
    model = NgramModel(np.array(ids), order, 5)
    context = data.draw(st.lists(st.integers(0, 4), min_size=order - 1, max_size=order + 2))
    nats = [model.nats(np.array([*context, w]), len(context))[0] for w in range(5)]
    assert np.exp(-np.array(nats)).sum() == pytest.approx(1.0)


def test_a_repeating_sequence_becomes_certain() -> None:
    ids = np.tile([0, 1, 2, 3], 200)
    assert NgramModel(ids, 3, 10).nats(ids, 3).mean() < 0.05
    assert NgramModel(ids, 1, 10).nats(ids).mean() == pytest.approx(np.log(4), abs=0.2)


def test_packing_is_positional() -> None:
    assert packed(np.array([1, 2, 3]), 2, 10).tolist() == [12, 23]


def test_too_long_grams_are_refused() -> None:
    with pytest.raises(UsageError, match="64 bits"):
        NgramModel(np.array([0, 1]), 6, 2565)
