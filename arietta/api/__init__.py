"""The use cases: one function each, with a frozen result, for commands, servers and notebooks.

Names are resolved on first use, so that importing the package loads nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arietta.api.filling import FillResult, fill
    from arietta.api.generation import GenerateResult, generate
    from arietta.api.models import CONDITIONED_MODEL, DEFAULT_MODEL, Model, load
    from arietta.api.renderers import DEFAULT_RENDERER, Renderer, load_renderer
    from arietta.generation.settings import DEFAULT_GUIDANCE, GenerateOptions

_PLACES = {
    "CONDITIONED_MODEL": "api.models",
    "DEFAULT_GUIDANCE": "generation.settings",
    "DEFAULT_MODEL": "api.models",
    "DEFAULT_RENDERER": "api.renderers",
    "FillResult": "api.filling",
    "GenerateOptions": "generation.settings",
    "GenerateResult": "api.generation",
    "Model": "api.models",
    "Renderer": "api.renderers",
    "fill": "api.filling",
    "generate": "api.generation",
    "load": "api.models",
    "load_renderer": "api.renderers",
}

__all__ = [
    "CONDITIONED_MODEL",
    "DEFAULT_GUIDANCE",
    "DEFAULT_MODEL",
    "DEFAULT_RENDERER",
    "FillResult",
    "GenerateOptions",
    "GenerateResult",
    "Model",
    "Renderer",
    "fill",
    "generate",
    "load",
    "load_renderer",
]


def __getattr__(name: str) -> Any:
    try:
        place = _PLACES[name]
    except KeyError:
        raise AttributeError(f"module 'arietta.api' has no attribute {name!r}") from None
    value = getattr(import_module(f"arietta.{place}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
