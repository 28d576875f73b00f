"""Public checkpoints <-> ours: every tensor accounted for, both ways."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from arietta.checkpoints import registry
from arietta.checkpoints.tensors import CheckpointTensors, TensorFile, to_bfloat16
from arietta.errors import CheckpointError, OutputError
from arietta.models import load as any_checkpoint
from arietta.models.aria import checkpoint as aria_checkpoint
from arietta.models.aria import public_file as convert
from arietta.models.aria.config import PRESETS, AriaConfig

SIZES = {
    17_727: "full", 17_729: "full-pedal", 17_728: "full-delimiter",
    17_730: "full-pedal-delimiter", 2_675: "piano-demo", 2_565: "piano",
}  # fmt: skip


def config(**changes) -> AriaConfig:
    values = {"d_model": 64, "n_heads": 1, "n_layers": 2, "vocab_size": 2_675, **changes}
    return AriaConfig(**values)


def tensors(c: AriaConfig, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        name: rng.standard_normal(shape, np.float32) for name, shape in c.tensor_shapes().items()
    }


def shapes(c: AriaConfig) -> dict[str, tuple[int, ...]]:
    return dict(c.tensor_shapes())


KINDS = {
    "lm": config(),
    "conditioned": config(conditioned=True, embedding_size=512),
    "embedding": config(embedding_size=512),
    "classifier": config(class_size=6),
}


@pytest.mark.parametrize("kind", KINDS)
def test_settings_follow_from_shapes(kind: str) -> None:
    c = KINDS[kind]
    found = convert.infer_config(shapes(c), source="x")
    assert found == c and convert.kind_of(found) == kind


def test_what_a_head_reads_follows_from_its_width() -> None:
    c = config(class_size=6, pooling="full")
    assert c.tensor_shapes()["class_head.weight"] == (6, 3 * c.d_model)
    assert convert.infer_config(shapes(c), source="x") == c
    for wrong, words in (({"pooling": "all", "class_size": 6}, "end or full"),
                         ({"pooling": "full"}, "for classifiers")):  # fmt: skip
        with pytest.raises(CheckpointError, match=words):
            config(**wrong)


@pytest.mark.parametrize("size", SIZES)
def test_every_vocabulary_is_told_by_its_rows(size: int) -> None:
    c = config(vocab_size=size)
    found = convert.infer_config(shapes(c), source="x")
    assert convert.tokenizer_for(found.vocab_size, source="x") == SIZES[size]


def test_unknown_vocabularies_name_the_known_ones() -> None:
    with pytest.raises(CheckpointError, match=r"17679 rows.*17727 \(full\).*2675 \(piano-demo\)"):
        convert.tokenizer_for(17_679, source="x")


@pytest.mark.parametrize("name", ["medium", "medium-emb", "medium-conditioned"])
def test_published_sizes(name: str) -> None:
    c = PRESETS[name]
    assert convert.infer_config(shapes(c), source="x") == c


def test_published_counts() -> None:
    assert len(shapes(PRESETS["medium"])) == 148
    assert PRESETS["medium"].parameter_count() == 658_538_496
    assert PRESETS["medium-emb"].parameter_count() == 632_096_256
    assert PRESETS["medium-conditioned"].parameter_count() == 659_324_928
    demo = replace(PRESETS["medium-conditioned"], vocab_size=2_675)
    assert demo.parameter_count() == 613_085_184


@pytest.mark.parametrize(
    "prefix", ["", "_orig_mod.", "module.", "module._orig_mod.", "_orig_mod.module."]
)
def test_prefixes_of_training_are_taken_off(tmp_path: Path, prefix: str) -> None:
    c = config()
    plain = tensors(c)
    save_file({prefix + name: x for name, x in plain.items()}, tmp_path / "m.safetensors")
    found = aria_checkpoint.load(tmp_path / "m.safetensors")
    assert found.config == c and set(found.tensors) == set(plain)
    np.testing.assert_array_equal(found.tensors["lm_head.weight"], plain["lm_head.weight"])


def test_compiled_parts_inside_names_are_taken_off() -> None:
    names = ["model._orig_mod.tok_embeddings.weight", "model.encode_layers.0._orig_mod.norm1.bias"]
    found = convert.public_names(names, source="x")
    assert list(found) == ["model.tok_embeddings.weight", "model.encode_layers.0.norm1.bias"]
    with pytest.raises(CheckpointError, match="both stand for"):
        convert.public_names(["lm_head.weight", "_orig_mod.lm_head.weight"], source="x")


def change(c: AriaConfig, what: str) -> tuple[dict[str, tuple[int, ...]], str]:
    """Shapes with one thing wrong, and what the message must name."""
    s = shapes(c)
    if what == "missing":
        del s["model.encode_layers.1.ff_up_proj.weight"]
        return s, "missing tensors model.encode_layers.1.ff_up_proj.weight"
    if what == "missing layer":
        s = {n: v for n, v in s.items() if ".encode_layers.0." not in n}
        return s, "missing tensors model.encode_layers.0.*and 6 more"
    if what == "extra":
        s["model.encode_layers.0.attn.bias"] = (3,)
        return s, "no part of the model uses: model.encode_layers.0.attn.bias"
    if what == "shape":
        s["model.encode_layers.1.mixed_qkv.weight"] = (64, 64)
        return s, r"encode_layers.1.mixed_qkv.weight has shape \(64, 64\).*\(192, 64\)"
    if what == "head":
        s["lm_head.weight"] = (2_676, 64)
        return s, r"lm_head.weight has shape \(2676, 64\).*\(2675, 64\)"
    if what == "two heads":
        s["class_head.weight"] = (3, 64)
        return s, "lm_head.weight and class_head.weight"
    if what == "no head":
        del s["lm_head.weight"]
        return s, "none"
    if what == "feed-forward":
        s["model.encode_layers.0.ff_gate_proj.weight"] = (100, 64)
        return s, "width 100"
    if what == "another architecture":
        return {"transformer.wte.weight": (50257, 768)}, "not an Aria checkpoint.*transformer.wte"
    raise AssertionError(what)


@pytest.mark.parametrize(
    "what",
    [
        "missing", "missing layer", "extra", "shape", "head", "two heads", "no head",
        "feed-forward", "another architecture",
    ],
)  # fmt: skip
def test_whatever_does_not_fit_is_named(what: str) -> None:
    found, message = change(config(), what)
    with pytest.raises(CheckpointError, match=message) as caught:
        convert.infer_config(found, source="m.safetensors")
    assert str(caught.value).startswith("m.safetensors: ")


def test_heads_that_shapes_do_not_tell() -> None:
    c = config(d_model=48, n_heads=4)
    with pytest.raises(CheckpointError, match="num_attention_heads"):
        convert.infer_config(shapes(c), source="x")
    assert convert.infer_config(shapes(c), source="x", hints={"n_heads": 4}) == c


def test_public_config_beside_the_file(tmp_path: Path) -> None:
    c = config(d_model=48, n_heads=4, max_seq_len=1024)
    save_file(tensors(c), tmp_path / "model.safetensors")
    values = {
        "model_type": "aria", "hidden_size": 48, "num_attention_heads": 4, "num_hidden_layers": 2,
        "intermediate_size": 192, "max_seq_len": 1024, "vocab_size": 2675, "embedding_size": None,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert aria_checkpoint.load(tmp_path / "model.safetensors").config == c
    assert aria_checkpoint.load(tmp_path).config == c  # a snapshot of a repository
    for text, message in (("{", "JSON"), ("[]", "table"), ('{"max_seq_len": "8k"}', "number")):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(CheckpointError, match=message):
            aria_checkpoint.load(tmp_path / "model.safetensors")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stored", ["float32", "bfloat16", "float16"])
def test_public_to_ours_and_back_is_identical(tmp_path: Path, kind: str, stored: str) -> None:
    c = KINDS[kind]
    given = tensors(c)
    if stored == "bfloat16":
        given = {
            n: (to_bfloat16(x).astype(np.uint32) << 16).view(np.float32) for n, x in given.items()
        }
    if stored == "float16":
        given = {n: x.astype(np.float16).astype(np.float32) for n, x in given.items()}
    public = tmp_path / "public.safetensors"
    convert.write_public(public, c, given, stored=stored)
    ours = any_checkpoint.convert(public, tmp_path / "ours")
    back = any_checkpoint.convert(ours, tmp_path / "back", to="public")
    assert back.parent != public.parent
    found = aria_checkpoint.load(ours)
    assert found.config == c and found.kind == kind and found.tensors.stored_type() == stored
    one, two = CheckpointTensors(TensorFile(public)), CheckpointTensors(TensorFile(back))
    assert set(one) == set(two) == set(given)
    for name in given:
        np.testing.assert_array_equal(two[name], given[name])
        np.testing.assert_array_equal(one[name], found.tensors[name])
    assert public.read_bytes() == back.read_bytes()
    assert convert.read_hints(back.parent / "config.json")["n_heads"] == 1


def test_golden_models_come_through(aria_model_dir: Path, tmp_path: Path) -> None:
    sizes = json.loads((aria_model_dir / "config.json").read_text())
    for kind, file in (("lm", "lm"), ("emb", "emb"), ("cl", "cl")):
        want = sizes[kind]["config"]
        found = aria_checkpoint.load_file(
            aria_model_dir / f"{file}.safetensors",
            hints={"n_heads": want["n_heads"], "max_seq_len": want["max_seq_len"]},
        )
        for name in ("d_model", "n_layers", "ff_mult", "vocab_size", "max_seq_len"):
            assert getattr(found.config, name) == want[name]
        assert found.config.embedding_size == want.get("emb_size")
        assert found.config.class_size == want.get("class_size")
        assert {n: list(found.tensors.shape(n)) for n in found.tensors} == sizes[kind]["tensors"]
        assert found.tensors.stored_type() == "bfloat16"


def test_a_plain_model_with_an_adapter_is_a_conditioned_one(aria_model_dir: Path, tmp_path) -> None:
    lm = CheckpointTensors(TensorFile(aria_model_dir / "lm.safetensors"))
    adapter = CheckpointTensors(TensorFile(aria_model_dir / "cnd_adapter.safetensors"))
    save_file({**lm, **adapter}, tmp_path / "m.safetensors")
    found = aria_checkpoint.load_file(tmp_path / "m.safetensors", hints={"n_heads": 4})
    assert found.kind == "conditioned" and found.config.embedding_size == 16
    found.require("lm", "conditioned")
    with pytest.raises(CheckpointError, match=r"kind conditioned.*needs embedding"):
        found.require("embedding")


def test_what_has_no_public_form(tmp_path: Path) -> None:
    c = config(vocab_size=2_565)
    with pytest.raises(CheckpointError, match="piano vocabulary has no public form"):
        convert.write_public(tmp_path / "x.safetensors", c, tensors(c))
    c = config()
    with pytest.raises(CheckpointError, match="int8"):
        convert.write_public(tmp_path / "x.safetensors", c, tensors(c), stored="int8")
    part = tensors(c)
    del part["lm_head.weight"]
    with pytest.raises(CheckpointError, match=r"missing tensors lm_head\.weight"):
        convert.write_public(tmp_path / "x.safetensors", c, part)
    assert list(tmp_path.iterdir()) == []


def test_converting_to_int8_and_by_name(tmp_path: Path) -> None:
    c = config()
    save_file(tensors(c), tmp_path / "m.safetensors")
    folder = any_checkpoint.convert(tmp_path / "m.safetensors", stored="int8", name="mine")
    assert folder.name == "mine"
    found = aria_checkpoint.load("mine")
    assert found.name == "mine" and found.tensors.stored_type() == "int8"
    assert any(row["name"] == "mine" and row["source"] == "local" for row in registry.listing())
    with pytest.raises(OutputError, match="exists"):
        any_checkpoint.convert(tmp_path / "m.safetensors", stored="int8", name="mine")
    any_checkpoint.convert(tmp_path / "m.safetensors", stored="int8", name="mine", force=True)
    out = any_checkpoint.convert("mine", tmp_path / "p.safetensors", to="public")
    np.testing.assert_array_equal(
        aria_checkpoint.load(out).tensors["lm_head.weight"], found.tensors["lm_head.weight"]
    )
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").write_text("mine")
    with pytest.raises(OutputError, match=r"config\.json: exists"):
        any_checkpoint.convert("mine", tmp_path / "q.safetensors", to="public")
    with pytest.raises(CheckpointError, match="'onnx'"):
        any_checkpoint.convert("mine", to="onnx")
    with pytest.raises(OutputError, match="file name"):
        any_checkpoint.convert("mine", to="public")
