"""Answers that watch their client: event streams, and work that ends when nobody waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from arietta.server.problems import problem_of

EVENT_STREAM = "text/event-stream"
QUIET_SECONDS = 15.0
"""After so long without an event a comment is sent, which keeps proxies from hanging up."""

Result = TypeVar("Result")
Event = tuple[str, Any]


class Gone(Exception):
    """The client has left."""


def encoded(event: Event) -> bytes:
    """Return an event as it travels."""
    name, data = event
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return f"event: {name}\ndata: {text}\n\n".encode()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, Result]) -> Result:
    """Return what work returns; cancel it as soon as the client leaves.

    The body of the request must have been read.

    Raises:
        Gone: the client left first.
    """
    doing = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait((doing, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise Gone
        return doing.result()
    finally:
        leaving.cancel()
        if not doing.done():
            doing.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await doing


class Watched(Response):
    """An answer that is made while its client is watched.

    Args:
        work: makes the answer.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, Response]]) -> None:
        self._work = work
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Make the answer and send it."""
        try:
            answer = await unless_gone(receive, self._work())
        except Gone:
            return
        except Exception as error:
            answer = problem_of(error).response()
        await answer(scope, receive, send)


class EventStream(Response):
    """Server-sent events, made while the client stays.

    What goes wrong before the first event is an answer of its own; later it is an ``error`` event.

    Args:
        open_events: opens the source; whatever it holds is given back when the source is closed,
            which happens whether or not the client stays.
    """

    media_type = EVENT_STREAM

    def __init__(self, open_events: Callable[[], AsyncIterator[list[Event]]]) -> None:
        self._open = open_events
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        events = self._open()
        leaving = asyncio.ensure_future(_left(receive))
        begun = False

        async def tell(data: bytes) -> None:
            nonlocal begun
            if not begun:
                begun = True
                headers = [
                    (b"content-type", f"{EVENT_STREAM}; charset=utf-8".encode()),
                    (b"cache-control", b"no-store"),
                    (b"x-accel-buffering", b"no"),
                ]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": data, "more_body": True})

        try:
            async for found in _until(events, leaving):
                await tell(b"".join(map(encoded, found)) if found else b": still here\n\n")
        except Gone:
            return
        except TimeoutError:  # it stays, but reads nothing
            return
        except Exception as error:
            problem = problem_of(error)
            if not begun:
                await problem.response()(scope, receive, send)
                return
            with contextlib.suppress(TimeoutError):
                await tell(encoded(("error", problem.to_dict())))
        finally:
            leaving.cancel()
            close: Callable[[], Awaitable[None]] | None = getattr(events, "aclose", None)
            if close is not None:
                await close()
        if begun:
            with contextlib.suppress(TimeoutError):
                await send({"type": "http.response.body", "body": b""})


async def _until(
    events: AsyncIterator[list[Event]], leaving: asyncio.Future[None]
) -> AsyncIterator[list[Event]]:
    """Give events until there are no more; nothing now and then.

    Raises:
        Gone: the client left.
    """
    coming: asyncio.Future[list[Event]] | None = None
    try:
        while True:
            if coming is None:
                coming = asyncio.ensure_future(anext(events))
            await asyncio.wait(
                (coming, leaving), timeout=QUIET_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            if leaving.done():
                raise Gone
            if not coming.done():
                yield []
                continue
            done, coming = coming, None
            try:
                found = done.result()
            except StopAsyncIteration:
                return
            yield found
    finally:
        if coming is not None:
            coming.cancel()
            with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration, Exception):
                await coming
