"""What workers do: one use case of ``arietta.api`` each, bytes in, JSON values or bytes out.

Everything here runs in a process of ``workers``; a model that is needed is loaded once for each.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arietta.server.problems import Problem
from arietta.server.settings import ServerSettings

if TYPE_CHECKING:
    from arietta.api.models import Model
    from arietta.api.renderers import Renderer
    from arietta.midi.piece import Piece

Upload = tuple[str, bytes]
"""Name and bytes of a file; the name is not a path."""


class Tools:
    """What tasks work with: settings, and models that stay loaded.

    Args:
        settings: of the server.
        report: tells the client how far a task is.
    """

    def __init__(self, settings: ServerSettings, report: Callable[[Any], None]) -> None:
        self.settings = settings
        self.report = report
        self._models: dict[str, Model] = {}
        self._renderers: dict[str, Renderer] = {}

    def target(self, name: str | None) -> str | None:
        """Return what ``load`` takes for a client's name of a model.

        Raises:
            InputError: it is not served here.
        """
        from arietta.api.serving import target_of

        return None if name is None else target_of(name, self.settings.model)

    def model(self, name: str | None) -> Model:
        """Return a model, loaded on first use."""
        from arietta.api.models import DEFAULT_MODEL, load

        target = self.target(name) or self.settings.model or DEFAULT_MODEL
        if target not in self._models:
            self._models[target] = load(target, threads=self.settings.threads)
        return self._models[target]

    def renderer(self, name: str | None, seed: int) -> Renderer:
        """Return a renderer, loaded on first use."""
        from arietta.api.renderers import DEFAULT_RENDERER, load_renderer, with_seed

        target = self.target(name) or DEFAULT_RENDERER
        if target not in self._renderers:
            self._renderers[target] = load_renderer(target, threads=self.settings.threads)
        return with_seed(self._renderers[target], seed)

    def read(self, file: Upload, *, score: bool = False) -> Piece:
        """Return the piece of a file, if it is not too long.

        Raises:
            InputError: it cannot be read.
            Problem: it has too many notes.
        """
        from arietta.api.reading import read_upload

        piece = read_upload(*file, score=score)
        settings = self.settings
        seconds = piece.end_ms / 1000
        why = None
        if len(piece) > settings.max_notes:
            why = f"it has {len(piece)} notes; {settings.max_notes} at most"
        elif seconds > settings.max_piece_seconds:  # tokens, sound and lines grow with it
            why = f"it lasts {seconds:.0f} s; {settings.max_piece_seconds:.0f} s at most"
        if why is not None:
            what, mend = "The piece is too long", "Send a part of it."
            raise Problem("too-large", 413, what, why, mend)
        return piece


def read(tools: Tools, file: Upload) -> dict[str, Any]:
    """Describe a piece for a roll."""
    from arietta.api.reading import view

    return view(tools.read(file)).to_dict()


def piece(tools: Tools, file: Upload) -> Piece:
    """Read a piece for the generating loop."""
    return tools.read(file)


def synth(tools: Tools, file: Upload, suffix: str) -> bytes:
    """Sound a piece; the bytes of an audio file."""
    import tempfile

    from arietta.api.synthesis import synth as run

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / f"sound.{suffix}"
        run(tools.read(file), target)
        return target.read_bytes()


def render(
    tools: Tools,
    file: Upload,
    controls: Mapping[str, float],
    tempo: str | float,
    variations: int,
    seed: int,
    model: str | None,
) -> dict[str, Any]:
    """Perform a score in several takes."""
    from arietta.api.reading import lines, notes_table, pedal_table, tempo_changes
    from arietta.api.rendering import render as run
    from arietta.rendering.controls import Controls

    score = tools.read(file, score=True)
    dynamics: Any = controls["dynamics"]
    if controls["hands"] != 1.0:
        dynamics = {"left": dynamics, "right": dynamics * controls["hands"]}
    done = run(
        score,
        model=tools.renderer(model, seed),
        variations=variations,
        controls=Controls(dynamics, controls["rubato"], controls["pedal"]),
        tempo=tempo,
    )
    takes = []
    for number, one in enumerate(done.renderings):
        played = one.piece()
        on_bars = one.piece(editable=True)
        notes = notes_table(played)
        takes.append(
            {
                "take": number,
                "seed": seed,
                "notes": notes,
                "pedal": pedal_table(played),
                "tempo": tempo_changes(on_bars),
                "loudness": _loudness(notes),
                "bars_seconds": lines(on_bars)[0],
                "midi": _text(on_bars.to_bytes()),
            }
        )
    return {"takes": takes, "notices": list(done.remarks)}


LOUDNESS_SECONDS = 2.0
"""Over how much music the curve of loudness is averaged."""


def _loudness(notes: Mapping[str, Any]) -> list[tuple[float, float]]:
    """Return (seconds, mean velocity) four times a second, over the notes around."""
    import numpy as np

    onset, velocity = np.array(notes["onset_seconds"]), np.array(notes["velocity"], float)
    if not len(onset):
        return []
    at = np.arange(0.0, float(onset.max()) + 0.25, 0.25)
    sums = np.concatenate(([0.0], np.cumsum(velocity)))
    first = np.searchsorted(onset, at - LOUDNESS_SECONDS / 2)
    last = np.searchsorted(onset, at + LOUDNESS_SECONDS / 2)
    some = last > first
    mean = (sums[last] - sums[first])[some] / (last - first)[some]
    return [(round(float(a), 2), round(float(b), 1)) for a, b in zip(at[some], mean, strict=True)]


def fill(tools: Tools, file: Upload, wanted: Mapping[str, Any], model: str | None) -> list[Any]:
    """Fill a gap in several ways; the smoothest first."""
    from arietta.api.filling import fill as run
    from arietta.api.reading import notes_table, pedal_table
    from arietta.generation.filling import FillRequest

    request = FillRequest(**wanted)
    done = run(tools.read(file), request, model=tools.model(model))
    takes = []
    for rank, one in enumerate(done.pieces, 1):
        takes.append(
            {
                "take": one.variation,
                "seed": request.seed,
                "rank": rank,
                "seam_bits_per_note": one.seam_bits,
                "new": one.new,
                "replaced": one.replaced,
                "measures": {"seam_bits_per_note": one.seam_bits},
                "notes": notes_table(one.piece),
                "pedal": pedal_table(one.piece),
                "midi": _text(one.piece.to_bytes()),
            }
        )
    return takes


def score(tools: Tools, file: Upload, quick: bool, model: str | None) -> dict[str, Any]:
    """Tell how surprising each note is, and which are likely wrong."""
    import math

    import numpy as np

    from arietta.api.models import DEFAULT_MODEL
    from arietta.api.reading import notes_table
    from arietta.api.scoring import score as run

    found = run(tools.read(file), model=tools.target(model) or DEFAULT_MODEL, quick=quick)
    suspicion = [row.get("suspicion") for row in found.notes]
    order = np.lexsort((found.keys.notes.pitch, found.keys.onset_ms))  # that of the table
    place = np.argsort(order)
    by = found.bits if suspicion[0] is None else np.array(suspicion, float)
    return {
        "notes": notes_table(found.keys),
        "nats": [round(float(found.bits[i]) * math.log(2), 4) for i in order],
        "suspicion": [suspicion[i] for i in order],
        "suspicious": [int(place[i]) for i in np.argsort(-by, kind="stable")[:200]],
    }


def classify(tools: Tools, file: Upload, model: str | None) -> dict[str, Any]:
    """Tell what a piece is."""
    from arietta.vectors.classification import SHIPPED

    found = tools.model(model or SHIPPED).classify(tools.read(file))
    return {
        "labels": [
            {"label": label, "probability": round(share, 5)}
            for label, share in found.shares.items()
        ]
    }


def embed(tools: Tools, file: Upload, model: str | None) -> dict[str, Any]:
    """Return the vector of a piece."""
    from arietta.vectors.embedding import default_model

    name = model or str(default_model())
    found = tools.model(name)
    return {"model": found.name, "vector": found.embed(tools.read(file)).tolist()}


def search(tools: Tools, where: str, file: Upload, by: str, top: int) -> list[dict[str, Any]]:
    """Find what is like a file."""
    import tempfile

    from arietta.api.indexes import piece_id, title_of
    from arietta.api.vectors import search as run

    piece = tools.read(file)
    with tempfile.TemporaryDirectory() as folder:
        query = Path(folder) / "query.mid"
        query.write_bytes(piece.to_bytes())
        found = run(query, where, count=top, by="notes" if by == "notes" else None)
    return [
        {
            "id": piece_id(hit.sha256),
            "title": title_of(hit.metadata, hit.path),
            "score": round(hit.score, 5),
            "at_seconds": 0.0 if hit.match is None else round(hit.match.start_ms / 1000, 3),
            "semitones": hit.semitones,
        }
        for hit in found.hits
    ]


def search_text(tools: Tools, where: str, text: str, top: int) -> list[dict[str, Any]]:
    """Find pieces by words of their titles."""
    from arietta.api.indexes import titles_with

    return [
        {"id": one.id, "title": one.title, "score": 1.0, "at_seconds": 0.0, "semitones": 0}
        for one in titles_with(where, text, top)
    ]


def index_map(tools: Tools, where: str) -> list[dict[str, Any]]:
    """Lay an index out on a plane."""
    from arietta.api.indexes import map_of

    return map_of(where)


def index_count(tools: Tools, where: str) -> int:
    """Count the pieces of an index."""
    from arietta.api.indexes import pieces_of

    return len(pieces_of(where))


def index_piece(tools: Tools, where: str, id: str) -> bytes:
    """Return a piece of an index as a MIDI file."""
    from arietta.api.indexes import piece_bytes

    try:
        return piece_bytes(where, id)
    except KeyError:
        raise Problem(
            "no-such-piece", 404, "There is no such piece", "the index has none", "Ask for another."
        ) from None


def postcard(
    tools: Tools,
    file: Upload,
    title: str,
    text: str,
    seed: int | None,
    from_seconds: float | None,
) -> bytes:
    """Make a page with roll and sound."""
    from arietta.api.postcard import postcard as run

    return run(tools.read(file), title=title, text=text, seed=seed, new_from_seconds=from_seconds)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


TASKS: Mapping[str, Callable[..., Any]] = {
    "read": read,
    "piece": piece,
    "synth": synth,
    "render": render,
    "fill": fill,
    "score": score,
    "classify": classify,
    "embed": embed,
    "search": search,
    "search_text": search_text,
    "index_map": index_map,
    "index_count": index_count,
    "index_piece": index_piece,
    "postcard": postcard,
}
