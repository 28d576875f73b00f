"""A finished dataset -> a repository on the Hugging Face hub, where ``datasets`` opens it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from arietta.checkpoints.hub import check_repo, push_files
from arietta.data.card import CARD, UNSTATED, card_text, is_ours, licence_of
from arietta.data.shards import DESCRIPTION, MANIFEST, open_dataset
from arietta.errors import UsageError


def push_dataset(
    folder: Path,
    repo: str,
    *,
    licence: str | None = None,
    private: bool = True,
    manifest: bool = False,
) -> str:
    """Put a dataset on the hub: its shards, its description and a card.

    Args:
        folder: a finished dataset.
        repo: ``owner/name``.
        licence: of the music, where the dataset does not tell it.
        private: of a new repository.
        manifest: also put the manifest there, which holds the paths of all input files.

    Returns:
        The repository's address.

    Raises:
        InputError: there is no finished dataset, or a shard is missing.
        OutputError: the hub cannot be reached, or does not take it.
        UsageError: no licence is known.
    """
    check_repo(repo)
    dataset = open_dataset(folder)
    if licence is not None:
        dataset = replace(dataset, settings={**dataset.settings, "licence": licence})
    if licence_of(dataset) == UNSTATED:
        raise UsageError(
            f"{folder}: nobody has said under which terms its music may be used; give `licence`"
        )
    files: dict[str, Path | bytes] = {s.file: folder / s.file for s in dataset.of_split(None)}
    files[DESCRIPTION] = folder / DESCRIPTION
    if manifest:
        files[MANIFEST] = folder / MANIFEST
    own = folder / CARD
    files[CARD] = own if own.is_file() and not is_ours(own) else card_text(dataset, repo).encode()
    pieces = sum(shard.rows for shard in dataset.shards)
    return push_files(repo, "dataset", files, private=private, message=f"Add {pieces:,} pieces")
