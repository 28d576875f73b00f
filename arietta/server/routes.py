"""Every address of the server, each over one use case."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import Depends, FastAPI, Path, Request
from pydantic import BaseModel
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response

from arietta.api.examples import EXAMPLES, example_bytes
from arietta.api.serving import model_values
from arietta.errors import InputError
from arietta.paths import assets_dir
from arietta.server import generating
from arietta.server.bodies import JSON, MULTIPART, body_of
from arietta.server.events import EVENT_STREAM, Event, EventStream, Watched
from arietta.server.metrics import CONTENT_TYPE
from arietta.server.problems import MEDIA_TYPE, Problem
from arietta.server.schemas import (
    FillBody,
    GenerateBody,
    ModelBody,
    OneFile,
    PostcardBody,
    ProblemBody,
    RenderBody,
    ScoreBody,
    SearchBody,
    SynthBody,
    TrainBody,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from arietta.server.server import Server

MIDI = "audio/midi"
AUDIO = {"wav": "audio/wav", "mp3": "audio/mpeg", "flac": "audio/flac", "ogg": "audio/ogg"}
Name = Annotated[str, Path(min_length=1, max_length=100)]


def accepted(request: Request, offered: tuple[str, ...]) -> str:
    """Return the first of the types that a client accepts, by its order; the first offer for all.

    Raises:
        Problem: it accepts none of them.
    """
    wanted = request.headers.get("accept") or "*/*"
    for part in wanted.split(","):
        kind = part.partition(";")[0].strip().lower()
        for one in offered:
            if kind in ("*/*", one, f"{one.partition('/')[0]}/*"):
                return one
    raise Problem(
        "wrong-type",
        406,
        "The answer comes in none of the types that are accepted",
        f"Accept is {wanted[:200]}",
        f"Accept one of {', '.join(offered)}.",
    )


def takes(model: type[BaseModel], *answers: str, status: int = 200) -> dict[str, Any]:
    """Return what OpenAPI says of an address that takes a body.

    Args:
        model: of the body.
        answers: media types that it answers with.
        status: of a good answer.
    """
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    parts = {
        "type": "object",
        "properties": {
            "file": {"type": "string", "format": "binary"},
            "settings": {"type": "string", "contentMediaType": JSON},
        },
    }
    content = {JSON: {"schema": schema, "example": _example(model)}, MULTIPART: {"schema": parts}}
    return {
        "openapi_extra": {"requestBody": {"required": True, "content": content}},
        "responses": {
            status: {"content": {answer: {} for answer in answers}, "description": "done"},
            **PROBLEMS,
        },
        "status_code": status,
    }


def _example(model: type[BaseModel]) -> dict[str, Any]:
    file = {"name": "waltz.mid", "data": base64.b64encode(example_bytes("waltz")).decode()}
    more: Mapping[type[BaseModel], dict[str, Any]] = {
        GenerateBody: {"prompt_seconds": 8, "seconds": 2, "of": 2, "seed": 1},
        FillBody: {"from_seconds": 4, "to_seconds": 6, "variations": 1, "of": 1},
        ScoreBody: {"quick": True},
        SynthBody: {"format": "ogg"},
        SearchBody: {"index": "mine"},
        PostcardBody: {"title": "A waltz"},
    }
    if model is TrainBody:
        return {"files": [file], "steps": 1}
    return {"file": file, **more.get(model, {})}


PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {
        "description": "what went wrong, why, and how to mend it",
        "content": {MEDIA_TYPE: {"schema": ProblemBody.model_json_schema()}},
    },
    "5XX": {
        "description": "the server cannot do it",
        "content": {MEDIA_TYPE: {"schema": ProblemBody.model_json_schema()}},
    },
}


def add_routes(app: FastAPI, server: Server) -> None:
    """Add every address to the application."""
    _add_states(app, server)
    _add_generating(app, server)
    _add_pieces(app, server)
    _add_indexes(app, server)
    _add_jobs(app, server)
    _describe(app)


def _describe(app: FastAPI) -> None:
    """Put the parts of bodies into the schema, which FastAPI does not see."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        schema = plain()
        known = schema.setdefault("components", {}).setdefault("schemas", {})
        for model in (GenerateBody, FillBody, RenderBody, SearchBody, TrainBody):
            whole = model.model_json_schema(ref_template="#/components/schemas/{model}")
            known.update(whole.get("$defs", {}))
        return schema

    app.openapi = openapi  # type: ignore[method-assign]


def _answer(server: Server, task: str, *args: Any) -> Response:
    """Return the answer of one task of a worker, as JSON."""

    async def work() -> Response:
        return JSONResponse(await server.workers.run(task, *args))

    return Watched(work)


def _add_states(app: FastAPI, server: Server) -> None:
    @app.get("/health", tags=["server"])
    async def health() -> dict[str, Any]:
        """Tell whether the server lives, is ready, and how many wait."""
        waiting = server.service.loop.waiting + server.workers.waiting
        return {"live": True, "ready": server.ready, "queue_depth": waiting}

    @app.get("/metrics", tags=["server"])
    async def metrics() -> Response:
        """Return figures for Prometheus."""
        return Response(
            server.metrics.text(server.service.loop, server.workers.running),
            media_type=CONTENT_TYPE,
        )

    @app.get("/v1/models", tags=["server"])
    async def models() -> list[dict[str, Any]]:
        """Return the models that can be named."""
        return model_values(server.settings.model)

    @app.get("/piano.sf3", include_in_schema=False)
    async def bank() -> Response:
        """Return the piano bank, which the page plays through."""
        kept = {"Cache-Control": "max-age=86400"}
        return FileResponse(assets_dir() / "piano.sf3", headers=kept)

    @app.get("/v1/opened", tags=["server"])
    async def opened() -> dict[str, str] | None:
        """Return the file that the studio was opened with."""
        if server.settings.opened is None:
            return None
        name, data = server.settings.opened
        return {"name": name, "data": base64.b64encode(data).decode("ascii")}

    @app.get("/v1/examples", tags=["pieces"])
    async def examples() -> list[dict[str, str]]:
        """Return the shipped prompts."""
        return [{"name": one.name, "title": one.title} for one in EXAMPLES]

    @app.get("/v1/examples/{name}", tags=["pieces"], responses=PROBLEMS)
    async def example(name: Name) -> Response:
        """Return a shipped prompt as MIDI."""
        try:
            return Response(example_bytes(name), media_type=MIDI)
        except InputError as error:
            raise _missing("example", str(error)) from None


def _missing(what: str, why: str) -> Problem:
    return Problem(f"no-such-{what}", 404, f"There is no such {what}", why, "Ask for another.")


def _add_generating(app: FastAPI, server: Server) -> None:
    answers = (EVENT_STREAM, JSON, MIDI)

    @app.post("/v1/generate", tags=["generating"], **takes(GenerateBody, *answers))
    async def generate(
        request: Request, body: Annotated[GenerateBody, Depends(body_of(GenerateBody))]
    ) -> Response:
        """Continue a performance; notes are streamed while they are decided."""
        kind = accepted(request, answers)
        if kind == EVENT_STREAM:
            return EventStream(lambda: generating.events(server, body))
        return Watched(lambda: generating.whole(server, body, kind))

    @app.post("/v1/fill", tags=["generating"], **takes(FillBody, EVENT_STREAM, JSON))
    async def fill(
        request: Request, body: Annotated[FillBody, Depends(body_of(FillBody))]
    ) -> Response:
        """Fill a gap in several ways."""
        kind = accepted(request, (EVENT_STREAM, JSON))
        if kind == JSON:
            return Watched(lambda: _filled(server, body))
        return EventStream(lambda: _filling(server, body))

    @app.post("/v1/render", tags=["generating"], **takes(RenderBody, JSON, EVENT_STREAM))
    async def render(
        request: Request, body: Annotated[RenderBody, Depends(body_of(RenderBody))]
    ) -> Response:
        """Perform a score."""
        kind = accepted(request, (JSON, EVENT_STREAM))
        if body.style is not None:
            raise Problem(
                "bad-request",
                422,
                "The renderer knows no styles",
                "`style` was given",
                "Leave `style` out.",
            )
        wanted = (
            generating.upload(body.file),
            body.controls.model_dump(),
            body.tempo,
            body.variations,
            body.seed,
            body.model,
        )
        if kind == JSON:
            return _answer(server, "render", *wanted)

        async def events() -> AsyncIterator[list[Event]]:
            made = await server.workers.run("render", *wanted)
            yield [("take", take) for take in made["takes"]]
            yield [("end", {"takes": [take["take"] for take in made["takes"]]})]

        return EventStream(events)


async def _takes_of_gap(server: Server, body: FillBody) -> list[dict[str, Any]]:
    wanted = body.model_dump(exclude={"file", "model", "of"})
    wanted["takes"] = max(body.of, body.variations)
    found: list[dict[str, Any]] = await server.workers.run(
        "fill", generating.upload(body.file), wanted, body.model
    )
    return found


async def _filled(server: Server, body: FillBody) -> Response:
    return JSONResponse({"seed": body.seed, "takes": await _takes_of_gap(server, body)})


async def _filling(server: Server, body: FillBody) -> AsyncIterator[list[Event]]:
    found = await _takes_of_gap(server, body)
    start = {"id": server.next_id(), "seed": body.seed, "takes": len(found)}
    yield [("start", {**start, "seam_seconds": body.from_seconds})]
    for take in found:
        yield [("take", take)]
    yield [("end", {"takes": [take["take"] for take in found]})]


def _add_pieces(app: FastAPI, server: Server) -> None:
    @app.post("/v1/read", tags=["pieces"], **takes(OneFile, JSON))
    async def read(body: Annotated[OneFile, Depends(body_of(OneFile))]) -> Response:
        """Describe a file for a piano roll."""
        return _answer(server, "read", generating.upload(body.file))

    @app.post("/v1/score", tags=["pieces"], **takes(ScoreBody, JSON))
    async def score(body: Annotated[ScoreBody, Depends(body_of(ScoreBody))]) -> Response:
        """Tell how surprising each note is."""
        return _answer(server, "score", generating.upload(body.file), body.quick, body.model)

    @app.post("/v1/classify", tags=["pieces"], **takes(ModelBody, JSON))
    async def classify(body: Annotated[ModelBody, Depends(body_of(ModelBody))]) -> Response:
        """Tell what a piece is."""
        return _answer(server, "classify", generating.upload(body.file), body.model)

    @app.post("/v1/embed", tags=["pieces"], **takes(ModelBody, JSON))
    async def embed(body: Annotated[ModelBody, Depends(body_of(ModelBody))]) -> Response:
        """Return the vector of a piece."""
        return _answer(server, "embed", generating.upload(body.file), body.model)

    @app.post("/v1/synth", tags=["pieces"], **takes(SynthBody, *AUDIO.values()))
    async def synth(
        request: Request, body: Annotated[SynthBody, Depends(body_of(SynthBody))]
    ) -> Response:
        """Sound a piece."""
        suffix: str | None = body.format
        if suffix is None:
            kind = accepted(request, tuple(AUDIO.values()))
            suffix = next(name for name, value in AUDIO.items() if value == kind)

        async def work() -> Response:
            data = await server.workers.run("synth", generating.upload(body.file), suffix)
            return Response(data, media_type=AUDIO[suffix])

        return Watched(work)

    @app.post("/v1/postcard", tags=["pieces"], **takes(PostcardBody, "text/html"))
    async def postcard(body: Annotated[PostcardBody, Depends(body_of(PostcardBody))]) -> Response:
        """Make one self-contained page with roll and sound."""
        wanted = (body.title, body.text, body.seed, body.from_seconds)

        async def work() -> Response:
            page = await server.workers.run("postcard", generating.upload(body.file), *wanted)
            saved = {"Content-Disposition": 'attachment; filename="postcard.html"'}
            return HTMLResponse(page, headers=saved)

        return Watched(work)


def _add_indexes(app: FastAPI, server: Server) -> None:
    def place(name: str) -> str:
        try:
            return server.settings.indexes[name]
        except KeyError:
            known = ", ".join(server.settings.indexes) or "none; start it with --index NAME=FOLDER"
            raise _missing("index", f"there is {known}") from None

    @app.get("/v1/indexes", tags=["collections"])
    async def indexes() -> Response:
        """Return the indexes that can be searched."""

        async def work() -> Response:
            rows = [
                {"name": name, "pieces": await server.workers.run("index_count", where)}
                for name, where in server.settings.indexes.items()
            ]
            return JSONResponse(rows)

        return Watched(work)

    @app.get("/v1/indexes/{name}/map", tags=["collections"], responses=PROBLEMS)
    async def index_map(name: Name) -> Response:
        """Return where the pieces of an index lie on a plane."""
        where = place(name)

        async def work() -> Response:
            return JSONResponse({"points": await server.workers.run("index_map", where)})

        return Watched(work)

    @app.get("/v1/indexes/{name}/pieces/{piece}", tags=["collections"], responses=PROBLEMS)
    async def index_piece(name: Name, piece: Name) -> Response:
        """Return a piece of an index as MIDI."""
        where = place(name)

        async def work() -> Response:
            return Response(await server.workers.run("index_piece", where, piece), media_type=MIDI)

        return Watched(work)

    @app.post("/v1/search", tags=["collections"], **takes(SearchBody, JSON))
    async def search(body: Annotated[SearchBody, Depends(body_of(SearchBody))]) -> Response:
        """Find what is like a file, or is called so."""
        where = place(body.index)
        if (body.file is None) == (body.text is None):
            raise Problem(
                "bad-request",
                422,
                "The request is not what this address takes",
                "it needs either `file` or `text`",
                "Send one of them.",
            )

        async def work() -> Response:
            if body.text is not None:
                found = await server.workers.run("search_text", where, body.text, body.top)
            else:
                file = generating.upload(body.file)
                found = await server.workers.run("search", where, file, body.by, body.top)
            return JSONResponse({"matches": found})

        return Watched(work)


def _add_jobs(app: FastAPI, server: Server) -> None:
    @app.post("/v1/train", tags=["jobs"], **takes(TrainBody, JSON, status=202))
    async def train(body: Annotated[TrainBody, Depends(body_of(TrainBody))]) -> dict[str, Any]:
        """Begin a training on one's own files."""
        files = [(one.name, one.data) for one in body.files]
        job = server.jobs.add(files, body.recipe, body.steps)
        return job.to_dict()

    @app.get("/v1/jobs/{id}", tags=["jobs"], responses=PROBLEMS)
    async def job(id: Name) -> dict[str, Any]:
        """Tell how a job stands."""
        return server.jobs.get(id).to_dict()

    @app.delete("/v1/jobs/{id}", tags=["jobs"], responses=PROBLEMS)
    def cancel(id: Name) -> dict[str, Any]:
        """End a job."""
        return server.jobs.cancel(id).to_dict()

    @app.post("/v1/jobs/{id}/{what}", tags=["jobs"], responses=PROBLEMS)
    async def pause(id: Name, what: Literal["pause", "resume"]) -> dict[str, Any]:
        """Let a job rest, or go on."""
        return server.jobs.pause(id, resume=what == "resume").to_dict()
