"""Tests on real MIDI ports: ``make test-live``, which sees to jackd; ``make test`` leaves them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

if os.environ.get("ARIETTA_LIVE") != "1":
    collect_ignore_glob = ["test_*.py"]


class Jack:
    """A JACK server with the dummy driver, under a name of its own."""

    def __init__(self) -> None:
        assert shutil.which("jackd"), "jackd is needed: apt-get install jackd2"
        self.name = f"arietta-{os.getpid()}-{time.monotonic_ns() % 100_000}"
        self.environment = {
            **os.environ,
            "JACK_DEFAULT_SERVER": self.name,
            "JACK_NO_AUDIO_RESERVATION": "1",
        }
        words = [
            "jackd",
            "--no-realtime",
            # Without it the server leaves out what a client is late with, on a busy machine.
            "--sync",
            "-n",
            self.name,
            "-d",
            "dummy",
            "-r",
            "48000",
            "-p",
            "128",
        ]
        self.process = subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        self._wait()

    def _wait(self) -> None:
        """Wait until clients can connect."""
        until = time.monotonic() + 20
        while not Path(f"/dev/shm/jack_{self.name}_0_0").exists():
            assert self.process.poll() is None, "jackd ended at once"
            assert time.monotonic() < until, "jackd does not answer"
            time.sleep(0.02)
        time.sleep(0.5)

    def kill(self) -> None:
        """End the server; one that is killed outright keeps one of the eight places there are."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)


@pytest.fixture
def jack() -> Iterator[Jack]:
    server = Jack()
    try:
        yield server
    finally:
        server.kill()
