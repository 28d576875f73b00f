"""Several replicas of the server, by Ray Serve: ``serve run deploy.ray_serve:app``.

``Player`` is the server's application, one replica for each share of processors, each with its own
loop. ``Front`` reads a request, gives it to a replica and passes the answer on; as long as nothing
of the answer has been passed on, another replica may take over.
"""

from __future__ import annotations

import asyncio
import os
import pickle
from collections.abc import AsyncIterator
from typing import Any

from ray import serve
from ray.exceptions import RayError

from arietta.server.app import create_app

REPLICAS = int(os.environ.get("ARIETTA_REPLICAS", "2"))
TRIES = 5
PASSED_ON = ("type", "method", "path", "raw_path", "query_string", "headers", "http_version")
"""What a replica is told of a request besides its body."""


@serve.deployment(num_replicas=REPLICAS, max_ongoing_requests=200, health_check_period_s=2)
class Player:
    """One replica: the ASGI application, called with whole requests."""

    def __init__(self) -> None:
        self._app = create_app()
        self._server = self._app._app.state.server  # type: ignore[attr-defined]
        self._opening: asyncio.Task[None] | None = None

    async def answer(self, scope: dict[str, Any], body: bytes) -> AsyncIterator[bytes]:
        """Give the messages of an answer, pickled."""
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._server.open())
        await asyncio.shield(self._opening)
        messages: asyncio.Queue[Any] = asyncio.Queue(64)
        coming = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            if coming:
                return coming.pop()
            await asyncio.Event().wait()  # leaving cancels this whole call

        async def run() -> None:
            await self._app(scope, receive, messages.put)
            await messages.put(None)

        running = asyncio.ensure_future(run())
        try:
            while (message := await messages.get()) is not None:
                yield pickle.dumps(message)
        finally:
            running.cancel()


@serve.deployment(max_ongoing_requests=1000)
class Front:
    """Gives each request to a replica, and to another one if that dies before it has answered."""

    def __init__(self, players: Any) -> None:
        self._players = players.options(stream=True, method_name="answer")

    async def __call__(self, request: Any) -> Any:
        """Answer a request of Ray Serve's proxy."""
        from starlette.responses import StreamingResponse

        scope = {name: request.scope[name] for name in PASSED_ON if name in request.scope}
        messages = self._messages({**scope, "scheme": "http"}, await request.body())
        start = await anext(messages)

        async def parts() -> AsyncIterator[bytes]:
            async for message in messages:
                yield message.get("body", b"")

        answer = StreamingResponse(parts(), start["status"])
        answer.raw_headers = list(start["headers"])
        return answer

    async def _messages(self, scope: dict[str, Any], body: bytes) -> AsyncIterator[Any]:
        for attempt in range(TRIES):
            begun = False
            try:
                async for data in self._players.remote(scope, body):
                    begun = True
                    yield pickle.loads(data)
                return
            except RayError:
                if begun or attempt == TRIES - 1:
                    raise
                await asyncio.sleep(0.2 * 2**attempt)


app = Front.bind(Player.bind())
