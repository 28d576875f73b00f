"""Duets on a false clock: a session, a player of its plans, an answerer without a model."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from arietta.realtime.duet import DuetSession
from arietta.realtime.plans import (
    Ask,
    Go,
    Notice,
    Offer,
    Output,
    Plan,
    PlannedNote,
    PlannedPedal,
    StateChange,
)
from arietta.realtime.scheduler import Message, PlanPlayer


@dataclass
class FakeModel:
    """Makes chords, runs and pedal movements; each note takes it some time.

    Attributes:
        note_ms: what one note costs.
        ready: whether it begins before its turn.
    """

    seed: int = 0
    note_ms: float = 2.0
    ready: bool = True
    ask: Ask | None = None
    go: Go | None = None
    _todo: list[PlannedNote] = field(default_factory=list)
    _free_ms: float = 0.0
    _begun: bool = False

    def take(self, output: Ask | Go, now_ms: float) -> None:
        if isinstance(output, Ask):
            self.ask, self.go, self._begun = output, None, False
            self._free_ms = now_ms + self.note_ms
        elif self.ask is not None and output.number == self.ask.number:
            self.go = output
            self._free_ms = max(self._free_ms, now_ms)

    def offers(self, now_ms: float) -> list[Offer]:
        ask = self.ask
        if ask is None:
            return []
        turn = ask.go or self.go is not None
        if not self._begun:
            if not (self.ready or turn):
                return []
            earliest = ask.earliest_ms if self.go is None else self.go.earliest_ms
            self._todo, self._begun = self._made(ask, earliest), True
        out = []
        while self._free_ms <= now_ms and self._todo:
            note = self._todo.pop(0)
            pedals: tuple[PlannedPedal, ...] = ()
            if len(self._todo) % 5 == 0:
                pedals = (PlannedPedal(note.onset_ms + 5, len(self._todo) % 10 == 0),)
            out.append(Offer(ask.number, (note,), not self._todo, pedals))
            self._free_ms += self.note_ms
        if not self._todo:
            self.ask = None
        return out

    def _made(self, ask: Ask, earliest: float) -> list[PlannedNote]:
        rng = random.Random(f"{self.seed} {ask.number}")
        at, notes = earliest + rng.choice([0, 40, 300]), []
        begin = at
        while at - begin < ask.length_ms:
            size = rng.choice([1, 1, 3, 4])
            for pitch in rng.sample(range(36, 96), size):
                notes.append(
                    PlannedNote(at, at + rng.uniform(20, 900), pitch, rng.randint(20, 110))
                )
            at += rng.choice([60.0, 150.0, 400.0])
        return notes


@dataclass
class Duet:
    """A session with all that is around it; time passes in steps of a millisecond or more."""

    session: DuetSession = field(default_factory=DuetSession)
    model: FakeModel = field(default_factory=FakeModel)
    player: PlanPlayer = field(default_factory=PlanPlayer)
    now_ms: float = 0.0
    sent: list[tuple[float, Message]] = field(default_factory=list)
    plans: list[tuple[float, Plan]] = field(default_factory=list)
    states: list[tuple[float, str]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    asks: list[Ask] = field(default_factory=list)

    def follow(self, outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output, Plan):
                self.plans.append((self.now_ms, output))
                self._send(self.player.take(output, self.now_ms))
            elif isinstance(output, StateChange):
                self.states.append((self.now_ms, output.state))
            elif isinstance(output, Notice):
                self.notices.append(output.text)
            else:
                if isinstance(output, Ask):
                    self.asks.append(output)
                self.model.take(output, self.now_ms)

    def step(self, ms: float = 5.0) -> None:
        self.now_ms += ms
        self.follow(self.session.tick(self.now_ms))
        for offer in self.model.offers(self.now_ms):
            self.follow(self.session.offer(self.now_ms, offer))
        self._send(self.player.due(self.now_ms))

    def wait(self, ms: float, step_ms: float = 5.0) -> None:
        until = self.now_ms + ms
        while self.now_ms < until:
            self.step(min(step_ms, until - self.now_ms))

    def note(self, pitch: int, velocity: int) -> None:
        self.follow(self.session.note(self.now_ms, pitch, velocity))

    def tap(self, pitch: int, ms: float = 100.0) -> None:
        self.note(pitch, 70)
        self.wait(ms)
        self.note(pitch, 0)

    def pedal(self, value: int) -> None:
        self.follow(self.session.pedal(self.now_ms, value))

    def _send(self, messages: list[Message]) -> None:
        self.sent += [(self.now_ms, message) for message in messages]

    @property
    def ons(self) -> list[tuple[float, int]]:
        return [(at, m.data[1]) for at, m in self.sent if m.is_on]


def down_after(sent: list[tuple[float, Message]]) -> tuple[set[int], bool]:
    """Keys that are down, and whether the pedal is, after some messages."""
    keys: set[int] = set()
    pedal = False
    for _, message in sent:
        status, first, second = message.data
        if status & 0xF0 == 0x90:
            keys.add(first)
        elif status & 0xF0 == 0x80:
            keys.discard(first)
        elif first == 64:
            pedal = second >= 64
    return keys, pedal
