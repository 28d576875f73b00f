"""Fit an interpolated Kneser-Ney n-gram model: the baseline of a neural model.

Counts are sorted arrays of packed n-grams: 40 M tokens at order 5 fit in a few GB, and a query is a
binary search.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from arietta.arrays import BoolArray, FloatArray, IntArray, Uint64Array
from arietta.errors import UsageError
from arietta.tokenizers.vocabulary import Kind, Vocabulary

_IMPOSSIBLE = 1e-12
"""Probability of a token that cannot follow, so that a broken sequence has finite nats."""


def packed(ids: npt.NDArray[np.integer], order: int, vocab_size: int) -> Uint64Array:
    """Pack every n-gram of a sequence into one number, the oldest token in the highest digit.

    Args:
        ids: (n,) ids below ``vocab_size``.
        order: tokens a gram.

    Returns:
        (n - order + 1,) uint64.
    """
    wide = ids.astype(np.uint64)
    n = len(wide) - order + 1
    keys = np.zeros(max(n, 0), np.uint64)
    for i in range(order):
        keys *= np.uint64(vocab_size)
        keys += wide[i : i + len(keys)]
    return keys


def _lookup(table: Uint64Array, values: FloatArray, keys: Uint64Array) -> FloatArray:
    """Return the value of each key, 0 if it is absent."""
    if not len(table):
        return np.zeros(len(keys))
    at = np.minimum(np.searchsorted(table, keys), len(table) - 1)
    return np.where(table[at] == keys, values[at], 0.0)


@dataclass(frozen=True, eq=False)
class _Order:
    """Hold the counts of one order: of grams, and per context their sum and number of types."""

    grams: Uint64Array
    counts: FloatArray
    contexts: Uint64Array
    totals: FloatArray
    types: FloatArray
    discount: float


@dataclass(frozen=True, eq=False)
class Follows:
    """Which kind of token comes next, as far as the token before tells it.

    Attributes:
        kind: (V,) kind of each id, 0..K - 1.
        after: (V,) kind of what follows each id.
    """

    kind: npt.NDArray[np.int64]
    after: npt.NDArray[np.int64]


def follows_of(vocabulary: Vocabulary) -> Follows:
    """Return what the grammar of solo piano says of the next kind of token.

    Absolute: an onset follows a note, a duration follows an onset; relative: a duration follows a
    note. After all else come notes, waits, ``<T>`` and the rest.
    """
    rest, onset, duration = range(3)
    kinds = vocabulary.kinds[: vocabulary.size]
    timed = (kinds == Kind.ONSET) & (not vocabulary.relative)
    kind = np.where(kinds == Kind.DUR, duration, np.where(timed, onset, rest))
    behind_note = duration if vocabulary.relative else onset
    after = np.where(kinds == Kind.NOTE, behind_note, np.where(timed, duration, rest))
    return Follows(kind.astype(np.int64), after.astype(np.int64))


class NgramModel:
    """Predict tokens by interpolated Kneser-Ney (Chen and Goodman 1999, one discount an order).

    With ``follows`` it backs off to what it knows of tokens of the kind that comes next, instead of
    all tokens: no weight goes to tokens that cannot follow, as in a model with a grammar.

    Args:
        ids: (n,) training tokens of consecutive pieces.
        order: longest gram; ``vocab_size ** order`` must stay below 2 ** 64.
        vocab_size: number of ids.
        follows: which kind comes next; None: any.

    Raises:
        UsageError: the grams do not fit into 64 bits.
    """

    def __init__(
        self,
        ids: npt.NDArray[np.integer],
        order: int,
        vocab_size: int,
        follows: Follows | None = None,
    ) -> None:
        if vocab_size**order >= 1 << 64:
            raise UsageError(f"order {order} over {vocab_size} ids does not fit 64 bits")
        self.order, self.vocab_size, self.follows = order, vocab_size, follows
        self._orders: list[_Order] = []
        grams, raw = np.unique(packed(ids, order, vocab_size), return_counts=True)
        counts = raw.astype(np.float64)
        for n in range(order, 0, -1):
            contexts, first = np.unique(grams // np.uint64(vocab_size), return_index=True)
            ones, twos = float((counts == 1).sum()), float((counts == 2).sum())
            self._orders.append(
                _Order(
                    grams,
                    counts,
                    contexts,
                    np.add.reduceat(counts, first),
                    np.diff(np.append(first, len(grams))).astype(np.float64),
                    ones / (ones + 2 * twos) if ones else 0.5,
                )
            )
            if n > 1:
                # Below the top order, a gram counts once for every different token before it.
                shorter = grams % np.uint64(vocab_size ** (n - 1))
                grams, raw = np.unique(shorter, return_counts=True)
                counts = raw.astype(np.float64)
        self._orders.reverse()

    def nats(self, ids: npt.NDArray[np.integer], start: int = 0) -> FloatArray:
        """Return -log probability of each token from ``start`` on, given the tokens before it.

        Args:
            ids: (n,) one sequence; near its beginning the contexts are shorter.

        Returns:
            (n - start,) nats.
        """
        v = np.uint64(self.vocab_size)
        kind, possible = self._kinds(ids)
        if self.follows is None:
            probability = np.full(len(ids), 1.0 / self.vocab_size)
        else:
            sizes = np.bincount(self.follows.kind)
            probability = np.where(possible, 1.0 / sizes[kind], _IMPOSSIBLE)
        for n, table in enumerate(self._orders, start=1):
            keys = packed(ids, n, self.vocab_size)
            if not len(keys):
                break
            context = keys // v
            total = _lookup(table.contexts, table.totals, context)
            types = _lookup(table.contexts, table.types, context)
            count = _lookup(table.grams, table.counts, keys)
            if n == 1 and self.follows is not None:
                total, types = self._of_kind(table, kind)
                # A token of another kind has no share of these counts.
                count = np.where(possible, count, 0.0)
            lower = probability[n - 1 :]
            seen = total > 0
            safe = np.where(seen, total, 1.0)
            mixed = (
                np.maximum(count - table.discount, 0.0) + table.discount * types * lower
            ) / safe
            probability[n - 1 :] = np.where(seen, mixed, lower)
        nats: FloatArray = -np.log(probability[start:])
        return nats

    def _kinds(self, ids: npt.NDArray[np.integer]) -> tuple[IntArray, BoolArray]:
        """Return the kind (n,) that is due at each place, and whether its token is of that kind.

        Nothing is known of the first token: its own kind is due.
        """
        if self.follows is None:
            return np.zeros(len(ids), np.int64), np.ones(len(ids), np.bool_)
        own = self.follows.kind[ids]
        due = np.concatenate((own[:1], self.follows.after[ids[:-1]]))
        return due, own == due

    def _of_kind(self, table: _Order, kind: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return sums and numbers of types (n,) of the single tokens of each kind (n,)."""
        assert self.follows is not None
        kinds = self.follows.kind[table.grams.astype(np.int64)]
        most = int(self.follows.kind.max()) + 1
        totals = np.bincount(kinds, table.counts, most).astype(np.float64)
        types = np.bincount(kinds, minlength=most).astype(np.float64)
        return totals[kind], types[kind]
