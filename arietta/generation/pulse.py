"""The beat that new onsets keep to while they are drawn.

A model gives every 10 ms of the next seconds a probability, flat enough that onsets drift off the
prompt's beat within a bar. Here the probability near a *point* of the beat is gathered there: the
times between two neighbouring points are cut at about the middle, and within such a cell

    p'(t) = p(cell) · p(t) k(t) / Σ p(t) k(t),        k(t) = exp(−½ ((t − point) / spread)²)

so that how long to wait is still the model's choice, and only the last few tens of milliseconds are
the beat's. Points are

    of the file      where the prompt's notes stand on a grid: the fractions of a quarter that the
                     prompt uses, in its own tempo (``metrical_pulse``)
    of the playing   else, where the prompt's onsets repeat clearly: a period and a phase that
                     follow what is played (``tracked_pulse``); in a gap, points that lead from the
                     beat before it to the beat behind it (``bridged_pulse``)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from arietta.arrays import FloatArray, IntArray
from arietta.generation.measures import autocorrelation
from arietta.generation.settings import Groove
from arietta.midi.grid import TWELFTHS, has_grid
from arietta.midi.piece import Piece

GROOVE_SPREAD_MS: Mapping[Groove, float | None] = {"tight": 5.0, "loose": 15.0, "off": None}
"""How far onsets lie from the grid of a file; None leaves them to the model."""
GROOVE_LOOSENESS: Mapping[Groove, float] = {"tight": 0.05, "loose": 0.1}
"""The same for the beat of a performance, as a share of its period; loose is about as people play
(pulse clarity, ``benchmarks/continuations.py``)."""
_EDGE = 0.6
"""Where a cell ends between its point and the next. Short times are likelier than long ones, so
cells cut in the middle would slow the music down."""
_RARE = 0.04
"""Share of onsets below which a fraction of the quarter does not count as used."""
_HORIZON_PERIODS = 4_000
_WINDOW_MS = 8_000.0
_FEWEST_ONSETS = 12
_CLEAR = 0.3
"""Autocorrelation from which on a pulse is followed."""
_NEARLY = 0.75
_SHORTEST_MS, _LONGEST_MS = 160.0, 700.0
_FOLLOW_PHASE, _FOLLOW_PERIOD = 0.35, 0.06
_NEAR = 0.3
"""Share of a period within which an onset moves phase and period."""
_MEET = 0.15
"""How far the beats on both sides of a gap may differ, as a share, to be the same."""


class Pulse(ABC):
    """Points in time, in steps from the start of the tokens; see the module."""

    ornament_steps: float = np.inf

    @abstractmethod
    def points(self, first: float, last: float) -> FloatArray:
        """Return the points around and between two times, ascending."""

    spread: float
    """How far onsets lie from a point, in steps."""

    @abstractmethod
    def follow(self, step: int) -> Pulse:
        """Return the pulse after an onset."""

    def gather(self, steps: IntArray, probabilities: FloatArray, latest: int) -> FloatArray:
        """Return probabilities of onsets gathered at the points.

        Args:
            steps: (n,) ascending, at which an onset may be.
            probabilities: (n,) of them.
            latest: the onset before. The rest of its chord and ornaments, up to
                ``ornament_steps`` later in its cell, are left as they are; what is later than that
                goes to the next point.
        """
        points = self.points(float(min(latest, steps[0])), float(steps[-1]))
        if not len(points):
            return probabilities
        edges = points[:-1] + _EDGE * np.diff(points)
        cell = np.searchsorted(edges, steps)
        own = int(np.searchsorted(edges, latest))
        soon = (cell <= own) & (steps <= latest + self.ornament_steps)
        cell = np.where(~soon & (cell <= own), min(own + 1, len(points) - 1), cell)
        away = (steps - points[cell]) / self.spread
        weight = probabilities * np.exp(-0.5 * np.minimum(away * away, 200.0))
        mass = np.bincount(cell, np.where(soon, 0.0, probabilities), len(points))
        near = np.bincount(cell, np.where(soon, 0.0, weight), len(points))
        scale = np.where(near > 1e-12 * mass, mass / np.maximum(near, 1e-300), 0.0)
        change = (scale[cell] > 0) & ~soon
        return np.where(change, weight * scale[cell], probabilities)


@dataclass(frozen=True, eq=False)
class FixedPulse(Pulse):
    """Points that are known beforehand.

    Attributes:
        steps: (k,) ascending.
        spread: in steps.
    """

    steps: FloatArray
    spread: float = 1.0
    ornament_steps: float = 8.0

    def points(self, first: float, last: float) -> FloatArray:
        """Return the points from the last before ``first`` to the first behind ``last``."""
        low = max(int(np.searchsorted(self.steps, first)) - 1, 0)
        high = int(np.searchsorted(self.steps, last, side="right")) + 1
        return self.steps[low:high]

    def follow(self, step: int) -> FixedPulse:
        """Return the pulse itself."""
        return self


@dataclass(frozen=True)
class TrackedPulse(Pulse):
    """A period and a phase that follow the onsets.

    Attributes:
        period: in steps.
        at: a point, in steps.
        looseness: spread as a share of the period.
    """

    period: float
    at: float
    looseness: float

    @property
    def spread(self) -> float:  # type: ignore[override]
        """How far onsets lie from a point, in steps."""
        return max(1.0, self.looseness * self.period)

    def points(self, first: float, last: float) -> FloatArray:
        """Return the points from the last before ``first`` to the first behind ``last``."""
        low = np.floor((first - self.at) / self.period)
        high = np.ceil((last - self.at) / self.period)
        return self.at + self.period * np.arange(low, high + 1)

    def follow(self, step: int) -> TrackedPulse:
        """Return the pulse after an onset, which moves it if it lies near a point."""
        periods = round((step - self.at) / self.period)
        late = step - self.at - periods * self.period
        if periods < 1 or abs(late) > _NEAR * self.period:
            return self
        return TrackedPulse(
            self.period + _FOLLOW_PERIOD * late / periods,
            self.at + periods * self.period + _FOLLOW_PHASE * late,
            self.looseness,
        )


def metrical_pulse(
    piece: Piece, zero_ms: float, step_ms: float, spread: float, *, from_ms: float | None = None
) -> FixedPulse | None:
    """Return the pulse of a piece whose notes stand on the grid of its file; None for others.

    Args:
        piece: the prompt.
        zero_ms: where steps count from, in ms from tick 0.
        step_ms: length of a step.
        spread: in steps.
        from_ms: where the points begin, in ms from tick 0; by default at the last onset.
    """
    if piece.tempo.division <= 0 or not has_grid(piece):
        return None
    onsets = np.unique(piece.notes.onset_tick)
    at = np.rint(onsets / piece.tempo.division * TWELFTHS).astype(np.int64)
    # A file whose tempo is not the music's still has the music's grid: every `common` twelfths.
    common = int(np.gcd.reduce(np.diff(at)))
    period = TWELFTHS if TWELFTHS % common == 0 or common % TWELFTHS == 0 else common
    count = np.bincount(at % period, minlength=period)
    used = np.flatnonzero(count > max(1.0, _RARE * len(onsets)))
    if not len(used):
        return None
    first = int(at[-1])
    if from_ms is not None:
        first = int(piece.tempo.tick_at(from_ms)) * TWELFTHS // piece.tempo.division
    periods = first // period - 1 + np.arange(_HORIZON_PERIODS)
    twelfths = (periods[:, None] * period + used).reshape(-1)
    ticks = np.rint(twelfths * piece.tempo.division / TWELFTHS).astype(np.int64)
    steps = (piece.tempo.ms_at(np.maximum(ticks, 0)) - zero_ms) / step_ms
    return FixedPulse(np.unique(steps), spread)


def tracked_pulse(onset_ms: FloatArray, step_ms: float, looseness: float) -> TrackedPulse | None:
    """Return the pulse that the end of a performance repeats at; None where it is not clear.

    Args:
        onset_ms: (n,) ascending, from where steps count.
        step_ms: length of a step.
        looseness: of the pulse, as a share of its period.
    """
    if not len(onset_ms):
        return None
    recent = onset_ms[onset_ms >= onset_ms[-1] - _WINDOW_MS]
    if len(recent) < _FEWEST_ONSETS:
        return None
    lags, values = autocorrelation(recent - recent[0], _SHORTEST_MS, _LONGEST_MS)
    if values.max() < _CLEAR:
        return None
    # The shortest period that is nearly as clear: what also repeats at two or three of them.
    inner = np.flatnonzero((values[1:-1] >= values[:-2]) & (values[1:-1] >= values[2:])) + 1
    clear = [i for i in inner if values[i] >= _NEARLY * values.max()]
    period = float(lags[clear[0] if clear else int(values.argmax())])
    # The phase at which most of the latest onsets lie near a point.
    phases = np.linspace(0, period, 48, endpoint=False)
    away = (recent[:, None] - phases + period / 2) % period - period / 2
    age = np.exp((recent - recent[-1]) / 3000.0)
    near = (age[:, None] * np.exp(-0.5 * (away / (_NEAR * period / 3)) ** 2)).sum(axis=0)
    phase = float(phases[int(near.argmax())])
    last = phase + period * np.floor((recent[-1] - phase) / period)
    return TrackedPulse(period / step_ms, last / step_ms, looseness)


def bridged_pulse(
    before_ms: FloatArray, behind_ms: FloatArray, step_ms: float, looseness: float
) -> Pulse | None:
    """Return the pulse of a gap: from the beat before it to the beat behind it.

    The period changes evenly between the two. Where only one side has a clear beat, or the two do
    not meet, the beat of one side goes on; None where neither has one.

    Args:
        before_ms, behind_ms: (n,), (m,) onsets on either side, ascending, from where steps count.
        step_ms: length of a step.
        looseness: of the pulse, as a share of its period.
    """
    before = tracked_pulse(before_ms, step_ms, looseness)
    mirrored = tracked_pulse(-behind_ms[::-1], step_ms, looseness)
    if mirrored is None:
        return before
    ending, last = -mirrored.at, mirrored.period
    if before is None:
        steps = ending + last * np.arange(-_HORIZON_PERIODS, 4.0)
        return FixedPulse(steps, mirrored.spread, np.inf)
    count = round(2 * (ending - before.at) / (before.period + last))
    if count < 1:
        return before
    periods = np.linspace(before.period, last, count)
    stretch = (ending - before.at) / float(periods.sum())
    if abs(before.period / last - 1) > _MEET or abs(stretch - 1) > _MEET:
        return before
    inner = before.at + np.cumsum(periods * stretch)
    around = np.arange(4.0)
    parts = (before.at - before.period * around[::-1], inner, ending + last * around[1:])
    return FixedPulse(np.concatenate(parts), (before.spread + mirrored.spread) / 2, np.inf)
