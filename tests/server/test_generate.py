"""``POST /v1/generate``: its events, company, leaving, and running out of room."""

from __future__ import annotations

import base64
import json
import socket
import time

import pytest

from arietta.midi.reader import read_bytes

SHORT = {"prompt_seconds": 6, "seconds": 2, "of": 2, "seed": 5}
ENDLESS = {"prompt_seconds": 6, "seconds": 500, "of": 1}


def read_until(connection: socket.socket, words: bytes) -> None:
    """Read from a stream until some words have come, in whatever pieces they come."""
    read = b""
    while words not in read:
        part = connection.recv(65_536)
        assert part, "the stream ended first"
        read += part


def test_the_events_of_a_stream(running, waltz) -> None:
    found = running.events("/v1/generate", {"file": waltz, **SHORT, "variations": 2})
    names = [name for name, _ in found]
    assert names[0] == "start" and names[-3:] == ["take", "take", "end"]
    assert set(names) <= {"start", "note", "progress", "take", "end"}
    start = found[0][1]
    assert start["seed"] == 5 and start["takes"] == 2 and start["seam_seconds"] > 5
    notes = [value for name, value in found if name == "note"]
    takes = {value["take"]: value for name, value in found if name == "take"}
    assert takes.keys() == {0, 1} == set(found[-1][1]["takes"])
    first = takes[0]["notes"]
    new = [p for p, is_new in zip(first["pitch"], first["new"], strict=True) if is_new]
    assert sorted(new) == sorted(note["pitch"] for note in notes) and new
    for take in takes.values():
        assert {"in_time", "in_key", "like_prompt"} <= take["measures"].keys()
        whole, alone = (read_bytes(base64.b64decode(take[name])) for name in ("midi", "midi_new"))
        assert len(whole) == len(take["notes"]["pitch"]) > len(alone) > 0


def test_the_streamed_take_is_among_the_best(running, waltz) -> None:
    found = running.events("/v1/generate", {"file": waltz, **SHORT, "of": 5})
    takes = [value for name, value in found if name == "take"]
    assert 0 in {take["take"] for take in takes} and takes[0]["rank"] == 1 and len(takes) <= 2


def test_notes_do_not_depend_on_who_else_is_served(running, waltz) -> None:
    body = {"file": waltz, **SHORT, "of": 1}
    alone = running.ask("POST", "/v1/generate", body, {"Accept": "application/json"})[1]
    others = [running.begin("/v1/generate", {"file": waltz, **ENDLESS}) for _ in range(5)]
    try:
        for other in others:
            read_until(other, b"event: start")
        among = running.ask("POST", "/v1/generate", body, {"Accept": "application/json"})[1]
        assert running.server.service.loop.running >= 5
    finally:
        for other in others:
            other.close()
    assert among["takes"][0]["notes"] == alone["takes"][0]["notes"]
    running.wait(lambda: running.idle)


def test_midi_and_bars_and_an_example_to_resemble(running, waltz) -> None:
    body = {"file": waltz, "prompt_bars": 3, "seconds": 1, "of": 1, "like": waltz}
    status, data, headers = running.ask("POST", "/v1/generate", body, {"Accept": "audio/midi"})
    assert status == 200 and headers.get_content_type() == "audio/midi"
    assert len(read_bytes(data)) > 3


def test_from_scratch(running) -> None:
    found = running.events("/v1/generate", {"seconds": 1, "of": 1, "seed": 2})
    assert found[-1][0] == "end"


@pytest.mark.parametrize(
    ("changes", "status", "word"),
    [
        ({"of": 65}, 422, "of"),
        ({"variations": 0}, 422, "variations"),
        ({"seconds": 1e9}, 422, "music"),
        ({"temperature": 3}, 422, "temperature"),
        ({"seconds": 2, "bars": 2}, 422, "seconds"),
        ({"model": "../small"}, 422, "served"),
        ({"model": "small-composers"}, 422, "small-composers"),
        ({"prompt_seconds": 0.001}, 422, "first note"),
        ({"sneaky": 1}, 422, "sneaky"),
        ({"file": {"data": "%%%"}}, 422, "base64"),
        ({"file": {"data": base64.b64encode(b"MThd").decode()}}, 422, "cut off"),
        ({"like": {"data": ""}}, 422, "empty"),
    ],
)
def test_refusals_are_problems(running, waltz, changes, status, word) -> None:
    body = {"file": waltz, **SHORT, **changes}
    found, value, headers = running.ask(
        "POST", "/v1/generate", body, {"Accept": "text/event-stream"}
    )
    assert found == status and headers.get_content_type() == "application/problem+json"
    assert {"type", "title", "status", "what", "why", "mend"} <= value.keys()
    assert word in value["why"] + value["mend"] and value["status"] == status
    running.wait(lambda: running.idle)


def test_leaving_ends_the_stream_within_a_step(running, waltz) -> None:
    connection = running.begin("/v1/generate", {"file": waltz, **ENDLESS})
    read_until(connection, b"event: note")
    loop = running.server.service.loop
    assert loop.running == 1
    connection.close()
    running.wait(lambda: loop.running == 0)
    tokens = loop.tokens
    assert running.idle and loop.rows == 0
    running.events("/v1/generate", {"file": waltz, **SHORT})
    assert loop.tokens > tokens


def test_who_leaves_before_the_body_holds_no_place(running, waltz, caplog) -> None:
    body = json.dumps({"file": waltz, **ENDLESS}).encode()
    for sent in (0, 10, len(body) - 1, len(body)):
        connection = running.connect()
        connection.sendall(running.head("/v1/generate", len(body)) + body[:sent])
        time.sleep(0.1)  # the server begins to read the body
        connection.close()
    # The last one, whole, may be taken up after the others are gone.
    running.wait(lambda: running.idle and running.ask("GET", "/health")[1]["queue_depth"] == 0)
    assert "Exception" not in caplog.text


def test_many_aborted_streams_leave_nothing_behind(running, waltz) -> None:
    body = {"file": waltz, **ENDLESS}
    for round_ in range(4):
        connections = [running.begin("/v1/generate", body) for _ in range(10)]
        for number, connection in enumerate(connections):
            if number % 2 == round_ % 2:
                connection.recv(100)
            # A reset instead of a farewell, as when a laptop is shut.
            linger = (1).to_bytes(4, "little") + bytes(4)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            connection.close()
    running.wait(lambda: running.idle)
    batches = running.server.service.loop._batches.values()
    assert sum(batch.rows for batch in batches) == 0
    assert running.events("/v1/generate", {"file": waltz, **SHORT})[-1][0] == "end"


def test_a_full_server_says_when_to_come_back(strict, waltz) -> None:
    full = strict(max_rows=1, max_waiting=0, retry_seconds=7)
    connection = full.begin("/v1/generate", {"file": waltz, **ENDLESS})
    read_until(connection, b"event: start")
    status, value, headers = full.ask(
        "POST", "/v1/generate", {"file": waltz, **SHORT, "of": 1}, {"Accept": "text/event-stream"}
    )
    assert status == 429 and headers["Retry-After"] == "7" and "7 s" in value["mend"]
    assert b"arietta_refused_total 1.0" in full.ask("GET", "/metrics")[1]
    connection.close()
    full.wait(lambda: full.idle)
    assert full.events("/v1/generate", {"file": waltz, **SHORT, "of": 1})[-1][0] == "end"


def test_an_error_in_mid_stream_is_an_event(running, waltz, monkeypatch) -> None:
    from arietta.generation.batch import Batch

    plain = Batch.step
    steps = iter(range(1000))

    def step(self):
        if next(steps) > 40:
            raise RuntimeError("secret detail")
        return plain(self)

    monkeypatch.setattr(Batch, "step", step)
    found = running.events("/v1/generate", {"file": waltz, **ENDLESS})
    assert found[0][0] == "start" and found[-1][0] == "error"
    assert found[-1][1]["status"] == 500 and "secret" not in json.dumps(found[-1][1])
    monkeypatch.setattr(Batch, "step", plain)
    assert running.events("/v1/generate", {"file": waltz, **SHORT})[-1][0] == "end"


def test_figures_of_the_first_note_and_the_tokens(running, waltz) -> None:
    running.events("/v1/generate", {"file": waltz, **SHORT})
    text = running.ask("GET", "/metrics")[1].decode()
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(values["arietta_first_note_seconds_count"]) >= 1
    assert float(values["arietta_tokens_total"]) > 10
    assert float(values["arietta_running"]) == 0
