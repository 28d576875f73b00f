"""How long does the start take?

    python -m benchmarks.startup [--repeats 7]

Wall time of whole processes, medians: ``arietta --help``; ``import arietta`` and what it loads;
from the start of a process to the first new note of the included model; and the real-time factor of
30 s of music. ``python -c pass`` is the baseline. "First" empties the caches of Arietta before the
run, "later" does not.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import file_result

PROMPT = Path("arietta/assets/prompts/nocturne.mid")

FIRST_NOTE = f"""
import sys, time
import arietta
piece = arietta.read({str(PROMPT)!r})
model = arietta.load("small")
for note in model.stream(piece, prompt_seconds=15, seconds=30, seed=1):
    print(time.time())
    break
"""

WHOLE = f"""
import time
import arietta
piece = arietta.read({str(PROMPT)!r})
model = arietta.load("small")
started = time.perf_counter()
out = model.generate(piece, prompt_seconds=15, seconds=30, seed=1)
print(out.new.end_ms / 1000 / (time.perf_counter() - started), len(out.new))
"""

LOADED = (
    "import sys, arietta; heavy = ('torch', 'openvino', 'numpy', 'rich', 'typer'); "
    "print(','.join(m for m in heavy if m in sys.modules))"
)


def run(code: list[str], home: Path) -> tuple[float, str]:
    """Run a process; return its wall seconds and output."""
    started = time.perf_counter()
    done = subprocess.run(
        code,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "ARIETTA_HOME": str(home)},
    )
    return time.perf_counter() - started, done.stdout.strip()


def median(values: list[float]) -> dict[str, float]:
    """Return median, lowest and highest value."""
    return {
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
    }


def main() -> None:
    """Measure, print, file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    python = sys.executable
    times: dict[str, list[float]] = {k: [] for k in ("python", "help", "import")}
    first: list[float] = []
    later: list[float] = []
    factor: list[float] = []
    loaded = notes = ""
    with tempfile.TemporaryDirectory() as warm:
        for _ in range(repeats):
            times["python"].append(run([python, "-c", "pass"], Path(warm))[0])
            times["help"].append(run([python, "-m", "arietta", "--help"], Path(warm))[0])
            seconds, loaded = run([python, "-c", LOADED], Path(warm))
            times["import"].append(seconds)
            with tempfile.TemporaryDirectory() as cold:
                started = time.time()
                first.append(float(run([python, "-c", FIRST_NOTE], Path(cold))[1]) - started)
            started = time.time()
            later.append(float(run([python, "-c", FIRST_NOTE], Path(warm))[1]) - started)
            rtf, notes = run([python, "-c", WHOLE], Path(warm))[1].split()
            factor.append(float(rtf))
    figures: dict[str, Any] = {
        **{f"{name}_seconds": median(values) for name, values in times.items()},
        "import_loads": loaded.split(",") if loaded else [],
        "first_note_first_run_seconds": median(first),
        "first_note_later_seconds": median(later),
        "real_time_factor_30_s": median(factor),
        "notes_30_s": int(notes),
    }
    for name, value in figures.items():
        print(f"{name:32} {value}")
    file_result("startup", figures)


if __name__ == "__main__":
    main()
