"""Start from some of the layers of a model, and learn what a larger model says."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from arietta.errors import UsageError
from arietta.models.aria.checkpoint import load
from arietta.models.aria.config import AriaConfig
from arietta.models.aria.torch_module import AriaDecoder, initialise
from arietta.tokenizers.vocabulary import PAD
from arietta.training.loop import train
from arietta.training.loss import NextToken
from arietta.training.tasks.decoder import DecoderTask
from tests.models.aria.test_waits import CLOCK, NAME, music
from tests.training.conftest import tiny


def rows_of(waits: bool, seed: int) -> Tensor:
    found = torch.from_numpy(
        np.stack([music(np.random.default_rng(seed + row), 65) for row in range(4)])
    )
    found[1, 40:] = PAD
    return found if waits else found % 2_565


def decoder(waits: bool, layers: int, seed: int) -> AriaDecoder:
    size = CLOCK.size if waits else 2_565
    config = AriaConfig(32, 2, layers, size, 2, 64, waits=NAME if waits else None)
    model = AriaDecoder(config)
    initialise(model, seed)
    return model


def gradient(module: nn.Module, rows: Tensor) -> float:
    module.zero_grad()
    module(rows).backward()
    parts = [p.grad.norm() for p in module.parameters() if p.grad is not None]
    return float(torch.stack(parts).norm())


@pytest.mark.parametrize("waits", [True, False])
def test_a_model_has_nothing_to_learn_from_itself(waits: bool) -> None:
    model, teacher = decoder(waits, 2, 0), decoder(waits, 2, 0)
    rows = rows_of(waits, 3)
    distilled = NextToken(model, PAD, "f32", teacher)
    plain = gradient(NextToken(model, PAD, "f32"), rows)
    assert gradient(distilled, rows) < 1e-5 * plain
    # From another model there is, and the teacher itself never changes.
    other = NextToken(model, PAD, "f32", decoder(waits, 1, 1))
    assert gradient(other, rows) > 1e-3 * plain
    assert not any(p.requires_grad for p in other._teacher[0].parameters())
    assert len(list(other.parameters())) == len(list(model.parameters()))


@torch.no_grad()
@pytest.mark.parametrize("waits", [True, False])
def test_validation_is_of_the_tokens(waits: bool) -> None:
    model, rows = decoder(waits, 2, 0), rows_of(waits, 9)
    distilled = NextToken(model, PAD, "f32", decoder(waits, 1, 1))
    plain = NextToken(model, PAD, "f32")
    assert float(distilled.train()(rows)) != float(plain(rows))
    assert float(distilled.eval()(rows)) == float(plain(rows))


def test_chosen_layers_are_the_start_of_a_smaller_model(dataset: Path, tmp_path: Path) -> None:
    once = [{"seq_len": 64, "rows": 2, "until_tokens": 256}]
    base = train(tiny(stages=once), dataset, tmp_path / "base", cpu=True).model
    whole = load(base)
    smaller = tiny(
        model=None, init=str(base), layers=[1], teacher=str(base), stages=once, resid_dropout=0.0
    )
    start = DecoderTask(smaller, dataset).decoder.state_dict()
    assert start.keys() == {n for n in whole.tensors if "encode_layers.1" not in n}
    for name, tensor in start.items():
        chosen = name.replace("encode_layers.0", "encode_layers.1")
        assert torch.equal(tensor, torch.tensor(whole.tensors[chosen])), name
    made = load(train(smaller, dataset, tmp_path / "smaller", cpu=True).model)
    assert made.config.n_layers == 1


def test_what_does_not_fit_is_refused(dataset: Path, tmp_path: Path) -> None:
    once = [{"seq_len": 64, "rows": 2, "until_tokens": 256}]
    base = str(train(tiny(stages=once), dataset, tmp_path / "base", cpu=True).model)
    with pytest.raises(UsageError, match="layers 0 to 1"):
        DecoderTask(tiny(model=None, init=base, layers=[0, 2]), dataset)
    with pytest.raises(UsageError, match="teacher"):
        DecoderTask(tiny(teacher="small"), dataset)
