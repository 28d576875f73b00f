"""The rules of a duet on a false clock: what follows from what, and what never happens."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arietta.realtime.duet import CHORD_MS, DuetSession
from arietta.realtime.latency import Latency
from arietta.realtime.plans import Ask, Offer, Plan, PlannedNote, PlannedPedal
from arietta.realtime.settings import DuetSettings
from tests.realtime.simulated import Duet, FakeModel, down_after


def played(settings: DuetSettings | None = None, **model: Any) -> Duet:
    """A duet in which you have just played three notes."""
    duet = Duet(DuetSession(settings), FakeModel(**model))
    for pitch in (60, 64, 67):
        duet.tap(pitch, 150)
        duet.wait(100)
    return duet


def answering(settings: DuetSettings | None = None, **model: Any) -> Duet:
    duet = played(settings, **model)
    while not duet.ons:
        duet.wait(5)
    return duet


def test_a_pause_hands_over_and_the_answer_ends_by_itself() -> None:
    duet = played()
    duet.wait(30_000)
    assert [s for _, s in duet.states] == [
        *("armed", "listening") * 2,
        "armed",
        "handover",
        "answering",
        "listening",
    ]
    quiet = duet.states[4][0]
    assert duet.states[5][0] == pytest.approx(quiet + 900, abs=6)
    assert duet.ons[0][0] >= quiet + 900 + duet.session.settings_now.budget_ms
    assert down_after(duet.sent) == (set(), False)


def test_keys_and_pedal_hold_the_pause_back() -> None:
    duet = Duet()
    duet.pedal(127)
    duet.tap(60)
    duet.wait(3_000)
    assert duet.session.state == "listening"
    duet.pedal(0)
    duet.wait(800)
    assert duet.session.state == "armed"
    duet.note(62, 70)
    assert duet.session.state == "listening"
    duet.wait(3_000)
    assert duet.session.state == "listening"
    duet.note(62, 0)
    duet.wait(950)
    assert duet.session.state in ("handover", "answering")


def test_nothing_is_answered_twice() -> None:
    duet = answering()
    duet.wait(60_000, 50)
    assert [s for _, s in duet.states].count("handover") == 1


def test_without_a_pause_only_a_takeover_hands_over() -> None:
    duet = played(DuetSettings(pause_seconds=None))
    duet.wait(5_000)
    assert duet.session.state == "listening"
    duet.follow(duet.session.takeover(duet.now_ms))
    duet.wait(300)
    assert duet.session.state == "answering"


@pytest.mark.parametrize("how", ["key", "soft pedal", "call"])
def test_ways_to_hand_over(how: str) -> None:
    duet = played(DuetSettings(takeover_key=21))
    now = duet.now_ms
    if how == "key":
        duet.follow(duet.session.note(now, 21, 80))
    elif how == "soft pedal":
        duet.follow(duet.session.soft_pedal(now, 100))
    else:
        duet.follow(duet.session.takeover(now))
    assert duet.session.state in ("handover", "answering")
    assert all(note.pitch != 21 for note in duet.session.transcript.notes)


def test_a_ready_answer_is_planned_at_the_handover_itself() -> None:
    duet = played()
    duet.wait(950)
    handover = next(at for at, state in duet.states if state == "handover")
    assert duet.plans[0][0] == handover
    slow = played(ready=False, note_ms=30)
    slow.wait(1_500)
    assert slow.plans[0][0] > next(at for at, state in slow.states if state == "handover")


@pytest.mark.parametrize("after_ms", range(60, 860, 40))
def test_a_takeover_within_the_pause_finds_a_ready_answer(after_ms: int) -> None:
    """Made again or not, also while the next one is in the making, which takes 30 ms here."""
    duet = played(note_ms=15)
    duet.wait(after_ms - 100, 1)  # the last key came up 100 ms ago
    duet.follow(duet.session.takeover(duet.now_ms))
    at = duet.now_ms
    assert [when for when, _ in duet.plans] == [at] and duet.session.state == "answering"
    first = duet.plans[0][1].notes[0].onset_ms
    assert at + 120 <= first <= at + 120 + 150 + 300
    duet.wait(12_000)
    assert duet.session.state == "listening"
    assert max(when for when, _ in duet.ons) - at > 7_000  # all of it is played
    assert down_after(duet.sent) == (set(), False)


def test_what_a_replaced_ready_answer_lacks_is_asked_for() -> None:
    duet = played(note_ms=15)
    for _ in range(200):
        duet.wait(0 if duet.session._ready else 5)
    assert duet.session._ready is not None
    asked = len(duet.asks)
    duet.follow(duet.session.takeover(duet.now_ms))
    assert len(duet.plans) == 1 and len(duet.asks) == asked + 1
    planned, ask = duet.plans[0][1].notes, duet.asks[-1]
    assert ask.go and ask.notes[-1].onset_ms == planned[-1].onset_ms < ask.earliest_ms
    assert ask.length_ms == duet.asks[0].length_ms - (planned[-1].onset_ms - planned[0].onset_ms)


def test_a_ready_answer_that_is_too_old_is_made_anew() -> None:
    duet = played(DuetSettings(pause_seconds=None))
    duet.wait(9_000)
    made = len(duet.asks)
    assert made > 10
    duet.wait(9_000)
    assert len(duet.asks) <= made + 10  # nobody plays: it is no longer made again
    made = len(duet.asks)
    duet.follow(duet.session.takeover(duet.now_ms))
    assert len(duet.asks) == made + 1 and duet.asks[-1].go and not duet.plans
    assert duet.asks[-1].earliest_ms == duet.now_ms + 120


@pytest.mark.parametrize("what", ["key", "release", "pedal", "settings"])
def test_a_ready_answer_to_other_music_is_thrown_away(what: str) -> None:
    duet = Duet(DuetSession(DuetSettings(pause_seconds=None)))
    duet.tap(60)
    duet.note(64, 70)
    duet.wait(200)
    asked = len(duet.asks)
    if what == "key":
        duet.note(67, 70)
    elif what == "release":
        duet.note(64, 0)
    elif what == "pedal":
        duet.pedal(127)
    else:
        new = replace(duet.session.settings_now, bars=1)
        duet.follow(duet.session.settings(duet.now_ms, new))
    assert len(duet.asks) == asked + 1
    duet.follow(duet.session.takeover(duet.now_ms))
    assert duet.session.state == "handover" and not duet.plans
    duet.wait(50)
    assert duet.session.state == "answering" and len(duet.asks) == asked + 1


def test_your_key_ends_the_answer_and_only_what_sounded_was_heard() -> None:
    duet = answering(DuetSettings(bars=8))
    duet.wait(700)
    planned = duet.plans[-1][1].notes
    at = duet.now_ms
    duet.note(48, 90)
    assert duet.session.state == "yielding" and duet.player.next_ms is None
    assert down_after(duet.sent) == (set(), False)
    assert duet.sent[-1][0] == at
    duet.wait(20)
    assert duet.session.state == "listening"
    heard = [note for note in duet.session.transcript.notes if not note.yours]
    assert len(heard) == len(duet.ons) < len(planned) + len(duet.ons)
    assert all(note.end_ms is not None and note.end_ms <= at for note in heard)
    assert duet.asks[-1].notes[-1].pitch == 48


def test_releasing_keys_and_pedal_does_not_end_an_answer() -> None:
    duet = Duet()
    duet.note(60, 70)
    duet.pedal(127)
    duet.wait(100)
    duet.follow(duet.session.takeover(duet.now_ms))
    duet.wait(400)
    assert duet.session.state == "answering"
    duet.note(60, 0)
    duet.pedal(0)
    duet.wait(50)
    assert duet.session.state == "answering"


def test_stop_ends_the_sound_and_answers_no_more() -> None:
    duet = answering()
    duet.follow(duet.session.stop(duet.now_ms))
    assert duet.session.state == "paused" and down_after(duet.sent) == (set(), False)
    asked = len(duet.asks)
    duet.tap(60)
    duet.wait(3_000)
    assert duet.session.state == "paused" and len(duet.asks) == asked
    duet.follow(duet.session.resume(duet.now_ms))
    duet.wait(2_000)
    assert duet.session.state == "answering"


def test_go_on_goes_on_until_you_play() -> None:
    duet = answering(DuetSettings(mode="go-on"))
    duet.wait(60_000, 10)
    assert duet.session.state == "answering" and max(at for at, _ in duet.ons) > 55_000
    gaps = [b[0] - a[0] for a, b in pairwise(duet.ons)]
    assert max(gaps) < 1_000  # the next stretch is there before the last one ends
    duet.note(60, 70)
    assert duet.session.state == "yielding" and down_after(duet.sent) == (set(), False)


def test_an_echo_on_the_same_port_is_no_key() -> None:
    duet = answering(DuetSettings(same_port=True, bars=8))
    duet.wait(4_000, 10)  # everything that is sent comes back
    assert duet.session.state == "answering"
    assert len(duet.ons) > 20 and duet.session.echoes >= len(duet.ons)
    # A key of yours still is one.
    duet.note(60, 127)
    assert duet.session.state == "yielding"


def test_without_the_setting_such_a_note_is_a_key() -> None:
    duet = answering()
    _, message = duet.sent[0]
    duet.note(message.data[1], message.data[2])
    assert duet.session.state == "yielding"


def test_a_flood_of_half_pedal_changes_nothing() -> None:
    duet = Duet()
    duet.tap(60)
    duet.pedal(70)
    asked = len(duet.asks)
    for value in [63, 66, 62, 65, 60, 68] * 300:
        duet.now_ms += 1
        duet.pedal(value)
    assert len(duet.asks) == asked and duet.session.transcript.pedal_down
    duet.pedal(30)
    assert len(duet.asks) == asked + 1 and not duet.session.transcript.pedal_down


def offers(number: int, chords: list[list[int]], earliest: float) -> list[Offer]:
    notes = [
        PlannedNote(earliest + 300 * i, earliest + 300 * i + 250, pitch, 60)
        for i, chord in enumerate(chords)
        for pitch in chord
    ]
    return [Offer(number, (note,), note is notes[-1]) for note in notes]


def test_chords_stay_chords_however_late_their_notes_come() -> None:
    duet = Duet(model=FakeModel(ready=False))
    duet.tap(60)
    duet.follow(duet.session.takeover(duet.now_ms))
    ask = duet.model.ask
    assert ask is not None
    duet.model.ask = None  # the test answers itself, ever later
    chords = [[60, 64, 67], [59, 62, 65], [57, 60, 64, 69], [55]]
    for offer in offers(ask.number, chords, ask.earliest_ms):
        duet.wait(220)
        duet.follow(duet.session.offer(duet.now_ms, offer))
    duet.wait(3_000)
    struck: dict[float, list[int]] = {}
    for at, pitch in duet.ons:
        struck.setdefault(at, []).append(pitch)
    assert [sorted(pitches) for pitches in struck.values()] == [sorted(c) for c in chords]


def test_late_plans_are_stretched_and_the_third_shortens_what_is_asked() -> None:
    duet = played(ready=False, note_ms=400)
    duet.wait(2_000)
    before = duet.asks[-1].length_ms
    duet.wait(30_000)
    assert len(duet.notices) >= 1 and "three times" in duet.notices[0]
    assert "model small" in duet.notices[0]
    assert duet.session.state in ("answering", "listening")
    duet.wait(60_000, 50)
    duet.tap(60)
    assert duet.asks[-1].length_ms < before


def test_no_answer_at_all_is_given_up() -> None:
    duet = played(ready=False, note_ms=1e9)
    duet.wait(25_000, 50)
    assert duet.session.state == "listening" and duet.notices


def test_a_suspended_clock_stretches_the_plan() -> None:
    duet = answering(DuetSettings(bars=8))
    left = len(duet.player._coming)
    assert left
    struck = len(duet.ons)
    duet.step(5_000)
    assert down_after(duet.sent) == (set(), False)  # what sounded was ended, nothing bursts out
    assert len(duet.ons) == struck
    duet.wait(40_000)
    assert len(duet.ons) >= struck + left


def test_latency_sends_soft_notes_earlier() -> None:
    latency = Latency(50.0, {20: 80.0, 120: 10.0})
    assert latency.of(70) == pytest.approx(95.0) and latency.longest_ms == 130.0
    duet = Duet(DuetSession(latency=latency), FakeModel(ready=False))
    duet.tap(60)
    duet.follow(duet.session.takeover(duet.now_ms))
    ask = duet.model.ask
    assert ask is not None
    duet.model.ask = None
    assert duet.model.go is not None
    assert ask.earliest_ms == duet.model.go.earliest_ms == duet.now_ms + 120 + 130
    at = ask.earliest_ms + 400
    soft, loud = PlannedNote(at, at + 100, 50, 20), PlannedNote(at, at + 100, 60, 120)
    duet.follow(duet.session.offer(duet.now_ms, Offer(ask.number, (soft, loud), True)))
    duet.wait(2_000, 1)
    sent = {pitch: when for when, pitch in duet.ons}
    assert sent[50] == pytest.approx(at - 130, abs=1) and sent[60] == pytest.approx(at - 60, abs=1)
    heard = {n.pitch: n.onset_ms for n in duet.session.transcript.notes if not n.yours}
    assert heard[50] == heard[60] == at


def test_a_note_sounds_until_key_and_pedal_are_up_or_it_is_struck_again() -> None:
    duet = Duet()
    duet.pedal(127)
    duet.tap(60, 100)
    duet.tap(64, 100)
    duet.wait(300)
    duet.tap(64, 100)
    duet.wait(400)
    assert [note.end_ms for note in duet.session.transcript.notes] == [None, 500.0, None]
    duet.pedal(0)
    assert [note.end_ms for note in duet.session.transcript.notes] == [1_000.0, 500.0, 1_000.0]


def test_a_long_silence_counts_as_ten_seconds() -> None:
    duet = answering()
    duet.wait(20_000)
    duet.session.tick(700_000)
    duet.now_ms = 700_000
    duet.tap(60)
    notes = duet.asks[-1].notes
    assert 9_900 < notes[-1].onset_ms - max(n.end_ms or 0 for n in notes[:-1]) <= 10_001


def test_a_session_does_not_grow() -> None:
    session = DuetSession(DuetSettings(pause_seconds=None))
    for i in range(3_000):
        session.note(i * 16.0, 40 + i % 40, 60)
        session.note(i * 16.0 + 10, 40 + i % 40, 0)
    assert len(session.transcript.notes) <= 1_600


def test_nothing_is_said_after_a_failure() -> None:
    duet = answering()
    duet.follow(duet.session.fail(duet.now_ms, "the port is gone"))
    assert duet.session.state == "failed" and down_after(duet.sent) == (set(), False)
    session, now = duet.session, duet.now_ms
    assert session.note(now, 60, 70) == session.tick(now + 5_000) == session.takeover(now) == []
    assert session.fail(now, "again") == session.resume(now) == session.stop(now) == []


# Properties


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("on"), st.integers(36, 60), st.integers(1, 127)),
        st.tuples(st.just("off"), st.integers(36, 60)),
        st.tuples(st.just("pedal"), st.integers(0, 127)),
        st.tuples(st.just("soft"), st.integers(0, 127)),
        st.tuples(st.just("wait"), st.integers(1, 1_500)),
        st.tuples(st.just("wait"), st.integers(800, 4_000)),
        st.tuples(st.just("lost"), st.integers(101, 8_000)),
        st.tuples(st.just("takeover")),
        st.tuples(st.just("stop")),
        st.tuples(st.just("resume")),
        st.tuples(st.just("flood")),
        st.tuples(st.just("settings"), st.sampled_from(["answer", "go-on"])),
    ),
    max_size=30,
)


def happen(duet: Duet, event: tuple[Any, ...]) -> None:
    session, now = duet.session, duet.now_ms
    kind, *values = event
    if kind == "on":
        duet.note(*values)
    elif kind == "off":
        duet.note(values[0], 0)
    elif kind == "pedal":
        duet.pedal(values[0])
    elif kind == "soft":
        duet.follow(session.soft_pedal(now, values[0]))
    elif kind == "wait":
        duet.wait(values[0], 9)
    elif kind == "lost":
        duet.step(values[0])
    elif kind == "flood":
        for i in range(60):
            duet.note(40 + i % 12, 60)
            duet.wait(16, 16)
            duet.note(40 + i % 12, 0)
    elif kind == "settings":
        duet.follow(session.settings(now, replace(session.settings_now, mode=values[0], bars=1)))
    else:
        duet.follow(getattr(session, kind)(now))


def check(duet: Duet) -> None:
    """What holds for every duet so far."""
    committed = 0.0
    for at, plan in duet.plans:
        assert plan.from_ms >= at or plan.release
        assert all(note.onset_ms >= max(at, plan.from_ms) for note in plan.notes)
        assert all(move.time_ms >= plan.from_ms for move in plan.pedals)
        assert plan.release or plan.from_ms >= committed
        committed = 0.0 if plan.release else max(committed, plan.committed_until_ms)
    handed = [when for when, state in duet.states if state == "handover"]
    for at, plan in duet.plans:
        if plan.replaces is None and not plan.release:
            soonest = max(when for when in handed if when <= at) + 120
            assert min(note.onset_ms for note in plan.notes) >= soonest - 1e-6
    ids = [plan.id for _, plan in duet.plans]
    assert ids == list(range(1, len(ids) + 1))
    for at, message in duet.sent:
        assert at - message.due_ms <= 101.0  # no past note
    sides = [m.data[2] >= 64 for _, m in duet.sent if m.data[0] == 0xB0]
    assert all(a != b for a, b in pairwise(sides)) and (not sides or sides[0])
    keys: set[int] = set()
    for _, message in duet.sent:
        pitch = message.data[1]
        if message.is_on:
            assert pitch not in keys
            keys.add(pitch)
        elif message.data[0] == 0x80:
            assert pitch in keys
            keys.remove(pitch)


@settings(max_examples=40)
@given(EVENTS, st.integers(0, 5), st.sampled_from([0.5, 3.0, 60.0, 700.0]), st.booleans())
def test_whatever_happens(script: list[Any], seed: int, note_ms: float, ready: bool) -> None:
    duet = Duet(DuetSession(DuetSettings(bars=2)), FakeModel(seed, note_ms, ready))
    for event in script:
        before = duet.session.state
        happen(duet, event)
        if event[0] == "on" and before == "answering":
            assert duet.player.next_ms is None  # all of it is over with the key itself
        check(duet)
    duet.follow(duet.session.fail(duet.now_ms, "the end"))
    assert down_after(duet.sent) == (set(), False)
    assert duet.session.state == "failed"


@settings(max_examples=40)
@given(EVENTS, st.integers(0, 3))
def test_left_alone_every_duet_falls_silent(script: list[Any], seed: int) -> None:
    settings = DuetSettings(bars=1)
    duet = Duet(DuetSession(settings), FakeModel(seed))
    for event in script:
        happen(duet, event)
    duet.follow(duet.session.settings(duet.now_ms, settings))
    duet.wait(40_000, 60)
    assert down_after(duet.sent) == (set(), False) and duet.player.next_ms is None
    assert duet.session.state != "answering"


@settings(max_examples=40)
@given(EVENTS)
def test_the_model_never_stands_on_a_past_or_unknown_plan(script: list[Any]) -> None:
    duet = Duet(DuetSession(DuetSettings(bars=2)))
    for event in script:
        happen(duet, event)
    last: Plan | None = None
    for _, plan in duet.plans:
        assert plan.replaces is None or (last is not None and plan.replaces == last.id)
        last = plan
    numbers = [ask.number for ask in duet.asks]
    assert numbers == sorted(set(numbers))
    assert all(isinstance(ask, Ask) and ask.earliest_ms >= ask.now_ms - 1e-6 for ask in duet.asks)


def test_a_pedal_offered_twice_moves_once() -> None:
    duet = Duet(model=FakeModel(ready=False))
    duet.tap(60)
    duet.follow(duet.session.takeover(duet.now_ms))
    ask = duet.model.ask
    assert ask is not None
    duet.model.ask = None
    at = ask.earliest_ms
    moves = tuple(PlannedPedal(at + 10 * i, i % 10 < 5) for i in range(40))
    note = PlannedNote(at, at + 2_000, 60, 70)
    duet.follow(duet.session.offer(duet.now_ms, Offer(ask.number, (note,), True, moves)))
    duet.wait(3_000)
    sides = [m.data[2] >= 64 for _, m in duet.sent if m.data[0] == 0xB0]
    assert sides == [True, False] * 4
    assert CHORD_MS < 100
