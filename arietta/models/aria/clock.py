"""What time it is in a sequence of absolute-onset ids, and how long ago the last onset was.

The tokens of the absolute tokenizer (specification B) tell an onset by its place in a segment of
five seconds, and <T> begins the next segment. The time since the previous onset, the *wait*, is a
sum over all ids in between. Models with ``AriaConfig.waits`` are told it: at an onset the wait is
embedded beside the token, and onsets are predicted by an onset's place and by its wait together.

The *cursor* after an id is the place of the latest onset in the present segment, in steps of 10 ms;
negative once <T> has come since. <S> and <FILL> put it to 0. An onset at step o behind a cursor c
has the wait o - c, clipped at ``MAX_WAIT``; one before the cursor has a row of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from arietta.arrays import AnyIntArray, BoolArray, IntArray
from arietta.tokenizers.quantise import SEGMENT_MS, STEP
from arietta.tokenizers.vocabulary import BOS, TIME, vocabulary

SEGMENT_STEPS = SEGMENT_MS // STEP
MAX_WAIT = 999
"""Longest wait that has a row of its own, in steps of 10 ms."""
BEFORE = MAX_WAIT + 1
"""Row of the onsets before the cursor."""
WAIT_ROWS = MAX_WAIT + 2


@dataclass(frozen=True)
class Clock:
    """The ids of one vocabulary that tell the time.

    Attributes:
        size: ids of the vocabulary.
        note_start, dur_start, onset_start, onset_end: half-open blocks of ids: notes up to
            ``dur_start``, durations up to ``onset_start``, onsets up to ``onset_end``.
        fill: id of <FILL>, or -1.
        mid: id of <MID>, or -1.
        control_start: first id of the controls; ``size`` where there are none.
    """

    size: int
    note_start: int
    dur_start: int
    onset_start: int
    onset_end: int
    fill: int
    mid: int
    control_start: int

    def cursors(self, ids: AnyIntArray, before: IntArray) -> IntArray:
        """Cursor after each id.

        Args:
            ids: (B, T) token ids.
            before: (B,) cursors before the first of them; 0 at the start of a sequence.

        Returns:
            (B, T) int64.
        """
        onset, reset, time = self._events(ids)
        steps = np.arange(ids.shape[1])
        last = np.maximum.accumulate(np.where(onset | reset, steps, -1), axis=1)
        segments = np.cumsum(time, axis=1)
        at = np.maximum(last, 0)
        value = np.where(onset, ids - self.onset_start, 0)
        place = np.take_along_axis(value, at, axis=1)
        since: IntArray = segments - np.take_along_axis(segments, at, axis=1)
        fresh = before[:, None] - SEGMENT_STEPS * segments
        return np.where(last < 0, fresh, place - SEGMENT_STEPS * since).astype(np.int64)

    def waits(self, ids: AnyIntArray, before: IntArray) -> IntArray:
        """Row of the wait table for each id; -1 for an id that is no onset.

        Args:
            ids: (B, T) token ids.
            before: (B,) cursors before the first of them.
        """
        onset = self._events(ids)[0]
        after = self.cursors(ids, before)
        cursor = np.concatenate((before[:, None], after[:, :-1]), axis=1)
        return np.where(onset, wait_rows(ids - self.onset_start, cursor), -1)

    def _events(self, ids: AnyIntArray) -> tuple[BoolArray, BoolArray, BoolArray]:
        """Which ids are onsets, which put the clock back, which are <T>."""
        onset = (ids >= self.onset_start) & (ids < self.onset_end)
        return onset, (ids == BOS) | (ids == self.fill), ids == TIME


def wait_rows(steps: AnyIntArray, cursor: AnyIntArray) -> IntArray:
    """Rows of the wait table for onsets at steps behind cursors."""
    wait = np.minimum(steps - cursor, MAX_WAIT)
    return np.where(wait < 0, BEFORE, wait).astype(np.int64)


@lru_cache(maxsize=16)
def clock_of(name: str) -> Clock:
    """Return the clock of a vocabulary.

    Raises:
        UsageError: there is no such vocabulary.
    """
    vocab = vocabulary(name)
    return Clock(
        vocab.size,
        vocab.note_start,
        vocab.dur_start,
        vocab.onset_start,
        vocab.onset_start + SEGMENT_STEPS,
        vocab.fill_start + 1 if vocab.filling else -1,
        vocab.fill_start + 2 if vocab.filling else -1,
        vocab.control_start,
    )


class RowClocks:
    """IntArray of the rows of a session, position by position, so that rows can be rewound.

    Args:
        clock: of the model's vocabulary.
        rows: B.
    """

    def __init__(self, clock: Clock, rows: int) -> None:
        self._clock = clock
        self._cursors = np.zeros((rows, 256), np.int64)

    def append(self, ids: AnyIntArray, lengths: IntArray) -> tuple[IntArray, IntArray]:
        """Take the next ids of every row.

        Args:
            ids: (B, T) at positions ``lengths[b]`` and on; what is padding does no harm, as it is
                written over.
            lengths: (B,) positions that each row holds.

        Returns:
            Rows of the wait table (B, T), -1 where there is no onset; cursors (B, T) after each id.
        """
        rows, tokens = ids.shape
        end = int(lengths.max(initial=0)) + tokens
        if end > self._cursors.shape[1]:
            more = np.zeros((rows, max(end, 2 * self._cursors.shape[1])), np.int64)
            more[:, : self._cursors.shape[1]] = self._cursors
            self._cursors = more
        numbers = np.arange(rows)
        before = np.where(lengths > 0, self._cursors[numbers, np.maximum(lengths - 1, 0)], 0)
        waits, after = self._clock.waits(ids, before), self._clock.cursors(ids, before)
        self._cursors[numbers[:, None], lengths[:, None] + np.arange(tokens)] = after
        return waits, after

    def place(self, lengths: IntArray) -> None:
        """Put the cursor of the next position of every row to 0: a condition stands there."""
        self._cursors[np.arange(len(self._cursors)), lengths] = 0

    def fork(self, index: AnyIntArray) -> None:
        """Let row b go on from row ``index[b]``."""
        self._cursors = self._cursors[index]

    def merge(self, other: RowClocks) -> None:
        """Take the rows of others, behind one's own."""
        width = max(self._cursors.shape[1], other._cursors.shape[1])
        self._cursors = np.concatenate(
            [np.pad(c, ((0, 0), (0, width - c.shape[1]))) for c in (self._cursors, other._cursors)]
        )


IMPOSSIBLE = np.float32(-1e9)
"""Logit of a token of a kind that cannot come next."""
