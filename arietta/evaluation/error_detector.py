"""Detect notes that are likely wrong: a wrong key, a stray note, a bad time or velocity.

Surprise alone is not enough: a rare note may be right, and a wrong note makes the following notes
surprising. So a multinomial logistic regression reads several features of each note (the expected
bits, how much likelier the neighbouring keys were, how much the following notes would gain without
it, how common its pitch is before *and* after it). It is fitted on errors planted into recordings.
``benchmarks/planted_errors.py`` fits it and evaluates it on other recordings.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from arietta.arrays import AnyIntArray, FloatArray, IntArray
from arietta.data.token_grid import NoteColumns
from arietta.evaluation.surprise import Surprise
from arietta.paths import assets_dir

KINDS = ("wrong key", "wrong octave", "stray note", "timing", "velocity")
"""Kinds of errors of a note."""

FEATURES = (
    "pitch", "velocity", "onset", "duration", "near", "octave", "removal",
    "rare_pitch", "rare_class", "lonely",
)  # fmt: skip

_NEIGHBOURS = 64
"""Notes on either side over which the frequency of a pitch around a note is computed."""
_FADE_MS = 4_000.0
"""Time over which their weight falls to a third."""
_FILE = "error_detector.json"


def features(notes: NoteColumns, found: Surprise) -> FloatArray:
    """Return the features (n, len(FEATURES)) of each note.

    ``pitch``, ``velocity``, ``onset``, ``duration``: bits beyond the expected ones. ``near``,
    ``octave``, ``removal``: as in ``Surprise``. ``rare_pitch``, ``rare_class``: bits of the pitch
    and of its class among the notes before and after. ``lonely``: log distance in semitones to the
    nearest pitches around.
    """
    columns = {
        "pitch": found.pitch - found.expected_pitch,
        "velocity": found.velocity - found.expected_velocity,
        "onset": found.onset - found.expected_onset,
        "duration": found.duration - found.expected_duration,
        "near": found.near,
        "octave": found.octave,
        "removal": found.removal,
        **_surroundings(notes),
    }
    return np.stack([columns[name] for name in FEATURES], axis=1)


def _surroundings(notes: NoteColumns) -> dict[str, FloatArray]:
    """Compute the features that need no model: the pitch among the notes on both sides."""
    k = _NEIGHBOURS
    onset = np.pad(np.asarray(notes.onset_ms, np.float64), k, constant_values=np.inf)
    onset[:k] = -np.inf
    pitch = np.pad(np.asarray(notes.pitch, np.int64), k, constant_values=-1_000)
    around = np.delete(np.arange(2 * k + 1), k)
    times = np.lib.stride_tricks.sliding_window_view(onset, 2 * k + 1)
    keys = np.lib.stride_tricks.sliding_window_view(pitch, 2 * k + 1)
    rows: list[FloatArray] = []
    # In slices: a long piece needs little memory.
    for at in range(0, len(notes.pitch), 4_096):
        part = slice(at, at + 4_096)
        apart = np.abs(times[part][:, around] - times[part][:, [k]])
        weight = np.exp(-apart / _FADE_MS)
        steps = keys[part][:, around] - keys[part][:, [k]]
        whole = weight.sum(axis=1)
        shares = [
            (weight * same).sum(axis=1)
            for same in (steps == 0, (steps % 12 == 0) & (np.abs(steps) < 128))
        ]
        near = np.sort(np.abs(steps[:, k - 12 : k + 12]), axis=1)[:, :2].mean(axis=1)
        rows.append(
            np.stack(
                [
                    *(-np.log2((s + 0.02 * whole + 0.05) / (whole + 0.05)) for s in shares),
                    np.log2(1 + np.minimum(near, 24)),
                ]
            )
        )
    return dict(zip(("rare_pitch", "rare_class", "lonely"), np.concatenate(rows, 1), strict=True))


@dataclass(frozen=True, eq=False)
class Detector:
    """Hold the fitted regression.

    Attributes:
        mean, scale: (features,) standardise the features.
        weights: (features + 1, kinds); the weights of a right note are 0; the last row is the
            constant.
    """

    mean: FloatArray
    scale: FloatArray
    weights: FloatArray

    def log_odds(self, values: FloatArray) -> FloatArray:
        """Return the natural log odds (n, kinds) of each kind of error against a right note."""
        standard = (values - self.mean) / self.scale
        out: FloatArray = standard @ self.weights[:-1] + self.weights[-1]
        return out

    @classmethod
    def fit(cls, values: FloatArray, kinds: AnyIntArray, *, penalty: float = 10.0) -> Detector:
        """Fit multinomial logistic regression by Newton's method.

        Args:
            values: (n, features).
            kinds: (n,) 0 for a right note, 1 + index into ``KINDS`` for a wrong one.
            penalty: ``penalty / 2`` times the squared weights is added to the loss in nats.
        """
        mean, scale = values.mean(axis=0), values.std(axis=0) + 1e-9
        x = np.column_stack(((values - mean) / scale, np.ones(len(values))))
        width, classes = x.shape[1], len(KINDS)
        weights = np.zeros((width, classes))
        target = np.eye(classes + 1)[kinds][:, 1:]
        ridge = np.full(width, penalty)
        ridge[-1] = 1e-6
        for _ in range(100):
            share = _shares(x @ weights)
            slope = x.T @ (share - target) + ridge[:, None] * weights
            blocks = np.zeros((classes, width, classes, width))
            for a in range(classes):
                for b in range(classes):
                    factor = share[:, a] * ((a == b) - share[:, b])
                    blocks[a, :, b] = (x * factor[:, None]).T @ x
            curve = blocks.reshape(classes * width, classes * width)
            curve += np.diag(np.tile(ridge, classes))
            step = np.linalg.solve(curve, slope.T.reshape(-1)).reshape(classes, width).T
            # Newton overshoots if a class is rare: limit the change of the log odds to 2.
            weights = weights - step / max(1.0, float(np.abs(x @ step).max()) / 2.0)
            if np.abs(step).max() < 1e-6:
                break
        return cls(mean, scale, weights)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values for ``from_json``."""
        return {
            "features": list(FEATURES),
            "kinds": list(KINDS),
            "mean": np.round(self.mean, 5).tolist(),
            "scale": np.round(self.scale, 5).tolist(),
            "weights": np.round(self.weights, 5).tolist(),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Detector:
        """Build a detector from the values of ``to_json``."""
        assert tuple(values["features"]) == FEATURES and tuple(values["kinds"]) == KINDS
        return cls(*(np.array(values[name]) for name in ("mean", "scale", "weights")))


def _shares(log_odds: FloatArray) -> FloatArray:
    """Return probabilities (n, kinds), without the one of a right note."""
    top = np.maximum(log_odds.max(axis=1, keepdims=True), 0.0)
    grown = np.exp(log_odds - top)
    out: FloatArray = grown / (grown.sum(axis=1, keepdims=True) + np.exp(-top))
    return out


@cache
def detector() -> Detector:
    """Load the included detector, fitted on surprises of the included model."""
    path = assets_dir() / _FILE
    return Detector.from_json(json.loads(path.read_text(encoding="utf-8")))


@dataclass(frozen=True, eq=False)
class NoteErrors:
    """Hold the probability that each note is wrong, with a prior of one in a hundred.

    Attributes:
        probability: (n,) 0..1, of any error.
        kind: (n,) likeliest kind of error, an index into ``KINDS``.
    """

    probability: FloatArray
    kind: IntArray


def find_errors(notes: NoteColumns, found: Surprise) -> NoteErrors:
    """Predict the errors of notes from their surprise, ``removal`` included."""
    shares = _shares(detector().log_odds(features(notes, found)))
    return NoteErrors(shares.sum(axis=1), shares.argmax(axis=1))
