"""What stands in front of every route, as pure ASGI middleware.

In this order: the name that the request is addressed to and the page it comes from (DNS rebinding
and forged requests), the token, the size and the pace of the body. Answers get headers that keep a
browser from loading anything from elsewhere.
"""

from __future__ import annotations

import asyncio
import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from arietta.server.problems import Problem, too_large, too_slow
from arietta.server.settings import ServerSettings

GUARDED = ("/v1/", "/metrics")
"""Beginnings of the paths that need the token, where there is one; the page itself and
``/health`` hold nothing that is anybody's."""

POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; media-src 'self' data: blob:; connect-src 'self' data: blob:;"
    " worker-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
_HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class Guard:
    """Lets through what may be served.

    Args:
        app: what is guarded.
        settings: names, token and limits.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if scope["type"] == "websocket":
            if refusal is not None:
                await receive()
                await send({"type": "websocket.close", "code": 1008, "reason": refusal.why})
            else:
                await self._app(scope, receive, send)
            return
        if refusal is not None:
            await refusal.response()(scope, receive, send)
            return
        body = _Body(receive, self._limit(scope), self._settings.body_seconds)
        answer = _Answer(send, self._settings.send_seconds)
        try:
            await self._app(scope, body, answer)
        except Problem as problem:
            if answer.begun:
                raise
            await problem.response()(scope, receive, answer)

    def _limit(self, scope: Scope) -> int:
        training = scope["path"] == "/v1/train"
        return self._settings.max_training_bytes if training else self._settings.max_upload_bytes

    def _refusal(self, scope: Scope) -> Problem | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        host = _name(hosts[0]) if len(hosts) == 1 else None
        known = self._settings.known_hosts
        if host is None or (known is not None and host not in known):
            return Problem(
                "wrong-host",
                421,
                "The request is addressed to another server",
                f"it names the host {hosts[0] if hosts else ''!r}",
                "Use the address that the server printed, or start it with --allow-host.",
            )
        origin = headers.get("origin")
        site = headers.get("sec-fetch-site", "none")
        strange = site in ("cross-site", "same-site") and scope["path"].startswith(GUARDED)
        if strange or (origin is not None and not _is_own(origin, hosts[0])):
            return Problem(
                "foreign-origin",
                403,
                "The request comes from another site's page",
                f"its origin is {origin!r}",
                "Call the server from its own page, or from a program.",
            )
        return self._without_token(headers, scope["path"])

    def _without_token(self, headers: Headers, path: str) -> Problem | None:
        token = self._settings.token
        if token is None or not path.startswith(GUARDED):
            return None
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(shown.strip().encode(), token.encode())
        if scheme.lower() == "bearer" and right:
            return None
        return Problem(
            "no-token",
            401,
            "The server wants a token",
            "the request shows none, or another",
            "Send the header Authorization: Bearer TOKEN.",
            {"WWW-Authenticate": "Bearer"},
        )


def _is_own(origin: str, host: str) -> bool:
    scheme, _, place = origin.partition("://")
    return scheme in ("http", "https") and place == host


def _name(host: str) -> str | None:
    """Return the name of a host without its port; None for what is none."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


class _Body:
    """Receives a body of bounded size in bounded time.

    What comes behind the body, the client's leaving, may take as long as it wants.
    """

    def __init__(self, receive: Receive, limit: int, seconds: float) -> None:
        self._receive, self._left, self._limit = receive, limit, limit
        self._seconds = seconds
        self._until: float | None = None
        self._whole = False

    async def __call__(self) -> Message:
        if self._whole:
            return await self._receive()
        loop = asyncio.get_running_loop()
        if self._until is None:
            self._until = loop.time() + self._seconds
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            raise too_slow("the body", self._seconds) from None
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                raise too_large(self._limit)
            self._whole = not message.get("more_body", False)
        return message


class _Answer:
    """Sends an answer with the headers that guard the page; gives up on who does not read."""

    def __init__(self, send: Send, seconds: float) -> None:
        self._send, self._seconds = send, seconds
        self.begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            known = {name.lower() for name, _ in message.get("headers", ())}
            message["headers"] = [
                *message.get("headers", ()),
                *(pair for pair in _HEADERS if pair[0] not in known),
            ]
        async with asyncio.timeout(self._seconds):
            await self._send(message)
