"""Playing a score with the small rendering model.

The model says how each row deviates from the mean of its performance, in standard deviations
(``training.tasks.performer_targets``); mean and spread of a performance come from a linear summary
of the score. What pianists agree on is all in that, and the first take is little else. What one of
them adds is drawn at random on top, coherently in the further takes: slow swells of tempo and
dynamics, the weight of the tune, touch, and the small unevenness of a hand.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from arietta.arrays import Float32Array, FloatArray, Uint8Array
from arietta.errors import UsageError
from arietta.generation.sampling import RowRandom
from arietta.models.performer.config import PEDAL_PLACES, SPREAD_MS
from arietta.models.performer.openvino import PerformerModel
from arietta.notation.features import levels, score_features
from arietta.notation.score_notes import PerformedNotes, ScoreNotes
from arietta.rendering.players import RenderProgress, Report, Stop, Take


@dataclass(frozen=True)
class Liberty:
    """How far a take follows what pianists agree on, and how much of its own it adds.

    Attributes:
        slow, fast: share of the model's answer about tempo that is played, over a phrase and from
            note to note. The answer is a mean over pianists: the less they agree, or the less the
            model knows, the flatter it is, and so it is left.
        swing: slow swells of tempo on top, as a share of the spread of what is played of the
            answer: where pianists keep time, nobody swings.
        own: what is drawn beside the answer about dynamics and touch, in their standard deviations.
    """

    slow: float
    fast: float
    swing: float
    own: float


_FIRST = Liberty(slow=1.8, fast=1.4, swing=0.0, own=0.10)
"""The first take is close to what pianists agree on. Chosen on validation scores, with the next."""

_OTHERS = Liberty(slow=1.3, fast=1.0, swing=0.7, own=0.55)
"""Two further takes agree about as two pianists do, and each is nearer to people than a
metronome is."""

_WIDER = 1.1
"""Velocity and touch before the tune is weighed and keys are let go, over what is left of them
then. Chosen on validation scores."""

_PHRASE_QUARTERS = 4.0
"""Tempo changes over less than this are from note to note."""

_VOICING = 15.0
"""Velocity steps of the top key over the others of its chord, at most, on average: people's."""

_TUNE = 0.25
"""How much the weight of the tune differs between takes."""

_UNEVEN_MS = 10.0
"""Scale of the Laplace distribution of what a note's distance from its chord is off at temperature
1: with it the distances have the standard deviation of people's, 16 ms, and their long tails."""

_PEDAL_MOODS = 0.3
"""How far the threshold of the pedal wanders at temperature 1. People differ much: the share of a
piece with the pedal down has a standard deviation of 0.26 between them."""

_SHORTEST_PEDAL_MS = 100.0
"""Under this a foot only twitches."""

_MIN_GAP_MS, _MAX_GAP_MS = 12.0, 20_000.0


@dataclass(frozen=True, eq=False)
class PerformerPlayer:
    """Plays with the small model; a ``players.Player``.

    Attributes:
        model: what is asked.
        seed: of everything random.
        temperature: how much is drawn at random: 0 nothing, 1 enough to tell two takes apart.
        origin: what else provenance says.

    Raises:
        UsageError: the seed or the temperature is out of range.
    """

    model: PerformerModel
    seed: int = 0
    temperature: float = 1.0
    origin: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        RowRandom(self.seed, 0)  # refuses a seed out of range
        if not 0 <= self.temperature <= 2:
            raise UsageError(f"`temperature` lies in 0 to 2, not {self.temperature}")

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What plays, with which settings."""
        return {
            **self.origin,
            "settings": {"temperature": self.temperature},
            "seed": self.seed,
        }

    def perform(self, score: ScoreNotes, variation: int = 0) -> PerformedNotes:
        """One performance."""
        return self.takes(score, [variation])[0].performed

    def takes(
        self,
        score: ScoreNotes,
        variations: Sequence[int] = (0,),
        *,
        report: Report | None = None,
        stop: Stop | None = None,
    ) -> list[Take]:
        """See ``Player.takes``; a batch of windows takes a moment, so nobody need stop it."""
        began = time.perf_counter()
        features = score_features(score)
        total = len(score) * len(variations)

        def tell(rows: int) -> None:
            if report is not None:
                done = rows * len(variations)
                report(RenderProgress(done, total, time.perf_counter() - began))

        outputs = self.model.outputs(score, features, tell)
        return [Take(self._perform(score, features, outputs, i), len(score)) for i in variations]

    def _perform(
        self, score: ScoreNotes, features: Float32Array, outputs: FloatArray, variation: int
    ) -> PerformedNotes:
        rng = np.random.default_rng([self.seed, variation])
        heat = self.temperature
        found = levels(score, features, self.model.checkpoint.levels)
        loud, loud_spread, slow, slow_spread, touch, touch_spread = found
        chord, k = score.chord, len(score.chord_tick)
        size = np.bincount(chord, minlength=k)

        def of_chords(values: FloatArray) -> FloatArray:
            found: FloatArray = np.bincount(chord, values, k) / size
            return found

        quarters = np.append(np.diff(score.chord_tick) / score.division, 0.0)
        quarters[-1] = float(score.duration_quarter[chord == k - 1].max())
        liberty = _liberty(variation, heat)
        own = liberty.own * heat
        tempo = of_chords(outputs[:, 1])
        phrase = _smooth(tempo, quarters)
        tempo = liberty.slow * (phrase - phrase.mean()) + liberty.fast * (tempo - phrase)
        swell = _spread_out(_swell(score.chord_tick / score.division, rng))
        tempo += liberty.swing * heat * float(tempo.std()) * swell
        tempo -= tempo.mean()
        gap = np.exp(slow + slow_spread * tempo) * quarters
        gap = np.clip(gap, _MIN_GAP_MS, _MAX_GAP_MS)
        start = min(float(score.onset_ms[0]), 5_000.0)
        chord_ms = start + np.concatenate(([0.0], np.cumsum(gap[:-1])))

        apart = outputs[:, 3] * SPREAD_MS + rng.laplace(0.0, _UNEVEN_MS, len(score)) * heat
        apart -= of_chords(apart)[chord]
        # A hand may spread a chord, but not into the next one.
        room = np.minimum(gap, np.concatenate((gap[:1], gap[:-1])))[chord] * 0.45
        onset = np.maximum(chord_ms[chord] + np.clip(apart, -room, room), 0.0)

        velocity = _spread_out(outputs[:, 0])
        wave = _swell(score.onset_quarter, rng) + 0.5 * rng.normal(size=len(score))
        velocity = loud + _WIDER * loud_spread * _mixed(velocity, wave, own)
        weight = _VOICING * float(np.exp(_TUNE * own * rng.normal()))
        velocity = np.clip(np.rint(_voiced(score, velocity, weight)), 1, 127)

        length = _spread_out(outputs[:, 2])
        length = _mixed(length, _touch(score, rng), own)
        duration = np.exp(touch + _WIDER * touch_spread * length) * gap[chord]
        pedal_ms, pedal_value = _pedal(chord_ms, gap, outputs[:, 4:], of_chords, rng, heat)
        return PerformedNotes(
            onset,
            np.clip(duration, 15.0, 60_000.0),
            velocity.astype(np.uint8),
            pedal_ms,
            pedal_value,
        )


def _liberty(variation: int, heat: float) -> Liberty:
    """Return how free a take is; at temperature 0 all follow the answer alike."""
    if not variation:
        return _FIRST
    share = min(heat, 1.0)
    slow = _FIRST.slow + share * (_OTHERS.slow - _FIRST.slow)
    return replace(_OTHERS, slow=slow, fast=_FIRST.fast + share * (_OTHERS.fast - _FIRST.fast))


def _smooth(values: FloatArray, quarters: FloatArray) -> FloatArray:
    """Return values over written time without what is quicker than a phrase.

    Args:
        values: (k,) of the spans after every chord.
        quarters: (k,) written length of the spans.
    """
    end = np.cumsum(quarters)
    edge = np.concatenate(([0.0], end))
    middle = end - quarters / 2
    low = np.maximum(middle - _PHRASE_QUARTERS / 2, 0.0)
    high = np.minimum(middle + _PHRASE_QUARTERS / 2, end[-1])
    for _ in range(2):  # a mean of means: no step at the edges of a window
        total = np.concatenate(([0.0], np.cumsum(values * quarters)))
        values = (np.interp(high, edge, total) - np.interp(low, edge, total)) / (high - low)
    return values


def _voiced(score: ScoreNotes, velocity: FloatArray, limit: float) -> FloatArray:
    """Return velocities with the tune at most ``limit`` above the other keys of its chords."""
    chord = score.chord
    size = np.bincount(chord)
    mean = np.bincount(chord, velocity) / size
    last = np.append(np.flatnonzero(np.diff(chord)), len(chord) - 1)  # the top of every chord
    several = size > 1
    if not several.any():
        return velocity
    above = (velocity[last] - mean) * size / np.maximum(size - 1, 1)
    stands = float(above[several].mean())
    if stands <= limit:
        return velocity
    inside = (velocity - mean[chord]) * limit / stands
    # What the tune loses, the course of the chords gains: loud and soft stay as far apart.
    course = mean[chord] - velocity.mean()
    wanted = float(velocity.var() - inside.var())
    gain = np.sqrt(max(wanted, 0.0) / max(float(course.var()), 1e-6))
    found: FloatArray = velocity.mean() + course * min(gain, 1.3) + inside
    return found


def _touch(score: ScoreNotes, rng: np.random.Generator) -> FloatArray:
    """Return how a take differs in touch: in swells, and from note to note."""
    return _spread_out(_swell(score.onset_quarter, rng)) + rng.normal(size=len(score))


def _spread_out(values: FloatArray) -> FloatArray:
    """Values with mean 0 and standard deviation 1: a mean of many takes is flatter than each."""
    found: FloatArray = (values - values.mean()) / max(float(values.std()), 1e-6)
    return found


def _mixed(values: FloatArray, noise: FloatArray, share: float) -> FloatArray:
    """Values and noise, both of standard deviation 1, in a sum that has it as well."""
    noise = _spread_out(noise)
    found: FloatArray = (values + share * noise) / np.sqrt(1.0 + share**2)
    return found


def _swell(quarter: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return a slow random wave over written time: periods from two beats to a long phrase."""
    total = np.zeros(len(quarter))
    for period in (3.0, 7.0, 16.0, 40.0):
        phase, bend = rng.uniform(0, 2 * np.pi, 2)
        angle = 2 * np.pi * quarter / period
        total += np.sin(angle + phase + 1.5 * np.sin(angle / 2.7 + bend))
    return total


def _pedal(
    chord_ms: FloatArray,
    gap: FloatArray,
    odds: FloatArray,
    of_chords: Callable[[FloatArray], FloatArray],
    rng: np.random.Generator,
    heat: float,
) -> tuple[FloatArray, Uint8Array]:
    """Return times and values of the pedal's changes.

    Pedalling of one pianist is a threshold on how often all of them have it down; the threshold
    wanders slowly.
    """
    share = 1 / (1 + np.exp(-np.stack([of_chords(column) for column in odds.T], axis=1)))
    wander = _spread_out(_swell(np.arange(len(gap)) / 2.0, rng)) if len(gap) > 1 else 0.0
    threshold = 0.5 + _PEDAL_MOODS * heat * np.clip(wander, -2, 2)
    down = (share > np.reshape(threshold, (-1, 1))).ravel()
    time = (chord_ms[:, None] + gap[:, None] * np.array(PEDAL_PLACES)).ravel()
    time = np.append(time, chord_ms[-1] + gap[-1])
    down = np.append(down, False)
    change = np.flatnonzero(np.diff(down, prepend=False))
    lasts = np.diff(time[change])[::2]  # from every press to its release
    keep = np.repeat(lasts >= _SHORTEST_PEDAL_MS, 2)
    change = change[: len(keep)][keep]
    return time[change], np.where(down[change], 127, 0).astype(np.uint8)
