"""What is refused before any route runs; each line of docs/threat-model.md names a test here."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time

import pytest

from arietta.errors import UsageError
from arietta.server.events import Gone, unless_gone
from arietta.server.guard import Guard
from arietta.server.settings import ServerSettings


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:80", "", "[::1", "a\tb"])
def test_a_foreign_host_is_refused(running, host: str) -> None:
    status, value, _ = running.ask("GET", "/health", headers={"Host": host})
    assert status in (400, 421)
    assert status == 400 or "host" in value["why"]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]:80"])
def test_names_of_this_machine_are_served(running, host: str) -> None:
    assert running.ask("GET", "/health", headers={"Host": host})[0] == 200


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_requests_of_other_pages_are_refused(running, method: str, headers) -> None:
    status, value, answered = running.ask(method, "/v1/generate", b"{}", headers)
    assert status == 403 and "page" in value["what"]
    assert answered["Access-Control-Allow-Origin"] is None


def test_the_own_page_is_served(running) -> None:
    own = {"Origin": f"http://127.0.0.1:{running.port}", "Sec-Fetch-Site": "same-origin"}
    assert running.ask("GET", "/v1/examples", headers=own)[0] == 200


def test_other_addresses_need_a_token() -> None:
    with pytest.raises(UsageError, match="ARIETTA_TOKEN"):
        ServerSettings(host="0.0.0.0")
    assert not ServerSettings(host="0.0.0.0", token="x").is_local
    assert ServerSettings().host == "127.0.0.1"


def test_settings_of_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("ARIETTA_HOST", "0.0.0.0")
    monkeypatch.setenv("ARIETTA_HOSTS", "music.example,other.example")
    with pytest.raises(UsageError):
        ServerSettings.from_environment()
    monkeypatch.setenv("ARIETTA_TOKEN", "secret")
    found = ServerSettings.from_environment()
    assert found.host == "0.0.0.0" and found.token == "secret"
    assert {"music.example", "other.example"} < found.known_hosts


def test_names_are_checked_where_no_token_is() -> None:
    assert ServerSettings(host="0.0.0.0", token="x").known_hosts is None
    assert ServerSettings(token="x").known_hosts == {"127.0.0.1", "::1", "localhost"}
    known = ServerSettings(host="0.0.0.0", token="x", hosts=("music.example",)).known_hosts
    assert "music.example" in known and "evil.example" not in known


def ask(settings: ServerSettings, path: str, headers: dict[str, str], **answer) -> list[dict]:
    """What a guarded application sends; the application answers with 200."""

    async def app(scope, receive, send) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    sent: list[dict] = []

    async def send(message) -> None:
        await asyncio.sleep(answer.get("reading_seconds", 0))
        sent.append(message)

    chunks = list(answer.get("chunks", [b""]))

    async def receive():
        await asyncio.sleep(answer.get("sending_seconds", 0))
        if not chunks:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
    }
    asyncio.run(Guard(app, settings)(scope, receive, send))
    return sent


def test_the_token_is_asked_for() -> None:
    settings = ServerSettings(host="10.0.0.1", token="secret", hosts=("music.example",))
    host = {"Host": "10.0.0.1:80"}
    for shown in (None, "secret", "Bearer", "Bearer wrong", "Basic secret", "Bearer secret2"):
        headers = host if shown is None else {**host, "Authorization": shown}
        for path in ("/v1/generate", "/metrics"):
            sent = ask(settings, path, headers)
            assert sent[0]["status"] == 401 and b"secret" not in sent[1]["body"]
            assert (b"www-authenticate", b"Bearer") in sent[0]["headers"]
    assert (
        ask(settings, "/v1/generate", {**host, "Authorization": "Bearer secret"})[0]["status"]
        == 200
    )
    for path in ("/health", "/", "/index.html"):
        assert ask(settings, path, host)[0]["status"] == 200


LOCAL = {"Host": "127.0.0.1"}


def test_a_long_body_is_refused_without_its_length() -> None:
    settings = ServerSettings(max_upload_bytes=100)
    assert ask(settings, "/v1/read", LOCAL, chunks=[b"x" * 60, b"x" * 40])[0]["status"] == 200
    assert ask(settings, "/v1/read", LOCAL, chunks=[b"x" * 60, b"x" * 41])[0]["status"] == 413
    assert ask(settings, "/v1/train", LOCAL, chunks=[b"x" * 101])[0]["status"] == 200


def test_a_slow_body_is_refused() -> None:
    settings = ServerSettings(body_seconds=0.1)
    began = time.monotonic()
    sent = ask(settings, "/v1/read", LOCAL, chunks=[b"x"] * 1000, sending_seconds=0.02)
    assert sent[0]["status"] == 408 and time.monotonic() - began < 10


def test_who_reads_nothing_is_given_up() -> None:
    settings = ServerSettings(send_seconds=0.05)
    with pytest.raises(TimeoutError):
        ask(settings, "/v1/read", LOCAL, reading_seconds=5)


def test_answers_load_nothing_from_elsewhere(running) -> None:
    for path in ("/", "/health", "/v1/nothing"):
        headers = running.ask("GET", path)[2]
        policy = headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy and "http" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff" and "Server" not in headers


def test_websockets_of_other_pages_are_refused() -> None:
    async def app(scope, receive, send) -> None:
        raise AssertionError("it was let through")

    sent = []

    async def send(message) -> None:
        sent.append(message)

    async def receive():
        return {"type": "websocket.connect"}

    headers = [(b"host", b"127.0.0.1"), (b"origin", b"https://evil.example")]
    scope = {"type": "websocket", "path": "/v1/duet", "headers": headers}
    asyncio.run(Guard(app, ServerSettings())(scope, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1008, "reason": sent[0]["reason"]}]


def test_a_head_that_never_ends_is_hung_up_on(running) -> None:
    silent, dripping = running.connect(), running.connect()
    dripping.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    began = time.monotonic()
    for number in range(40):
        time.sleep(0.05)
        try:
            dripping.sendall(f"X-{number}: 1\r\n".encode())
        except OSError:
            break
    assert silent.recv(1) == b""
    assert time.monotonic() - began >= 0.5 * running.settings.header_seconds
    with contextlib.suppress(ConnectionResetError):
        assert dripping.recv(1000) == b""
    assert running.ask("GET", "/health")[0] == 200  # others were served meanwhile
    for connection in (silent, dripping):
        connection.close()


def test_a_connection_may_be_used_again(running) -> None:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
    for _ in range(3):
        connection.request("GET", "/health")
        assert connection.getresponse().read()
    connection.close()


def test_a_body_that_is_too_long_is_refused_by_the_server(running) -> None:
    data = json.dumps({"file": {"data": "A" * 500_000}}).encode()
    status, value, _ = running.ask("POST", "/v1/read", data)
    assert status == 413 and "400000 bytes" in value["why"]


def test_work_ends_when_its_client_leaves() -> None:
    ended = []

    async def work() -> None:
        try:
            await asyncio.sleep(30)
        finally:
            ended.append(True)

    async def receive():
        await asyncio.sleep(0.01)
        return {"type": "http.disconnect"}

    with pytest.raises(Gone):
        asyncio.run(unless_gone(receive, work()))
    assert ended == [True]
