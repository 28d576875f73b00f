"""Gather labelled files for probes, by the names of benchmarks.

Definition. A benchmark turns a folder of the user into examples: a file, its class, its group, and
the splits that the source defines. A group stays on one side of a split. No music is included, only
(for two small sets) a table of content hashes and labels.

Conventions. A group is a composition (``piece_id``), a set of files of one recording, or a game: a
probe could recognise the other files of a group. If a benchmark finds its classes in the data, it
leaves out classes too small for a split (fewer than five groups).
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from arietta.data.metadata import MetadataTable
from arietta.data.sources import Item, Source, find_sources, read_source
from arietta.data.splits import hashed
from arietta.errors import InputError, UsageError
from arietta.paths import assets_dir
from arietta.tokenizers.vocabulary import plain_name

MIN_GROUPS = 5
"""Smallest number of groups of a class that is found in the data: one for each fold."""


@dataclass(frozen=True, eq=False)
class Example:
    """Hold one labelled file.

    Attributes:
        item: the file.
        label: class of the file.
        group: examples of one group are never on both sides of a split.
        splits: name of a split of the source -> ``train``, ``valid``, ``test``, or the number of
            a fold.
    """

    item: Item
    label: str
    group: str
    splits: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Published:
    """Hold a figure from the literature, in per cent.

    Attributes:
        system: evaluated system.
        accuracy, macro_f1: its figures; None where it was not published.
        protocol: what is known about the split.
    """

    system: str
    accuracy: float
    macro_f1: float | None
    protocol: str


@dataclass(frozen=True)
class Benchmark:
    """Define a named task.

    Attributes:
        name: name on the command line.
        what: description of the classes.
        folder: description of the required folder.
        gather: folder -> examples.
        published: published figures for comparison.
    """

    name: str
    what: str
    folder: str
    gather: Callable[[Path], list[Example]]
    published: tuple[Published, ...] = ()


_ARIA_TEST = "its 10,000 train and 1,000 test files"
_ARIA_OWN = "a random split that was not published"
_PIJAMA = "split by recording"


def _aria(accuracy: float, macro_f1: float, protocol: str = _ARIA_TEST) -> Published:
    return Published("Aria embedding, linear probe (650 M)", accuracy, macro_f1, protocol)


def _tuned(accuracy: float, macro_f1: float, protocol: str = _ARIA_TEST) -> Published:
    return Published("Aria finetuned (650 M)", accuracy, macro_f1, protocol)


def benchmarks() -> dict[str, Benchmark]:
    """Return the benchmarks by name."""
    corpus = "a corpus with manifest.csv"
    found = [
        Benchmark(
            "pianist8",
            "eight pianists and composers of pop, film music and jazz",
            "the 411 files of Pianist8",
            lambda folder: _by_hash(folder, "pianist8"),
            (
                _aria(91.57, 92.38, _ARIA_OWN),
                _tuned(91.56, 92.03, _ARIA_OWN),
                Published("the same decoder from scratch (650 M)", 84.3, None, _ARIA_OWN),
                Published("M3, as in Aria's Table 2", 81.9, None, _ARIA_OWN),
                Published("CLaMP 3, as in Aria's Table 2", 80.7, None, _ARIA_OWN),
            ),
        ),
        Benchmark(
            "vgmidi",
            "four emotions of video game music",
            "the 204 labelled phrases of VGMIDI",
            lambda folder: _by_hash(folder, "vgmidi"),
            (_aria(63.64, 63.96, _ARIA_OWN), _tuned(68.18, 69.55, _ARIA_OWN)),
        ),
        *(
            Benchmark(
                f"aria-{name}",
                what,
                "the evaluation splits of Aria-MIDI, with metadata.json",
                partial(_aria_midi, category=category),
                (_aria(*probe), _tuned(*tuned)),
            )
            for name, category, what, probe, tuned in (
                ("genre", "genre", "classical or jazz", (92.40, 92.40), (93.20, 93.20)),
                ("form", "form", "six musical forms", (82.45, 82.57), (87.53, 87.59)),
                ("period", "music_period", "four periods", (84.70, 84.69), (86.50, 86.53)),
                ("composer", "composer", "ten composers", (90.50, 90.49), (96.30, 96.32)),
            )
        ),
        Benchmark(
            "pijama30",
            "the thirty most recorded pianists of PiJAMA",
            f"{corpus}, or PiJAMA as it is distributed",
            lambda folder: _pijama(folder, by_album=False),
            (
                Published("Moonbeam", 67.9, 63.8, _PIJAMA),
                Published("next best in Moonbeam's table", 55.0, 45.2, _PIJAMA),
            ),
        ),
        Benchmark(
            "pijama30-albums",
            "the same, no album on both sides: style, not the sound of one recording",
            f"{corpus}, or PiJAMA as it is distributed",
            lambda folder: _pijama(folder, by_album=True),
        ),
        Benchmark(
            "asap-composer",
            "composers of the ASAP performances with at least five works",
            f"{corpus}, or ASAP as it is distributed",
            lambda folder: _composers(folder, "asap"),
        ),
        Benchmark(
            "maestro-composer",
            "composers of MAESTRO with at least five works",
            f"{corpus}, or MAESTRO as it is distributed",
            lambda folder: _composers(folder, "maestro"),
        ),
        Benchmark("style", "classical, jazz or pop", f"{corpus} that has a column style", _styles),
    ]
    return {benchmark.name: benchmark for benchmark in found}


def named(name: str) -> Benchmark:
    """Return the benchmark of a name.

    Raises:
        UsageError: there is no such benchmark.
    """
    known = benchmarks()
    if name not in known:
        raise UsageError(f"there is no benchmark {name!r}; there are {', '.join(known)}, or a .csv")
    return known[name]


def gather_table(path: Path) -> list[Example]:
    """Gather the examples of a CSV with columns path, label and, optionally, group and split.

    Paths are relative to the table. Without a column group each file is a group.

    Raises:
        InputError: the table cannot be read, lacks a column, or names a file that does not exist.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV ({error})") from None
    if not rows or not {"path", "label"} <= rows[0].keys():
        raise InputError(f"{path}: needs columns path and label, and at least one row")
    found = []
    for row in rows:
        if not row["label"]:
            continue
        file_path = path.parent / row["path"]
        if not file_path.is_file():
            raise InputError(f"{path}: names {row['path']}, which is not there")
        item = Item(row["path"], path.stem, row["path"], file_path.stat().st_size, file_path)
        splits = {"own": row["split"]} if row.get("split") else {}
        found.append(Example(item, row["label"], row.get("group") or row["path"], splits))
    return found


def label_finder(labels: str) -> Callable[[Item], str]:
    """Return a function from an item to its class, or to "" if it has none.

    Args:
        labels: path of a table with columns path and label (paths inside the source, or relative
            to the table); ``folders`` for the first folder of the item's path; or the name of a
            column of metadata.

    Raises:
        InputError: the table cannot be read.
    """
    place = Path(labels)
    if place.suffix.lower() in (".csv", ".json") or place.is_file():
        table = MetadataTable.read(place)

        def of_table(item: Item) -> str:
            names = [item.path, item.id]
            if item.file is not None:
                names.insert(0, Path(os.path.relpath(item.file, place.parent)).as_posix())
            rows = (table.lookup(name) for name in names)
            return next((row["label"] for row in rows if row.get("label")), "")

        return of_table
    if labels == "folders":
        return lambda item: item.path.split("/")[0] if "/" in item.path else ""
    return lambda item: item.known.get(labels, "")


# Tables by content hash


def _by_hash(folder: Path, name: str) -> list[Example]:
    """Find labelled files by content, or else by name, as some copies were converted."""
    with (assets_dir() / "labels" / f"{name}.csv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    by_hash = {row["sha256_start"]: row for row in rows}
    by_name = {plain_name(Path(row["file"]).stem): row for row in rows}
    found: dict[str, Example] = {}
    unsure: list[tuple[dict[str, str], Item]] = []
    for item in _items(folder):
        start = hashlib.sha256(_bytes(item)).hexdigest()[:16]
        if start in by_hash:
            row = by_hash[start]
            found.setdefault(row["file"], _hashed_example(row, item))
        elif (row := by_name.get(plain_name(Path(item.path).stem), {})) != {}:
            unsure.append((row, item))
    for row, item in unsure:
        found.setdefault(row["file"], _hashed_example(row, item))
    if not found:
        raise InputError(f"{folder}: none of the {len(rows)} files of {name} is in it")
    return [found[row["file"]] for row in rows if row["file"] in found]


def _hashed_example(row: Mapping[str, str], item: Item) -> Example:
    own = {k: v for k, v in row.items() if k in ("midibert", "clean", "fold") and v != "drop"}
    group = row["group"] or row["file"]
    return Example(item, row["label"], group, own)


def _bytes(item: Item) -> bytes:
    if item.data is not None:
        return item.data
    try:
        return item.file.read_bytes() if item.file is not None else b""
    except OSError:
        return b""  # reading it as MIDI will report the reason


# Aria-MIDI


def _aria_midi(folder: Path, category: str) -> list[Example]:
    """Gather the files of metadata.json: {category: {split: {path: label}}}."""
    place = next((p for p in [folder / "metadata.json", *folder.rglob("metadata.json")]), None)
    try:
        content = json.loads(place.read_text(encoding="utf-8")) if place else None
    except (OSError, ValueError):
        content = None
    if place is None or not isinstance(content, dict) or category not in content:
        there = f"; it has {', '.join(content)}" if isinstance(content, dict) else ""
        raise InputError(f"{folder}: needs a metadata.json with the category {category!r}{there}")
    by_name: dict[str, Path] = {}
    found = []
    for split, labels in content[category].items():
        for path, label in labels.items():
            file = place.parent / path
            if not file.is_file():
                if not by_name:
                    by_name = {p.name: p for p in place.parent.rglob("*.mid*")}
                file = by_name.get(Path(path).name, file)
            size = file.stat().st_size if file.is_file() else 0
            item = Item(path, "aria-midi", path, size, file)
            # One recording may have several files: <number>_<segment>.mid.
            group = Path(path).stem.split("_")[0]
            found.append(Example(item, str(label), group, {"official": split}))
    return found


# Corpora


def _items(folder: Path, table: MetadataTable | None = None) -> Iterator[Item]:
    (source,) = find_sources([folder])
    return read_source(source, table)


def _performances(folder: Path, source: str) -> Iterator[Item]:
    """Gather the recorded performances of one collection, from a corpus or its distributed form."""
    (place,) = find_sources([folder])
    for item in read_source(place, _official_table(place)):
        known = item.known
        if known.get("source", source) == source and known.get("kind") != "score":
            yield item


def _official_table(source: Source) -> MetadataTable | None:
    """Read the tables of ASAP or MAESTRO; rename their columns to ours."""
    folder = source.path
    if not folder.is_dir() or (folder / "manifest.csv").is_file():
        return None
    for table, path, composer, title in (
        *((t, "midi_filename", "canonical_composer", "canonical_title") for t in
          sorted(folder.glob("maestro-v*.csv"))),
        (folder / "metadata.csv", "midi_performance", "composer", "title"),
    ):  # fmt: skip
        if not table.is_file():
            continue
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        if rows and {path, composer, title} <= rows[0].keys():
            return MetadataTable(
                {
                    row[path]: {
                        "composer": row[composer],
                        "piece_id": plain_name(f"{row[composer]} {row[title]}"),
                        "source_split": row.get("split", ""),
                    }
                    for row in rows
                    if row[path]
                }
            )
    return None


def _official_split(item: Item) -> dict[str, str]:
    split = item.known.get("source_split") or item.known.get("split", "")
    return {"own": {"validation": "valid", "val": "valid"}.get(split, split)} if split else {}


def _composers(folder: Path, source: str) -> list[Example]:
    found = [
        Example(item, item.known["composer"], item.known.get("piece_id") or item.id,
                _official_split(item))
        for item in _performances(folder, source)
        # An arrangement has two composers.
        if item.known.get("composer") and "/" not in item.known["composer"]
    ]  # fmt: skip
    return _large_classes(found, folder)


def _pijama(folder: Path, *, by_album: bool) -> list[Example]:
    found = []
    for item in _performances(folder, "pijama"):
        known = item.known
        # Distributed as: studio|live / performer / album / tune.
        parts = item.path.split("/")
        performer = known.get("performer") or (parts[-3] if len(parts) > 3 else "")
        album = known.get("album") or (parts[-2] if len(parts) > 2 else "")
        tune = known.get("piece_id") or _tune(parts[-1])
        if performer:
            group = f"{performer}/{album}" if by_album else tune
            found.append(Example(item, performer, group, {} if by_album else _official_split(item)))
    count = Counter(example.label for example in found)
    # Names break ties, so that the thirty do not depend on the order of files.
    chosen = sorted(count, key=lambda name: (-count[name], name))[:30]
    if len(chosen) < 2:
        raise InputError(f"{folder}: no recordings of PiJAMA in it")
    found = [example for example in found if example.label in chosen]
    return _large_classes(found, folder, 2) if by_album else found


def _tune(name: str) -> str:
    """Return the name of a tune without the part after a dash or in brackets."""
    stem = plain_name(Path(name).stem)
    return re.split(r" - |\(|\[", stem)[0].strip() or stem


def _styles(folder: Path, per_class: int = 400) -> list[Example]:
    """Gather the same number of files of each style, chosen by a hash of their names."""
    by_label: dict[str, list[Example]] = defaultdict(list)
    for item in _items(folder):
        known = item.known
        label = known.get("style") or known.get("genre", "")
        if label and known.get("kind") != "score" and not known.get("dup_of"):
            group = known.get("piece_id") or known.get("group") or item.id
            by_label[label].append(Example(item, label, group, _official_split(item)))
    if len(by_label) < 2:
        raise InputError(f"{folder}: its files have no two styles (a column style or genre)")
    size = min(per_class, *(len(rows) for rows in by_label.values()))
    return [
        example
        for label in sorted(by_label)
        for example in sorted(by_label[label], key=lambda e: hashed(0, e.item.id))[:size]
    ]


def _large_classes(
    examples: Sequence[Example], folder: Path, least: int = MIN_GROUPS
) -> list[Example]:
    groups = _groups(examples)
    kept = [example for example in examples if len(groups[example.label]) >= least]
    if len({example.label for example in kept}) < 2:
        raise InputError(f"{folder}: needs two classes with at least {least} works each")
    return kept


def _groups(examples: Iterable[Example]) -> dict[str, set[str]]:
    groups: dict[str, set[str]] = defaultdict(set)
    for example in examples:
        groups[example.label].add(example.group)
    return groups
