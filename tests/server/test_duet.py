"""The duet over a WebSocket of a server that runs."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

pytest.importorskip("websockets")

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from arietta.server import duet as route

from .conftest import Running


def open_duet(running: Running, **options: Any) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{running.port}/v1/duet", **options)


def until(page: ClientConnection, what: Any, seconds: float = 20.0) -> dict[str, Any]:
    """The first message for which something holds; says that the page is alive meanwhile."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        page.send(json.dumps({"type": "alive"}))
        try:
            message = json.loads(page.recv(timeout=0.2))
        except TimeoutError:
            continue
        if what(message):
            return message
    raise AssertionError("no such message came")


def say(page: ClientConnection, **message: Any) -> None:
    page.send(json.dumps(message))


def test_a_page_plays_and_is_answered(running: Running) -> None:
    with open_duet(running) as page:
        say(page, type="settings", pause_seconds=0.2, bars=1)
        say(page, type="ping", sent_ms=1)
        assert until(page, lambda m: m["type"] == "pong")["sent_ms"] == 1
        for pitch in (60, 64, 67):
            say(page, type="note", pitch=pitch, velocity=70)
        for pitch in (60, 64, 67):
            say(page, type="note", pitch=pitch, velocity=0)
        plan = until(page, lambda m: m["type"] == "plan")
        assert plan["notes"] and not plan["release"]
        say(page, type="note", pitch=40, velocity=70)
        assert until(page, lambda m: m["type"] == "plan" and m["release"])["notes"] == []


def test_what_makes_no_sense_is_answered_and_survived(running: Running) -> None:
    with open_duet(running) as page:
        for text in ("", "{", "[" * 2_000, '"x"', '{"type": "sing"}'):
            page.send(text)
            assert until(page, lambda m: m["type"] == "error")["what"]
        say(page, type="ping", sent_ms=7)
        assert until(page, lambda m: m["type"] == "pong")["sent_ms"] == 7


@pytest.mark.parametrize(("data", "code"), [("x" * 5_000, 1009), (b"bytes", 1003)])
def test_messages_of_another_kind_end_it(running: Running, data: Any, code: int) -> None:
    with open_duet(running) as page:
        page.send(data)
        with pytest.raises(ConnectionClosed) as closed:
            until(page, lambda m: False)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == code


def test_only_so_many_duets_at_a_time(running: Running, monkeypatch: Any) -> None:
    monkeypatch.setattr(route, "MOST_DUETS", 0)
    with open_duet(running) as page, pytest.raises(ConnectionClosed) as closed:
        page.recv(timeout=10)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1013


def test_another_site_s_page_is_refused(running: Running) -> None:
    with pytest.raises(Exception, match=r"403|rejected|1008"):
        open_duet(running, origin="http://evil.example")  # type: ignore[arg-type]


def test_a_page_that_leaves_frees_its_place(running: Running) -> None:
    import threading

    for _ in range(route.MOST_DUETS + 2):
        with open_duet(running) as page:
            say(page, type="note", pitch=60, velocity=70)
    running.wait(
        lambda: not any(t.name == "arietta-answers" for t in threading.enumerate()), seconds=20
    )
