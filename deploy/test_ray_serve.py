"""Two replicas under load, one killed: every request that had not begun to stream is answered.

``make test-deploy`` runs this in an environment of its own, with Ray Serve.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import time
from pathlib import Path

import pytest

ray = pytest.importorskip("ray")
pytest.importorskip("ray.serve")

PROMPT = Path(__file__).parent.parent / "arietta" / "assets" / "prompts" / "waltz.mid"
BODY = {
    "file": {"name": "waltz.mid", "data": base64.b64encode(PROMPT.read_bytes()).decode()},
    "prompt_seconds": 6,
    "seconds": 8,
    "of": 1,
    "seed": 3,
}


@pytest.fixture
def port():
    from ray import serve

    from deploy.ray_serve import app

    ray.init(num_cpus=8, include_dashboard=False, logging_level="error")
    serve.start(http_options={"host": "127.0.0.1", "port": 8339})
    serve.run(app)
    yield 8339
    serve.shutdown()
    ray.shutdown()


async def ask(port: int) -> tuple[str, float | None]:
    """How a request ended: its last event, or what went wrong; when its stream began."""
    data = json.dumps(BODY).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
    head = (
        f"POST /v1/generate HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n"
        "Content-Type: application/json\r\nAccept: text/event-stream\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    )
    writer.write(head.encode() + data)
    got, began = b"", None
    try:
        while part := await reader.read(65_536):
            got += part
            if began is None and b"event: start" in got:
                began = time.monotonic()
    except ConnectionError:
        pass
    finally:
        writer.close()
    names = [line for line in got.decode(errors="replace").split("\n") if line.startswith("event")]
    return (names[-1].removeprefix("event: ").strip() if names else got[:200].decode()), began


def replicas() -> list[int]:
    """Process numbers of the replicas."""
    import psutil

    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if "ServeReplica:default:Player" in " ".join(process.info["cmdline"] or [])
    ]


def test_nothing_is_lost_that_had_not_begun(port: int) -> None:
    async def warm() -> list:  # so that both replicas have begun streams when one is killed
        return await asyncio.gather(*(ask(port) for _ in range(10)))

    assert {how for how, _ in asyncio.run(warm())} == {"end"}
    before = replicas()
    assert len(before) == 2

    async def load() -> tuple[list, float]:
        async def one(number: int):
            await asyncio.sleep(0.1 * number)
            return await ask(port)

        tasks = [asyncio.ensure_future(one(i)) for i in range(40)]
        await asyncio.sleep(1.5)
        os.kill(before[0], signal.SIGKILL)
        killed = time.monotonic()
        return await asyncio.gather(*tasks), killed

    ended, killed = asyncio.run(load())
    lost = [how for how, began in ended if how != "end" and (began is None or began > killed)]
    assert lost == []
    whole = sum(how == "end" for how, _ in ended)
    print(f"{whole} of {len(ended)} answered whole, {len(ended) - whole} broken off in mid-stream")
    assert whole >= 20
