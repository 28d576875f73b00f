"""Make rows with a condition: the number of the vector of their piece follows the ids.

In a row of one piece the vector adds little to the beginning of the row, so a model learns to
continue from the beginning. A mixed row starts with another piece, up to the end of a five-second
segment, and its vector belongs to the piece that follows: the model learns to move towards the
vector. The ids of the other piece are inputs but not targets, because they contradict the vector.
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
    """Configure conditioned rows.

    Attributes:
        free_share: share of the rows without a vector, so that the model can also continue from a
            prompt alone (classifier-free guidance).
        mixed_share: share of the rows with a vector that begin with another piece.
        vectors: digest of the vectors; a saved position is valid for these vectors only.
    """

    free_share: float = 0.15
    mixed_share: float = 0.0
    vectors: str = ""


class ConditionStream(RowStream):
    """Yield endless rows (seq_len + 3,) int32: ids, then the two numbers of the condition.

    The last but one number is how many ids belong to another piece. The last is 1 + the number of
    the vector of the piece, or 0 for a row without a vector.

    A row glued from several pieces has no vector.

    Args:
        dataset, split, settings, stream, n_streams: see ``RowStream``.
        numbers: piece id -> numbers of its vectors, each with the transposition of the piece in
            semitones; a row takes one of them.
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
        unconditioned = rng.random(len(plain.rows)) < self.settings.free_share
        before = plain.rows.copy()
        condition = np.zeros(len(before), np.uint32)
        for i, names in enumerate(plain.names):
            versions = self._numbers.get(names[0], ()) if len(names) == 1 else ()
            if versions and not unconditioned[i]:
                number, semitones = versions[int(rng.integers(len(versions)))]
                condition[i] = 1 + number
                if semitones:
                    before[i] = transpose_ids(before[i], self.tokenizer.vocabulary, semitones)
        ids = before.copy()
        prompt_length = np.zeros((len(ids), 1), np.uint32)
        for i in np.flatnonzero(rng.random(len(ids)) < self.settings.mixed_share).tolist():
            other = int(rng.integers(len(ids)))
            if condition[i] and plain.names[other] != plain.names[i]:
                ids[i], prompt_length[i] = mixed(before[other], before[i], rng)
        rows: Any = np.concatenate(
            (ids, prompt_length, condition[:, None]), axis=1, dtype=np.uint32
        )
        return plain._replace(rows=rows)


def mixed(first: Int32Array, then: Int32Array, rng: np.random.Generator) -> tuple[Int32Array, int]:
    """Return the beginning of one row (T,), then another row; and the length of that beginning.

    The beginning ends before a <T> in the first half of its row.

    If there is no such <T>, or no beginning, the other row is returned unchanged.
    """
    places = np.flatnonzero(first[: len(first) // 2] == TIME)
    begins = np.flatnonzero(then == BOS)
    if not len(places) or not len(begins):
        return then, 0
    head = first[: int(rng.choice(places)) + 1]
    padding = np.full(len(then), PAD, then.dtype)
    whole = np.concatenate((head, then[begins[0] + 1 :], padding))
    return whole[: len(then)], len(head)
