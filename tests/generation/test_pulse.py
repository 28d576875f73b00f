"""Onsets keep to the beat of a file or of a player; how long to wait stays the model's choice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import arietta
from arietta.generation.pulse import (
    FixedPulse,
    Pulse,
    TrackedPulse,
    bridged_pulse,
    metrical_pulse,
    tracked_pulse,
)
from arietta.midi.notes import note_table
from arietta.midi.piece import Piece
from arietta.midi.tempo import TempoMap

STEP_MS = 10.0


def written(twelfths: np.ndarray, bpm: float = 120.0, division: int = 480) -> Piece:
    """A part with its onsets on twelfths of a quarter."""
    onset = np.asarray(twelfths) * division // 12
    return Piece(
        TempoMap(division, np.array([0]), np.array([round(60e6 / bpm)])),
        note_table(onset, onset + division // 4, 60 + np.arange(len(onset)) % 5, 70, 0, 0),
    )


@given(
    st.sampled_from([FixedPulse(np.arange(0, 3000, 25.0), 1.5), TrackedPulse(31.7, 4.0, 0.1)]),
    st.integers(0, 400),
    st.integers(0, 2**32),
)
def test_gathering_keeps_the_probability_of_each_cell(pulse: Pulse, first: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps = np.arange(first, 500)
    before = rng.dirichlet(np.full(len(steps), 0.3))
    latest = max(first - int(rng.integers(0, 3)), 0)
    after = pulse.gather(steps, before, latest)
    points = pulse.points(float(min(latest, first)), 499.0)
    edges = points[:-1] + 0.6 * np.diff(points)
    cell, own = np.searchsorted(edges, steps), np.searchsorted(edges, latest)
    soon = (cell <= own) & (steps <= latest + pulse.ornament_steps)
    assert np.array_equal(after[soon], before[soon]) and np.all(after >= 0)
    later = np.maximum(cell, min(own + 1, len(points) - 1))[~soon]
    np.testing.assert_allclose(
        np.bincount(later, after[~soon]), np.bincount(later, before[~soon]), atol=1e-9
    )
    inner = ~soon & (cell > own) & (steps < 450)
    away = np.abs(steps - points[cell])
    assert after[inner & (away > 5 * pulse.spread)].sum() < 1e-3


def test_points_are_the_fractions_of_a_quarter_that_the_prompt_uses() -> None:
    eighths = np.arange(32) * 6
    pulse = metrical_pulse(written(eighths), 0.0, STEP_MS, 1.0)
    assert pulse is not None
    assert np.allclose(np.diff(pulse.points(800, 1200)), 25)
    swung = (np.arange(16)[:, None] * 12 + [0, 8]).reshape(-1)
    pulse = metrical_pulse(written(swung, 90.0), 0.0, STEP_MS, 1.0)
    assert pulse is not None
    quarter = 60_000 / 90 / STEP_MS
    twelfths = np.round(pulse.points(1100, 1600) / quarter * 12) % 12
    assert set(twelfths.tolist()) == {0, 8}


def test_a_tempo_that_is_not_the_musics_is_no_hindrance() -> None:
    eighths = written(np.arange(40) * 8)  # at 90, in a file that says 120
    pulse = metrical_pulse(eighths, 0.0, STEP_MS, 1.0)
    assert pulse is not None and np.allclose(np.diff(pulse.points(1500, 2500)), 33.333, atol=0.01)


def test_points_follow_the_tempo_of_the_file() -> None:
    slow = written(np.arange(16) * 12, 60.0)
    pulse = metrical_pulse(slow, 500.0, STEP_MS, 1.0)
    assert pulse is not None and np.allclose(pulse.points(1600, 1900) % 100, 50)


def test_music_off_the_grid_has_no_metrical_pulse() -> None:
    rng = np.random.default_rng(0)
    free = Piece.from_ms(np.cumsum(rng.integers(60, 700, 60)), 90, 60, 70)
    assert metrical_pulse(free, 0.0, STEP_MS, 1.0) is None
    assert tracked_pulse(free.onset_ms, STEP_MS, 0.1) is None
    assert tracked_pulse(np.zeros(0), STEP_MS, 0.1) is None


@pytest.mark.parametrize("period_ms", [240.0, 333.0, 517.0])
def test_the_pulse_of_a_player_is_found(period_ms: float) -> None:
    rng = np.random.default_rng(1)
    onset = 200 + np.arange(int(9000 / period_ms)) * period_ms
    played = np.sort(onset + rng.normal(0, 8, len(onset)))
    pulse = tracked_pulse(played, STEP_MS, 0.1)
    assert pulse is not None
    ratio = period_ms / (pulse.period * STEP_MS)
    assert abs(ratio - round(ratio)) < 0.05 and round(ratio) >= 1
    away = (played[-6:] / STEP_MS - pulse.at + pulse.period / 2) % pulse.period - pulse.period / 2
    assert np.abs(away).max() < 0.2 * pulse.period


def test_the_pulse_of_a_player_slows_down_with_the_music() -> None:
    pulse, at, period = TrackedPulse(40.0, 0.0, 0.1), 0.0, 40.0
    for _ in range(40):
        period *= 1.005
        at += period
        pulse = pulse.follow(round(at))
    assert pulse.period > 44 and abs(pulse.at - at) < 0.2 * period
    assert pulse.follow(round(pulse.at + 0.5 * pulse.period)) == pulse  # between two points


@pytest.mark.parametrize(("first", "last"), [(400.0, 400.0), (400.0, 430.0), (500.0, 460.0)])
def test_the_pulse_of_a_gap_leads_from_one_side_to_the_other(first: float, last: float) -> None:
    beats = np.cumsum(np.concatenate((np.full(24, first), np.linspace(first, last, 10))))
    beats = np.concatenate((beats, beats[-1] + last * np.arange(1, 24)))
    pulse = bridged_pulse(beats[:24], beats[34:], STEP_MS, 0.1)
    assert isinstance(pulse, FixedPulse)
    for beat in beats[24:34]:
        near = np.abs(pulse.points(0.0, 1e6) * STEP_MS - beat).min()
        assert near < 0.1 * first


def test_a_beat_on_one_side_only_goes_on_through_the_gap() -> None:
    beats = np.arange(60) * 400.0
    free = 20_000 + np.cumsum(np.random.default_rng(0).integers(60, 700, 60)).astype(float)
    before = bridged_pulse(beats[:24], free, STEP_MS, 0.1)
    assert isinstance(before, TrackedPulse) and abs(before.period * STEP_MS - 400) < 10
    behind = bridged_pulse(free - 30_000, beats[34:], STEP_MS, 0.1)
    assert behind is not None
    gap = np.array([25, 28, 33]) * 400.0
    points = behind.points(0.0, 2000.0) * STEP_MS
    assert all(np.abs(points - beat).min() < 80 for beat in gap)
    assert bridged_pulse(free - 30_000, free, STEP_MS, 0.1) is None
    # Beats of another speed on both sides do not meet: that before goes on.
    other = bridged_pulse(beats[:24], 14_000 + np.arange(24) * 560.0, STEP_MS, 0.1)
    assert isinstance(other, TrackedPulse) and abs(other.period * STEP_MS - 400) < 10


def test_a_fill_keeps_to_the_beat_around_it() -> None:
    model = arietta.load("small", threads=1)
    piece = written(np.arange(48) * 12, 96.0)  # quarters of 625 ms, on the file's grid
    played = Piece.from_ms(piece.onset_ms, 300, 60 + np.arange(48) % 12, 70)
    for around in (piece, played):
        shares = {}
        for groove in ("off", "loose", "tight"):
            made = model.fill(
                around, from_seconds=12.5, to_seconds=17.5, variations=4, takes=4, seed=4,
                groove=groove,
            )  # fmt: skip
            onsets = np.concatenate(
                [p.piece.onset_ms[(p.piece.onset_ms >= 12_490) & (p.piece.onset_ms < 17_500)]
                 for p in made]
            )  # fmt: skip
            away = np.abs((onsets + 156.25) % 312.5 - 156.25)
            shares[groove] = float((away <= 30).mean())
        assert min(shares["loose"], shares["tight"]) > 0.85, shares


def test_a_continuation_keeps_to_the_grid_of_its_prompt() -> None:
    model = arietta.load("small", threads=1)
    prompt = written(np.arange(32) * 12, 96.0)
    shares = {}
    for groove in ("off", "loose", "tight"):
        out = model.generate(prompt, seconds=8, seed=4, of=1, groove=groove)
        onsets = out.new.onset_ms + out.place_ms
        away = np.abs((onsets + 312.5) % 625.0 - 312.5)
        shares[groove] = float((away <= 30).mean())
    assert min(shares["loose"], shares["tight"]) > 0.8 > shares["off"]
