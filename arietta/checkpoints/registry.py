"""The checkpoints Arietta knows by name, where they come from and under which terms."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from arietta.errors import CheckpointError
from arietta.paths import assets_dir, cache_dir

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class ModelEntry:
    """One checkpoint by name.

    Attributes:
        name: what ``load`` takes.
        summary: what it is for.
        kind: ``lm``, ``conditioned``, ``embedding``, ``classifier`` or ``renderer``.
        licence: terms of the weights.
        folder: where it lies when it ships with the package or was added by the user.
        repo, filename: where it lies on the Hugging Face hub.
        sha256: of the tensor file, where it is pinned.
        parameters: their number, where it is known without opening the file.
    """

    name: str
    summary: str
    kind: str
    licence: str
    folder: Path | None = None
    repo: str | None = None
    filename: str | None = None
    sha256: str | None = None
    parameters: int | None = None

    @property
    def source(self) -> str:
        """``shipped``, ``local`` or ``hub``."""
        if self.repo is not None:
            return "hub"
        return "shipped" if self.folder and assets_dir() in self.folder.parents else "local"

    def installed(self) -> Path | None:
        """Where it lies on this machine, or None."""
        if self.folder is not None:
            return self.folder if (self.folder / "config.json").is_file() else None
        assert self.repo is not None and self.filename is not None
        return _cached(self.repo, self.filename)


# The hub could not be reached where this was written: hashes of its files are not pinned.
_STATED = "Apache-2.0, as its authors state"
_HUB = (
    ModelEntry(
        "loubb/aria-medium-base",
        "pretrained decoder of the Aria paper, 17,727-token vocabulary",
        "lm",
        _STATED,
        repo="loubb/aria-medium-base",
        filename="model.safetensors",
        parameters=658_538_496,
    ),
    ModelEntry(
        "loubb/aria-medium-gen",
        "the same, finetuned for continuing piano performances",
        "lm",
        _STATED,
        repo="loubb/aria-medium-base",
        filename="model-gen.safetensors",
        parameters=658_538_496,
    ),
    ModelEntry(
        "loubb/aria-medium-demo",
        "the real-time demo's conditioned decoder; its vocabulary changed in 2026, both load",
        "conditioned",
        _STATED,
        repo="loubb/aria-medium-base",
        filename="model-demo.safetensors",
    ),
    ModelEntry(
        "loubb/aria-medium-embedding",
        "contrastive embeddings of whole pieces, 512 numbers",
        "embedding",
        _STATED,
        repo="loubb/aria-medium-embedding",
        filename="model.safetensors",
        parameters=632_096_256,
    ),
    ModelEntry(
        "yhj137/pianist-transformer-base",
        "Pianist Transformer, pretrained only: for finetuning, not for rendering",
        "renderer",
        _STATED,
        repo="yhj137/pianist-transformer-base",
        filename="model.safetensors",
        parameters=126_874_368,
    ),
    ModelEntry(
        "yhj137/pianist-transformer-rendering",
        "Pianist Transformer: plays scores with expression",
        "renderer",
        _STATED,
        repo="yhj137/pianist-transformer-rendering",
        filename="model.safetensors",
        parameters=126_874_368,
    ),
)

_SHIPPED = (
    (
        "small",
        "continues piano performances on a laptop; trained on the corpus named in its card",
        "lm",
    ),
    ("small-conditioned", "goes on towards an example: arietta generate --like", "conditioned"),
    ("small-embedding", "pieces as vectors: arietta search, map, embed", "embedding"),
    ("small-composers", "which of fourteen composers: arietta classify", "classifier"),
    ("performer", "plays scores with expression: arietta render", "renderer"),
)


def models_dir() -> Path:
    """Where checkpoints the user added by name lie."""
    return cache_dir() / "models"


def entries() -> list[ModelEntry]:
    """Every checkpoint known by name: shipped, added by the user, on the hub."""
    found = [
        _on_disk(assets_dir() / name, summary, kind, "see its model card")
        for name, summary, kind in _SHIPPED
    ]
    if models_dir().is_dir():
        found += [
            _on_disk(folder, "added on this machine", "", "not stated")
            for folder in sorted(models_dir().iterdir())
            if (folder / "config.json").is_file()
        ]
    return [*found, *_HUB]


def _on_disk(folder: Path, summary: str, kind: str, licence: str) -> ModelEntry:
    """Return the entry of a folder; a list must not fail over one that is bad."""
    import json

    try:
        values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        licence = str(values.get("licence", licence))
        parameters = int(values.get("parameters", 0)) or None
    except (OSError, ValueError, TypeError, AttributeError):
        parameters = None
    return ModelEntry(folder.name, summary, kind, licence, folder=folder, parameters=parameters)


def find(name: str) -> ModelEntry | None:
    """Return the entry of that name, or None."""
    return next((entry for entry in entries() if entry.name == name), None)


def locate(name_or_path: str | PathLike[str], *, offline: bool = False) -> tuple[Path, str | None]:
    """File or folder of a checkpoint, and its pinned sha256 where there is one.

    A path that exists wins over a name; of a run's folder the ``model`` folder in it is meant. What
    is not on this machine is fetched from the hub.

    Raises:
        CheckpointError: nothing of that name exists here or can be fetched.
    """
    text = str(name_or_path)
    entry = find(text)
    path = Path(name_or_path).expanduser()
    inner = path / "model"
    if not (path / "config.json").is_file() and (inner / "config.json").is_file():
        return inner, None
    # A folder that happens to be called "small" must not hide the shipped model.
    if path.exists() and (entry is None or path.is_file() or (path / "config.json").is_file()):
        return path, None
    if entry is not None:
        here = entry.installed()
        if here is not None:
            return here, entry.sha256
        if entry.repo is not None:
            return pull(entry.name, offline=offline), entry.sha256
        raise CheckpointError(f"model {text} should ship with arietta but is not there; reinstall")
    if text.endswith(".safetensors") or path.is_absolute() or text.startswith((".", "~")):
        raise CheckpointError(f"{text}: no such checkpoint file or folder")
    if _HUB_ID.fullmatch(text):
        return pull(text, offline=offline), None
    names = [known.name for known in entries()]
    close = difflib.get_close_matches(text, names, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(names)}"
    raise CheckpointError(f"no model called {text}; {hint}")


def _cached(repo: str, filename: str) -> Path | None:
    """Return a hub file that was fetched before, or None."""
    from huggingface_hub import try_to_load_from_cache

    place = try_to_load_from_cache(repo, filename)
    return Path(place) if isinstance(place, str) else None


def _hub_answers() -> bool:
    """Whether the hub can be reached; the downloader tries for half a minute to find that out."""
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=10)
    except Exception:
        # Whatever the network layer raises, there is no way through.
        return False
    return True


def pull(name: str, *, offline: bool = False) -> Path:
    """Fetch a checkpoint from the Hugging Face hub, unless it was fetched before.

    Args:
        name: a registered hub name, or ``owner/repository`` (its ``model.safetensors``).
        offline: only look at what was fetched before.

    Returns:
        The tensor file; the repository's ``config.json`` lies beside it where it has one.

    Raises:
        CheckpointError: there is no such file, or the hub cannot be reached.
    """
    entry = find(name)
    if entry is not None and entry.repo is None:
        here = entry.installed()
        if here is None:
            raise CheckpointError(f"model {name} should be on this machine but is not")
        return here
    repo, filename = name, "model.safetensors"
    if entry is not None:
        assert entry.repo is not None and entry.filename is not None
        repo, filename = entry.repo, entry.filename
    here = _cached(repo, filename)
    if here is not None:
        return here
    by_hand = f"download {filename} from huggingface.co/{repo} by hand and give its path"
    if offline:
        raise CheckpointError(f"model {name} is not on this machine; {by_hand}")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    if not _hub_answers():
        raise CheckpointError(f"model {name}: the hub cannot be reached; {by_hand}")
    try:
        path = Path(hf_hub_download(repo, filename))
    except LocalEntryNotFoundError:  # its word for a connection lost; a kind of EntryNotFoundError
        raise CheckpointError(f"model {name}: the hub cannot be reached; {by_hand}") from None
    except RepositoryNotFoundError:
        raise CheckpointError(f"the hub has no model {repo}, or it is private") from None
    except EntryNotFoundError:
        raise CheckpointError(f"{repo} on the hub has no file {filename}") from None
    except Exception as error:
        # Whatever the network layer raises, the user's next step is the same.
        reason = type(error).__name__
        raise CheckpointError(f"model {name} cannot be fetched ({reason}); {by_hand}") from None
    try:
        hf_hub_download(repo, "config.json")
    except Exception:
        # Optional: the shapes tell everything about the published sizes.
        return path
    return path


def listing() -> list[dict[str, Any]]:
    """Return what ``arietta models list`` shows: one table row per checkpoint, as JSON values."""
    rows = []
    for entry in entries():
        here = entry.installed()
        rows.append(
            {
                "name": entry.name,
                "kind": entry.kind,
                "source": entry.source,
                "installed": here is not None,
                "licence": entry.licence,
                "parameters": entry.parameters,
                "summary": entry.summary,
                "path": None if here is None else str(here),
            }
        )
    return rows
