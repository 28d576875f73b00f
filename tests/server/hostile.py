"""Tasks that misbehave, for a worker that a test starts."""

from __future__ import annotations

import os
import time
from importlib.util import find_spec
from typing import Any

from arietta.server import tasks, workers

LIMITED = find_spec("resource") is not None
_plain = workers.serve_tasks


def _hang(_: Any) -> None:
    time.sleep(1000)


def _die(_: Any) -> None:
    os._exit(139)


def _fail(_: Any) -> None:
    raise RuntimeError("a secret")


def _swell(_: Any, size: int) -> int:
    return len(bytearray(size))


def _double(_: Any, number: int) -> int:
    return 2 * number


def _count(tools: Any, to: int) -> int:
    for number in range(to):
        tools.report(number)
    return to


def serve_tasks(*args: Any) -> None:
    """Be a worker that knows these tasks too."""
    more = {"hang": _hang, "die": _die, "fail": _fail, "swell": _swell, "double": _double}
    tasks.TASKS = {**tasks.TASKS, **more, "count": _count}
    _plain(*args)
