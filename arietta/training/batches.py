"""Make the batch of each optimiser step ahead of time, in a thread or in a process."""

from __future__ import annotations

import multiprocessing
import queue
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from arietta.arrays import Int32Array
from arietta.errors import TrainingError
from arietta.training.config import PlannedStage
from arietta.training.tasks.decoder import Task

Positions = dict[int, dict[str, Any]]
_T = TypeVar("_T")
DEPTH = 24
"""Steps made ahead: a block of pieces takes as long to make as several steps of a small model."""


@dataclass(frozen=True, eq=False)
class StepBatch:
    """Hold the share of one process in one step.

    Attributes:
        micro: a batch of rows of each of its streams, (rows, seq_len + 1) for language models.
        names: ids of the pieces in each row, batch after batch.
        before, after: positions of its streams before and after this step.
    """

    micro: list[Int32Array]
    names: list[tuple[str, ...]]
    before: Positions
    after: Positions


def step_batches(
    task: Task,
    planned: list[PlannedStage],
    *,
    step: int,
    positions: Positions,
    rank: int,
    world: int,
) -> Iterator[StepBatch]:
    """Yield the batches from a step to the end of the run.

    Args:
        task: what the run trains; its train split is read.
        planned: stages of the run.
        step: the first step.
        positions: of all streams at that step; empty at the start of a stage.
        rank, world: this process takes the streams s with s % world == rank.
    """
    mine = range(rank, task.recipe.streams, world)
    for index, part in enumerate(planned):
        if step >= part.end_step:
            continue
        streams = {s: task.stream("train", index, s, task.recipe.streams) for s in mine}
        if step > part.first_step:
            for s, stream in streams.items():
                stream.seek(positions[s])
        before = {s: stream.position() for s, stream in streams.items()}
        while step < part.end_step:
            micro: list[Int32Array] = []
            names: list[tuple[str, ...]] = []
            for stream in streams.values():
                rows = []
                for _ in range(part.stage.rows):
                    rows.append(next(stream))
                    names.append(stream.names)
                micro.append(np.stack(rows))
            after = {s: stream.position() for s, stream in streams.items()}
            yield StepBatch(micro, names, before, after)
            before = after
            step += 1


def ahead(items: Iterator[_T], depth: int = DEPTH) -> Generator[_T, None, None]:
    """Yield the same items from a thread that works ``depth`` ahead; raise its errors here."""
    made: queue.Queue[tuple[bool, Any]] = queue.Queue(depth)
    stop = threading.Event()

    def put(value: tuple[bool, Any]) -> None:
        while not stop.is_set():
            try:
                return made.put(value, timeout=0.2)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put((True, item))
                if stop.is_set():
                    return
            put((False, None))
        except BaseException as error:  # handed over, not swallowed
            put((False, error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            more, value = made.get()
            if more:
                yield value
            elif value is None:
                return
            else:
                raise value
    finally:
        stop.set()
        thread.join()


def ahead_in_process(
    make: Callable[[], Iterator[_T]], depth: int = DEPTH
) -> Generator[_T, None, None]:
    """Yield the items that ``make`` yields in a process of its own; raise its errors here.

    Args:
        make: called in the process; it, its items and its errors are pickled.
        depth: items made ahead.
    """
    context = multiprocessing.get_context("spawn")
    made: multiprocessing.Queue[tuple[bool, Any]] = context.Queue(depth)
    process = context.Process(target=_put_items, args=(make, made), daemon=True)
    process.start()
    try:
        while True:
            try:
                more, value = made.get(timeout=5)
            except queue.Empty:
                if process.is_alive():
                    continue
                raise TrainingError(
                    f"the process that reads the data ended with status {process.exitcode}"
                ) from None
            if more:
                yield value
            elif value is None:
                return
            else:
                raise value
    finally:
        process.kill()
        process.join()


def _put_items(
    make: Callable[[], Iterator[_T]], made: multiprocessing.Queue[tuple[bool, Any]]
) -> None:
    # Signals to all processes of a run are for the one that trains: it finishes its step.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    try:
        for item in make():
            if parent is None or not parent.is_alive():
                return
            made.put((True, item))
        made.put((False, None))
    except Exception as error:  # handed over, not swallowed
        made.put((False, error))
