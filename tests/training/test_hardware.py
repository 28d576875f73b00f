"""What a training step needs, computed and measured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from arietta.models.aria.config import PRESETS, AriaConfig
from arietta.models.aria.torch_module import AriaDecoder
from arietta.training.hardware import activation_bytes, measured_peak_flops, training_bytes
from arietta.training.loss import NextToken


@pytest.mark.parametrize("grad_checkpoint", [False, True])
def test_the_activations_that_are_kept_are_as_computed(grad_checkpoint: bool) -> None:
    config = AriaConfig(d_model=64, n_heads=2, n_layers=40, vocab_size=50, max_seq_len=128)
    decoder = AriaDecoder(config)
    decoder.model.grad_checkpoint = grad_checkpoint
    module = NextToken(decoder, 0, "bf16").train()
    weights = {p.untyped_storage().data_ptr() for p in module.parameters()}
    kept: list[torch.Tensor] = []

    def keep(x: torch.Tensor) -> torch.Tensor:
        kept.append(x)
        return x

    rows, seq_len = 16, 128
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        module(torch.ones((rows, seq_len + 1), dtype=torch.long))
    found = {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in kept}
    measured = sum(size for at, size in found.items() if at not in weights)
    computed = rows * seq_len * activation_bytes(config, grad_checkpoint=grad_checkpoint)[0]
    assert measured == pytest.approx(computed, rel=0.1)


def test_the_table_of_the_documentation_is_computed() -> None:
    page = Path(__file__).parents[2] / "docs/how-to/cluster.md"
    rows = re.findall(r"^\| (\d+) \| (true|false) \| (.+) \|$", page.read_text(), re.MULTILINE)
    assert len(rows) == 4
    for count, checkpointed, figures in rows:
        needed = [
            training_bytes(
                PRESETS["medium"],
                int(count),
                8192,
                grad_checkpoint=checkpointed == "true",
                processes=processes,
            )
            for processes in (1, 8)
        ]
        assert figures == " | ".join(f"{size / 2**30:.1f} GiB" for size in needed)


def test_the_peak_leaves_the_random_numbers_of_a_run_alone() -> None:
    before = torch.get_rng_state()
    assert measured_peak_flops(torch.device("cpu"), torch.float32) > 0
    assert torch.equal(before, torch.get_rng_state())
