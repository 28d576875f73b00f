"""Find the task that a recipe names."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from arietta.training.config import Recipe
from arietta.training.tasks.decoder import Task


def task_of(recipe: Recipe, data: Path) -> Task:
    """Build the task that a recipe names.

    Raises:
        InputError: ``data`` is not of the form that the task needs.
        UsageError: the recipe does not fit the task.
    """
    module, name = _TASKS[recipe.task]
    kind: Callable[[Recipe, Path], Task] = getattr(
        import_module(f"arietta.training.tasks.{module}"), name
    )
    return kind(recipe, data)


# Modules are imported when they are needed.
_TASKS = {
    "next-token": ("decoder", "DecoderTask"),
    "contrastive": ("contrastive", "ContrastiveTask"),
    "classify": ("classify", "ClassifyTask"),
    "perform": ("performer", "PerformerTask"),
    "conditioned": ("conditioned", "ConditionedTask"),
    "denoise": ("pianist", "DenoiseTask"),
    "play": ("pianist", "PlayTask"),
}
