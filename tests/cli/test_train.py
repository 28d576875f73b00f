"""``arietta train``: from a folder of MIDI to a model that plays."""

from __future__ import annotations

import json
import statistics
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from arietta.data.shards import dataset_sha256, open_dataset
from arietta.midi.reader import read
from arietta.models.aria.checkpoint import load
from arietta.training.config import recipe_names

from .conftest import Command

SHORT = ("stages.0.until_epochs=null", "stages.0.until_tokens=400", "stages.0.seq_len=64")


def test_without_a_recipe_it_lists_them(arietta: Command) -> None:
    done = arietta("train")
    assert done.code == 0
    for name in recipe_names():
        assert name in done.out
    assert arietta("train", "--json").json == recipe_names()


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("aria-medium-pretrain", 8 * 16 * 8192),
        ("aria-medium-generative", 8 * 16 * 8192),
        ("aria-medium-contrastive", 8 * 32 * 2 * 2048),
        ("aria-medium-classify", 8 * 4 * 1024),
    ],
)
def test_the_published_runs_can_be_looked_at_without_data(
    arietta: Command, name: str, tokens: int
) -> None:
    done = arietta("train", name, "--plan", "--json")
    assert done.code == 0
    # Table of the paper's models: 650 M parameters.
    assert 6.4e8 < done.json["parameters"] < 6.7e8
    assert done.json["tokens per step"] == tokens


def test_a_folder_of_midi_becomes_a_model(
    arietta: Command, prompts_dir: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    changes = [word for change in SHORT for word in ("--set", change)]
    done = arietta("train", "finetune-folder", prompts_dir, "-o", run, "--cpu", "--json", *changes)
    assert done.code == 0, done.err
    assert done.json["steps"] == 2
    assert done.json["valid_nats_per_token"] > 0
    made, small = load(run / "model"), load("small")
    assert made.name == "run" and made.info["recipe"] == "mine"
    assert made.info["data"] == {
        "name": "dataset",
        "sha256": dataset_sha256(open_dataset(run / "dataset")),
        "licence": "not stated",
    }
    assert made.info["init"]["sha256"] == small.sha256
    assert made.info["licence"] == "not stated; CC-BY-NC-SA-4.0"
    assert made.card is not None and made.card.splitlines()[2] == "# run"
    assert made.info["data"]["sha256"] in made.card and "| steps | 2 |" in made.card
    assert "Nobody has said" in made.card
    (run / "model" / "README.md").write_text("# My playing\n")
    out = tmp_path / "out.mid"
    again = arietta("generate", "-o", out, "--model", run / "model", "--seconds", 2, "--json")
    assert again.code == 0, again.err
    assert out.exists()
    # The same command again: nothing is left to do, and nothing is lost.
    repeat = arietta(
        "train", "finetune-folder", prompts_dir, "-o", run, "--cpu", "--json", *changes
    )
    assert repeat.code == 0, repeat.err
    assert repeat.json["steps"] == 2
    assert load(run / "model").name == "run"
    assert load(run / "model").card == "# My playing\n"


def little_recipe(folder: Path, **changes: Any) -> Path:
    """Write a recipe of two steps; where."""
    values: dict[str, Any] = {
        "name": "little",
        "model": {
            "d_model": 32,
            "n_heads": 2,
            "n_layers": 1,
            "vocab_size": 2565,
            "max_seq_len": 64,
        },
        "stages": [{"seq_len": 64, "rows": 1, "until_tokens": 128}],
        "optimiser": {"lr": 0.001},
    }
    path = folder / "little.yaml"
    path.write_text(yaml.safe_dump({**values, **changes}))
    return path


def test_variants_run_in_folders_of_their_own(
    arietta: Command, prompts_dir: Path, tmp_path: Path
) -> None:
    recipe = little_recipe(tmp_path, variants={"a": {}, "b": {"seed": 1}})
    run = tmp_path / "run"
    done = arietta("train", recipe, prompts_dir, "-o", run, "--cpu")
    assert done.code == 0, done.err
    assert done.out.count("2 steps") == 2
    assert [load(run / name / "model").name for name in "ab"] == ["run-a", "run-b"]
    assert "init" not in load(run / "a" / "model").info


def test_seeds_run_in_folders_of_their_own_and_are_summed_up(
    arietta: Command, prompts_dir: Path, tmp_path: Path
) -> None:
    recipe = little_recipe(tmp_path, seed=4, optimiser={"lr": 0.01}, precision="f32")
    run = tmp_path / "run"
    words = ("train", recipe, prompts_dir, "-o", run, "--cpu", "--seeds", "2")
    done = arietta(*words, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    values = [found[f"little-seed-{seed}"]["valid_nats_per_token"] for seed in (4, 5)]
    assert values[0] != values[1]
    assert found["little over seeds"]["valid_nats_per_token"] == {
        "mean": pytest.approx(statistics.mean(values), abs=2e-5),
        "standard_deviation": pytest.approx(statistics.stdev(values), abs=2e-5),
    }
    assert load(run / "seed-5" / "model").name == "run-seed-5"
    line = arietta(*words).out.splitlines()[-1]
    mean, deviation = statistics.mean(values), statistics.stdev(values)
    assert line == (
        "little, mean ± standard deviation over 2 seeds: validation nats per token"
        f" {mean:.3f} ± {deviation:.3f}"
    )


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["finetune-folder"], 2, "-o RUN"),
        (["no-such"], 1, "finetune-folder"),
        (["finetune-folder", "DATA", "-o", "RUN", "--set", "colour=1"], 2, "colour"),
        (["finetune-folder", "nowhere", "-o", "RUN"], 1, "nowhere"),
        (["small-pretrain", "nowhere", "--plan"], 1, "nowhere: no such dataset"),
        (["ablation-timing", "DATA", "-o", "RUN", "--variant", "third"], 2, "absolute"),
    ],
)
def test_wrong_requests_say_what_is_wrong(
    arietta: Command, prompts_dir: Path, tmp_path: Path, words: list[str], code: int, says: str
) -> None:
    places = {"DATA": prompts_dir, "RUN": tmp_path / "run"}
    done = arietta("train", *[places.get(word, word) for word in words])
    assert done.code == code
    assert says in done.err and done.err.count("\n") == 1
    assert not (tmp_path / "run" / "recipe.json").exists()


CLASSES = (
    "stages.0.until_epochs=2",
    "stages.0.seq_len=128",
    "classify.max_notes=30",
    "classify.min_notes=10",
)


def test_folders_are_classes(arietta: Command, prompts_dir: Path, tmp_path: Path) -> None:
    for i, path in enumerate(sorted(prompts_dir.glob("*.mid"))):
        for copy in range(4):  # the later ones are cut short, so that they are no duplicates
            piece = read(path)
            notes = {f.name: getattr(piece.notes, f.name) for f in fields(piece.notes)}
            kept = {k: v[: len(v) - 5 * copy] for k, v in notes.items()}
            folder = tmp_path / "classes" / ("a" if i % 2 else "b")
            folder.mkdir(parents=True, exist_ok=True)
            replace(piece, notes=replace(piece.notes, **kept)).save(
                folder / f"{path.stem}-{copy}.mid"
            )
    changes = [word for change in CLASSES for word in ("--set", change)]
    run = tmp_path / "run"
    done = arietta(
        "train", "classify-folder", tmp_path / "classes", "-o", run, "--cpu", "--json", *changes
    )
    assert done.code == 0, done.err
    assert 0 <= done.json["valid_macro_f1"] <= 1
    assert load(run / "model").info["classes"] == ["a", "b"]

    labels = tmp_path / "labels.csv"
    labels.write_text("path,label\nwaltz-0.mid,x\n")
    other = arietta(
        *("train", "classify-folder", tmp_path / "classes", "-o", tmp_path / "other"),
        *("--labels", labels, "--cpu"),
    )
    assert other.code == 1
    assert "has 1 classes in the field 'label'" in other.err
    refused = arietta(
        "train", "finetune-folder", prompts_dir, "-o", tmp_path / "no", "--labels", labels
    )
    assert refused.code == 2 and "classifies nothing" in refused.err
    flat = arietta("train", "classify-folder", prompts_dir, "-o", tmp_path / "flat")
    assert flat.code == 2 and "holds no folders" in flat.err
