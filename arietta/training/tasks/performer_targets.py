"""Compute the targets of the small renderer from the takes of a score.

Velocity, local tempo and articulation of each take are deviations from its own mean in units of its
standard deviation, so that a loud and a soft pianist, a fast and a slow one agree if they
shape a phrase the same way. The targets of a score are the mean over its takes: squared errors
against the mean have the gradient of squared errors against every take, and a pass over the scores
costs a fraction of a pass over the takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from arietta.arrays import Float32Array, FloatArray
from arietta.data.pairs import Pair
from arietta.data.token_grid import GridNotes
from arietta.evaluation.rendering import MIN_GAP_MS
from arietta.midi.merged import merge_tracks
from arietta.midi.piece import Piece
from arietta.models.performer.config import OUTPUTS, PEDAL_PLACES, SPREAD_MS
from arietta.notation.features import FEATURES, score_features, summary, variety
from arietta.notation.score_notes import ScoreNotes

_FARTHEST = 4.0  # standard deviations; larger values are slips or misalignments and are clipped
_MIN_ROWS = 32
_LEAST_SPREAD = 0.02
_QUARTER_MS = 500.0  # of a performance that serves as its own score
_CHORD_MS = 30  # keys pressed within this time are one chord
_FROM_PERFORMANCE = (
    "gap before",
    "gap behind",
    "gap behind the next",
    "gap behind to before",
    "chord size",
    "top",
    "bottom",
    "below top",
    "above bottom",
    "pitch",
    "top came from",
    "top goes to",
    "bottom came from",
    "gap behind in time",
    "density",
    "place in piece",
)
"""Features of a performance without a score; the other ``FEATURES`` describe notation."""


@dataclass(frozen=True, eq=False)
class Reading:
    """Hold one take of a score as outputs of the model.

    Attributes:
        outputs: (n, len(OUTPUTS)) float64, NaN where the take has no value.
        level: mean and standard deviation of velocity, of log ms per quarter, and of log
            articulation.
    """

    outputs: FloatArray
    level: FloatArray


def reading_of(pair: Pair) -> Reading | None:
    """Convert a take to outputs of the model; None if it plays too little of the score."""
    score, played = pair.score, pair.played()
    here = np.isfinite(played.onset_ms)
    if here.sum() < _MIN_ROWS:
        return None
    chord, k = score.chord, len(score.chord_tick)
    count = np.bincount(chord[here], minlength=k)
    with np.errstate(invalid="ignore", divide="ignore"):
        onset = np.bincount(chord[here], played.onset_ms[here], k) / count
        gap = np.append(np.diff(onset), np.nan)
        gap[~(gap > MIN_GAP_MS)] = np.nan
        quarters = np.append(np.diff(score.chord_tick) / score.division, np.nan)
        tempo = np.log(gap / quarters)
        articulation = np.log(np.maximum(played.duration_ms, 1.0) / gap[chord])
    columns = np.full((len(score), len(OUTPUTS)), np.nan)
    level = []
    for i, values in enumerate((played.velocity, tempo, articulation)):
        # Each chord counts once for the tempo.
        mean, spread = np.nanmean(values), np.nanstd(values)
        if not spread > 0:
            return None
        scaled = np.clip((values - mean) / spread, -_FARTHEST, _FARTHEST)
        columns[:, i] = scaled[chord] if len(values) == k and i == 1 else scaled
        level += [mean, spread]
    columns[:, 3] = np.clip((played.onset_ms - onset[chord]) / SPREAD_MS, -3, 3)
    columns[count[chord] < 2, 3] = np.nan
    pedal = merge_tracks(pair.take)
    if len(pedal.pedal_ms):
        for i, place in enumerate(PEDAL_PLACES):
            at = np.searchsorted(pedal.pedal_ms, onset + place * np.nan_to_num(gap), "right") - 1
            down = np.where(at >= 0, pedal.pedal_value[np.maximum(at, 0)] >= 64, False)
            columns[:, 4 + i] = np.where(np.isfinite(gap), down, np.nan)[chord]
    return Reading(columns, np.array(level))


@dataclass(frozen=True, eq=False)
class ScoreTargets:
    """Hold a score with the mean of its takes.

    Attributes:
        name: name of the score.
        score: its notes.
        features: (n, F) float32, see ``notation.features``.
        outputs: (n, len(OUTPUTS)) float32, the mean of the takes; 0 where no take has a value.
        takes: (n, len(OUTPUTS)) float32, number of takes of the mean.
        levels: (takes, 6) see ``Reading``.
    """

    name: str
    score: ScoreNotes
    features: Float32Array
    outputs: Float32Array
    takes: Float32Array
    levels: FloatArray


def score_targets(pairs: Iterable[Pair]) -> list[ScoreTargets]:
    """Yield the scores of pairs in the order in which ``arietta data pairs`` writes them."""
    found: list[ScoreTargets] = []
    score: ScoreNotes | None = None
    name = ""
    readings: list[Reading] = []

    def flush() -> None:
        if score is None or not readings:
            return
        stacked = np.stack([reading.outputs for reading in readings])
        there = np.isfinite(stacked)
        takes = there.sum(axis=0)
        total = np.where(there, stacked, 0.0).sum(axis=0)
        found.append(
            ScoreTargets(
                name,
                score,
                score_features(score),
                (total / np.maximum(takes, 1)).astype(np.float32),
                takes.astype(np.float32),
                np.stack([reading.level for reading in readings]),
            )
        )

    for pair in pairs:
        if score is None or not _same(score, pair.score):
            flush()
            score, name, readings = pair.score, pair.id, []
        reading = reading_of(pair)
        if reading is not None:
            readings.append(reading)
    flush()
    return found


def recording_targets(name: str, notes: GridNotes) -> ScoreTargets | None:
    """Make targets for pretraining from a performance without a score: velocities only.

    Keys pressed together become chords written at that time, at 120 quarters a minute; features of
    notation and all outputs but velocity are empty. None if the performance is too short.
    """
    onset_ms = notes.columns().onset_ms
    first = np.concatenate(([True], np.diff(onset_ms) > _CHORD_MS))
    start = onset_ms[np.maximum.accumulate(np.where(first, np.arange(len(onset_ms)), 0))]
    columns = notes.columns()
    piece = Piece.from_ms(start, columns.duration_ms, columns.pitch, columns.velocity)
    score = ScoreNotes.from_piece(piece)
    velocity = score.velocity.astype(np.float64)
    spread = velocity.std()
    if len(score) < _MIN_ROWS or not spread > 0:
        return None
    features = score_features(score)
    features[:, [i for i, column in enumerate(FEATURES) if column not in _FROM_PERFORMANCE]] = 0
    outputs = np.zeros((len(score), len(OUTPUTS)), np.float32)
    outputs[:, 0] = np.clip((velocity - velocity.mean()) / spread, -_FARTHEST, _FARTHEST)
    takes = np.zeros_like(outputs)
    takes[:, 0] = 1
    level = np.array([[velocity.mean(), spread, np.log(_QUARTER_MS), 0.0, 0.0, 0.0]])
    return ScoreTargets(name, score, features, outputs, takes, level)


def fit_levels(scores: Sequence[ScoreTargets], ridge: float = 10.0) -> FloatArray:
    """Fit ridge regression of how scores are played as a whole on what they are like.

    Args:
        scores: training scores; each counts once, by the mean of its takes.
        ridge: strength of the regularisation towards the mean, in scores.

    Returns:
        (summary + variety, 6): the table of ``notation.features.levels``.
    """
    means = np.stack([summary(score.features)[:-1] for score in scores])
    various = np.stack([variety(score.score, score.features) for score in scores])
    levels = [score.levels.copy() for score in scores]
    for takes in levels:
        takes[:, 1::2] = np.log(np.maximum(takes[:, 1::2], 1e-3))
    y = np.stack([takes.mean(axis=0) for takes in levels])
    table = np.zeros((means.shape[1] + 1 + various.shape[1], y.shape[1]))
    constant = means.shape[1]  # where a summary has its 1
    # The mean levels follow from the means; how various a score is says nothing of them.
    slope, table[constant, ::2] = _ridge(means, y[:, ::2], ridge)
    table[:constant, ::2] = slope
    slope, table[constant, 1::2] = _ridge(np.hstack((means, various)), y[:, 1::2], ridge)
    table[:constant, 1::2], table[constant + 1 :, 1::2] = np.split(slope, [constant])
    return table


def _ridge(x: FloatArray, y: FloatArray, strength: float) -> tuple[FloatArray, FloatArray]:
    """Return slopes (inputs, outputs) and constants (outputs,)."""
    mean = x.mean(axis=0)
    # An input that hardly varies among the scores of a small collection says nothing.
    spread = np.maximum(x.std(axis=0), _LEAST_SPREAD)
    scaled = (x - mean) / spread
    usual = y.mean(axis=0)
    inner = scaled.T @ scaled + strength * np.eye(scaled.shape[1])
    slope = np.linalg.solve(inner, scaled.T @ (y - usual)) / spread[:, None]
    return slope, usual - mean @ slope


def _same(a: ScoreNotes, b: ScoreNotes) -> bool:
    return (
        len(a) == len(b)
        and np.array_equal(a.onset_tick, b.onset_tick)
        and np.array_equal(a.pitch, b.pitch)
    )
