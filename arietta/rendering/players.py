"""Who plays a score: the protocol of every player.

A ``Player`` turns the rows of a score into takes: by rule, or with a model. Whatever it does, row i
of the take is row i of the score, so every note of the score is played exactly once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from arietta.notation.score_notes import PerformedNotes, ScoreNotes


class RenderProgress(NamedTuple):
    """How far a rendering is.

    Attributes:
        notes: decoded so far over all rows; a note that is decoded anew counts again.
        total: that will be decoded.
        seconds: since the start.
    """

    notes: int
    total: int
    seconds: float

    @property
    def seconds_left(self) -> float:
        """How long it will still take, if it goes on like this; infinite before the first note."""
        return self.seconds * (self.total - self.notes) / self.notes if self.notes else np.inf


Report = Callable[[RenderProgress], None]


Stop = Callable[[], bool]


class Take(NamedTuple):
    """One performance of a score.

    Attributes:
        performed: every row of the score.
        rows: how many of them, from the first, were performed before it was stopped; the others
            are as the score has them, in the order of time.
    """

    performed: PerformedNotes
    rows: int


class Player(Protocol):
    """Something that performs scores."""

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What plays, with which settings; JSON values."""

    def takes(
        self,
        score: ScoreNotes,
        variations: Sequence[int] = (0,),
        *,
        report: Report | None = None,
        stop: Stop | None = None,
    ) -> list[Take]:
        """One take for each number of ``variations``; each take is the same whatever the others.

        Args:
            score: what is played.
            variations: 0, 1, ...: each chooses random numbers of its own.
            report: called as it goes on.
            stop: asked now and then; when true, what is done so far comes back.
        """
