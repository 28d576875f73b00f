"""The torch decoder against the reference's numbers, and against itself with a cache."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from arietta.errors import CheckpointError
from arietta.models.aria import torch_module
from arietta.models.aria.config import PRESETS, AriaConfig
from arietta.models.aria.torch_module import AriaDecoder, LayerCache, initialise

GOLDEN = Path(__file__).parents[2] / "golden" / "aria" / "model"


def golden_model(kind: str, **extra: int | bool) -> AriaDecoder:
    described = json.loads((GOLDEN / "config.json").read_text())[kind]
    settings = described["config"]
    config = AriaConfig(
        **{
            k: settings[k]
            for k in ("d_model", "n_heads", "n_layers", "ff_mult", "max_seq_len", "vocab_size")
        },
        **extra,
    )
    model = AriaDecoder(config)
    files = [described["file"]] if kind != "cnd" else ["lm.safetensors", "cnd_adapter.safetensors"]
    state = {k: v.float() for f in files for k, v in load_file(GOLDEN / f).items()}
    model.load_state_dict(state, strict=True)
    return model.eval()


@torch.no_grad()
def test_language_model_matches_the_reference() -> None:
    expected = np.load(GOLDEN / "lm_expected.npz")
    logits = golden_model("lm")(torch.from_numpy(expected["ids"]).long()).numpy()
    np.testing.assert_allclose(logits[0][expected["positions"]], expected["logits_seq0"], atol=1e-5)
    picked = np.take_along_axis(logits, expected["top20_ids"].astype(np.int64), axis=-1)
    np.testing.assert_allclose(picked, expected["top20_logits"], atol=1e-5)


@torch.no_grad()
def test_conditioned_model_matches_the_reference() -> None:
    expected = np.load(GOLDEN / "cnd_expected.npz")
    model = golden_model("cnd", conditioned=True, embedding_size=16)
    ids = torch.from_numpy(np.load(GOLDEN / "lm_expected.npz")["ids"]).long()
    logits = model(ids, torch.from_numpy(expected["condition"]).float()).numpy()
    assert logits.shape[1] == ids.shape[1] - 1
    picked = np.take_along_axis(logits, expected["top20_ids"].astype(np.int64), axis=-1)
    np.testing.assert_allclose(picked, expected["top20_logits"], atol=1e-5)


def golden_chunks(name: str) -> list[list[int]]:
    path = GOLDEN.parent / "tokens" / f"{name}.json.gz"
    chunks: list[list[int]] = json.loads(gzip.decompress(path.read_bytes()))["embedding_chunk_ids"]
    return chunks


@torch.no_grad()
@pytest.mark.parametrize("case", range(3))
def test_embeddings_match_the_reference(case: int) -> None:
    expected = json.loads((GOLDEN / "heads_expected.json").read_text())["embedding"][case]
    model = golden_model("emb", embedding_size=16)
    vectors = []
    for ids in golden_chunks(expected["name"]):
        out = model(torch.tensor([ids[:2048]]))[0]
        vectors.append(out[ids.index(1)].numpy())
    np.testing.assert_allclose(vectors, expected["per_chunk"], atol=1e-5)
    np.testing.assert_allclose(np.mean(vectors, axis=0), expected["global"], atol=1e-5)


@torch.no_grad()
def test_cached_steps_equal_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_module, "_LEAST_ROOM", 2)  # so that the cache grows more than once
    model = AriaDecoder(AriaConfig(d_model=32, n_heads=2, n_layers=3, vocab_size=50)).eval()
    initialise(model, 0)
    ids = torch.randint(0, 50, (2, 9), generator=torch.Generator().manual_seed(1))
    whole, _ = model.model(ids)
    hidden, first = model.model(ids[:, :4])
    torch.testing.assert_close(hidden, whole[:, :4])
    past = [LayerCache(kept) for kept in first]
    for t in range(4, 9):
        hidden, _ = model.model(ids[:, t : t + 1], positions=torch.tensor([t]), past=past)
        torch.testing.assert_close(hidden[:, 0], whole[:, t], atol=1e-5, rtol=1e-5)


def test_checkpointed_gradients_are_the_same() -> None:
    config = AriaConfig(d_model=32, n_heads=2, n_layers=2, vocab_size=50, resid_dropout=0.0)
    ids = torch.arange(12).view(1, 12)
    gradients = []
    for on in (False, True):
        model = AriaDecoder(config).train()
        initialise(model, 0)
        model.model.grad_checkpoint = on
        model(ids).square().mean().backward()
        gradients.append(model.model.encode_layers[0].mixed_qkv.weight.grad)
    torch.testing.assert_close(*gradients)


def test_parameter_counts_are_the_published_ones() -> None:
    medium = PRESETS["medium"]
    assert medium.parameter_count() == 658_538_496
    assert PRESETS["medium-emb"].parameter_count() == 632_096_256
    assert PRESETS["medium-conditioned"].parameter_count() == 659_324_928
    small = AriaDecoder(PRESETS["small"])
    assert sum(p.numel() for p in small.parameters()) == PRESETS["small"].parameter_count()
    assert {n: tuple(p.shape) for n, p in small.named_parameters()} == PRESETS[
        "small"
    ].tensor_shapes()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"d_model": 33}, "d_model"),
        ({"n_layers": 0}, "n_layers"),
        ({"resid_dropout": 1.5}, "resid"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, float], word: str) -> None:
    values = {"d_model": 32, "n_heads": 2, "n_layers": 2, "vocab_size": 50} | change
    with pytest.raises(CheckpointError, match=word):
        AriaConfig.from_dict(values)


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(CheckpointError, match="colour"):
        AriaConfig.from_dict({"colour": 1})


def test_initial_weights_are_those_of_the_convention() -> None:
    config = AriaConfig(d_model=64, n_heads=2, n_layers=8, vocab_size=500, max_seq_len=32)
    model = AriaDecoder(config)
    initialise(model, 0)
    for name, weights in model.named_parameters():
        if weights.dim() == 1:
            assert (weights == (1.0 if name.endswith("weight") else 0.0)).all(), name
            continue
        # Two residual outputs a layer add up over eight layers.
        outputs = ("att_proj_linear.weight", "ff_down_proj.weight")
        std = 0.02 / 4 if name.endswith(outputs) else 0.02
        assert weights.std().item() == pytest.approx(std, rel=0.05), name
