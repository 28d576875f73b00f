"""Tick arithmetic against a plain walk and against exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arietta.midi.notes import empty_notes
from arietta.midi.piece import Piece
from arietta.midi.tempo import MAX_WALK, TempoMap
from tests.tokenizers import plain_tokenizer

ticks = st.integers(0, 100_000)


@st.composite
def tempo_maps(draw: st.DrawFn) -> TempoMap:
    rows = draw(st.lists(st.tuples(ticks, st.integers(0, 2**24 - 1)), min_size=1, max_size=12))
    rows.sort(key=lambda row: row[0])
    return TempoMap(
        draw(st.integers(1, 32_767)),
        np.array([r[0] for r in rows], np.int64),
        np.array([r[1] for r in rows], np.int64),
    )


def exact_ms(tempo: TempoMap, a: int, b: int) -> Fraction:
    edges, values = tempo.tick.tolist(), tempo.us_per_quarter.tolist()
    total = Fraction(0)
    if edges[0] > 0:  # 120 quarters a minute up to the first tempo
        edges, values = [0, *edges], [500_000, *values]
    for i, us in enumerate(values):
        low = 0 if i == 0 else edges[i]
        high = edges[i + 1] if i + 1 < len(edges) else 10**12
        total += max(min(b, high) - max(a, low), 0) * Fraction(us, 1000 * tempo.division)
    return total


@given(tempo_maps(), st.lists(st.tuples(ticks, ticks), min_size=1, max_size=8))
@settings(max_examples=200)
def test_distances(tempo: TempoMap, spans: list[tuple[int, int]]) -> None:
    a = np.array([min(s) for s in spans])
    b = np.array([max(s) for s in spans])
    piece = Piece(tempo, empty_notes())
    got = tempo.distance_ms(a, b)
    for low, high, ms in zip(a.tolist(), b.tolist(), got.tolist(), strict=True):
        assert ms == pytest.approx(float(exact_ms(tempo, low, high)), rel=1e-12, abs=1e-9)
        assert round(ms) == plain_tokenizer.distance_ms(piece, low, high, None)
    assert np.allclose(tempo.distance_ms(b, a), -got)
    compat = np.rint(tempo.distance_ms(a, b, compat="aria"))
    for low, high, ms in zip(a.tolist(), b.tolist(), compat.tolist(), strict=True):
        assert ms == plain_tokenizer.distance_ms(piece, low, high, "aria")
    # One origin for all takes another path to the same sums.
    zero = int(a[0])
    for mode in (None, "aria"):
        one = tempo.distance_ms(zero, np.maximum(b, zero), compat=mode)  # type: ignore[arg-type]
        for high, ms in zip(np.maximum(b, zero).tolist(), one.tolist(), strict=True):
            assert round(ms) == plain_tokenizer.distance_ms(piece, zero, high, mode)


def test_notes_across_very_many_tempo_changes() -> None:
    n = 5 * MAX_WALK
    rng = np.random.default_rng(0)
    tempo = TempoMap(480, np.arange(n) * 7, rng.integers(200_000, 900_000, n))
    a, b = np.array([0, 3, 700]), np.array([7 * n, 5 * n, 7 * n + 99])
    expected = [float(exact_ms(tempo, *span)) for span in zip(a.tolist(), b.tolist(), strict=True)]
    assert np.allclose(tempo.distance_ms(a, b), expected, rtol=1e-12)
