"""The card of a dataset: a README that people read, and that the Hugging Face hub understands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from arietta.data.shards import MANIFEST, Dataset, dataset_sha256, open_dataset
from arietta.data.tables import described_fields
from arietta.output import whole_file

CARD = "README.md"
UNSTATED = "not stated"
_TITLE = "Piano MIDI"
_MARK = "<!-- written by arietta data build; delete this line to keep your own text -->"
_LICENCES = frozenset(
    {
        "apache-2.0",
        "mit",
        "cc0-1.0",
        "pddl",
        "odbl",
        *(f"cc-{terms}-4.0" for terms in ("by", "by-sa", "by-nc", "by-nc-sa", "by-nd", "by-nc-nd")),
    }
)
"""Names that the hub knows; others are written out."""


def licence_of(dataset: Dataset) -> str:
    """Return the licence that the builder was told, or ``UNSTATED``."""
    return str(dataset.settings.get("licence") or UNSTATED)


def card_text(dataset: Dataset, name: str | None = None) -> str:
    """Write the card of a dataset.

    Args:
        dataset: what it is about.
        name: of its repository on the hub; without it the card is the same in every folder.
    """
    licence = licence_of(dataset)
    rows = [
        f"| {split} | {sum(s.rows for s in dataset.of_split(split)):,}"
        f" | {sum(s.notes for s in dataset.of_split(split)):,} | {len(dataset.of_split(split))} |"
        for split in dataset.splits
    ]
    columns = [
        f"| `{column}` | {unit or 'text'} | {text} |"
        for column, (unit, text) in described_fields(dataset.form).items()
    ]
    place = name or "this/folder"
    form = "whole pieces" if dataset.form == "pieces" else "piano notes on the token grid"
    stated = licence if licence != UNSTATED else f"{UNSTATED}; state it before you publish this"
    return "\n".join(
        [
            *_front_matter(dataset, name or _TITLE, licence),
            _MARK,
            "",
            f"# {name or _TITLE}",
            "",
            f"Piano MIDI as Parquet, one row a piece ({form}), made by `arietta data build`."
            f" Licence: {stated}.",
            "",
            "| split | pieces | notes | shards |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
            f"Pieces of one work share a split. sha256 of the music: `{dataset_sha256(dataset)}`.",
            "",
            "```python",
            "from datasets import load_dataset",
            "",
            f'pieces = load_dataset("{place}", split="{dataset.splits[0]}")',
            "```",
            "",
            "`arietta.data.shards.read_pieces` gives the same rows as pieces that can be played.",
            "",
            "## Columns",
            "",
            "Units stand in the metadata of the Parquet fields as well. Columns of ticks and values"
            " are lists with an entry for each note or event.",
            "",
            "| column | unit | what it is |",
            "| --- | --- | --- |",
            *columns,
            "",
            "## How it was made",
            "",
            *_making(dataset),
            "",
        ]
    )


def write_card(folder: Path) -> None:
    """Write the card of a finished dataset, unless somebody has written one of their own.

    Raises:
        InputError: there is no finished dataset.
        OutputError: it cannot be written.
    """
    place = folder / CARD
    if place.is_file() and not is_ours(place):
        return
    with whole_file(place, force=True) as part:
        part.write_text(card_text(open_dataset(folder)), "utf-8")


def is_ours(card: Path) -> bool:
    """Whether a card was written here and by nobody else."""
    return _MARK in card.read_text("utf-8", errors="replace")


def _front_matter(dataset: Dataset, name: str, licence: str) -> list[str]:
    known = licence.lower() in _LICENCES
    lines = ["---", f"license: {licence.lower() if known else 'other'}"]
    if not known:
        lines.append(f"license_name: {json.dumps(licence, ensure_ascii=False)}")
    lines += [f"pretty_name: {json.dumps(name, ensure_ascii=False)}", "tags: [midi, piano, music]"]
    lines += ["configs:", "- config_name: default", "  data_files:"]
    for split in dataset.splits:
        lines += [f"  - split: {split}", f"    path: {split}-*.parquet"]
    return [*lines, "---"]


def _making(dataset: Dataset) -> list[str]:
    settings: dict[str, Any] = dict(dataset.settings)
    lines = []
    if settings.get("sources"):
        lines.append(f"- sources: {', '.join(map(str, settings['sources']))}")
    if settings.get("inputs"):
        kept = sum(shard.rows for shard in dataset.shards)
        lines.append(f"- {kept:,} of {settings['inputs']:,} files were kept")
    for rule, count in (settings.get("refused") or {}).items():
        lines.append(f"- {count:,} were refused by the rule {rule}")
    for key in ("dedup", "instruments", "seed"):
        if key in settings:
            lines.append(f"- {key}: {settings[key]}")
    if (dataset.path / MANIFEST).is_file():
        lines.append(
            f"- `{MANIFEST}` has a row for every input: kept or not, why, what was measured"
        )
    return lines or ["The program that made it recorded no settings."]
