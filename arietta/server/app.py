"""The application: a plain ASGI factory, ``uvicorn --factory arietta.server.app:create_app``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from arietta._version import __version__
from arietta.errors import AriettaError
from arietta.server.duet import add_duet
from arietta.server.guard import Guard
from arietta.server.problems import Problem, problem_of
from arietta.server.routes import add_routes
from arietta.server.server import Server
from arietta.server.settings import ServerSettings

CLIENT_CLOSED_REQUEST = 499
"""As web servers log it; nobody reads this answer."""
STATIC = Path(__file__).parent / "static"


def create_app(settings: ServerSettings | None = None) -> Guard:
    """Return the application, guarded.

    Args:
        settings: limits and addresses; by default those of ``ServerSettings.from_environment``.
    """
    server = Server(settings or ServerSettings.from_environment())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await server.open()
        try:
            yield
        finally:
            await asyncio.to_thread(server.close)

    app = FastAPI(
        title="Arietta",
        version=__version__,
        summary="Piano MIDI models over HTTP",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    for kind in (AriettaError, MemoryError, Exception):
        app.add_exception_handler(kind, _answer)
    app.add_exception_handler(Problem, _answer)
    app.add_exception_handler(HTTPException, _answer)
    app.add_exception_handler(RequestValidationError, _answer)
    app.add_exception_handler(ClientDisconnect, _nobody_there)
    add_routes(app, server)
    add_duet(app, server)
    app.mount("/", StaticFiles(directory=STATIC, html=True, check_dir=False), "page")
    app.state.server = server
    return Guard(app, server.settings)


async def _nobody_there(_: Request, __: Exception) -> Response:
    """End the request of a client that left before its body was whole; no fault to be logged."""
    return Response(status_code=CLIENT_CLOSED_REQUEST)


async def _answer(_: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return Problem(
            "no-such-page" if error.status_code == 404 else "bad-request",
            error.status_code,
            str(error.detail),
            "there is nothing at this address for this method",
            "See /openapi.json for what there is.",
            error.headers,
        ).response()
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        return Problem(
            "bad-request",
            422,
            "The request is not what this address takes",
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}",
            "See /openapi.json for what it takes.",
        ).response()
    return problem_of(error).response()
