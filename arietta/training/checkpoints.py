"""Save and load the states of a run; a state is written whole or not at all.

``RUN/checkpoints/step-00001200`` holds what Accelerate saves (weights, optimisers, random states),
``progress.json`` and, for every process, the positions of its data streams.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from arietta.errors import CheckpointError, OutputError
from arietta.training.distributed import Processes

PROGRESS = "progress.json"


def saved_states(run: Path) -> list[Path]:
    """Return the folders of complete states, oldest first."""
    found = (run / "checkpoints").glob("step-*[0-9]")  # not those that are being written
    return sorted(path for path in found if (path / PROGRESS).is_file())


def save_state(
    run: Path,
    processes: Processes,
    progress: dict[str, Any],
    positions: dict[int, dict[str, Any]],
    keep: int,
) -> None:
    """Save the state after ``progress["step"]`` steps; every process calls this.

    Args:
        run: folder of the run.
        processes: own the prepared weights and optimisers.
        progress: JSON values; ``step`` gives the folder its name.
        positions: positions of the data streams of this process.
        keep: number of states to keep.

    Raises:
        OutputError: the disk is full or the folder cannot be written; earlier states are intact.
    """
    folder = run / "checkpoints" / f"step-{progress['step']:08d}"
    part = folder.with_name(folder.name + ".part")
    try:
        if processes.is_main:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
        processes.wait()
        processes.save_state(part)
        _write(part / f"streams-{processes.rank}.json", positions)
        processes.wait()
        if processes.is_main:
            _write(part / PROGRESS, progress)
            if folder.exists():  # the same step again, after a resume
                shutil.rmtree(folder)
            os.replace(part, folder)
            for old in saved_states(run)[:-keep]:
                shutil.rmtree(old, ignore_errors=True)
    # torch and safetensors report a full disk in errors of their own.
    except Exception as error:
        shutil.rmtree(part, ignore_errors=True)
        left = saved_states(run)
        kept = f"; {left[-1]} is intact, free some space and run again" if left else ""
        reason = " ".join(str(error).split()) or type(error).__name__
        raise OutputError(f"{folder}: the state cannot be written ({reason}){kept}") from error


def load_state(run: Path, processes: Processes) -> tuple[dict[str, Any], dict[int, dict[str, Any]]]:
    """Load the latest state into the prepared weights and optimisers.

    Returns:
        The progress, and the positions of all data streams.

    Raises:
        CheckpointError: the state does not fit or is damaged.
    """
    folder = saved_states(run)[-1]
    try:
        progress = json.loads((folder / PROGRESS).read_text("utf8"))
        positions: dict[int, dict[str, Any]] = {}
        for path in folder.glob("streams-*.json"):
            positions.update(
                (int(stream), position)
                for stream, position in json.loads(path.read_text("utf8")).items()
            )
        processes.load_state(folder)
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise CheckpointError(
            f"{folder}: this state cannot be loaded ({reason}); delete the folder to go on from the"
            " one before"
        ) from error
    return progress, positions


def _write(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values), "utf8")
