"""Processes that do the work of single requests: each bounded in memory, killed when time is over.

Uploads are read by code of others (verovio) and may be built to hang or to blow up. So they are
read in a process of their own, which can be killed: when the time is over, or as soon as the client
has left. Workers are nicer than the server: who listens to a stream goes first.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from arietta.server.problems import Problem, busy, problem_of, too_slow
from arietta.server.settings import ServerSettings

NICENESS = 10
_LOOK_SECONDS = 0.02
"""How often a thread that waits for a worker looks whether its client has left."""

Report = Callable[[Any], None]


class Workers:
    """A fixed number of workers, and a bounded queue in front of them.

    Args:
        settings: how many, how much memory, how much time.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._room = asyncio.Semaphore(settings.workers)
        self._free: list[_Worker] = []
        self._threads = ThreadPoolExecutor(settings.workers, "arietta-worker")
        self.waiting = self.running = 0

    def start(self) -> None:
        """Start the processes, so that the first request finds them ready."""
        self._free = [_Worker(self._settings) for _ in range(self._settings.workers)]

    def stop(self) -> None:
        """End all processes."""
        for worker in self._free:
            worker.kill()
        self._free.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def run(self, task: str, *args: Any, report: Report = lambda _: None) -> Any:
        """Do one task of ``arietta.server.tasks`` and return what it returns.

        Cancelling the caller kills the worker, another takes its place.

        Args:
            task: name of the function.
            args: for it.
            report: called in a thread with what the task reports on its way.

        Raises:
            Problem: there is no room, the time is over, or the task failed.
        """
        if self._room.locked() and self.waiting >= self._settings.max_waiting:
            raise busy("too many requests wait for a worker", self._settings.retry_seconds)
        self.waiting += 1
        try:
            await self._room.acquire()
        finally:
            self.waiting -= 1
        self.running += 1
        gone = threading.Event()
        worker = self._free.pop() if self._free else _Worker(self._settings)
        call = asyncio.get_running_loop().run_in_executor(
            self._threads, worker.call, task, args, report, gone
        )
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            gone.set()
            with contextlib.suppress(Exception):
                await call
            raise
        finally:
            self.running -= 1
            if worker.alive:
                self._free.append(worker)
            else:
                self._free.append(_Worker(self._settings))
            self._room.release()


class _Worker:
    """One process, which is told tasks through a pipe."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(
            target=serve_tasks, args=(theirs, settings), daemon=True, name="arietta-worker"
        )
        self._process.start()
        theirs.close()

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def kill(self) -> None:
        self._process.kill()
        self._process.join(5)
        self._pipe.close()

    def call(self, task: str, args: tuple[Any, ...], report: Report, gone: threading.Event) -> Any:
        import time

        until = time.monotonic() + self._settings.work_seconds
        try:
            self._pipe.send((task, args))
            while True:
                while not self._pipe.poll(_LOOK_SECONDS):
                    if gone.is_set():
                        self.kill()
                        raise Problem("gone", 499, "The client has left", "it hung up", "")
                    if time.monotonic() > until:
                        self.kill()
                        raise too_slow("the work", self._settings.work_seconds)
                kind, value = self._pipe.recv()
                if kind == "report":
                    report(value)
                elif kind == "done":
                    return value
                else:
                    raise Problem(*value)
        except (EOFError, OSError):
            self.kill()
            raise Problem(
                "bad-file",
                422,
                "The file cannot be used",
                "reading it ended the process that read it",
                "Send another file.",
            ) from None


def serve_tasks(pipe: Connection, settings: ServerSettings) -> None:
    """Do tasks until the pipe ends; the main function of a worker."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server ends its workers
    _limit(settings.worker_memory_bytes)
    from arietta.server import tasks

    tools = tasks.Tools(settings, lambda value: pipe.send(("report", value)))
    if settings.warm:
        tools.renderer(None, 0)
    while True:
        try:
            task, args = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer: tuple[str, Any] = "done", tasks.TASKS[task](tools, *args)
        except BaseException as error:
            if not isinstance(error, Exception):
                raise
            problem = problem_of(error)
            if problem.status == 500:
                _log(error)
            answer = (
                "failed",
                (
                    problem.kind,
                    problem.status,
                    problem.what,
                    problem.why,
                    problem.mend,
                    problem.headers,
                ),
            )
        try:
            pipe.send(answer)
        except OSError:
            return


def _limit(memory_bytes: int) -> None:
    with contextlib.suppress(AttributeError, OSError):
        os.nice(NICENESS)
    try:
        import resource
    except ImportError:  # Windows has none
        return
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _log(error: BaseException) -> None:
    import logging

    logging.getLogger("arietta.server").error("a worker failed", exc_info=error)
