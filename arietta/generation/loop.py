"""One thread that runs the streams of many listeners, which come and go while it runs.

Each round decides one token of every row, a ``Batch`` for each model. Streams that find no room
wait in the order in which they came.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from typing import Protocol

from arietta.errors import AriettaError
from arietta.generation.batch import Batch
from arietta.generation.continuation import ContinuationStream
from arietta.generation.engine import Engine, StreamedNote


class LoopBusy(AriettaError):
    """Too many streams wait already."""


class Listener(Protocol):
    """Who is told of a stream; called by the loop's thread, so it must not take long."""

    def notes(self, notes: list[StreamedNote]) -> None:
        """Take notes that were decided, placed as iterating over the stream has them."""

    def done(self, error: Exception | None) -> None:
        """Take notice that the stream has ended; by an error, if there is one."""


class Ticket:
    """A place in the loop.

    Args:
        loop: whose.
        rows: that the stream will have.
        listener: who is told of it.
    """

    def __init__(self, loop: GenerationLoop, rows: int, listener: Listener) -> None:
        self._loop = loop
        self.rows, self.listener = rows, listener
        self.stream: ContinuationStream | None = None

    def start(self, stream: ContinuationStream) -> None:
        """Let the loop run a stream, as soon as there is room."""
        self.stream = stream
        self._loop.wake()

    def cancel(self) -> None:
        """Give the place back; the stream ends before its next token."""
        self._loop.leave(self)


class GenerationLoop:
    """Runs streams in a thread of its own.

    Args:
        max_rows: rows of all streams that run side by side.
        max_waiting: streams that may wait for room.
        max_cache_bytes: of memory for the past of all rows; fewer rows run where theirs is big.
    """

    def __init__(
        self, max_rows: int = 256, max_waiting: int = 64, max_cache_bytes: int = 4 * 2**30
    ) -> None:
        self._max_rows, self._max_waiting = max_rows, max_waiting
        self._max_cache_bytes = max_cache_bytes
        self._lock = threading.Condition()
        self._waiting: deque[Ticket] = deque()
        self._running: list[Ticket] = []
        self._batches: dict[int, Batch] = {}
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="arietta-loop", daemon=True)
        self._thread.start()

    def reserve(self, rows: int, listener: Listener) -> Ticket:
        """Return a place for a stream.

        Raises:
            LoopBusy: too many wait.
        """
        with self._lock:
            # Those that fit beside what runs are no queue, though they have not been taken yet.
            used, without_room = self.rows, 0
            for one in self._waiting:
                if used + one.rows <= self._max_rows:
                    used += one.rows
                else:
                    without_room += 1
            if used + rows > self._max_rows and without_room >= self._max_waiting:
                raise LoopBusy(f"{used} takes are decided and {without_room} requests wait")
            ticket = Ticket(self, rows, listener)
            self._waiting.append(ticket)
            return ticket

    def wake(self) -> None:
        """Tell the thread that there is something to do."""
        with self._lock:
            self._lock.notify_all()

    def leave(self, ticket: Ticket) -> None:
        """Take a ticket out."""
        with self._lock:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
            if ticket.stream is not None:
                ticket.stream.cancel()
            self._lock.notify_all()

    def stop(self) -> None:
        """End the thread; streams that run are cancelled."""
        with self._lock:
            self._stopped = True
            self._lock.notify_all()
        self._thread.join(10)

    @property
    def waiting(self) -> int:
        """Streams that wait for room."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Streams that run."""
        return len(self._running)

    @property
    def rows(self) -> int:
        """Rows of all streams that run."""
        return sum(ticket.rows for ticket in self._running)

    @property
    def tokens(self) -> int:
        """Tokens that were decided so far."""
        return sum(batch.tokens for batch in self._batches.values())

    @property
    def steps(self) -> int:
        """Steps that were run so far."""
        return sum(batch.steps for batch in self._batches.values())

    def _run(self) -> None:
        while True:
            with self._lock:
                self._admit()
                while not self._running and not self._stopped:
                    self._lock.wait()
                    self._admit()
                if self._stopped:
                    break
                running = list(self._running)
            self._round(running)
            del running  # or an idle loop would keep the last streams that it ran
        for ticket in list(self._running):
            if ticket.stream is not None:
                ticket.stream.cancel()
            self._end(ticket, LoopBusy("the server is going down"))

    def _admit(self) -> None:
        """Let those in whose turn it is and who fit."""
        used = self.rows
        for ticket in list(self._waiting):
            stream = ticket.stream
            if stream is None:
                continue  # its prompt is still being read; it keeps nobody out
            if used and used + ticket.rows > self._capacity(stream.stream.engine):
                return
            self._waiting.remove(ticket)
            self._running.append(ticket)
            used += ticket.rows
            if stream.stream.waits:
                try:
                    self._batch(stream.stream.engine).join(stream.stream)
                except Exception as error:  # such as an example of another width than the model's
                    used -= ticket.rows
                    self._end(ticket, error)

    def _capacity(self, engine: Engine) -> int:
        """Return how many rows may run side by side."""
        config = engine.backend.config
        # A key and a value of one byte each, with a scale for each head of them.
        position = 2 * (config.d_model + 4 * config.n_heads) * config.n_layers
        return min(self._max_rows, self._max_cache_bytes // (position * engine.backend.max_seq_len))

    def _batch(self, engine: Engine) -> Batch:
        return self._batches.setdefault(id(engine), Batch(engine))

    def _round(self, running: list[Ticket]) -> None:
        """Step every batch, and every stream that runs by itself, once; tell the listeners."""
        of_stream = {id(ticket.stream.stream): ticket for ticket in running if ticket.stream}
        for batch in list(self._batches.values()):
            if not batch.rows:
                continue
            try:
                found = batch.step()
            except Exception as error:
                self._give_up(batch, running, error)
                continue
            for stream, notes in found:
                ticket = of_stream[id(stream)]
                assert ticket.stream is not None
                self._tell(ticket, ticket.stream.placed(notes))
        for ticket in running:
            assert ticket.stream is not None
            if ticket.stream.done:
                self._end(ticket, None)
            elif not ticket.stream.stream.waits:
                self._step_alone(ticket, ticket.stream)

    def _step_alone(self, ticket: Ticket, stream: ContinuationStream) -> None:
        """Step a stream with a session of its own: one with a draft."""
        try:
            notes = stream.step()
        except Exception as error:
            self._end(ticket, error)
            return
        if notes:
            self._tell(ticket, notes)
        if stream.done:
            self._end(ticket, None)

    @staticmethod
    def _tell(ticket: Ticket, notes: list[StreamedNote]) -> None:
        """Tell a listener of notes; one that fails, such as one whose event loop ended, leaves."""
        try:
            ticket.listener.notes(notes)
        except Exception:
            assert ticket.stream is not None
            ticket.stream.cancel()

    def _give_up(self, batch: Batch, running: list[Ticket], error: Exception) -> None:
        """End the streams of a batch that failed, and begin with an empty one."""
        for key, one in list(self._batches.items()):
            if one is batch:
                del self._batches[key]
        for ticket in running:
            assert ticket.stream is not None
            stream = ticket.stream.stream
            if stream.waits and id(stream.engine) not in self._batches:
                self._end(ticket, error)

    def _end(self, ticket: Ticket, error: Exception | None) -> None:
        with self._lock:
            if ticket not in self._running:
                return
            self._running.remove(ticket)
        with contextlib.suppress(Exception):
            ticket.listener.done(error)
