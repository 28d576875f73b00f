"""How much of a performance to take: between the score as written, the performance, and beyond.

A scale of 0 gives the score as written, 1 the performance, more exaggerates. Dynamics are scaled in
velocity steps; timing in the logarithm of time, so that twice the rubato of a doubling is a
quadrupling and no time turns negative; the pedal in its depth.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from arietta.arrays import BoolArray, FloatArray, Uint8Array
from arietta.errors import UsageError
from arietta.notation.score_notes import LEFT, RIGHT, PerformedNotes, ScoreNotes, deadpan

Scale: TypeAlias = "float | Mapping[str, float]"
"""One number, or numbers by ``left``, ``right``, the name of a part, or its number from 1."""

MAX_SCALE = 4.0
_HANDS = {"left": LEFT, "right": RIGHT}
_SHORT_MS = 1.0  # spans under this have no logarithm to speak of


@dataclass(frozen=True)
class Controls:
    """What a musician asks of a rendering.

    Attributes:
        dynamics: scale of velocities; by hand or part where wanted.
        rubato: scale of tempo, of the spread of chords and of articulation. The tempo is common to
            all parts: it takes the mean of their scales; the rest is each part's own.
        pedal: scale of the pedal's depth, over that of the score's marks.
        steady_bars: (first, last) bars that keep the tempo of the score, numbers from 1.
    """

    dynamics: Scale = 1.0
    rubato: Scale = 1.0
    pedal: float = 1.0
    steady_bars: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        for name in ("dynamics", "rubato", "pedal"):
            given = getattr(self, name)
            for value in given.values() if isinstance(given, Mapping) else (given,):
                if not 0 <= value <= MAX_SCALE:
                    raise UsageError(f"`{name}` {value:g} is outside 0 to {MAX_SCALE:g}")
        for first, last in self.steady_bars:
            if not 1 <= first <= last:
                raise UsageError(f"`steady` {first}-{last}: bars count from 1 upward")


def apply_controls(
    score: ScoreNotes, performed: PerformedNotes, controls: Controls
) -> PerformedNotes:
    """Return a performance as the controls want it; with all of them at rest the very same.

    Raises:
        UsageError: a control names a hand, part or bar that the score does not have.
    """
    performed.check(score)
    if controls == Controls():
        return performed
    dynamics = _scales(score, controls.dynamics, "dynamics")
    rubato = _scales(score, controls.rubato, "rubato")
    velocity = score.velocity + dynamics * (performed.velocity.astype(np.float64) - score.velocity)
    timed = _retimed(score, performed, rubato, _steady(score, controls))
    pedal_ms, pedal_value = _pedal(score, timed, controls.pedal)
    return replace(
        timed,
        velocity=np.clip(np.rint(velocity), 1, 127).astype(np.uint8),
        pedal_ms=pedal_ms,
        pedal_value=pedal_value,
    )


def parse_scale(text: str, name: str) -> Scale:
    """Return ``1.2``, or ``left=0.5,right=1.2``.

    Raises:
        UsageError: it is neither.
    """
    try:
        if "=" not in text:
            return float(text)
        items = (item.rpartition("=") for item in text.split(","))
        return {key.strip(): float(value) for key, _, value in items}
    except ValueError:
        raise UsageError(
            f"`{name}` {text!r}: give a number, or one for each hand as left=0.5,right=1.2"
        ) from None


def parse_bars(text: str) -> tuple[tuple[int, int], ...]:
    """Return ``1-4,9`` as pairs of first and last bar.

    Raises:
        UsageError: it is something else.
    """
    found = []
    for item in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", item)
        if not match:
            raise UsageError(f"`steady` {text!r}: give bars as 1-4,9")
        found.append((int(match[1]), int(match[2] or match[1])))
    return tuple(found)


def _scales(score: ScoreNotes, scale: Scale, name: str) -> FloatArray:
    """Return (n,) the scale of every row."""
    if not isinstance(scale, Mapping):
        return np.full(len(score), float(scale))
    found = np.ones(len(score))
    names = score.part_names
    for key, value in scale.items():
        if key in _HANDS:
            mine = score.hand == _HANDS[key]
            missing = "its hands are not told apart"
        else:
            number = int(key) - 1 if key.isdecimal() else -1
            mine = np.isin(score.part, [i for i, n in enumerate(names) if key == n or i == number])
            missing = f"its parts are {', '.join(names)}"
        if not mine.any():
            raise UsageError(f"`{name}` {key}={value:g}: not in this score; {missing}")
        found[mine] = value
    return found


def _steady(score: ScoreNotes, controls: Controls) -> BoolArray:
    """Return (k,) whether the span after a chord lies in a bar whose tempo is locked."""
    bar = np.searchsorted(score.bar_tick, score.chord_tick, side="right")
    steady = np.zeros(len(bar), bool)
    for first, last in controls.steady_bars:
        if first > len(score.bar_tick):
            raise UsageError(f"`steady` {first}-{last}: the score has {len(score.bar_tick)} bars")
        steady |= (bar >= first) & (bar <= last)
    return steady


def _between(written: FloatArray, played: FloatArray, scale: FloatArray) -> FloatArray:
    """Return times between and beyond two: by ratio where both are long enough to have one."""
    safe = (written > _SHORT_MS) & (played > _SHORT_MS)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.clip(played / written, 1e-3, 1e3)
        by_ratio = written * ratio**scale
    return np.where(safe, by_ratio, written + scale * (played - written))


def _retimed(
    score: ScoreNotes,
    performed: PerformedNotes,
    rubato: FloatArray,
    steady: BoolArray,
) -> PerformedNotes:
    """Return the performance with its timing scaled; pedal events move with their chords."""
    if np.all(rubato == 1) and not steady.any():
        return performed
    count = np.bincount(score.chord)
    played = np.bincount(score.chord, performed.onset_ms) / count
    written = score.piece.tempo.ms_at(score.chord_tick)
    scale = np.bincount(score.chord, rubato) / count
    # The span before the first chord, then those between chords, each with the scale it begins at.
    common = np.append(scale[:1], np.where(steady, 0.0, scale)[:-1])
    spans = _between(np.diff(written, prepend=0.0), np.diff(played, prepend=0.0), common)
    moved = np.maximum.accumulate(np.maximum(np.cumsum(spans), 0.0))
    spread = performed.onset_ms - played[score.chord]
    onset = np.maximum(moved[score.chord] + rubato * spread, 0.0)
    # Articulation: what a key is held of the span that its note fills.
    after = np.append(np.diff(moved), 0.0)
    before = np.append(np.diff(played), 0.0)
    local = np.where((before > _SHORT_MS) & (after > _SHORT_MS), after / np.maximum(before, 1), 1.0)
    held = performed.duration_ms * np.clip(local, 0.05, 20.0)[score.chord]
    duration = np.maximum(_between(score.duration_ms, held, rubato), _SHORT_MS)
    return replace(
        performed,
        onset_ms=onset,
        duration_ms=duration,
        pedal_ms=_moved(performed.pedal_ms, played, moved),
    )


def _moved(times: FloatArray, old: FloatArray, new: FloatArray) -> FloatArray:
    """Return times carried from one course of the chords to another."""
    if not len(times):
        return times
    order = np.maximum.accumulate(old)
    found = np.interp(times, order, new)
    found += np.maximum(times - order[-1], 0.0) - np.maximum(order[0] - times, 0.0)
    return np.maximum.accumulate(np.maximum(found, 0.0))


def _pedal(
    score: ScoreNotes, performed: PerformedNotes, scale: float
) -> tuple[FloatArray, Uint8Array]:
    """Return the pedal with its depth scaled; at 0 the marks of the score in the performed time."""
    if scale == 1:
        return performed.pedal_ms, performed.pedal_value
    marks = deadpan(score)
    if len(marks.pedal_ms):
        count = np.bincount(score.chord)
        played = np.bincount(score.chord, performed.onset_ms) / count
        marked_ms = _moved(marks.pedal_ms, score.piece.tempo.ms_at(score.chord_tick), played)
    else:
        marked_ms = marks.pedal_ms
    times = np.union1d(performed.pedal_ms, marked_ms)

    def standing(when: FloatArray, value: FloatArray) -> FloatArray:
        last = np.searchsorted(when, times, side="right") - 1
        padded = np.append(value.astype(np.float64), 0.0)  # -1: up before the first event
        return padded[last]

    written = standing(marked_ms, marks.pedal_value.astype(np.float64))
    played_value = standing(performed.pedal_ms, performed.pedal_value.astype(np.float64))
    value = np.clip(np.rint(written + scale * (played_value - written)), 0, 127).astype(np.uint8)
    changed = np.diff(value.astype(np.int64), prepend=0) != 0
    return times[changed], value[changed]
