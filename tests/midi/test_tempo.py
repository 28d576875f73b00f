"""Ticks and milliseconds against arithmetic in whole fractions, at the edges of tempo changes."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from arietta.midi import tempo as tempos
from arietta.midi.tempo import DEFAULT_TEMPO_US, MAX_WALK, TempoMap

maps = st.lists(
    st.tuples(st.integers(0, 60), st.sampled_from((1, 250_000, 500_000, 777_777, 16_777_215))),
    min_size=1,
    max_size=8,
)


def tempo_map(events: list[tuple[int, int]], division: int = 96) -> TempoMap:
    ordered = sorted(events, key=lambda event: event[0])
    tick, us = np.array(ordered, np.int64).reshape(-1, 2).T
    return TempoMap(division, tick, us)


def exact_ms(events: list[tuple[int, int]], start: int, end: int, division: int = 96) -> Fraction:
    """One tick at a time; a tick lasts as the last tempo at or before its beginning says."""
    if end < start:
        return -exact_ms(events, end, start, division)
    ordered = sorted(events, key=lambda event: event[0])
    total = Fraction(0)
    for tick in range(start, end):
        us = DEFAULT_TEMPO_US
        for at, value in ordered:
            if at <= tick:
                us = value
        total += Fraction(us, 1000 * division)
    return total


@given(maps, st.lists(st.tuples(st.integers(0, 80), st.integers(0, 80)), min_size=1, max_size=6))
@example([(10, 1), (10, 500_000)], [(9, 10), (10, 11), (10, 10)])
@example([(0, 250_000), (10, 777_777)], [(9, 10), (10, 11)])
def test_distances_are_exact(events: list[tuple[int, int]], pairs: list[tuple[int, int]]) -> None:
    tempo = tempo_map(events)
    start, end = np.array(pairs).T
    found = tempo.distance_ms(start, end)
    for (a, b), ms in zip(pairs, found.tolist(), strict=True):
        assert ms == pytest.approx(float(exact_ms(events, a, b)), rel=1e-12, abs=1e-9)
    from_zero = tempo.ms_at(end)
    for b, ms in zip(end.tolist(), from_zero.tolist(), strict=True):
        assert ms == pytest.approx(float(exact_ms(events, 0, b)), rel=1e-12, abs=1e-9)


@given(maps, st.integers(0, 100))
def test_a_tick_comes_back_from_its_time(events: list[tuple[int, int]], tick: int) -> None:
    tempo = tempo_map(events)
    assert tempo.tick_at(tempo.ms_at(tick)) == tick


def test_a_change_belongs_to_the_tempo_that_it_begins() -> None:
    tempo = tempo_map([(0, 480_000), (96, 960_000)])  # 5 ms a tick, then 10
    assert tempo.ms_at([95, 96, 97]).tolist() == pytest.approx([475.0, 480.0, 490.0])
    assert tempo.tick_at([475.0, 480.0, 490.0, 484.0, 486.0]).tolist() == [95, 96, 97, 96, 97]
    assert tempo.distance_ms(96, 97) == 10.0
    assert tempo.distance_ms(95, 96) == 5.0


def test_where_the_clock_stands_still_the_later_tempo_goes_on() -> None:
    tempo = tempo_map([(0, 960_000), (10, 0), (20, 960_000)])
    assert tempo.ms_at([10, 15, 20, 21]).tolist() == [100.0, 100.0, 100.0, 110.0]
    assert tempo.tick_at([99.0, 100.0, 110.0]).tolist() == [10, 20, 21]
    stopped = tempo_map([(0, 960_000), (10, 0)])
    assert stopped.tick_at([100.0, 500.0]).tolist() == [10, 10]


def test_a_late_first_tempo_leaves_the_default_before_it() -> None:
    tempo = tempo_map([(96, 250_000)])
    assert tempo.ms_at([95, 96, 192]).tolist() == pytest.approx([95 * 500 / 96, 500.0, 750.0])
    assert tempo.from_start.tick.tolist() == [0, 96]
    assert TempoMap.constant().from_start.tick.tolist() == [0]


@pytest.mark.parametrize("changes", [MAX_WALK - 1, MAX_WALK, MAX_WALK + 1, 3 * MAX_WALK])
def test_the_tail_of_a_long_walk_is_as_exact(changes: int) -> None:
    rng = np.random.default_rng(changes)
    us = rng.integers(100_000, 900_000, changes + 1)
    tempo = TempoMap(96, np.arange(changes + 1, dtype=np.int64) * 10, us)
    start, end = np.array([3, 17, 3]), np.array([changes * 10 + 5, changes * 10, 29])
    sums = np.concatenate(([0], np.cumsum(np.repeat(us, 10))))
    wanted = (sums[end] - sums[start]) / 96_000
    assert tempo.distance_ms(start, end) == pytest.approx(wanted, rel=1e-12)
    assert tempo.distance_ms(end, start) == pytest.approx(-wanted, rel=1e-12)


def test_a_walk_ends_where_the_note_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    # With a short limit every note but the shortest takes the table of sums.
    monkeypatch.setattr(tempos, "MAX_WALK", 1)
    tempo = tempo_map([(0, 96_000), (10, 960_000), (20, 9_600_000), (30, 96_000)])
    found = tempo.distance_ms([0, 5, 5, 15, 29], [5, 15, 25, 35, 30])
    assert found.tolist() == pytest.approx([5.0, 55.0, 605.0, 1055.0, 100.0])


def test_the_public_reference_is_repeated_with_its_faults() -> None:
    late = tempo_map([(96, 480_000)])  # one tempo: nothing lasts before it begins
    assert late.ms_at([0, 96, 97], compat="aria").tolist() == [0.0, 0.0, 97 * 5.0]
    two = tempo_map([(0, 480_000), (96, 960_000)])
    # From beyond the last change it counts back at the tempo before.
    assert two.distance_ms(106, 116, compat="aria") == pytest.approx(-10 * 5 + 20 * 10)
    found = two.distance_ms([96, 90, 106], [106, 96, 116], compat="aria").tolist()
    assert found == pytest.approx([100.0, 30.0, 150.0])


def test_smpte_ticks_have_their_own_length() -> None:
    tempo = TempoMap(-(25 << 8) + 40, np.zeros(1, np.int64), np.ones(1, np.int64))
    assert tempo.ticks_per_second_smpte == 1000.0
    assert tempo.distance_ms(100, 350) == 250.0 and tempo.tick_at(250.4) == 250
    drop = TempoMap(-(29 << 8) + 100, np.zeros(1, np.int64), np.ones(1, np.int64))
    assert drop.ticks_per_second_smpte == pytest.approx(2997.003, abs=1e-3)
