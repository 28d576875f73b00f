"""Statistics of stretches of music on cases whose values are known."""

from __future__ import annotations

import numpy as np
import pytest

from arietta.evaluation.continuations import compare, describe, overlap


def scale(n: int = 16) -> tuple[np.ndarray, ...]:
    onset = np.arange(n) * 500.0
    return onset, np.full(n, 400.0), 60 + np.arange(n) % 12, np.full(n, 64)


def test_a_chromatic_scale() -> None:
    found = describe(*scale(24), length_ms=12_000)
    assert found is not None
    assert found.notes_per_second == 2.0
    assert found.chord_share == 0.0
    assert found.pitch_class_entropy == pytest.approx(np.log2(12))
    assert found.velocity_sd == 0.0
    assert found.longest_gap_s == pytest.approx(0.5)
    # Bars of four notes from a row of twelve: three different ones, then again.
    assert found.repeated_bars == pytest.approx(0.5)
    assert found.repeated_phrases == pytest.approx(5 / 17)


def test_chords_and_silence() -> None:
    onset = np.array([0.0, 5.0, 2_000.0])
    found = describe(onset, np.full(3, 100.0), np.array([60, 64, 67]), np.full(3, 80), 10_000)
    assert found is not None
    assert found.chord_share == pytest.approx(2 / 3)
    assert found.longest_gap_s == 8.0
    assert describe(np.array([]), np.array([]), np.array([]), np.array([]), 1_000) is None


def test_overlap_is_one_for_equal_and_zero_for_disjoint() -> None:
    a = np.arange(40.0)
    assert overlap(a, a) == pytest.approx(1.0)
    assert overlap(a, a + 1_000) == 0.0
    assert overlap(np.ones(3), np.ones(3)) == 1.0


def test_compare_counts_silence() -> None:
    one = describe(*scale(), length_ms=8_000)
    table = compare([one, one, None], [one, one, one])
    assert (table["pairs"], table["silent"]) == (2, 1)
    assert table["mean_overlap"] == 1.0
    assert table["statistics"]["pitch_mean"]["paired_error"] == 0.0
