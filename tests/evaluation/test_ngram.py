"""The n-gram floor is a probability distribution and learns."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arietta.errors import UsageError
from arietta.evaluation.ngram import Follows, NgramModel, follows_of, packed
from arietta.tokenizers.open import tokenizer_named


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


RELATIVE = Follows(np.array([0, 0, 1, 1, 1]), np.array([0, 1, 0, 0, 0]))
"""Five ids: what follows 1 is one of 2, 3, 4."""


@given(st.integers(1, 4), st.lists(st.integers(0, 4), min_size=6, max_size=80), st.data())
def test_by_kind_all_weight_is_on_the_kind_that_comes_next(
    order: int, raw: list[int], data: st.DataObject
) -> None:
    # Only sequences that keep to the grammar: a token of the other kind is replaced.
    ids = [0]
    for i in raw:
        due = int(RELATIVE.after[ids[-1]])
        ids.append(i if RELATIVE.kind[i] == due else (2 if due else 0))
    model = NgramModel(np.array(ids), order, 5, RELATIVE)
    context = ids[: data.draw(st.integers(1, len(ids)))]
    due = RELATIVE.after[context[-1]]
    p = np.exp(-np.array([model.nats(np.array([*context, w]), len(context))[0] for w in range(5)]))
    assert p[RELATIVE.kind == due].sum() == pytest.approx(1.0)
    assert p[RELATIVE.kind != due].sum() < 1e-6


def test_by_kind_is_no_worse_where_it_has_seen_little() -> None:
    rng = np.random.default_rng(0)
    piano = tokenizer_named("piano")
    notes = [rng.integers(0, 60_000, 400), rng.integers(100, 900, 400), rng.integers(40, 80, 400)]
    onset, duration, pitch = notes
    train, test = (
        piano.encode_columns(
            np.sort(onset[part]), duration[part], pitch[part], 60 + pitch[part] % 9
        )
        for part in (slice(300), slice(300, 400))
    )
    follows = follows_of(piano.vocabulary)
    assert (follows.kind[train[1:]] == follows.after[train[:-1]]).all()
    plain = NgramModel(train, 3, piano.vocab_size).nats(test, 2).mean()
    by_kind = NgramModel(train, 3, piano.vocab_size, follows).nats(test, 2).mean()
    assert by_kind < plain - 0.5


@pytest.mark.parametrize("name", ["piano", "relative-piano", "piano-fill"])
def test_the_grammar_agrees_on_the_kinds(name: str) -> None:
    tokenizer = tokenizer_named(name)
    follows = follows_of(tokenizer.vocabulary)
    onset = np.array([0, 10, 6_000, 30_000])
    ids = tokenizer.encode_columns(onset, np.full(4, 200), np.full(4, 60), np.full(4, 64))
    assert (follows.kind[ids[1:]] == follows.after[ids[:-1]]).all()
