"""The application: routes over the use cases of ``arietta.api``; a plain ASGI factory."""

from __future__ import annotations

import asyncio
import base64
import itertools
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles

from arietta._version import __version__
from arietta.api.examples import EXAMPLES, example_bytes
from arietta.api.serving import Service
from arietta.errors import AriettaError
from arietta.paths import assets_dir
from arietta.server import generating
from arietta.server.bodies import body_of
from arietta.server.events import EVENT_STREAM, EventStream, Watched
from arietta.server.guard import Guard
from arietta.server.metrics import CONTENT_TYPE, Metrics
from arietta.server.problems import Problem, problem_of
from arietta.server.schemas import GenerateBody, OneFile, SynthBody
from arietta.server.settings import ServerSettings
from arietta.server.workers import Workers

if TYPE_CHECKING:
    from arietta.midi.piece import Piece

STATIC = Path(__file__).parent / "static"
MIDI = "audio/midi"
AUDIO = {"wav": "audio/wav", "mp3": "audio/mpeg", "flac": "audio/flac", "ogg": "audio/ogg"}


class Server:
    """What the routes share.

    Args:
        settings: limits and addresses.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.service = Service(
            settings.model,
            threads=settings.threads,
            max_rows=settings.max_rows,
            max_waiting=settings.max_waiting,
        )
        self.workers = Workers(settings)
        self.metrics = Metrics()
        self.ready = False
        self._start = secrets.token_hex(4)
        self._numbers = itertools.count(1)

    def next_id(self) -> str:
        """Return a name for a request that no other has."""
        return f"{self._start}-{next(self._numbers)}"

    async def piece(self, file: tuple[str, bytes] | None) -> Piece | None:
        """Return a client's piece, read by a worker."""
        return None if file is None else await self.workers.run("piece", file)

    async def open(self) -> None:
        """Load what every request needs."""
        self.workers.start()
        await asyncio.to_thread(self.service.model)
        self.ready = True

    def close(self) -> None:
        """End the loop and the workers."""
        self.ready = False
        self.service.close()
        self.workers.stop()


def create_app(settings: ServerSettings | None = None) -> Guard:
    """Return the application, guarded; ``uvicorn --factory arietta.server.app:create_app``."""
    server = Server(settings or ServerSettings())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await server.open()
        try:
            yield
        finally:
            server.close()

    app = FastAPI(title="Arietta", version=__version__, lifespan=lifespan, docs_url=None)
    for kind in (Problem, AriettaError, MemoryError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, _answer)
    app.add_exception_handler(Exception, _answer)
    _add_routes(app, server)
    app.mount("/", StaticFiles(directory=STATIC, html=True, check_dir=False), "page")
    return Guard(app, server.settings)


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


def accepted(request: Request, offered: tuple[str, ...]) -> str:
    """Return the first of the types that a client accepts, by its order; the first offer for all.

    Raises:
        Problem: it accepts none of them.
    """
    wanted = request.headers.get("accept", "*/*")
    for part in wanted.split(","):
        kind = part.partition(";")[0].strip().lower()
        for one in offered:
            whole, half = kind in ("*/*", one), kind == f"{one.partition('/')[0]}/*"
            if whole or half:
                return one
    raise Problem(
        "wrong-type",
        406,
        "The answer comes in none of the types that are accepted",
        f"Accept is {wanted[:200]}",
        f"Accept one of {', '.join(offered)}.",
    )


def _add_routes(app: FastAPI, server: Server) -> None:
    def task(name: str, *args: Any) -> Response:
        async def work() -> Response:
            return JSONResponse(await server.workers.run(name, *args))

        return Watched(work)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {
            "live": True,
            "ready": server.ready,
            "queue_depth": server.service.loop.waiting + server.workers.waiting,
        }

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(server.metrics.text(server), media_type=CONTENT_TYPE)

    @app.get("/v1/examples")
    async def examples() -> list[dict[str, str]]:
        return [{"name": one.name, "title": one.title} for one in EXAMPLES]

    @app.get("/v1/examples/{name}")
    async def example(name: str) -> Response:
        return Response(example_bytes(name), media_type=MIDI)

    @app.get("/piano.sf3")
    async def bank() -> Response:
        return FileResponse(
            assets_dir() / "piano.sf3",
            media_type="application/octet-stream",
            headers={"Cache-Control": "max-age=86400"},
        )

    @app.get("/v1/opened")
    async def opened() -> dict[str, str] | None:
        if server.settings.opened is None:
            return None
        name, data = server.settings.opened
        return {"name": name, "data": base64.b64encode(data).decode("ascii")}

    @app.post("/v1/read")
    async def read(body: Annotated[OneFile, Depends(body_of(OneFile))]) -> Response:
        return task("read", generating.upload(body.file))

    @app.post("/v1/generate")
    async def generate(
        request: Request, body: Annotated[GenerateBody, Depends(body_of(GenerateBody))]
    ) -> Response:
        kind = accepted(request, (EVENT_STREAM, "application/json", MIDI))
        if kind == EVENT_STREAM:
            return EventStream(lambda: generating.events(server, body))
        return Watched(lambda: generating.whole(server, body, kind))

    @app.post("/v1/synth")
    async def synth(
        request: Request, body: Annotated[SynthBody, Depends(body_of(SynthBody))]
    ) -> Response:
        suffix = body.format
        if suffix is None:
            kind = accepted(request, tuple(AUDIO.values()))
            suffix = next(name for name, value in AUDIO.items() if value == kind)  # type: ignore[assignment]
        assert suffix is not None

        async def work() -> Response:
            data = await server.workers.run("synth", generating.upload(body.file), suffix)
            return Response(data, media_type=AUDIO[suffix])

        return Watched(work)
