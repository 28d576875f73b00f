"""What is the overhead of drafting, and how large is the gain at which acceptance?

    python -m benchmarks.speculative_cost [--preset medium] [--tokens 120]

Random weights, greedy. The overhead (``machinery``) is the work of a stream outside both models
(proposing, mapping ids, accepting, rewinding), as a share of its wall time; it should stay below
10 %. With a fixed depth, the time of a round shows the cost of drafting and verifying k tokens in
passes of the target; it determines the speed-up at any acceptance. The acceptance of random models
does not predict that of trained ones.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from arietta.arrays import Float32Array
from arietta.generation.engine import Engine, Stream
from arietta.generation.settings import SamplingSettings, Stop
from arietta.generation.speculative import Draft
from arietta.models.aria.config import PRESETS, AriaConfig
from arietta.models.aria.protocol import Backend, Session
from arietta.models.executors import cpu_backend
from arietta.tokenizers.aria import AriaTokenizer
from benchmarks.common import file_result


class RandomTensors(Mapping[str, Float32Array]):
    """Make normally distributed weights on access."""

    def __init__(self, config: AriaConfig) -> None:
        self._shapes = config.tensor_shapes()

    def __getitem__(self, name: str) -> Float32Array:
        shape = self._shapes[name]
        if len(shape) == 1:
            return np.full(shape, float(name.endswith("weight")), np.float32)
        rng = np.random.default_rng(list(self._shapes).index(name))
        return rng.standard_normal(shape, np.float32) * np.float32(0.02)

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)


@dataclass(frozen=True)
class RandomModel:
    """Hold the settings and tensors of an untrained model."""

    config: AriaConfig
    tensors: RandomTensors


class TimedSession:
    """Wrap a session and add up the time spent in it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._session, name)
        if not callable(found):
            return found

        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return found(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - started

        return timed


class TimedBackend:
    """Wrap a backend whose sessions are timed."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.sessions: list[TimedSession] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def new_session(self, rows: int = 1) -> TimedSession:
        """Return an empty session."""
        self.sessions.append(TimedSession(self._backend.new_session(rows)))
        return self.sessions[-1]

    @property
    def seconds(self) -> float:
        """Return the time spent in all sessions so far."""
        return sum(session.seconds for session in self.sessions)


@dataclass(frozen=True)
class Run:
    """Hold one measured stream: median time of a step, and the share outside the models."""

    step_ms: float
    machinery_share: float
    acceptance: float | None


def run(stream: Stream, models: list[TimedBackend]) -> Run:
    """Run a stream to its end; skip the first steps."""
    for _ in range(4):
        stream.step()
    steps = []
    inside = sum(model.seconds for model in models)
    while not stream.done:
        started = time.perf_counter()
        stream.step()
        steps.append(time.perf_counter() - started)
    inside = sum(model.seconds for model in models) - inside
    total = sum(steps)
    return Run(
        median(steps) * 1e3,
        1 - inside / total,
        stream.progress().acceptance,
    )


def main() -> None:
    """Measure, print, file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="medium")
    parser.add_argument("--draft", default="small")
    parser.add_argument("--tokens", type=int, default=80)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    vocabularies = {17_727: "full", 2_565: "piano"}
    with tempfile.TemporaryDirectory(prefix="arietta-bench-") as folder:
        os.environ["ARIETTA_HOME"] = folder
        models: list[TimedBackend] = []
        for name in (arguments.preset, arguments.draft):
            config = PRESETS[name]
            model = RandomModel(config, RandomTensors(config))
            models.append(TimedBackend(cpu_backend(model, "int8", arguments.threads)))
        target, small = models
        tokenizer, words = (AriaTokenizer(vocabularies[m.vocab_size]) for m in models)
        at = np.arange(80) * 250
        prompt = tokenizer.encode_columns(
            at, np.full(80, 300), 50 + np.arange(80) % 30, np.full(80, 70), eos=False
        )
        engines = {"no draft": Engine(target, tokenizer)}
        for depth in (None, 1, 2, 4, 8):
            name = "adaptive" if depth is None else f"depth {depth}"
            engines[name] = Engine(target, tokenizer, draft=Draft(small, words, depth))
        taken: dict[str, list[Run]] = {name: [] for name in engines}
        for cut in range(arguments.rounds):
            for name, engine in engines.items():
                stream = engine.stream(
                    prompt[: len(prompt) - 3 * cut],
                    settings=SamplingSettings(temperature=0),
                    stop=Stop(tokens=arguments.tokens),
                )
                taken[name].append(run(stream, models))
    # The fastest round of each: other work on the machine only adds time.
    plain = min(r.step_ms for r in taken["no draft"])
    passes = {
        depth: round(min(r.step_ms for r in taken[f"depth {depth}"]) / plain, 3)
        for depth in (1, 2, 4, 8)
    }
    figures: dict[str, Any] = {
        "target": f"{arguments.preset}, random weights",
        "draft": f"{arguments.draft}, random weights",
        "no_draft_ms_per_token": round(plain, 3),
        "outside_the_models_percent": {
            name: round(median(r.machinery_share for r in runs) * 100, 2)
            for name, runs in taken.items()
        },
        "acceptance_of_random_models": {
            name: round(runs[0].acceptance, 3)
            for name, runs in taken.items()
            if runs[0].acceptance is not None
        },
        "round_cost_in_passes_by_depth": passes,
        "speed_up_by_acceptance": {
            str(rate): max(
                round((1 - rate ** (k + 1)) / (1 - rate) / cost, 2) for k, cost in passes.items()
            )
            for rate in (0.3, 0.5, 0.7, 0.9)
        },
    }
    for name, value in figures.items():
        print(f"{name:<32} {value}")
    file_result("speculative_cost", figures)


if __name__ == "__main__":
    main()
