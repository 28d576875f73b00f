"""Narrow weights: how far they are from the wide ones, and that no layout loses a bit of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arietta.models.kernel import packing
from arietta.models.kernel.packing import Packed, alternate, group_by_head, pack, tile, unpack


def matrix(n: int, k: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, k)).astype(np.float32) * 0.05


@given(st.integers(1, 300), st.sampled_from([8, 48, 128]), st.integers(0, 99))
def test_int8_is_within_half_a_step(n: int, k: int, seed: int) -> None:
    w = matrix(n, k, seed)
    packed = pack(w, "int8")
    assert packed.scale is not None
    assert np.abs(packed.data.astype(int)).max() <= 127
    assert (np.abs(unpack(packed) - w) <= packed.scale * 0.501).all()


def test_int8_of_int8_is_the_same() -> None:
    once = pack(matrix(40, 64), "int8")
    twice = pack(unpack(once), "int8")
    np.testing.assert_array_equal(once.data, twice.data)


@pytest.mark.parametrize("k", [16, 64, 192])
def test_int4_beats_plain_rounding(k: int) -> None:
    w = matrix(300, k)
    packed = pack(w, "int4")
    groups = w.reshape(len(w), -1, packing.int4_group(k))
    step = np.abs(groups).max(axis=2, keepdims=True) / 7
    plain = np.clip(np.rint(groups / step), -8, 7) * step
    error = ((unpack(packed) - w) ** 2).sum()
    assert error < 0.95 * ((plain.reshape(w.shape) - w) ** 2).sum()


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_zero_rows_stay_zero(precision: packing.Precision) -> None:
    w = matrix(5, 64)
    w[2] = 0
    assert not unpack(pack(w, precision))[2].any()


def test_grouping_by_head_keeps_each_heads_rows_together() -> None:
    rows = np.arange(3 * 8)[:, None]  # q | k | v of two heads of four
    grouped = group_by_head(rows, 2)[:, 0]
    assert grouped[:12].tolist() == [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19]


def test_alternating_rows() -> None:
    a, b = np.arange(4)[:, None], np.arange(4)[:, None] + 10
    assert alternate(a, b, 2)[:, 0].tolist() == [0, 1, 10, 11, 2, 3, 12, 13]


def untile(codes: np.ndarray, scales: np.ndarray, like: Packed) -> np.ndarray:
    """The obvious reading of the layout that the kernel's head describes."""
    n, k = like.shape
    bits = 8 if like.precision == "int8" else 4
    inputs_per_word = 32 // bits
    words = codes.view(np.uint32).reshape(-1, k // inputs_per_word, packing.BLOCK_ROWS)
    w = np.zeros((len(words) * packing.BLOCK_ROWS, k), np.float32)
    for block, lines in enumerate(words):
        for j, line in enumerate(lines):
            for r, word in enumerate(line):
                row = block * packing.BLOCK_ROWS + r
                for i in range(4):
                    byte = int(word) >> (8 * i) & 255
                    if bits == 8:
                        w[row, 4 * j + i] = (byte - 128) * scales[row]
                        continue
                    for half, code in enumerate((byte & 15, byte >> 4)):
                        at = 8 * j + 4 * half + i
                        group = at // (k // scales.shape[1])
                        w[row, at] = (code - 8) * np.float32(scales[block, group, r])
    return w[:n]


@pytest.mark.parametrize("precision", ["int8", "int4"])
@pytest.mark.parametrize("rows", [32, 33, 160])
def test_tiles_hold_the_same_matrix(precision: packing.Precision, rows: int) -> None:
    packed = pack(matrix(rows, 64), precision)
    codes, scales = tile(packed)
    np.testing.assert_array_equal(untile(codes, scales, packed), unpack(packed))
