"""Prompts out of performances, what people played next, and the figures of a set of continuations.

Each prompt is 15 s out of a performance, taken at random; the human continuation is the 20 s that
followed. Figures are those of ``continuations`` and ``musicality``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from arietta.errors import InputError
from arietta.evaluation.continuations import Description, compare, describe
from arietta.evaluation.musicality import Figures, measure
from arietta.evaluation.recordings import recordings_of_dataset
from arietta.generation.measures import Notes
from arietta.midi.piece import Piece

PROMPT_MS, FOLLOW_MS = 15_000, 20_000
_FEWEST_NOTES = 10


@dataclass(frozen=True, eq=False)
class Excerpt:
    """A prompt and what the player played next.

    Attributes:
        prompt: as a piece.
        prompt_notes: the same as columns, from its start.
        human: the continuation, from its own start.
    """

    prompt: Piece
    prompt_notes: Notes
    human: Notes


def draw_excerpts(dataset: Path, split: str, count: int, seed: int) -> list[Excerpt]:
    """Draw excerpts, each from another group of compositions.

    Args:
        dataset: folder of a dataset.
        split: of it.
        count: how many.
        seed: of the draw.

    Raises:
        InputError: there is no such dataset or split, or it has fewer excerpts.
    """
    pieces = list(recordings_of_dataset(dataset, split))
    rng = np.random.default_rng(seed)
    excerpts: list[Excerpt] = []
    used: set[str] = set()
    for i in rng.permutation(len(pieces)):
        if pieces[i].group in used:
            continue
        onset, duration, pitch, velocity = pieces[i].notes
        room = onset[-1] - PROMPT_MS - FOLLOW_MS
        if room < 0:
            continue
        start = onset[np.searchsorted(onset, rng.uniform(0, room))]
        inside = (onset >= start) & (onset < start + PROMPT_MS)
        after = (onset >= start + PROMPT_MS) & (onset < start + PROMPT_MS + FOLLOW_MS)
        if inside.sum() < _FEWEST_NOTES or after.sum() < _FEWEST_NOTES:
            continue
        notes = Notes(
            (onset - start).astype(np.float64),
            duration.astype(np.float64),
            pitch.astype(np.int64),
            velocity.astype(np.int64),
        )
        human = notes.where(after)
        excerpts.append(
            Excerpt(
                Piece.from_ms(
                    onset[inside] - start, duration[inside], pitch[inside], velocity[inside]
                ),
                notes.where(inside),
                Notes(human.onset_ms - PROMPT_MS, human.duration_ms, human.pitch, human.velocity),
            )
        )
        used.add(pieces[i].group)
        if len(excerpts) == count:
            return excerpts
    raise InputError(f"{dataset}: only {len(excerpts)} of {count} excerpts found in split {split}")


def shuffled(notes: Notes, seed: int) -> Notes:
    """Return notes with their times between onsets in random order."""
    if not len(notes):
        return notes
    steps = np.random.default_rng(seed).permutation(np.diff(notes.onset_ms))
    onset = notes.onset_ms[0] + np.concatenate(([0.0], np.cumsum(steps)))
    return Notes(onset, notes.duration_ms, notes.pitch, notes.velocity)


def described(notes: Notes) -> Description | None:
    """Return the statistics of a continuation; None without notes."""
    return describe(notes.onset_ms, notes.duration_ms, notes.pitch, notes.velocity, FOLLOW_MS)


def evaluate(continuations: Sequence[Notes], excerpts: Sequence[Excerpt]) -> dict[str, Any]:
    """Compare continuations with those of people.

    Args:
        continuations: one for each excerpt; without notes where there is silence.
        excerpts: the prompts, and what people played.

    Returns:
        The figures of ``continuations.compare``, and ``musicality``: the median of each of its
        figures over the prompts; None where no stretch is long enough.
    """
    found = compare(
        [described(notes) for notes in continuations], [described(e.human) for e in excerpts]
    )
    figures = [
        measure(notes, excerpt.prompt_notes, FOLLOW_MS)
        for notes, excerpt in zip(continuations, excerpts, strict=True)
    ]
    medians = {}
    for name in (one.name for one in fields(Figures)):
        values = [getattr(one, name) for one in figures if one is not None]
        known = [value for value in values if value is not None]
        medians[name] = round(float(np.median(known)), 3) if known else None
    return {**found, "musicality": medians}
