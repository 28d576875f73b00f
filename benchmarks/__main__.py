"""Run every benchmark in turn, each in a separate process.

    python -m benchmarks [--data FOLDER] [--dataset FOLDER]

The FOLDERs are the corpus (``manifest.csv`` and its shards), which replaces the test fixtures, and
the dataset that ``arietta data build`` makes of it. Benchmarks without the data that they need are
skipped and listed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# name -> further arguments; {data} and {dataset} stand for those folders, and {runs} for trained
# models, which are not available here.
ARGUMENTS = {
    "chord_starvation": ["{dataset}"],
    "continuations": ["test", "{dataset}"],
    "dataset_build": ["--data", "{data}"],
    "dedup_quality": ["--data", "{data}"],
    "few_label": ["asap-composer", "--data", "{data}", "--no-finetune"],
    "finetune_folder": ["{data}"],
    "likelihood": ["{dataset}"],
    "loader_speed": ["{dataset}"],
    "planted_errors": ["{dataset}"],
    "tokenize_speed": ["--miditok"],
    "variants": ["{runs}"],
}
TAKES_DATA = {"read_speed", "tokenize_speed"}


def main() -> int:
    """Run the benchmarks; return 1 if any of them failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--data", help="folder of the corpus")
    parser.add_argument("--dataset", help="folder of a dataset (arietta data build)")
    given = parser.parse_args()
    failed, left_out = [], []
    for path in sorted(HERE.glob("*.py")):
        name = path.stem
        if name.startswith("_") or name in ("common", "readme_picture"):
            continue
        folders = {"{data}": given.data, "{dataset}": given.dataset, "{runs}": None}
        words = [folders.get(w, w) for w in ARGUMENTS.get(name, [])]
        if None in words:
            left_out.append(name)
            continue
        if given.data and name in TAKES_DATA:
            words += ["--data", given.data]
        print(f"== {name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *words]).returncode:
            failed.append(name)
    if left_out:
        print("left out, because they need --data, --dataset or trained runs:", ", ".join(left_out))
    if failed:
        print("failed:", ", ".join(failed))
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
