"""Measure the peak of the hardware and the share of it that a training step uses."""

from __future__ import annotations

import statistics
import time

import torch

from arietta.models.aria.config import AriaConfig


def training_flops_per_token(config: AriaConfig, seq_len: int) -> float:
    """Return the operations of one forward and backward pass for one token.

    Six operations for each weight that is multiplied (not for the embedding), and for the causal
    half of the attention products; recomputation is not counted.
    """
    weights = sum(
        rows * shape[0]
        for name, (rows, *shape) in config.tensor_shapes().items()
        if shape and "tok_embeddings" not in name
    )
    return 6.0 * weights + 6.0 * config.n_layers * config.d_model * seq_len


def activation_bytes(config: AriaConfig, *, grad_checkpoint: bool) -> tuple[int, int]:
    """Return the bytes that training with bf16 autocast needs for each token of a batch.

    Returns:
        What is kept from the forward pass for the backward pass, and what comes on top where most
        is needed: at the loss, three copies of the logits; or, with checkpointing, the activations
        of one layer if they are more.
    """
    layer = 28 * config.d_model + 8 * config.ff_dim
    loss = 10 * config.vocab_size
    if grad_checkpoint:
        return config.n_layers * 4 * config.d_model, max(layer, loss)
    return config.n_layers * layer, loss


def training_bytes(
    config: AriaConfig, rows: int, seq_len: int, *, grad_checkpoint: bool, processes: int = 1
) -> int:
    """Return about how many bytes a device needs to train with AdamW and bf16 autocast.

    In float32 weights, gradients and two moments, and once more the weights in bfloat16; several
    processes (DDP) each hold the gradients once more, to send them.

    Args:
        config: the model.
        rows, seq_len: batch of a device.
        grad_checkpoint: as in the recipe.
        processes: number of processes.
    """
    of_weight = 18 if processes == 1 else 22
    of_token = sum(activation_bytes(config, grad_checkpoint=grad_checkpoint))
    return config.parameter_count() * of_weight + rows * seq_len * of_token


def measured_peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Return the operations per second of a large square matrix product, the median of five."""
    size = 8192 if device.type == "cuda" else 2048
    # Of equal numbers a GPU draws less power and runs faster than with weights. A generator of its
    # own: a resumed run must draw the same numbers as an uninterrupted run.
    generator = torch.Generator(device).manual_seed(0)
    a = torch.randn((size, size), device=device, dtype=dtype, generator=generator)

    def product() -> float:
        began = time.perf_counter()
        torch.mm(a, a)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - began

    product()
    return 2.0 * size**3 / statistics.median(product() for _ in range(5))
