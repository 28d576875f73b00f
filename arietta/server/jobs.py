"""Long work: trainings on a client's own files, each in a process of its own.

One runs at a time, others wait. A job can be paused between two steps and ended at any time. Its
files and its model lie in a folder of ours under names of ours.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import secrets
import shutil
import signal
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal

from arietta.api.serving import TRAINED, trained_dir
from arietta.server.problems import Problem, busy, problem_of
from arietta.server.settings import ServerSettings

State = Literal["queued", "running", "paused", "done", "failed", "cancelled"]
OVER = ("done", "failed", "cancelled")
MAX_WAITING = 4
MAX_KEPT = 50
"""Jobs that are remembered, those that are over included."""
CURVE_POINTS = 1000
NICENESS = 15


@dataclass(eq=False)
class Job:
    """One training.

    Attributes:
        id: stands for it in addresses.
        state: where it is.
        progress: ``done``, ``total``, ``what``, ``seconds_left``.
        kept: names of the files that are trained on.
        refused: ``name`` and ``why`` of the others.
        curve: (step, nats a token) now and then.
        result: of a job that is done: the model's name, and the loss before and after.
        error: of one that failed, as a problem.
    """

    id: str
    settings: Mapping[str, Any]
    state: State = "queued"
    progress: dict[str, Any] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    refused: list[dict[str, str]] = field(default_factory=list)
    curve: list[tuple[int, float]] = field(default_factory=list)
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    process: BaseProcess | None = None
    pipe: Connection | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return what ``GET /v1/jobs/{id}`` answers."""
        return {
            "id": self.id,
            "state": self.state,
            "progress": self.progress,
            "kept": self.kept,
            "refused": self.refused,
            "curve": self.curve,
            "result": self.result,
            "error": self.error,
        }


class Jobs:
    """All jobs of a server, and the thread that runs one after the other.

    Args:
        settings: limits.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._lock = threading.Condition()
        self._jobs: dict[str, Job] = {}
        self._queue: deque[Job] = deque()
        self._stopped = False
        self._thread: threading.Thread | None = None

    def add(self, files: Sequence[tuple[str, bytes]], recipe: str, steps: int | None) -> Job:
        """Save the files of a training and let it wait for its turn.

        Raises:
            Problem: too many wait, or there are no files.
        """
        if not files:
            raise Problem(
                "bad-request",
                422,
                "There is nothing to train on",
                "the request has no files",
                "Send MIDI files as parts named file.",
            )
        with self._lock:
            if len(self._queue) >= MAX_WAITING:
                raise busy("too many trainings wait", 60)
        id = secrets.token_hex(8)
        folder = trained_dir() / id / "files"
        folder.mkdir(parents=True)
        names = {}
        for number, (name, data) in enumerate(files):
            own = f"{number:05d}.mid"
            names[own] = name
            (folder / own).write_bytes(data)
        job = Job(id, {"names": names, "recipe": recipe, "steps": steps})
        with self._lock:
            self._jobs[id] = job
            self._queue.append(job)
            over = [one for one in self._jobs.values() if one.state in OVER]
            for old in over[: max(len(self._jobs) - MAX_KEPT, 0)]:
                del self._jobs[old.id]
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()
            self._lock.notify_all()
        return job

    def get(self, id: str) -> Job:
        """Return a job.

        Raises:
            Problem: there is none of that id.
        """
        job = self._jobs.get(id)
        if job is None:
            raise Problem(
                "no-such-job",
                404,
                "There is no such job",
                "it was never begun, or is forgotten",
                "Begin another with POST /v1/train.",
            )
        return job

    def pause(self, id: str, *, resume: bool = False) -> Job:
        """Pause a job between two steps, or let it go on."""
        job = self.get(id)
        before: State = "paused" if resume else "running"
        if job.state == before and job.pipe is not None:
            with contextlib.suppress(OSError):
                job.pipe.send("resume" if resume else "pause")
            job.state = "running" if resume else "paused"
        return job

    def cancel(self, id: str) -> Job:
        """End a job; what it has made is deleted."""
        job = self.get(id)
        with self._lock:
            if job in self._queue:
                self._queue.remove(job)
            if job.state not in OVER:
                job.state = "cancelled"
                _kill(job)
                shutil.rmtree(trained_dir() / job.id, ignore_errors=True)
        return job

    def stop(self) -> None:
        """End every job."""
        with self._lock:
            self._stopped = True
            for job in self._jobs.values():
                if job.state not in OVER:
                    job.state = "cancelled"
                    _kill(job)
            self._lock.notify_all()

    def _run(self) -> None:
        while True:
            with self._lock:
                while not self._queue and not self._stopped:
                    self._lock.wait()
                if self._stopped:
                    return
                job = self._queue.popleft()
            self._train(job)

    def _train(self, job: Job) -> None:
        context = multiprocessing.get_context("spawn")
        pipe, theirs = context.Pipe()
        folder = trained_dir() / job.id
        job.pipe = pipe
        job.process = context.Process(
            target=train_files, args=(theirs, folder, dict(job.settings)), name="arietta-training"
        )
        with self._lock:
            if job.state != "queued":
                return
            job.state = "running"
            job.process.start()
        theirs.close()
        until = time.monotonic() + self._settings.max_training_seconds
        try:
            while True:
                if not pipe.poll(1.0):
                    if time.monotonic() > until:
                        raise EOFError
                    continue
                kind, value = pipe.recv()
                _take(job, kind, value)
                if job.state in OVER:
                    break
        except (EOFError, OSError):
            if job.state not in OVER:
                job.state = "failed"
                job.error = Problem(
                    "training-failed",
                    422,
                    "The training failed",
                    "its process ended, or its time was over",
                    "Train on fewer files.",
                ).to_dict()
        _kill(job)
        pipe.close()


def _take(job: Job, kind: str, value: Any) -> None:
    """Take what a training tells."""
    if kind == "files":
        job.kept, job.refused = value
    elif kind == "progress":
        job.progress = value
    elif kind == "point":
        job.curve.append(value)
        if len(job.curve) > CURVE_POINTS:
            job.curve = job.curve[::2]
    elif job.state in OVER:
        return
    elif kind == "done":
        job.result = {"model": f"{TRAINED}{job.id}", **value}
        job.state = "done"
    elif kind == "failed":
        job.error = value
        job.state = "failed"


def _kill(job: Job) -> None:
    """End a job's process and those that it started."""
    process = job.process
    if process is None or process.pid is None or not process.is_alive():
        return
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (AttributeError, ProcessLookupError, PermissionError):
        process.kill()
    process.join(5)


def train_files(pipe: Connection, folder: Path, settings: dict[str, Any]) -> None:
    """Train on the files of a folder; the main function of a job's process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(AttributeError, OSError):
        os.setsid()
        os.nice(NICENESS)
    try:
        _train_files(pipe, folder, settings)
    except Exception as error:
        pipe.send(("failed", problem_of(error).to_dict()))


def _train_files(pipe: Connection, folder: Path, settings: dict[str, Any]) -> None:
    from arietta.api.reading import read_upload
    from arietta.api.training import train
    from arietta.errors import InputError

    kept, refused = [], []
    for own, name in settings["names"].items():
        file = folder / "files" / own
        try:
            piece = read_upload(name, file.read_bytes())
            if not len(piece):
                raise InputError(f"{name}: no notes")
            kept.append(name)
        except InputError as error:
            refused.append({"name": name, "why": str(error)})
            file.unlink()
    pipe.send(("files", (kept, refused)))
    if not kept:
        raise InputError("not one of the files can be read; send standard MIDI files")
    nothing = {"done": 0, "total": 0, "seconds_left": None}
    first: list[float] = []
    every = 0.0

    def report(_: str, state: Any) -> None:
        nonlocal every
        _wait_while_paused(pipe)
        if not first:
            first.append(state.loss)
        if time.monotonic() < every and state.step < state.steps:
            return
        every = time.monotonic() + 0.5
        pipe.send(
            (
                "progress",
                {
                    "done": state.step,
                    "total": state.steps,
                    "what": "training",
                    "seconds_left": round(state.seconds_left, 1),
                },
            )
        )
        pipe.send(("point", (state.step, round(state.loss, 4))))

    pipe.send(("progress", {**nothing, "what": "reading the files"}))
    done = train(
        settings["recipe"],
        folder / "files",
        folder / "run",
        steps=settings["steps"],
        report=report,
    )
    figures = next(iter(done.to_dict().values()))
    figures.pop("model")
    pipe.send(("done", {"nats_before": round(first[0], 4) if first else None, **figures}))


def _wait_while_paused(pipe: Connection) -> None:
    paused = False
    while paused or pipe.poll():
        paused = pipe.recv() == "pause"
