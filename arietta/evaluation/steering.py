"""Measure guidance: does a continuation come to resemble the example, and how far?

Definition. Prompts are 15 s out of performances, references whole performances of other works. Each
prompt is continued by 20 s at several strengths of guidance, with the same seed, and compared with
its continuation at strength 0, pair by pair:

* cosine between the short embeddings of continuation and reference, and between continuation and
  another pair's reference, which guidance should not bring nearer; the mean of all references is
  taken off first, since all embeddings share a direction without information;
* the distance of notes per second, mean pitch and mean velocity from those of the reference; for
  comparison that of a random passage of the reference, as long as the continuation, from the whole
  reference, which is the best that can be expected;
* how far each statistic follows that of the reference: its slope on the statistic of the reference
  over the pairs at a fixed statistic of the prompt (1: completely, 0: not at all);
* bits per note of the continuation under a plain model, which shows whether it is still music.

Conventions. Continuations without notes are left out of the means and counted as ``silent``;
intervals resample pairs (``intervals``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from arietta.arrays import BoolArray, FloatArray
from arietta.errors import InputError
from arietta.evaluation.continuations import Description, describe
from arietta.evaluation.excerpts import FOLLOW_MS
from arietta.evaluation.intervals import DRAWS, interval
from arietta.evaluation.recordings import recordings_of_dataset
from arietta.midi.piece import Piece

STATISTICS = ("notes_per_second", "pitch_mean", "velocity_mean")
MEASURES = ("cosine", "cosine_other", "bits_per_note")
_FEWEST_NOTES = 200


def draw_references(dataset: Path, split: str, count: int, seed: int) -> list[Piece]:
    """Draw whole performances of a split, each of another work.

    Raises:
        InputError: there are fewer.
    """
    pieces = list(recordings_of_dataset(dataset, split))
    found: list[Piece] = []
    used: set[str] = set()
    for i in np.random.default_rng(seed).permutation(len(pieces)):
        notes = pieces[i].notes
        if pieces[i].group in used or len(notes.onset_ms) < _FEWEST_NOTES:
            continue
        used.add(pieces[i].group)
        found.append(Piece.from_ms(notes.onset_ms, notes.duration_ms, notes.pitch, notes.velocity))
        if len(found) == count:
            return found
    raise InputError(
        f"{dataset}: only {len(found)} works of its split {split} have {_FEWEST_NOTES} notes,"
        f" {count} are needed"
    )


def passages(references: Sequence[Piece]) -> list[Description]:
    """Return the statistics of a random passage of each reference, as long as a continuation."""
    rng = np.random.default_rng(7)
    found = []
    for piece in references:
        last = float(piece.onset_ms.max()) - FOLLOW_MS
        # Start at a note: no passage is empty.
        starts = piece.onset_ms[piece.onset_ms <= max(last, float(piece.onset_ms.min()))]
        start = float(rng.choice(starts))
        inside = (piece.onset_ms >= start) & (piece.onset_ms < start + FOLLOW_MS)
        found.append(description(replace(piece, notes=piece.notes.take(inside)), FOLLOW_MS))
    return found


def description(piece: Piece, length_ms: float | None = None) -> Description:
    """Return the statistics of a piece with notes."""
    onset = piece.onset_ms - piece.onset_ms.min()
    found = describe(
        onset,
        piece.duration_ms,
        piece.notes.pitch,
        piece.notes.velocity,
        float(onset.max()) if length_ms is None else length_ms,
    )
    assert found is not None
    return found


def columns(found: Sequence[Description]) -> dict[str, FloatArray]:
    """Return the ``STATISTICS`` (n,) of n descriptions."""
    return {name: np.array([getattr(one, name) for one in found]) for name in STATISTICS}


def cosine(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    """Return the cosine of the angle between two vectors."""
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def slope(got: FloatArray, wanted: FloatArray, prompt: FloatArray) -> list[float]:
    """Regress ``got`` on ``wanted`` and ``prompt``, all (n,); return the slope on ``wanted``.

    Returns:
        The least-squares slope and its 95 % bootstrap interval.
    """
    design = np.stack((wanted, prompt, np.ones(len(got))), axis=1)
    rng = np.random.default_rng(0)
    draws = [np.arange(len(got)), *rng.integers(0, len(got), (DRAWS, len(got)))]
    found = [float(np.linalg.lstsq(design[i], got[i])[0][0]) for i in draws]
    return [round(x, 4) for x in (found[0], *np.quantile(found, (0.025, 0.975)).tolist())]


def figures(
    got: Mapping[str, FloatArray],
    plain: Mapping[str, FloatArray],
    aim: Mapping[str, FloatArray],
    prompt: Mapping[str, FloatArray],
) -> dict[str, Any]:
    """Return the figures of one strength.

    Args:
        got: ``MEASURES`` and ``STATISTICS`` (n,) of the continuations; NaN for silent ones.
        plain: the same at strength 0.
        aim, prompt: ``STATISTICS`` (n,) of the references and of the prompts.

    Returns:
        ``silent``; each measure, its ``_gain`` over strength 0; ``nearer_share``, of pairs whose
        continuation is nearer to the reference; of each statistic ``_distance``, ``_gain`` and
        ``_slope``. Means with the bounds of their 95 % intervals.
    """
    silent = np.isnan(got["cosine"])
    both: BoolArray = ~silent & ~np.isnan(plain["cosine"])
    line: dict[str, Any] = {"silent": int(silent.sum())}
    for name in MEASURES:
        line[name] = interval(got[name][both])
        line[f"{name}_gain"] = interval(got[name][both] - plain[name][both])
    nearer = got["cosine"][both] > plain["cosine"][both]
    line["nearer_share"] = round(float(nearer.mean()), 3)
    for name in STATISTICS:
        distance, before = (abs(x[name] - aim[name])[both] for x in (got, plain))
        line[f"{name}_distance"] = interval(distance)
        line[f"{name}_gain"] = interval(distance - before)
        line[f"{name}_slope"] = slope(*(x[name][both] for x in (got, aim, prompt)))
    return line
