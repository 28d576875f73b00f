"""Rotary position tables."""

from __future__ import annotations

import numpy as np

from arietta.arrays import Float32Array


def rotary_tables(length: int, head_dim: int, base: float) -> tuple[Float32Array, Float32Array]:
    """cos and sin (length, K) of the rotary angles, each half twice (specification D.2).

    In double precision until the end, so that late positions are as exact as early ones.
    """
    frequency = base ** (-np.arange(0, head_dim, 2) / head_dim)
    angle = np.arange(length)[:, None] * frequency
    angle = np.concatenate((angle, angle), axis=1)
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
