"""Answers by a model: what is kept in the cache, when notes begin, lengths of sounding notes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from arietta.errors import UsageError
from arietta.realtime.answerer import Answerer, AnswerWorker
from arietta.realtime.plans import Ask, Go, HeardNote, Offer, PlannedNote


def heard(count: int, *, step_ms: float = 200.0, sounding: int = 0) -> tuple[HeardNote, ...]:
    """Notes one after the other; the last few still sound."""
    return tuple(
        HeardNote(
            i,
            1_000 + i * step_ms,
            None if i >= count - sounding else 1_100 + i * step_ms,
            60 + i % 12,
            70,
            True,
        )
        for i in range(count)
    )


def ask_for(notes: tuple[HeardNote, ...], number: int = 1, **changes: Any) -> Ask:
    now = max((note.onset_ms for note in notes), default=0.0) + 50
    return replace(Ask(number, notes, now, now + 120, 3_000, "answer", False), **changes)


def every(answerer: Answerer, ask: Ask, earliest: float | None = None) -> list[PlannedNote]:
    found: list[PlannedNote] = []
    for notes, _ in answerer.notes(ask, ask.earliest_ms if earliest is None else earliest):
        found += notes
    return found


def test_a_note_more_runs_only_its_ids(tiny) -> None:
    answerer = Answerer(tiny.engine())
    first = answerer.read(ask_for(heard(20)))
    assert first > 60
    assert answerer.read(ask_for(heard(21))) == 3
    assert answerer.read(ask_for(heard(21))) == 0
    prefix = answerer.prefix
    # A release changes one length: the cache goes back to that id.
    notes = heard(21)
    changed = (*notes[:-1], notes[-1]._replace(end_ms=notes[-1].onset_ms + 900))
    assert answerer.read(ask_for(changed)) == 1
    assert answerer.prefix[:-1] == prefix[:-1] and answerer.prefix[-1] != prefix[-1]


@pytest.mark.parametrize("later", [0.0, 500.0, 7_000.0])
def test_no_note_begins_before_it_may(tiny, later: float) -> None:
    answerer = Answerer(tiny.engine())
    ask = ask_for(heard(12))
    for number in range(3):
        notes = every(answerer, replace(ask, notes=heard(12 + number)), ask.earliest_ms + later)
        assert notes and min(note.onset_ms for note in notes) >= ask.earliest_ms + later - 1
        assert notes == sorted(notes, key=lambda note: note.onset_ms)
        assert all(21 <= note.pitch <= 108 and note.velocity > 0 for note in notes)


def test_held_keys_are_not_struck_before_their_end(tiny) -> None:
    answerer = Answerer(tiny.engine())
    notes = heard(12, sounding=3)
    ask = ask_for(notes)
    answerer.read(ask)
    ends = {note.pitch: answerer._end_ms(note) for note in notes if note.end_ms is None}
    assert all(end > ask.now_ms for end in ends.values())
    for note in every(answerer, ask):
        assert note.onset_ms >= ends.get(note.pitch, 0.0) - 10


def test_a_provisional_length_stays_until_it_is_outlasted(tiny) -> None:
    answerer = Answerer(tiny.engine())
    notes = heard(6, sounding=1)
    ask = ask_for(notes)
    answerer.read(ask)
    first = answerer._end_ms(notes[-1]) - notes[-1].onset_ms
    answerer.read(ask, ask.now_ms + first / 4)
    assert answerer._end_ms(notes[-1]) - notes[-1].onset_ms == first
    answerer.read(ask, notes[-1].onset_ms + first + 1)
    second = answerer._end_ms(notes[-1]) - notes[-1].onset_ms
    assert second > first
    answerer.read(ask, notes[-1].onset_ms + 60_000)
    assert answerer._end_ms(notes[-1]) - notes[-1].onset_ms > 60_000


def test_the_same_playing_gets_the_same_answer(tiny) -> None:
    one, two = Answerer(tiny.engine()), Answerer(tiny.engine())
    for n in range(5, 12):
        one.read(ask_for(heard(n)))  # the way the cache came about does not matter
    assert every(one, ask_for(heard(12))) == every(two, ask_for(heard(12), number=9))
    assert every(one, ask_for(heard(12), seed=5)) != every(two, ask_for(heard(12)))


def test_a_long_duet_stays_within_the_context(tiny) -> None:
    engine = tiny.engine(max_seq_len=512)
    answerer = Answerer(engine)
    sizes, ran = [], []
    for n in range(1, 400, 7):
        ran.append(answerer.read(ask_for(heard(n))))
        sizes.append(len(answerer.prefix))
        if n % 70 == 1:
            assert every(answerer, ask_for(heard(n), length_ms=400.0)) is not None
    assert max(sizes) < 512
    # Cut seldom: nearly every time only what is new is run.
    assert sum(count > 60 for count in ran) <= 10


def test_without_anything_heard_it_improvises(tiny) -> None:
    answerer = Answerer(tiny.engine())
    ask = Ask(1, (), 5_000, 5_120, 2_000, "answer", True)
    assert min(note.onset_ms for note in every(answerer, ask)) >= 5_120


def test_a_token_is_drawn_behind_a_prefix_only(tiny) -> None:
    answerer = Answerer(tiny.engine())
    with pytest.raises(UsageError, match="call `prefill` first"):
        answerer._live.draw(answerer._sampler, ((0, 5),), 0.5)


def test_reading_never_goes_past_what_is_in_the_cache(tiny) -> None:
    """After an answer was made the cache holds its tokens; the next reading must not use them."""
    answerer, fresh = Answerer(tiny.engine()), Answerer(tiny.engine())
    stream = answerer.notes(ask_for(heard(10)), 5_000)
    next(stream)
    ask = ask_for(heard(14, sounding=2), number=2)
    stream.close()
    assert every(answerer, ask) == every(fresh, ask)
    assert every(answerer, ask) == every(fresh, ask)  # nothing has to be run, and nothing is left
    assert answerer.prefix == fresh.prefix


# The thread


class Slow:
    """Answers a note at a time, each after a wait."""

    def __init__(self, keeps_ready: bool = True, wait_s: float = 0.001) -> None:
        self.keeps_ready, self.wait_s = keeps_ready, wait_s
        self.begun: list[tuple[int, float]] = []
        self.read_numbers: list[int] = []

    def read(self, ask: Ask) -> int:
        self.read_numbers.append(ask.number)
        return 0

    def notes(self, ask: Ask, earliest_ms: float) -> Iterator[Any]:
        self.begun.append((ask.number, earliest_ms))
        for i in range(12):
            time.sleep(self.wait_s)
            at = earliest_ms + 500 * i
            yield (PlannedNote(at, at + 100, 60, 60),), ()


class Working:
    """A worker, its offers and its error."""

    def __init__(self, answerer: Any) -> None:
        self.offers: list[Offer] = []
        self.errors: list[BaseException] = []
        self.told = threading.Event()
        self.worker = AnswerWorker(answerer, self.offers.append, self._failed)

    def _failed(self, error: BaseException) -> None:
        self.errors.append(error)
        self.told.set()

    def until(self, what: Any) -> None:
        end = time.perf_counter() + 10
        while not what():
            assert time.perf_counter() < end
            time.sleep(0.001)


def test_the_worker_makes_the_beginning_and_waits_for_its_turn() -> None:
    work = Working(Slow())
    work.worker.ask(ask_for(heard(3)))
    work.until(lambda: len(work.offers) >= 7)
    time.sleep(0.05)
    assert len(work.offers) == 7 and not work.offers[-1].done  # 2.5 s of music, and no more
    work.worker.go(Go(1, 0.0))
    work.until(lambda: work.offers[-1].done)
    assert sum(len(offer.notes) for offer in work.offers) == 12
    work.worker.close()


def test_a_big_model_only_reads_along() -> None:
    answerer = Slow(keeps_ready=False)
    work = Working(answerer)
    work.worker.ask(ask_for(heard(3)))
    work.until(lambda: answerer.read_numbers == [1])
    work.worker.ask(ask_for(heard(4), number=2))
    work.until(lambda: answerer.read_numbers == [1, 2])
    assert not answerer.begun
    work.worker.go(Go(2, 9_000.0))
    work.until(lambda: work.offers and work.offers[-1].done)
    assert answerer.begun == [(2, 9_000.0)]
    work.worker.close()


def test_a_newer_request_ends_the_older_one() -> None:
    work = Working(Slow(wait_s=0.005))
    for number in range(1, 30):
        work.worker.ask(ask_for(heard(3), number=number, go=True))
        time.sleep(0.002)
    work.until(lambda: work.offers and work.offers[-1].done)
    assert work.offers[-1].number == 29
    assert [o.number for o in work.offers] == sorted(o.number for o in work.offers)
    work.worker.close()
    assert not work.worker.alive


def test_a_worker_that_dies_says_so() -> None:
    class Broken(Slow):
        def read(self, ask: Ask) -> int:
            raise MemoryError("no room")

    work = Working(Broken())
    work.worker.ask(ask_for(heard(3)))
    assert work.told.wait(10)
    work.until(lambda: not work.worker.alive)
    assert str(work.errors[0]) == "no room"
    work.worker.close()


def test_the_shipped_model_answers(prompts_dir) -> None:
    import arietta

    answerer = Answerer(arietta.load("small").engine)
    assert answerer.keeps_ready
    piece = arietta.read(prompts_dir / "waltz.mid")
    rows = zip(piece.onset_ms, piece.duration_ms, piece.notes.pitch, strict=True)
    notes = tuple(
        HeardNote(i, float(on), float(on + length), int(pitch), 60, True)
        for i, (on, length, pitch) in enumerate(rows)
        if i < 60
    )
    found = every(answerer, ask_for(notes))
    assert len(found) > 3 and np.ptp([note.onset_ms for note in found]) > 500
