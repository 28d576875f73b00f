"""Pieces -> classes: the slices of a piece vote (specification F)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def vote(
    logits: npt.NDArray[np.floating[Any]],
    tokens: npt.NDArray[np.integer[Any]],
    pieces: npt.NDArray[np.integer[Any]],
) -> npt.NDArray[np.float64]:
    """Shares of the classes for each piece, in order of the pieces' numbers.

    Args:
        logits: (n, C) of slices.
        tokens: (n,) tokens of each slice, without padding; what its vote weighs.
        pieces: (n,) number of the piece that each slice is of.

    Returns:
        (pieces, C), rows of sum 1.
    """
    raised = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    names, at = np.unique(pieces, return_inverse=True)
    votes = np.zeros((len(names), logits.shape[1]))
    np.add.at(votes, at, raised / raised.sum(axis=1, keepdims=True) * tokens[:, None])
    found: npt.NDArray[np.float64] = votes / votes.sum(axis=1, keepdims=True)
    return found
