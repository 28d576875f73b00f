"""Rows with what they are to resemble: the number of their piece's vector behind the ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from arietta.data.loader import Block, Chunk, LoaderSettings, RowStream
from arietta.data.shards import Dataset


@dataclass(frozen=True)
class ConditionSettings(LoaderSettings):
    """What conditioned rows are made of.

    Attributes:
        free_share: share of the rows that are learned without their vector, so that the model can
            go on from a prompt alone as well (classifier-free guidance).
        vectors: digest of the vectors; a saved place belongs to them.
    """

    free_share: float = 0.15
    vectors: str = ""


class ConditionStream(RowStream):
    """One of several endless streams of (seq_len + 2,) int32: ids, then 1 + the number of the
    vector of the row's piece, or 0 for a row without one.

    A row glued of several pieces has none.

    Args:
        dataset, split, settings, stream, n_streams: see ``RowStream``.
        numbers: piece id -> number of its vector.
    """

    settings: ConditionSettings

    def __init__(
        self,
        dataset: Dataset,
        split: str,
        settings: ConditionSettings,
        stream: int = 0,
        n_streams: int = 1,
        *,
        numbers: Mapping[str, int],
    ) -> None:
        self._numbers = numbers
        super().__init__(dataset, split, settings, stream, n_streams)

    def _build(self, number: int, carry: list[Chunk]) -> Block:
        plain = super()._build(number, carry)
        epoch, block = divmod(number, self.blocks_per_epoch)
        rng = np.random.default_rng((self.settings.seed, epoch, 1 + block, 1))
        found: list[int] = [
            1 + self._numbers.get(names[0], -1) if len(names) == 1 else 0 for names in plain.names
        ]
        shown = np.array(found, np.uint32) * (rng.random(len(found)) >= self.settings.free_share)
        rows: Any = np.concatenate((plain.rows, shown[:, None]), axis=1, dtype=np.uint32)
        return plain._replace(rows=rows)
