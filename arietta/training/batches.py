"""Make the batch of each optimiser step ahead of time in a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from arietta.arrays import Int32Array
from arietta.training.config import PlannedStage
from arietta.training.tasks.decoder import Task

Positions = dict[int, dict[str, Any]]
_T = TypeVar("_T")


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


def ahead(items: Iterator[_T], depth: int = 2) -> Generator[_T, None, None]:
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
