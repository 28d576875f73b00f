"""The duet over a WebSocket, ``/v1/duet``: one page, one session; see ``realtime.socket``."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from arietta.realtime.answerer import Answerer
from arietta.realtime.socket import DuetSocket

if TYPE_CHECKING:
    from fastapi import FastAPI

    from arietta.server.server import Server

MOST_DUETS = 4
"""Duets at one time: each has a thread and a cache of its own."""
MAX_MESSAGE = 4_000
"""Characters of a message."""
_TICK_S = 0.04
_NORMAL, _NOT_TEXT, _TOO_BIG, _BUSY = 1000, 1003, 1009, 1013


def add_duet(app: FastAPI, server: Server) -> None:
    """Add the address of the duet."""
    running: set[WebSocket] = set()

    @app.websocket("/v1/duet")
    async def duet(socket: WebSocket) -> None:
        await socket.accept()
        if len(running) >= MOST_DUETS:
            await socket.close(_BUSY, "too many duets are played here; try again later")
            return
        running.add(socket)
        try:
            await _play(socket, server)
        finally:
            running.discard(socket)


async def _play(socket: WebSocket, server: Server) -> None:
    model = await asyncio.to_thread(server.service.model)
    loop, wake = asyncio.get_running_loop(), asyncio.Event()

    def wake_up() -> None:
        loop.call_soon_threadsafe(wake.set)

    duet = DuetSocket(Answerer(model.engine), wake=wake_up)
    reader = asyncio.create_task(socket.receive())
    waker = asyncio.create_task(wake.wait())
    try:
        while not duet.failed and server.ready:
            await asyncio.wait({reader, waker}, timeout=_TICK_S, return_when="FIRST_COMPLETED")
            if waker.done():
                wake.clear()
                waker = asyncio.create_task(wake.wait())
            messages = duet.tick()
            if reader.done():
                text = _text(reader.result())
                reader = asyncio.create_task(socket.receive())
                messages += duet.receive(_value(text))
            for message in messages:
                await socket.send_text(json.dumps(message, separators=(",", ":")))
        await socket.close(_NORMAL, "the duet is over")
    except WebSocketDisconnect as left:
        if left.code in (_TOO_BIG, _NOT_TEXT):
            await socket.close(left.code, left.reason)
    finally:
        for task in (reader, waker):
            task.cancel()
        await asyncio.to_thread(duet.close)


def _text(event: Any) -> str:
    """Return the text of a WebSocket event.

    Raises:
        WebSocketDisconnect: the page has left, or sends what is no message.
    """
    if event["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(event.get("code", _NORMAL))
    text = event.get("text")
    if text is None:
        raise WebSocketDisconnect(_NOT_TEXT, "messages are texts")
    if len(text) > MAX_MESSAGE:
        raise WebSocketDisconnect(_TOO_BIG, f"a message has at most {MAX_MESSAGE} characters")
    return str(text)


def _value(text: str) -> object:
    """Return the value of a message; None for what is no JSON, which the session refuses."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
