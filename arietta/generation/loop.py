"""One thread that runs the streams of many listeners, which come and go while it runs.

Every round decides one token of every row. Streams wait in the order in which they came until their
rows have room.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from arietta.errors import AriettaError
from arietta.generation.continuation import ContinuationStream
from arietta.generation.engine import StreamedNote


class LoopBusy(AriettaError):
    """Too many streams wait already."""


class Listener(Protocol):
    """Who hears of a stream; called by the loop's thread, so it must not take long."""

    def notes(self, notes: list[StreamedNote]) -> None:
        """Take notes that were decided."""

    def done(self, error: Exception | None) -> None:
        """Take notice that the stream has ended; by an error, if there is one."""


class Ticket:
    """A place in the loop.

    Args:
        loop: whose.
        rows: that the stream will have.
        listener: who hears of it.
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
    """

    def __init__(self, max_rows: int = 256, max_waiting: int = 64) -> None:
        self._max_rows, self._max_waiting = max_rows, max_waiting
        self._lock = threading.Condition()
        self._waiting: deque[Ticket] = deque()
        self._running: list[Ticket] = []
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="arietta-loop", daemon=True)
        self._thread.start()

    def reserve(self, rows: int, listener: Listener) -> Ticket:
        """Return a place for a stream.

        Raises:
            LoopBusy: too many wait.
        """
        with self._lock:
            if len(self._waiting) >= self._max_waiting:
                raise LoopBusy(f"{len(self._waiting)} requests wait already")
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
            for ticket in self._running:
                if ticket.stream is not None:
                    ticket.stream.cancel()
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

    def _run(self) -> None:
        while True:
            with self._lock:
                self._admit()
                while not self._running and not self._stopped:
                    self._lock.wait()
                    self._admit()
                if self._stopped:
                    return
                running = list(self._running)
            for ticket in running:
                self._step(ticket)

    def _admit(self) -> None:
        used = self.rows
        while self._waiting:
            ticket = self._waiting[0]
            if ticket.stream is None or (used and used + ticket.rows > self._max_rows):
                return
            self._waiting.popleft()
            self._running.append(ticket)
            used += ticket.rows

    def _step(self, ticket: Ticket) -> None:
        assert ticket.stream is not None
        error: Exception | None = None
        done = False
        try:
            notes = ticket.stream.step()
            if notes:
                ticket.listener.notes(notes)
            done = ticket.stream.done
        except Exception as raised:
            error, done = raised, True
        if done:
            self._end(ticket, error)

    def _end(self, ticket: Ticket, error: Exception | None) -> None:
        with self._lock:
            self._running.remove(ticket)
        ticket.listener.done(error)
