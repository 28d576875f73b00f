"""Optimisers: the stacked Muon is torch's."""

from __future__ import annotations

import copy

import pytest
import torch

from arietta.models.aria.config import AriaConfig
from arietta.models.aria.torch_module import AriaDecoder, initialise
from arietta.training.config import Optimiser
from arietta.training.optim import StackedMuon, build_optimisers, orthogonal

CONFIG = AriaConfig(d_model=32, n_heads=2, n_layers=3, ff_mult=2, vocab_size=50)
MUON = Optimiser(lr=3e-3, kind="muon", weight_decay=0.05, decay_all=False)


def test_stacked_muon_steps_as_torch_does_and_goes_on_from_its_state() -> None:
    ours = AriaDecoder(CONFIG)
    initialise(ours, 0)
    theirs = copy.deepcopy(ours)
    stacked, plain = build_optimisers(ours, MUON), build_optimisers(theirs, MUON, sharded=True)
    assert isinstance(stacked[0], StackedMuon) and not isinstance(plain[0], StackedMuon)
    generator = torch.Generator().manual_seed(1)
    for step in range(6):
        if step == 3:
            kept = copy.deepcopy(stacked[0].state_dict())
            stacked = build_optimisers(ours, MUON)
            stacked[0].load_state_dict(kept)
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            p.grad = torch.randn(p.shape, generator=generator)
            q.grad = p.grad.clone()
        stacked[0].step()
        plain[0].step()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q, atol=2e-4, rtol=0)


def test_a_matrix_without_a_gradient_stays() -> None:
    model = AriaDecoder(CONFIG)
    before = copy.deepcopy(model.state_dict())
    build_optimisers(model, MUON)[0].step()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("shape", [(2, 16, 64), (3, 64, 16)])
def test_orthogonal_matrices_have_singular_values_near_one(shape: tuple[int, int, int]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonal(x, 5).float())
    assert values.min() > 0.5 and values.max() < 1.3
