"""How late an instrument sounds, and how far another clock is from ours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from arietta.errors import InputError, UsageError

FEWEST_TAPS = 5
ROUND_TRIPS = 8
"""How many round trips the offset of a clock is taken from."""
_WIDEST_MS = 400.0
_STEADY_MS = 80.0


@dataclass(frozen=True)
class Latency:
    """How late notes sound after they are sent.

    Attributes:
        constant_ms: of the device, from a tap test.
        by_velocity_ms: velocity -> further ms, for players with hammers, which are slower when they
            play softly; linear between the entries.
    """

    constant_ms: float = 0.0
    by_velocity_ms: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        values = (self.constant_ms, *self.by_velocity_ms.values())
        if not all(0 <= value <= 2000 for value in values):
            raise UsageError("`latency` must lie between 0 and 2000 ms")

    def of(self, velocity: int) -> float:
        """Return how late a note of a velocity sounds."""
        table = self.by_velocity_ms
        if not table:
            return self.constant_ms
        below = max((v for v in table if v <= velocity), default=min(table))
        above = min((v for v in table if v >= velocity), default=max(table))
        if below == above:
            return self.constant_ms + table[below]
        share = min(max((velocity - below) / (above - below), 0.0), 1.0)
        return self.constant_ms + table[below] + share * (table[above] - table[below])

    @property
    def longest_ms(self) -> float:
        """The latest that any note sounds."""
        return self.constant_ms + max(self.by_velocity_ms.values(), default=0.0)


NO_LATENCY = Latency()


def tap_latency_ms(clicks_ms: Sequence[float], taps_ms: Sequence[float]) -> float:
    """Return the latency of a device from taps along with clicks that it sounded.

    Args:
        clicks_ms: when each click was sent.
        taps_ms: when a key was struck along with what was heard.

    Returns:
        The median distance from a click to the tap that belongs to it, 0 at least.

    Raises:
        InputError: too few taps fall on clicks, or they scatter too much to tell.
    """
    distances = []
    for tap in taps_ms:
        nearest = min(clicks_ms, key=lambda click: abs(tap - click), default=math.inf)
        if abs(tap - nearest) <= _WIDEST_MS:
            distances.append(tap - nearest)
    if len(distances) < FEWEST_TAPS:
        raise InputError(
            f"tap test: {len(distances)} taps fall on clicks, at least {FEWEST_TAPS} are needed;"
            " tap once with every click"
        )
    middle = median(distances)
    scatter = median(abs(distance - middle) for distance in distances)
    if scatter > _STEADY_MS:
        raise InputError(
            f"tap test: the taps scatter by {scatter:.0f} ms around the clicks; try again, steadier"
        )
    return max(middle, 0.0)


def clock_offset_ms(round_trips: Sequence[tuple[float, float, float]]) -> float:
    """Return our clock minus another, from the quickest of some round trips.

    Args:
        round_trips: (sent by their clock, received by ours, answer back by theirs), in ms; the last
            eight count.

    Raises:
        InputError: there are none, or an answer came before its question.
    """
    last = list(round_trips)[-ROUND_TRIPS:]
    if not last or any(back < sent for sent, _, back in last):
        raise InputError("a clock is compared by round trips whose answers come after the question")
    sent, ours, back = min(last, key=lambda trip: trip[2] - trip[0])
    return ours - (sent + back) / 2
