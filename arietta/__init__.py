"""Piano MIDI models on a plain CPU: continue a performance, hear it, train your own.

    import arietta
    piece = arietta.read("a.mid")
    model = arietta.load("small")
    model.generate(piece, seconds=30, seed=0).save("b.mid")

Names are resolved on first use, so that importing the package loads nothing heavy.
"""

from __future__ import annotations

from importlib import import_module

from arietta import display as _display
from arietta._version import __version__

TYPE_CHECKING = False  # typing would take a tenth of the time that an import of this file takes
if TYPE_CHECKING:
    from typing import Any

    from arietta.api import Model, Renderer, load, load_renderer
    from arietta.checkpoints.registry import listing as list_models
    from arietta.errors import AriettaError
    from arietta.generation.continuation import Continuation
    from arietta.generation.settings import SamplingSettings
    from arietta.midi.piece import Piece
    from arietta.midi.reader import read


_PLACES = {
    "AriettaError": ("arietta.errors", "AriettaError"),
    "Continuation": ("arietta.generation.continuation", "Continuation"),
    "Model": ("arietta.api.models", "Model"),
    "Piece": ("arietta.midi.piece", "Piece"),
    "Renderer": ("arietta.api.renderers", "Renderer"),
    "SamplingSettings": ("arietta.generation.settings", "SamplingSettings"),
    "list_models": ("arietta.checkpoints.registry", "listing"),
    "load": ("arietta.api.models", "load"),
    "load_renderer": ("arietta.api.renderers", "load_renderer"),
    "read": ("arietta.midi.reader", "read"),
}

__all__ = [
    "AriettaError",
    "Continuation",
    "Model",
    "Piece",
    "Renderer",
    "SamplingSettings",
    "__version__",
    "list_models",
    "load",
    "load_renderer",
    "read",
]


def _mp3(piece: Piece, start_ms: float, seconds: float) -> bytes:
    """Sound what a notebook shows; the sampler is loaded when the first piece is shown."""
    from arietta.sound.excerpts import mp3_excerpt

    return mp3_excerpt(piece, start_ms, seconds)


_display.sound_maker = _mp3


def __getattr__(name: str) -> Any:
    try:
        module, attribute = _PLACES[name]
    except KeyError:
        raise AttributeError(f"module 'arietta' has no attribute {name!r}") from None
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
