"""Where the work of a build is done: in this process, in a pool of them, or on a Ray cluster.

An engine runs one function over many tasks and gives the results as they come, in any order. It
holds a few tasks per worker at a time, so memory does not grow with their number.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol, TypeVar

from arietta.errors import AriettaError, MissingExtraError, UsageError

Task = TypeVar("Task")
Result = TypeVar("Result")

# Tasks that wait beside each worker, so that it never waits for the next one.
_AHEAD = 1


class Engine(Protocol):
    """Runs a function over tasks; function, tasks and results must be picklable."""

    def run(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """Results in any order; an exception of the function ends it."""
        ...


def cores() -> int:
    """Processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Local:
    """Processes of this machine; with one worker, this process itself.

    Args:
        workers: how many; by default as many as there are cores.

    Raises:
        UsageError: fewer than one worker.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = cores() if workers is None else workers
        if self.workers < 1:
            raise UsageError(f"{workers} workers: at least one has to do the work")

    def run(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """Results in any order.

        Raises:
            AriettaError: a process was killed, as happens when memory runs out.
        """
        if self.workers == 1:
            yield from map(function, tasks)
            return
        # Fresh processes: a fork would copy the locks of pyarrow's threads in any state.
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(self.workers, context, _begin_worker)
        waiting: set[Future[Result]] = set()
        try:
            for task in tasks:
                waiting.add(pool.submit(function, task))
                while len(waiting) >= self.workers * (1 + _AHEAD):
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield future.result()
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except BrokenProcessPool:
            raise AriettaError(
                "a worker process was killed, perhaps for want of memory; run the same command "
                "again with fewer `workers`, it goes on where it stopped"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _begin_worker() -> None:
    """Leave interrupts to the parent, and end with it even when it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


class Ray:
    """A Ray cluster; sources and dataset must lie where every node sees them under one path.

    Args:
        address: of the cluster, such as ``auto``; None starts Ray on this machine. Without effect
            where the program has started Ray already.

    Raises:
        MissingExtraError: Ray is not installed.
    """

    def __init__(self, address: str | None = None) -> None:
        try:
            import ray
        except ImportError:
            raise MissingExtraError("building datasets on a cluster", "ray") from None
        self._ray: Any = ray
        if not ray.is_initialized():
            try:
                ray.init(address=address, log_to_driver=False, include_dashboard=False)
            except ConnectionError as error:
                raise AriettaError(f"Ray cluster {address}: cannot be reached: {error}") from None

    def run(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """Results in any order."""
        ray = self._ray
        remote = ray.remote(function)
        limit = max(1, int(ray.cluster_resources().get("CPU", 1))) * (1 + _AHEAD)
        waiting: list[Any] = []
        for task in tasks:
            waiting.append(remote.remote(task))
            while len(waiting) >= limit:
                done, waiting = ray.wait(waiting)
                yield from ray.get(done)
        while waiting:
            done, waiting = ray.wait(waiting)
            yield from ray.get(done)
