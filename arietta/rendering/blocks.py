"""Scores of any length through a model of one window: overlapping windows, stitched.

Specification section 4. A window's decoder starts with what the window before it played in their
overlap, less the last fifth of that, which is decoded anew because it was played without knowing
what comes. The pitch of every note is given, so it is fed together with the id before it, and a
note of eight ids costs seven steps.

Rows of a batch do not see each other: each has its own score, windows, mask and random numbers.

``compat`` repeats the public code: a prefix that is one id too old, scores padded to the longest,
and padding that the decoder attends to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from arietta.arrays import Float32Array, FloatArray, Int32Array, IntArray
from arietta.errors import UsageError
from arietta.generation.sampling import RowRandom, pick
from arietta.models.pianist.protocol import EncodedScore, PianistBackend
from arietta.rendering.players import RenderProgress
from arietta.rendering.settings import BlockSettings
from arietta.tokenizers.pianist import BOS, PAD, SLOT_RANGES, SLOTS

REDECODED = 0.2
"""Share of an overlap that is decoded anew."""


class Window(NamedTuple):
    """One stretch of a score, in ids.

    Attributes:
        start, end: what is encoded and played.
        given: how many of its ids were played before and are not decoded anew.
    """

    start: int
    end: int
    given: int


def windows(length: int, size: int, overlap: float, *, compat: bool = False) -> list[Window]:
    """Windows over ``length`` ids, a multiple of 8.

    Args:
        length: ids of the score.
        size: ids of a window, rounded down to whole notes.
        overlap: share of a window that the next one repeats.
        compat: end the repeated part where the public code does, not on a note's border.
    """
    size = max(size // SLOTS * SLOTS, SLOTS)
    if length <= size:
        return [Window(0, length, 0)]
    step = max(int(size * (1 - overlap)) // SLOTS * SLOTS, SLOTS)
    spans = [(start, start + size) for start in range(0, length - size + 1, step)]
    if spans[-1][1] != length:
        spans.append((spans[-1][0] + step, length))
    found = [Window(*spans[0], 0)]
    for (_, before), (start, end) in pairwise(spans):
        shared = before - start
        drop = int(shared * REDECODED)
        if not compat:
            drop = min(-(-drop // SLOTS) * SLOTS, shared)
        found.append(Window(start, end, shared - drop))
    return found


class IdSampler:
    """Draws the id of one slot from logits; built once from settings."""

    def __init__(self, settings: BlockSettings) -> None:
        self._settings = settings

    def probabilities(self, logits: Float32Array) -> tuple[IntArray, FloatArray]:
        """Return what may be drawn and how likely each is: temperature, then top-k, then top-p.

        Args:
            logits: (n,) of the ids that are allowed.

        Returns:
            (m,) indices, the likeliest last, and (m,) probabilities.
        """
        settings = self._settings
        if settings.temperature == 0:
            return np.array([np.argmax(logits)]), np.ones(1)
        k = min(settings.top_k or len(logits), len(logits))
        index = np.argpartition(logits, len(logits) - k)[len(logits) - k :]
        index = index[np.lexsort((-index, logits[index]))]
        z = logits[index].astype(np.float64) / settings.temperature
        weight = np.exp(z - z[-1])
        weight /= weight.sum()
        if settings.top_p < 1:
            keep = np.cumsum(weight) > 1 - settings.top_p
            keep[-1] = True
            index, weight = index[keep], weight[keep] / weight[keep].sum()
        return index, weight

    def draw(self, logits: Float32Array, random: RowRandom) -> int:
        """Return an index into logits (n,)."""
        index, weight = self.probabilities(logits)
        return int(index[pick(weight, random.uniform())])


class _Row:
    """One performance as far as it is decoded."""

    def __init__(self, score: Int32Array, length: int, variation: int, plan: list[Window]) -> None:
        self.score = score
        """Padded to ``length`` ids, which only differs from its own under ``compat``."""
        self.real = length
        self.variation = variation
        self.plan = plan
        self.played = np.zeros(len(score), np.int32)
        self.done = 0
        """Ids of ``played`` that are decided."""
        self.before = np.zeros(0, np.int32)
        """The window before, <bos> included, as its decoder saw it."""


class BlockRender:
    """Renders rows window by window; iterate to run it, ``cancel`` to stop early.

    Args:
        backend: the model.
        scores: ids of each row's score, (8 n,) each; rows of one score share its encoding when
            they are the same object.
        variations: number of each row, which chooses its random numbers; 0, 1, ... by default.
        settings: see ``BlockSettings``.

    Raises:
        UsageError: no rows, or a window longer than the model's.
    """

    def __init__(
        self,
        backend: PianistBackend,
        scores: Sequence[Int32Array],
        settings: BlockSettings,
        *,
        variations: Sequence[int] | None = None,
    ) -> None:
        if not scores:
            raise UsageError("nothing to render")
        most = backend.config.max_notes
        notes = settings.window_notes or most
        if notes > most:
            raise UsageError(f"a window of {notes} notes; the model has room for {most}")
        self._backend = backend
        self._settings = settings
        self._sampler = IdSampler(settings)
        longest = max(len(score) for score in scores)
        numbers = variations if variations is not None else range(len(scores))
        compat = settings.compat is not None
        self._rows = []
        for score, number in zip(scores, numbers, strict=True):
            padded = score
            if compat and len(score) < longest:
                padded = np.full(longest, PAD, np.int32)
                padded[: len(score)] = score
            plan = windows(len(padded), notes * SLOTS, settings.overlap, compat=compat)
            self._rows.append(_Row(padded, len(score), number, plan))
        self._random = [RowRandom(settings.seed, row.variation) for row in self._rows]
        self._total = (
            sum(w.end - w.start - w.given for row in self._rows for w in row.plan) // SLOTS
        )
        self._decoded = 0
        self._cancelled = False
        self._began = time.perf_counter()

    def cancel(self) -> None:
        """Stop before the next note; what is decided stays."""
        self._cancelled = True

    @property
    def cancelled(self) -> bool:
        """Whether it was asked to stop."""
        return self._cancelled

    def progress(self) -> RenderProgress:
        """Return how far it is."""
        return RenderProgress(
            self._decoded // SLOTS, self._total, time.perf_counter() - self._began
        )

    def run(self, report: Callable[[RenderProgress], None] | None = None) -> list[Int32Array]:
        """Render all; ``report`` is called after every note. See ``results``."""
        for now in self:
            if report is not None:
                report(now)
        return self.results()

    def results(self) -> list[Int32Array]:
        """Return the ids of each row, as many whole notes as are decided."""
        return [row.played[: min(row.done, row.real) // SLOTS * SLOTS] for row in self._rows]

    def __iter__(self) -> Iterator[RenderProgress]:
        for number in range(max(len(row.plan) for row in self._rows)):
            active = [i for i, row in enumerate(self._rows) if number < len(row.plan)]
            yield from self._window(number, active)
            if self._cancelled:
                return

    def _encode(self, row: _Row, window: Window) -> EncodedScore:
        """Return what the decoder sees of a row's score in a window."""
        ids = row.score[window.start : window.end]
        real = max(min(row.real, window.end) - window.start, 0)
        if self._settings.compat is None:
            return self._backend.encode(ids)
        # The public code takes the first N of the 8 N id bits for those of the notes.
        return self._backend.encode(ids, real // SLOTS, min(real, len(ids) // SLOTS))

    def _window(self, number: int, active: list[int]) -> Iterator[RenderProgress]:
        """Decode the window of that number for the rows that have one."""
        rows = [self._rows[i] for i in active]
        plan = [row.plan[number] for row in rows]
        encoded: dict[tuple[int, Window], EncodedScore] = {}
        for row, window in zip(rows, plan, strict=True):
            key = (id(row.score), window)
            if key not in encoded:
                encoded[key] = self._encode(row, window)
        session = self._backend.new_session(
            [encoded[id(row.score), window] for row, window in zip(rows, plan, strict=True)]
        )
        # Rows differ in how long the window is, never in what is given: only a last one is short.
        start, given = plan[0].start, plan[0].given
        lengths = [window.end - window.start for window in plan]
        longest = max(lengths)
        own = np.full((len(rows), 1 + longest), PAD, np.int32)
        own[:, 0] = BOS
        for i, row in enumerate(rows):
            if self._settings.compat is None:
                own[i, 1 : 1 + given] = row.played[start : start + given]
            else:
                offset = start - row.plan[number - 1].start if number else 0
                own[i, 1 : 1 + given] = row.before[offset : offset + given]
        at, fed = given, 0  # ids decided, and run, behind <bos>; <bos> itself counts as fed 1
        while at < longest and not self._cancelled:
            slot = at % SLOTS
            if slot == 0:
                for i, row in enumerate(rows):
                    if at < lengths[i]:
                        own[i, 1 + at] = row.score[start + at]
                self._count(rows, lengths, own, start, at)
                at += 1
                continue
            hidden = session.append(own[:, fed : 1 + at])
            fed = 1 + at
            logits = session.logits(hidden, slot)
            low = SLOT_RANGES[slot][0]
            for i, index in enumerate(active):
                if at < lengths[i]:
                    own[i, 1 + at] = low + self._sampler.draw(logits[i], self._random[index])
            self._count(rows, lengths, own, start, at)
            at += 1
            if slot == SLOTS - 1:
                yield self.progress()
        for i, row in enumerate(rows):
            row.before = own[i, : 1 + lengths[i]]

    def _count(
        self, rows: list[_Row], lengths: list[int], own: Int32Array, start: int, at: int
    ) -> None:
        """Enter the ids decided at one place."""
        for i, row in enumerate(rows):
            if at < lengths[i]:
                row.played[start + at] = own[i, 1 + at]
                # Stopped early, what is decoded anew keeps its first reading.
                row.done = max(row.done, start + at + 1)
                self._decoded += 1
