"""The rate of notes that is asked for comes out, whatever the model likes."""

from __future__ import annotations

import numpy as np
import pytest

import arietta
from arietta.generation.pace import Pace
from arietta.paths import assets_dir

STEPS = np.arange(500)


def played(pace: Pace | None, usual: float, seconds: float, seed: int) -> float:
    """Draw notes of a model with a rate of its own; return the rate that came out."""
    rng = np.random.default_rng(seed)
    model = np.exp(-usual * STEPS / 100)
    model[0] = model[1:].sum() * 0.3  # some notes of chords
    model /= model.sum()
    now, notes = 0, 0
    while now < seconds * 100:
        p = model if pace is None else pace.of_waits(now + STEPS, model, now)
        now += int(rng.choice(500, p=p / p.sum()))
        notes += 1
        pace = None if pace is None else pace.after(now)
    return notes / seconds


@pytest.mark.parametrize("times", [0.25, 0.5, 1.5, 2.0])
def test_the_rate_comes_out(times: float) -> None:
    own = np.mean([played(None, 8.0, 30, seed) for seed in range(4)])
    found = [played(Pace(times * own, own), 8.0, 30, seed) for seed in range(4)]
    assert np.mean(found) == pytest.approx(times * own, rel=0.15)


def test_a_model_at_the_rate_is_left_alone() -> None:
    pace = Pace(5.0, 5.0)
    for step in range(0, 400, 20):
        pace = pace.after(step)
    assert abs(pace.tilt) < 1.0
    p = np.full(500, 0.002)
    np.testing.assert_allclose(Pace(5.0, 5.0).of_waits(STEPS, p, 0), p)


def test_tilting_keeps_the_sum_and_moves_waits_the_right_way() -> None:
    p = np.exp(-STEPS / 50.0) * 0.01
    mean = (STEPS * p).sum() / p.sum()
    for rate, sign in ((2.0, 1), (20.0, -1)):
        pace = Pace(rate, 8.0).after(0)
        tilted = pace.of_waits(STEPS, p, 0)
        assert tilted.sum() == pytest.approx(p.sum())
        assert np.sign((STEPS * tilted).sum() / tilted.sum() - mean) == sign
        share = pace.of_waiting(0.3, 0.5)
        assert 0 < share < 1 and np.sign(share - 0.3) == sign
    assert Pace(2.0, 8.0).after(0).of_waits(STEPS[:0], p[:0], 0).size == 0


def test_slow_music_does_not_fall_silent() -> None:
    pace = Pace(2.0, 8.0)
    for step in range(0, 100, 4):  # far too fast
        pace = pace.after(step)
    flat = np.full(500, 0.002)
    tilted = pace.of_waits(96 + STEPS, flat, 96)
    assert 30 < int(np.argmax(tilted)) < 200
    assert tilted[400:].sum() < 0.05


def test_density_multiplies_the_rate_of_the_prompt() -> None:
    model = arietta.load("small", threads=1)
    prompt = assets_dir() / "prompts" / "nocturne.mid"
    rates = {}
    for density in (0.5, 1.0, 2.0):
        found = [
            model.generate(prompt, seconds=10, density=density, of=1, seed=seed)
            for seed in range(2)
        ]
        rates[density] = np.mean([len(out.new) / out.music_seconds for out in found])
    assert rates[0.5] < rates[1.0] < rates[2.0] / 1.4
