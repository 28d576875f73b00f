"""Public Pianist Transformer checkpoints <-> ours: every tensor accounted for, both ways."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from arietta.checkpoints import registry
from arietta.errors import CheckpointError, OutputError
from arietta.models import load as any_checkpoint
from arietta.models.aria import checkpoint as aria_checkpoint
from arietta.models.pianist import checkpoint as pianist
from arietta.models.pianist.config import PIANIST_PRESETS, PianistConfig

GOLDEN = Path(__file__).parents[2] / "golden" / "pianist"


@pytest.fixture
def public(tmp_path: Path) -> Path:
    """The golden checkpoint in the public form."""
    folder = tmp_path / "public"
    folder.mkdir()
    return any_checkpoint.convert(GOLDEN / "model", folder / "model.safetensors", to="public")


def test_what_the_public_code_would_write() -> None:
    published = json.loads((GOLDEN / "state_dict_135m.json").read_text())
    config = PIANIST_PRESETS["pianist-135m"]
    used = config.tensor_shapes()
    ours = {**used, **{old: used[like] for old, like in pianist.unused_tensors(config).items()}}
    # The list is of the module; its file has the tied head only once.
    assert {**ours, "lm_head.out_proj.weight": (5389, 768)} == {
        name: tuple(shape) for name, shape in published.items()
    }
    theirs = json.loads((GOLDEN / "config_135m.json").read_text())
    written = pianist.public_config(config)
    assert {k: written[k] for k in theirs.keys() - {"transformers_version"}} == {
        k: v for k, v in theirs.items() if k != "transformers_version"
    }


def test_there_and_back(public: Path, tmp_path: Path) -> None:
    ours = pianist.load(GOLDEN / "model")
    theirs = pianist.load(public.parent)
    assert theirs.config == ours.config
    assert set(theirs.tensors) == set(ours.tensors) == set(ours.config.tensor_shapes())
    any_checkpoint.convert(public, tmp_path / "again")
    again = pianist.load(tmp_path / "again")
    for name in ours.tensors:
        np.testing.assert_array_equal(theirs.tensors[name], ours.tensors[name])
        np.testing.assert_array_equal(again.tensors[name], ours.tensors[name])
    config = json.loads((public.parent / "config.json").read_text())
    assert config["model_type"] == "t5gemma"
    assert any_checkpoint.describe(public)["kind"] == "renderer"


def test_the_reference_checkpoint_itself(shared_dir: Path) -> None:
    folder = shared_dir / "golden" / "pianist" / "model" / "checkpoint"
    ours = pianist.load(GOLDEN / "model")
    theirs = pianist.load(folder)
    assert theirs.config == ours.config
    for name in ours.tensors:
        np.testing.assert_array_equal(theirs.tensors[name], ours.tensors[name])


def test_the_tied_head_may_be_there(public: Path) -> None:
    tensors = load_file(public)
    table = tensors["model.decoder.embed_tokens.weight"]
    save_file({**tensors, "lm_head.out_proj.weight": table}, public)
    assert "lm_head.out_proj.weight" not in pianist.load(public).tensors
    save_file({**tensors, "lm_head.out_proj.weight": table + 1}, public)
    with pytest.raises(CheckpointError, match="they have to be one"):
        pianist.load(public)


def test_leftovers_may_be_missing(public: Path) -> None:
    used = PianistConfig.tensor_shapes(pianist.load(public).config)
    save_file({name: x for name, x in load_file(public).items() if name in used}, public)
    assert len(pianist.load(public).tensors) == len(used)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("model.encoder.norm.weight"), "missing tensors model.encoder.norm.weight"),
        (lambda t: t.update(more=np.zeros(3, np.float32)), "no part of the model uses: more"),
        (
            lambda t: t.update({"model.encoder.norm.weight": np.zeros(3, np.float32)}),
            r"model.encoder.norm.weight has shape \(3,\)",
        ),
        (
            lambda t: t.update({"embeddings.projection_layers.0.bias": np.zeros(3, np.float32)}),
            r"embeddings.projection_layers.0.bias has shape \(3,\)",
        ),
        (
            lambda t: t.update(
                {"model.decoder.embed_tokens.weight": np.zeros((5000, 32), np.float32)}
            ),
            "vocabulary has 5000 ids",
        ),
        (lambda t: t.clear() or t.update(x=np.zeros(1, np.float32)), "not a Pianist Transformer"),
    ],
)
def test_what_does_not_fit_is_named(public: Path, change: Callable, message: str) -> None:
    tensors = dict(load_file(public))
    change(tensors)
    save_file(tensors, public)
    with pytest.raises(CheckpointError, match=message):
        pianist.load(public)


def test_bf16_and_int8_are_read(public: Path, tmp_path: Path) -> None:
    exact = pianist.load(GOLDEN / "model").tensors["model.encoder.layers.0.mlp.up_proj.weight"]
    for stored, tolerance in (("bfloat16", 2**-8), ("int8", 2**-6)):
        any_checkpoint.convert(public, tmp_path / stored, stored=stored)
        found = pianist.load(tmp_path / stored)
        assert found.tensors.stored_type() == stored
        close = found.tensors["model.encoder.layers.0.mlp.up_proj.weight"]
        np.testing.assert_allclose(close, exact, rtol=0, atol=tolerance * np.abs(exact).max())


def test_settings_that_shapes_do_not_tell(public: Path) -> None:
    (public.parent / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"multiple of n_kv_heads|has shape"):
        pianist.load(public)  # heads of 16 look like heads of 128
    (public.parent / "config.json").write_text('{"decoder": {"head_dim": "wide"}}')
    with pytest.raises(CheckpointError, match="head_dim should be a number"):
        pianist.load(public)
    (public.parent / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="not a JSON table"):
        pianist.load(public)


def test_damage_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(GOLDEN / "model", folder)
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match="damaged"):
        pianist.load(folder)


def test_the_two_architectures_do_not_pass_for_each_other() -> None:
    with pytest.raises(CheckpointError, match="architecture 'pianist'; an aria model is needed"):
        aria_checkpoint.load(GOLDEN / "model")
    with pytest.raises(CheckpointError, match="architecture 'aria'; a pianist model is needed"):
        pianist.load("small", offline=True)


def test_public_models_are_known_by_name() -> None:
    for name in ("yhj137/pianist-transformer-base", "yhj137/pianist-transformer-rendering"):
        entry = registry.find(name)
        assert entry is not None and entry.kind == "renderer" and entry.installed() is None
        with pytest.raises(CheckpointError, match="not on this machine"):
            pianist.load(name, offline=True)


def test_nothing_is_overwritten(public: Path) -> None:
    with pytest.raises(OutputError, match="exists"):
        any_checkpoint.convert(GOLDEN / "model", public, to="public")
    with pytest.raises(CheckpointError, match="not int8"):
        found = pianist.load(public)
        pianist.write_public(public, found.config, found.tensors, stored="int8", overwrite=True)
