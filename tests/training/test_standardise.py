"""Vectors without what they share, every number of the same variance."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from arietta.training.standardise import standardise, standardise_keeping_mean


@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.floats(0.1, 100))
def test_what_is_left_is_even(seed: int, width: int, shared: float) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((200, width)) * rng.uniform(0.01, 10, width)
    x += shared * rng.standard_normal(width)
    matrix, along = standardise(x)
    found = x @ matrix.T.astype(np.float64)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-2)
    np.testing.assert_allclose(found.std(axis=0), 1, atol=1e-2)
    np.testing.assert_allclose((x @ along).mean(), 1, atol=1e-3)


@given(st.integers(0, 2**32 - 1), st.integers(2, 12))
def test_nothing_is_lost_where_the_shared_part_is_kept(seed: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((200, width)) * rng.uniform(0.01, 10, width) + 3
    kept, (matrix, _) = standardise_keeping_mean(x), standardise(x)
    found = x @ kept.T
    assert 0.01 < np.linalg.norm(found.mean(axis=0)) < 0.1
    np.testing.assert_allclose(found @ np.linalg.inv(kept).T, x, atol=1e-6)
    off = found - x @ matrix.T.astype(np.float64)
    assert np.linalg.matrix_rank(off, tol=1e-6) == 1


def test_a_constant_number_stays_nothing() -> None:
    x = np.zeros((50, 3))
    x[:, 0] = np.linspace(-1, 1, 50)
    matrix, along = standardise(x)
    assert np.isfinite(matrix).all() and np.isfinite(along).all()
    np.testing.assert_allclose((x @ matrix.T)[:, 1:], 0)
