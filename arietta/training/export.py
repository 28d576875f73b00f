"""A run -> a loadable model folder: ``python -m arietta.training.export RUN -o FOLDER``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from arietta.checkpoints.store import save
from arietta.errors import InputError
from arietta.models.config import AriaConfig

LICENCE = "CC-BY-NC-SA-4.0"


def export(run: Path, folder: Path, version: str) -> Path:
    """Write the latest state of a run as a model folder, matrices in bfloat16.

    Args:
        run: folder of ``arietta.training.pretrain``.
        folder: where to; weights and settings there are replaced, its model card is kept.
        version: of the checkpoint.

    Raises:
        InputError: the run has no saved state.
    """
    state_path, recipe_path = run / "state.pt", run / "recipe.json"
    if not state_path.is_file() or not recipe_path.is_file():
        raise InputError(f"{run}: no training run here; it needs state.pt and recipe.json")
    recipe = json.loads(recipe_path.read_text("utf8"))
    state = torch.load(state_path, map_location="cpu", weights_only=True)
    return save(
        folder,
        AriaConfig.from_dict(recipe["model"]),
        {name: value.float().numpy() for name, value in state["model"].items()},
        name=recipe["name"],
        version=version,
        stored="bfloat16",
        info={"licence": LICENCE, "trained_tokens": state["seen"]},
        overwrite=True,
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--version", default="1")
    arguments = parser.parse_args()
    sys.stderr.write(f"{export(arguments.run, arguments.out, arguments.version)}\n")


if __name__ == "__main__":
    main()
