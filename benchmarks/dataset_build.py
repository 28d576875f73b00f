"""How fast are datasets built, and what memory does it take?

    python -m benchmarks.dataset_build --data FOLDER [--times 1 4 16] [--workers 2]

FOLDER is a corpus with ``manifest.csv``. It is built with all filters and exact dedup, in the form
``grid``, and again given 4 and 16 times: every file comes under new names, is read and measured
anew, and found to be a duplicate in the end. Another pass adds the search for recordings and works.
Each pass is a process of its own. On a machine that others use as well, processor seconds say more
than the clock; ``files_per_s_by_cpu`` is what the workers would reach with their cores to
themselves. With ``--slice`` a pass is stopped after so many seconds and gone on with, as often as
it takes: that is what builds allow.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from arietta.data.build import build_dataset
from arietta.data.engines import Local
from arietta.data.settings import preset
from benchmarks.common import file_result


def one(folder: Path, out: Path, times: int, workers: int, grade: str) -> dict[str, Any]:
    """Build once, in this process and its workers."""
    near = grade == "recordings"
    settings = preset("pretrain", form="grid", dedup=grade, compositions=near)
    peak = _Peak()
    start = time.monotonic()
    report = build_dataset([folder] * times, out, settings, engine=Local(workers))
    seconds = time.monotonic() - start
    worker, driver = peak.stop()
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "files": report.inputs,
        "kept": report.kept,
        "seconds": seconds,
        "cpu_seconds": sum(u.ru_utime + u.ru_stime for u in used),
        "driver_mib": driver,
        "worker_mib": worker,
    }


class _Peak:
    """Largest memory of this process, and of any one worker, without pages of mapped files."""

    def __init__(self) -> None:
        self._worker = self._driver = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        me = Path("/proc/self")
        while not self._done.wait(0.2):
            self._driver = max(self._driver, _anonymous_mib(me / "status"))
            try:
                children = (me / "task" / str(os.getpid()) / "children").read_text().split()
            except OSError:
                continue
            for child in children:
                self._worker = max(self._worker, _anonymous_mib(Path("/proc", child, "status")))

    def stop(self) -> tuple[float, float]:
        """(worker, driver) in MiB."""
        self._done.set()
        self._thread.join()
        return round(self._worker, 1), round(self._driver, 1)


def _anonymous_mib(status: Path) -> float:
    try:
        for line in status.read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) / 1024
    except OSError:  # it has ended
        pass
    return 0.0


def main() -> None:
    """Measure, print a table, file the result."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path, required=True, help="a corpus with manifest.csv")
    options.add_argument("--times", type=int, nargs="+", default=[1, 4, 16])
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--pass-of", type=int, help=argparse.SUPPRESS)
    options.add_argument("--grade", default="exact", help=argparse.SUPPRESS)
    options.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.pass_of:
        print(json.dumps(one(given.data, given.out, given.pass_of, given.workers, given.grade)))
        return
    passes: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for grade, times in [("exact", n) for n in given.times] + [("recordings", 1)]:
            out = Path(scratch, f"{grade}-{times}")
            command = [sys.executable, "-m", "benchmarks.dataset_build", "--data", str(given.data)]
            command += ["--workers", str(given.workers), "--out", str(out)]
            command += ["--pass-of", str(times), "--grade", grade]
            done = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            shutil.rmtree(out)
            done["files_per_s"] = round(done["files"] / done["seconds"], 1)
            by_cpu = done["files"] * given.workers / done["cpu_seconds"]
            done["files_per_s_by_cpu"] = round(by_cpu, 1)
            done["seconds"], done["cpu_seconds"] = (
                round(done[name], 1) for name in ("seconds", "cpu_seconds")
            )
            passes[f"{times}x {grade}"] = done
            print(f"{times:3}x {grade:10} {json.dumps(done)}")
    first = passes[f"{given.times[0]}x exact"]
    last = passes[f"{given.times[-1]}x exact"]
    more = last["files"] - first["files"]
    growth = (last["driver_mib"] - first["driver_mib"]) / more if more else 0.0
    figures = {
        "workers": given.workers,
        "passes": passes,
        "driver_bytes_per_file": round(growth * 2**20),
        "million_files": {
            "hours_by_clock": round(1e6 / last["files_per_s"] / 3600, 2),
            "hours_by_cpu": round(1e6 / last["files_per_s_by_cpu"] / 3600, 2),
            "driver_mib": round(first["driver_mib"] + growth * (1e6 - first["files"])),
        },
    }
    print(f"filed in {file_result('dataset_build', figures).name}")


if __name__ == "__main__":
    main()
