"""Find, verify, load and save checkpoints.

Our form is a folder of three files: ``model.safetensors``, ``config.json`` and ``README.md`` (the
model card). A public single-file checkpoint is loaded in place, without being converted first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

from arietta.arrays import Float32Array
from arietta.checkpoints.tensors import StoredType, write_bytes, write_tensors
from arietta.errors import CheckpointError, OutputError
from arietta.paths import cache_dir

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
            CheckpointError: its kind is not one of ``kinds``.
        """
        if self.kind not in kinds:
            raise CheckpointError(
                f"{self.name} is a checkpoint of kind {self.kind}; this needs {' or '.join(kinds)}"
            )


def read_values(folder: Path) -> dict[str, Any]:
    """Return the table in a folder's ``config.json``."""
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
    """Return what the ``config.json`` of a folder in our form says; ``model`` in it is a table.

    Raises:
        CheckpointError: it is missing, damaged, of another format or of another architecture.
    """
    place = folder / CONFIG
    values = read_values(folder)
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


def update_config(folder: Path, changes: Mapping[str, Any]) -> None:
    """Change values of a folder's ``config.json``; the tensors stay.

    Raises:
        CheckpointError: there is none, or it is damaged.
        OutputError: it cannot be written.
    """
    values = read_values(folder)
    text = json.dumps({**values, **changes}, indent=2, ensure_ascii=False) + "\n"
    write_bytes(folder / CONFIG, text.encode())


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
