"""Run every benchmark, one after the other, each in a process of its own.

    python -m benchmarks [--data FOLDER] [--tokens FOLDER]

FOLDERs are the corpus (``manifest.csv`` and its shards) and the token files made from it; what
needs one that is not given is left out and named.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# name -> extra arguments; {data} and {tokens} stand for the folders.
ARGUMENTS = {
    "continuations": ["test", "{tokens}"],
    "likelihood": ["{tokens}"],
    "read_speed": ["--data", "{data}"],
    "tokenize_speed": ["--data", "{data}", "--miditok"],
}


def main() -> int:
    """Exit code 1 if any benchmark failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--data", help="folder of the corpus")
    parser.add_argument("--tokens", help="folder of token files")
    folders = vars(parser.parse_args())
    failed, left_out = [], []
    for path in sorted(HERE.glob("*.py")):
        name = path.stem
        if name.startswith("_") or name == "common":
            continue
        extra = ARGUMENTS.get(name, [])
        missing = [k for k, v in folders.items() if v is None and f"{{{k}}}" in extra]
        if missing:
            left_out.append(f"{name} (--{missing[0]})")
            continue
        print(f"== {name}", flush=True)
        words = [folders[w[1:-1]] if w.startswith("{") else w for w in extra]
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *words]).returncode:
            failed.append(name)
    if left_out:
        print("left out, needs a folder:", ", ".join(left_out))
    if failed:
        print("failed:", ", ".join(failed))
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
