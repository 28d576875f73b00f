"""File the results of benchmarks."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from arietta.checkpoints.registry import entries
from arietta.checkpoints.store import WEIGHTS, file_sha256
from arietta.data.shards import DESCRIPTION, dataset_sha256, open_dataset

RECIPE = "recipe.json"
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


def code_state() -> dict[str, Any]:
    """Return the commit that runs, and whether files differ from it; empty without git."""

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=RESULTS.parent, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        # Results are written while benchmarks run; they change nothing that is measured.
        changed = git("status", "--porcelain", "--", ":/", ":(exclude,top)benchmarks/results")
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(changed)}
    except (OSError, subprocess.CalledProcessError):
        return {}


_CODE = code_state()  # when the run began: files may change while it measures


def inputs(words: Sequence[str]) -> dict[str, Any]:
    """Return what the words of a command line name, and what ships: hashes, recipes.

    Args:
        words: of a command line.

    Returns:
        ``datasets`` (folder -> hash of its music; of a corpus that of its manifest), ``models``
        (name -> sha256 of the weights) and ``recipes`` (run -> recipe), as far as there are any.
    """
    found: dict[str, dict[str, Any]] = {"datasets": {}, "models": {}, "recipes": {}}
    for entry in entries():
        if entry.source == "shipped" and entry.folder is not None:
            found["models"][entry.name] = file_sha256(entry.folder / WEIGHTS)
    for word in words:
        place = Path(word)
        if not place.exists():
            continue
        if (place / DESCRIPTION).is_file():
            found["datasets"][place.name] = dataset_sha256(open_dataset(place))
        elif (place / "manifest.csv").is_file():
            found["datasets"][place.name] = file_sha256(place / "manifest.csv")
        elif place.suffix == ".parquet":
            found["datasets"][place.name] = file_sha256(place)
        for folder in (place, place / "model"):
            if (folder / WEIGHTS).is_file():
                name = "/".join(folder.parts[-2:])
                found["models"][name] = file_sha256(folder / WEIGHTS)
                for recipe in (folder / RECIPE, folder.parent / RECIPE):
                    if recipe.is_file():
                        found["recipes"][name] = json.loads(recipe.read_text("utf-8"))
    return {key: value for key, value in found.items() if value}


def seeds(figures: Any) -> list[int]:
    """Return every ``seed`` among figures, in ascending order."""
    found: set[int] = set()
    if isinstance(figures, Mapping):
        for name, value in figures.items():
            if name in ("seed", "seeds"):
                found |= {int(v) for v in (value if isinstance(value, list) else [value])}
            else:
                found |= set(seeds(value))
    elif isinstance(figures, list):
        for value in figures:
            found |= set(seeds(value))
    return sorted(found)


def file_result(name: str, figures: dict[str, Any]) -> Path:
    """Write ``results/<name>.json``: the figures and everything that they depend on.

    That is machine, versions, command and date, the commit and whether files differ from it, hashes
    of the datasets and models that the command line names and of those that ship, the recipes of
    trained models, the seeds among the figures.

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
        "code": _CODE,
        "inputs": inputs(sys.argv[1:]),
        "seeds": seeds(figures),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }
    path.write_text(json.dumps(record, indent=2, sort_keys=False) + "\n")
    return path
