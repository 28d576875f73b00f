"""Vectors of a model, evened: nothing shared, every number of the same variance.

Hidden states have a large part that all music shares and a few numbers that vary far more than the
others, and neither is what a classifier or a condition should learn first. Both are taken away by
one matrix, so what was learned behind it can be folded into weights that read vectors as they are.
"""

from __future__ import annotations

import numpy as np

from arietta.arrays import AnyFloatArray, Float32Array, FloatArray

_FAINT = 0.03  # of 0.3 a small model learned the shared part first, and little else


def standardise(vectors: AnyFloatArray) -> tuple[Float32Array, Float32Array]:
    """How to even vectors like these (n, S).

    Returns:
        matrix (S, S): ``vectors @ matrix.T`` has mean 0 and variance 1 in every column that is not
        constant; shared (S,): ``vectors @ shared`` has mean 1, the part that was taken away.
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
    """The matrix (S, S) of ``standardise`` with what is shared kept, but faint: nothing is lost, so
    weights that read vectors as they are can be told in even ones too, by its inverse."""
    matrix, shared = standardise(vectors)
    unused = np.linalg.svd(matrix.astype(np.float64))[0][:, -1]
    return matrix + _FAINT * np.outer(unused, shared)
