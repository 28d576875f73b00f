"""What every executor of Pianist Transformer offers.

Shapes: B rows, N notes of a score, T new ids, D = d_model, H heads, G of them a key head, K = width
of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from arietta.arrays import AnyIntArray, BoolArray, Float32Array
from arietta.models.pianist.config import PianistConfig


class EncodedScore(NamedTuple):
    """What the decoder attends to, of one window of one score.

    Attributes:
        parts: keys and values of every decoder layer in turn, each (1, H / G, N, K), as the
            executor that made them keeps them.
        seen: (N,) bool, the notes that the decoder attends to, from the first on.
    """

    parts: tuple[Any, ...]
    seen: BoolArray


class PianistSession(Protocol):
    """Rows of a performance being decoded."""

    def append(self, ids: AnyIntArray) -> Float32Array:
        """Run the next ids (B, T) of every row.

        Returns:
            (B, D), hidden state after each row's last id.
        """

    def logits(self, hidden: Float32Array, slot: int) -> Float32Array:
        """Logits of the ids of ``SLOT_RANGES[slot]`` for hidden states (B, D): (B, width)."""


class PianistBackend(Protocol):
    """A model that sessions run."""

    @property
    def config(self) -> PianistConfig:
        """Architecture settings."""

    def encode(
        self, ids: AnyIntArray, real: int | None = None, seen: int | None = None
    ) -> EncodedScore:
        """Read a window of a score.

        Args:
            ids: (8 N,) of the window.
            real: how many of its notes are no padding; all by default.
            seen: how many notes the decoder attends to; ``real`` by default.
        """

    def new_session(self, scores: Sequence[EncodedScore]) -> PianistSession:
        """Return a session of one row for each of ``scores``."""


def cap_logits(raw: Float32Array, config: PianistConfig) -> Float32Array:
    """Return the soft cap of the head."""
    cap = np.float32(config.logit_cap)
    return np.asarray(cap * np.tanh(raw / cap), np.float32)
