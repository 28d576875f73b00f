"""The loop that runs many streams: order, room, refusals, errors, and who leaves."""

from __future__ import annotations

import threading

import pytest

import arietta
from arietta.generation.continuation import ContinuationStream
from arietta.generation.loop import GenerationLoop, LoopBusy
from arietta.generation.settings import Request, SamplingSettings


class Listener:
    def __init__(self) -> None:
        self.heard: list = []
        self.ended = threading.Event()
        self.first = threading.Event()
        self.error: Exception | None = None

    def notes(self, notes) -> None:
        self.heard += notes
        self.first.set()

    def done(self, error) -> None:
        self.error = error
        self.ended.set()


@pytest.fixture
def loop():
    made = GenerationLoop(max_rows=4, max_waiting=2)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def piece(prompts_dir):
    return arietta.read(prompts_dir / "waltz.mid")


def stream(engine, piece, *, waits: bool = True, **request) -> ContinuationStream:
    wanted = Request(**{"prompt_seconds": 3, "seconds": 4, **request})
    return ContinuationStream(engine, piece, wanted, SamplingSettings(), waits=waits)


def test_listeners_hear_what_iterating_gives(tiny, loop, piece) -> None:
    engine = tiny.engine()
    listeners = [Listener() for _ in range(3)]
    for seed, listener in enumerate(listeners):
        loop.reserve(2, listener).start(stream(engine, piece, seed=seed, variations=2))
    for seed, listener in enumerate(listeners):
        assert listener.ended.wait(30) and listener.error is None
        alone = list(stream(engine, piece, waits=False, seed=seed, variations=2))
        assert sorted(listener.heard) == sorted(alone)
    assert loop.running == loop.waiting == loop.rows == 0 and loop.tokens > 0


def test_who_finds_no_room_waits_and_who_finds_no_place_is_refused(tiny, loop, piece) -> None:
    engine = tiny.engine()
    long = stream(engine, piece, seconds=None, tokens=100_000, variations=4)
    holder = loop.reserve(4, Listener())
    holder.start(long)
    waiting = Listener()
    ticket = loop.reserve(1, waiting)
    ticket.start(stream(engine, piece))
    gone = loop.reserve(1, Listener())
    with pytest.raises(LoopBusy):
        loop.reserve(1, Listener())
    gone.cancel()  # gives its place back
    loop.reserve(1, Listener()).cancel()
    assert not waiting.ended.is_set()
    holder.cancel()
    assert waiting.ended.wait(30) and waiting.heard
    assert long.done and long.progress().rows[0].reason == "cancelled"


def test_a_place_without_a_stream_keeps_nobody_out(tiny, loop, piece) -> None:
    loop.reserve(4, Listener())  # its prompt is still being read
    listener = Listener()
    loop.reserve(1, listener).start(stream(tiny.engine(), piece))
    assert listener.ended.wait(30) and listener.heard


def test_streams_with_a_draft_run_beside_others(tiny, loop, piece) -> None:
    listeners = [Listener(), Listener()]
    for engine, listener in zip(
        (tiny.engine(), tiny.engine(draft=("piano", 1))), listeners, strict=True
    ):
        loop.reserve(1, listener).start(stream(engine, piece))
    assert all(one.ended.wait(30) and one.heard for one in listeners)


def test_an_error_ends_its_batch_and_nothing_else(tiny, loop, piece, monkeypatch) -> None:
    bad, good = tiny.engine(), tiny.engine()
    monkeypatch.setattr(bad.backend, "new_session", lambda rows=1: Broken())
    fails, plays = Listener(), Listener()
    loop.reserve(1, fails).start(stream(bad, piece))
    loop.reserve(1, plays).start(stream(good, piece))
    assert fails.ended.wait(30) and isinstance(fails.error, RuntimeError)
    assert plays.ended.wait(30) and plays.error is None and plays.heard


def test_a_listener_that_fails_leaves_and_the_others_stay(tiny, loop, piece) -> None:
    class Deaf(Listener):
        def notes(self, notes) -> None:
            raise RuntimeError("the event loop is closed")

    engine = tiny.engine()
    left, plays = stream(engine, piece, seconds=None, tokens=100_000), Listener()
    deaf = Deaf()
    loop.reserve(1, deaf).start(left)
    loop.reserve(1, plays).start(stream(engine, piece))
    assert deaf.ended.wait(30) and left.progress().rows[0].reason == "cancelled"
    assert plays.ended.wait(30) and plays.error is None and plays.heard


class Broken:
    rows = 1

    def append(self, *_, **__):
        raise RuntimeError("broken")


def test_memory_decides_how_many_rows_run(tiny, piece) -> None:
    engine = tiny.engine(max_seq_len=256)
    config = engine.backend.config
    row = 2 * (config.d_model + 4 * config.n_heads) * config.n_layers * 256
    loop = GenerationLoop(max_rows=100, max_cache_bytes=3 * row)
    assert loop._capacity(engine) == 3
    loop.stop()


def test_stopping_ends_what_runs(tiny, piece) -> None:
    loop = GenerationLoop()
    listener = Listener()
    loop.reserve(1, listener).start(stream(tiny.engine(), piece, seconds=None, tokens=100_000))
    assert listener.first.wait(30)
    loop.stop()
    assert listener.ended.wait(10) and isinstance(listener.error, LoopBusy)
