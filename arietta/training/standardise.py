"""Standardise the vectors of a model: remove the shared part, scale every column to variance 1.

Hidden states have a large part that all pieces share, and a few columns that vary far more than the
others. A classifier or an adapter should learn neither first. One matrix removes both, so weights
that were trained on standardised vectors can be folded into weights for raw vectors.
"""

from __future__ import annotations

import numpy as np

from arietta.arrays import AnyFloatArray, Float32Array, FloatArray

_SHARED_SCALE = 0.03  # with 0.3 a small model learned the shared part first, and little else


def standardise(vectors: AnyFloatArray) -> tuple[Float32Array, Float32Array]:
    """Return the matrix that standardises vectors like these (n, S), and their shared part.

    Returns:
        matrix (S, S): ``vectors @ matrix.T`` has mean 0 and variance 1 in every column that is not
        constant; shared (S,): ``vectors @ shared`` has mean 1, the part that the matrix removes.
    """
    x = vectors.astype(np.float64)
    mean = x.mean(axis=0)
    length = max(float(np.linalg.norm(mean)), 1e-12)
    along = mean / length
    without = np.eye(len(mean)) - np.outer(along, along)
    deviation = (x @ without).std(axis=0)
    matrix = without / (deviation + 1e-6)[:, None]
    return matrix.astype(np.float32), (along / length).astype(np.float32)


def standardise_keeping_mean(vectors: AnyFloatArray) -> FloatArray:
    """Return an invertible standardising matrix (S, S) that scales the shared part down.

    Its inverse converts weights for raw vectors to weights for standardised ones.
    """
    matrix, shared = standardise(vectors)
    unused = np.linalg.svd(matrix.astype(np.float64))[0][:, -1]
    return matrix + _SHARED_SCALE * np.outer(unused, shared)
