"""What every renderer reads and returns: the notes of a score and of a performance, row by row."""

from __future__ import annotations

from typing import Protocol

from arietta.midi.score import (
    LEFT,
    NO_HAND,
    RIGHT,
    PerformedNotes,
    ScoreNotes,
    deadpan,
    separate,
)

__all__ = [
    "LEFT",
    "NO_HAND",
    "RIGHT",
    "PerformedNotes",
    "Renderer",
    "ScoreNotes",
    "deadpan",
    "separate",
]


class Renderer(Protocol):
    """Anything that plays a score: the rules, or a model with its settings."""

    def perform(self, score: ScoreNotes) -> PerformedNotes:
        """One performance; as many rows as the score has, in the same order."""
        ...
