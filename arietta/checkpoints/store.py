"""Find, verify, load and save checkpoints.

Our form is a folder of three files: ``model.safetensors``, ``config.json`` and ``README.md`` (the
model card). A public single-file checkpoint is loaded in place, without being converted first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

from arietta.checkpoints.tensors import (
    CheckpointTensors,
    Float32Array,
    StoredType,
    TensorFile,
    write_bytes,
    write_tensors,
)
from arietta.errors import CheckpointError, OutputError, UsageError
from arietta.models.aria import public_file as convert
from arietta.models.aria.config import AriaConfig
from arietta.paths import cache_dir
from arietta.tokenizers.vocabulary import vocabulary

FORMAT = "arietta-1"
WEIGHTS = "model.safetensors"
CONFIG = "config.json"
CARD = "README.md"


class OnDisk:
    """What checkpoints of every architecture know of themselves.

    Attributes:
        name: how it was asked for, or what its folder calls it.
        path: the file that holds the tensors.
        kind: what it is for.
    """

    name: str
    path: Path
    kind: str

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the tensor file, remembered on disk for as long as the file is unchanged."""
        return file_sha256(self.path)

    @property
    def card(self) -> str | None:
        """Text of the model card, or None."""
        path = self.path.with_name(CARD)
        return path.read_text(encoding="utf-8") if path.is_file() else None

    def require(self, *kinds: str) -> None:
        """Refuse a checkpoint that cannot do what is asked.

        Raises:
            CheckpointError: its kind is none of ``kinds``.
        """
        if self.kind not in kinds:
            raise CheckpointError(
                f"{self.name} is a checkpoint of kind {self.kind}; this needs {' or '.join(kinds)}"
            )


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
    """Load a folder in our form, or a public repository snapshot, told by its ``config.json``.

    Raises:
        CheckpointError: a file is missing, damaged, or does not fit the others.
    """
    values = _read_values(folder)
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


def _read_values(folder: Path) -> dict[str, Any]:
    """The table in a folder's ``config.json``."""
    place = folder / CONFIG
    if not place.is_file():
        raise CheckpointError(f"{folder}: no checkpoint here: it has no {CONFIG}")
    try:
        values = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise CheckpointError(f"{place}: damaged: not readable as JSON") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{place}: damaged: not a JSON table")
    return values


def read_config(folder: Path, architecture: str) -> dict[str, Any]:
    """What the ``config.json`` of a folder in our form says; ``model`` in it is a table.

    Raises:
        CheckpointError: it is missing, damaged, of another format or of another architecture.
    """
    place = folder / CONFIG
    values = _read_values(folder)
    if values.get("format") != FORMAT:
        raise CheckpointError(
            f"{place}: of format {values.get('format')!r}; this version of arietta reads {FORMAT}"
        )
    if values.get("architecture") != architecture:
        article = "an" if architecture[0] in "aeiou" else "a"
        raise CheckpointError(
            f"{place}: of architecture {values.get('architecture')!r};"
            f" {article} {architecture} model is needed"
        )
    if not isinstance(values.get("model"), dict):
        raise CheckpointError(f"{place}: damaged: it has no table 'model'")
    return values


def check_hash(path: Path, found: str, expected: str, promise: str = "was published") -> None:
    """Refuse a tensor file whose content is not what was promised.

    Raises:
        CheckpointError: the hashes differ.
    """
    if found != expected:
        raise CheckpointError(
            f"{path}: damaged: its content is not what {promise} (sha256 {found[:12]}…,"
            f" expected {expected[:12]}…); fetch it again"
        )


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


def write_folder(
    folder: str | PathLike[str],
    tensors: Mapping[str, Float32Array],
    values: Mapping[str, Any],
    *,
    stored: StoredType,
    card: str | None,
    overwrite: bool,
) -> Path:
    """Write tensors, a ``config.json`` of ``values`` and a card; the folder.

    Raises:
        OutputError: something exists or cannot be written.
    """
    place = Path(folder)
    if not overwrite:
        for file in (WEIGHTS, CONFIG):
            if (place / file).exists():
                raise OutputError(f"{place / file} exists already; choose another folder")
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{place}: cannot be created ({error.strerror})") from None
    write_tensors(place / WEIGHTS, tensors, stored=stored, overwrite=overwrite)
    whole = {"format": FORMAT, **values, "sha256": file_sha256(place / WEIGHTS)}
    text = json.dumps(whole, indent=2, ensure_ascii=False) + "\n"
    write_bytes(place / CONFIG, text.encode())
    if card is not None:
        write_bytes(place / CARD, card.encode())
    return place


def file_sha256(path: Path) -> str:
    """SHA-256 of a file; a big one's is remembered by size and time of change.

    Raises:
        CheckpointError: the file cannot be read.
    """
    try:
        state = path.stat()
        # Hashing 2.6 GB takes seconds, looking it up does not; small files are always hashed.
        if state.st_size < 64 << 20:
            return hashlib.sha256(path.read_bytes()).hexdigest()
        key = f"{path.resolve()}|{state.st_size}|{state.st_mtime_ns}"
        known = _read_hashes()
        if key not in known:
            with path.open("rb") as file:
                known[key] = hashlib.file_digest(file, "sha256").hexdigest()
            _write_hashes(known)
        return known[key]
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None


def _read_hashes() -> dict[str, str]:
    try:
        values = json.loads((cache_dir() / "sha256.json").read_text(encoding="utf-8"))
        return {str(k): str(v) for k, v in values.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _write_hashes(known: dict[str, str]) -> None:
    # A cache that cannot be written costs time, not correctness.
    try:
        cache_dir().mkdir(parents=True, exist_ok=True)
        text = json.dumps(known)
        write_bytes(cache_dir() / "sha256.json", text.encode())
    except (OSError, OutputError):
        return
