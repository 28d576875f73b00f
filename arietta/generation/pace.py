"""The rate of notes that is asked for, held while they are drawn.

The probability of every wait before an onset falls by exp(-tilt · seconds): shorter waits, and more
notes of a chord, where the tilt is positive. The tilt is found while the music goes on, from the
rate of the last seconds, so the rate is what was asked for whatever the model likes; which waits
the music has, and what is played, stay the model's. Where the tilt is negative, the odds rise up to
a wait that the rate may well have, and fall again beyond it: slow music does not fall silent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from arietta.arrays import FloatArray, IntArray
from arietta.tokenizers.quantise import STEP

_STEP_S = STEP / 1000
_WINDOW_S, _SHORTEST_WINDOW_S = 3.0, 0.7
_AT_ONCE, _OVER_TIME = 1.0, 0.4
"""How strongly the tilt follows the log of how far the rate is off, as multiples of the higher of
the rates asked for and usual: at once, and for every second that it lasts."""
_LEAST, _MOST = -1.5, 2.0
"""Limits of the tilt, as multiples of the same rate."""
_LONGEST_NOTES, _LONGEST_S = 1.5, 2.0
"""The wait from which on waits are not preferred further: a multiple of the usual wait at the rate,
and at most."""


@dataclass(frozen=True)
class Pace:
    """A rate of notes, and how far the music is from it.

    Attributes:
        rate: notes a second that are asked for.
        usual: notes a second that were heard.
        lasting: tilt per second that has built up.
        recent: steps of the notes of the last seconds.
        began: step of the first note; None before it.
    """

    rate: float
    usual: float
    lasting: float = 0.0
    recent: tuple[int, ...] = ()
    began: int | None = None

    @property
    def tilt(self) -> float:
        """How much the odds of a wait fall for every second of it."""
        return self._limited(self.lasting + _AT_ONCE * self._scale * self._distance())

    def _felt_s(self, wait_s: FloatArray) -> FloatArray:
        """Return the lengths of waits as the tilt takes them."""
        if self.tilt >= 0:
            return np.minimum(wait_s, _LONGEST_S)
        turn = min(_LONGEST_NOTES / self.rate, _LONGEST_S)
        return np.maximum(turn - np.abs(wait_s - turn), -turn)

    @property
    def _scale(self) -> float:
        return max(self.rate, self.usual)

    def _limited(self, tilt: float) -> float:
        return min(max(tilt, _LEAST * self._scale), _MOST * self._scale)

    def _distance(self) -> float:
        """Return the log of the rate asked for over the rate of the last seconds; 0 at first."""
        if self.began is None:
            return 0.0
        passed = (self.recent[-1] - self.began) * _STEP_S
        if passed < _SHORTEST_WINDOW_S:
            return 0.0
        return math.log(self.rate * min(passed, _WINDOW_S) / len(self.recent))

    def after(self, step: int) -> Pace:
        """Return the pace after a note at a step."""
        if self.began is None:
            first_guess = self._limited(_AT_ONCE * (self.rate - self.usual))
            return replace(self, lasting=first_guess, recent=(step,), began=step)
        passed_s = max(step - self.recent[-1], 0) * _STEP_S
        first = step - _WINDOW_S / _STEP_S
        moved = replace(self, recent=(*(s for s in self.recent if s > first), step))
        lasting = self.lasting + _OVER_TIME * self._scale * moved._distance() * passed_s
        return replace(moved, lasting=self._limited(lasting))

    def of_waits(self, steps: IntArray, probabilities: FloatArray, latest: int) -> FloatArray:
        """Return probabilities of onsets, tilted; their sum stays.

        Args:
            steps: (n,) steps of the onsets.
            probabilities: (n,) of them.
            latest: step of the latest note.
        """
        felt = self._felt_s(np.maximum(steps - latest, 0) * _STEP_S)
        tilted = probabilities * np.exp(-self.tilt * (felt - felt.max(initial=0.0)))
        total = tilted.sum()
        return tilted * (probabilities.sum() / total) if total > 0 else probabilities

    def of_waiting(self, share: float, seconds_left: float) -> float:
        """Return the share of "no further note in this segment", tilted against another note.

        Args:
            share: of the next segment among it and another note, 0..1.
            seconds_left: of the present segment.
        """
        # Another note comes after about the usual wait.
        after, within = self._felt_s(
            np.array([seconds_left + 0.5 / self.rate, min(seconds_left / 2, 0.5 / self.rate)])
        ).tolist()
        weight = share * math.exp(min(-self.tilt * (after - within), 50.0))
        return weight / (weight + 1 - share)
