"""Second stage of a build: what only shows when all files are known.

Exact duplicates, copies of one recording, too many files of one work, splits, and the order in
which pieces are stored. Decided from the records alone, in their order, so the result does not
depend on who made them or when. Memory: some hundred bytes a file; fingerprints lie in a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from arietta.arrays import IntArray
from arietta.data.dedup import (
    FingerprintTable,
    Work,
    cap_compositions,
    composition_groups,
    dedup_recordings,
)
from arietta.data.scan import read_records
from arietta.data.settings import BuildSettings
from arietta.data.shards import shard_name
from arietta.data.splits import assign_splits, hashed

# Pieces are mixed among this many neighbouring chunks, so that a shard draws on a bounded number
# of files. It is more than a row group, so each holds a mixture.
_WINDOW_CHUNKS = 256
_READ = (
    *("id", "rule", "content_hash", "notes", "given_split", "given_group", "composer", "opus"),
    *("number", "row"),
)


@dataclass
class Selection:
    """What becomes of every file, in the order of the inputs.

    Attributes:
        id: (n,) unique.
        rule: (n,) the rule that refuses it; empty for a file that is kept.
        detail, duplicate_of: (n,) what the second stage has to say; empty where it has nothing.
        split, group, shard: (n,) empty where refused.
        notes: (n,) notes stored.
        chunk, row: (n,) where the first stage left the music.
        shards: file name -> positions, in order of storing.
    """

    id: list[str]
    rule: list[str]
    notes: list[int]
    chunk: list[int]
    row: list[int]
    detail: dict[int, str] = field(default_factory=dict)
    duplicate_of: dict[int, str] = field(default_factory=dict)
    split: dict[int, str] = field(default_factory=dict)
    group: dict[int, str] = field(default_factory=dict)
    shard: dict[int, str] = field(default_factory=dict)
    shards: dict[str, list[int]] = field(default_factory=dict)

    def kept(self) -> list[int]:
        """Positions of the files that no rule refuses so far."""
        return [i for i, rule in enumerate(self.rule) if not rule]

    def refuse(self, i: int, rule: str, *, detail: str = "", duplicate_of: str = "") -> None:
        """Refuse one file."""
        self.rule[i] = rule
        if detail:
            self.detail[i] = detail
        if duplicate_of:
            self.duplicate_of[i] = duplicate_of


def select(records: Sequence[Path], settings: BuildSettings, scratch: Path) -> Selection:
    """Decide over all files.

    Args:
        records: the record files of the first stage, in order.
        settings: of the build.
        scratch: a folder for the fingerprints.
    """
    known: dict[str, list[Any]] = {name: [] for name in _READ}
    chunk: list[int] = []
    for i, path in enumerate(records):
        columns = read_records(path, _READ)
        for name in _READ:
            known[name] += columns[name].to_pylist()
        chunk += [i] * (len(known["id"]) - len(chunk))
    plan = Selection(_unique(known["id"]), known["rule"], known["notes"], chunk, known["row"])
    hashes = known["content_hash"]
    if settings.looks_for("exact"):
        first: dict[str, int] = {}
        for i in plan.kept():
            other = first.setdefault(hashes[i], i)
            if other != i:
                plan.refuse(i, "duplicate", duplicate_of=plan.id[other])
    kept = plan.kept()
    prints = _fingerprints(records, kept, chunk, scratch) if settings.fingerprints else None
    if prints is not None and settings.looks_for("recordings"):
        for duplicate, other, match in dedup_recordings(prints):
            plan.refuse(
                kept[duplicate],
                "same_recording",
                duplicate_of=plan.id[kept[other]],
                detail=f"{match.share:.0%} of it, {match.shift_ms / 1000:+.2f} s",
            )
    labels = composition_groups(prints) if prints is not None and settings.compositions else None
    # The name of a group comes from its music, so that it stays when other files come or go.
    leaders = {i: hashes[i] for i in kept}
    if labels is not None:
        leaders = {i: hashes[kept[int(label)]] for i, label in zip(kept, labels, strict=True)}
    given = {leaders[i]: known["given_group"][i] for i in reversed(kept) if known["given_group"][i]}
    groups = {i: known["given_group"][i] or given.get(leaders[i]) or leaders[i] for i in kept}
    _cap(plan, known, groups, settings)
    kept = plan.kept()
    splits = assign_splits(
        [groups[i] for i in kept],
        [known["given_split"][i] for i in kept],
        settings.fractions,
        settings.seed,
    )
    plan.split = dict(zip(kept, splits, strict=True))
    plan.group = {i: groups[i] for i in kept}
    _order(plan, kept, settings)
    return plan


def _unique(ids: list[str]) -> list[str]:
    """Return the ids, a number behind those that came before."""
    seen: dict[str, int] = {}
    names = []
    for name in ids:
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return names


def _fingerprints(
    records: Sequence[Path], kept: Sequence[int], chunk: Sequence[int], scratch: Path
) -> FingerprintTable:
    """Return the fingerprints of the kept files, their columns in mapped files."""
    names = ("print_hash", "print_time_ms", "print_span_ms", "print_level", "print_notes")
    first = np.searchsorted(chunk, np.arange(len(records) + 1))
    keep = np.zeros(len(chunk), bool)
    keep[kept] = True

    def chunks() -> Iterator[Any]:
        import pyarrow as pa

        for i, path in enumerate(records):
            mask = pa.array(keep[first[i] : first[i + 1]])
            columns = read_records(path, names)
            yield [columns[name].combine_chunks().filter(mask) for name in names]

    lengths: list[IntArray] = []
    level: list[Any] = []
    notes: list[Any] = []
    for hashes, _, _, levels, counts in chunks():
        lengths.append(np.diff(hashes.offsets.to_numpy()).astype(np.int64))
        level.append(levels.to_numpy(zero_copy_only=False))
        notes.append(counts.to_numpy(zero_copy_only=False))
    offsets = np.zeros(len(kept) + 1, np.int64)
    np.cumsum(np.concatenate([np.zeros(0, np.int64), *lengths]), out=offsets[1:])
    kinds = (np.uint32, np.uint32, np.uint16)
    mapped = [
        np.lib.format.open_memmap(
            scratch / f"{name}.npy", mode="w+", dtype=kind, shape=(int(offsets[-1]),)
        )
        for name, kind in zip(names, kinds, strict=False)
    ]
    at = 0
    for columns in chunks():
        size = 0
        for target, column in zip(mapped, columns, strict=False):
            flat = column.flatten().to_numpy()
            size = len(flat)
            target[at : at + size] = flat
        at += size
    hashes, time_ms, span_ms = mapped
    return FingerprintTable(
        hashes,
        time_ms,
        span_ms,
        offsets,
        np.concatenate([np.zeros(0, np.uint8), *level]),
        np.concatenate([np.zeros(0, np.int64), *notes]),
    )


def _cap(
    plan: Selection, known: dict[str, list[Any]], groups: dict[int, str], settings: BuildSettings
) -> None:
    if settings.cap_per_work is None:
        return
    kept = plan.kept()
    works = []
    for i in kept:
        # The published cap drops what is untagged; a group found by the notes is no tag there.
        group = known["given_group"][i] if settings.cap_limit is not None else groups[i]
        composer, opus, number = (known[name][i] for name in ("composer", "opus", "number"))
        works.append(Work(composer, opus, number, group or None))
    dropped = cap_compositions(works, settings.cap_limit, settings.cap_per_work)
    for position, reason in dropped.items():
        plan.refuse(kept[position], "too_many_of_a_work", detail=reason)


def _order(plan: Selection, kept: Sequence[int], settings: BuildSettings) -> None:
    """Which shard holds which pieces: mixed among neighbours, each split on its own."""
    order = sorted(
        kept,
        key=lambda i: (plan.chunk[i] // _WINDOW_CHUNKS, hashed(settings.seed, "order", plan.id[i])),
    )
    by_split: dict[str, list[int]] = {}
    for i in order:
        by_split.setdefault(plan.split[i], []).append(i)
    for split in sorted(by_split):
        rows = by_split[split]
        for number, start in enumerate(range(0, len(rows), settings.rows_per_shard)):
            name = shard_name(split, number)
            plan.shards[name] = rows[start : start + settings.rows_per_shard]
            plan.shard |= dict.fromkeys(plan.shards[name], name)
