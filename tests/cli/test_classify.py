"""``arietta classify``: classes of files, by the shipped classifier or one's own."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import arietta as toolkit
from arietta.errors import CheckpointError
from arietta.midi.reader import read
from arietta.models.aria.checkpoint import load, save
from arietta.models.aria.config import AriaConfig
from arietta.tokenizers.vocabulary import vocabulary
from arietta.vectors.classification import Classifier

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


def test_logits_are_averaged_where_the_model_says_so(model: Path, prompts_dir: Path) -> None:
    found = load(model)
    piece = read(prompts_dir / "waltz.mid")
    votes = Classifier(replace(found, info={**found.info, "votes": "logits"}), precision="f32")
    ((_, embedded),) = votes._logits.embed_many([(0, piece)])
    assert not isinstance(embedded, Exception)
    mean = np.average(embedded.chunks.vectors, axis=0, weights=embedded.chunk_tokens)
    wanted = np.exp(mean) / np.exp(mean).sum()
    shares = votes.classify(piece).shares
    np.testing.assert_allclose([shares[n] for n in CLASSES], wanted, atol=1e-6)
    with pytest.raises(CheckpointError, match="vote by 'hands'"):
        Classifier(replace(found, info={**found.info, "votes": "hands"}))


def test_the_shipped_classifier_names_composers(arietta: Command, prompts_dir: Path) -> None:
    done = arietta("classify", prompts_dir / "nocturne.mid", "--json")
    assert done.code == 0, done.err
    (piece,) = done.json["pieces"]
    assert done.json["model"] == "small-composers" and len(piece["shares"]) == 14
    assert piece["label"] == "Frédéric Chopin"


@pytest.fixture
def folders(tmp_path: Path, prompts_dir: Path) -> Path:
    """A folder for each class; one of a class that the model does not know, a file of none."""
    for i, path in enumerate(sorted(prompts_dir.glob("*.mid"))[:5]):
        place = tmp_path / "set" / ["waltz", "tango", "tango", "polka", ""][i] / f"{i}.mid"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
    return tmp_path / "set"


def test_answers_are_judged(arietta: Command, model: Path, folders: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.md"
    words = ("classify", folders, "--model", model)
    done = arietta(*words, "--labels", "folders", "--report", report, "--json")
    assert done.code == 0, done.err
    found = done.json["judgement"]
    said = {row["path"]: (row["truth"], row["label"]) for row in done.json["pieces"]}
    pairs = [pair for pair in said.values() if pair[0] in CLASSES]
    assert len(pairs) == found["pieces"] == 3
    assert (found["unlabelled"], found["unknown_classes"]) == (1, {"polka": 1})
    right = sum(truth == label for truth, label in pairs) / 3
    assert found["accuracy"]["mean"] == pytest.approx(right, abs=1e-4)
    for row, truth in zip(found["confusion"], CLASSES, strict=True):
        assert row == [pairs.count((truth, label)) for label in CLASSES]
    assert json.loads(report.with_suffix(".json").read_text("utf-8")) == found
    text = report.read_text("utf-8")
    assert "| tango | 2 |" in text and "(report.png)" in text
    assert report.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"
    again = arietta(*words, "--labels", "folders", "--report", report)
    assert again.code == 1 and "--force" in again.err
    shown = arietta(*words, "--labels", "folders")
    assert "3 pieces: accuracy" in shown.out and "polka (1)" in shown.out


def test_labels_of_a_table(arietta: Command, model: Path, folders: Path, tmp_path: Path) -> None:
    words = ("classify", folders, "--model", model, "--json", "--labels")
    table = tmp_path / "labels.csv"
    # Relative to the table, relative to the folder, by name alone.
    table.write_text("path,label\nset/waltz/0.mid,tango\ntango/1.mid,waltz\n2,étude\n", "utf-8")
    truth = {Path(row["path"]).stem: row["truth"] for row in arietta(*words, table).json["pieces"]}
    assert truth == {"0": "tango", "1": "waltz", "2": "étude", "3": None, "4": None}
    table.write_text("path,label\nnobody.mid,tango\n")
    done = arietta(*words, table)
    assert done.code == 1 and "none of the 5 files" in done.err
    table.write_text("path,label\n1.mid,polka\n")
    done = arietta(*words, table)
    assert done.code == 1 and "polka" in done.err and "étude" in done.err
    assert arietta(*words, tmp_path / "no.csv").code == 1
    done = arietta(*words[:-1], "--report", tmp_path / "r.md")
    assert done.code == 2 and "--labels" in done.err


def test_a_split_and_a_column(arietta: Command, model: Path, folders: Path, tmp_path: Path) -> None:
    table = tmp_path / "set" / "metadata.csv"
    rows = ["path,dance,split", "waltz/0.mid,waltz,test", "tango/1.mid,tango,train"]
    table.write_text("\n".join(rows) + "\n")
    words = ("classify", folders, "--model", model, "--labels", "dance", "--json")
    assert arietta(*words).json["judgement"]["pieces"] == 2
    done = arietta(*words, "--split", "test")
    assert [row["truth"] for row in done.json["pieces"]] == ["waltz"]
    assert "split 'valid'" in arietta(*words, "--split", "valid").err


def test_other_models_are_refused(arietta: Command, model: Path, prompts_dir: Path) -> None:
    done = arietta("classify", prompts_dir, "--model", "small")
    assert done.code == 1 and "kind lm; this needs classifier" in done.err
    with pytest.raises(CheckpointError, match="kind classifier"):
        toolkit.load(model).embed(read(prompts_dir / "waltz.mid"))
