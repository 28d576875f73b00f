"""Continuations for many listeners at once: the use case behind the server's ``generate``.

Values are those that travel: times in seconds from the start of the piece.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arietta.api.generation import check_request
from arietta.api.models import CONDITIONED_MODEL, DEFAULT_MODEL, Model, load
from arietta.errors import InputError
from arietta.paths import cache_dir

TRAINED = "mine-"
"""Beginning of the names of models that were trained through the server."""
MAX_LOADED = 4
"""Models that stay loaded to generate."""

if TYPE_CHECKING:
    from arietta.generation.continuation import ContinuationStream
    from arietta.generation.engine import StreamedNote
    from arietta.generation.loop import GenerationLoop, Listener, Ticket
    from arietta.midi.piece import Piece


def trained_dir() -> Path:
    """Return the folder of what was trained through the server."""
    return cache_dir() / "studio"


def served_models(own: str | None = None) -> dict[str, str]:
    """Return the models that clients may ask for by name -> what ``load`` takes.

    Those that lie on this machine: the server's own, what ships or was converted, and what was
    trained through the server. A client's name is only ever looked up here, so that it can name no
    path and no hub.
    """
    from arietta.checkpoints.registry import entries
    from arietta.rendering.render import RULES

    found = {own: own} if own else {}
    found |= {one.name: one.name for one in entries() if one.installed() is not None}
    found[RULES] = RULES
    for folder in sorted(trained_dir().glob("*/run/model")):
        if (folder / "config.json").is_file():
            found[f"{TRAINED}{folder.parent.parent.name}"] = str(folder)
    return found


def target_of(name: str, own: str | None = None) -> str:
    """Return what ``load`` takes for a client's name of a model.

    Raises:
        InputError: it is not served here.
    """
    known = served_models(own)
    if name not in known:
        raise InputError(f"the model {name!r} is not served here; there are {', '.join(known)}")
    return known[name]


def model_values(own: str | None = None) -> list[dict[str, Any]]:
    """Return name, kind, summary and licence of the models that are served."""
    from arietta.checkpoints.registry import entries

    known = {one.name: one for one in entries()}
    found: list[dict[str, Any]] = []
    for name in served_models(own):
        one = known.get(name)
        found.append(
            {
                "name": name,
                "kind": "lm" if one is None else one.kind,
                "summary": "" if one is None else one.summary,
                "licence": "" if one is None else one.licence,
                "default": name == (own or DEFAULT_MODEL),
            }
        )
    return found


class Service:
    """Models that stay loaded, and the loop that runs them.

    Args:
        model: name or path of the model that generates where none is named.
        threads: processor threads; all physical cores by default.
        max_rows: takes of all requests that are decided side by side.
        max_waiting: requests that may wait for room.
        max_cache_bytes: of memory for the past of all takes.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        threads: int | None = None,
        max_rows: int = 256,
        max_waiting: int = 64,
        max_cache_bytes: int = 4 * 2**30,
    ) -> None:
        from arietta.generation.loop import GenerationLoop

        self.default = model or DEFAULT_MODEL
        self._threads = threads
        self._models: dict[str, Model] = {}
        self._lock = threading.Lock()
        self.loop: GenerationLoop = GenerationLoop(max_rows, max_waiting, max_cache_bytes)

    def model(self, name: str | None = None) -> Model:
        """Return a model, loaded on first use; a few stay loaded.

        Raises:
            InputError: it is not served here.
            CheckpointError: it cannot be loaded, or does not generate.
        """
        name = name or self.default
        with self._lock:
            found = self._models.get(name)
            if found is None:
                found = load(target_of(name, self.default), threads=self._threads)
                found.engine  # noqa: B018  # refuses a model that does not generate
                if len(self._models) >= MAX_LOADED:
                    self._models.pop(next(one for one in self._models if one != self.default))
                self._models[name] = found
            return found

    def takes(self, name: str | None, variations: int, of: int | None) -> int:
        """Return how many takes a request will decide."""
        return max(variations, of if of is not None else self.model(name).default_takes)

    def reserve(self, rows: int, listener: Listener) -> Ticket:
        """Return a place in the loop.

        Raises:
            LoopBusy: too many wait.
        """
        return self.loop.reserve(rows, listener)

    def prepare(
        self, piece: Piece | None, like: Piece | None, model: str | None, options: Mapping[str, Any]
    ) -> ContinuationStream:
        """Return a stream that can be started; arguments as for ``api.generate``.

        Args:
            piece: the prompt.
            like: a piece to resemble.
            model: name of one of those that are served.
            options: of ``api.generate``; ``prompt_seconds`` counts from the start of the piece,
                and ``prompt_bars`` may stand in its place.

        Raises:
            InputError, UsageError: the request cannot be carried out.
        """
        given = {**options, **_prompt_of(piece, options)}
        given.pop("prompt_bars", None)
        if like is not None:
            given["like"] = like
        request, drawn, steering = check_request(piece, **given)
        if model is None and like is not None:
            model = CONDITIONED_MODEL
        found = self.model(model)
        return found.start(piece, request, drawn, steering, waits=True)

    def close(self) -> None:
        """End the loop."""
        self.loop.stop()


def _prompt_of(piece: Piece | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the length of the prompt in seconds from its first note, where one is asked for."""
    from arietta.midi.seam import lines_on

    seconds, bars = options.get("prompt_seconds"), options.get("prompt_bars")
    if piece is None or not len(piece) or (seconds is None and bars is None):
        return {}
    if seconds is None:
        assert bars is not None
        seconds = float(piece.tempo.ms_at(lines_on(piece, 0, bars))) / 1000
    first = float(piece.onset_ms.min()) / 1000
    if seconds <= first:
        raise InputError(f"the first note begins at {first:.2f} s; cut the prompt behind it")
    return {"prompt_seconds": seconds - first}


def start_values(stream: ContinuationStream) -> dict[str, Any]:
    """Return what is known when a stream starts."""
    return {
        "seed": stream.seed,
        "seam_seconds": round(stream.seam_ms / 1000, 4),
        "takes": stream.request.takes,
        "variations": stream.request.variations,
        "notices": list(stream.notices),
    }


def note_values(note: StreamedNote) -> dict[str, Any]:
    """Return a note as it is streamed."""
    return {
        "take": note.variation,
        "pitch": note.pitch,
        "velocity": note.velocity,
        "onset_seconds": round(note.onset_ms / 1000, 4),
        "duration_seconds": round(note.duration_ms / 1000, 4),
    }


def take_values(stream: ContinuationStream) -> list[dict[str, Any]]:
    """Return the best takes of a stream that is done, the best first.

    The first take, which a listener has heard while it was decided, is always among them.
    """
    from arietta.api.reading import notes_table, pedal_table
    from arietta.generation.takes import ranked

    verdicts = stream.verdicts()
    order = ranked(verdicts)
    kept = order[: stream.request.variations]
    if 0 not in kept:
        kept.append(0)
    found = []
    for take in kept:
        made = stream.result(take, verdicts[take])
        judged = verdicts[take].to_dict()
        found.append(
            {
                "take": take,
                "seed": stream.seed,
                "rank": order.index(take) + 1,
                "measures": judged,
                "seam_seconds": round(made.seam_ms / 1000, 4),
                "music_seconds": round(made.music_seconds, 3),
                "stopped": made.stats.reason,
                "notes": notes_table(made.piece, new_from_ms=made.seam_ms),
                "pedal": pedal_table(made.piece),
                "notices": list(made.notices),
                "midi": base64.b64encode(made.to_bytes()).decode("ascii"),
                "midi_new": base64.b64encode(made.to_bytes(only_new=True)).decode("ascii"),
            }
        )
    return found


def progress_values(stream: ContinuationStream) -> dict[str, Any]:
    """Return how far a stream is, in seconds of music of the take that is furthest behind."""
    done = stream.progress()
    return {
        "done": round(done.music_seconds, 2),
        "total": stream.seconds,
        "what": f"deciding {stream.request.takes} takes",
    }
