"""Drives a duet in real time: keys in, messages out, one thread that owns the session.

Keys wait in a queue with the time at which they arrived; answers come from a thread of their own.
Nothing dies silently: an error anywhere ends in all notes off, the pedal up, and the error itself.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable
from typing import Protocol

from arietta.errors import AriettaError, OutputError
from arietta.realtime.answerer import Answerer, AnswerWorker
from arietta.realtime.duet import LOST_MS, DuetSession
from arietta.realtime.plans import Ask, Go, Notice, Offer, Output, Plan, StateChange
from arietta.realtime.recording import YOU, Recording
from arietta.realtime.scheduler import SUSTAIN, Message, PlanPlayer

SOFT_PEDAL, ALL_SOUND_OFF, ALL_KEYS_UP = 67, 120, 123
ACTIVE_SENSING = (0xFE,)
TICK_S = 0.01
_CHECK_S = 1.0
_SENSING_S = 0.2
"""By the standard an instrument falls silent when active sensing stops for 0.3 s."""


class OutPort(Protocol):
    """Where MIDI messages go."""

    def send(self, data: tuple[int, ...]) -> None:
        """Send a message; raise where the port is gone."""

    def check(self) -> None:
        """Raise where the port is gone."""


Event = StateChange | Notice


class DuetLoop:
    """One duet with its ports.

    Args:
        session: the rules.
        answerer: makes the notes.
        out: where they go.
        report: told of states and notices.
        record: takes what both played.
        clock: seconds, never backwards.
        check_input: raises where the input is gone; called once a second.
        sensing: tell the instrument all the time that this process lives, so that it falls silent
            by itself where the process is killed outright or the cable is pulled.
    """

    def __init__(
        self,
        session: DuetSession,
        answerer: Answerer,
        out: OutPort,
        *,
        report: Callable[[Event], None] = lambda event: None,
        record: Recording | None = None,
        clock: Callable[[], float] = time.perf_counter,
        check_input: Callable[[], None] = lambda: None,
        sensing: bool = False,
    ) -> None:
        self._session = session
        self._answerer = answerer
        self._out = out
        self._report = report
        self._record = record
        self._clock = clock
        self.check_input = check_input
        self._zero = clock()
        self._queue: queue.SimpleQueue[tuple[float, object]] = queue.SimpleQueue()
        self._player = PlanPlayer()
        self._worker: AnswerWorker | None = None
        self._stop = threading.Event()
        self._next_check = 0.0
        self._next_sensing = 0.0 if sensing else math.inf
        self.late_ms: list[float] = []
        """How late the last messages were sent; at most 10,000 are kept."""

    def now_ms(self) -> float:
        """Return the time of the session."""
        return (self._clock() - self._zero) * 1000

    # From any thread

    def receive(self, data: tuple[int, ...] | bytes | list[int]) -> None:
        """Take a MIDI message of yours."""
        self._queue.put((self.now_ms(), tuple(data)))

    def takeover(self) -> None:
        """Hand over to the model."""
        self._queue.put((self.now_ms(), "takeover"))

    def fail(self, error: BaseException) -> None:
        """End with an error; ``run`` raises it."""
        self._queue.put((self.now_ms(), error))

    def stop(self) -> None:
        """End the duet."""
        self._stop.set()
        self._queue.put((self.now_ms(), "wake"))

    # The one thread that owns the session

    def run(self) -> None:
        """Play until ``stop``.

        Raises:
            AriettaError: a port is gone, or the model failed.
        """
        self._worker = AnswerWorker(self._answerer, self._offered, self.fail)
        try:
            while not self._stop.is_set():
                self._step()
        except BaseException as error:
            self._silence(self._session.fail(self.now_ms(), str(error) or type(error).__name__))
            raise
        else:
            self._silence(self._session.stop(self.now_ms()))
        finally:
            self._worker.close()

    def _offered(self, offer: Offer) -> None:
        self._queue.put((self.now_ms(), offer))

    def _step(self) -> None:
        item = self._wait()
        while True:
            now = self.now_ms()
            if now - self._session.now_ms <= LOST_MS:
                # The session takes it that what was due before a key has sounded.
                self._send(self._player.due(now))
            if item is not None:
                self._follow(self._input(now, *item))
            self._follow(self._session.tick(now))
            self._send(self._player.due(now))
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
        now_s = self.now_ms() / 1000
        if now_s >= self._next_check:
            self._next_check = now_s + _CHECK_S
            self._check()
        if now_s >= self._next_sensing:
            self._next_sensing = now_s + _SENSING_S
            self._send_data(ACTIVE_SENSING)

    def _wait(self) -> tuple[float, object] | None:
        due = self._player.next_ms
        seconds = TICK_S if due is None else min((due - self.now_ms()) / 1000, TICK_S)
        try:
            return self._queue.get(timeout=seconds) if seconds > 0 else self._queue.get_nowait()
        except queue.Empty:
            return None

    def _check(self) -> None:
        self.check_input()
        try:
            self._out.check()
        except AriettaError:
            raise
        except Exception as error:
            raise OutputError(f"the MIDI output is gone ({error})") from error
        assert self._worker is not None
        if not self._worker.alive and not self._stop.is_set():
            raise OutputError("the model's thread has ended; start the duet again")

    def _input(self, now: float, at_ms: float, item: object) -> list[Output]:
        session = self._session
        if isinstance(item, BaseException):
            raise item
        if isinstance(item, Offer):
            return session.offer(now, item)
        if item == "takeover":
            return session.takeover(now)
        if isinstance(item, tuple) and len(item) == 3:
            return self._message(now, at_ms, item)
        return []

    def _message(self, now: float, at_ms: float, data: tuple[int, int, int]) -> list[Output]:
        kind, first, second = data[0] & 0xF0, data[1], data[2]
        session, record = self._session, self._record
        echoes = session.echoes
        if kind in (0x80, 0x90):
            velocity = second if kind == 0x90 else 0
            outputs = session.note(now, first, velocity, at_ms=at_ms)
            yours = session.echoes == echoes and first != session.settings_now.takeover_key
            if record is not None and yours:
                record.note(YOU, at_ms, first, velocity)
            return outputs
        if kind != 0xB0:
            return []
        if first == SUSTAIN:
            outputs = session.pedal(now, second, at_ms=at_ms)
            if record is not None and session.echoes == echoes:
                record.pedal(YOU, at_ms, second)
            return outputs
        if first == SOFT_PEDAL:
            return session.soft_pedal(now, second)
        if first in (ALL_SOUND_OFF, ALL_KEYS_UP):
            return session.all_keys_up(now)
        return []

    def _follow(self, outputs: list[Output]) -> None:
        worker = self._worker
        assert worker is not None
        for output in outputs:
            if isinstance(output, Plan):
                self._send(self._player.take(output, self.now_ms()))
            elif isinstance(output, Ask):
                worker.ask(output)
            elif isinstance(output, Go):
                worker.go(output)
            else:
                if isinstance(output, StateChange) and output.state == "paused":
                    worker.drop()
                self._report(output)

    def _send(self, messages: list[Message]) -> None:
        for message in messages:
            self._send_data(message.data)
            at_ms = self.now_ms()
            if message.is_on:
                self.late_ms.append(at_ms - message.due_ms)
                if len(self.late_ms) > 10_000:
                    del self.late_ms[:5_000]
            if self._record is not None:
                self._record.sent(message, at_ms)

    def _send_data(self, data: tuple[int, ...]) -> None:
        try:
            self._out.send(data)
        except AriettaError:
            raise
        except Exception as error:
            raise OutputError(f"the MIDI output is gone ({error})") from error

    def _silence(self, outputs: list[Output]) -> None:
        """End every sound, as far as the port still takes it."""
        messages: list[Message] = []
        for output in outputs:
            if isinstance(output, Plan):
                messages += self._player.take(output, self.now_ms())
            elif isinstance(output, StateChange):
                self._report(output)
        for message in [*messages, *self._player.everything_off(self.now_ms())]:
            if self._record is not None:
                self._record.sent(message, self.now_ms())
            try:
                self._out.send(message.data)
            except Exception:
                continue  # the port is gone, and with it the sound; the error is told already
