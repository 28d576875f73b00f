"""The task that a recipe names."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from arietta.training.config import Recipe
from arietta.training.tasks.decoder import Task


def task_of(recipe: Recipe, data: Path) -> Task:
    """The task that a recipe names, on what it is to learn from.

    Raises:
        InputError: ``data`` is not what the task learns from.
        UsageError: the recipe does not fit it.
    """
    module, name = _TASKS[recipe.task]
    kind: Callable[[Recipe, Path], Task] = getattr(
        import_module(f"arietta.training.tasks.{module}"), name
    )
    return kind(recipe, data)


# Modules are opened when they are needed.
_TASKS = {
    "next-token": ("decoder", "DecoderTask"),
    "contrastive": ("contrastive", "ContrastiveTask"),
    "classify": ("classify", "ClassifyTask"),
    "perform": ("performer", "PerformerTask"),
    "conditioned": ("conditioned", "ConditionedTask"),
    "denoise": ("pianist", "DenoiseTask"),
    "play": ("pianist", "PlayTask"),
}
