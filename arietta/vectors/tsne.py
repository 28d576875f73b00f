"""t-SNE without a library: every pair of points is looked at, which suits a few thousand.

L. van der Maaten and G. Hinton, "Visualizing Data using t-SNE", JMLR 9 (2008).
"""

from __future__ import annotations

import numpy as np

from arietta.arrays import FloatArray

_STEPS, _EARLY_STEPS, _EARLY = 750, 250, 12.0


def exact_tsne(points: FloatArray, start: FloatArray, perplexity: float) -> FloatArray:
    """Lay points out on a plane so that neighbours stay neighbours.

    Args:
        points: (n, D), n >= 4.
        start: (n, 2) where they begin, of any scale; the result depends on nothing else.
        perplexity: about how many neighbours count; at most a third of the points.

    Returns:
        (n, 2).
    """
    wanted = _neighbours(points, min(perplexity, (len(points) - 1) / 3))
    places = start / max(float(start[:, 0].std()), 1e-12) * 1e-4
    speed, gain = np.zeros_like(places), np.ones_like(places)
    rate = max(len(points) / _EARLY, 50.0)
    for step in range(_STEPS):
        early = step < _EARLY_STEPS
        close = 1.0 / (1.0 + _squares(places))
        np.fill_diagonal(close, 0.0)
        pull = (wanted * (_EARLY if early else 1.0) - close / close.sum()) * close
        slope = 4.0 * (pull.sum(axis=1)[:, None] * places - pull @ places)
        gain = np.where(slope * speed < 0, gain + 0.2, np.maximum(gain * 0.8, 0.01))
        speed = (0.5 if early else 0.8) * speed - rate * gain * slope
        places = places + speed - (places + speed).mean(axis=0)
    return np.asarray(places, np.float64)


def _squares(points: FloatArray) -> FloatArray:
    """(n, n) squared distances."""
    lengths = (points * points).sum(axis=1)
    far = lengths[:, None] + lengths - 2.0 * points @ points.T
    return np.asarray(np.maximum(far, 0.0), np.float64)


def _neighbours(points: FloatArray, perplexity: float) -> FloatArray:
    """(n, n) symmetric probabilities that two points belong together, adding up to 1."""
    n = len(points)
    far = _squares(points)
    np.fill_diagonal(far, np.inf)
    far -= far.min(axis=1, keepdims=True)
    scale = float(np.mean(far[np.isfinite(far)])) or 1.0
    low, high = np.full(n, 1e-4 / scale), np.full(n, 1e6 / scale)
    chance = np.zeros((n, n))
    for _ in range(60):
        sharpness = np.sqrt(low * high)
        chance = np.exp(-far * sharpness[:, None])
        chance /= chance.sum(axis=1, keepdims=True)
        entropy = -(chance * np.log(np.maximum(chance, 1e-300))).sum(axis=1)
        flat = entropy > np.log(perplexity)
        low, high = np.where(flat, sharpness, low), np.where(flat, high, sharpness)
    both = chance + chance.T
    return np.asarray(both / both.sum())
