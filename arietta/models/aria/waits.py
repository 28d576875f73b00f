"""Sessions of models with waits: any executor's session, and the clock of its rows beside it.

The executor is given the row of the wait table that belongs to each onset, and gives hidden states
and two plain products: its head, and its head of waits. What the clock does to them is done here,
once for all executors; ``AriaDecoder.logits`` is the same in torch, for training.

Shapes: B rows, T new tokens, N places, D = d_model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from arietta.arrays import AnyIntArray, BoolArray, Float32Array, IntArray
from arietta.models.aria.clock import IMPOSSIBLE, RowClocks, clock_of, wait_rows
from arietta.models.aria.config import AriaConfig
from arietta.models.aria.protocol import Ranges, Session

NEXT_OTHER, NEXT_ONSET, NEXT_DURATION = range(3)
STATE_EXTRA = 2
"""Numbers behind a hidden state that the head of a model with waits takes as well: the cursor, and
which kind comes next."""


class ClockedHead:
    """Works the clock into the logits of a model with waits.

    States are hidden states (N, D) with ``STATE_EXTRA`` columns behind them.

    Args:
        name: of the vocabulary.
    """

    def __init__(self, name: str) -> None:
        self.clock = clock_of(name)

    def states(self, hidden: Float32Array, ids: AnyIntArray, cursors: IntArray) -> Float32Array:
        """Hidden states (B, T, D) of ids (B, T) with what the head needs besides behind them."""
        clock = self.clock
        note = (ids >= clock.note_start) & (ids < clock.dur_start)
        onset = (ids >= clock.onset_start) & (ids < clock.onset_end)
        kind = np.where(note, NEXT_ONSET, np.where(onset, NEXT_DURATION, NEXT_OTHER))
        extra = np.stack((cursors, kind), axis=-1).astype(np.float32)
        return np.concatenate((hidden, extra), axis=-1)

    def logits(
        self,
        states: Float32Array,
        ranges: Sequence[tuple[int, int]],
        head: Callable[[Float32Array], Float32Array],
        waits: Callable[[Float32Array], Float32Array],
    ) -> Float32Array:
        """Logits (N, sum of the widths of ranges) of states (N, D + 2).

        Args:
            states: see ``states``.
            ranges: half-open ranges of ids.
            head: hidden states (N, D) -> the plain logits of the ranges.
            waits: hidden states (M, D) -> logits (M, ``WAIT_ROWS``) of waits.
        """
        clock = self.clock
        width = states.shape[1] - STATE_EXTRA
        hidden = np.ascontiguousarray(states[:, :width])
        kind = states[:, -1].astype(np.int64)
        logits = head(hidden)
        timed = np.flatnonzero(kind == NEXT_ONSET)
        shift: Float32Array | None = None
        at = 0
        for low, high in ranges:
            for first, last, belongs in (
                (0, clock.dur_start, NEXT_OTHER),
                (clock.dur_start, clock.onset_start, NEXT_DURATION),
                (clock.onset_start, clock.onset_end, NEXT_ONSET),
                (clock.onset_end, clock.size, NEXT_OTHER),
            ):
                start, end = max(low, first), min(high, last)
                if start >= end:
                    continue
                columns = slice(at + start - low, at + end - low)
                if belongs == NEXT_ONSET and len(timed):
                    if shift is None:
                        shift = waits(hidden if len(timed) == len(hidden) else hidden[timed])
                    steps = np.arange(start, end) - clock.onset_start
                    rows = wait_rows(steps, states[timed, width, None].astype(np.int64))
                    logits[timed, columns] += np.take_along_axis(shift, rows, axis=1)
                other = kind != belongs
                if other.any():
                    logits[other, columns] = IMPOSSIBLE
            at += high - low
        return logits


class WaitingSession(Session, Protocol):
    """A session of an executor that is told the waits."""

    def append(
        self,
        ids: AnyIntArray,
        *,
        last: bool = False,
        counts: AnyIntArray | None = None,
        waits: IntArray | None = None,
    ) -> Float32Array:
        """As ``Session.append``; ``waits`` (B, T) are rows of the wait table, -1: no onset."""

    def wait_head(self, hidden: Float32Array) -> Float32Array:
        """Logits of waits (N, ``WAIT_ROWS``) of hidden states (N, D)."""


def clocked(config: AriaConfig, session: WaitingSession) -> Session:
    """Return the session, with a clock where the model reads one."""
    return session if config.waits is None else ClockedSession(config, session)


class ClockedSession:
    """A session whose rows know the time; hidden states carry what the head needs of it.

    Args:
        config: architecture settings, with waits.
        session: of an executor, empty.
    """

    def __init__(self, config: AriaConfig, session: WaitingSession) -> None:
        assert config.waits is not None
        self._session = session
        self._speaks = config.head == "lm_head"
        self._head = ClockedHead(config.waits)
        self._size = config.vocab_size
        self._clocks = RowClocks(clock_of(config.waits), session.rows)

    @property
    def rows(self) -> int:
        """B."""
        return self._session.rows

    @property
    def lengths(self) -> IntArray:
        """(B,) positions that each row holds, the condition's included."""
        return self._session.lengths

    def append(
        self, ids: AnyIntArray, *, last: bool = False, counts: AnyIntArray | None = None
    ) -> Float32Array:
        """Run the next tokens of every row; see ``Session.append``.

        Returns:
            States (B, T, D + ``STATE_EXTRA``) or (B, D + ``STATE_EXTRA``) of a language model, for
            ``head``; plain hidden states of any other.
        """
        ids = np.asarray(ids)
        shaped = ids.ndim == 2 and ids.shape[0] == self.rows and ids.shape[1] > 0
        # Ids that do not fit are refused by the executor, before the clock has moved.
        waits, cursors = self._clocks.append(ids, self._session.lengths) if shaped else (None, None)
        hidden = self._session.append(ids, last=last, counts=counts, waits=waits)
        if not self._speaks:
            return hidden
        assert cursors is not None
        if last:
            at = ids.shape[1] - 1 if counts is None else np.asarray(counts) - 1
            numbers = np.arange(self.rows)
            return self._head.states(hidden, ids[numbers, at], cursors[numbers, at])
        return self._head.states(hidden, ids, cursors)

    def head(self, hidden: Float32Array, ranges: Ranges | None = None) -> Float32Array:
        """Head output of states (N, D + ``STATE_EXTRA``); see ``Session.head``."""
        if not self._speaks:
            return self._session.head(hidden, ranges)
        wanted = ((0, self._size),) if ranges is None else ranges
        return self._head.logits(
            hidden, wanted, lambda x: self._session.head(x, wanted), self._session.wait_head
        )

    def fork(self, index: AnyIntArray) -> None:
        """Let row b go on from what row ``index[b]`` holds now; B becomes ``len(index)``."""
        self._session.fork(index)
        self._clocks.fork(np.asarray(index))

    def merge(self, other: Session) -> None:
        """Take the rows of another session, behind one's own; see ``Session.merge``."""
        assert isinstance(other, ClockedSession)
        self._session.merge(other._session)
        self._clocks.merge(other._clocks)

    def rewind(self, lengths: AnyIntArray) -> None:
        """Forget what row b holds at positions ``lengths[b]`` and on; nothing is copied."""
        self._session.rewind(lengths)

    def condition(self, vectors: Float32Array, rows: BoolArray | None = None) -> None:
        """Place an adapted condition vector at position 0 of an empty session (E.4)."""
        self._session.condition(vectors, rows)
        self._clocks.place(np.zeros(self.rows, np.int64))
