"""File the results of benchmarks."""

from __future__ import annotations

import json
import os
import platform
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
_VERSIONED = ("arietta", "numpy", "openvino", "soundfile", "torch", "mido", "symusic", "miditok")


def machine() -> dict[str, Any]:
    """Return the processor, its cores and the memory of this machine."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts: dict[str, Any] = {"cpu": model, "cores": usable, "system": platform.system()}
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
        facts["memory_gib"] = round(pages * size / 2**30, 1)
    return facts


def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages that may matter."""
    found = {"python": platform.python_version()}
    for name in _VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def command() -> str:
    """Return the command line of this process without machine paths."""
    words = [Path(w).name if os.path.isabs(w) else w for w in sys.orig_argv]
    return " ".join(words)


def file_result(name: str, figures: dict[str, Any]) -> Path:
    """Write ``results/<name>.json``: the figures with machine, versions, command and date.

    Args:
        name: name of the question, a file name without suffix.
        figures: the measurements; JSON values, units in the names.
    """
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    record = {
        "name": name,
        "figures": figures,
        "machine": machine(),
        "versions": versions(),
        "command": command(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }
    path.write_text(json.dumps(record, indent=2, sort_keys=False) + "\n")
    return path
