"""Figures of time, key and texture, on music whose figures are known."""

from __future__ import annotations

import numpy as np
import pytest

from arietta.evaluation.musicality import METRONOMES, measure, on_grid
from arietta.generation.measures import (
    Notes,
    chord_numbers,
    clashes,
    key_correlation,
    pulse_clarity,
    returning_shapes,
    same_key,
    top_line,
)


def notes(onset: list[float], pitch: list[int], duration: float = 200.0) -> Notes:
    n = len(onset)
    return Notes(np.array(onset, float), np.full(n, duration), np.array(pitch), np.full(n, 64))


def test_even_notes_have_a_clear_pulse_and_random_ones_have_none() -> None:
    even = np.arange(0, 16_000, 500.0)
    assert pulse_clarity(even) == pytest.approx(1.0, abs=0.05)
    rng = np.random.default_rng(0)
    loose = np.sort(rng.uniform(0, 16_000, 60))
    found = pulse_clarity(loose)
    assert found is not None and found < 0.45
    shuffled = np.cumsum(rng.permutation(np.tile([250.0, 130, 470, 150], 20)))
    steady = np.cumsum(np.tile([250.0, 130, 470, 150], 20))
    a, b = pulse_clarity(steady), pulse_clarity(shuffled)
    assert a is not None and b is not None and a > b + 0.3
    assert pulse_clarity([0.0, 500.0]) is None


def test_jitter_lowers_the_pulse() -> None:
    rng = np.random.default_rng(1)
    grid = np.arange(0, 24_000, 300.0)
    found = [pulse_clarity(np.sort(grid + rng.normal(0, sd, len(grid)))) for sd in (5, 25, 60)]
    assert found[0] > found[1] > found[2]  # type: ignore[operator]


def test_share_on_a_grid() -> None:
    assert on_grid([0, 250, 529, 771, 1040], 250.0) == pytest.approx(0.8)
    rng = np.random.default_rng(2)
    assert on_grid(rng.uniform(0, 1e6, 20_000), 250.0) == pytest.approx(60 / 250, abs=0.02)


def test_key_correlation_knows_the_scale() -> None:
    c_major, f_sharp = [60, 62, 64, 65, 67, 69, 71] * 3, [66, 68, 70, 71, 73, 75, 77] * 3
    assert key_correlation(np.array(c_major), np.array(c_major) - 12) == pytest.approx(1.0)
    assert key_correlation(np.array(c_major), np.array(f_sharp)) < -0.5  # type: ignore[operator]
    assert key_correlation(np.arange(60, 72), np.array(c_major)) is None


def test_chords_clashes_and_the_top_line() -> None:
    onset, pitch = [0, 20, 30, 500, 510, 1000], [60, 64, 67, 60, 61, 72]
    assert chord_numbers(np.array(onset)).tolist() == [0, 0, 0, 1, 1, 2]
    assert clashes(np.array(onset), np.array(pitch)) == pytest.approx(0.5)
    assert top_line(notes(onset, pitch)).tolist() == [67, 61, 72]
    # A chord that is rolled for longer than 30 ms is two.
    assert chord_numbers(np.array([0, 29, 31])).tolist() == [0, 0, 1]
    assert clashes(np.array([0, 400]), np.array([60, 61])) is None


def test_a_tune_that_comes_back_in_another_key_is_known_again() -> None:
    tune = [60, 62, 64, 60, 67, 65, 64, 62]
    times = [400.0 * i for i in range(len(tune))]
    again = notes(times, [p + 5 for p in tune])
    assert returning_shapes(again, notes(times, tune)) == 1.0
    other = notes(times, [60, 59, 71, 50, 80, 44, 63, 61])
    assert returning_shapes(other, notes(times, tune)) == 0.0
    assert returning_shapes(notes(times, [60] * 8), notes(times, tune)) is None


def test_same_key_struck_again_at_once() -> None:
    assert same_key(np.array([0, 100, 400, 450]), np.array([60, 60, 60, 62])) == 0.25


def test_measure_brings_it_all_together() -> None:
    stretch = notes([500.0 * i for i in range(40)], [60, 64, 67, 72] * 10, 50.0)
    found = measure(stretch, stretch, 20_000.0)
    assert found is not None
    assert found.notes_per_second == 2.0 and found.short == 1.0
    assert found.key_correlation == pytest.approx(1.0) and found.returning_shapes == 1.0
    assert measure(notes([], []), stretch, 1000.0) is None


def test_the_metronome_prompt_stands_on_its_own_eighths() -> None:
    for metronome in METRONOMES:
        piece = metronome.prompt()
        assert on_grid(piece.onset_ms, metronome.eighth_ms) == 1.0
        assert metronome.prompt_ms == pytest.approx(16_000)
        assert metronome.share(piece.onset_ms + metronome.eighth_ms / 2) == 0.0
        late = np.array([16_000.0, 16_000 + 5_000])
        assert metronome.share(late, 4_000) == 1.0
        assert metronome.share(np.zeros(0)) is None
