"""What the hardware could do, and how much of it a training step uses."""

from __future__ import annotations

import statistics
import time

import torch

from arietta.models.aria.config import AriaConfig


def training_flops_per_token(config: AriaConfig, seq_len: int) -> float:
    """Arithmetic of one forward and backward pass for one token, without recomputation.

    Six operations for each weight that is multiplied (the embedding is only looked up), and for
    the causal half of the attention products.
    """
    weights = sum(
        rows * shape[0]
        for name, (rows, *shape) in config.tensor_shapes().items()
        if shape and "tok_embeddings" not in name
    )
    return 6.0 * weights + 6.0 * config.n_layers * config.d_model * seq_len


def measured_peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of a large square matrix product, the median of five."""
    size = 8192 if device.type == "cuda" else 2048
    # No random numbers: a resumed run must not draw more of them than an uninterrupted one.
    a = torch.full((size, size), 0.5, device=device, dtype=dtype)

    def product() -> float:
        began = time.perf_counter()
        torch.mm(a, a)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - began

    product()
    return 2.0 * size**3 / statistics.median(product() for _ in range(5))
