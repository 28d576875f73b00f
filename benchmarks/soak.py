"""What do thousands of clients that leave, and half an hour of service, leave behind in a server?

    python -m benchmarks.soak [--aborted 1000] [--minutes 30] [--listeners 8]

*Aborted*: streams of the shipped model whose connections are reset, at once or after the first
bytes. *Soak*: listeners hold streams, leave in the middle of every third one, and come back, while
memory, threads and open files of the server are read every ten seconds. What grows is the slope of
a straight line through the second half, so that caches that fill at the start are no growth.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import file_result
from benchmarks.serving import Listener, figures_of, serve

AT_ONCE = 20
EVERY_SECONDS = 10.0
RESET = (1).to_bytes(4, "little") + bytes(4)


def state_of(pid: int, port: int) -> dict[str, float]:
    """Return what a server holds: memory in MiB, threads, open files, streams, rows (Linux)."""
    status = dict(
        line.split(":\t", 1)
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if ":\t" in line
    )
    found = figures_of(port)
    return {
        "memory_mib": round(int(status["VmRSS"].split()[0]) / 1024, 1),
        "threads": int(status["Threads"]),
        "files": len(list(Path(f"/proc/{pid}/fd").iterdir())),
        "running": found["arietta_running"],
        "waiting": found["arietta_waiting"],
    }


def idle_state(pid: int, port: int, seconds: float = 60.0) -> dict[str, float]:
    """Return what a server holds when nobody is served any more."""
    until = time.monotonic() + seconds
    while True:
        found = state_of(pid, port)
        if not (found["running"] or found["waiting"]) or time.monotonic() > until:
            return found
        time.sleep(0.1)


def abort(port: int, count: int, seed: int = 0) -> None:
    """Begin streams and reset their connections, at once or when the first bytes have come."""
    rng = random.Random(seed)
    body = json.dumps({"seconds": 300, "of": 1}).encode()
    head = (
        f"POST /v1/generate HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        "Content-Type: application/json\r\nAccept: text/event-stream\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    for _ in range(count // AT_ONCE):
        opened = [socket.create_connection(("127.0.0.1", port), 60) for _ in range(AT_ONCE)]
        for connection in opened:
            connection.sendall(head + body)
        for connection in opened:
            if rng.random() < 0.5:
                connection.recv(100)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            connection.close()


def aborted(pid: int, port: int, count: int) -> dict[str, Any]:
    """Abort streams; return what the server held before the last four fifths and after all."""
    abort(port, count // 5, 1)
    before = idle_state(pid, port)
    began = time.monotonic()
    abort(port, count - count // 5, 2)
    after = idle_state(pid, port)
    return {
        "streams": count,
        "seconds": round(time.monotonic() - began, 1),
        "after_a_fifth": before,
        "after_all": after,
    }


async def _listen(one: Listener, rng: random.Random) -> None:
    """Hold streams; leave in the middle of every third."""
    while time.monotonic() < one.until:
        task = asyncio.ensure_future(one.one(rng.randrange(10**6)))
        leaves = rng.random() < 1 / 3
        await asyncio.wait({task}, timeout=rng.uniform(0.5, 8.0) if leaves else None)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await task
        one.heard.clear()


async def soak(pid: int, port: int, listeners: int, minutes: float) -> dict[str, Any]:
    """Serve for some minutes; return how the server's memory, threads and files went on."""
    began = time.monotonic()
    until = began + 60 * minutes
    everyone = [Listener(i, port, until, {"seconds": 20}) for i in range(listeners)]
    tasks = [
        asyncio.ensure_future(_listen(one, random.Random(i))) for i, one in enumerate(everyone)
    ]
    rows: list[dict[str, float]] = []
    while time.monotonic() < until:
        await asyncio.sleep(min(EVERY_SECONDS, max(until - time.monotonic(), 0.0)))
        rows.append({"at": time.monotonic() - began} | await asyncio.to_thread(state_of, pid, port))
    await asyncio.gather(*tasks)
    tokens = (await asyncio.to_thread(figures_of, port))["arietta_tokens_total"]
    half = rows[len(rows) // 2 :]
    at = np.array([row["at"] for row in half]) / 60
    return {
        "minutes": minutes,
        "listeners": listeners,
        "tokens": tokens,
        "second_half_a_minute": {
            name: round(float(np.polyfit(at, [row[name] for row in half], 1)[0]), 3)
            for name in ("memory_mib", "threads", "files")
        },
        "memory_mib_at_half_time": half[0]["memory_mib"],
        "memory_mib_at_the_end": half[-1]["memory_mib"],
        "idle_afterwards": await asyncio.to_thread(idle_state, pid, port),
    }


def main() -> None:
    """Serve, abort, soak, print and file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--aborted", type=int, default=1_000, metavar="STREAMS")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--listeners", type=int, default=8)
    parser.add_argument("--no-file", action="store_true", help="print alone")
    given = parser.parse_args()
    process, port = serve("small")
    figures: dict[str, Any] = {}
    try:
        if given.aborted:
            figures["aborted"] = aborted(process.pid, port, given.aborted)
            print("aborted", figures["aborted"], flush=True)
        if given.minutes:
            figures["soak"] = asyncio.run(soak(process.pid, port, given.listeners, given.minutes))
            print("soak", figures["soak"], flush=True)
    finally:
        process.terminate()
        process.wait(20)
    if not given.no_file:
        print(file_result("soak", figures))


if __name__ == "__main__":
    main()
