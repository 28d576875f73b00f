"""Export the weights of a run as a model folder."""

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
    """Write weights as a model folder in float32; replace an old model, keep its model card.

    Args:
        folder: target folder.
        config: architecture of the model.
        state: name -> weights under the public names.
        recipe: recipe of the run.
        info: additional values for its ``config.json``.
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
