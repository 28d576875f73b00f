"""Does the pedal pass restore the pedalling of human performances?

    python -m benchmarks.repedal --data FOLDER [--files N]

FOLDER holds ``manifest.csv`` and the ``.tar.zst`` shards it names. Of every source the first N
files with 100 notes or more are read; their pedal is folded into the note lengths, which are then
put on the 10 ms grid of the tokens and capped at 5 s, so that only what a model would give is left.
``repedal`` splits them again, told whether the first 30 s of the file used the pedal, as a prompt
tells it. How much a pedal that is expected may rest on was chosen on every second file (``--half
1``); what is filed is of the others. Filed for each source: the share of notes that end within
20 ms of when they should, the same within the 30 ms that a key needs before it is struck again, our
pedal movements and people's, the shortest time between two of ours, and for how much of the time in
which people kept their pedal up for 8 s or more ours is down.
"""

from __future__ import annotations

import argparse
import csv
import tarfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from arietta.midi.merged import MergedNotes, merge_tracks
from arietta.midi.reader import read_bytes
from arietta.midi.repedal import LONGEST_MS, RESTRIKE_MS, next_strokes, repedal, sounding_ends
from benchmarks.common import file_result

FEWEST_NOTES = 100
PROMPT_MS = 30_000
DRY_MS = 8_000
TOLERANCE_MS = 20.0
PEDALLED = 20
"""Smallest number of movements of a pedalled file; a file with at most 2 counts as dry."""


def pieces(folder: Path, count: int) -> Iterator[tuple[str, MergedNotes]]:
    """Yield (source, piano) of the first files of every shard."""
    with (folder / "manifest.csv").open(encoding="utf8") as file:
        rows = {(row["shard"], row["path"]): row["source"] for row in csv.DictReader(file)}
    for shard in sorted({shard for shard, _ in rows}):
        found: dict[str, int] = defaultdict(int)
        with (
            (folder / shard).open("rb") as packed,
            zstandard.ZstdDecompressor().stream_reader(packed) as stream,
            tarfile.open(fileobj=stream, mode="r|") as tar,
        ):
            for member in tar:
                source = rows.get((shard, member.name))
                content = tar.extractfile(member) if source is not None else None
                if source is None or content is None:
                    continue
                piano = merge_tracks(read_bytes(content.read()))
                if len(piano) >= FEWEST_NOTES:
                    yield source, piano
                    found[source] += 1
                if found[source] >= count:
                    break


def measure(piano: MergedNotes) -> dict[str, float]:
    """Measure the pass on one file."""
    onset = np.rint(piano.onset_ms / 10.0) * 10.0
    end = sounding_ends(
        piano.onset_ms.astype(np.float64),
        piano.offset_ms.astype(np.float64),
        piano.pitch,
        piano.pedal_ms.astype(np.float64),
        piano.pedal_value,
    )
    end = np.where(np.isfinite(end), end, piano.offset_ms)
    length = np.maximum(np.rint(np.clip(end - piano.onset_ms, 10, 5000) / 10.0) * 10.0, 10.0)
    order = np.lexsort((piano.pitch, onset))
    onset, length, pitch = onset[order], length[order], piano.pitch[order]

    down = piano.pedal_value >= 64
    moved = np.flatnonzero(np.diff(down, prepend=False))
    times, state = piano.pedal_ms[moved].astype(np.float64), down[moved]
    early = int(np.count_nonzero(times < onset[0] + PROMPT_MS))
    began = time.process_time()
    made = repedal(onset, length, pitch, expected=early >= 4)
    seconds = time.process_time() - began

    again = next_strokes(onset, pitch)
    wanted = np.minimum(np.minimum(onset + length, again), onset + LONGEST_MS)
    got = sounding_ends(onset, made.offset_ms, pitch, made.pedal_ms, made.pedal_value)
    off = np.abs(np.minimum(got, onset + LONGEST_MS) - wanted)
    right, restruck = off <= TOLERANCE_MS, off <= RESTRIKE_MS + 0.01
    struck = again - made.offset_ms
    ups, downs = np.append(onset[0], times[~state]), np.append(times[state], onset[-1])
    spans = [(a, b) for a, b in zip(ups, downs, strict=False) if b - a >= DRY_MS]
    ours = list(zip(made.pedal_ms[::2].tolist(), made.pedal_ms[1::2].tolist(), strict=True))
    return {
        "notes": len(onset),
        "right": int(np.count_nonzero(right)),
        "within_restrike": int(np.count_nonzero(restruck)),
        "people": len(moved),
        "ours": len(made.pedal_ms),
        "gap_ms": float(np.diff(made.pedal_ms).min(initial=np.inf)),
        "restrike_ms": float(struck.min(initial=np.inf)),
        "dry_ms": float(sum(b - a for a, b in spans)),
        "dry_down_ms": float(
            sum(max(0.0, min(b, y) - max(a, x)) for a, b in spans for x, y in ours)
        ),
        "seconds": seconds,
    }


def main() -> None:
    """Measure, print a table, file the result."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path, required=True, help="corpus with a manifest")
    options.add_argument("--files", type=int, default=60, help="of every source")
    options.add_argument("--half", choices=("0", "1", "both"), default="0", help="of the files")
    given = options.parse_args()
    rows: dict[str, list[dict[str, float]]] = defaultdict(list)
    met: Counter[str] = Counter()
    for source, piano in pieces(given.data, given.files):
        met[source] += 1
        if given.half in ("both", str((met[source] - 1) % 2)):
            rows[source].append(measure(piano))
    figures: dict[str, Any] = {"half": given.half, "sources": {}}
    print("source             files  notes right  ours/people  shortest  dry time with pedal")
    for source, found in [*rows.items(), ("all", [row for part in rows.values() for row in part])]:
        column = {name: np.array([row[name] for row in found]) for name in found[0]}
        wet, dry = column["people"] >= PEDALLED, column["people"] <= 2
        per_file = column["right"] / column["notes"]
        summary: dict[str, Any] = {
            "files": len(found),
            "notes": int(column["notes"].sum()),
            "right_share": round(float(column["right"].sum() / column["notes"].sum()), 4),
            "right_share_but_for_restrikes": round(
                float(column["within_restrike"].sum() / column["notes"].sum()), 4
            ),
            "right_share_pedalled_files": None
            if not wet.any()
            else round(float(column["right"][wet].sum() / column["notes"][wet].sum()), 4),
            "files_with_98_percent": round(float(np.mean(per_file >= 0.98)), 3),
            "pedalled_files": int(wet.sum()),
            "median_movements_ours": None
            if not wet.any()
            else float(np.median(column["ours"][wet])),
            "median_movements_people": None
            if not wet.any()
            else float(np.median(column["people"][wet])),
            "dry_files": int(dry.sum()),
            "median_movements_in_dry_files": None
            if not dry.any()
            else float(np.median(column["ours"][dry])),
            "shortest_between_movements_ms": round(float(column["gap_ms"].min()), 1),
            "shortest_before_restrike_ms": round(float(column["restrike_ms"].min()), 1),
            "dry_seconds": round(float(column["dry_ms"].sum() / 1000)),
            "dry_share_with_pedal": round(
                float(column["dry_down_ms"].sum() / max(column["dry_ms"].sum(), 1.0)), 4
            ),
            "notes_per_second": round(float(column["notes"].sum() / column["seconds"].sum())),
        }
        figures["sources"][source] = summary
        print(
            f"{source:18} {summary['files']:5} {summary['right_share']:11.4f}"
            f"  {summary['median_movements_ours']} / {summary['median_movements_people']}"
            f"  {summary['shortest_between_movements_ms']:8.0f}"
            f"  {summary['dry_share_with_pedal']:.3f}"
        )
    print(f"filed in {file_result('repedal', figures).name}")


if __name__ == "__main__":
    main()
