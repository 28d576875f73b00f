"""Intervals of means and of paired differences, and rows of single pieces beside them.

Convention. 95 %, bootstrap: units (pieces, pairs, queries) are drawn with replacement. A difference
of two systems is taken unit by unit before it is averaged, so that what all find hard cancels out.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arietta.arrays import AnyFloatArray
from arietta.data.tables import arrow
from arietta.errors import UsageError
from arietta.output import check_output, whole_file

DRAWS = 2_000
SUFFIXES = (".parquet", ".csv")


def interval(values: AnyFloatArray, *, draws: int = DRAWS, seed: int = 0) -> list[float]:
    """Return the mean of values (n,) and the bounds of its 95 % interval, to four digits."""
    given = np.asarray(values, np.float64)
    rng = np.random.default_rng(seed)
    means = given[rng.integers(0, len(given), (draws, len(given)))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return [round(float(x), 4) for x in (given.mean(), low, high)]


def paired(values: AnyFloatArray, baseline: AnyFloatArray) -> list[float]:
    """Return the mean difference of paired values (n,), with the bounds of its 95 % interval."""
    return interval(np.asarray(values, np.float64) - np.asarray(baseline, np.float64))


def paired_by_group(
    values: AnyFloatArray, baseline: AnyFloatArray, groups: Sequence[str]
) -> list[float]:
    """Return the mean difference of paired values (n,), and its interval over groups.

    Groups are drawn whole: pieces of one work are not independent.
    """
    difference = np.asarray(values, np.float64) - np.asarray(baseline, np.float64)
    _, group = np.unique(np.asarray(groups, np.str_), return_inverse=True)
    sums, counts = np.bincount(group, difference), np.bincount(group)
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), DRAWS)
    low, high = np.quantile((drawn @ sums) / (drawn @ counts), (0.025, 0.975))
    return [round(float(x), 4) for x in (difference.mean(), low, high)]


def check_rows(path: Path | None, *, force: bool) -> None:
    """Refuse a file for rows before the work that fills it.

    Raises:
        OutputError: it exists or cannot be written.
        UsageError: it has another suffix.
    """
    if path is None:
        return
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"`per_piece` {path}: rows are written as {' or '.join(SUFFIXES)}")
    check_output(path, force=force)
    if path.suffix.lower() == ".parquet":
        arrow()


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], *, force: bool) -> None:
    """Write rows of equal keys as ``.parquet`` or ``.csv``.

    Raises:
        OutputError: it exists or cannot be written.
    """
    with whole_file(path, force=force) as part:
        if path.suffix.lower() == ".parquet":
            pa, pq = arrow()
            pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), part)
            return
        with part.open("w", encoding="utf-8", newline="") as handle:
            writer = csv.DictWriter(handle, fieldnames=list(rows[0]) if rows else [])
            writer.writeheader()
            writer.writerows(rows)
