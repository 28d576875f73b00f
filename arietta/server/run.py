"""Start the server: uvicorn with its own clock for slow clients."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from arietta.errors import MissingExtraError, OutputError
from arietta.server.settings import ServerSettings


def check_installed() -> None:
    """Refuse to go on without the extra.

    Raises:
        MissingExtraError: it is not installed.
    """
    for name in ("fastapi", "uvicorn", "python_multipart", "prometheus_client"):
        if find_spec(name) is None:
            raise MissingExtraError("the server", "studio")


def listen(settings: ServerSettings) -> socket.socket:
    """Return a socket that listens.

    Raises:
        OutputError: the address is taken or is not this machine's.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((settings.host, settings.port))
    except OSError as error:
        sock.close()
        reason = error.strerror or str(error)
        raise OutputError(
            f"{settings.host}:{settings.port}: cannot listen there: {reason}; choose another port"
        ) from None
    sock.listen(settings.max_connections)
    return sock


def address_of(sock: socket.socket) -> str:
    """Return the address of a socket as a browser takes it."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(settings: ServerSettings, ready: Callable[[str], None] = lambda _: None) -> None:
    """Serve until the process is told to stop.

    Args:
        settings: limits and addresses.
        ready: called with the address as soon as requests are answered.

    Raises:
        MissingExtraError: the extra is not installed.
        OutputError: the address cannot be listened on.
    """
    check_installed()
    import uvicorn

    from arietta.server.app import create_app

    sock = listen(settings)
    address = address_of(sock)

    class Announcing(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                ready(address)

    Announcing(config_of(create_app(settings), settings)).run([sock])


def config_of(app: Any, settings: ServerSettings) -> Any:
    """Return how uvicorn serves an application."""
    import uvicorn

    return uvicorn.Config(
        app,
        http=protocol_of(settings),
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=settings.max_connections,
        timeout_keep_alive=max(1, int(settings.header_seconds)),
        timeout_graceful_shutdown=2,
    )


def protocol_of(settings: ServerSettings) -> type[Any]:
    """Return uvicorn's HTTP protocol with a clock for the head of a request.

    Uvicorn waits for ever for the first bytes of a connection, and for the rest of a head: a client
    that sends a byte now and then (slow-loris) would hold its connection.
    """
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Timed(H11Protocol):
        _late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._rest()  # a head is whole, its request runs

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if not self.transport.is_closing():
                self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            self._rest()
            super().connection_lost(exc)

        def _watch(self) -> None:
            self._rest()
            self._late = self.loop.call_later(settings.header_seconds, self._hang_up)

        def _rest(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

        def _hang_up(self) -> None:
            if self.cycle is None or self.cycle.response_complete:
                self.transport.close()

    return Timed
