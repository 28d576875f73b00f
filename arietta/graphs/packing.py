"""Weights in fewer bytes: f32 -> int8 per row, or int4 in groups. Plain numpy.

A matrix (N, K) of a linear layer maps K inputs to N outputs. Reading it once per token is what
decoding costs, so its bytes are what we save:

    int8   one scale per row;                 1 byte a weight
    int4   one scale per group of a row;      half a byte a weight, plus the scales
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Precision = Literal["f32", "int8", "int4"]
PRECISIONS: tuple[Precision, ...] = ("f32", "int8", "int4")

INT4_GROUP = 64
"""Weights that share one scale in int4."""


@dataclass(frozen=True)
class Packed:
    """One matrix in the form that a graph takes.

    Attributes:
        precision: how ``data`` is coded.
        shape: (N, K) of the matrix it stands for.
        data: f32 (N, K); int8 (N, K); or uint8 (N, K/2), two int4 a byte, the first in the low
            half.
        scale: None for f32; float32 (N, 1) for int8; float32 (N, K / group) for int4.
    """

    precision: Precision
    shape: tuple[int, int]
    data: NDArray[Any]
    scale: NDArray[np.float32] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that one pass over the matrix reads."""
        return self.data.nbytes + (0 if self.scale is None else self.scale.nbytes)


def pack_f32(w: NDArray[np.float32]) -> Packed:
    """The matrix itself."""
    return Packed("f32", _shape(w), np.ascontiguousarray(w, np.float32))


def pack_int8(w: NDArray[np.float32]) -> Packed:
    """Symmetric int8, one scale a row: w ≈ data * scale, error at most scale / 2."""
    scale = np.abs(w).max(axis=1, keepdims=True) / np.float32(127)
    scale = np.where(scale > 0, scale, np.float32(1)).astype(np.float32)
    return Packed("int8", _shape(w), np.rint(w / scale).astype(np.int8), scale)


def unpack(packed: Packed) -> NDArray[np.float32]:
    """The f32 matrix (N, K) that a graph computes with."""
    if packed.scale is None:
        return np.asarray(packed.data, np.float32)
    if packed.precision == "int8":
        return np.asarray(packed.data * packed.scale, np.float32)
    n, k = packed.shape
    low, high = packed.data & 15, packed.data >> 4
    q = np.stack((low, high), axis=-1).astype(np.int8).reshape(n, packed.scale.shape[1], -1)
    q = (q ^ 8) - 8  # sign of a 4-bit number
    return np.asarray((q * packed.scale[:, :, None]).reshape(n, k), np.float32)


def group_by_head(qkv: NDArray[Any], heads: int) -> NDArray[Any]:
    """Rows q | k | v (3 D, ...) reordered so that each head's q, k and v lie together.

    Cutting the projection by head this way lets the rotary node read its part in place.
    """
    rows = qkv.shape[0] // (3 * heads)
    parts = qkv.reshape(3, heads, rows, *qkv.shape[1:])
    return np.ascontiguousarray(parts.swapaxes(0, 1)).reshape(qkv.shape)


def _shape(w: NDArray[Any]) -> tuple[int, int]:
    n, k = w.shape
    return int(n), int(k)
