"""What is in a dataset, read from its manifest: counts, refusals by rule, histograms."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from arietta.arrays import BoolArray
from arietta.data.shards import MANIFEST, open_dataset
from arietta.data.tables import arrow
from arietta.errors import InputError, MissingExtraError
from arietta.output import whole_file

_READ = ("kept", "rule", "split", "source", "group", "seconds", "notes", "tokens")
# Histograms: column, title, whether sizes are compared by their order of magnitude.
_HISTOGRAMS = (
    ("seconds", "length, s", True),
    ("notes", "notes a piece", True),
    ("total_note_frequency", "notes a second", False),
    ("mean_note_velocity", "mean velocity", False),
    ("note_pitch_entropy", "pitch entropy, bits", False),
    ("mean_note_len", "mean note length, ms", True),
)


@dataclass(frozen=True)
class Amount:
    """So much music.

    Attributes:
        files, groups: pieces and composition groups.
        hours: from the first key down to the last key up of each piece.
        notes: stored.
        tokens: of the absolute piano vocabulary, one row a piece, before augmentation.
    """

    files: int
    groups: int
    hours: float
    notes: int
    tokens: int


@dataclass(frozen=True)
class DatasetStats:
    """Counts over a manifest.

    Attributes:
        form: of the dataset.
        inputs: files that were looked at.
        kept: all that is in the shards.
        by_split, by_source: the same, in alphabetical order.
        refused: rule -> what it refused, most files first.
    """

    form: str
    inputs: int
    kept: Amount
    by_split: dict[str, Amount]
    by_source: dict[str, Amount]
    refused: dict[str, Amount]


def read_manifest(path: Path, columns: tuple[str, ...] | None = None) -> Any:
    """Return the manifest of a dataset as a ``pyarrow.Table``.

    Raises:
        InputError: there is no such dataset, or its manifest is missing or damaged.
    """
    pa, pq = arrow()
    open_dataset(path)
    try:
        return pq.read_table(path / MANIFEST, columns=columns and list(columns))
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"{path / MANIFEST}: not a readable manifest; copy it, or build again ({error})"
        ) from None


def dataset_stats(path: Path) -> DatasetStats:
    """Count what is in a dataset.

    Raises:
        InputError: there is no such dataset, or its manifest is missing or damaged.
    """
    table = read_manifest(path, _READ)
    column = {name: np.asarray(table[name].to_pylist(), object) for name in _READ}
    kept = column["kept"].astype(bool)

    def amount(mask: BoolArray) -> Amount:
        def total(name: str) -> float:
            return float(sum(v for v in column[name][mask] if v is not None))

        return Amount(
            int(mask.sum()),
            len(set(column["group"][mask & kept])),
            round(total("seconds") / 3600, 3),
            int(total("notes")),
            int(total("tokens")),
        )

    def each(name: str, among: BoolArray) -> dict[str, Amount]:
        values = column[name]
        return {str(v): amount(among & (values == v)) for v in sorted(set(values[among]))}

    refused = each("rule", ~kept)
    return DatasetStats(
        open_dataset(path).form,
        len(kept),
        amount(kept),
        each("split", kept),
        each("source", kept),
        dict(sorted(refused.items(), key=lambda item: -item[1].files)),
    )


def draw_stats(path: Path, picture: Path, *, force: bool = False) -> None:
    """Draw histograms of the kept and the refused files, and the refusals by rule, as PNG.

    Raises:
        InputError: there is no such dataset, or its manifest is missing or damaged.
        MissingExtraError: matplotlib is not installed.
        OutputError: the picture exists (without ``force``) or cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("drawing", "plot") from None
    table = read_manifest(path, (*_READ, *(c for c, _, _ in _HISTOGRAMS if c not in _READ)))
    stats = dataset_stats(path)
    kept = np.asarray(table["kept"].to_pylist(), bool)
    figure = Figure(figsize=(11, 9), layout="constrained")
    axes = figure.subplots(3, 3).ravel()
    for axis, (name, title, by_magnitude) in zip(axes, _HISTOGRAMS, strict=False):
        values = np.array([np.nan if v is None else v for v in table[name].to_pylist()], float)
        known = np.isfinite(values) & ((values > 0) | (not by_magnitude))
        axis.set_title(title, fontsize=10)
        axis.set_ylabel("files", fontsize=8)
        if not known.any():
            continue
        low, high = values[known].min(), values[known].max() + 1e-9
        edges = np.geomspace(low, high, 41) if by_magnitude else np.linspace(low, high, 41)
        if by_magnitude:
            axis.set_xscale("log")
        parts = [values[known & kept], values[known & ~kept]]
        axis.hist(parts, edges, stacked=True, label=["kept", "refused"], color=["C0", "C3"])
    axes[0].legend(fontsize=8)
    for axis, amounts, title in (
        (axes[6], stats.by_split, "hours by split"),
        (axes[7], stats.by_source, "hours by source"),
    ):
        top = sorted(amounts.items(), key=lambda item: -item[1].hours)[:12]
        axis.barh([name for name, _ in top], [a.hours for _, a in top], color="C0")
        axis.invert_yaxis()
        axis.set_title(title, fontsize=10)
    rules = list(stats.refused.items())[:14]
    axes[8].barh([name for name, _ in rules], [a.files for _, a in rules], color="C3")
    axes[8].invert_yaxis()
    axes[8].set_title("files refused, by rule", fontsize=10)
    for axis in axes:
        axis.tick_params(labelsize=7)
    figure.suptitle(
        f"{stats.kept.files:,} of {stats.inputs:,} files, {stats.kept.hours:,.1f} h, "
        f"{stats.kept.notes:,} notes"
    )
    with whole_file(picture, force=force) as part:
        figure.savefig(part, format="png", dpi=110)
