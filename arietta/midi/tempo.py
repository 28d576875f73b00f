"""Ticks <-> milliseconds under a tempo map.

Two arithmetics are offered. The default integrates the tempo map exactly. ``compat="aria"`` repeats
the public reference's, which goes wrong after the last tempo change and before a single late one
(specification A.2); it exists for parity with token files made by that code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Compat = Literal["aria"]
IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

DEFAULT_TEMPO_US = 500_000


@dataclass(frozen=True, eq=False)
class TempoMap:
    """Tempo events of a piece, in tick order.

    Attributes:
        division: the header's division word as a signed 16-bit number: ticks per quarter when
            positive, SMPTE (high byte minus frames per second, low byte ticks per frame) when
            negative.
        tick: (n,) int64, ascending, n >= 1.
        us_per_quarter: (n,) int64, microseconds per quarter from that tick on.
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
        scale = self.us_per_quarter * 1e-6 / self.division  # seconds per tick
        if compat == "aria":
            return self._distance_reference(start, end, scale)
        return self._distance(start, end, scale)

    def ms_at(self, tick: npt.ArrayLike, *, compat: Compat | None = None) -> FloatArray:
        """Milliseconds from tick 0, not rounded."""
        return self.distance_ms(0, tick, compat=compat)

    def tick_at(self, ms: npt.ArrayLike) -> IntArray:
        """The tick nearest to a time in milliseconds from tick 0."""
        wanted = np.asarray(ms, np.float64)
        smpte = self.ticks_per_second_smpte
        if smpte is not None:
            return np.rint(wanted / 1000.0 * smpte).astype(np.int64)
        edges = self.ms_at(self.tick)
        i = np.maximum(np.searchsorted(edges, wanted, side="right") - 1, 0)
        ms_per_tick = self.us_per_quarter * 1e-3 / self.division
        # A tempo of 0 stops the clock; every time maps to the tick it stopped at.
        safe = np.where(ms_per_tick[i] > 0, ms_per_tick[i], np.inf)
        return self.tick[i] + np.rint((wanted - edges[i]) / safe).astype(np.int64)

    def _distance(self, start: IntArray, end: IntArray, scale: FloatArray) -> FloatArray:
        """Exact integration: tempo i holds on [tick i, tick i+1), the first also before it."""
        tick = self.tick
        if len(tick) == 1:
            return np.asarray((end - start) * scale[0] * 1000.0, np.float64)
        first = np.maximum(np.searchsorted(tick, start, side="right") - 1, 0)
        last = np.maximum(np.searchsorted(tick, end, side="right") - 1, 0)
        backwards = last < first
        if np.any(backwards):
            low, high = np.minimum(start, end), np.maximum(start, end)
            return np.where(end < start, -1.0, 1.0) * self._distance(low, high, scale)
        if start.size and np.all(start.flat[0] == start):
            # One origin for all: a running sum adds in the same order as the walk below.
            i0 = int(first.flat[0])
            pieces = np.diff(tick[i0:]) * scale[i0:-1]
            if len(pieces):
                pieces[0] = (tick[i0 + 1] - start.flat[0]) * scale[i0]
            acc = np.concatenate(([0.0], np.cumsum(pieces)))
            base = np.where(last == i0, start, tick[last])
            return np.asarray((acc[last - i0] + (end - base) * scale[last]) * 1000.0, np.float64)
        total = np.zeros(start.shape)
        current, at = start.copy(), first.copy()
        walking = at < last
        while np.any(walking):
            i = at[walking]
            total[walking] += (tick[i + 1] - current[walking]) * scale[i]
            current[walking] = tick[i + 1]
            at[walking] += 1
            walking = at < last
        return np.asarray((total + (end - current) * scale[last]) * 1000.0, np.float64)

    def _distance_reference(self, start: IntArray, end: IntArray, scale: FloatArray) -> FloatArray:
        """The public reference's walk, step for step (specification A.2)."""
        tick = [int(t) for t in self.tick]
        n = len(tick)
        before = np.minimum(np.searchsorted(self.tick, start, side="left"), n - 1)
        out = np.empty(start.shape)
        for where, a in np.ndenumerate(start):
            b, current, total = int(end[where]), int(a), 0.0
            for j in range(max(0, int(before[where]) - 1), n - 1):
                if b < tick[j + 1]:
                    total += (b - current) * scale[j]
                    break
                total += (tick[j + 1] - current) * scale[j]
                current = tick[j + 1]
            if b > tick[-1]:
                total += (b - current) * scale[-1]
            out[where] = total * 1000.0
        return out
