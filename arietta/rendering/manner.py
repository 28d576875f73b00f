"""Play in the manner of a take: its loudness, its weight of the tune, its touch and its pedal.

A manner is measured on a performance of any piece, by its notes alone. How free its tempo is cannot
be told without its score, so the tempo stays the player's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from arietta.arrays import AnyFloatArray, AnyIntArray, FloatArray, IntArray
from arietta.errors import InputError
from arietta.midi.merged import merge_tracks
from arietta.midi.piece import Piece
from arietta.notation.score_notes import PerformedNotes, ScoreNotes

_Column: TypeAlias = "npt.NDArray[Any]"

_CHORD_MS = 35.0
"""Keys pressed this closely one after another are a chord."""

_LEAST_NOTES = 30
_FARTHEST = 2.0
"""A quality of the player is at most multiplied or divided by so much: a manner, no caricature."""


@dataclass(frozen=True)
class Manner:
    """How somebody plays.

    Attributes:
        loudness: mean velocity.
        range: standard deviation of the velocities.
        voicing: velocity steps of the top key over the mean of the other keys of a chord; 0
            where there are no chords.
        touch: mean logarithm of the time a key is held over the time to the next chord.
        pedal: share of the time that the pedal is down, 0..1.
    """

    loudness: float
    range: float
    voicing: float
    touch: float
    pedal: float


def manner_of(take: Piece) -> Manner:
    """Measure a performance.

    Raises:
        InputError: it has too few notes to have a manner.
    """
    notes = merge_tracks(take)
    if len(notes.onset_ms) < _LEAST_NOTES:
        where = take.source or "the take"
        raise InputError(
            f"{where}: {len(notes.onset_ms)} notes; a manner needs {_LEAST_NOTES} at least"
        )
    onset = notes.onset_ms.astype(np.float64)
    chord = np.cumsum(np.diff(onset, prepend=onset[0]) > _CHORD_MS, dtype=np.int64)
    duration = notes.offset_ms - onset
    return _measured(
        chord, notes.pitch, onset, duration, notes.velocity, notes.pedal_ms, notes.pedal_value
    )


def in_manner(score: ScoreNotes, performed: PerformedNotes, manner: Manner) -> PerformedNotes:
    """Return a performance with its loudness, voicing, touch and pedal brought to a manner."""
    chord, top = score.chord, _tops(score.chord, score.pitch)
    own = _measured(
        chord,
        score.pitch,
        performed.onset_ms,
        performed.duration_ms,
        performed.velocity,
        performed.pedal_ms,
        performed.pedal_value,
    )
    velocity = performed.velocity.astype(np.float64)
    wider = np.clip(manner.range / max(own.range, 1.0), 1 / _FARTHEST, _FARTHEST)
    velocity = manner.loudness + wider * (velocity - velocity.mean())
    if manner.voicing and own.voicing:
        velocity[top] += manner.voicing - wider * own.voicing
    velocity += manner.loudness - velocity.mean()
    longer = np.clip(np.exp(manner.touch - own.touch), 1 / _FARTHEST, _FARTHEST)
    return replace(
        performed,
        velocity=np.clip(np.rint(velocity), 1, 127).astype(np.uint8),
        duration_ms=performed.duration_ms * longer,
        pedal_ms=_pedalled(performed, own.pedal, manner.pedal),
    )


def _measured(
    chord: IntArray,
    pitch: AnyIntArray,
    onset: FloatArray,
    duration: FloatArray,
    velocity: AnyIntArray,
    pedal_ms: AnyFloatArray | AnyIntArray,
    pedal_value: AnyIntArray,
) -> Manner:
    loud = np.asarray(velocity, np.float64)
    size = np.bincount(chord)
    start = np.bincount(chord, onset) / size
    gap = np.append(np.diff(start), np.nan)
    gap[~(gap > _CHORD_MS)] = np.nan
    touch = np.log(np.maximum(duration, 1.0) / gap[chord])
    top = _tops(chord, pitch)
    rest = size[chord[top]] - 1
    others = (np.bincount(chord, loud)[chord[top]] - loud[top]) / np.maximum(rest, 1)
    voicing = float(np.mean(loud[top] - others)) if len(top) else 0.0
    total = float(np.max(onset + duration) - onset.min())
    presses, releases = _spans(np.asarray(pedal_ms, np.float64), np.asarray(pedal_value, np.int64))
    down = float(np.sum(releases - presses)) / max(total, 1.0)
    usual = float(np.nanmean(touch)) if np.isfinite(touch).any() else 0.0
    return Manner(float(loud.mean()), float(loud.std()), voicing, usual, min(down, 1.0))


def _tops(chord: IntArray, pitch: AnyIntArray) -> IntArray:
    """Return the row of the top key of every chord of several keys."""
    order = np.lexsort((pitch, chord))
    last = order[np.append(np.diff(chord[order]) > 0, True)]
    found: IntArray = last[np.bincount(chord)[chord[last]] > 1]
    return found


def _spans(times: _Column, values: _Column) -> tuple[FloatArray, FloatArray]:
    """Return when the pedal goes down, and when it comes up after that."""
    down = np.asarray(values) >= 64
    edge = np.flatnonzero(np.diff(down, prepend=False))
    pairs = len(edge) // 2 * 2
    at = np.asarray(times, np.float64)[edge]
    return at[:pairs:2], at[1:pairs:2]


def _pedalled(performed: PerformedNotes, own: float, wanted: float) -> FloatArray:
    """Return the times of the pedal with releases moved so that it is down as long as wanted."""
    times = performed.pedal_ms.astype(np.float64).copy()
    down = performed.pedal_value >= 64
    edge = np.flatnonzero(np.diff(down, prepend=False))
    presses, releases = edge[::2], edge[1::2]
    if not len(releases) or not 0 < own < 1:
        return times
    presses = presses[: len(releases)]
    held = times[releases] - times[presses]
    following = np.append(times[presses[1:]], times[releases[-1]])
    free = following - times[releases]
    if wanted <= own:
        new = times[presses] + held * wanted / own
    else:
        new = times[releases] + free * min((wanted - own) / (1 - own), 0.9)
    times[releases] = new
    return np.maximum.accumulate(times)
