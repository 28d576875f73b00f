"""The critic prefers music that keeps time, key and texture."""

from __future__ import annotations

import numpy as np
import pytest

from arietta.generation.measures import Notes, closes, pulse_agreement
from arietta.generation.takes import WEIGHTS, Verdict, judge, ranked

SCALE = np.array([60, 62, 64, 65, 67, 69, 71, 72])


def tune(
    n: int, period_ms: float, *, keys: np.ndarray = SCALE, jitter: float = 0.0, length: float = 300
) -> Notes:
    rng = np.random.default_rng(n)
    onset = np.sort(np.arange(n) * period_ms + rng.normal(0, jitter, n) * (jitter > 0))
    pitch = keys[np.cumsum(rng.integers(-2, 3, n)) % len(keys)]
    return Notes(onset - onset[0], np.full(n, length), pitch, np.full(n, 70))


PROMPT = tune(64, 250.0)


def score(new: Notes, **options: float) -> float:
    return judge(new, PROMPT, float(np.ptp(new.onset_ms)) + 250, **options).score


def test_what_a_listener_notices_lowers_the_score() -> None:
    good = score(tune(60, 250.0))
    assert good > score(tune(60, 250.0, jitter=90.0))  # out of time
    assert good > score(tune(60, 250.0, keys=SCALE + 6))  # another key
    assert good > score(tune(200, 75.0))  # three times as many notes
    assert good > score(tune(60, 250.0, length=40.0))  # short notes
    assert good > score(tune(60, 250.0), nats_per_note=15.0)
    doubled = tune(60, 250.0)
    both = Notes(
        np.repeat(doubled.onset_ms, 2),
        np.repeat(doubled.duration_ms, 2),
        np.stack((doubled.pitch, doubled.pitch + 1), axis=1).reshape(-1),
        np.repeat(doubled.velocity, 2),
    )
    assert judge(both, PROMPT, 15_000).terms["clashes"] == 1.0


def test_density_that_was_asked_for_is_no_fault() -> None:
    busy = tune(120, 125.0)
    assert score(busy, density=2.0) > score(busy)


def test_pulse_agreement_is_with_the_prompts_own_period() -> None:
    same = pulse_agreement(tune(60, 500.0).onset_ms, tune(40, 500.0).onset_ms)
    other = pulse_agreement(tune(60, 370.0).onset_ms, tune(40, 500.0).onset_ms)
    assert same is not None and other is not None and same > 0.9 > other
    assert pulse_agreement(np.array([0.0]), PROMPT.onset_ms) is None


@pytest.mark.parametrize("notes", [0, 1, 2])
def test_hardly_any_notes_are_judged_too(notes: int) -> None:
    few = tune(max(notes, 1), 250.0).where(np.arange(max(notes, 1)) < notes)
    found = judge(few, PROMPT, 10_000)
    assert set(found.terms) == set(WEIGHTS) and np.isfinite(found.score)
    alone = judge(PROMPT, few, 16_000)
    assert np.isfinite(alone.score)
    assert judge(few, few, 10_000).score <= 0 if notes == 0 else True


def test_the_best_come_first_and_equal_ones_in_order() -> None:
    assert ranked([Verdict(s, {}) for s in (0.5, 2.0, 0.5, -1.0)]) == [1, 0, 2, 3]


CADENCE = np.array([48, 64, 67, 72, 53, 65, 69, 72, 55, 62, 65, 71, 48, 64, 67, 72])
IN_C = Notes(np.arange(16) // 4 * 500.0, np.full(16, 450.0), CADENCE, np.full(16, 70))


@pytest.mark.parametrize(
    ("keys", "held_ms", "rests"),
    [
        ((48, 55, 64, 72), 1500, True),  # C major in C
        ((57, 60, 64), 1000, True),  # A minor, of the scale
        ((60,), 2000, True),
        ((48, 55, 64, 72), 900, False),  # let go too soon
        ((48, 55, 63, 72), 1500, False),  # C minor is not of the scale
        ((55, 62, 65, 71), 1500, False),  # a seventh
        ((60, 62), 1500, False),
    ],
)
def test_a_take_comes_to_rest_on_a_held_triad_of_the_key(keys, held_ms: int, rests: bool) -> None:
    run = tune(32, 250.0, length=200)
    n = len(keys)
    end = Notes(
        np.concatenate((run.onset_ms, np.full(n, 8000.0) + np.arange(n) * 5)),
        np.concatenate((run.duration_ms, np.full(n, float(held_ms)))),
        np.concatenate((run.pitch, np.array(keys))),
        np.concatenate((run.velocity, np.full(n, 70))),
    )
    assert closes(end, IN_C) is rests
    closing = judge(end, IN_C, 10_000, ending=True).terms["closing"]
    assert closing == float(rests) and judge(end, IN_C, 10_000).terms["closing"] == 0.0


def test_a_tone_that_still_sounds_belongs_to_the_last_chord() -> None:
    chord = Notes(
        np.array([0.0, 4000.0, 4000.0]),
        np.array([6000.0, 1500.0, 1500.0]),
        np.array([50, 60, 64]),
        np.full(3, 70),
    )
    assert not closes(chord, IN_C)  # D below C and E
    assert closes(chord.where(np.array([False, True, True])), IN_C)
    assert not closes(chord.where(np.zeros(3, bool)), IN_C)
