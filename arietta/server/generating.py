"""``POST /v1/generate``: from a request to the events of its stream."""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from arietta.api import serving
from arietta.api.models import CONDITIONED_MODEL
from arietta.server.events import Event
from arietta.server.problems import Problem, busy
from arietta.server.schemas import File, GenerateBody

if TYPE_CHECKING:
    from arietta.generation.engine import StreamedNote
    from arietta.server.server import Server

PROGRESS_SECONDS = 0.5


class _Ear:
    """Listens in the loop's thread, and hands on to the event loop.

    Attributes:
        changed: set when there is something new.
        fresh: notes that were decided since.
        over: whether the stream is done.
        error: what ended it, if anything did.
    """

    def __init__(self) -> None:
        self._events = asyncio.get_running_loop()
        self.changed = asyncio.Event()
        self.fresh: list[StreamedNote] = []
        self.over = False
        self.error: Exception | None = None

    def notes(self, notes: list[StreamedNote]) -> None:
        """Take notes of the first take; the others are sent when they are whole."""
        heard = [note for note in notes if note.variation == 0]
        if heard:
            self._tell(heard)

    def done(self, error: Exception | None) -> None:
        """Take notice of the end."""
        self.error, self.over = error, True
        self._tell([])

    def _tell(self, notes: list[StreamedNote]) -> None:
        def on_loop() -> None:
            self.fresh += notes
            self.changed.set()

        self._events.call_soon_threadsafe(on_loop)


def upload(file: File | None) -> tuple[str, bytes] | None:
    """Return a file as workers take it."""
    return None if file is None else (file.name, file.data)


async def events(server: Server, body: GenerateBody) -> AsyncIterator[list[Event]]:
    """Give the events of one request; closing it cancels what runs.

    Raises:
        Problem: there is no room.
        AriettaError: the request cannot be carried out.
    """
    settings, service = server.settings, server.service
    began = time.monotonic()
    rows = await asyncio.to_thread(service.takes, _model(body), body.variations, body.of)
    if rows > settings.max_takes:
        raise Problem(
            "bad-request",
            422,
            "The request asks for too much",
            f"{rows} takes; {settings.max_takes} at most",
            "Ask for fewer `variations`, or fewer takes with `of`.",
        )
    if body.seconds is not None and body.seconds > settings.max_new_seconds:
        raise Problem(
            "bad-request",
            422,
            "The request asks for too much",
            f"{body.seconds:g} s of music; {settings.max_new_seconds:g} at most",
            "Ask for less, and go on from what you get.",
        )
    # Whole numbers that JavaScript can hold exactly.
    seed = secrets.randbits(53) if body.seed is None else body.seed
    ear = _Ear()
    from arietta.generation.loop import LoopBusy

    try:
        ticket = service.reserve(rows, ear)
    except LoopBusy as error:
        server.metrics.refused.inc()
        raise busy(str(error), settings.retry_seconds) from None
    try:
        piece = await server.piece(upload(body.file))
        like = await server.piece(upload(body.like))
        options = body.model_dump(exclude={"file", "like", "model", "of"}, exclude_none=True)
        stream = await asyncio.to_thread(
            service.prepare, piece, like, body.model, {**options, "of": rows, "seed": seed}
        )
        ticket.start(stream)
        yield [("start", {"id": server.next_id(), **serving.start_values(stream)})]
        told, first = 0.0, True
        while not ear.over:
            await ear.changed.wait()
            ear.changed.clear()
            found: list[Event] = [("note", serving.note_values(n)) for n in ear.fresh]
            ear.fresh.clear()
            now = time.monotonic()
            if found and first:
                first = False
                server.metrics.first_note.observe(now - began)
            if now - told > PROGRESS_SECONDS:
                told = now
                found.append(("progress", serving.progress_values(stream)))
            if found:
                yield found
        if ear.error is not None:
            raise ear.error
        takes = await asyncio.to_thread(serving.take_values, stream)
        for take in takes:
            yield [("take", take)]
        yield [("end", {"takes": [take["take"] for take in takes]})]
    finally:
        ticket.cancel()


def _model(body: GenerateBody) -> str | None:
    if body.model is None and body.like is not None:
        return CONDITIONED_MODEL
    return body.model


async def whole(server: Server, body: GenerateBody, accept: str) -> Response:
    """Return the takes as one JSON object, or the best as a MIDI file."""
    takes: list[dict[str, Any]] = []
    start: dict[str, Any] = {}
    source = events(server, body)
    try:
        async for found in source:
            for name, value in found:
                if name == "take":
                    takes.append(value)
                elif name == "start":
                    start = value
    finally:
        await source.aclose()  # type: ignore[attr-defined]
    if accept == "audio/midi":
        return Response(base64.b64decode(takes[0]["midi"]), media_type="audio/midi")
    return JSONResponse({**start, "takes": takes})
