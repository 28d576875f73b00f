"""Weights in fewer bytes: f32 -> int8 per row, or int4 in groups. Plain numpy.

A matrix (N, K) of a linear layer maps K inputs to N outputs. Reading it once per token is what
decoding costs, so its bytes are what we save:

    int8   one scale per row;                 1 byte a weight
    int4   one scale per group of a row;      half a byte a weight, plus the scales

int4 is -8..7. The weight of largest magnitude in a group is laid on -8, the side that reaches
further, so scales carry a sign; then a few smaller scales are tried, which clip that weight, and
the one with the least squared error is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from arietta.arrays import Float32Array, Uint8Array

Precision = Literal["f32", "int8", "int4"]
PRECISIONS: tuple[Precision, ...] = ("f32", "int8", "int4")

INT4_GROUP = 64
"""Weights that share one scale in int4, where the inputs divide by it."""

BLOCK_ROWS = 32
"""Rows of one block of the tiled layout (``models/kernel/_vnni.c``)."""

_CHUNK_ROWS = 128  # a chunk of rows and its copies stay in the processor's cache
_CLIPS = (0.94, 0.88)


@dataclass(frozen=True)
class Packed:
    """One matrix in the form that a graph takes.

    Attributes:
        precision: how ``data`` is coded.
        shape: (N, K) of the matrix it stands for.
        data: f32 (N, K); int8 (N, K); or uint8 (N, K/2), two int4 a byte, the first in the low
            half.
        scale: None for f32; float32 (N, 1) for int8; float16 (N, K / group) for int4.
    """

    precision: Precision
    shape: tuple[int, int]
    data: NDArray[Any]
    scale: NDArray[Any] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that one pass over the matrix reads."""
        return self.data.nbytes + (0 if self.scale is None else self.scale.nbytes)


def int4_group(inputs: int) -> int:
    """Weights per int4 scale for this many inputs: ``INT4_GROUP``, or the largest that divides."""
    return next(g for g in (INT4_GROUP, 32, 16, 8, 4, 2) if inputs % g == 0)


def pack(w: Float32Array, precision: Precision) -> Packed:
    """Return a matrix (N, K) in one of the precisions."""
    return {"f32": pack_f32, "int8": pack_int8, "int4": pack_int4}[precision](w)


def pack_f32(w: Float32Array) -> Packed:
    """Return the matrix itself."""
    return Packed("f32", _shape(w), np.ascontiguousarray(w, np.float32))


def pack_int8(w: Float32Array) -> Packed:
    """Symmetric int8, one scale a row: w ≈ data * scale, error at most scale / 2."""
    data = np.empty(w.shape, np.int8)
    scale = np.empty((len(w), 1), np.float32)

    def work(rows: slice) -> None:
        part = np.asarray(w[rows], np.float32)
        top = np.maximum(part.max(axis=1), -part.min(axis=1)) / np.float32(127)
        top = np.where(top > 0, top, np.float32(1)).astype(np.float32)
        scale[rows, 0] = top
        data[rows] = np.rint(part * (1 / top)[:, None])

    _in_parallel(work, len(w))
    return Packed("int8", _shape(w), data, scale)


def pack_int4(w: Float32Array) -> Packed:
    """int4 in groups: w ≈ q * scale of its group, q in -8..7.

    Scales are float16 and the codes are chosen for the rounded scale, so that every executor
    computes with the same numbers.
    """
    n, k = _shape(w)
    group = int4_group(k)
    data = np.empty((n, k // 2), np.uint8)
    scale = np.empty((n, k // group), np.float16)

    def work(rows: slice) -> None:
        part = np.asarray(w[rows], np.float32).reshape(-1, group)
        high, low = part.max(axis=1), part.min(axis=1)
        full = np.where(high > -low, high, low) / np.float32(-8)
        best, best_error = np.zeros(part.shape, np.int8), np.full(len(part), np.inf, np.float32)
        best_scale = np.zeros(len(part), np.float16)
        for clip in (1.0, *_CLIPS):
            tried = (full * np.float32(clip)).astype(np.float16)
            rate = tried.astype(np.float32)
            inverse = np.divide(1, rate, out=np.zeros_like(rate), where=rate != 0)
            q = np.rint(part * inverse[:, None])
            np.clip(q, -8, 7, out=q)
            off = q * rate[:, None]
            off -= part
            error = np.einsum("ij,ij->i", off, off)
            better = error < best_error
            best_error[better], best_scale[better] = error[better], tried[better]
            best[better] = q[better]
        nibbles = (best & 15).view(np.uint8).reshape(-1, k // 2, 2)
        data[rows] = nibbles[..., 0] | (nibbles[..., 1] << 4)
        scale[rows] = best_scale.reshape(-1, k // group)

    _in_parallel(work, n)
    return Packed("int4", (n, k), data, scale)


def unpack(packed: Packed) -> Float32Array:
    """Return the f32 matrix (N, K) that a graph computes with."""
    if packed.scale is None:
        return np.asarray(packed.data, np.float32)
    if packed.precision == "int8":
        return np.asarray(packed.data * packed.scale, np.float32)
    n, k = packed.shape
    q = (_nibbles(packed).view(np.int8) ^ 8) - np.int8(8)  # the sign of a 4-bit number
    q = q.reshape(n, packed.scale.shape[1], -1)
    return np.asarray((q * packed.scale[:, :, None].astype(np.float32)).reshape(n, k))


def group_by_head(qkv: NDArray[Any], heads: int) -> NDArray[Any]:
    """Rows q | k | v (3 D, ...) reordered so that each head's q, k and v lie together.

    Cutting the projection by head this way lets the rotary node read its part in place.
    """
    rows = qkv.shape[0] // (3 * heads)
    parts = qkv.reshape(3, heads, rows, *qkv.shape[1:])
    return np.ascontiguousarray(parts.swapaxes(0, 1)).reshape(qkv.shape)


def alternate(first: NDArray[Any], second: NDArray[Any], rows: int = 16) -> NDArray[Any]:
    """``rows`` rows of one, the same rows of the other, and so on: (N, K) twice -> (2 N, K)."""
    n = first.shape[0]
    pair = [x.reshape(n // rows, rows, *x.shape[1:]) for x in (first, second)]
    return np.stack(pair, axis=1).reshape(2 * n, *first.shape[1:])


def tile(packed: Packed) -> tuple[Uint8Array, NDArray[Any]]:
    """Codes and scales in the layout that ``models/kernel/_vnni.c`` describes.

    Rows are filled up to whole blocks with zeros.

    Returns:
        codes, flat; scales: float32 (rows,) for int8, float16 (blocks, groups, 32) for int4.
    """
    assert packed.scale is not None
    n, k = packed.shape
    blocks = -(-n // BLOCK_ROWS)
    missing = blocks * BLOCK_ROWS - n
    scale = np.pad(packed.scale, ((0, missing), (0, 0)))
    words = k // 4 if packed.precision == "int8" else k // 8
    codes = np.empty((blocks, words, BLOCK_ROWS), np.uint32)

    def work(rows: slice) -> None:
        if packed.precision == "int8":
            codes8: Uint8Array = packed.data[rows].view(np.uint8)
            part = codes8 ^ np.uint8(128)
        else:
            # Nibbles of eight inputs become four bytes: input i low, input i + 4 high.
            q = (_nibbles(packed, rows) ^ np.uint8(8)).reshape(-1, words, 2, 4)
            part = q[:, :, 0] | (q[:, :, 1] << np.uint8(4))
        part = np.ascontiguousarray(part).reshape(-1, words * 4)
        short = -len(part) % BLOCK_ROWS
        if short:
            part = np.pad(part, ((0, short), (0, 0)))
        lines = part.view(np.uint32).reshape(-1, BLOCK_ROWS, words)
        start = rows.start // BLOCK_ROWS
        codes[start : start + len(lines)] = lines.swapaxes(1, 2)

    _in_parallel(work, n)
    if packed.precision == "int8":
        return codes.reshape(-1).view(np.uint8), np.ascontiguousarray(scale[:, 0])
    lines = scale.reshape(blocks, BLOCK_ROWS, -1)
    return codes.reshape(-1).view(np.uint8), np.ascontiguousarray(lines.swapaxes(1, 2))


def _nibbles(packed: Packed, rows: slice = slice(None)) -> Uint8Array:
    """Return the int4 codes (N, K), unsigned 0..15 as stored."""
    data = packed.data[rows]
    return np.stack((data & 15, data >> 4), axis=-1).reshape(len(data), packed.shape[1])


def _in_parallel(work: Callable[[slice], None], rows: int) -> None:
    """Run ``work`` over chunks of rows; numpy lets go of the interpreter lock inside."""
    chunks = [slice(r, min(r + _CHUNK_ROWS, rows)) for r in range(0, rows, _CHUNK_ROWS)]
    if len(chunks) == 1:
        work(chunks[0])
        return
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, chunks))


def _shape(w: NDArray[Any]) -> tuple[int, int]:
    n, k = w.shape
    return int(n), int(k)
