"""How well are copies of a recording and performances of a composition recognised?

    python -m benchmarks.dedup_quality --data FOLDER [--variants N]

FOLDER holds ``manifest.csv`` and the ``.tar.zst`` shards it names; all files in it are read,
including marked duplicates and scores. The ground truth:

- one recording: a row and the row in its ``dup_of``; two performances of one ASAP piece that do
  not lead to one original are two recordings.
- one work: files of one ASAP folder; folders that differ in repeats only count as one. For other
  joined files: ``piece_id``; a file of several works has several. It was made from titles,
  catalogue numbers and contents, so it is not always independent evidence.

Every N-th performance is also changed in the ways in which files of one recording differ in
practice; the index must find each changed file.
"""

from __future__ import annotations

import argparse
import csv
import io
import re
import tarfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from arietta.arrays import FloatArray, IntArray, Uint8Array
from arietta.data import dedup
from arietta.data.dedup import Fingerprint, FingerprintTable, Groups
from arietta.midi import reader
from arietta.midi.piece import Piece
from benchmarks.common import file_result

Row = dict[str, str]
Columns = tuple[FloatArray, Uint8Array]
Pair = tuple[int, int]


def read_all(root: Path) -> Iterator[tuple[Row, Piece]]:
    """Read every row of the manifest with its file."""
    import zstandard

    rows: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    with (root / "manifest.csv").open(encoding="utf8", newline="") as f:
        for row in csv.DictReader(f):
            rows[row["shard"]][row["path"]].append(row)
    for shard, by_path in sorted(rows.items()):
        with (root / shard).open("rb") as raw:
            stream = zstandard.ZstdDecompressor(max_window_size=1 << 28).stream_reader(raw)
            with tarfile.open(fileobj=io.BufferedReader(stream, 1 << 20), mode="r|") as tar:
                for member in tar:
                    if member.name not in by_path:
                        continue
                    content = tar.extractfile(member)
                    assert content is not None
                    piece = reader.read_bytes(content.read())
                    for row in by_path[member.name]:
                        yield row, piece


def later(columns: Columns, rng: np.random.Generator) -> Columns:
    """Shift the whole performance in time."""
    onset, pitch = columns
    return onset + rng.uniform(1000, 600_000), pitch


def part(columns: Columns, rng: np.random.Generator) -> Columns:
    """Cut out one minute, from zero."""
    onset, pitch = columns
    start = rng.uniform(onset[0], max(onset[0] + 1, onset[-1] - 60_000))
    inside = (onset >= start) & (onset < start + 60_000)
    return onset[inside] - start, pitch[inside]


def on_grid(columns: Columns, rng: np.random.Generator) -> Columns:
    """Round to a grid of 10 ms, like tokens."""
    onset, pitch = columns
    return np.round((onset - onset[0]) / 10) * 10, pitch


def coarse(columns: Columns, rng: np.random.Generator) -> Columns:
    """Round to the grid of 96 ticks a quarter at 100 beats a minute: 6.25 ms."""
    onset, pitch = columns
    return np.round((onset - onset[0]) / 6.25) * 6.25, pitch


def transcribed(columns: Columns, rng: np.random.Generator) -> Columns:
    """Imitate a transcription of audio: 8 ms of jitter, 5 % of notes missing, 5 % ghost notes."""
    onset, pitch = columns
    n = len(onset)
    there = rng.random(n) > 0.05
    ghost = rng.integers(0, n, n // 20)
    onset = np.append(onset[there] + rng.normal(0, 8, there.sum()), onset[ghost] + 30)
    pitch = np.append(pitch[there], np.minimum(pitch[ghost] + 12, 127))
    order = np.argsort(onset, kind="stable")
    return onset[order] - onset[order[0]], pitch[order].astype(np.uint8)


def part_transcribed(columns: Columns, rng: np.random.Generator) -> Columns:
    """Cut out one minute of such a transcription."""
    return part(transcribed(columns, rng), rng)


def faster(columns: Columns, rng: np.random.Generator) -> Columns:
    """Play 1 % faster: a shift cannot explain this, so it should not be found."""
    onset, pitch = columns
    return onset / 1.01, pitch


VARIANTS: dict[str, Callable[[Columns, np.random.Generator], Columns]] = {
    "later": later,
    "one minute": part,
    "10 ms grid": on_grid,
    "6.25 ms grid": coarse,
    "transcribed": transcribed,
    "one minute, transcribed": part_transcribed,
    "1 % faster (not meant to be found)": faster,
}


def asap_pairs(rows: list[Row]) -> list[Pair]:
    """Return pairs of positions that hold one ASAP piece."""
    pieces = defaultdict(list)
    for i, row in enumerate(rows):
        if row["source"] == "asap":
            folder = row["id"].rpartition("/")[0]
            pieces[re.sub(r"_[a-z0-9_]*repeat$", "", folder)].append(i)
    return [pair for files in pieces.values() for pair in combinations(files, 2)]


def quantiles(values: Iterable[float], at: Iterable[float]) -> dict[str, float]:
    """Return quantiles by name."""
    listed = list(values)
    return {f"{q:g}": round(float(np.quantile(listed, q)), 3) for q in at}


def recordings(rows: list[Row], table: FingerprintTable, labels: IntArray) -> dict[str, Any]:
    """Measure recall and precision of the first near grade."""
    at = {row["id"]: i for i, row in enumerate(rows)}
    original = [at[row["dup_of"] or row["id"]] for row in rows]
    true = [(i, o) for i, o in enumerate(original) if i != o]
    other = [
        (i, j)
        for i, j in within(labels, [i for i, row in enumerate(rows) if row["kind"] != "score"])
        if original[i] != original[j]
    ]
    start = time.process_time()
    found = dedup.dedup_recordings(table)
    seconds = time.process_time() - start
    groups = Groups(len(rows))
    for one in found:
        groups.join(one.duplicate, one.kept)
    played = [d for d in found if "score" not in (rows[d.duplicate]["kind"], rows[d.kept]["kind"])]
    right = [d for d in played if original[d.duplicate] == original[d.kept]]
    true_matches = [dedup.same_recording(table[i], table[j]) for i, j in true]
    other_matches = [dedup.same_recording(table[i], table[j]) for i, j in other]
    return {
        "true_pairs": len(true),
        "recall": sum(groups.find(i) == groups.find(j) for i, j in true) / len(true),
        "performances_flagged": len(played),
        "precision": len(right) / len(played),
        "scores_flagged": len(found) - len(played),
        "other_performances_of_one_work": {
            "pairs": len(other),
            "flagged": sum(match.same for match in other_matches),
        },
        "agreement_on_one_shift": {
            "true pairs": quantiles((m.agreement for m in true_matches), (0, 0.01, 0.5)),
            "other performances with enough in common": quantiles(
                (
                    m.agreement
                    for m in other_matches
                    if m.share >= dedup.RECORDING_SHARE and m.shared >= dedup.MIN_HITS
                ),
                (0.5, 0.99, 1),
            ),
        },
        "cpu_seconds": round(seconds, 2),
    }


def variants(
    rows: list[Row], columns: list[Columns], table: FingerprintTable, every: int
) -> dict[str, Any]:
    """Measure the recall of changed recordings through the index."""
    rng = np.random.default_rng(0)
    chosen = [i for i, row in enumerate(rows) if row["kind"] != "score" and not row["dup_of"]][
        ::every
    ]
    figures: dict[str, Any] = {"files": len(chosen)}
    everything = [table[i] for i in range(len(table))]
    for name, change in VARIANTS.items():
        changed = [dedup.fingerprint_notes(*change(columns[i], rng)) for i in chosen]
        pairs = dedup.recording_candidates(FingerprintTable.pack([*everything, *changed]))
        candidates = set(map(tuple, pairs.tolist()))
        looked_at = found = 0
        for k, i in enumerate(chosen):
            if (i, len(rows) + k) in candidates:
                looked_at += 1
                found += dedup.same_recording(table[i], changed[k]).same
        figures[name] = {
            "in_index": round(looked_at / len(chosen), 4),
            "recall": round(found / len(chosen), 4),
        }
    return figures


def compositions(
    rows: list[Row],
    columns: list[Columns],
    table: FingerprintTable,
    labels: IntArray,
) -> dict[str, Any]:
    """Measure recall and precision of the second near grade."""
    same_piece = asap_pairs(rows)
    matches = [dedup.same_composition(table[i], table[j]) for i, j in same_piece]
    works = [frozenset(filter(None, row["piece_id"].split("+"))) for row in rows]
    labelled = [i for i, work in enumerate(works) if work]
    joined = within(labels, labelled)
    direct = [p for p in joined if dedup.same_composition(table[p[0]], table[p[1]]).same]
    files = sorted({i for pair in same_piece for i in pair})
    with mock.patch.object(dedup, "CHORD_MS", -1):
        raw: dict[int, Fingerprint] = {i: dedup.fingerprint_notes(*columns[i]) for i in files}
    raw_found = sum(dedup.same_composition(raw[i], raw[j]).same for i, j in same_piece)

    def agree(pairs: list[Pair]) -> float:
        return sum(bool(works[i] & works[j]) for i, j in pairs) / len(pairs)

    return {
        "true_pairs": len(same_piece),
        "recall_of_groups": sum(int(labels[i] == labels[j]) for i, j in same_piece)
        / len(same_piece),
        "recall_of_single_comparison": sum(m.same for m in matches) / len(same_piece),
        "recall_of_single_comparison_without_chord_order": raw_found / len(same_piece),
        "share_of_true_pairs": quantiles((m.share for m in matches), (0, 0.001, 0.01, 0.1, 0.5)),
        "joined_pairs": len(joined),
        "precision_of_groups": agree(joined),
        "joined_pairs_with_enough_in_common": len(direct),
        "precision_of_those": agree(direct),
        "groups": len(set(labels.tolist())),
        "groups_of_several_works": sum(
            not _linked([works[i] for i in members])
            for members in members_of(labels, labelled).values()
        ),
        "largest_group": int(np.bincount(labels).max()),
    }


def members_of(labels: IntArray, files: list[int]) -> dict[int, list[int]]:
    """Group the given files by label."""
    members = defaultdict(list)
    for i in files:
        members[int(labels[i])].append(i)
    return members


def within(labels: IntArray, files: list[int]) -> list[Pair]:
    """Return pairs of the given files that are in one group."""
    return [p for members in members_of(labels, files).values() for p in combinations(members, 2)]


def _linked(works: list[frozenset[str]]) -> bool:
    """Return whether the manifest also links works of a group through files of several works."""
    first: dict[str, int] = {}
    groups = Groups(len(works))
    for i, listed in enumerate(works):
        for work in listed:
            groups.join(i, first.setdefault(work, i))
    return len(set(groups.labels().tolist())) == 1


def main() -> None:
    """Measure, print, file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dedup_quality", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpus")
    parser.add_argument("--variants", type=int, default=10, metavar="N", help="every N-th file")
    given = parser.parse_args()

    rows, columns, prints = [], [], []
    hash_seconds = print_seconds = 0.0
    for row, piece in read_all(given.data):
        rows.append(row)
        columns.append((piece.onset_ms, piece.notes.pitch))
        assert len(piece.duration_ms) == len(piece)
        start = time.process_time()
        dedup.content_hash(piece)
        middle = time.process_time()
        prints.append(dedup.fingerprint(piece))
        hash_seconds += middle - start
        print_seconds += time.process_time() - middle
    table = FingerprintTable.pack(prints)
    n = len(rows)
    size = sum(getattr(table, name).nbytes for name in ("hash", "time_ms", "span_ms"))
    start = time.process_time()
    labels = dedup.composition_groups(table)
    seconds = time.process_time() - start
    figures = {
        "files": n,
        "notes_a_file": round(float(table.notes.mean())),
        "content_hash_ms_a_file": round(hash_seconds / n * 1e3, 3),
        "fingerprint_ms_a_file": round(print_seconds / n * 1e3, 3),
        "fingerprint_bytes_a_file": round(size / n),
        "same_recording": recordings(rows, table, labels),
        "same_recording_changed_on_purpose": variants(rows, columns, table, given.variants),
        "same_composition": compositions(rows, columns, table, labels)
        | {"cpu_seconds": round(seconds, 2)},
    }
    for name, value in figures.items():
        print(f"{name}: {value}")
    print("filed", file_result("dedup_quality", figures))


if __name__ == "__main__":
    main()
