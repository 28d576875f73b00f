"""What ``/metrics`` tells, in the text format of Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from arietta.generation.loop import GenerationLoop

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0)


class Metrics:
    """The figures of one server."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._told: dict[Counter, int] = {}
        self.first_note = Histogram(
            "arietta_first_note_seconds",
            "From a request to its first note",
            buckets=_SECONDS,
            registry=registry,
        )
        self.refused = Counter(
            "arietta_refused", "Requests refused for want of room", registry=registry
        )
        self._running = Gauge("arietta_running", "Streams that run", registry=registry)
        self._waiting = Gauge("arietta_waiting", "Streams that wait", registry=registry)
        self._rows = Gauge("arietta_batch_rows", "Rows decided side by side", registry=registry)
        self._tokens = Counter("arietta_tokens", "Tokens decided", registry=registry)
        self._steps = Counter("arietta_steps", "Steps of the model", registry=registry)
        self._working = Gauge("arietta_workers_busy", "Workers at work", registry=registry)

    def text(self, loop: GenerationLoop, working: int) -> bytes:
        """Return all figures.

        Args:
            loop: that runs the streams.
            working: workers at work.
        """
        self._running.set(loop.running)
        self._waiting.set(loop.waiting)
        self._rows.set(loop.rows)
        for counter, value in ((self._tokens, loop.tokens), (self._steps, loop.steps)):
            counter.inc(max(0, value - self._told.get(counter, 0)))
            self._told[counter] = value
        self._working.set(working)
        return bytes(generate_latest(self.registry))
