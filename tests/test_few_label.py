"""Few-label curves: the same pieces for everyone, works kept together, runs not repeated."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from arietta.api.few_label import SYSTEMS, Finetuning, held_out, labelled
from arietta.cli.main import run
from arietta.data.sources import Item
from arietta.evaluation.labels import Example
from arietta.midi.notes import note_table
from arietta.midi.piece import Piece
from arietta.midi.tempo import TempoMap
from arietta.models.aria import checkpoint as aria_checkpoint
from arietta.models.aria.config import AriaConfig
from arietta.training import loop
from benchmarks.few_label import draw_curves

KINDS = {"high": 90, "low": 30, "middle": 60}


def some_examples(count: int) -> list[Example]:
    """Their register is their class; two of each work."""
    rng = np.random.default_rng(0)
    found = []
    for i in range(count):
        label = list(KINDS)[i % 3]
        n = 40
        onset = np.arange(n) * 240
        pitch = KINDS[label] + rng.integers(0, 12, n)
        piece = Piece(TempoMap.constant(480), note_table(onset, onset + 200, pitch, 64, 0))
        item = Item(f"{i}.mid", "", f"{i}.mid", piece=piece)
        found.append(Example(item, label, f"{label}-{i // 6}"))
    return found


def split(examples: list[Example]) -> tuple[np.ndarray, list[str]]:
    names = sorted(KINDS)
    return np.array([names.index(e.label) for e in examples]), [e.group for e in examples]


def test_fewer_labels_are_some_of_the_more() -> None:
    examples = some_examples(34)
    labels, _ = split(examples)
    pool = np.arange(4, 34)
    before: set[int] = set()
    for n in (1, 3, 8, 20, None):
        rows = labelled(pool, labels, examples, n, draw=0)
        counts = np.bincount(labels[rows], minlength=3)
        assert (counts == np.minimum(n or 99, np.bincount(labels[pool]))).all()
        assert before <= set(rows.tolist()) <= set(pool.tolist())
        before = set(rows.tolist())
    total = labelled(pool, labels, examples, 7, draw=0, in_total=True)
    assert sorted(np.bincount(labels[total]).tolist()) == [2, 2, 3]
    assert set(labelled(pool, labels, examples, 4, 1)) != set(
        labelled(pool, labels, examples, 4, 0)
    )


def test_what_tells_when_to_stop_is_not_learned() -> None:
    examples = some_examples(60)
    labels, groups = split(examples)
    rows = labelled(np.arange(60), labels, examples, 9, 0)
    valid = held_out(rows, labels, groups)
    learned = set(rows.tolist()) - valid
    assert valid and valid < set(rows.tolist())
    assert not {groups[i] for i in valid} & {groups[i] for i in learned}
    # A class of one work would be lost.
    one = [f"{labels[i]}" for i in range(60)]
    assert {labels[i] for i in set(rows.tolist()) - held_out(rows, labels, one)} == {0, 1, 2}


def test_a_run_learns_and_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    examples = some_examples(42)
    labels, groups = split(examples)
    config = AriaConfig(
        d_model=32, n_heads=2, n_layers=1, ff_mult=2, vocab_size=2_565, max_seq_len=128
    )
    rng = np.random.default_rng(0)
    tensors = {
        name: (rng.standard_normal(shape) * 0.1 + ("norm" in name and "weight" in name)).astype(
            "f4"
        )
        for name, shape in config.tensor_shapes().items()
    }
    init = aria_checkpoint.save(tmp_path / "init", config, tensors, name="init", tokenizer="piano")

    def finetuning(epochs: float) -> Finetuning:
        return Finetuning(
            tmp_path / "runs",
            examples,
            labels,
            groups,
            init=str(init),
            epochs=epochs,
            most_tokens=None,
            changes=[
                "stages=[{seq_len: 128, rows: 6, until_epochs: 1}]",
                "classify={label: label, min_notes: 20, max_notes: 30}",
                "optimiser.lr=1.0e-2",
                "schedule.warmup_steps=0",
                "data.augment={}",
                "precision=f32",
            ],
            cpu=True,
        )

    rows, test = np.arange(30), np.arange(30, 42)
    said, about = finetuning(12).answers("all-0", rows, test)
    assert (said == labels[test]).mean() > 0.8
    assert 0 < about["steps"] <= 12 * 8

    def never(*_: object, **__: object) -> None:
        raise AssertionError("it was trained before")

    monkeypatch.setattr(loop, "train", never)
    again, _ = finetuning(12).answers("all-0", rows, test)
    assert (again == said).all()
    with pytest.raises(AssertionError, match="trained before"):
        finetuning(6).answers("all-0", rows, test)


def test_the_curves_are_drawn(tmp_path: Path) -> None:
    figure = {"mean": 0.5, "interval_95": [0.4, 0.6]}
    rows = [
        {"system": name, "n": n, "pieces": pieces, "accuracy": figure, "macro_f1": figure}
        for n, pieces in (("25", 50.0), ("all", 50.0))
        for name in ("floor", "embedding", "finetuned")
    ]
    found = {"benchmark": "x", "classes": {"a": 1, "b": 2}, "n_is": "pieces of each class"}
    path = tmp_path / "c.png"
    draw_curves(path, {**found, "rows": rows, "test_pieces": 9, "test_groups": 3})
    assert path.read_bytes()[:4] == b"\x89PNG"


def test_the_command_gives_the_table_and_the_rows(
    tmp_path: Path, prompts_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for example in some_examples(30):
        assert example.item.piece is not None
        example.item.piece.save(tmp_path / example.item.path)
    lines = [f"{e.item.path},{e.label},{e.group}" for e in some_examples(30)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label,group", *lines]) + "\n")
    rows = tmp_path / "rows.csv"
    words = ["evaluate", "few-label", str(tmp_path / "labels.csv"), "--n", "2,all", "--json"]
    assert run([*words, "--per-piece", str(rows)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(row["n"], row["system"]) for row in found["rows"]] == [
        (n, system) for n in ("2", "all") for system in SYSTEMS[:3]
    ]
    # The register is the class: histograms of pitches know it from two pieces.
    assert found["rows"][0]["accuracy"]["mean"] == 1.0 and found["rows"][0]["pieces"] == 6
    assert found["init"] is None and found["test_pieces"] > 3
    said = list(csv.DictReader(rows.read_text("utf-8").splitlines()))
    assert len(said) == 6 * found["test_pieces"]
    floor = [row["label"] == row["predicted"] for row in said if row["system"] == "floor"]
    assert np.mean(floor) == 1.0
    assert run([*words[:4], "0"]) == 2
