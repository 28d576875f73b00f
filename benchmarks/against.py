"""Is anything slower than in an older checkout?

    python -m benchmarks.against OLD [--data FOLDER] [--rounds 7]

OLD is a checkout of an earlier commit with its compiled parts built in place. It and this one take
turns, each time in a new process: reading files (ASAP performances of FOLDER, else the included
prompts), writing the pieces that were read with other velocities, deciding tokens with the model
``small`` of OLD, one row of a given prompt and seed, and starting: ``arietta --help`` and ``import
arietta``. Everything is counted in processor time. Filed are the medians of both and their ratio;
above 1 is faster now.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import file_result
from benchmarks.read_speed import sample

ROOT = Path(__file__).resolve().parent.parent
PROMPT = ROOT / "arietta" / "assets" / "prompts" / "nocturne.mid"
WORK = """
import json, pickle, sys, time
from dataclasses import replace
import arietta
from arietta.midi.reader import read_bytes
from arietta.midi.writer import write_midi

def cpu(do, times=5):
    found = []
    for _ in range(times):
        began = time.process_time()
        do()
        found.append(time.process_time() - began)
    return min(found)

files = pickle.load(open(sys.argv[1], "rb"))
pieces = [read_bytes(data) for data in files]
touched = [
    replace(piece, notes=replace(piece.notes, velocity=piece.notes.velocity // 2 + 1))
    for piece in pieces
]
model = arietta.load(sys.argv[3])
prompt = arietta.read(sys.argv[2])
options = dict(prompt_seconds=15, seconds=20, seed=3)
tokens = 0

def decide():
    global tokens
    stream = model.stream(prompt, variations=1, **options)
    stream.run()
    tokens = stream.progress().tokens

decide()
print(json.dumps({
    "folder": arietta.__file__,
    "files read a second": len(files) / cpu(lambda: [read_bytes(data) for data in files]),
    "files written a second": len(files) / cpu(lambda: [write_midi(piece) for piece in touched]),
    "tokens decided a second": [cpu(decide, 3), tokens],
}))
"""


def measured(checkout: Path, files: Path, model: Path) -> dict[str, float]:
    """Return the rates of a checkout, measured in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", WORK, str(files), str(PROMPT), str(model)],
        env={**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"},
        cwd=checkout,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if Path(found.pop("folder")).parent.parent != checkout.resolve():
        raise SystemExit(f"{checkout} was not the one that ran")
    seconds, tokens = found["tokens decided a second"]
    return {
        **found,
        "tokens decided a second": tokens / seconds,
        "starts of --help a second": 1 / started(checkout, "-m", "arietta", "--help"),
        "imports a second": 1 / started(checkout, "-c", "import arietta"),
    }


def started(checkout: Path, *words: str) -> float:
    """Return the processor seconds of a Python process, the least of five."""
    found = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, *words],
            env={**os.environ, "PYTHONPATH": str(checkout)},
            cwd=checkout,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(found)


def main() -> None:
    """Measure, print, file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("--commit", help="what the old checkout is, for the record")
    parser.add_argument("--data", type=Path, help="corpus with ASAP in it")
    parser.add_argument("--files", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    rates: dict[str, list[dict[str, float]]] = {"old": [], "new": []}
    old = given.old.resolve()
    model = old / "arietta" / "assets" / "small"
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "files.pkl"
        files.write_bytes(pickle.dumps(sample(given.data, given.files)))
        for _ in range(given.rounds):
            rates["old"].append(measured(old, files, model))
            rates["new"].append(measured(ROOT, files, model))
    figures: dict[str, Any] = {"old_commit": given.commit, "rounds": given.rounds}
    for name in rates["new"][0]:
        before, now = (statistics.median(row[name] for row in rates[who]) for who in ("old", "new"))
        turns = [b[name] / a[name] for a, b in zip(rates["old"], rates["new"], strict=True)]
        figures[name] = {
            "old": round(before, 1),
            "new": round(now, 1),
            "new_to_old": round(statistics.median(turns), 3),
            "of_single_turns": [round(min(turns), 3), round(max(turns), 3)],
        }
        print(f"{name:26} {before:9.1f} -> {now:9.1f}, {statistics.median(turns):.3f}")
    print(f"filed in {file_result('against', figures).name}")


if __name__ == "__main__":
    main()
