"""What a learned renderer sees of a score: one row of numbers a note, from the score alone.

Written time (gaps, lengths, place in the bar and in the piece), place in the chord and in the line,
hand, density, and the tempo and dynamics that the score gives. Every column has about unit scale.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from arietta.arrays import BoolArray, Float32Array, FloatArray, IntArray
from arietta.notation.score_notes import LEFT, RIGHT, ScoreNotes

FEATURES = (
    "gap before",
    "gap behind",
    "gap behind the next",
    "gap behind to before",
    "length",
    "length to gap",
    "rest behind",
    "chord size",
    "top",
    "bottom",
    "below top",
    "above bottom",
    "pitch",
    "top came from",
    "top goes to",
    "bottom came from",
    "right hand",
    "left hand",
    "bar phase sine",
    "bar phase cosine",
    "half bar phase sine",
    "half bar phase cosine",
    "on the bar",
    "on a beat",
    "on half a beat",
    "bar length",
    "tempo",
    "tempo to usual",
    "tempo change",
    "gap behind in time",
    "density",
    "velocity",
    "velocity is given",
    "place in piece",
    "bars to the end",
    "bars from the start",
)
"""Names of the columns."""

HAND_COLUMNS = (FEATURES.index("right hand"), FEATURES.index("left hand"))
TEMPO_COLUMNS = (FEATURES.index("tempo"), FEATURES.index("gap behind in time"))
VELOCITY_COLUMNS = (FEATURES.index("velocity"), FEATURES.index("velocity is given"))

_MIN_QUARTERS = 1 / 64
_MAX_QUARTERS = 16.0


def score_features(score: ScoreNotes) -> Float32Array:
    """Return features of every row.

    Returns:
        (n, len(FEATURES)) float32.
    """
    chord = score.chord
    k = len(score.chord_tick)
    quarter = score.chord_tick / score.division  # (k,)
    gap = np.diff(quarter)
    longest = np.zeros(k)
    np.maximum.at(longest, chord, score.duration_quarter)
    behind = np.append(gap, longest[-1:])  # the last chord lasts as long as it is written
    before = np.concatenate((behind[:1], gap))
    sounding = np.maximum.accumulate(_by_chord(score.offset_tick, chord, k) / score.division)
    rest = np.append(quarter[1:] - sounding[:-1], 0.0)

    pitch = score.pitch.astype(np.float64)
    top = np.full(k, -np.inf)
    bottom = np.full(k, np.inf)
    np.maximum.at(top, chord, pitch)
    np.minimum.at(bottom, chord, pitch)
    size = np.bincount(chord, minlength=k)

    bar_tick = score.bar_tick
    bar = score.bar - 1
    ends = np.append(bar_tick[1:], max(int(score.offset_tick.max()), int(bar_tick[-1]) + 1))
    length = (ends - bar_tick) / score.division
    if len(length) > 1:
        length[-1] = length[-2]  # the last bar is as long as the one before
    into = (score.onset_tick - bar_tick[bar]) / score.division
    phase = into / length[bar]
    bars = len(bar_tick)

    tempo = score.piece.tempo
    ms_per_quarter = tempo.distance_ms(score.chord_tick, score.chord_tick + score.division)
    log_tempo = np.log(np.maximum(ms_per_quarter, 1.0) / 500.0)
    usual = np.median(log_tempo)
    change = np.append(np.diff(log_tempo), 0.0)

    window = np.searchsorted(score.onset_quarter, score.onset_quarter + 2.0, "right")
    window = window - np.searchsorted(score.onset_quarter, score.onset_quarter - 2.0)
    given = float(score.velocity.std() > 1.0)
    columns: list[npt.NDArray[Any]] = [
        _log(before)[chord],
        _log(behind)[chord],
        _log(np.append(behind[1:], behind[-1:]))[chord],
        np.clip(_log(behind) - _log(before), -2, 2)[chord],
        _log(score.duration_quarter),
        np.clip(_log(score.duration_quarter) - _log(behind)[chord], -2, 2),
        np.clip(rest, 0.0, 4.0)[chord],
        np.log2(size)[chord] / 2,
        (pitch == top[chord]),
        (pitch == bottom[chord]),
        np.minimum(top[chord] - pitch, 36) / 12,
        np.minimum(pitch - bottom[chord], 36) / 12,
        (pitch - 60) / 18,
        np.clip(np.diff(top, prepend=top[:1]), -12, 12)[chord] / 6,
        np.clip(np.diff(top, append=top[-1:]), -12, 12)[chord] / 6,
        np.clip(np.diff(bottom, prepend=bottom[:1]), -12, 12)[chord] / 6,
        score.hand == RIGHT,
        score.hand == LEFT,
        np.sin(2 * np.pi * phase),
        np.cos(2 * np.pi * phase),
        np.sin(4 * np.pi * phase),
        np.cos(4 * np.pi * phase),
        into < 1e-6,
        _whole(into),
        _whole(into * 2),
        np.clip(length[bar], 0.25, 8) / 4,
        log_tempo[chord],
        np.clip(log_tempo - usual, -1, 1)[chord] * 2,
        np.clip(change, -1, 1)[chord] * 4,
        np.clip(np.log(np.maximum(behind * ms_per_quarter, 5.0) / 250.0), -3, 3)[chord],
        np.log2(np.maximum(window, 1)) / 3 - 1,
        (score.velocity.astype(np.float64) - 64) / 24 * given,
        np.full(len(score), given),
        score.onset_tick / max(1, int(score.onset_tick[-1])) * 2 - 1,
        np.log2(bars - bar) / 3 - 1,
        np.log2(score.bar) / 3 - 1,
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def _by_chord(ticks: IntArray, chord: IntArray, k: int) -> Any:
    """Return (k,) the latest of a column in each chord."""
    latest = np.zeros(k, np.int64)
    np.maximum.at(latest, chord, ticks)
    return latest


def _log(quarters: FloatArray) -> FloatArray:
    """Written time on a logarithmic scale; an eighth is at 0."""
    clipped = np.clip(quarters, _MIN_QUARTERS, _MAX_QUARTERS)
    found: FloatArray = (np.log2(clipped) + 1) / 2
    return found


def _whole(x: FloatArray) -> BoolArray:
    found: BoolArray = np.abs(x - np.rint(x)) < 1e-3
    return found


SUMMARY = (
    "tempo",
    "density",
    "gap behind",
    "gap behind in time",
    "length to gap",
    "chord size",
    "pitch",
    "velocity",
    "bar length",
)
"""Features whose mean over a score tells its usual loudness, speed and touch."""


def summary(features: Float32Array) -> FloatArray:
    """Return (len(SUMMARY) + 1,) means over a score, and a 1."""
    columns = [FEATURES.index(name) for name in SUMMARY]
    return np.append(features[:, columns].mean(axis=0, dtype=np.float64), 1.0)


VARIETY = (
    "spread of gap behind",
    "spread of density",
    "spread of gap behind in time",
    "spread of length to gap",
    "spread of tempo",
    "spread of chord size",
    "spread of velocity",
    "entropy of gaps",
    "share of the commonest gap",
    "share of gaps that are short",
    "tempo changes",
    "notes",
    "quarters",
)
"""What tells how far pianists go in a score: a fugue in even eighths hardly changes its tempo."""

_SHORT_GAP = 0.06  # quarters; ornaments, mostly
_MANY_CHANGES = 0.05  # share of the notes that change the written tempo


def variety(score: ScoreNotes, features: Float32Array) -> FloatArray:
    """Return (len(VARIETY),) how various a score is: spreads, mixture of note values, size."""
    names = [name.removeprefix("spread of ") for name in VARIETY if name.startswith("spread of ")]
    spread = features[:, [FEATURES.index(name) for name in names]].std(axis=0, dtype=np.float64)
    gap = np.diff(score.chord_tick) / score.division
    count = np.unique(np.rint(gap * 48), return_counts=True)[1]
    share = count / max(int(count.sum()), 1)
    changes = np.abs(np.diff(features[:, FEATURES.index("tempo")])) > 0.02
    rest = (
        -float(np.sum(share * np.log(share))),
        float(share.max(initial=0.0)),
        float(np.mean(gap < _SHORT_GAP)) if len(gap) else 0.0,
        min(float(np.mean(changes)) if len(changes) else 0.0, _MANY_CHANGES) / _MANY_CHANGES,
        float(np.log(len(score))),
        float(np.log(max(float(gap.sum()), 1.0))),
    )
    return np.concatenate((spread, rest))


def levels(score: ScoreNotes, features: Float32Array, table: FloatArray) -> FloatArray:
    """Return (6,) mean and standard deviation of velocity, log ms a quarter and log articulation.

    Args:
        score: a score.
        features: its ``score_features``.
        table: (summary + variety, 6), the columns of the standard deviations in logarithms; or
            (summary, 6) of an older model, all columns linear.
    """
    known = summary(features)
    if len(table) == len(known):
        old: FloatArray = known @ table
        return old
    found: FloatArray = np.concatenate((known, variety(score, features))) @ table
    found[1::2] = np.exp(found[1::2])
    return found
