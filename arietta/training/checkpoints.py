"""Save and load the states of a run; a state is written whole or not at all.

``RUN/checkpoints/step-00001200`` holds weights, optimisers and random states,
``progress.json``, for every process the positions of its data streams, and the checksums of all
these files: a damaged state would train on from somewhere else without a word. States that were
saved before there were checksums have none, and are loaded as they are.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from arietta.errors import CheckpointError, OutputError, UsageError
from arietta.output import held
from arietta.training.distributed import SHARDS, Processes

PROGRESS = "progress.json"
CHECKSUMS = "checksums.json"
LOCK = "lock"


@contextmanager
def held_run(run: Path) -> Iterator[None]:
    """Hold the folder of a run, made if missing, so that nobody else trains in it meanwhile.

    The first process of a run holds it for all of them.

    Raises:
        OutputError: another training is at work in it, or it cannot be written to.
    """
    if os.environ.get("RANK", "0") != "0":  # set by torchrun and accelerate
        yield
        return
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{run}: cannot be made: {error.strerror or error}") from None
    with held(run / LOCK, f"{run}: another process is training here; choose another folder"):
        yield


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
            _write(part / CHECKSUMS, _checksums(part))
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
        UsageError: it was saved with sharded weights, and this run has whole ones, or vice versa.
    """
    folder = saved_states(run)[-1]
    _check(folder, processes)
    if (folder / SHARDS).is_dir() != processes.sharded:
        shared, whole = "weights sharded over processes (FSDP)", "whole weights in each process"
        saved, now = (whole, shared) if processes.sharded else (shared, whole)
        raise UsageError(
            f"{folder}: this state was saved with {saved}, and this run has {now}; go on with the"
            " launcher that the run began with, or start another run with `changes`"
            f" init={run / 'model'}"
        )
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
        if (folder / CHECKSUMS).is_file():
            advice = "its files are as they were saved, so keep it: the run has changed"
        else:
            advice = "delete the folder to go on from the one before"
        raise CheckpointError(
            f"{folder}: this state cannot be loaded ({reason}); {advice}"
        ) from error
    return progress, positions


def _checksums(folder: Path) -> dict[str, str]:
    """Return SHA-256 by path inside the folder, of every file."""
    return {name: _checksum(folder / name) for name in _files(folder)}


def _files(folder: Path) -> list[str]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(folder: Path, processes: Processes) -> None:
    """Refuse a damaged state; the processes share the files, and all refuse where one does."""
    damaged = _damaged(folder, processes.rank, processes.world)
    count = len(damaged)
    if processes.world > 1:
        count = int(processes.total(torch.tensor(count, device=processes.device)))
    if count:
        what = damaged[0] if damaged else f"{count} of its files"
        raise CheckpointError(
            f"{folder}: this state is damaged ({what}: not what its checksum says); delete the"
            " folder to go on from the one before"
        )


def _damaged(folder: Path, rank: int, world: int) -> list[str]:
    """Return which of every ``world``-th file are missing or not as they were saved."""
    path = folder / CHECKSUMS
    if not path.is_file():
        return []
    try:
        wanted = dict(json.loads(path.read_text("utf8")))
    except ValueError:  # of JSON and of UTF-8
        return [CHECKSUMS]
    names = sorted({*wanted, *_files(folder)} - {CHECKSUMS})[rank::world]
    return [
        name
        for name in names
        if not (folder / name).is_file() or _checksum(folder / name) != wanted.get(name)
    ]


def _write(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values), "utf8")
