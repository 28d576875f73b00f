"""How many listeners does one server keep in real time, and how soon does each hear a first note?

python -m benchmarks.serving [--listeners 100] [--seconds 60] [--model small-fast | --medium]

Listeners hold a stream each for the whole measurement: who has got the 30 s that were asked for
asks for the next at once, with another prompt and seed. Client and server share the machine. A note
is late where it comes after the moment at which it has to sound, if playing began with the first
note and a buffer of half a second.

On a machine that others use too, look at ``others_cores``: how many cores they took meanwhile. What
all of it cost, in seconds of one core, does not depend on them as much.

``--medium`` serves the published 650 M architecture with random weights in int8 instead; random
weights play no music, so that tokens are counted and not seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import file_result

PROMPTS = Path(__file__).resolve().parent.parent / "arietta" / "assets" / "prompts"
BUFFER_SECONDS = 0.5
REAL_TIME_TOKENS = 28.0
"""Tokens that a second of music takes."""
_NOTE = re.compile(rb'event: note\ndata: [^\n]*"onset_seconds":([0-9.]+)')


@dataclass
class Heard:
    """One request as its listener saw it; clock readings in seconds."""

    asked: float
    first: float | None = None
    ended: float | None = None
    notes: list[tuple[float, float]] = field(default_factory=list)
    """(clock, onset of the note)."""
    status: int = 0

    @property
    def late_seconds(self) -> list[float]:
        """How late each note came; negative where it came in time."""
        if not self.notes:
            return []
        at, onset = np.array(self.notes).T
        return [float(s) for s in (at - at[0]) - (onset - onset[0]) - BUFFER_SECONDS]


class Listener:
    """Asks for one stream after the other until the time is over."""

    def __init__(self, number: int, port: int, until: float, options: dict[str, Any]) -> None:
        self._number, self._port, self.until, self._options = number, port, until, options
        self._files = sorted(PROMPTS.glob("*.mid"))
        self.heard: list[Heard] = []

    async def listen(self, begin: float) -> None:
        """Hold streams from a moment on."""
        await asyncio.sleep(max(0.0, begin - time.monotonic()))
        while time.monotonic() < self.until:
            await self.one(self._number * 1000 + len(self.heard))

    async def one(self, seed: int) -> None:
        """Hold one stream until its end, or until the time is over."""
        file = self._files[seed % len(self._files)]
        body = json.dumps(
            {
                "file": {
                    "name": file.name,
                    "data": base64.b64encode(file.read_bytes()).decode(),
                },
                "prompt_seconds": 12 + seed % 7,
                "of": 1,
                "seed": seed,
                **self._options,
            }
        ).encode()
        one = Heard(time.monotonic())
        self.heard.append(one)
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=2**22)
        head = (
            f"POST /v1/generate HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n"
            "Content-Type: application/json\r\nAccept: text/event-stream\r\nConnection: close\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        try:
            rest = b""
            while data := await reader.read(2**16):
                now = time.monotonic()
                if not one.status:
                    one.status = int(data.split(b" ", 2)[1])
                rest += data
                end = rest.rfind(b"\n\n")
                for found in _NOTE.finditer(rest, 0, max(end, 0)):
                    one.first = one.first or now
                    one.notes.append((now, float(found[1])))
                rest = rest[end:] if end > 0 else rest
                if b"event: end" in rest or now > self.until:
                    break
            one.ended = time.monotonic()
        finally:
            writer.close()


def figures_of(port: int) -> dict[str, float]:
    """Return the server's own figures."""
    from urllib.request import urlopen

    with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return {
        line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1])
        for line in lines
        if line and not line.startswith("#")
    }


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process and its children until now (Linux)."""
    total = 0.0
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = place.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if pid in (int(place.parent.name), int(fields[1])):
            total += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return total


def busy_seconds() -> float:
    """Return the processor time that was not idle, of all cores (Linux)."""
    values = [int(one) for one in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    return (sum(values) - values[3] - values[4]) / os.sysconf("SC_CLK_TCK")


def serve(model: str) -> tuple[subprocess.Popen[str], int]:
    """Start a server of its own; its process and port."""
    words = [sys.executable, "-m", "arietta", "serve", "--port", "0"]
    process = subprocess.Popen([*words, "--model", model], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r":(\d+) ", line)
    if found is None:
        raise SystemExit(f"the server did not start: {line}")
    return process, int(found[1])


def medium(folder: Path) -> str:
    """Write the published architecture with random weights; where."""
    from arietta.evaluation.decode_speed import write_random

    return str(write_random(folder, "medium"))


def clocks(pid: int) -> dict[str, float]:
    """Return processor times until now: of the server, of this client, of everything."""
    return {"server": cpu_seconds(pid), "client": time.process_time(), "all": busy_seconds()}


async def measure(
    pid: int, port: int, listeners: int, seconds: float, options: dict[str, Any]
) -> tuple[list[Listener], float, dict[str, float]]:
    """Let listeners come over 5 s, then look at them for some seconds.

    Returns:
        The listeners, how long they were looked at, and what changed meanwhile.
    """
    begin = time.monotonic()
    until = begin + 5.0 + seconds
    everyone = [Listener(i, port, until, options) for i in range(listeners)]
    tasks = [
        asyncio.ensure_future(one.listen(begin + 5.0 * i / listeners))
        for i, one in enumerate(everyone)
    ]
    await asyncio.sleep(5.0)
    before = await asyncio.to_thread(figures_of, port) | clocks(pid)
    started = time.monotonic()
    await asyncio.sleep(seconds)
    after = await asyncio.to_thread(figures_of, port) | clocks(pid)
    lasted = time.monotonic() - started
    await asyncio.gather(*tasks)
    return everyone, lasted, {name: after[name] - before.get(name, 0.0) for name in after}


def summed_up(everyone: list[Listener], lasted: float, change: dict[str, float]) -> dict[str, Any]:
    """Return the figures of a measurement."""
    requests = [one for listener in everyone for one in listener.heard]
    first = np.array([one.first - one.asked for one in requests if one.first is not None])
    late = [max(one.late_seconds) for one in requests if one.notes]
    notes = sum(len(one.notes) for one in requests)
    late_notes = sum(int(np.sum(np.array(one.late_seconds) > 0)) for one in requests)
    tokens = change["arietta_tokens_total"] / lasted
    cost = (change["server"] + change["client"]) / change["arietta_tokens_total"]
    others = (change["all"] - change["server"] - change["client"]) / lasted
    return {
        "listeners": len(everyone),
        "requests": len(requests),
        "refused_requests": sum(one.status == 429 for one in requests),
        "failed_requests": sum(one.status not in (0, 200, 429) for one in requests),
        "first_note_seconds": {
            "p50": round(float(np.percentile(first, 50)), 3),
            "p95": round(float(np.percentile(first, 95)), 3),
            "max": round(float(first.max()), 3),
        },
        "tokens_per_second": round(tokens, 1),
        "tokens_per_second_each": round(tokens / len(everyone), 2),
        "steps_per_second": round(change["arietta_steps_total"] / lasted, 1),
        "notes": notes,
        "late_notes_share": round(late_notes / max(notes, 1), 5),
        "requests_with_a_late_note": sum(bool(s > 0) for s in late),
        "real_time": bool(tokens / len(everyone) >= REAL_TIME_TOKENS),
        "seconds": round(lasted, 1),
        "server_cores": round(change["server"] / lasted, 2),
        "client_cores": round(change["client"] / lasted, 2),
        "others_cores": round(others, 2),
        "cpu_ms_per_token": round(1000 * cost, 4),
        "tokens_per_cpu_second": round(1 / cost, 1),
    }


def main() -> None:
    """Serve, listen, print and file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listeners", type=int)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--model", default="small")
    parser.add_argument("--medium", action="store_true")
    parser.add_argument("--no-file", action="store_true", help="print alone")
    given = parser.parse_args()
    listeners = given.listeners or (8 if given.medium else 100)
    options: dict[str, Any] = {"seconds": 30}
    with tempfile.TemporaryDirectory() as folder:
        process, port = serve(medium(Path(folder)) if given.medium else given.model)
        try:
            runs, rows = [], []
            for _ in range(given.runs):
                load = os.getloadavg()[0]
                everyone, lasted, change = asyncio.run(
                    measure(process.pid, port, listeners, given.seconds, options)
                )
                runs.append({**summed_up(everyone, lasted, change), "load_before": round(load, 1)})
                rows.append(requests_of(everyone))
                print(json.dumps(runs[-1]), flush=True)
        finally:
            process.terminate()
            process.wait(20)
    order = sorted(range(len(runs)), key=lambda i: runs[i]["first_note_seconds"]["p95"])
    middle = order[len(order) // 2]
    figures = {
        "model": "medium, random weights, int8" if given.medium else given.model,
        "median_of_runs": runs[middle],
        "runs": runs,
        "requests": rows[middle],
    }
    if not given.no_file:
        name = "medium" if given.medium else Path(given.model).name
        print(file_result(f"serving_{name}", figures))


def requests_of(everyone: list[Listener]) -> list[list[float | None]]:
    """Return a row for each request.

    Listener, when it was asked in seconds, seconds to the first note, notes, how late the latest
    note was in seconds (negative: in time).
    """
    zero = min(one.asked for listener in everyone for one in listener.heard)
    return [
        [
            number,
            round(one.asked - zero, 2),
            None if one.first is None else round(one.first - one.asked, 3),
            len(one.notes),
            round(max(one.late_seconds), 3) if one.notes else None,
        ]
        for number, listener in enumerate(everyone)
        for one in listener.heard
    ]


if __name__ == "__main__":
    main()
