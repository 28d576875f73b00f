"""How fast is the build of a dataset, and how much memory does it take?

    python -m benchmarks.dataset_build --data FOLDER [--times 1 4 16] [--workers 2]
        [--prefix 'timeout -s KILL 160']

FOLDER is a corpus with ``manifest.csv``. It is built with all filters and exact dedup, in the form
``grid``, and again with 4 and 16 copies of every file: each copy has a new name, is read and
measured again, and is removed as a duplicate at the end. Another pass adds the search for
recordings and works. Each pass is a separate process. On a shared machine processor seconds are
more reliable than wall time; ``files_per_s_by_cpu`` is the rate of the workers if they had their
cores alone. Memory is the private memory of a process, without pages of mapped files.

``--prefix`` precedes the command of each pass. A killed pass, for instance by the ``timeout``
above, is restarted until it is complete, and the times of all attempts are added: so a long
measurement can pause for other work.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
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

KILLED = (-9, 137)


def one(folder: Path, out: Path, times: int, workers: int, grade: str) -> dict[str, int]:
    """Build once in this process and its workers; record the use of resources."""
    near = grade == "recordings"
    settings = preset("pretrain", form="grid", dedup=grade, compositions=near)
    with Watch(out.with_suffix(f".{os.getpid()}.used")):
        report = build_dataset([folder] * times, out, settings, engine=Local(workers))
    return {"files": report.inputs, "kept": report.kept}


class Watch:
    """Record wall time, processor time and memory of this process and its workers in a file.

    Args:
        path: JSON file, written several times a second.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._begin = time.monotonic()
        self._worker = self._driver = 0.0
        self._cpu: dict[str, float] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        me = Path("/proc/self")
        while not self._done.wait(0.2):
            self._driver = max(self._driver, _anonymous_mib(me / "status"))
            for child in (me / "task" / str(os.getpid()) / "children").read_text().split():
                place = Path("/proc", child)
                self._worker = max(self._worker, _anonymous_mib(place / "status"))
                self._cpu[child] = max(self._cpu.get(child, 0.0), _cpu_seconds(place / "stat"))
            used = {
                "seconds": time.monotonic() - self._begin,
                "cpu_seconds": time.process_time() + sum(self._cpu.values()),
                "driver_mib": self._driver,
                "worker_mib": self._worker,
            }
            part = self._path.with_suffix(".part")
            part.write_text(json.dumps(used))
            part.replace(self._path)


def _cpu_seconds(stat: Path) -> float:
    try:
        fields = stat.read_text().rpartition(")")[2].split()
    except OSError:  # the process has ended
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _anonymous_mib(status: Path) -> float:
    try:
        for line in status.read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) / 1024
    except OSError:  # the process has ended
        pass
    return 0.0


def measured(command: list[str], out: Path) -> dict[str, Any]:
    """Run one pass, in as many attempts as necessary."""
    attempts = 1
    while (done := subprocess.run(command, stdout=subprocess.PIPE)).returncode in KILLED:
        attempts += 1  # the build keeps its progress
    done.check_returncode()
    used = [json.loads(path.read_text()) for path in out.parent.glob(f"{out.name}.*.used")]
    counts: dict[str, Any] = json.loads(done.stdout)
    return {
        **counts,
        "seconds": round(sum(u["seconds"] for u in used), 1),
        "cpu_seconds": round(sum(u["cpu_seconds"] for u in used), 1),
        "driver_mib": round(max(u["driver_mib"] for u in used), 1),
        "worker_mib": round(max(u["worker_mib"] for u in used), 1),
        "attempts": attempts,
    }


def main() -> None:
    """Measure, print a table, file the result."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path, required=True, help="a corpus with manifest.csv")
    options.add_argument("--times", type=int, nargs="+", default=[1, 4, 16])
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--prefix", default="", help="put before the command of a pass")
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
            command = [*shlex.split(given.prefix), sys.executable, "-m", "benchmarks.dataset_build"]
            command += ["--data", str(given.data), "--workers", str(given.workers)]
            command += ["--out", str(out), "--pass-of", str(times), "--grade", grade]
            done = measured(command, out)
            shutil.rmtree(out)
            done["files_per_s"] = round(done["files"] / done["seconds"], 1)
            by_cpu = done["files"] * given.workers / done["cpu_seconds"]
            done["files_per_s_by_cpu"] = round(by_cpu, 1)
            passes[f"{times}x {grade}"] = done
            print(f"{times:3}x {grade:10} {json.dumps(done)}", flush=True)
    first, last = (passes[f"{n}x exact"] for n in (given.times[0], given.times[-1]))
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
