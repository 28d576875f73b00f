"""Plans -> MIDI messages at their times. Pure: whoever has a port sends what is due.

It knows what sounds, so that every note it began is ended, whatever happens to the plan.
"""

from __future__ import annotations

import math
from bisect import insort
from typing import NamedTuple

from arietta.realtime.plans import Plan, PlannedNote, PlannedPedal

SUSTAIN, ALL_NOTES_OFF = 64, 123
_NOTE_OFF, _NOTE_ON, _CONTROL = 0x80, 0x90, 0xB0
_OFF, _MOVE, _ON = range(3)


class Message(NamedTuple):
    """A MIDI message and when it is due.

    Attributes:
        due_ms: the time of the session.
        data: status byte and two data bytes.
    """

    due_ms: float
    data: tuple[int, int, int]

    @property
    def is_on(self) -> bool:
        """Whether it begins a note."""
        return self.data[0] & 0xF0 == _NOTE_ON


class PlanPlayer:
    """Plays the plans of one session on one channel.

    Args:
        channel: 0..15.
    """

    def __init__(self, channel: int = 0) -> None:
        self._channel = channel
        self._coming: list[PlannedNote] = []
        self._moves: list[PlannedPedal] = []
        self._sounding: dict[int, float] = {}
        self._down = False

    @property
    def sounding(self) -> frozenset[int]:
        """Keys that are down."""
        return frozenset(self._sounding)

    @property
    def pedal_down(self) -> bool:
        """Whether the pedal is down."""
        return self._down

    @property
    def next_ms(self) -> float | None:
        """When the next message is due; None when nothing is left."""
        found = self._next()
        return None if found is None else found[0]

    def take(self, plan: Plan, now_ms: float) -> list[Message]:
        """Take a plan in the place of the one before; return what has to be sent at once."""
        kept_ms = -math.inf if plan.release else plan.from_ms
        self._coming = [note for note in self._coming if note.onset_ms < kept_ms]
        self._moves = [move for move in self._moves if move.time_ms < kept_ms]
        for note in plan.notes:
            insort(self._coming, note)
        self._moves += plan.pedals
        return self.silence(now_ms) if plan.release else []

    def due(self, now_ms: float) -> list[Message]:
        """Return the messages that are due, in order, and count them as sent."""
        out: list[Message] = []
        while True:
            found = self._next()
            if found is None or found[0] > now_ms:
                return out
            time_ms, kind, pitch = found
            if kind == _OFF:
                out.append(self._end(time_ms, pitch))
            elif kind == _MOVE:
                move = self._moves.pop(0)
                if move.down != self._down:
                    self._down = move.down
                    out.append(self._control(time_ms, SUSTAIN, 127 if move.down else 0))
            else:
                note = self._coming.pop(0)
                if note.pitch in self._sounding:
                    out.append(self._end(time_ms, note.pitch))
                self._sounding[note.pitch] = max(note.end_ms, note.onset_ms + 1.0)
                out.append(Message(time_ms, (_NOTE_ON | self._channel, note.pitch, note.velocity)))

    def silence(self, now_ms: float) -> list[Message]:
        """End every key that is down and lift the pedal; what is planned stays planned."""
        out = [self._end(now_ms, pitch) for pitch in sorted(self._sounding)]
        if self._down:
            self._down = False
            out.append(self._control(now_ms, SUSTAIN, 0))
        return out

    def everything_off(self, now_ms: float) -> list[Message]:
        """Forget the plan, and tell the instrument to be silent whatever it believes."""
        self._coming.clear()
        self._moves.clear()
        out = [self._end(now_ms, pitch) for pitch in sorted(self._sounding)]
        self._down = False
        return [
            *out,
            self._control(now_ms, SUSTAIN, 0),
            self._control(now_ms, ALL_NOTES_OFF, 0),
        ]

    def _next(self) -> tuple[float, int, int] | None:
        """Return (time, kind, key) of the next event; at one time ends come first, notes last."""
        found: list[tuple[float, int, int]] = [
            (end, _OFF, pitch) for pitch, end in self._sounding.items()
        ]
        if self._moves:
            found.append((self._moves[0].time_ms, _MOVE, 0))
        if self._coming:
            found.append((self._coming[0].onset_ms, _ON, self._coming[0].pitch))
        return min(found, default=None)

    def _end(self, time_ms: float, pitch: int) -> Message:
        del self._sounding[pitch]
        return Message(time_ms, (_NOTE_OFF | self._channel, pitch, 64))

    def _control(self, time_ms: float, number: int, value: int) -> Message:
        return Message(time_ms, (_CONTROL | self._channel, number, value))
