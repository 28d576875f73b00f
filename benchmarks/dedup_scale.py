"""What do duplicates and compositions cost among many files?

    python -m benchmarks.dedup_scale [--files N ...]

Synthetic fingerprints with the difficult cases: a few works with hundreds of performances and many
works with one, performances that share 30 to 80 % of their sequences at other times, common
sequences, and every twentieth file a copy of an earlier one (shifted, a fifth of it lost). Each
size runs in a separate process; the last line extrapolates to a million files with the growth from
the second largest to the largest size.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from arietta.data import dedup
from arietta.data.dedup import Fingerprint, FingerprintTable
from benchmarks.common import file_result

SIZES = (12_500, 25_000, 50_000, 100_000)
PROJECTED = 1_000_000
COPY_EVERY = 20


def synthetic_prints(files: int) -> Iterator[tuple[Fingerprint, int, int]]:
    """Yield fingerprints with the number of their work and of the recording (its first file)."""
    rng = np.random.default_rng(0)
    common = rng.integers(0, 1 << (32 - dedup.MAX_LEVEL), 2000)
    past: list[Fingerprint] = []
    facts: list[tuple[int, int]] = []
    for i in range(files):
        if i and i % COPY_EVERY == 0:
            of = int(rng.integers(max(0, i - 5000), i))
            print_, (work, recording) = past[of % 5000], facts[of]
            there = rng.random(len(print_)) < 0.8
            copy = Fingerprint(
                print_.hash[there],
                print_.time_ms[there] + np.uint32(1234),
                print_.span_ms[there],
                print_.level,
                print_.notes - 10,
            )
        else:
            # Half of the files share 20,000 works, the k-th in proportion to 1 / (30 + k); the
            # works of the other half have one performance each.
            work = int(30 * (20_000 / 30) ** rng.random()) - 30 if rng.random() < 0.5 else -i - 1
            recording = i
            copy = performed(work, common, rng)
        past[i % 5000 : i % 5000 + 1] = [copy]
        facts.append((work, recording))
        yield copy, work, recording


def performed(work: int, common: np.ndarray[Any, Any], rng: np.random.Generator) -> Fingerprint:
    """Make one performance of a work."""
    written = np.random.default_rng(abs(work) * 2 + (work < 0))
    notes = int(np.clip(written.lognormal(7.7, 0.8), 100, 20_000))
    level = 0
    while level < dedup.MAX_LEVEL and notes >> level > dedup.KEPT:
        level += 1
    count = notes >> level
    top = 1 << (32 - level)
    hashes = written.integers(0, top, count)
    times = np.sort(written.integers(0, notes * 110, count))
    spans = written.integers(300, 2000, count)
    other = rng.random(count) > rng.uniform(0.3, 0.8)
    hashes = np.where(other, rng.integers(0, top, count), hashes)
    few = rng.integers(0, count, 3)
    hashes[few] = rng.choice(common, 3)
    tempo = rng.uniform(0.75, 1.3)
    played = times * tempo + np.cumsum(rng.normal(0, 40, count))
    lasting = spans * tempo * rng.normal(1, 0.05, count)
    order = np.argsort(hashes, kind="stable")
    return Fingerprint(
        hashes[order].astype(np.uint32),
        np.clip(played[order], 0, None).astype(np.uint32),
        np.clip(lasting[order], 0, 65535).astype(np.uint16),
        level,
        notes,
    )


def agreement(found: list[int], true: list[int]) -> dict[str, float]:
    """Compute precision and recall of a partition, over pairs."""

    def pairs(labels: Any) -> float:
        counts = np.unique(labels, return_counts=True, axis=0)[1].astype(float)
        return float((counts * (counts - 1)).sum() / 2)

    both = pairs(np.stack((found, true), axis=1))
    return {
        "precision": round(both / max(pairs(found), 1), 5),
        "recall": round(both / max(pairs(true), 1), 5),
    }


def measure(files: int) -> dict[str, Any]:
    """Measure one size in this process."""
    prints, works, recordings = [], [], []
    for print_, work, recording in synthetic_prints(files):
        prints.append(print_)
        works.append(work)
        recordings.append(recording)
    table = FingerprintTable.pack(prints)
    del prints
    start = time.process_time()
    found = dedup.dedup_recordings(table)
    middle = time.process_time()
    labels = dedup.composition_groups(table)
    end = time.process_time()
    groups = dedup.Groups(files)
    for one in found:
        groups.join(one.duplicate, one.kept)
    return {
        "files": files,
        "largest_work": int(np.unique(works, return_counts=True)[1].max()),
        "table_mb": round(
            sum(getattr(table, n).nbytes for n in ("hash", "time_ms", "span_ms")) / 1e6
        ),
        "recordings_cpu_seconds": round(middle - start, 1),
        "compositions_cpu_seconds": round(end - middle, 1),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "recordings": agreement(groups.labels().tolist(), recordings),
        "compositions": agreement(labels.tolist(), works),
    }


def projected(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Extrapolate to a million files by the growth between the two largest runs."""
    small, large = runs[-2:]
    doublings = np.log2(large["files"] / small["files"])
    further = np.log2(PROJECTED / large["files"])
    figures: dict[str, Any] = {"files": PROJECTED}
    for name in ("recordings_cpu_seconds", "compositions_cpu_seconds", "table_mb"):
        growth = max(large[name] / max(small[name], 1e-9), 1.0) ** (1 / doublings)
        figures[name] = round(large[name] * growth**further)
    return figures


def main() -> None:
    """Measure each size in a separate process, print and file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dedup_scale", description=__doc__)
    parser.add_argument("--files", type=int, nargs="*", default=SIZES)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one)))
        return
    runs = []
    for files in given.files:
        words = [sys.executable, "-m", "benchmarks.dedup_scale", "--one", str(files)]
        done = subprocess.run(words, check=True, capture_output=True, text=True)
        runs.append(json.loads(done.stdout))
        print(runs[-1], flush=True)
    figures: dict[str, Any] = {"runs": runs}
    if len(runs) > 1:
        figures["projected"] = projected(runs)
        print(figures["projected"])
    print("filed", file_result("dedup_scale", figures))


if __name__ == "__main__":
    main()
