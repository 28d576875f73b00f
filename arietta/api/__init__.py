"""The use cases: one function each, with a frozen result, for commands, servers and notebooks.

Names are resolved on first use, so that importing the package loads nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arietta.api import data, evaluate, listening
    from arietta.api.classification import ClassifyResult, classify
    from arietta.api.data import PairsResult
    from arietta.api.duet import DuetResult, duet, duet_ports, tap_latency
    from arietta.api.filling import FillResult, fill
    from arietta.api.generation import GenerateResult, generate
    from arietta.api.models import CONDITIONED_MODEL, DEFAULT_MODEL, Model, load
    from arietta.api.renderers import DEFAULT_RENDERER, Renderer, load_renderer
    from arietta.api.rendering import RenderResult, render
    from arietta.api.scoring import ScoreResult, score
    from arietta.api.synthesis import SynthResult, synth
    from arietta.api.tokens import TokenizeResult, tokenize
    from arietta.api.training import TrainResult, train
    from arietta.api.transcription import TranscribeResult, transcribe
    from arietta.api.vectors import (
        EmbedResult,
        IndexResult,
        MapResult,
        SearchResult,
        draw_map,
        embed,
        index,
        search,
    )
    from arietta.generation.settings import DEFAULT_GUIDANCE, GenerateOptions

_PLACES = {
    "CONDITIONED_MODEL": "api.models",
    "ClassifyResult": "api.classification",
    "DEFAULT_GUIDANCE": "generation.settings",
    "DEFAULT_MODEL": "api.models",
    "DEFAULT_RENDERER": "api.renderers",
    "DuetResult": "api.duet",
    "EmbedResult": "api.vectors",
    "FillResult": "api.filling",
    "GenerateOptions": "generation.settings",
    "GenerateResult": "api.generation",
    "IndexResult": "api.vectors",
    "MapResult": "api.vectors",
    "Model": "api.models",
    "PairsResult": "api.data",
    "RenderResult": "api.rendering",
    "Renderer": "api.renderers",
    "ScoreResult": "api.scoring",
    "SearchResult": "api.vectors",
    "SynthResult": "api.synthesis",
    "TokenizeResult": "api.tokens",
    "TrainResult": "api.training",
    "TranscribeResult": "api.transcription",
    "classify": "api.classification",
    "draw_map": "api.vectors",
    "duet": "api.duet",
    "duet_ports": "api.duet",
    "embed": "api.vectors",
    "fill": "api.filling",
    "generate": "api.generation",
    "index": "api.vectors",
    "load": "api.models",
    "load_renderer": "api.renderers",
    "render": "api.rendering",
    "score": "api.scoring",
    "search": "api.vectors",
    "synth": "api.synthesis",
    "tap_latency": "api.duet",
    "tokenize": "api.tokens",
    "train": "api.training",
    "transcribe": "api.transcription",
}
_MODULES = ("data", "evaluate", "listening")

__all__ = [
    "CONDITIONED_MODEL",
    "DEFAULT_GUIDANCE",
    "DEFAULT_MODEL",
    "DEFAULT_RENDERER",
    "ClassifyResult",
    "DuetResult",
    "EmbedResult",
    "FillResult",
    "GenerateOptions",
    "GenerateResult",
    "IndexResult",
    "MapResult",
    "Model",
    "PairsResult",
    "RenderResult",
    "Renderer",
    "ScoreResult",
    "SearchResult",
    "SynthResult",
    "TokenizeResult",
    "TrainResult",
    "TranscribeResult",
    "classify",
    "data",
    "draw_map",
    "duet",
    "duet_ports",
    "embed",
    "evaluate",
    "fill",
    "generate",
    "index",
    "listening",
    "load",
    "load_renderer",
    "render",
    "score",
    "search",
    "synth",
    "tap_latency",
    "tokenize",
    "train",
    "transcribe",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"arietta.api.{name}")
    try:
        place = _PLACES[name]
    except KeyError:
        raise AttributeError(f"module 'arietta.api' has no attribute {name!r}") from None
    value = getattr(import_module(f"arietta.{place}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
