"""The loop in real time, with two ports in memory; pauses are short so that the tests are."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from arietta.cli.duet import follow_lines
from arietta.errors import OutputError
from arietta.realtime.duet import DuetSession
from arietta.realtime.loop import DuetLoop
from arietta.realtime.plans import PlannedNote, StateChange
from arietta.realtime.recording import ARIETTA, YOU, Recording
from arietta.realtime.settings import DuetSettings

QUICK = DuetSettings(pause_seconds=0.1, budget_ms=20, bars=1)


class MemoryPort:
    """Takes messages; can be closed, and can be the instrument that sends its own notes back."""

    def __init__(self) -> None:
        self.sent: list[tuple[float, tuple[int, ...]]] = []
        self.closed = False
        self.back: Any = None

    def send(self, data: tuple[int, ...]) -> None:
        if self.closed:
            raise OSError("no such device")
        self.sent.append((time.perf_counter(), data))
        if self.back is not None:
            self.back(data)

    def check(self) -> None:
        if self.closed:
            raise OSError("no such device")

    @property
    def ons(self) -> list[tuple[float, tuple[int, ...]]]:
        return [(at, data) for at, data in self.sent if data[0] == 0x90]

    def down(self) -> set[int]:
        keys: set[int] = set()
        for _, (status, pitch, *_) in self.sent:
            if status == 0x90:
                keys.add(pitch)
            elif status == 0x80:
                keys.discard(pitch)
        return keys


class Chords:
    """Answers with a chord every 50 ms."""

    keeps_ready = True
    error: BaseException | None = None

    def read(self, ask: Any) -> int:
        return 0

    def notes(self, ask: Any, earliest_ms: float) -> Iterator[Any]:
        for i in range(40):
            if self.error is not None:
                raise self.error
            at = earliest_ms + 50 * i
            yield tuple(PlannedNote(at, at + 400, p + i % 5, 60) for p in (60, 67)), ()


class Running:
    """A loop in a thread, and what came of it."""

    def __init__(self, settings: DuetSettings = QUICK, answerer: Any = None) -> None:
        self.out = MemoryPort()
        self.states: list[str] = []
        self.record = Recording()
        self.error: BaseException | None = None
        self.loop = DuetLoop(
            DuetSession(settings),
            answerer or Chords(),
            self.out,
            report=lambda event: (
                self.states.append(event.state) if isinstance(event, StateChange) else None
            ),
            record=self.record,
        )
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.loop.run()
        except BaseException as error:
            self.error = error

    def key(self, pitch: int, velocity: int) -> None:
        self.loop.receive((0x90, pitch, velocity))

    def until(self, what: Any, seconds: float = 10.0) -> None:
        end = time.perf_counter() + seconds
        while not what():
            assert time.perf_counter() < end, (self.states, self.error)
            time.sleep(0.002)

    def answer(self) -> None:
        self.key(60, 70)
        self.key(60, 0)
        self.until(lambda: len(self.out.ons) > 3)


@contextmanager
def running(settings: DuetSettings = QUICK, answerer: Any = None) -> Iterator[Running]:
    duet = Running(settings, answerer)
    duet.thread.start()
    try:
        yield duet
    finally:
        duet.loop.stop()
        duet.thread.join(10)
        assert not duet.thread.is_alive()


def test_an_instrument_is_told_all_the_time_that_the_duet_lives() -> None:
    """By the standard it falls silent 0.3 s after active sensing stops, as when one is killed."""
    out = MemoryPort()
    loop = DuetLoop(DuetSession(QUICK), Chords(), out, sensing=True)  # type: ignore[arg-type]
    thread = threading.Thread(target=loop.run)
    thread.start()
    time.sleep(1.0)
    loop.stop()
    thread.join(10)
    told = [at for at, data in out.sent if data == (0xFE,)]
    assert len(told) >= 4 and out.sent[-1][1] == (0xB0, 123, 0)
    with running() as duet:
        duet.answer()
    assert not any(data == (0xFE,) for _, data in duet.out.sent)


def test_it_answers_and_a_key_ends_the_answer() -> None:
    with running() as duet:
        duet.answer()
        assert duet.states == ["armed", "handover", "answering"]
        duet.key(50, 80)
        duet.until(lambda: "yielding" in duet.states)
        duet.until(lambda: not duet.out.down())
        count = len(duet.out.ons)
        duet.until(lambda: duet.states[-1] == "listening")
    assert len(duet.out.ons) == count and not duet.out.down() and duet.error is None
    assert duet.states[-1] == "paused"
    assert duet.out.sent[-2:] == [
        (duet.out.sent[-2][0], (0xB0, 64, 0)),
        (duet.out.sent[-1][0], (0xB0, 123, 0)),
    ]


def test_both_players_are_recorded_on_tracks_of_their_own() -> None:
    with running() as duet:
        duet.loop.receive((0xB0, 64, 127))
        duet.loop.receive((0xB0, 64, 0))
        duet.answer()
    piece = duet.record.piece()
    assert piece.track_names == {YOU: "You", ARIETTA: "Arietta"}
    yours = piece.notes.take(piece.notes.track == YOU)
    assert yours.pitch.tolist() == [60] and yours.channel.tolist() == [0]
    model = piece.notes.take(piece.notes.track == ARIETTA)
    assert len(model) == len(duet.out.ons) and set(model.channel.tolist()) == {1}
    assert piece.pedals.track.tolist()[:2] == [YOU, YOU]


def test_a_closed_port_ends_the_duet_with_an_error() -> None:
    with running() as duet:
        duet.answer()
        duet.out.closed = True
        duet.thread.join(10)
    assert isinstance(duet.error, OutputError) and "is gone" in str(duet.error)
    assert duet.states[-1] == "failed"


def test_an_error_of_the_model_is_not_silent() -> None:
    answerer = Chords()
    with running(answerer=answerer) as duet:
        duet.answer()
        answerer.error = RuntimeError("the model broke")
        duet.key(50, 80)
        duet.thread.join(10)
    assert str(duet.error) == "the model broke"
    assert duet.states[-1] == "failed" and not duet.out.down()


def test_a_dead_input_is_noticed() -> None:
    def gone() -> None:
        raise OutputError("the input is gone")

    with running() as duet:
        duet.answer()
        duet.loop.check_input = gone
        duet.thread.join(10)
    assert "the input is gone" in str(duet.error) and not duet.out.down()


def test_a_key_that_cannot_be_taken_is_an_error_not_silence() -> None:
    with running() as duet:
        duet.loop.fail(ValueError("a broken message"))
        duet.thread.join(10)
    assert str(duet.error) == "a broken message"


def test_an_instrument_that_sends_its_notes_back_does_not_interrupt() -> None:
    settings = DuetSettings(pause_seconds=0.1, budget_ms=20, bars=1, same_port=True)
    with running(settings) as duet:
        duet.out.back = duet.loop.receive
        duet.answer()
        duet.until(lambda: len(duet.out.ons) > 20)
        assert "yielding" not in duet.states
    yours = duet.record.piece().notes
    assert (yours.track == YOU).sum() == 1


def test_sixty_notes_a_second_are_all_heard() -> None:
    with running() as duet:
        for i in range(120):
            duet.key(40 + i % 30, 60)
            time.sleep(0.001)
            duet.key(40 + i % 30, 0)
        duet.until(lambda: len(duet.out.ons) > 3)
    assert (duet.record.piece().notes.track == YOU).sum() == 120


class Hands:
    """Counts what a terminal asked for."""

    def __init__(self) -> None:
        self.took = self.stopped = 0
        self.error: BaseException | None = None

    def takeover(self) -> None:
        self.took += 1

    def stop(self) -> None:
        self.stopped += 1

    def fail(self, error: BaseException) -> None:
        self.error = error


@pytest.mark.parametrize(
    ("lines", "took", "stopped"),
    [([], 0, 0), (["\n", "\n"], 2, 0), (["\n", "q\n", "\n"], 1, 1), (["half a line"], 0, 0)],
)
def test_the_end_of_standard_input_is_no_takeover(
    lines: list[str], took: int, stopped: int
) -> None:
    hands: Any = Hands()
    follow_lines(lines, hands)
    assert (hands.took, hands.stopped, hands.error) == (took, stopped, None)


def test_a_terminal_that_breaks_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    def lines() -> Iterator[str]:
        yield "\n"
        raise OSError("hung up")

    hands: Any = Hands()
    follow_lines(lines(), hands)
    assert hands.took == 1 and "hung up" in capsys.readouterr().err
