"""Does the music stand on the grid of its file's own tempo, or was it played freely?

A score, or a part made in a sequencer, has its notes on fractions of a quarter; a performance under
a fixed tempo has them anywhere.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from arietta.arrays import IntArray
from arietta.midi.piece import Piece

Kind = Literal["score", "performance"]

SIXTEENTH = 4
"""Sixteenths in a quarter."""
TWELFTHS = 12
"""Sixteenths and triplet eighths in a quarter, the grid that scores are written on."""
ON_GRID_SHARE = 0.85
"""Share of onsets on the grid from which on the file counts as having one."""
_TOLERANCE_MS = 3.0
_FEWEST_NOTES = 8


class KindEstimate(NamedTuple):
    """What a file looks like.

    Attributes:
        kind: ``score`` or ``performance``.
        confidence: 0.5..1.
    """

    kind: Kind
    confidence: float


def grid_share(
    piece: Piece, per_quarter: int = TWELFTHS, onset_tick: IntArray | None = None
) -> float:
    """Return how much more often than by chance onsets stand on a grid: 0 for chance, 1 for all.

    Args:
        piece: for its division, and its onsets unless they are given.
        per_quarter: steps of the grid in a quarter.
        onset_tick: (n,) onsets to look at.
    """
    division = piece.tempo.division
    onsets = np.unique(piece.notes.onset_tick if onset_tick is None else onset_tick)
    if division <= 0 or len(onsets) < _FEWEST_NOTES:
        return 0.0
    step = division / per_quarter
    tolerance = min(1.0, step / 6) if step < 24 else max(1.0, step / 40)
    distance = np.abs(onsets - np.rint(onsets / step) * step)
    by_chance = min((2 * int(tolerance) + 1) / step, 1.0)
    if by_chance > 0.6:  # ticks too coarse to tell
        return 0.0
    share = float(np.mean(distance <= tolerance))
    return max((share - by_chance) / (1 - by_chance), 0.0)


def has_grid(piece: Piece, per_quarter: int = TWELFTHS) -> bool:
    """Whether the notes of a piece stand on the sixteenths or triplets of its own tempo."""
    return grid_share(piece, per_quarter) >= ON_GRID_SHARE


def estimate_kind(piece: Piece) -> KindEstimate | None:
    """Estimate whether a file is a score or a performance; None where there are too few notes."""
    if len(piece) < _FEWEST_NOTES:
        return None
    share = grid_share(piece)
    if piece.tempo.division > 0 and piece.tempo.division / TWELFTHS < 4:
        # Every tick is on such a grid; dynamics tell instead.
        levels = len(np.unique(piece.notes.velocity)) / min(len(piece), 60)
        return KindEstimate("score", 0.6) if levels < 0.2 else KindEstimate("performance", 0.6)
    if share >= 0.5:
        return KindEstimate("score", round(0.5 + min(share - 0.5, 0.5), 2))
    return KindEstimate("performance", round(0.5 + min(0.5 - share, 0.5), 2))
