"""Checkpoints of the small rendering model: the folder of ``store`` with another architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from arietta.arrays import Float32Array, FloatArray
from arietta.checkpoints import store
from arietta.checkpoints.tensors import CheckpointTensors, StoredType, TensorFile, check_shapes
from arietta.errors import CheckpointError
from arietta.models.performer.config import PerformerConfig, member_prefix

ARCHITECTURE = "performer"
KIND = "renderer"


@dataclass(frozen=True, eq=False)
class LoadedPerformer(store.OnDisk):
    """A rendering model whose tensors are checked by name and shape.

    Attributes:
        name: what its folder calls it.
        path: the file that holds the tensors.
        config: architecture settings.
        tensors: name -> float32 array, lazy.
        levels: float64, the table of ``notation.features.levels``: mean and standard deviation
            of velocity, of log ms per quarter, and of log articulation of a score.
        info: everything else its ``config.json`` says.
    """

    name: str
    path: Path
    config: PerformerConfig
    tensors: CheckpointTensors
    levels: FloatArray
    info: Mapping[str, Any]
    kind = KIND
    tokenizer = "none"


def is_performer(path: Path) -> bool:
    """Whether a folder holds this architecture; nothing else is verified."""
    try:
        store.read_config(path, ARCHITECTURE)
    except CheckpointError:
        return False
    return True


def load_folder(folder: Path) -> LoadedPerformer:
    """Load a folder.

    Raises:
        CheckpointError: a file is missing, damaged, or does not fit the others.
    """
    values = store.read_config(folder, ARCHITECTURE)
    config = PerformerConfig.from_dict(values["model"])
    weights = folder / store.WEIGHTS
    tensors = CheckpointTensors(TensorFile(weights))
    check_shapes(config.tensor_shapes(), {n: tensors.shape(n) for n in tensors}, source=weights)
    try:
        levels = np.array(values["levels"], np.float64)
    except (KeyError, ValueError, TypeError):
        levels = np.zeros(0)
    if levels.ndim != 2 or levels.shape[1] != 6 or not np.isfinite(levels).all():
        raise CheckpointError(f"{folder / store.CONFIG}: damaged: it has no table 'levels'")
    known = {"format", "architecture", "model", "name", "levels"}
    found = LoadedPerformer(
        str(values.get("name", folder.name)),
        weights,
        config,
        tensors,
        levels,
        {k: v for k, v in values.items() if k not in known},
    )
    if values.get("sha256") is not None:
        promise = f"{store.CONFIG} was written for"
        store.check_hash(weights, found.sha256, str(values["sha256"]), promise)
    return found


def join(
    folders: Sequence[Path], folder: Path, *, name: str, stored: StoredType = "float32"
) -> Path:
    """Write a model of several that answers with the mean of their answers.

    Args:
        folders: of models of one size.
        folder: created when it is missing.
        name: what it is called in provenance.
        stored: how matrices are stored.

    Raises:
        CheckpointError: a model cannot be loaded, or they are not of one size.
        OutputError: something exists or cannot be written.
    """
    models = [load_folder(place) for place in folders]
    alone = {replace(model.config, members=1) for model in models}
    if len(alone) != 1:
        raise CheckpointError(f"{name}: models that answer together are of one size")
    names = list(alone.pop().tensor_shapes())
    tensors: dict[str, Float32Array] = {}
    member = 0
    for model in models:
        for own in range(model.config.members):
            for tensor in names:
                tensors[member_prefix(member) + tensor] = model.tensors[member_prefix(own) + tensor]
            member += 1
    if len({model.levels.shape for model in models}) != 1:
        raise CheckpointError(f"{name}: models that answer together describe a score alike")
    levels = np.mean([model.levels for model in models], axis=0)
    config = replace(models[0].config, members=member)
    return save(folder, config, tensors, levels, name=name, stored=stored)


def save(
    folder: str | PathLike[str],
    config: PerformerConfig,
    tensors: Mapping[str, Float32Array],
    levels: FloatArray,
    *,
    name: str,
    version: str = "1",
    stored: StoredType = "float32",
    card: str | None = None,
    info: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a folder; arguments as for ``aria_checkpoint.save``.

    Raises:
        CheckpointError: the tensors do not fit the settings.
        OutputError: something exists or cannot be written.
    """
    check_shapes(config.tensor_shapes(), {n: tensors[n].shape for n in tensors}, source=name)
    values = {
        "architecture": ARCHITECTURE,
        "name": name,
        "version": version,
        "model": config.to_dict(),
        "levels": np.round(levels, 6).tolist(),
        "stored": stored,
        "parameters": config.parameter_count(),
        **(info or {}),
    }
    return store.write_folder(
        folder, tensors, values, stored=stored, card=card, overwrite=overwrite
    )
