"""Checkpoints of any architecture: the one loader above the three."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from arietta.checkpoints.registry import find, locate, models_dir
from arietta.checkpoints.tensors import StoredType, stored_type
from arietta.errors import CheckpointError, OutputError
from arietta.models.aria import checkpoint as aria_checkpoint
from arietta.models.aria.checkpoint import LoadedCheckpoint
from arietta.models.aria.public_file import write_public
from arietta.models.performer import checkpoint as performer_checkpoint
from arietta.models.performer.checkpoint import LoadedPerformer
from arietta.models.pianist import checkpoint as pianist_checkpoint
from arietta.models.pianist.checkpoint import LoadedPianist


def describe(name_or_path: str | PathLike[str], *, offline: bool = True) -> dict[str, Any]:
    """Return what ``arietta models info`` shows about one checkpoint, as JSON values.

    Raises:
        CheckpointError: it is unknown, not on this machine, or damaged.
    """
    found = load_any(name_or_path, offline=offline)
    entry = find(str(name_or_path))
    licence = found.info.get("licence") or (entry.licence if entry else "not stated")
    return {
        "name": found.name,
        "kind": found.kind,
        "tokenizer": found.tokenizer,
        "parameters": found.config.parameter_count(),
        "stored": found.tensors.stored_type(),
        "megabytes": round(found.path.stat().st_size / 1e6, 1),
        "licence": licence,
        "sha256": found.sha256,
        "path": str(found.path),
        "model": found.config.to_dict(),
        **{k: v for k, v in found.info.items() if k not in {"licence", "sha256", "stored"}},
    }


def convert(
    source: str | PathLike[str],
    destination: str | PathLike[str] | None = None,
    *,
    to: str = "arietta",
    stored: str | None = None,
    name: str | None = None,
    force: bool = False,
    offline: bool = True,
) -> Path:
    """Convert a checkpoint to our folder form or to the public single-file form.

    Args:
        source: a name or path, as for ``aria_checkpoint.load``.
        destination: a folder (ours) or a ``.safetensors`` file (public); by default a folder of
            ``name`` where ``load`` finds it by that name.
        to: ``arietta`` or ``public``.
        stored: ``float32``, ``bfloat16``, ``float16`` or ``int8``; as in the source by default.
        name: what the converted checkpoint is called.
        force: replace what is there.
        offline: never ask the hub for the source.

    Returns:
        What was written.

    Raises:
        CheckpointError: the source is unusable or cannot have that form.
        OutputError: the destination exists or cannot be written.
    """
    found = load_any(source, offline=offline)
    how = found.tensors.stored_type() if stored is None else stored_type(stored)
    called = name or Path(source).stem
    if to == "public":
        if destination is None:
            raise OutputError("converting to the public form needs a file name to write")
        target = Path(destination)
        if target.suffix != ".safetensors":
            target = target / "model.safetensors"
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(
                    f"{target.parent}: cannot be created ({error.strerror})"
                ) from None
        plain: StoredType = "float32" if how == "int8" else how
        if isinstance(found, LoadedPerformer):
            raise CheckpointError(f"{found.name}: its architecture is ours; it has no public form")
        if isinstance(found, LoadedPianist):
            pianist_checkpoint.write_public(
                target, found.config, found.tensors, stored=plain, overwrite=force
            )
        else:
            write_public(target, found.config, found.tensors, stored=plain, overwrite=force)
        return target
    if to != "arietta":
        raise CheckpointError(f"checkpoints are converted to 'arietta' or 'public', not {to!r}")
    folder = Path(destination) if destination is not None else models_dir() / called
    options: dict[str, Any] = {
        "name": called,
        "version": str(found.info.get("version", "1")),
        "stored": how,
        "card": found.card,
        "info": {k: v for k, v in found.info.items() if k not in _SAVED},
        "overwrite": force,
    }
    if isinstance(found, LoadedPianist):
        return pianist_checkpoint.save(folder, found.config, found.tensors, **options)
    if isinstance(found, LoadedPerformer):
        return performer_checkpoint.save(
            folder, found.config, found.tensors, found.levels, **options
        )
    return aria_checkpoint.save(
        folder, found.config, found.tensors, tokenizer=found.tokenizer, **options
    )


def renders(name_or_path: str | PathLike[str], *, offline: bool = False) -> bool:
    """Whether a checkpoint is a rendering model.

    Raises:
        CheckpointError: there is no such checkpoint.
    """
    path, _ = locate(name_or_path, offline=offline)
    return performer_checkpoint.is_performer(path) or pianist_checkpoint.is_pianist(path)


def load_any(
    name_or_path: str | PathLike[str], *, offline: bool
) -> LoadedCheckpoint | LoadedPianist | LoadedPerformer:
    """Return a checkpoint of whichever architecture.

    Raises:
        CheckpointError: there is no such checkpoint, or it is damaged.
    """
    path, _ = locate(name_or_path, offline=offline)
    if performer_checkpoint.is_performer(path):
        return performer_checkpoint.load_folder(path)
    if pianist_checkpoint.is_pianist(path):
        return pianist_checkpoint.load(name_or_path, offline=offline)
    return aria_checkpoint.load(name_or_path, offline=offline)


_SAVED = {"version", "sha256", "stored", "parameters"}
"""Values that ``aria_checkpoint.save`` writes itself."""
