"""The duet as messages: what a page says, what it is told, and what cannot hurt."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arietta.realtime.plans import PlannedNote
from arietta.realtime.settings import DuetSettings
from arietta.realtime.socket import SILENT_MS, DuetSocket


class Chords:
    """Answers with single notes, at once."""

    keeps_ready = True

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.seeds: set[int] = set()

    def read(self, ask: Any) -> int:
        if self.error is not None:
            raise self.error
        return 0

    def notes(self, ask: Any, earliest_ms: float) -> Iterator[Any]:
        self.seeds.add(ask.seed)
        for i in range(20):
            at = earliest_ms + 200.0 * i
            yield (PlannedNote(at, at + 150, 60 + i, 70),), ()


class Page:
    """A page with its socket; the clock is the test's, the worker's thread is real."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.answerer = Chords()
        answerer: Any = self.answerer
        self.socket = DuetSocket(
            answerer,
            settings=DuetSettings(pause_seconds=0.5, budget_ms=140, lead_ms=100, bars=1),
            clock=lambda: self.seconds,
        )
        self.told: list[dict[str, Any]] = []

    def say(self, kind: str, **values: Any) -> list[dict[str, Any]]:
        out = self.socket.receive(json.loads(json.dumps({"type": kind, **values})))
        self.told += json.loads(json.dumps(out))
        return out

    def wait(self, ms: float, *, alive: bool = True) -> None:
        for _ in range(int(ms / 20)):
            self.seconds += 0.02
            if alive:
                self.say("alive")
            self.told += self.socket.tick()

    def until(self, kind: str) -> dict[str, Any]:
        end = time.perf_counter() + 10
        while not any(message["type"] == kind for message in self.told):
            assert time.perf_counter() < end, self.told
            time.sleep(0.001)
            self.wait(20)
        return next(m for m in self.told if m["type"] == kind)

    def states(self) -> list[str]:
        return [m["state"] for m in self.told if m["type"] == "state"]


@pytest.fixture
def page() -> Iterator[Page]:
    found = Page()
    yield found
    found.socket.close()


def answered(page: Page) -> dict[str, Any]:
    page.say("note", pitch=60, velocity=70)
    page.wait(100)
    page.say("note", pitch=60, velocity=0)
    return page.until("plan")


def test_a_page_is_answered_ahead_of_its_audio_clock(page: Page) -> None:
    plan = answered(page)
    assert page.states() == ["armed", "handover", "answering"]
    now = page.socket.now_ms()
    assert plan["id"] == 1 and plan["replaces"] is None and not plan["release"]
    assert len(plan["notes"]) >= 1 and plan["notes"][0][0] >= now + 100
    assert plan["committed_until_ms"] >= now + 80


def test_the_seed_of_the_page_reaches_the_answers(page: Page) -> None:
    page.say("settings", seed=11)
    answered(page)
    assert page.answerer.seeds == {11}


def test_a_key_takes_the_plan_back(page: Page) -> None:
    answered(page)
    page.told.clear()
    page.say("note", pitch=40, velocity=90)
    (plan,) = [m for m in page.told if m["type"] == "plan"]
    assert plan["release"] and plan["notes"] == [] and plan["replaces"] is not None
    assert page.states() == ["yielding"]


def test_clocks_are_compared_by_the_quickest_round_trip(page: Page) -> None:
    (pong,) = page.say("ping", sent_ms=5_000)
    assert pong == {"type": "pong", "sent_ms": 5_000.0, "server_ms": page.socket.now_ms()}
    page.wait(400)
    page.say("trip", sent_ms=5_000, server_ms=40.0, back_ms=5_300)
    (clock,) = page.say("trip", sent_ms=6_000, server_ms=905.0, back_ms=6_010)
    assert clock == {"type": "clock", "offset_ms": pytest.approx(-5_100.0)}
    page.say("note", pitch=60, velocity=70, at_ms=5_300.0)
    (note,) = page.socket._session.transcript.notes
    assert note.onset_ms == pytest.approx(200.0)


def test_a_page_that_is_silent_is_stopped_and_goes_on_later(page: Page) -> None:
    answered(page)
    page.wait(SILENT_MS + 100, alive=False)
    assert page.states()[-1] == "paused"
    assert [m for m in page.told if m["type"] == "plan"][-1]["release"]
    page.say("alive")
    assert page.states()[-1] == "listening"
    page.say("stop")
    page.wait(SILENT_MS + 100, alive=False)
    page.say("alive")
    assert page.states()[-1] == "paused"  # it was stopped by hand


def test_a_suspended_page_gets_the_rest_later(page: Page) -> None:
    plan = answered(page)
    page.wait(300)
    page.told.clear()
    page.say("suspended", lost_ms=250)
    (later,) = [m for m in page.told if m["type"] == "plan"]
    left = [note for note in plan["notes"] if note[0] > page.socket.now_ms() - 250]
    assert [n[2] for n in later["notes"]][: len(left)] == [n[2] for n in left]
    assert all(note[0] >= page.socket.now_ms() for note in later["notes"])


def test_an_error_of_the_model_ends_the_duet_aloud(page: Page) -> None:
    page.answerer.error = RuntimeError("no memory")
    page.say("note", pitch=60, velocity=70)
    end = time.perf_counter() + 10
    while not page.socket.failed and time.perf_counter() < end:
        time.sleep(0.001)
        page.wait(20)
    assert page.states()[-1] == "failed"
    assert [m["why"] for m in page.told if m["type"] == "state"][-1] == "no memory"
    assert [m for m in page.told if m["type"] == "plan"][-1]["release"]
    assert page.say("takeover") == []


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (None, "an object with a type"),
        ([1], "an object with a type"),
        ({"type": "sing"}, "type 'sing' is not known"),
        ({"type": ["note"]}, "is not known"),
        ({"type": "note", "pitch": 60}, "`velocity` is a whole number"),
        ({"type": "note", "pitch": 200, "velocity": 1}, "`pitch` is a whole number"),
        ({"type": "note", "pitch": True, "velocity": 1}, "`pitch` is a whole number"),
        ({"type": "ping", "sent_ms": "now"}, "`sent_ms` is a number"),
        ({"type": "ping", "sent_ms": float("nan")}, "`sent_ms` is a number"),
        ({"type": "trip", "sent_ms": 5, "server_ms": 1, "back_ms": 2}, "round trips"),
        ({"type": "settings", "colour": 1}, "no setting 'colour'"),
        ({"type": "settings", "lead_ms": 0}, "no setting 'lead_ms'"),
        ({"type": "settings", "bars": 0}, "`bars` must lie"),
        ({"type": "settings", "bars": "4"}, "`bars` is a whole number"),
        ({"type": "settings", "mode": "sing"}, "`mode` is one of"),
    ],
)
def test_messages_that_make_no_sense(page: Page, message: Any, said: str) -> None:
    (answer,) = page.socket.receive(message)
    assert answer["type"] == "error" and said in answer["what"]
    assert not page.socket.failed


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 200),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(), max_size=2),
)
KINDS = "ping trip note pedal soft_pedal takeover stop resume settings keys_up suspended alive"
NAMES = "pitch velocity value at_ms sent_ms server_ms back_ms lost_ms mode bars pause_seconds seed"


@settings(max_examples=15)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(KINDS.split()), st.dictionaries(st.sampled_from(NAMES.split()), VALUES)
        ),
        max_size=25,
    )
)
def test_no_message_breaks_it(messages: list[tuple[str, dict[str, Any]]]) -> None:
    page = Page()
    try:
        for kind, values in messages:
            out = page.socket.receive({"type": kind, **values})
            assert all(isinstance(m["type"], str) for m in out)
            page.seconds += 0.05
            page.socket.tick()
        assert not page.socket.failed
        assert page.socket.close()[-1]["state"] == "failed"
    finally:
        page.socket.close()
