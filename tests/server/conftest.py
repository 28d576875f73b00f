"""A server that runs, and a client that does what no library would."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")

from arietta.server.app import Server, create_app
from arietta.server.run import config_of, listen
from arietta.server.settings import ServerSettings

SETTINGS = ServerSettings(port=0, workers=1, max_upload_bytes=400_000, header_seconds=1.0)


class Running:
    """A server in a thread of this process."""

    def __init__(self, settings: ServerSettings) -> None:
        import uvicorn

        self.settings = settings
        self._app = create_app(settings)
        self._socket = listen(settings)
        self.port: int = self._socket.getsockname()[1]
        self._uvicorn = uvicorn.Server(config_of(self._app, settings))
        self._thread = threading.Thread(target=self._uvicorn.run, args=([self._socket],))
        self._thread.start()
        until = time.monotonic() + 60
        while not self._uvicorn.started:
            assert time.monotonic() < until and self._thread.is_alive()
            time.sleep(0.02)

    @property
    def server(self) -> Server:
        return self._app._app.state.server  # type: ignore[attr-defined]

    def stop(self) -> None:
        self._uvicorn.should_exit = True
        self._thread.join(30)

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, http.client.HTTPMessage]:
        """Status, JSON value or bytes, headers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        try:
            connection.request(
                method, path, data, {"Content-Type": "application/json", **(headers or {})}
            )
            answer = connection.getresponse()
            raw = answer.read()
        finally:
            connection.close()
        kind = answer.headers.get_content_type()
        return answer.status, json.loads(raw) if kind.endswith("json") else raw, answer.headers

    def events(self, path: str, body: Any) -> list[tuple[str, Any]]:
        """All events of a stream."""
        status, raw, headers = self.ask("POST", path, body, {"Accept": "text/event-stream"})
        assert status == 200 and headers.get_content_type() == "text/event-stream", raw
        return parsed(raw.decode())

    def connect(self) -> socket.socket:
        """A plain connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def head(self, path: str, length: int) -> bytes:
        """The head of a request for a stream."""
        lines = (
            f"POST {path} HTTP/1.1",
            f"Host: 127.0.0.1:{self.port}",
            "Content-Type: application/json",
            "Accept: text/event-stream",
            f"Content-Length: {length}",
        )
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def begin(self, path: str, body: Any) -> socket.socket:
        """A connection that has asked for a stream."""
        data = json.dumps(body).encode()
        connection = self.connect()
        connection.sendall(self.head(path, len(data)) + data)
        return connection

    def wait(self, condition: Any, seconds: float = 20.0) -> None:
        """Wait for something that the server does when it gets round to it."""
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, "it did not come about"
            time.sleep(0.01)

    @property
    def idle(self) -> bool:
        loop, workers = self.server.service.loop, self.server.workers
        return not (loop.running or loop.waiting or workers.running or workers.waiting)


def parsed(text: str) -> list[tuple[str, Any]]:
    """Events of a stream's text."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":")
        )
        if fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    from arietta.api.vectors import index

    where = str(tmp_path_factory.mktemp("indexes") / "prompts")
    prompts = Path(__file__).parents[2] / "arietta" / "assets" / "prompts"
    index([prompts / "waltz.mid", prompts / "smooth_jazz.mid"], where, passages=0)
    made = Running(replace(SETTINGS, indexes={"prompts": where}))
    yield made
    made.stop()


@pytest.fixture
def strict() -> Iterator[Any]:
    """Make servers with other settings, ended after the test."""
    made: list[Running] = []

    def make(**changes: Any) -> Running:
        made.append(Running(replace(SETTINGS, **changes)))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture(scope="session")
def waltz(request: pytest.FixtureRequest) -> dict[str, str]:
    prompts = Path(__file__).parents[2] / "arietta" / "assets" / "prompts"
    data = (prompts / "waltz.mid").read_bytes()
    return {"name": "waltz.mid", "data": base64.b64encode(data).decode()}
