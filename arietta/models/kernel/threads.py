"""How many threads a model runs on."""

from __future__ import annotations

from arietta.errors import UsageError


def physical_cores() -> int:
    """Cores that this process may use, hyper-threads counted once."""
    import os

    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    if usable is None:
        return max(1, os.cpu_count() or 1)
    cores = set()
    for cpu in usable:
        try:
            with open(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") as file:
                cores.add(file.read().strip())
        except OSError:
            cores.add(str(cpu))
    return len(cores)


def thread_count(threads: int | None) -> int:
    """Return the threads asked for; all physical cores by default.

    Raises:
        UsageError: fewer than one.
    """
    if threads is not None and threads < 1:
        raise UsageError(f"threads must be at least 1, not {threads}")
    return threads or physical_cores()
