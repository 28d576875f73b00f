"""What every executor of the Aria decoder offers.

A backend holds a model's weights; a session holds the key-value cache of some rows that go on
side by side. The engine drives sessions and knows nothing of what runs them.

Shapes: B rows, T new tokens, S cache slots, D = d_model, K = width of an attention head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from arietta.arrays import AnyIntArray, BoolArray, Float32Array, IntArray
from arietta.errors import UsageError
from arietta.models.aria.config import AriaConfig

Ranges = Sequence[tuple[int, int]]


class Session(Protocol):
    """Rows of tokens with their key-value cache."""

    @property
    def rows(self) -> int:
        """B."""

    @property
    def lengths(self) -> IntArray:
        """(B,) positions that each row holds, the condition's included."""

    def append(
        self, ids: AnyIntArray, *, last: bool = False, counts: AnyIntArray | None = None
    ) -> Float32Array:
        """Run the next tokens of every row.

        Args:
            ids: (B, T) token ids, at positions ``lengths[b]`` and on.
            last: give only the hidden state of each row's last token.
            counts: (B,) tokens of each row that count, 0..T; those after are padding, whose
                hidden states mean nothing. All T by default.

        Returns:
            Hidden states (B, T, D) after the final norm, or (B, D) with ``last``.

        Raises:
            UsageError: the context would overflow, or the shapes do not fit the session.
        """

    def head(self, hidden: Float32Array, ranges: Ranges | None = None) -> Float32Array:
        """Head output of hidden states (N, D) for the rows in half-open ranges only.

        Returns:
            (N, sum of the widths of ``ranges``), in their order; all rows by default.
        """

    def fork(self, index: AnyIntArray) -> None:
        """Let row b go on from what row ``index[b]`` holds now; B becomes ``len(index)``."""

    def merge(self, other: Session) -> None:
        """Take the rows of another session of the same backend, behind one's own.

        Both have run something; the other must not be used any more.
        """

    def rewind(self, lengths: AnyIntArray) -> None:
        """Forget what row b holds at positions ``lengths[b]`` and on; nothing is copied."""

    def condition(self, vectors: Float32Array, rows: BoolArray | None = None) -> None:
        """Place an adapted condition vector at position 0 of an empty session (E.4).

        Args:
            vectors: (E,) for all rows or (B, E).
            rows: (B,) which rows may attend to it; the others have position 0 masked out for
                good. All by default.
        """


class Backend(Protocol):
    """A model that sessions run."""

    @property
    def config(self) -> AriaConfig:
        """Architecture settings."""

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding."""

    @property
    def max_seq_len(self) -> int:
        """Positions that a row may hold."""

    def new_session(self, rows: int = 1) -> Session:
        """Return an empty session of B = ``rows``."""


def check_rows(rows: int) -> None:
    """Refuse a session without rows."""
    if rows < 1:
        raise UsageError(f"a session needs at least one row, not {rows}")


def check_append(
    backend: Backend, lengths: IntArray, ids: AnyIntArray, counts: AnyIntArray | None
) -> tuple[AnyIntArray, IntArray]:
    """Return the arguments of ``Session.append`` as arrays, with ``counts`` filled in.

    Raises:
        UsageError: they do not fit the session, or the context would overflow.
    """
    rows = len(lengths)
    ids = np.asarray(ids)
    if ids.ndim != 2 or ids.shape[0] != rows or ids.shape[1] < 1:
        raise UsageError(f"ids of shape {ids.shape} do not fit a session of {rows} rows")
    if ids.min() < 0 or ids.max() >= backend.vocab_size:
        raise UsageError(f"token ids must lie in 0..{backend.vocab_size - 1}")
    tokens = ids.shape[1]
    count = np.full(rows, tokens, np.int64) if counts is None else np.asarray(counts, np.int64)
    if count.shape != (rows,) or count.min() < 0 or count.max() > tokens:
        raise UsageError(f"counts must be {rows} numbers in 0..{tokens}")
    longest = int((lengths + count).max())
    if longest > backend.max_seq_len:
        raise UsageError(f"{longest} tokens exceed the model's context of {backend.max_seq_len}")
    return ids, count


def check_fork(rows: int, index: AnyIntArray) -> IntArray:
    """Return the argument of ``Session.fork`` as an array.

    Raises:
        UsageError: it names a row that is not there, or none.
    """
    numbers = np.asarray(index, np.int64)
    if numbers.ndim != 1 or not numbers.size or numbers.min() < 0 or numbers.max() >= rows:
        raise UsageError(f"fork needs row numbers in 0..{rows - 1}")
    return numbers


def check_rewind(lengths: IntArray, target: AnyIntArray) -> IntArray:
    """Return the argument of ``Session.rewind`` as an array of its own.

    Raises:
        UsageError: it would lengthen a row.
    """
    wanted = np.array(target, np.int64)
    if wanted.shape != lengths.shape or wanted.min() < 0 or (wanted > lengths).any():
        raise UsageError(f"rewind needs lengths between 0 and {lengths.tolist()}")
    return wanted


def adapt_condition(
    adapter: Float32Array, vectors: Float32Array, lengths: IntArray
) -> Float32Array:
    """Condition vectors (E,) or (B, E) as embedded tokens (B, 1, D).

    Raises:
        UsageError: the session is not empty or the shape does not fit.
    """
    if lengths.any():
        raise UsageError("a condition stands before all tokens; this session has some")
    vectors = np.atleast_2d(np.asarray(vectors, np.float32))
    rows = len(lengths)
    if vectors.shape[1] != adapter.shape[1] or vectors.shape[0] not in (1, rows):
        raise UsageError(
            f"condition of shape {vectors.shape}; needed is ({rows}, {adapter.shape[1]})"
        )
    # One by one: a product of several rows may round differently from that of one.
    adapted = np.stack([adapter @ vector for vector in vectors])
    return np.repeat(adapted, rows // len(adapted), axis=0)[:, None]
