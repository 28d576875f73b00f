"""Ticks <-> milliseconds under a tempo map.

Two arithmetics are offered. The default integrates the tempo map exactly. ``compat="aria"`` repeats
the public reference's, which goes wrong after the last tempo change and before a late first one
(specification A.2); it exists for parity with token files made by that code.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from arietta.arrays import FloatArray, IntArray

Compat = Literal["aria"]

DEFAULT_TEMPO_US = 500_000
# Notes that outlast this many tempo changes get the rest from a table of sums: as exact, but not
# added in the reference's order. Without a limit a hostile file takes minutes.
MAX_WALK = 128


@dataclass(frozen=True, eq=False)
class TempoMap:
    """Tempo events of a piece, in tick order.

    Attributes:
        division: the header's division word as a signed 16-bit number: ticks per quarter when
            positive, SMPTE (high byte minus frames per second, low byte ticks per frame) when
            negative.
        tick: (n,) int64, ascending, n >= 1.
        us_per_quarter: (n,) int64, microseconds per quarter from that tick on. Before the first
            one 120 quarters a minute hold.
    """

    division: int
    tick: IntArray
    us_per_quarter: IntArray

    @classmethod
    def constant(cls, division: int = 500, us_per_quarter: int = DEFAULT_TEMPO_US) -> TempoMap:
        """One tempo from tick 0 on; the defaults make one tick one millisecond."""
        return cls(division, np.zeros(1, np.int64), np.full(1, us_per_quarter, np.int64))

    @property
    def ticks_per_second_smpte(self) -> float | None:
        """Ticks per second of an SMPTE division, None for a metrical one."""
        if self.division >= 0:
            return None
        frames = -(self.division >> 8)
        # 29 stands for the 29.97 frames a second of drop-frame time code.
        rate = 30_000 / 1_001 if frames == 29 else float(frames)
        return rate * (self.division & 0xFF)

    @cached_property
    def from_start(self) -> TempoMap:
        """The same map with a tempo at tick 0: 120 quarters a minute where the file has none."""
        if self.tick[0] <= 0:
            return self
        return TempoMap(
            self.division,
            np.concatenate((np.zeros(1, np.int64), self.tick)),
            np.concatenate((np.full(1, DEFAULT_TEMPO_US, np.int64), self.us_per_quarter)),
        )

    def distance_ms(
        self,
        start_tick: npt.ArrayLike,
        end_tick: npt.ArrayLike,
        *,
        compat: Compat | None = None,
    ) -> FloatArray:
        """Milliseconds from ``start_tick`` to ``end_tick``, not rounded; both broadcast.

        The order of the floating-point operations is the reference's, so that exact half
        milliseconds round the same way in both.
        """
        start, end = np.broadcast_arrays(
            np.asarray(start_tick, np.int64), np.asarray(end_tick, np.int64)
        )
        smpte = self.ticks_per_second_smpte
        if compat is None and smpte is not None:
            return np.asarray((end - start) / smpte * 1000.0, np.float64)
        if compat is None and self.tick[0] > 0:
            return self.from_start.distance_ms(start, end)
        scale = self.us_per_quarter * 1e-6 / self.division  # seconds per tick
        if compat == "aria":
            return self._distance_reference(start, end, scale)
        return self._distance(start, end, scale)

    def ms_at(self, tick: npt.ArrayLike, *, compat: Compat | None = None) -> FloatArray:
        """Milliseconds from tick 0, not rounded."""
        return self.distance_ms(0, tick, compat=compat)

    def tick_at(self, ms: npt.ArrayLike) -> IntArray:
        """Return the tick nearest to a time in milliseconds from tick 0."""
        wanted = np.asarray(ms, np.float64)
        smpte = self.ticks_per_second_smpte
        if smpte is not None:
            return np.rint(wanted / 1000.0 * smpte).astype(np.int64)
        if self.tick[0] > 0:
            return self.from_start.tick_at(ms)
        edges = self.ms_at(self.tick)
        i = np.maximum(np.searchsorted(edges, wanted, side="right") - 1, 0)
        ms_per_tick = self.us_per_quarter * 1e-3 / self.division
        # A tempo of 0 stops the clock; every time maps to the tick it stopped at.
        safe = np.where(ms_per_tick[i] > 0, ms_per_tick[i], np.inf)
        return self.tick[i] + np.rint((wanted - edges[i]) / safe).astype(np.int64)

    def _distance(self, start: IntArray, end: IntArray, scale: FloatArray) -> FloatArray:
        """Exact integration: tempo i holds on [tick i, tick i+1); the first is at tick 0."""
        if len(self.tick) == 1:
            return np.asarray((end - start) * scale[0] * 1000.0, np.float64)
        backwards = end < start
        if np.any(backwards):
            low, high = np.minimum(start, end), np.maximum(start, end)
            return np.where(backwards, -1.0, 1.0) * self._distance(low, high, scale)
        first = np.maximum(np.searchsorted(self.tick, start, side="right") - 1, 0)
        last = np.maximum(np.searchsorted(self.tick, end, side="right") - 1, 0)
        return self._integrate(start, end, first, last, scale)

    def _distance_reference(self, start: IntArray, end: IntArray, scale: FloatArray) -> FloatArray:
        """Return the walk of the public reference (A.2), which may begin one tempo too early."""
        n = len(self.tick)
        if n == 1:
            return np.where(end > self.tick[0], (end - start) * scale[0] * 1000.0, 0.0)
        before = np.minimum(np.searchsorted(self.tick, start, side="left"), n - 1)
        first = np.maximum(before - 1, 0)
        last = np.maximum(np.searchsorted(self.tick, end, side="right") - 1, first)
        return self._integrate(start, end, first, last, scale)

    def _integrate(
        self, start: IntArray, end: IntArray, first: IntArray, last: IntArray, scale: FloatArray
    ) -> FloatArray:
        """Milliseconds under tempos ``first`` to ``last``, summed in the order of a walk.

        The first piece ends at tick ``first + 1``, even where ``start`` lies beyond it.
        """
        tick = self.tick
        if start.size and np.all(start.flat[0] == start):
            # One origin for all: a running sum adds in the same order as the walk below.
            i0 = int(first.flat[0])
            pieces = np.diff(tick[i0:]) * scale[i0:-1]
            if len(pieces):
                pieces[0] = (tick[i0 + 1] - start.flat[0]) * scale[i0]
            acc = np.concatenate(([0.0], np.cumsum(pieces)))
            base = np.where(last == i0, start, tick[last])
            return np.asarray((acc[last - i0] + (end - base) * scale[last]) * 1000.0, np.float64)
        shape = start.shape
        start, end, first, last = start.ravel(), end.ravel(), first.ravel(), last.ravel()
        total = np.zeros(len(start))
        current, at = start.copy(), first.copy()
        rows = np.flatnonzero(at < last)
        for _ in range(MAX_WALK):
            if not len(rows):
                break
            i = at[rows]
            total[rows] += (tick[i + 1] - current[rows]) * scale[i]
            current[rows] = tick[i + 1]
            at[rows] = i + 1
            rows = rows[i + 1 < last[rows]]
        if len(rows):
            edges = np.concatenate(([0.0], np.cumsum(np.diff(tick) * scale[:-1])))
            total[rows] += edges[last[rows]] - edges[at[rows]]
            current[rows] = tick[last[rows]]
        return np.asarray(((total + (end - current) * scale[last]) * 1000.0).reshape(shape))
