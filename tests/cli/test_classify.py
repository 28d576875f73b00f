"""``arietta classify``: classes of files, by a classifier of one's own."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

import arietta as toolkit
from arietta.checkpoints.store import load, save
from arietta.errors import CheckpointError
from arietta.inference.classification import Classifier
from arietta.midi.reader import read
from arietta.models.config import AriaConfig
from arietta.tokenizers.vocabulary import vocabulary

from .conftest import Command

CLASSES = ("étude", "waltz", "tango")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights; the head prefers the last class by far."""
    size = vocabulary("piano").size
    config = AriaConfig(
        d_model=64, n_heads=1, n_layers=2, ff_mult=2, vocab_size=size, max_seq_len=256, class_size=3
    )
    rng = np.random.default_rng(0)
    tensors = {
        name: (rng.standard_normal(shape) * 0.05 + ("norm" in name and "weight" in name)).astype(
            "f4"
        )
        for name, shape in config.tensor_shapes().items()
    }
    folder = tmp_path_factory.mktemp("classifier") / "m"
    info = {"classes": list(CLASSES), "slice_notes": 40}
    return save(folder, config, tensors, name="m", tokenizer="piano", info=info)


def test_files_get_classes_and_shares(
    arietta: Command, model: Path, prompts_dir: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.mid"
    bad.write_bytes(b"no music")
    out = tmp_path / "out.csv"
    done = arietta("classify", prompts_dir, bad, "--model", model, "-o", out, "--json")
    assert done.code == 0, done.err
    count = len(list(prompts_dir.glob("*.mid")))
    assert len(done.json["pieces"]) == count
    assert [row["file"] for row in done.json["refused"]] == [str(bad)]
    for row in done.json["pieces"]:
        assert set(row["shares"]) == set(CLASSES)
        assert sum(row["shares"].values()) == pytest.approx(1, abs=2e-4)
        assert row["label"] == max(row["shares"], key=row["shares"].get)
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == count and set(rows[0]) == {"path", "label", *CLASSES}
    shown = arietta("classify", prompts_dir / "waltz.mid", "--model", model, "--top", 1)
    assert shown.code == 0 and "%" in shown.out
    again = arietta("classify", prompts_dir, "--model", model, "-o", out)
    assert again.code == 1 and "--force" in again.err


def test_the_vote_is_that_of_the_slices(model: Path, prompts_dir: Path) -> None:
    piece = read(prompts_dir / "waltz.mid")
    found = toolkit.load(model).classify(piece)
    classifier = Classifier(load(model), precision="f32", threads=1)
    exact = classifier.classify(piece)
    for name in CLASSES:
        assert found.shares[name] == pytest.approx(exact.shares[name], abs=0.02)
    ((_, embedded),) = classifier._logits.embed_many([(0, piece)])
    assert not isinstance(embedded, Exception)
    logits, tokens = embedded.chunks.vectors, embedded.chunk_tokens
    assert len(tokens) == -(-len(piece.notes) // 40)
    odds = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    wanted = (odds * tokens[:, None]).sum(axis=0) / tokens.sum()
    np.testing.assert_allclose([exact.shares[n] for n in CLASSES], wanted, atol=1e-6)


def test_other_models_are_refused(arietta: Command, model: Path, prompts_dir: Path) -> None:
    done = arietta("classify", prompts_dir, "--model", "small")
    assert done.code == 1 and "kind lm; this needs classifier" in done.err
    with pytest.raises(CheckpointError, match="kind classifier"):
        toolkit.load(model).embed(read(prompts_dir / "waltz.mid"))
