"""Streams of one model run as one batch, whose rows come and go while it runs.

A step runs a part of the prompts that wait, then one token of every row, all in one call of the
model; tokens are drawn for all rows at once. Prompts are run in sessions of their own, chunk by
chunk, for as long as a step of the others takes, so that a long one holds nobody up; then their
rows are merged into the session of all.

A row's tokens do not depend on who else is there: with the compiled kernel bit for bit, with other
executors up to the rounding of their products, which differs with the number of rows.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from arietta.arrays import Float32Array
from arietta.generation.engine import (
    KEEP_SLIDING,
    Engine,
    Place,
    Stream,
    StreamedNote,
    draw_tokens,
)
from arietta.generation.forward_pass import cut_left
from arietta.generation.sampling import Sampler
from arietta.generation.settings import SamplingSettings
from arietta.models.aria.protocol import Session

PREFILL_CHUNK = 64
"""Tokens of a prompt run at once, always the same, so that rounding is too."""
LEAST_PREFILL_SECONDS = 0.01
"""How long a step spends on prompts at least."""
ROWS_PER_STEP = 128
"""Most rows of one step: first takes go first, those that are furthest behind before others."""


@dataclass(eq=False)
class _Prefill:
    """A prompt, or the context of a row that has filled its own, on its way into the batch.

    Attributes:
        stream: whose.
        row: of the stream, None for the prompt that all its rows go on from.
        session: what was run so far.
        left: tokens that were not.
    """

    stream: Stream
    place: Place | None
    session: Session
    left: list[int]


class Batch:
    """Rows of many streams of one engine in one session. Not to be used by two threads at once.

    Args:
        engine: whose streams may join.
        rows_per_step: how many rows a step runs at most.
    """

    def __init__(self, engine: Engine, *, rows_per_step: int = ROWS_PER_STEP) -> None:
        self._engine = engine
        self._rows_per_step = rows_per_step
        self._limit = engine.backend.max_seq_len
        self._session: Session | None = None
        self._places: list[Place] = []
        self._prefills: deque[_Prefill] = deque()
        self._samplers: dict[SamplingSettings, Sampler] = {}
        self._step_seconds = 0.0
        self._turn: dict[int, int] = {}
        self.steps = self.tokens = 0

    @property
    def rows(self) -> int:
        """Rows that go on, prompts on their way included."""
        return len(self._places) + len(self._prefills)

    def join(self, stream: Stream) -> None:
        """Take a stream that waits into the batch.

        Streams with equal settings share a sampler from here on.
        """
        assert stream.waits and stream.engine is self._engine
        settings = stream.sampler.settings
        if len(self._samplers) > 64:
            self._samplers.clear()
        stream.sampler = self._samplers.setdefault(settings, stream.sampler)
        session = self._engine.new_session(stream.guidance)
        self._prefills.append(_Prefill(stream, None, session, list(stream.rows[0].context)))

    def step(self) -> list[tuple[Stream, list[StreamedNote]]]:
        """Run a part of the prompts, then one token of every row whose turn it is.

        Returns:
            The notes that were completed, by stream. A stream is done when ``Stream.done`` says so.
        """
        self._drop_cancelled()
        found = self._run_prefills()
        if self._places:
            began = time.monotonic()
            found += self._decode()
            self._step_seconds = time.monotonic() - began
        self.steps += 1
        told: dict[int, tuple[Stream, list[StreamedNote]]] = {}
        for stream, note in found:
            stream.heard()
            told.setdefault(id(stream), (stream, []))[1].append(note)
        return list(told.values())

    # Prompts

    def _run_prefills(self) -> list[tuple[Stream, StreamedNote]]:
        """Run chunks of prompts, the first that came first, until the time for it is over."""
        found: list[tuple[Stream, StreamedNote]] = []
        until = time.monotonic() + max(self._step_seconds, LEAST_PREFILL_SECONDS)
        while self._prefills:
            job = self._prefills[0]
            chunk, job.left = job.left[:PREFILL_CHUNK], job.left[PREFILL_CHUNK:]
            rows = job.session.rows
            hidden = job.session.append(np.tile(np.array(chunk, np.int32), (rows, 1)), last=True)
            if not job.left:
                self._prefills.popleft()
                found += self._enter(job, hidden)
            if self._places and time.monotonic() >= until:
                break
        return found

    def _enter(self, job: _Prefill, hidden: Float32Array) -> list[tuple[Stream, StreamedNote]]:
        """Draw the first tokens behind a prompt, and take its rows into the session of all."""
        stream = job.stream
        if job.place is not None:
            places = [job.place]
        else:
            places = [Place(stream, row) for row in stream.begin()]
            pairs = np.tile(np.arange(stream.per_row), len(places))
            job.session.fork(pairs)
            hidden = hidden[pairs]
        self.tokens += len(places)
        found = draw_tokens(job.session, hidden, places)
        if self._session is None:
            self._session = job.session
        else:
            self._session.merge(job.session)
        self._places += places
        self._drop_finished()
        return found

    # Tokens

    def _decode(self) -> list[tuple[Stream, StreamedNote]]:
        self._slide()
        if not self._places:
            return []
        assert self._session is not None
        chosen = self._chosen()
        places = self._places if chosen is None else [self._places[i] for i in chosen]
        ids, counts = self._pending(places, chosen)
        hidden = self._session.append(ids, last=True, counts=counts)
        if counts is not None:
            hidden = hidden[counts > 0]
        for _, row in places:
            row.context += row.pending
            row.pending = []
        self.tokens += len(places)
        found = draw_tokens(self._session, hidden, places)
        self._drop_finished()
        return found

    def _pending(
        self, places: Sequence[Place], chosen: list[int] | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the tokens (B, 1) to run, and which rows (B,) have one; None for all."""
        if chosen is None:
            rows = [row.pending[0] for stream, row in places for _ in range(stream.per_row)]
            return np.array(rows, np.int32)[:, None], None
        going = set(chosen)
        ids: list[int] = []
        counts: list[int] = []
        for i, (stream, row) in enumerate(self._places):
            ids += [row.pending[0]] * stream.per_row
            counts += [int(i in going)] * stream.per_row
        return np.array(ids, np.int32)[:, None], np.array(counts)

    def _chosen(self) -> list[int] | None:
        """Numbers of the rows whose turn it is, ascending; None for all.

        The first take of each stream is heard while it is decided: those go first, the one that is
        least ahead of its listener before the others. What room is left goes to the other takes,
        those of the stream that has had the fewest turns before others.
        """
        if len(self._places) <= self._rows_per_step:
            return None
        now = time.monotonic()

        def order(i: int) -> tuple[int, float]:
            stream, row = self._places[i]
            if row is stream.rows[0]:
                return 0, stream.lead_seconds(now)
            return 1, self._turn.get(id(stream), 0)

        numbers = sorted(range(len(self._places)), key=order)[: self._rows_per_step]
        for i in numbers:
            key = id(self._places[i].stream)
            self._turn[key] = self._turn.get(key, 0) + 1
        return sorted(numbers)

    def _slide(self) -> None:
        """Send rows whose context is full back to the prompts, with the newer part of it."""
        full = []
        for i, (stream, row) in enumerate(self._places):
            limit = self._limit - stream.base
            if len(row.context) + len(row.pending) > limit:
                full.append(i)
                kept, _ = cut_left(self._engine.tokenizer, row.context, int(limit * KEEP_SLIDING))
                row.context = kept
                session = self._engine.new_session(stream.guidance)
                job = _Prefill(stream, self._places[i], session, [*kept, *row.pending])
                row.context, row.pending = [*kept, *row.pending], []
                self._prefills.append(job)
        if full:
            self._keep([i for i in range(len(self._places)) if i not in set(full)])

    # Rows that leave

    def _drop_cancelled(self) -> None:
        for job in [one for one in self._prefills if one.stream.cancelled]:
            self._prefills.remove(job)
            for row in [job.place.row] if job.place is not None else job.stream.begin():
                job.stream.leave(row, "cancelled")
        if any(stream.cancelled for stream, _ in self._places):
            for stream, row in self._places:
                if stream.cancelled:
                    row.reason = row.reason or "cancelled"
            self._drop_finished()

    def _drop_finished(self) -> None:
        going = []
        for i, (stream, row) in enumerate(self._places):
            if row.reason is None:
                going.append(i)
            else:
                stream.leave(row)
                if stream.done:
                    self._turn.pop(id(stream), None)
        if len(going) < len(self._places):
            self._keep(going)

    def _keep(self, going: list[int]) -> None:
        """Keep some of the rows."""
        if not going:
            self._session, self._places = None, []
            return
        assert self._session is not None
        first = np.cumsum([0, *(stream.per_row for stream, _ in self._places)])
        index = [int(first[i]) + k for i in going for k in range(self._places[i].stream.per_row)]
        self._session.fork(np.array(index))
        self._places = [self._places[i] for i in going]
