"""Cards of trained models: what they are, what they learned from, under which terms."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arietta.checkpoints.hub import check_repo, push_files
from arietta.checkpoints.store import CARD, CONFIG, WEIGHTS, read_values, update_config
from arietta.checkpoints.tensors import write_bytes
from arietta.errors import CheckpointError, UsageError
from arietta.models.load import load_any

UNSTATED = "not stated"
_MARK = "<!-- written by arietta train; delete this line to keep your own text -->"


@dataclass(frozen=True)
class Training:
    """What a trained model tells of its training.

    Attributes:
        name: of the run.
        recipe: name of the recipe.
        settings: the whole recipe, JSON values.
        data: name of the dataset.
        data_sha256: hash of its music.
        licence: terms of the dataset, or ``UNSTATED``.
        init: name of the model that it began as, with that model's hash and licence; empty: fresh.
        figures: what was measured.
    """

    name: str
    recipe: str
    settings: Mapping[str, Any]
    data: str
    data_sha256: str
    licence: str
    init: Mapping[str, str]
    figures: Mapping[str, Any]

    @property
    def terms(self) -> str:
        """Terms of the weights, as far as data and first model tell them."""
        known = [self.licence, *([self.init["licence"]] if self.init else [])]
        return "; ".join(dict.fromkeys(known))


def init_of(name_or_path: str, *, offline: bool = True) -> dict[str, str]:
    """Return name, hash and licence of a model that a training begins with."""
    found = load_any(name_or_path, offline=offline)
    return {
        "name": found.name,
        "sha256": found.sha256,
        "licence": str(found.info.get("licence", UNSTATED)),
    }


def describe_model(folder: Path, training: Training) -> None:
    """Name a trained model after its run, and write where it comes from beside it.

    The card is written anew unless somebody has put one of their own there.

    Args:
        folder: of the model.
        training: what to tell.

    Raises:
        CheckpointError: there is no model in our form.
        OutputError: it cannot be written.
    """
    update_config(
        folder,
        {
            "name": training.name,
            "licence": training.terms,
            "recipe": training.recipe,
            "data": {
                "name": training.data,
                "sha256": training.data_sha256,
                "licence": training.licence,
            },
            **({"init": dict(training.init)} if training.init else {}),
        },
    )
    place = folder / CARD
    if not place.is_file() or _MARK in place.read_text("utf-8", errors="replace"):
        write_bytes(place, card_text(read_values(folder), training).encode())


def card_text(values: Mapping[str, Any], training: Training) -> str:
    """Write the card of a trained model.

    Args:
        values: of its ``config.json``.
        training: where it comes from.
    """
    begun = "fresh weights"
    if training.init:
        begun = f"{training.init['name']} (sha256 `{training.init['sha256'][:12]}…`)"
    facts = {
        "architecture": values.get("architecture", ""),
        "parameters": f"{int(values.get('parameters', 0)):,}",
        "tokenizer": values.get("tokenizer", "") or "-",
        "sha256 of the weights": f"`{values.get('sha256', '')}`",
        "licence": training.terms,
        "recipe": f"`{training.recipe}`",
        "began as": begun,
        "data": f"{training.data} (sha256 `{training.data_sha256}`)",
        "licence of the data": training.licence,
    }
    told = [f"| {name} | {value} |" for name, value in facts.items()]
    figures = [
        f"| {name.replace('_', ' ')} | {value} |" for name, value in training.figures.items()
    ]
    missing = UNSTATED in training.terms
    lines = [
        _MARK,
        "",
        f"# {training.name}",
        "",
        "A piano MIDI model, trained by `arietta train`.",
        *(["", "Nobody has said under which terms it may be used."] if missing else []),
        "",
        "| | |",
        "| --- | --- |",
        *told,
        "",
        "## Measured at the end of training",
        "",
        "| | |",
        "| --- | --- |",
        *figures,
        "",
        "## Recipe",
        "",
        "```json",
        json.dumps(training.settings, indent=2, ensure_ascii=False, sort_keys=True),
        "```",
        "",
    ]
    return "\n".join(lines)


def push_model(
    name_or_path: str, repo: str, *, licence: str | None = None, private: bool = True
) -> str:
    """Put a model in our form on the hub: weights, settings and card.

    Args:
        name_or_path: a model folder, a run's folder or a name.
        repo: ``owner/name``.
        licence: of the weights, where the model does not tell it.
        private: of a new repository.

    Returns:
        The repository's address.

    Raises:
        CheckpointError: there is no such model, it is damaged, or not in our form.
        OutputError: the hub cannot be reached, or does not take it.
        UsageError: no licence is known.
    """
    check_repo(repo)
    found = load_any(name_or_path, offline=True)
    folder = found.path.parent
    if found.path.name != WEIGHTS or not (folder / CONFIG).is_file():
        raise CheckpointError(
            f"{name_or_path}: a public single file; convert it first: arietta models convert"
        )
    terms = licence or str(found.info.get("licence", UNSTATED))
    if UNSTATED in terms:
        raise UsageError(
            f"{name_or_path}: nobody has said under which terms it may be used; give `licence`"
        )
    values = {**read_values(folder), "licence": terms}
    text = found.card or f"# {found.name}\n"
    files: dict[str, Path | bytes] = {
        WEIGHTS: found.path,
        CONFIG: (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode(),
        CARD: f"{_front_matter(terms)}{text}".encode(),
    }
    return push_files(repo, "model", files, private=private, message=f"Add {found.name}")


def _front_matter(terms: str) -> str:
    name = json.dumps(terms, ensure_ascii=False)
    return (
        f"---\nlicense: other\nlicense_name: {name}\nlibrary_name: arietta\n"
        "tags: [midi, piano, music]\n---\n"
    )
