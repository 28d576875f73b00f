"""Measure how fast a model of a given size decodes, against the limit of the memory.

Weights are random, as the speed does not depend on them. They are written once as a public-format
float32 checkpoint into a temporary folder; every figure comes from a separate process, so that peak
memory and load times are those of a fresh start. The roofline is the rate at which all threads
together read memory, measured between the decoded tokens, divided by the bytes of weights that one
token has to read.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from arietta.arrays import Float32Array
from arietta.checkpoints import store
from arietta.checkpoints.tensors import write_tensors
from arietta.errors import AriettaError, UsageError
from arietta.models.aria import checkpoint as aria_checkpoint
from arietta.models.aria.config import PRESETS, AriaConfig
from arietta.models.aria.openvino import OpenVinoBackend
from arietta.models.aria.protocol import Backend
from arietta.models.aria.weights import Weights
from arietta.models.executors import cpu_backend
from arietta.models.kernel.threads import physical_cores

EXECUTORS = ("native", "openvino")
_PROBE_BYTES = 128 << 20  # a thread; several times larger than any processor cache
_SECONDS_PER_FIGURE = 8.0


class _RandomTensors(Mapping[str, Float32Array]):
    """Make normally distributed weights of a model on access."""

    def __init__(self, config: AriaConfig, seed: int) -> None:
        self._shapes = config.tensor_shapes()
        self._seed = seed

    def __getitem__(self, name: str) -> Float32Array:
        shape = self._shapes[name]
        if len(shape) == 1:
            return np.full(shape, 1.0 if name.endswith("weight") else 0.0, np.float32)
        rng = np.random.default_rng([self._seed, list(self._shapes).index(name)])
        return rng.standard_normal(shape, dtype=np.float32) * np.float32(0.02)

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)


def decode(
    *,
    preset: str | None = "medium",
    model: str | None = None,
    precisions: Sequence[str] = ("int8", "int4"),
    executors: Sequence[str] = EXECUTORS,
    context: int = 512,
    variations: int = 8,
    tokens: int = 64,
    threads: int | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Load, prefill and decode a model of random weights, or a checkpoint.

    Args:
        preset: a name of ``models.aria.config.PRESETS`` with a language-model head.
        model: name or path of a checkpoint to measure instead of random weights.
        precisions: weight forms to measure.
        executors: ``native`` (our kernel; skipped if it cannot run) and ``openvino``.
        context: tokens of the prompt.
        variations: rows of the batched figure.
        tokens: smallest number of decoded tokens for the median of a figure.
        threads: processor threads; all physical cores by default.
        report: callback with the name of each measurement.

    Returns:
        Figures: ``settings``, and under ``executor precision`` the load seconds (first, cached),
        peak memory, prefill seconds, tokens per second and share of the roofline.

    Raises:
        UsageError: unknown preset or executor, or a context that is too long.
        CheckpointError: there is no such checkpoint.
    """
    if unknown := set(executors) - set(EXECUTORS):
        raise UsageError(f"executor {min(unknown)!r} is not one of {', '.join(EXECUTORS)}")
    with tempfile.TemporaryDirectory(prefix="arietta-bench-") as folder:
        if model is not None:
            source = aria_checkpoint.load(model)
            config, path = source.config, str(source.path)
            # A folder in our form is loaded as a folder, a single file as a file.
            if (source.path.parent / store.CONFIG).is_file():
                path = str(source.path.parent)
        else:
            config = _preset(preset or "medium")
        if not 1 <= context <= config.max_seq_len - tokens:
            raise UsageError(
                f"{context} tokens of prompt and {tokens} more exceed the model's context of"
                f" {config.max_seq_len}"
            )
        if model is None:
            report(f"writing {config.parameter_count() / 1e6:.0f} M random weights")
            path = str(write_random(Path(folder), preset or "medium"))
        task = {
            "path": path,
            "context": context,
            "variations": variations,
            "tokens": tokens,
            "threads": threads or physical_cores(),
        }
        figures: dict[str, Any] = {
            "settings": {
                "model": model or f"{preset}, random weights",
                "parameters": config.parameter_count(),
                **{k: v for k, v in task.items() if k != "path"},
            }
        }
        for executor in executors:
            for precision in precisions:
                report(f"{executor} {precision}")
                found = _measure(folder, {**task, "executor": executor, "precision": precision})
                if found is not None:
                    figures[f"{executor} {precision}"] = found
        return figures


def write_random(folder: Path, preset: str) -> Path:
    """Write the weights of a published size, at random, as a public file; where.

    Raises:
        UsageError: there is no such size.
    """
    path = folder / "model.safetensors"
    write_tensors(path, _RandomTensors(_preset(preset), 0))
    return path


def _preset(name: str) -> AriaConfig:
    known = [n for n, config in PRESETS.items() if config.head == "lm_head"]
    if name not in known:
        raise UsageError(f"preset {name!r} is not one of {', '.join(known)}")
    return PRESETS[name]


def _measure(folder: str, task: Mapping[str, Any]) -> dict[str, Any] | None:
    """Measure one executor and precision; return None if it cannot run here."""
    first = _stage(folder, {**task, "stage": "load"})
    if not first["supported"]:
        return None
    cached = _stage(folder, {**task, "stage": "load"})
    return {
        "first_load_s": first["load_s"],
        "first_load_peak_gb": first["peak_gb"],
        "cached_load_s": cached["load_s"],
        "cold_start_to_first_token_s": cached["cold_s"],
        "peak_gb": cached["peak_gb"],
        **_stage(folder, {**task, "stage": "speed"}),
    }


def table(figures: Mapping[str, Any]) -> list[list[str]]:
    """Format the figures as rows of text with a heading."""
    rows = [
        [
            "executor",
            "first load",
            "cached load",
            "peak memory",
            "prefill",
            "tokens/s",
            "of roofline",
            f"tokens/s x{figures['settings']['variations']}",
        ]
    ]
    for name, f in figures.items():
        if name == "settings":
            continue
        rows.append(
            [
                name,
                f"{f['first_load_s']:.1f} s",
                f"{f['cached_load_s']:.2f} s",
                f"{f['peak_gb']:.2f} GB",
                f"{f['prefill_s']:.2f} s",
                f"{f['decode_tokens_per_s']:.1f}",
                f"{100 * f['roofline_share']:.0f} %",
                f"{f['batch_tokens_per_s']:.1f}",
            ]
        )
    return rows


def _stage(folder: str, task: Mapping[str, Any]) -> dict[str, Any]:
    """Run one stage in a fresh process whose caches lie in the temporary folder.

    Raises:
        AriettaError: the stage failed.
    """
    environment = {**os.environ, "ARIETTA_HOME": folder}
    started = time.time()
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "arietta.evaluation.decode_speed",
            json.dumps({**task, "started": started}),
        ],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise AriettaError(f"the benchmark stage {task['stage']} failed: {last}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _run_stage(task: Mapping[str, Any]) -> dict[str, Any]:
    checkpoint = aria_checkpoint.load(task["path"])
    config, precision = checkpoint.config, task["precision"]
    started = time.perf_counter()
    backend: Backend
    if task["executor"] == "openvino":
        backend = OpenVinoBackend(checkpoint, precision, task["threads"])
    else:
        backend = cpu_backend(checkpoint, precision, task["threads"])
        if isinstance(backend, OpenVinoBackend):
            return {"supported": False}
    load_s = time.perf_counter() - started
    rng = np.random.default_rng(0)
    prompt = rng.integers(0, config.vocab_size, (1, task["context"]))
    session = backend.new_session()
    started = time.perf_counter()
    hidden = session.append(prompt, last=True)
    session.head(hidden)
    first_s = time.perf_counter() - started
    cold_s = time.time() - task["started"]
    if task["stage"] == "load":
        for _ in range(16):
            session.head(session.append(prompt[:, :1], last=True))
        return {
            "supported": True,
            "load_s": round(load_s + (first_s if task["executor"] == "openvino" else 0.0), 3),
            "cold_s": round(cold_s, 3),
            "peak_gb": round(_peak_bytes() / 1e9, 3),
        }
    # The first prefill of a graph includes the layout of its weights; measure the second one.
    session = backend.new_session()
    started = time.perf_counter()
    session.append(prompt, last=True)
    prefill_s = time.perf_counter() - started
    probe = _Probe(task["threads"])
    busy = _OtherWork()

    def rate(rows: int) -> tuple[float, float]:
        """Measure in turns the median seconds of a step and the median bytes per second."""
        steps: list[float] = []
        reads: list[float] = []
        until = time.perf_counter() + _SECONDS_PER_FIGURE
        limit = config.max_seq_len - int(session.lengths.max())
        while len(steps) < min(task["tokens"], limit) or (
            time.perf_counter() < until and len(steps) < min(400, limit)
        ):
            if len(steps) % 4 == 0:
                reads.append(probe.read())
            ids = rng.integers(0, config.vocab_size, (rows, 1))
            started = time.perf_counter()
            session.head(session.append(ids, last=True))
            steps.append(time.perf_counter() - started)
        return float(np.median(steps)), float(np.median(reads))

    step, bandwidth = rate(1)
    variations = task["variations"]
    session.rewind(np.array([task["context"]]))
    session.fork(np.zeros(variations, np.int64))
    batch_step, _ = rate(variations)
    weights: Weights = backend.weights  # type: ignore[attr-defined]
    weight_bytes = weights.matrix_bytes()
    return {
        "prefill_s": round(prefill_s, 3),
        "decode_tokens_per_s": round(1 / step, 2),
        "batch_tokens_per_s": round(variations / batch_step, 2),
        "weight_bytes_per_token": weight_bytes,
        "read_gb_per_s": round(bandwidth / 1e9, 2),
        "roofline_tokens_per_s": round(bandwidth / weight_bytes, 2),
        "roofline_share": round(weight_bytes / step / bandwidth, 3),
        "processor_share_of_others": busy.share(),
    }


class _Probe:
    """Read memory with all threads."""

    def __init__(self, threads: int) -> None:
        self._blocks = [np.ones(_PROBE_BYTES // 8, np.int64) for _ in range(threads)]
        self._pool = ThreadPoolExecutor(threads)

    def read(self) -> float:
        """Read the block of every thread once; return bytes per second."""
        started = time.perf_counter()
        list(self._pool.map(np.sum, self._blocks))
        return len(self._blocks) * _PROBE_BYTES / (time.perf_counter() - started)


class _OtherWork:
    """Measure the share of the processor that other processes use; Linux only."""

    def __init__(self) -> None:
        self._start = self._now()

    @staticmethod
    def _now() -> tuple[float, float, float] | None:
        try:
            fields = [int(x) for x in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
        except (OSError, ValueError):
            return None
        busy = sum(fields) - fields[3] - fields[4]  # all but idle and waiting for disks
        tick = os.sysconf("SC_CLK_TCK")
        return busy / tick, sum(fields) / tick, time.process_time()

    def share(self) -> float | None:
        """Return the share 0..1 of all cores; None if it is unknown."""
        now = self._now()
        if now is None or self._start is None:
            return None
        busy, total, own = (b - a for a, b in zip(self._start, now, strict=True))
        return round(max(0.0, busy - own) / max(total, 1e-9), 3)


def _peak_bytes() -> int:
    """Return the peak memory of this process."""
    import resource

    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss includes the memory of the parent at the fork
        lines = status.read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_run_stage(json.loads(sys.argv[1]))) + "\n")
