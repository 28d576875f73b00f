"""Bodies of requests: JSON, or multipart with the file beside the settings.

``multipart/form-data`` has a part ``file`` (several for training, one named ``like`` for the piece
to resemble) and a part ``settings``, which is the JSON without the files.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from arietta.server.problems import Problem

Body = TypeVar("Body", bound=BaseModel)
JSON, MULTIPART = "application/json", "multipart/form-data"


def body_of(model: type[Body]) -> Callable[[Request], Awaitable[Body]]:
    """Return the dependency that reads a body as a model, from JSON or multipart."""

    async def read(request: Request) -> Body:
        kind = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
        if kind == MULTIPART:
            values = await _from_parts(request, model)
        elif kind == JSON:
            values = _parsed(await request.body())
        else:
            raise Problem(
                "wrong-type",
                415,
                "The body is of a type that is not read here",
                f"its type is {kind}",
                f"Send {JSON} or {MULTIPART}.",
            )
        return checked(model, values)

    return read


def checked(model: type[Body], values: Any) -> Body:
    """Return values as a model.

    Raises:
        Problem: they do not fit; it names the first that does not.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the body"
        raise Problem(
            "bad-request",
            422,
            "The request is not what this address takes",
            f"{place}: {first['msg']}",
            "See /docs for what it takes.",
        ) from None


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data or b"null")
    except (ValueError, RecursionError):
        raise Problem(
            "bad-request",
            400,
            "The body is no JSON",
            "it cannot be parsed",
            "Send one JSON object in UTF-8.",
        ) from None


async def _from_parts(request: Request, model: type[BaseModel]) -> Any:
    several = "files" in model.model_fields
    try:
        form = await request.form(max_files=10_000 if several else 2, max_fields=4)
    except HTTPException as error:
        raise Problem(
            "bad-request",
            400,
            "The body is no proper multipart/form-data",
            str(error.detail),
            "Send a part file, and a part settings with JSON.",
        ) from None
    values: Any = {}
    files: list[dict[str, Any]] = []
    for name, part in form.multi_items():
        if isinstance(part, UploadFile) and name != "settings":
            one = {"name": (part.filename or "piece.mid")[-255:], "data": await part.read()}
            if name == "like":
                values["like"] = one
            else:
                files.append(one)
        elif name == "settings":
            text = await part.read() if isinstance(part, UploadFile) else part.encode()
            given = _parsed(text)
            if isinstance(given, dict):
                values = {**given, **values}
    await form.close()
    if several:
        values["files"] = files
    elif files:
        values["file"] = files[0]
    return values
