"""Weights of a run -> a model folder that everything else loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from arietta.models.aria.checkpoint import save
from arietta.models.aria.config import AriaConfig
from arietta.training.config import Recipe


def export_model(
    folder: Path,
    config: AriaConfig,
    state: dict[str, Tensor],
    recipe: Recipe,
    info: dict[str, Any],
) -> Path:
    """Write weights as a model folder in float32; what is there is replaced, a card is kept.

    Args:
        folder: where to.
        config: architecture.
        state: name -> weights under the public names.
        recipe: of the run.
        info: more values for its ``config.json``.
    """
    return save(
        folder,
        config,
        {name: value.detach().float().cpu().numpy() for name, value in state.items()},
        name=recipe.name,
        tokenizer=recipe.tokenizer,
        info=info,
        overwrite=True,
    )
