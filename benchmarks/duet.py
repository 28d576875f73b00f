"""Does the duet keep its promises: quick handovers, no hanging, dropped or past note, no growth?

    python -m benchmarks.duet [--recordings FOLDER] [--sessions 1000] [--handovers 24] [--big]

*Sessions*: scripted duets on a false clock with held keys and pedals, 60 notes a second, lost
connections, closed ports, kills and suspended clocks; one in ten with the shipped model. *Real
time*: recordings cut at random play against the shipped model through the loop and a port in
memory: handover to plan (by the pause, by a key with a ready answer and without one), handover to
the first time a note may sound, how late notes are sent, how soon a key ends an answer. *Gap*: the
first onset of the duet against the one that the model chooses offline for the same music. *Pause*:
how often keys and pedal up for 0.9 s interrupt the player of a recording. ``--big`` measures a
model of 650 million random weights, which only reads along.
"""

from __future__ import annotations

import argparse
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

import arietta
from arietta.generation.constraints import Start
from arietta.generation.engine import Engine
from arietta.generation.settings import PRESETS, Stop
from arietta.midi.pedal import pedal_intervals
from arietta.midi.piece import Piece
from arietta.realtime.answerer import Answerer, answer_seed
from arietta.realtime.duet import DuetSession
from arietta.realtime.loop import DuetLoop, Event
from arietta.realtime.plans import Offer, StateChange
from arietta.realtime.settings import DuetSettings, Mode
from arietta.tokenizers.aria import AriaTokenizer
from benchmarks.common import file_result
from tests.realtime.simulated import Duet, FakeModel, down_after

PROMPTS = Path(arietta.__file__).parent / "assets" / "prompts"
PAUSE_MS = 900.0


def share(values: list[float], part: float) -> float:
    """Return the value that a share of some values does not exceed."""
    return float(np.quantile(np.asarray(values), part))


def resident_mb() -> float:
    """Return the memory of this process; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0.0
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


# Players


class Played(NamedTuple):
    """A key or the pedal of a recording.

    Attributes:
        at_ms: from the first note.
        kind: ``key`` or ``pedal``.
        first, second: pitch and velocity (0 for up), or the value and 0.
    """

    at_ms: float
    kind: str
    first: int
    second: int


def events_of(piece: Piece) -> list[Played]:
    """Return keys and pedal of a recording by time, ends before beginnings."""
    found: list[Played] = []
    columns = (piece.onset_ms, piece.duration_ms, piece.notes.pitch, piece.notes.velocity)
    for on, length, pitch, velocity in zip(*columns, strict=True):
        found.append(Played(float(on), "key", int(pitch), int(velocity)))
        found.append(Played(float(on + max(length, 5.0)), "key", int(pitch), 0))
    times = piece.tempo.ms_at(piece.pedals.tick)
    for at, value in zip(times, piece.pedals.value, strict=True):
        found.append(Played(float(at), "pedal", int(value), 0))
    zero = float(piece.onset_ms.min())
    found.sort(key=lambda e: (e.at_ms, e.second))
    return [e._replace(at_ms=e.at_ms - zero) for e in found if e.at_ms >= zero]


def excerpt(events: list[Played], start_ms: float, length_ms: float) -> list[Played]:
    """Return what a player does who is cut off: then all keys and the pedal come up."""
    down: set[int] = set()
    out: list[Played] = []
    pedal = False
    for event in events:
        at = event.at_ms - start_ms
        if at < 0 or at > length_ms:
            continue
        if event.kind == "key" and not event.second and event.first not in down:
            continue
        if event.kind == "key":
            (down.add if event.second else down.discard)(event.first)
        else:
            pedal = event.first > 0
        out.append(event._replace(at_ms=at))
    out += [Played(length_ms + 1, "key", pitch, 0) for pitch in sorted(down)]
    if pedal:
        out.append(Played(length_ms + 2, "pedal", 0, 0))
    return out


# Scripted sessions


@dataclass
class ModelAnswers(FakeModel):
    """The shipped model, which answers at its turn; its computing takes no time of the clock."""

    answerer: Answerer | None = None

    def offers(self, now_ms: float) -> list[Offer]:
        """Return the whole answer as soon as it is the model's turn."""
        ask = self.ask
        if ask is None or not (ask.go or self.go is not None):
            return []
        assert self.answerer is not None
        earliest = ask.earliest_ms if self.go is None else self.go.earliest_ms
        self.ask = None
        found = [Offer(ask.number, n, False, p) for n, p in self.answerer.notes(ask, earliest)]
        return [*found, Offer(ask.number, (), True)]


@dataclass
class Faults:
    """What went wrong in scripted sessions.

    Attributes:
        hanging: keys or pedals that stayed down.
        dropped: keys of the player that are not in what was heard.
        past: notes sent more than 100 ms after their time.
        changed_late: plans that changed what was committed.
        slow_yield: answers that sounded on 30 ms after a key.
        pedal_repeats: pedal messages without a change of side.
    """

    hanging: int = 0
    dropped: int = 0
    past: int = 0
    changed_late: int = 0
    slow_yield: int = 0
    pedal_repeats: int = 0


@dataclass
class Script:
    """One scripted session."""

    duet: Duet
    rng: random.Random
    faults: Faults
    pressed: int = 0
    done: list[str] = field(default_factory=list)

    def run(self, steps: int) -> None:
        """Play some random steps, then end the session one way or another."""
        actions: list[Callable[[], None]] = [
            self.phrase,
            self.phrase,
            self.phrase,
            self.flood,
            self.sustained,
            self.disconnect,
            self.suspend,
            self.hand_over,
            self.listen,
            self.half_pedal,
            self.switch,
        ]
        for _ in range(steps):
            action = self.rng.choice(actions)
            self.done.append(action.__name__)
            action()
            self.check_heard()
        how = self.rng.choice(["fail", "stop"])
        self.done.append(how)
        duet = self.duet
        if how == "fail":
            duet.follow(duet.session.fail(duet.now_ms, "killed"))
        else:
            duet.follow(duet.session.stop(duet.now_ms))
        self.check_sent()

    def key(self, pitch: int, velocity: int) -> None:
        """Strike or lift a key, and see that an answer ends with it."""
        duet = self.duet
        before = duet.session.state
        duet.note(pitch, velocity)
        self.pressed += velocity > 0
        if velocity and before == "answering":
            duet.wait(30, 5)
            keys, _ = down_after(duet.sent)
            self.faults.slow_yield += bool(keys)

    def phrase(self) -> None:
        """Play a few notes, lift them, and perhaps wait for the answer."""
        rng, duet = self.rng, self.duet
        for _ in range(rng.randint(1, 8)):
            pitch = rng.randint(30, 90)
            self.key(pitch, rng.randint(1, 127))
            duet.wait(rng.uniform(20, 400), 10)
            self.key(pitch, 0)
        duet.wait(rng.choice([0, 200, 1_500, 4_000]), 10)

    def flood(self) -> None:
        """Play 60 notes a second for two seconds."""
        for i in range(120):
            self.key(40 + i % 24, 60)
            self.duet.wait(1000 / 60, 10)
            self.key(40 + i % 24, 0)

    def sustained(self) -> None:
        """Hold the pedal through a phrase and beyond."""
        self.duet.pedal(127)
        self.phrase()
        if self.rng.random() < 0.7:
            self.duet.pedal(0)
            self.duet.wait(1_000, 10)

    def half_pedal(self) -> None:
        """Move the pedal about its middle."""
        for _ in range(200):
            self.duet.pedal(self.rng.randint(57, 70))
            self.duet.wait(3, 3)
        self.duet.pedal(0)

    def disconnect(self) -> None:
        """Hold keys, and lose the keyboard."""
        for pitch in (48, 52, 55):
            self.key(pitch, 70)
        self.duet.follow(self.duet.session.all_keys_up(self.duet.now_ms))

    def suspend(self) -> None:
        """Lose time, as a suspended tab or laptop does."""
        self.duet.step(self.rng.uniform(150, 20_000))

    def hand_over(self) -> None:
        """Hand over while a key is down."""
        self.key(60, 70)
        self.duet.wait(100, 10)
        self.duet.follow(self.duet.session.takeover(self.duet.now_ms))
        self.duet.wait(self.rng.uniform(0, 3_000), 10)
        self.key(60, 0)

    def listen(self) -> None:
        """Let the model play."""
        self.duet.wait(self.rng.uniform(500, 8_000), 10)

    def switch(self) -> None:
        """Change the mode."""
        session = self.duet.session
        mode: Mode = "go-on" if session.settings_now.mode == "answer" else "answer"
        new = replace(session.settings_now, mode=mode)
        self.duet.follow(session.settings(self.duet.now_ms, new))

    def check_heard(self) -> None:
        """Count keys that are missing from what was heard; the oldest are forgotten on purpose."""
        notes = self.duet.session.transcript.notes
        heard = sum(note.yours for note in notes)
        if not notes or notes[0].serial == 0:
            self.faults.dropped += self.pressed - heard

    def check_sent(self) -> None:
        """Count what must never be sent."""
        keys, pedal = down_after(self.duet.sent)
        self.faults.hanging += len(keys) + pedal
        self.faults.past += sum(at - m.due_ms > 100.5 for at, m in self.duet.sent)
        committed = 0.0
        for _, plan in self.duet.plans:
            self.faults.changed_late += not plan.release and plan.from_ms < committed
            committed = 0.0 if plan.release else max(committed, plan.committed_until_ms)
        sides = [m.data[2] >= 64 for _, m in self.duet.sent if m.data[0] & 0xF0 == 0xB0]
        self.faults.pedal_repeats += sum(a == b for a, b in pairwise([False, *sides]))


def scripted_sessions(
    count: int, engine: Engine | None = None, *, first: int = 0, steps: int = 8
) -> dict[str, Any]:
    """Play scripted sessions on a false clock; return their faults and how much happened."""
    faults = Faults()
    answers = notes = 0
    for number in range(first, first + count):
        rng = random.Random(number)
        model = FakeModel(number, rng.choice([0.5, 2.0, 15.0, 300.0]), rng.random() < 0.7)
        if engine is not None and number % 10 == 0:
            model = ModelAnswers(answerer=Answerer(engine, keeps_ready=False))
        settings = DuetSettings(
            bars=rng.choice([1, 2, 4]), same_port=rng.random() < 0.2, seed=number
        )
        script = Script(Duet(DuetSession(settings), model), rng, faults)
        script.run(steps)
        answers += sum(state == "answering" for _, state in script.duet.states)
        notes += len(script.duet.ons)
    return {
        "sessions": count,
        "answers": answers,
        "model_notes": notes,
        **{f"faults_{name}": value for name, value in vars(faults).items()},
    }


# Real time


class TimedPort:
    """A port in memory that keeps when messages came."""

    def __init__(self) -> None:
        self.sent: list[tuple[float, tuple[int, ...]]] = []

    def send(self, data: tuple[int, ...]) -> None:
        """Take a message."""
        self.sent.append((time.perf_counter(), data))

    def check(self) -> None:
        """Be there."""


class Watched(DuetLoop):
    """A loop that keeps when its plans were ready."""

    plan_ms: list[float]

    def _follow(self, outputs: list[Any]) -> None:
        super()._follow(outputs)
        for output in outputs:
            if type(output).__name__ == "Plan" and not output.release:
                self.plan_ms.append(self.now_ms())


@dataclass
class Times:
    """What was measured of duets in real time, all in ms.

    Attributes:
        ready: from each handover to its plan.
        sound: from each handover to when its first note may sound.
        gaps: from each handover to its first note.
        yields: from a key to the end of what sounded.
        late: how late each note was sent.
    """

    ready: list[float] = field(default_factory=list)
    sound: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    yields: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """Return medians, and what 95 of 100 do not exceed."""
        return {
            "handovers": len(self.ready),
            "handover_to_plan_ms_median": round(median(self.ready), 2),
            "handover_to_plan_ms_p95": round(share(self.ready, 0.95), 2),
            "first_note_may_sound_ms_p95": round(share(self.sound, 0.95), 1),
            "first_note_sounded_ms_median": round(median(self.gaps), 1),
            "sent_late_ms_median": round(median(self.late), 3),
            "sent_late_ms_p95": round(share(self.late, 0.95), 3),
            "sent_late_ms_max": round(max(self.late), 2),
            "notes_sent": len(self.late),
            "yield_ms_p95": round(share(self.yields, 0.95), 2),
            "yield_ms_max": round(max(self.yields), 2),
        }


def in_real_time(
    answerer: Answerer,
    players: Iterator[list[Played]],
    handovers: int,
    settings: DuetSettings,
    times: Times,
    *,
    takeover_s: Callable[[], float] | None = None,
    answer_s: float = 1.5,
) -> None:
    """Play excerpts against a model in real time.

    Args:
        answerer: of the model.
        players: excerpts, one after the other, without end.
        handovers: how many.
        settings: of the duet.
        times: takes how quick everything was.
        takeover_s: how long after the end of an excerpt a key hands over; None leaves it to the
            pause.
        answer_s: how long each answer is listened to before a key ends it.
    """
    states: list[tuple[float, str]] = []

    def report(event: Event) -> None:
        if isinstance(event, StateChange):
            states.append((event.at_ms, event.state))

    port = TimedPort()
    loop = Watched(DuetSession(settings), answerer, port, report=report)
    loop.plan_ms = []
    thread = threading.Thread(target=loop.run)
    thread.start()
    for _ in range(handovers):
        began = time.perf_counter()
        before, plans = len(states), len(loop.plan_ms)
        for event in next(players):
            wait = began + event.at_ms / 1000 - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
            data = (0x90, event.first, event.second)
            loop.receive(data if event.kind == "key" else (0xB0, 64, event.first))
            if any(state == "handover" for _, state in states[before:]):
                before, plans = len(states), len(loop.plan_ms)  # a pause within the excerpt
        if takeover_s is not None:
            time.sleep(takeover_s())
            loop.takeover()
        if not wait_for(lambda: any(s == "answering" for _, s in states[before:]), 30.0):  # noqa: B023
            continue
        handed = next(at for at, s in states[before:] if s == "handover")
        wait_for(lambda: len(loop.plan_ms) > plans, 1.0)  # noqa: B023
        planned = loop.plan_ms[plans]
        times.ready.append(planned - handed)
        earliest = max(handed + settings.budget_ms, planned + settings.lead_ms)
        times.sound.append(earliest - handed)
        ons = len([1 for _, d in port.sent if d[0] == 0x90])
        wait_for(lambda: len([1 for _, d in port.sent if d[0] == 0x90]) > ons, 10.0)  # noqa: B023
        times.gaps.append(loop.now_ms() - handed)
        time.sleep(answer_s)
        key = time.perf_counter()
        loop.receive((0x90, 30, 60))
        wait_for(lambda: states[-1][1] == "listening", 5.0)
        offs = [at for at, d in port.sent if at >= key and d[0] == 0x80]
        if offs:
            times.yields.append((max(offs) - key) * 1000)
        loop.receive((0x90, 30, 0))
    loop.stop()
    thread.join(30)
    times.late += [max(value, 0.0) for value in loop.late_ms]


def ready_or_not(
    engine: Engine, recordings: list[list[Played]], handovers: int
) -> dict[str, dict[str, Any]]:
    """Compare takeovers with a ready answer and without one, turn by turn on the same excerpts.

    A key hands over 0.1..0.8 s after the last key came up; in the row ``takeover`` with it, when
    there was no time to make anything.
    """
    rows = {
        "takeover_ready": (None, True),
        "takeover_plain": (False, True),
        "takeover": (None, False),
    }
    times = {name: Times() for name in rows}
    players, rng = cut_players(recordings, 1, 2_500.0), random.Random(1)
    for _ in range(handovers):
        events, wait_s = next(players), rng.uniform(0.1, 0.8)
        for name, (keeps_ready, waits) in rows.items():
            answerer = Answerer(engine, keeps_ready=keeps_ready)
            in_real_time(
                answerer,
                iter([events]),
                1,
                DuetSettings(),
                times[name],
                takeover_s=lambda: wait_s if waits else 0.0,  # noqa: B023
                answer_s=0.3,
            )
    found = {name: one.figures() for name, one in times.items()}
    ready, plain = times["takeover_ready"].ready, times["takeover_plain"].ready
    found["takeover_ready"]["of_plain_median"] = round(median(ready) / median(plain), 3)
    found["takeover_ready"]["of_plain_p95"] = round(share(ready, 0.95) / share(plain, 0.95), 3)
    return found


def wait_for(what: Callable[[], bool], seconds: float) -> bool:
    """Wait until something holds; return whether it came to."""
    end = time.perf_counter() + seconds
    while not what():
        if time.perf_counter() > end:
            return False
        time.sleep(0.002)
    return True


def cut_players(
    recordings: list[list[Played]], seed: int, length_ms: float = 4_000.0
) -> Iterator[list[Played]]:
    """Give excerpts cut at random, without end."""
    rng = random.Random(seed)
    while True:
        events = rng.choice(recordings)
        last = events[-1].at_ms
        found = excerpt(events, rng.uniform(0, max(last - length_ms, 1.0)), length_ms)
        if sum(e.kind == "key" and e.second > 0 for e in found) >= 5:
            yield found


# The musical gap, pauses, growth


def musical_gap(engine: Engine, recordings: list[list[Played]], cuts: int) -> dict[str, Any]:
    """Compare the first onset of the duet with the one the model chooses offline, cut by cut."""
    players = cut_players(recordings, 7, 8_000.0)
    online: list[float] = []
    offline: list[float] = []
    tokenizer = engine.tokenizer
    settings = DuetSettings()
    number = 0
    while len(online) < cuts:
        number += 1
        events = next(players)
        model = ModelAnswers(answerer=Answerer(engine, keeps_ready=False))
        duet = Duet(DuetSession(replace(settings, seed=number)), model)
        play_on_false_clock(duet, events)
        if any(state == "handover" for _, state in duet.states):
            continue  # a pause within the excerpt
        while not duet.plans and duet.now_ms < 60_000:
            duet.wait(20, 5)
        handed = next(at for at, state in duet.states if state == "handover")
        online.append(duet.plans[0][1].notes[0].onset_ms - handed)
        drawn = answer_seed(number, duet.asks[-1].notes)
        offline.append(offline_gap(engine, tokenizer, events, handed, settings, drawn))
    return {
        "cuts": cuts,
        "gap_ms_median_duet": round(median(online), 1),
        "gap_ms_median_offline": round(median(offline), 1),
        "gap_ms_median_difference": round(abs(median(online) - median(offline)), 1),
        "same_to_10_ms": sum(abs(a - b) <= 10 for a, b in zip(online, offline, strict=True)),
    }


def play_on_false_clock(duet: Duet, events: list[Played]) -> None:
    """Play an excerpt to a duet on a false clock."""
    for event in events:
        duet.wait(max(event.at_ms - duet.now_ms, 0.0), 10)
        if event.kind == "key":
            duet.note(event.first, event.second)
        else:
            duet.pedal(event.first)


def offline_gap(
    engine: Engine,
    tokenizer: AriaTokenizer,
    events: list[Played],
    handed_ms: float,
    settings: DuetSettings,
    seed: int,
) -> float:
    """Return how long after the handover the model begins when it reads the excerpt as a file."""
    open_keys: dict[int, tuple[float, int]] = {}
    rows = []
    for event in events:
        if event.kind == "key" and event.first in open_keys:
            on, velocity = open_keys.pop(event.first)
            rows.append((on, event.at_ms - on, event.first, velocity))
        if event.kind == "key" and event.second:
            open_keys[event.first] = (event.at_ms, event.second)
    rows.sort()
    moves = [(e.at_ms, e.first) for e in events if e.kind == "pedal"]
    piece = Piece.from_ms(
        *zip(*rows, strict=True),
        pedal_time_ms=[at for at, _ in moves],
        pedal_value=[value for _, value in moves],
    )
    zero = rows[0][0]
    stream = engine.stream(
        tokenizer.encode(piece, eos=False),
        settings=PRESETS["balanced"],
        stop=Stop(notes=1),
        seed=seed,
        start=Start(handed_ms + settings.budget_ms - zero),
    )
    first = next(iter(stream))
    return first.onset_ms + zero - handed_ms


def interruptions(pieces: list[Piece]) -> dict[str, Any]:
    """Count, a minute, how often a pause would have taken a recording's player by surprise."""
    minutes = quiet = gaps = 0.0
    for piece in pieces:
        onset = np.sort(np.asarray(piece.onset_ms))
        minutes += float(onset[-1] - onset[0]) / 60_000
        gaps += float(np.sum(np.diff(onset) > PAUSE_MS))
        begin, end = [onset], [np.asarray(piece.onset_ms + piece.duration_ms)]
        for channel in np.unique(piece.pedals.channel):
            down, up = pedal_intervals(piece, int(channel))
            begin.append(np.asarray(piece.tempo.ms_at(down)))
            end.append(np.asarray(piece.tempo.ms_at(up)))
        times, first = np.concatenate(begin), np.concatenate(end)
        order = np.argsort(times, kind="stable")
        busy = np.maximum.accumulate(first[order])
        starts = times[order]
        pauses = starts[1:] - busy[:-1]
        quiet += float(np.sum(pauses > PAUSE_MS))
    return {
        "recordings": len(pieces),
        "minutes": round(minutes, 1),
        "interruptions_a_minute_keys_and_pedal": round(quiet / minutes, 2),
        "interruptions_a_minute_onsets_alone": round(gaps / minutes, 2),
    }


def growth(engine: Engine, recordings: list[list[Played]], minutes: float) -> dict[str, Any]:
    """Play long on a false clock with the shipped model; return the memory early and late."""
    players = cut_players(recordings, 3, 6_000.0)
    model = ModelAnswers(answerer=Answerer(engine, keeps_ready=False))
    duet = Duet(DuetSession(DuetSettings(bars=2)), model)
    early = 0.0
    while duet.now_ms < minutes * 60_000:
        start = duet.now_ms
        play_on_false_clock(duet, [e._replace(at_ms=e.at_ms + start) for e in next(players)])
        duet.wait(6_000, 10)
        # What the simulation keeps is not the duet's.
        for kept in (duet.sent, duet.plans, duet.states, duet.asks, duet.notices):
            kept.clear()
        if not early and duet.now_ms > minutes * 6_000:
            early = resident_mb()
    return {
        "minutes": minutes,
        "memory_mb_after_a_tenth": round(early, 1),
        "memory_mb_at_the_end": round(resident_mb(), 1),
        "notes_kept": len(duet.session.transcript.notes),
    }


def big_engine() -> Engine:
    """Return an engine of the published size with random weights."""
    from arietta.models.aria.config import PRESETS as SIZES
    from arietta.models.executors import cpu_backend
    from benchmarks.speculative_cost import RandomModel, RandomTensors

    tokenizer = AriaTokenizer("full")
    config = replace(SIZES["medium"], vocab_size=tokenizer.vocab_size)
    return Engine(cpu_backend(RandomModel(config, RandomTensors(config))), tokenizer)


def main() -> None:
    """Measure and file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.duet", description=__doc__)
    parser.add_argument("--recordings", type=Path, default=PROMPTS, help="folder of MIDI files")
    parser.add_argument("--sessions", type=int, default=1_000)
    parser.add_argument("--handovers", type=int, default=24)
    parser.add_argument("--cuts", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--big", action="store_true", help="measure the size of 650 M alone")
    parser.add_argument("--only", choices=("quiet", "false-clock"), help="one half of it")
    given = parser.parse_args()
    pieces = [arietta.read(path) for path in sorted(given.recordings.rglob("*.mid*"))]
    recordings = [events_of(piece) for piece in pieces if len(piece) > 50]
    engine = arietta.load("small").engine
    figures: dict[str, dict[str, Any]] = {}

    def tell(name: str, found: dict[str, Any]) -> None:
        figures[name] = found
        print(name, found, flush=True)

    if given.big:
        # The prompt is short: 46 tokens a second are what this size makes.
        players = cut_players(recordings, 1, 2_500.0)
        times = Times()
        wanted, answerer = DuetSettings(budget_ms=280.0), Answerer(big_engine())
        in_real_time(answerer, players, given.handovers, wanted, times, takeover_s=lambda: 0.0)
        tell("takeover", times.figures())
        file_result("duet_real_time_650m", dict(figures))
        return
    if given.only != "false-clock":
        times, players = Times(), cut_players(recordings, 1, 2_500.0)
        answerer = Answerer(engine)
        in_real_time(answerer, players, given.handovers, DuetSettings(), times, answer_s=1.0)
        tell("pause", times.figures())
        for name, found in ready_or_not(engine, recordings, given.handovers).items():
            tell(name, found)
        file_result("duet_real_time", dict(figures))
    if given.only != "quiet":
        figures.clear()
        tell("sessions", scripted_sessions(given.sessions, engine))
        tell("gap", musical_gap(engine, recordings, given.cuts))
        tell("pause", interruptions(pieces))
        tell("growth", growth(engine, recordings, given.minutes))
        file_result("duet", dict(figures))


if __name__ == "__main__":
    main()
