"""A duet over messages of JSON values, for a page that plays by a clock of its own.

It knows no transport: whoever has one gives each message to ``receive``, calls ``tick`` at least
every 50 ms and whenever ``wake`` is called, and sends what both return.

From the page: ``ping {sent_ms}`` and ``trip {sent_ms, server_ms, back_ms}`` compare the clocks;
``note {pitch, velocity, at_ms}``, ``pedal {value, at_ms}``, ``soft_pedal {value}``, ``takeover``,
``stop``, ``resume``, ``settings {mode, bars, ...}``, ``keys_up``, ``suspended {lost_ms}``, and
``alive`` when nothing else is said for a second. ``at_ms`` is the page's clock.

To the page: ``pong {sent_ms, server_ms}``, ``clock {offset_ms}`` (ours minus the page's),
``state {state, at_ms, why}``, ``plan {id, replaces, from_ms, notes, pedals, committed_until_ms,
release}`` with notes as [onset_ms, end_ms, pitch, velocity] and pedals as [time_ms, down],
``notice {text}`` and ``error {what}``. Their times are of our clock.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

from arietta.errors import AriettaError, InputError
from arietta.realtime.answerer import Answerer, AnswerWorker
from arietta.realtime.duet import DuetSession
from arietta.realtime.latency import ROUND_TRIPS, clock_offset_ms
from arietta.realtime.plans import Ask, Go, Notice, Offer, Output, Plan
from arietta.realtime.settings import DuetSettings

PAGE_SETTINGS = DuetSettings(budget_ms=140.0, lead_ms=100.0)
"""A page plans at least 100 ms ahead, on its audio clock."""

SILENT_MS = 3_000.0
"""A page that says nothing for so long is suspended or gone: what it was to play is taken back."""

_OWN = {"same_port", "lead_ms", "budget_ms"}
_SETTABLE = {one.name for one in fields(DuetSettings)} - _OWN

Message = dict[str, Any]


class DuetSocket:
    """One duet with one page.

    Args:
        answerer: makes the notes.
        settings: of the duet, until the page sends others.
        wake: called from another thread when there is something to send; call ``tick`` then.
        clock: seconds, never backwards.
    """

    def __init__(
        self,
        answerer: Answerer,
        *,
        settings: DuetSettings = PAGE_SETTINGS,
        wake: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._zero = clock()
        self._wake = wake
        self._session = DuetSession(settings, lost_ms=None)
        self._came: queue.SimpleQueue[Offer | BaseException] = queue.SimpleQueue()
        self._worker = AnswerWorker(answerer, self._take, self._take)
        self._trips: list[tuple[float, float, float]] = []
        self._offset_ms: float | None = None
        self._last_ms = 0.0
        self._silent = False
        self._resumes = False

    @property
    def failed(self) -> bool:
        """Whether the duet is over."""
        return self._session.state == "failed"

    def now_ms(self) -> float:
        """Return the time of the session."""
        return (self._clock() - self._zero) * 1000

    def receive(self, message: object) -> list[Message]:
        """Take a message of the page; one that makes no sense gives an ``error`` message."""
        now = self.now_ms()
        out = self._heard_from(now)
        try:
            return [*out, *self._answer(now, _mapping(message))]
        except AriettaError as error:
            return [*out, {"type": "error", "what": str(error)}]

    def tick(self) -> list[Message]:
        """Let time pass."""
        now = self.now_ms()
        out: list[Message] = []
        while True:
            try:
                came = self._came.get_nowait()
            except queue.Empty:
                break
            if isinstance(came, Offer):
                out += self._follow(self._session.offer(now, came))
            else:
                why = str(came) or type(came).__name__
                out += self._follow(self._session.fail(now, why))
        if not self._silent and now - self._last_ms > SILENT_MS:
            self._silent = True
            self._resumes = self._session.state != "paused"
            out += self._follow(self._session.all_keys_up(now))
            out += self._follow(self._session.stop(now))
        return [*out, *self._follow(self._session.tick(now))]

    def close(self, why: str = "the page is gone") -> list[Message]:
        """End the duet and its thread."""
        out = self._follow(self._session.fail(self.now_ms(), why))
        self._worker.close()
        return out

    def _take(self, came: Offer | BaseException) -> None:
        self._came.put(came)
        self._wake()

    def _heard_from(self, now: float) -> list[Message]:
        self._last_ms = now
        if not self._silent:
            return []
        self._silent = False
        return self._follow(self._session.resume(now)) if self._resumes else []

    def _answer(self, now: float, message: Mapping[str, Any]) -> list[Message]:
        session, kind = self._session, message.get("type")
        if kind == "ping":
            return [{"type": "pong", "sent_ms": _number(message, "sent_ms"), "server_ms": now}]
        if kind == "trip":
            return self._compare(message)
        if kind == "alive":
            return []
        if kind == "note":
            pitch, velocity = _byte(message, "pitch"), _byte(message, "velocity")
            return self._follow(session.note(now, pitch, velocity, at_ms=self._at(message)))
        if kind == "pedal":
            value = _byte(message, "value")
            return self._follow(session.pedal(now, value, at_ms=self._at(message)))
        if kind == "soft_pedal":
            return self._follow(session.soft_pedal(now, _byte(message, "value")))
        if kind == "settings":
            return self._follow(session.settings(now, self._settings(message)))
        if kind == "suspended":
            return self._follow(session.suspended(now, _number(message, "lost_ms")))
        calls = {
            "takeover": session.takeover,
            "stop": session.stop,
            "resume": session.resume,
            "keys_up": session.all_keys_up,
        }
        if not isinstance(kind, str) or kind not in calls:
            raise InputError(f"a message of the type {str(kind)[:40]!r} is not known")
        return self._follow(calls[kind](now))

    def _compare(self, message: Mapping[str, Any]) -> list[Message]:
        names = ("sent_ms", "server_ms", "back_ms")
        sent, server, back = (_number(message, name) for name in names)
        trips = [*self._trips, (sent, server, back)][-ROUND_TRIPS:]
        self._offset_ms = clock_offset_ms(trips)
        self._trips = trips
        return [{"type": "clock", "offset_ms": self._offset_ms}]

    def _at(self, message: Mapping[str, Any]) -> float | None:
        if self._offset_ms is None or "at_ms" not in message:
            return None
        return _number(message, "at_ms") + self._offset_ms

    def _settings(self, message: Mapping[str, Any]) -> DuetSettings:
        given = {name: value for name, value in message.items() if name != "type"}
        unknown = sorted(set(given) - _SETTABLE)
        if unknown:
            raise InputError(
                f"a duet has no setting {unknown[0][:40]!r}; it has {', '.join(sorted(_SETTABLE))}"
            )
        for name in ("bars", "seed", "takeover_key"):
            value = given.get(name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
                raise InputError(f"`{name}` is a whole number, not {str(value)[:40]}")
        return replace(self._session.settings_now, **given)

    def _follow(self, outputs: list[Output]) -> list[Message]:
        out: list[Message] = []
        for output in outputs:
            if isinstance(output, Ask):
                self._worker.ask(output)
            elif isinstance(output, Go):
                self._worker.go(output)
            elif isinstance(output, Plan):
                out.append(plan_message(output))
            elif isinstance(output, Notice):
                out.append({"type": "notice", "text": output.text})
            else:
                if output.state in ("paused", "failed"):
                    self._worker.drop()
                state = {"state": output.state, "at_ms": output.at_ms, "why": output.why}
                out.append({"type": "state", **state})
        return out


def plan_message(plan: Plan) -> Message:
    """Return a plan as JSON values."""
    return {
        "type": "plan",
        "id": plan.id,
        "replaces": plan.replaces,
        "from_ms": plan.from_ms,
        "notes": [list(note) for note in plan.notes],
        "pedals": [list(move) for move in plan.pedals],
        "committed_until_ms": plan.committed_until_ms,
        "release": plan.release,
    }


def _mapping(message: object) -> Mapping[str, Any]:
    if not isinstance(message, Mapping):
        raise InputError("a message is an object with a type")
    return message


def _number(message: Mapping[str, Any], name: str) -> float:
    value = message.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e15:
        raise InputError(f"`{name}` is a number of milliseconds, not {str(value)[:40]}")
    return float(value)


def _byte(message: Mapping[str, Any], name: str) -> int:
    value = message.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 127:
        raise InputError(f"`{name}` is a whole number of 0..127, not {str(value)[:40]}")
    return value
