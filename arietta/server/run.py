"""Start the server: uvicorn with its own clock for slow clients."""

from __future__ import annotations

import socket
from collections.abc import Callable

from arietta.errors import MissingExtraError, OutputError
from arietta.server.settings import ServerSettings


def check_installed() -> None:
    """Refuse to go on without the extra.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import fastapi
        import multipart
        import prometheus_client
        import uvicorn  # noqa: F401
    except ImportError:
        raise MissingExtraError("the server", "studio") from None


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

    config = uvicorn.Config(
        create_app(settings),
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=settings.max_connections,
        timeout_keep_alive=int(settings.header_seconds),
        timeout_graceful_shutdown=5,
    )
    Announcing(config).run([sock])
