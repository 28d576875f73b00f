"""Our folder form, hashes, and the checkpoints known by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from arietta.checkpoints import registry, store
from arietta.errors import CheckpointError, OutputError
from arietta.models import load as any_checkpoint
from arietta.models.aria import checkpoint as aria_checkpoint
from arietta.models.aria.config import AriaConfig

CONFIG = AriaConfig(d_model=16, n_heads=2, n_layers=1, vocab_size=2_565, max_seq_len=64)


def tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {n: rng.standard_normal(s, np.float32) for n, s in CONFIG.tensor_shapes().items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return aria_checkpoint.save(
        tmp_path / "toy", CONFIG, tensors(), name="toy", card="# Toy", info={"licence": "CC0"}
    )


def test_a_saved_folder_loads(folder: Path) -> None:
    found = aria_checkpoint.load(folder)
    assert (found.name, found.kind, found.tokenizer) == ("toy", "lm", "piano")
    assert found.config == CONFIG and found.card == "# Toy" and found.info["licence"] == "CC0"
    for name, wanted in tensors().items():
        np.testing.assert_array_equal(found.tensors[name], wanted)
    assert found.sha256 == json.loads((folder / "config.json").read_text())["sha256"]
    facts = any_checkpoint.describe(folder)
    assert facts["parameters"] == CONFIG.parameter_count() and facts["licence"] == "CC0"


def test_nothing_is_read_before_it_is_asked_for(folder: Path) -> None:
    found = aria_checkpoint.load(folder)
    assert found.tensors.file._map is None
    assert found.tensors["lm_head.weight"].base is not None  # a view of the map, not a copy


def edit(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    values = json.loads(path.read_text())
    for key, value in changes.items():
        if value is None:
            del values[key]
        else:
            values[key] = value
    path.write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "arietta-9"}, "arietta-9.*arietta-1"),
        ({"architecture": "pianist"}, "pianist.*aria"),
        ({"model": None}, "no table 'model'"),
        ({"model": {"d_model": 16}}, "incomplete"),
        ({"model": {**CONFIG.to_dict(), "colour": 1}}, "colour"),
        (
            {"model": {**CONFIG.to_dict(), "n_layers": 2}},
            r"missing tensors model\.encode_layers\.1",
        ),
        ({"model": {**CONFIG.to_dict(), "d_model": 32}}, "has shape"),
        ({"tokenizer": "full"}, "does not fit"),
        ({"sha256": "0" * 64}, "not what config.json was written for"),
    ],
)
def test_folders_that_do_not_fit(folder: Path, changes: dict[str, object], message: str) -> None:
    edit(folder, **changes)
    with pytest.raises(CheckpointError, match=message) as caught:
        aria_checkpoint.load(folder)
    assert "\n" not in str(caught.value)


def test_missing_and_damaged_files(folder: Path, tmp_path: Path) -> None:
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="not readable as JSON"):
        aria_checkpoint.load(folder)
    (folder / "config.json").write_text("3")
    with pytest.raises(CheckpointError, match="not a JSON table"):
        aria_checkpoint.load(folder)
    (folder / "config.json").unlink()
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="no checkpoint here"):
        aria_checkpoint.load(folder)


def test_a_truncated_weight_file(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"damaged.*fetch or convert it again"):
        aria_checkpoint.load(folder)


def test_nothing_is_overwritten_unasked(folder: Path) -> None:
    with pytest.raises(OutputError, match="exists"):
        aria_checkpoint.save(folder, CONFIG, tensors(), name="other")
    aria_checkpoint.save(folder, CONFIG, tensors(), name="other", overwrite=True)
    assert aria_checkpoint.load(folder).name == "other"
    part = tensors()
    part.popitem()
    with pytest.raises(CheckpointError, match="missing"):
        aria_checkpoint.save(folder, CONFIG, part, name="part", overwrite=True)
    assert aria_checkpoint.load(folder).name == "other"


def test_the_hash_of_a_big_file_is_remembered(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "big"
    with path.open("wb") as file:
        file.truncate(65 << 20)
    first = store.file_sha256(path)
    monkeypatch.setattr(store.hashlib, "file_digest", None)
    assert store.file_sha256(path) == first
    with pytest.raises(CheckpointError, match="cannot be read"):
        store.file_sha256(tmp_path / "none")


def test_unknown_names(monkeypatch) -> None:
    with pytest.raises(CheckpointError, match="did you mean small"):
        aria_checkpoint.load("smal")
    with pytest.raises(CheckpointError, match=r"known are small.*loubb/aria-medium-gen"):
        aria_checkpoint.load("qqq")
    with pytest.raises(CheckpointError, match="no such checkpoint file"):
        aria_checkpoint.load("models/none.safetensors")
    with pytest.raises(CheckpointError, match="no such checkpoint file"):
        aria_checkpoint.load("/none/at/all")


@pytest.mark.parametrize("name", ["loubb/aria-medium-base", "loubb/aria-medium-gen", "a/b"])
def test_without_a_network_the_next_step_is_named(name: str, monkeypatch) -> None:
    monkeypatch.setattr(registry, "_cached", lambda repo, filename: None)
    with pytest.raises(CheckpointError, match=r"by hand and give its path"):
        aria_checkpoint.load(name, offline=True)
    monkeypatch.setattr(registry, "_hub_answers", lambda: False)
    with pytest.raises(CheckpointError, match=r"cannot be reached.*by hand"):
        aria_checkpoint.load(name)
    monkeypatch.setattr(registry, "_hub_answers", lambda: True)
    import huggingface_hub

    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    with pytest.raises(CheckpointError, match=r"ConnectionError.*by hand") as caught:
        aria_checkpoint.load(name)
    assert "\n" not in str(caught.value)


def test_what_the_hub_gives_is_loaded(folder: Path, monkeypatch, tmp_path: Path) -> None:
    import huggingface_hub

    asked = []

    def fetch(repo: str, filename: str) -> str:
        asked.append((repo, filename))
        return str(folder / filename)

    monkeypatch.setattr(registry, "_cached", lambda repo, filename: None)
    monkeypatch.setattr(registry, "_hub_answers", lambda: True)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    assert registry.pull("loubb/aria-medium-gen") == folder / "model-gen.safetensors"
    assert asked == [
        ("loubb/aria-medium-base", "model-gen.safetensors"),
        ("loubb/aria-medium-base", "config.json"),
    ]
    found = aria_checkpoint.load("somebody/toy")
    assert found.config.d_model == 16 and found.kind == "lm"


def test_the_list_has_what_ships_and_what_can_be_fetched() -> None:
    rows = {row["name"]: row for row in registry.listing()}
    assert rows["small"]["source"] == "shipped"
    assert rows["loubb/aria-medium-embedding"]["kind"] == "embedding"
    assert all(row["licence"] and row["summary"] for row in rows.values())
