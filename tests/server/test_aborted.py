"""A thousand streams whose clients are gone leave nothing behind: no place, task or object."""

from __future__ import annotations

import asyncio
import gc
import random
import socket
from collections import Counter
from typing import Any

from arietta.generation.continuation import ContinuationStream
from arietta.generation.loop import Ticket
from arietta.server.generating import _Ear

from .conftest import Running

STREAMS, FIRST, AT_ONCE = 1_000, 200, 20
RESET = (1).to_bytes(4, "little") + bytes(4)
"""A connection that is closed with this set is reset, as when a laptop is shut."""


def abort(running: Running, bodies: list[Any], count: int, rng: random.Random) -> None:
    """Begin streams, and reset their connections at once or when the first bytes have come."""
    for _ in range(count // AT_ONCE):
        connections = [running.begin("/v1/generate", rng.choice(bodies)) for _ in range(AT_ONCE)]
        for connection in connections:
            if rng.random() < 0.5:
                connection.recv(100)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            connection.close()
    running.wait(lambda: running.idle, 60)


def left(running: Running) -> Counter[str]:
    """Count what belongs to one stream and still exists."""
    kinds = (_Ear, Ticket, ContinuationStream, asyncio.Task)
    gc.collect()
    everything = gc.get_objects()
    found = Counter(type(one).__name__ for one in everything if isinstance(one, kinds))
    found["objects"] = len(everything)
    found["rows"] = sum(batch.rows for batch in running.server.service.loop._batches.values())
    return found


def test_a_thousand_aborted_streams_leave_nothing_behind(strict, tiny, waltz) -> None:
    running = strict(max_waiting=10_000)
    # Music does not matter here: a model of a few thousand weights is quick.
    running.server.service.model().__dict__["engine"] = tiny.engine("full")
    endless = {"prompt_seconds": 6, "seconds": 500, "of": 1}
    alone = {"seconds": 500, "of": 1}
    bodies = [*[alone] * 8, {**alone, "of": 2}, {"file": waltz, **endless}]
    rng = random.Random(0)
    abort(running, bodies, FIRST, rng)
    before = left(running)
    abort(running, bodies, STREAMS - FIRST, rng)
    after = left(running)
    assert after["rows"] == 0
    assert after["_Ear"] == after["Ticket"] == after["ContinuationStream"] == 0, after
    assert after["Task"] <= before["Task"] + 2, (before, after)
    assert after["objects"] <= before["objects"] + (STREAMS - FIRST) / 2, (before, after)
    found = running.events("/v1/generate", {"seconds": 1, "of": 1, "seed": 2})
    assert found[-1][0] == "end"
