"""Errors as ``application/problem+json`` (RFC 9457): what went wrong, why, and how to mend it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

from arietta.errors import (
    AriettaError,
    CheckpointError,
    InputError,
    MissingExtraError,
    OutputError,
    TrainingError,
    UsageError,
)

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """An answer that says what went wrong.

    Attributes:
        kind: short name, the end of ``type``.
        status: of HTTP.
        what: one sentence: what could not be done.
        why: one sentence: the reason.
        mend: one sentence: what to do about it.
        headers: to send with it.
    """

    def __init__(
        self,
        kind: str,
        status: int,
        what: str,
        why: str,
        mend: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{what}: {why}")
        self.kind, self.status = kind, status
        self.what, self.why, self.mend = what, why, mend
        self.headers = dict(headers or {})

    def to_dict(self) -> dict[str, Any]:
        """Return the members of the JSON object."""
        return {
            "type": f"urn:arietta:problem:{self.kind}",
            "title": self.what,
            "status": self.status,
            "what": self.what,
            "why": self.why,
            "mend": self.mend,
        }

    def response(self) -> JSONResponse:
        """Return the answer."""
        return JSONResponse(self.to_dict(), self.status, self.headers, MEDIA_TYPE)


_KINDS: tuple[tuple[type[Exception], str, int, str, str], ...] = (
    (UsageError, "bad-request", 422, "The request cannot be carried out", "Change the request."),
    (CheckpointError, "no-such-model", 422, "The model cannot be used", "See GET /v1/models."),
    (
        MissingExtraError,
        "not-installed",
        501,
        "The server lacks a part that this needs",
        "Install it where the server runs, and start the server again.",
    ),
    (InputError, "bad-file", 422, "The file cannot be used", "Send another file."),
    (OutputError, "no-room", 507, "A result could not be written", "Make room on the server."),
    (TrainingError, "training-failed", 422, "The training failed", "Change the recipe."),
    (AriettaError, "refused", 422, "The request cannot be carried out", "Change the request."),
    (
        MemoryError,
        "too-large",
        413,
        "The request needs more memory than it may have",
        "Send less: a shorter piece, or fewer takes.",
    ),
)


def problem_of(error: BaseException) -> Problem:
    """Return the answer to an error; what nobody raised on purpose is told without its details."""
    if isinstance(error, Problem):
        return error
    for known, kind, status, what, mend in _KINDS:
        if isinstance(error, known):
            text = " ".join(str(error).split()) or what
            why, _, way_out = text.partition("; ")
            return Problem(kind, status, what, why, _sentence(way_out) or mend)
    return Problem(
        "fault",
        500,
        "The server made a mistake",
        f"an unexpected {type(error).__name__}",
        "Try again; if it happens again, report it with the server's log.",
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "." if text else ""


def busy(why: str, retry_seconds: int) -> Problem:
    """Return the answer to a client that comes when everything is taken."""
    return Problem(
        "busy",
        429,
        "The server has no room now",
        why,
        f"Try again in {retry_seconds} s.",
        {"Retry-After": str(retry_seconds)},
    )


def too_large(limit: int) -> Problem:
    """Return the answer to a body that is too long."""
    return Problem(
        "too-large",
        413,
        "The request is too large",
        f"it has more than {limit} bytes",
        "Send a smaller file.",
        {"Connection": "close"},
    )


def too_slow(what: str, seconds: float) -> Problem:
    """Return the answer to what took too long."""
    return Problem(
        "too-slow",
        408 if what == "the body" else 503,
        "The time for this is over",
        f"{what} took more than {seconds:g} s",
        "Send a shorter piece." if what != "the body" else "Send it faster.",
        {"Connection": "close"} if what == "the body" else {},
    )
