"""Pianist Transformer in torch against the reference's numbers, and against itself with caches."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from arietta.errors import CheckpointError
from arietta.models.pianist import checkpoint as pianist
from arietta.models.pianist.config import PIANIST_PRESETS, PianistConfig
from arietta.models.pianist.torch_module import (
    PianistTransformer,
    initialise,
    sequence_loss,
    shift_right,
)

GOLDEN = Path(__file__).parents[2] / "golden" / "pianist"
EXPECTED = np.load(GOLDEN / "forward.npz")
COLUMNS = EXPECTED["columns"]


def t(name: str) -> torch.Tensor:
    return torch.from_numpy(EXPECTED[name])


@pytest.fixture(scope="module")
def model() -> PianistTransformer:
    found = pianist.load(GOLDEN / "model")
    built = PianistTransformer(found.config)
    built.load_state_dict({n: torch.tensor(np.array(found.tensors[n])) for n in found.tensors})
    return built.eval()


def close(found: torch.Tensor, expected: np.ndarray, atol: float = 1e-5) -> None:
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=0, atol=atol)


@torch.no_grad()
def test_one_row(model: PianistTransformer) -> None:
    ids, labels = t("single/input_ids"), t("single/labels")
    assert torch.equal(shift_right(labels), t("single/decoder_input_ids"))
    close(model.model.encoder(ids), EXPECTED["single/enc_out"])
    logits = model(ids, shift_right(labels))
    close(logits[:, EXPECTED["single/positions"]][..., COLUMNS], EXPECTED["single/logits"])
    close(sequence_loss(logits, labels), EXPECTED["single/loss"])


def test_gradients(model: PianistTransformer) -> None:
    model.zero_grad()
    labels = t("single/labels")
    sequence_loss(model(t("single/input_ids"), shift_right(labels)), labels).backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    assert set(gradients) == set(EXPECTED["grad/names"].tolist())
    for name, (squares, total) in zip(EXPECTED["grad/names"], EXPECTED["grad/values"], strict=True):
        gradient = gradients[name]
        assert gradient is not None
        assert float(gradient.pow(2).sum()) == pytest.approx(squares, rel=1e-3, abs=1e-9), name
        assert float(gradient.sum()) == pytest.approx(total, rel=1e-3, abs=1e-4), name


@torch.no_grad()
def test_a_padded_batch_as_the_reference_has_it(model: PianistTransformer) -> None:
    labels, at = t("batch/labels"), EXPECTED["batch/positions"]
    logits = model(
        t("batch/input_ids"), shift_right(labels), t("batch/attention_mask"), compat="pianist"
    )
    real = (labels != -100).numpy()[:, at]
    close(logits[:, at][..., COLUMNS][real], EXPECTED["batch/logits"][real])
    close(sequence_loss(logits, labels), EXPECTED["batch/loss"])


@torch.no_grad()
def test_rows_of_a_batch_are_as_they_are_alone(model: PianistTransformer) -> None:
    labels, at = t("batch/labels"), EXPECTED["batch/positions"]
    logits = model(t("batch/input_ids"), shift_right(labels), t("batch/attention_mask"))
    for row in range(3):
        alone = EXPECTED[f"batch/row{row}_alone"]
        close(logits[row, at[: len(alone)]][..., COLUMNS], alone)


@torch.no_grad()
@pytest.mark.parametrize("case", ["long", "pretrain"])
def test_losses_of_padded_batches(model: PianistTransformer, case: str) -> None:
    labels = t(f"{case}/labels")
    name = f"{case}/decoder_input_ids"
    decoder_ids = t(name) if name in EXPECTED.files else shift_right(labels)
    logits = model(
        t(f"{case}/input_ids"), decoder_ids, t(f"{case}/attention_mask"), compat="pianist"
    )
    close(sequence_loss(logits, labels), EXPECTED[f"{case}/loss"])


@torch.no_grad()
def test_cached_equals_whole(model: PianistTransformer) -> None:
    ids, decoder_ids = t("single/input_ids"), t("single/decoder_input_ids")
    whole = model(ids, decoder_ids)
    memory, past, parts, at = model.encode(ids), None, [], 0
    for step in (5, 1, 2, 3, 7, 1, 30, 47):
        hidden, past = model.model.decoder(decoder_ids[:, at : at + step], memory, past)
        parts.append(model.head(hidden))
        at += step
    close(torch.cat(parts, dim=1), whole.numpy())
    close(model.head(hidden, 261, 5261), whole[:, -47:, 261:5261].numpy())


def test_checkpointed_gradients_are_the_same(model: PianistTransformer) -> None:
    def gradient() -> torch.Tensor:
        model.zero_grad()
        model(t("single/input_ids"), t("single/decoder_input_ids")).square().mean().backward()
        found = model.model.encoder.layers[0].mlp.up_proj.weight.grad
        assert found is not None
        return found.clone()

    plain = gradient()
    model.train()
    model.model.encoder.grad_checkpoint = True
    try:
        assert torch.allclose(gradient(), plain, atol=1e-7)
    finally:
        model.eval()
        model.model.encoder.grad_checkpoint = False


def test_published_size() -> None:
    config = PIANIST_PRESETS["pianist-135m"]
    assert config.parameter_count() == 126_874_368
    published = json.loads((GOLDEN / "state_dict_135m.json").read_text())
    used = config.tensor_shapes()
    assert {name: tuple(published[name]) for name in used} == used


def test_module_and_settings_agree() -> None:
    config = PIANIST_PRESETS["pianist-small"]
    model = PianistTransformer(config)
    initialise(model, 0)
    state = model.state_dict()
    assert {n: tuple(x.shape) for n, x in state.items()} == config.tensor_shapes()
    assert float(state["model.encoder.norm.weight"].abs().max()) == 0
    assert float(state["model.decoder.embed_tokens.weight"][0].abs().max()) == 0
    assert float(state["model.decoder.embed_tokens.weight"].std()) == pytest.approx(0.02, rel=0.02)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"d_model": 100}, "multiple of 8"),
        ({"n_kv_heads": 3}, "multiple of n_kv_heads"),
        ({"head_dim": 7}, "even"),
        ({"encoder_layers": 0}, "above 0"),
        ({"width": 3}, "unknown model settings"),
        ({"d_model": "x"}, "not numbers"),
    ],
)
def test_impossible_settings(values: dict, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        PianistConfig.from_dict(values)


def test_settings_survive_json() -> None:
    config = PIANIST_PRESETS["pianist-135m"]
    assert PianistConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
