"""Work of libsndfile on files in memory, which an interrupt must not cut short.

For a file in memory libsndfile calls back into Python for every block. An exception cannot pass
through it: a Ctrl-C there prints a traceback, is forgotten, and the sound ends early. Handlers of
signals run in the main thread alone, so such work is done in another one, and the main thread
receives the interrupt while it waits.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Made = TypeVar("_Made")


def uninterrupted(work: Callable[[], _Made]) -> _Made:
    """Return what the work returns; an interrupt is raised here, when the work is done."""
    with ThreadPoolExecutor(1, "arietta-sound") as pool:
        return pool.submit(work).result()
