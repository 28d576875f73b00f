"""Checkpoints of the Aria decoder: a folder in our form, or a public single file in place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from arietta.arrays import Float32Array
from arietta.checkpoints.store import (
    CONFIG,
    WEIGHTS,
    OnDisk,
    check_hash,
    read_config,
    read_values,
    write_folder,
)
from arietta.checkpoints.tensors import CheckpointTensors, StoredType, TensorFile
from arietta.errors import CheckpointError, UsageError
from arietta.models.aria import public_file as convert
from arietta.models.aria.config import AriaConfig
from arietta.tokenizers.vocabulary import vocabulary


@dataclass(frozen=True, eq=False)
class LoadedCheckpoint(OnDisk):
    """A checkpoint whose tensors are checked by name and shape and read when asked for.

    Attributes:
        name: how it was asked for, or what its folder calls it.
        path: the file that holds the tensors.
        config: architecture settings.
        tokenizer: name of the ``AriaTokenizer`` vocabulary.
        kind: ``lm``, ``conditioned``, ``embedding`` or ``classifier``.
        tensors: name -> float32 array, lazy.
        info: everything else the folder's ``config.json`` says (version, licence, figures).
    """

    name: str
    path: Path
    config: AriaConfig
    tokenizer: str
    kind: str
    tensors: CheckpointTensors
    info: Mapping[str, Any] = field(default_factory=dict)


def load(name_or_path: str | PathLike[str], *, offline: bool = False) -> LoadedCheckpoint:
    """Load a checkpoint by name or path.

    Args:
        name_or_path: a registered name (``small``), a hub id (``loubb/aria-medium-base``), a
            folder in our form, or a public ``.safetensors`` file.
        offline: never ask the hub.

    Raises:
        CheckpointError: there is no such checkpoint, or it is damaged or of another architecture.
    """
    from arietta.checkpoints import registry

    path, expected = registry.locate(name_or_path, offline=offline)
    if path.is_dir() and not (path / CONFIG).is_file() and (path / WEIGHTS).is_file():
        path = path / WEIGHTS
    found = load_folder(path) if path.is_dir() else load_file(path, name=str(name_or_path))
    if expected is not None:
        check_hash(found.path, found.sha256, expected)
    return found


def load_file(
    path: Path, *, name: str | None = None, hints: Mapping[str, Any] | None = None
) -> LoadedCheckpoint:
    """Load a public single-file checkpoint in place; see ``convert.open_public``."""
    config, tokenizer, tensors = convert.open_public(path, hints=hints)
    return LoadedCheckpoint(
        name or path.stem, path, config, tokenizer, convert.kind_of(config), tensors
    )


def load_folder(folder: Path) -> LoadedCheckpoint:
    """Load a folder in our form, or a public snapshot, recognised by its ``config.json``.

    Raises:
        CheckpointError: a file is missing, damaged, or does not fit the others.
    """
    values = read_values(folder)
    if "format" not in values:
        return load_file(folder / WEIGHTS, name=folder.name)
    values = read_config(folder, "aria")
    place, weights = folder / CONFIG, folder / WEIGHTS
    config = AriaConfig.from_dict(values["model"])
    tensors = CheckpointTensors(TensorFile(weights))
    shapes = {name: tensors.shape(name) for name in tensors}
    convert.check_tensors(config, shapes, source=weights)
    tokenizer = values.get("tokenizer") or convert.tokenizer_for(config.vocab_size, source=weights)
    _check_vocabulary(str(tokenizer), config, source=place)
    known = {"format", "architecture", "model", "tokenizer", "name"}
    found = LoadedCheckpoint(
        str(values.get("name", folder.name)),
        weights,
        config,
        str(tokenizer),
        convert.kind_of(config),
        tensors,
        {k: v for k, v in values.items() if k not in known},
    )
    if values.get("sha256") is not None:
        check_hash(weights, found.sha256, str(values["sha256"]), f"{CONFIG} was written for")
    return found


def _check_vocabulary(name: str, config: AriaConfig, *, source: object) -> None:
    try:
        size = vocabulary(name).size
    except UsageError as error:
        raise CheckpointError(f"{source}: {error}") from None
    if size != config.vocab_size:
        raise CheckpointError(
            f"{source}: tokenizer {name!r} has {size} ids and does not fit a model of"
            f" {config.vocab_size}"
        )


def save(
    folder: str | PathLike[str],
    config: AriaConfig,
    tensors: Mapping[str, Float32Array],
    *,
    name: str,
    tokenizer: str | None = None,
    version: str = "1",
    stored: StoredType = "float32",
    card: str | None = None,
    info: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a folder in our form.

    Args:
        folder: created when it is missing.
        config: architecture settings.
        tensors: name -> array of exactly the tensors that ``config`` asks for.
        name: what it is called in provenance.
        tokenizer: its vocabulary; told by the number of ids when None.
        version: of the checkpoint.
        stored: how matrices are stored.
        card: text of the model card.
        info: more values for ``config.json`` (licence, figures); JSON values.
        overwrite: whether files that are there are replaced.

    Returns:
        The folder.

    Raises:
        CheckpointError: the tensors do not fit the settings.
        OutputError: something exists or cannot be written.
    """
    lazy = tensors if isinstance(tensors, CheckpointTensors) else None
    shapes = {n: lazy.shape(n) if lazy is not None else tensors[n].shape for n in tensors}
    convert.check_tensors(config, shapes, source=name)
    tokenizer = tokenizer or convert.tokenizer_for(config.vocab_size, source=name)
    _check_vocabulary(tokenizer, config, source=name)
    values = {
        "architecture": "aria",
        "name": name,
        "version": version,
        "tokenizer": tokenizer,
        "model": config.to_dict(),
        "stored": stored,
        "parameters": config.parameter_count(),
        **(info or {}),
    }
    return write_folder(folder, tensors, values, stored=stored, card=card, overwrite=overwrite)
