"""Workers: bounded in time and memory, killed when nobody waits, replaced when they die."""

from __future__ import annotations

import asyncio
import base64
import time
from dataclasses import replace

import pytest

from arietta.server import workers as workers_file
from arietta.server.problems import Problem
from arietta.server.settings import ServerSettings
from arietta.server.workers import Workers
from tests.server import hostile

SETTINGS = ServerSettings(workers=1, work_seconds=20, max_waiting=1)


@pytest.fixture(autouse=True)
def _hostile_tasks(monkeypatch) -> None:
    """Let workers know tasks that misbehave."""
    monkeypatch.setattr(workers_file, "serve_tasks", hostile.serve_tasks)


def with_workers(settings: ServerSettings, test) -> None:
    async def run() -> None:
        workers = Workers(settings)
        workers.start()
        try:
            await test(workers)
        finally:
            workers.stop()

    asyncio.run(run())


def test_a_task_that_hangs_is_killed_and_the_next_is_done() -> None:
    async def test(workers: Workers) -> None:
        assert await workers.run("double", 3) == 6  # the process runs now
        workers._settings = replace(SETTINGS, work_seconds=0.2)
        workers._free[0]._settings = workers._settings
        with pytest.raises(Problem) as caught:
            await workers.run("hang")
        assert caught.value.status == 503 and "0.2 s" in caught.value.why
        workers._free[0]._settings = SETTINGS
        assert await workers.run("double", 4) == 8

    with_workers(SETTINGS, test)


def test_a_task_that_dies_or_fails_is_told() -> None:
    async def test(workers: Workers) -> None:
        with pytest.raises(Problem) as caught:
            await workers.run("die")
        assert caught.value.status == 422
        with pytest.raises(Problem) as caught:
            await workers.run("fail")
        assert caught.value.status == 500 and "secret" not in str(caught.value.to_dict())
        assert await workers.run("double", 4) == 8

    with_workers(SETTINGS, test)


@pytest.mark.skipif(not hostile.LIMITED, reason="this system limits no memory")
def test_a_task_that_wants_too_much_memory_is_refused() -> None:
    async def test(workers: Workers) -> None:
        with pytest.raises(Problem) as caught:
            await workers.run("swell", 2**31)
        assert caught.value.status == 413
        assert await workers.run("double", 4) == 8

    with_workers(replace(SETTINGS, worker_memory_bytes=2**31), test)


def test_leaving_kills_the_worker_and_frees_its_place() -> None:
    async def test(workers: Workers) -> None:
        assert await workers.run("double", 1) == 2
        process = workers._free[0]._process
        task = asyncio.ensure_future(workers.run("hang"))
        while not workers.running:
            await asyncio.sleep(0.01)
        began = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not process.is_alive() and time.monotonic() - began < 15
        assert workers.running == workers.waiting == 0
        assert await workers.run("double", 5) == 10

    with_workers(SETTINGS, test)


def test_the_queue_is_bounded() -> None:
    async def test(workers: Workers) -> None:
        tasks = [asyncio.ensure_future(workers.run("hang")) for _ in range(2)]
        while workers.waiting < 1:
            await asyncio.sleep(0.01)
        with pytest.raises(Problem) as caught:
            await workers.run("double", 1)
        assert caught.value.status == 429 and caught.value.headers["Retry-After"]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert workers.waiting == workers.running == 0

    with_workers(SETTINGS, test)


def test_progress_is_told_on_the_way() -> None:
    async def test(workers: Workers) -> None:
        told: list[int] = []
        assert await workers.run("count", 3, report=told.append) == 3
        assert told == [0, 1, 2]

    with_workers(SETTINGS, test)


BOMBS = {
    "a count of tracks": b"MThd\0\0\0\6\0\1\xff\xff\1\xe0" + b"MTrk\xff\xff\xff\xff\0\x90",
    "huge deltas": b"MThd\0\0\0\6\0\0\0\1\0\1MTrk\0\0\0\x14"
    + b"\xff\xff\xff\x7f\x90\x3c\x40\xff\xff\xff\x7f\x80\x3c\x40\xff\xff\xff\x7f\xff\x2f\0"
    + b"\0",
    "running status alone": b"MThd\0\0\0\6\0\0\0\1\1\xe0MTrk\0\1\0\0" + b"\0\x40" * 32768,
    "notes without ends": b"MThd\0\0\0\6\0\0\0\1\1\xe0MTrk\0\3\0\0" + b"\0\x90\x3c\x40" * 49152,
    "no division": b"MThd\0\0\0\6\0\0\0\1\0\0MTrk\0\0\0\4\0\xff\x2f\0",
    "another format": b"PK\3\4" + bytes(1000),
    "nothing": b"",
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("place", ["read", "generate"])
def test_hostile_uploads_are_answered_soon(running, name: str, place: str) -> None:
    body = {"file": {"name": "x.mid", "data": base64.b64encode(BOMBS[name]).decode()}}
    if place == "generate":
        body |= {"seconds": 1, "of": 1}
    began = time.monotonic()
    status, value, _ = running.ask("POST", f"/v1/{place}", body, {"Accept": "application/json"})
    assert time.monotonic() - began < 20
    assert status in (200, 413, 422), value
    assert running.ask("GET", "/health")[0] == 200


SCORES = {
    "laughs.musicxml": b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha">'
    + b"".join(
        b'<!ENTITY a%d "%s">' % (i, b"&a%s;" % (str(i - 1).encode() if i else b"") * 10)
        for i in range(9)
    )
    + b"]><score-partwise>&a8;</score-partwise>",
    "outside.musicxml": b'<!DOCTYPE s [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    b"<score-partwise><work><work-title>&x;</work-title></work></score-partwise>",
    "broken.mxl": b"PK\3\4" + bytes(100),
    "endless.abc": b"X:1\nK:C\n" + b"|:" * 20_000,
    "deep.mei": b"<mei>" * 5_000,
}


@pytest.mark.parametrize("name", SCORES)
def test_hostile_scores_are_answered_soon(running, name: str) -> None:
    pytest.importorskip("verovio")
    body = {"file": {"name": name, "data": base64.b64encode(SCORES[name]).decode()}}
    status, value, _ = running.ask("POST", "/v1/read", body)
    assert status in (200, 413, 422, 503) and "root:" not in str(value)
    assert running.ask("GET", "/health")[0] == 200


def test_a_piece_of_too_many_notes_is_refused(strict, waltz) -> None:
    server = strict(max_notes=100)
    for place in ("read", "generate", "score"):
        status, value, _ = server.ask("POST", f"/v1/{place}", {"file": waltz})
        assert status == 413 and "341 notes" in value["why"]
