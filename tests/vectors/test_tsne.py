"""The layout without a library."""

from __future__ import annotations

import numpy as np

from arietta.vectors.tsne import exact_tsne


def test_clusters_stay_together_and_apart() -> None:
    rng = np.random.default_rng(0)
    middles = rng.normal(size=(5, 32)) * 4
    kind = np.repeat(np.arange(5), 24)
    points = middles[kind] + rng.normal(size=(len(kind), 32))
    start = points[:, :2] - points[:, :2].mean(axis=0)
    places = exact_tsne(points, start, 30.0)
    assert places.shape == (120, 2) and np.isfinite(places).all()
    far = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(far, np.inf)
    nearest = np.argsort(far, axis=1)[:, :10]
    assert (kind[nearest] == kind[:, None]).mean() > 0.95
    assert np.array_equal(places, exact_tsne(points, start, 30.0))


def test_equal_points_are_no_trouble() -> None:
    points = np.ones((9, 4))
    assert np.isfinite(exact_tsne(points, np.zeros((9, 2)), 30.0)).all()
