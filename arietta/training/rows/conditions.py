"""Rows with what they are to resemble: the number of their piece's vector behind the ids.

In a row of one piece the vector says what the beginning says already, so a model learns to go on
from the beginning. In a mixed row another piece comes first, up to the end of a five-second
segment, and the vector is of what follows: it tells where the music is to go. That beginning is
heard, not learned: what is right there is to go on as heard, against the vector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from arietta.arrays import Int32Array
from arietta.data.shards import Dataset
from arietta.tokenizers.vocabulary import BOS, PAD, TIME
from arietta.training.rows.augment import transpose_ids
from arietta.training.rows.stream import Block, Chunk, LoaderSettings, RowStream


@dataclass(frozen=True)
class ConditionSettings(LoaderSettings):
    """What conditioned rows are made of.

    Attributes:
        free_share: share of the rows that are learned without their vector, so that the model can
            go on from a prompt alone as well (classifier-free guidance).
        mixed_share: share of the rows with a vector that begin with another piece.
        vectors: digest of the vectors; a saved place belongs to them.
    """

    free_share: float = 0.15
    mixed_share: float = 0.0
    vectors: str = ""


class ConditionStream(RowStream):
    """One of several endless streams of (seq_len + 3,) int32: ids, then how many of them are
    another piece's, then 1 + the number of the vector of the row's piece, or 0 for a row without.

    A row glued of several pieces has none.

    Args:
        dataset, split, settings, stream, n_streams: see ``RowStream``.
        numbers: piece id -> the numbers of its vectors, each with the semitones that the piece is
            transposed by in it; a row takes one of them.
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
        numbers: Mapping[str, Sequence[tuple[int, int]]],
    ) -> None:
        self._numbers = numbers
        super().__init__(dataset, split, settings, stream, n_streams)

    def _build(self, number: int, carry: list[Chunk]) -> Block:
        plain = super()._build(number, carry)
        epoch, block = divmod(number, self.blocks_per_epoch)
        rng = np.random.default_rng((self.settings.seed, epoch, 1 + block, 1))
        free = rng.random(len(plain.rows)) < self.settings.free_share
        before = plain.rows.copy()
        shown = np.zeros(len(before), np.uint32)
        for i, names in enumerate(plain.names):
            versions = self._numbers.get(names[0], ()) if len(names) == 1 else ()
            if versions and not free[i]:
                number, semitones = versions[int(rng.integers(len(versions)))]
                shown[i] = 1 + number
                if semitones:
                    before[i] = transpose_ids(before[i], self.tokenizer.vocabulary, semitones)
        ids = before.copy()
        heard = np.zeros((len(ids), 1), np.uint32)
        for i in np.flatnonzero(rng.random(len(ids)) < self.settings.mixed_share).tolist():
            other = int(rng.integers(len(ids)))
            if shown[i] and plain.names[other] != plain.names[i]:
                ids[i], heard[i] = mixed(before[other], before[i], rng)
        rows: Any = np.concatenate((ids, heard, shown[:, None]), axis=1, dtype=np.uint32)
        return plain._replace(rows=rows)


def mixed(first: Int32Array, then: Int32Array, rng: np.random.Generator) -> tuple[Int32Array, int]:
    """The beginning of one row (T,), up to a <T> in its first half, then the music of another; and
    the length of that beginning.

    A row without such a place, or without a beginning, gives the other one as it is.
    """
    places = np.flatnonzero(first[: len(first) // 2] == TIME)
    begins = np.flatnonzero(then == BOS)
    if not len(places) or not len(begins):
        return then, 0
    head = first[: int(rng.choice(places)) + 1]
    padding = np.full(len(then), PAD, then.dtype)
    whole = np.concatenate((head, then[begins[0] + 1 :], padding))
    return whole[: len(then)], len(head)
