"""How fast is a training step, and how much of the hardware does it use?

    python -m benchmarks.training_step [--sizes small medium] [--seq-len 8192] [--seconds 20]

Runs on a GPU if there is one, otherwise on the CPU with shorter rows. Rows are random, as
loader_speed measures the loader. The peak is a large bf16 matrix product in the same run.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from dataclasses import replace
from typing import Any

import torch

from arietta.models.aria.config import PRESETS, AriaConfig
from arietta.models.aria.torch_module import AriaDecoder, initialise
from arietta.tokenizers.vocabulary import PAD
from arietta.training.config import Optimiser
from arietta.training.hardware import measured_peak_flops, training_flops_per_token
from arietta.training.loss import NextToken
from arietta.training.optim import build_optimisers
from benchmarks.common import file_result


def measure(
    config: AriaConfig,
    device: torch.device,
    *,
    seq_len: int,
    rows: int,
    seconds: float,
    compiled: bool,
    grad_checkpoint: bool,
) -> dict[str, Any]:
    """Measure one size and batch."""
    decoder = AriaDecoder(config)
    initialise(decoder, 0)
    decoder.model.grad_checkpoint = grad_checkpoint
    module = NextToken(decoder, PAD, "bf16").to(device)
    if compiled:
        module.compile()
    (optimiser,) = build_optimisers(module, Optimiser(lr=3e-4))
    ids = torch.randint(6, config.vocab_size, (rows, seq_len + 1), device=device)

    def step() -> float:
        began = time.perf_counter()
        torch.autograd.backward(module(ids))
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - began

    first = step()
    step()
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        times.append(step())
    peak = measured_peak_flops(device, torch.bfloat16)
    rate = rows * seq_len / statistics.median(times)
    memory = (
        torch.cuda.max_memory_allocated(device)
        if device.type == "cuda"
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    return {
        "parameters": config.parameter_count(),
        "seq_len": seq_len,
        "rows": rows,
        "compiled": compiled,
        "grad_checkpoint": grad_checkpoint,
        "first_step_s": round(first, 2),
        "step_s": round(statistics.median(times), 4),
        "steps_timed": len(times),
        "tokens_per_s": round(rate),
        "peak_bf16_tflops": round(peak / 1e12, 3),
        "model_flops_utilisation": round(
            rate * training_flops_per_token(config, seq_len) / peak, 3
        ),
        "peak_memory_gib": round(memory / 2**30, 2),
    }


def main() -> None:
    """Measure, print, file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", default=None, choices=["small", "medium"])
    parser.add_argument("--seq-len", type=int, default=None)
    parser.add_argument("--rows", type=int, default=None)
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    gpu = torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    seq_len = arguments.seq_len or (8192 if gpu else 512)
    figures: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if gpu else "cpu",
        "threads": torch.get_num_threads(),
    }
    for size in arguments.sizes or (["small", "medium"] if gpu else ["small"]):
        config = replace(PRESETS[size], max_seq_len=max(seq_len, PRESETS[size].max_seq_len))
        rows = arguments.rows or (({"small": 16, "medium": 8} if gpu else {"small": 8})[size])
        for compiled in (False, True):
            name = f"{size} {'compiled' if compiled else 'eager'}"
            figures[name] = measure(
                config,
                device,
                seq_len=seq_len,
                rows=rows,
                seconds=arguments.seconds,
                compiled=compiled,
                grad_checkpoint=size == "medium",
            )
            print(name, figures[name], flush=True)
            if gpu:
                torch.cuda.reset_peak_memory_stats()
    file_result(f"training_step_{device.type}", figures)


if __name__ == "__main__":
    main()
