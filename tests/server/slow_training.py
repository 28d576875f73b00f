"""A training that takes for ever and learns nothing, for a job that a test starts."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from arietta.server.jobs import _wait_while_paused


def train_files(pipe: Any, folder: Path, settings: dict[str, Any]) -> None:
    """Be the process of a job."""
    os.setsid()
    if "die.mid" in settings["names"].values():
        os._exit(1)
    pipe.send(("files", (list(settings["names"].values()), [])))
    for step in range(1, 100_000):
        _wait_while_paused(pipe)
        pipe.send(("progress", {"done": step, "total": 100_000}))
        pipe.send(("point", (step, 1.0)))
        time.sleep(0.05)
