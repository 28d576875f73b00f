"""The training loop: it learns, it resumes, it refuses."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from arietta.errors import InputError, UsageError
from arietta.models.config import PRESETS, AriaConfig
from arietta.training.config import Recipe, Stage, load_recipe
from arietta.training.pretrain import save_state, train
from tests.data.test_tokens import some_pieces

RECIPES = Path(__file__).parents[2] / "recipes"
TINY = Recipe(
    name="tiny",
    tokenizer="piano",
    model=AriaConfig(d_model=32, n_heads=2, n_layers=2, ff_mult=2, vocab_size=2565, max_seq_len=64),
    stages=(Stage(until_tokens=2_048, seq_len=32, rows=4), Stage(4_096, 64, 2)),
    lr=1e-2,
    warmup_tokens=256,
    decay_tokens=1_024,
    valid_every_tokens=1_024,
)


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    some_pieces([40, 60]).save(tmp_path / "train.npz")
    some_pieces([120], seed=0).save(tmp_path / "valid.npz")
    return tmp_path


def losses(out: Path) -> list[float]:
    with (out / "loss.csv").open() as f:
        return [float(r["train_nats"]) for r in csv.DictReader(f)]


def test_loss_falls_on_two_pieces(tokens: Path) -> None:
    longer = replace(
        TINY, stages=(Stage(15_360, 64, 4),), decay_tokens=2_048, valid_every_tokens=3_072
    )
    train(longer, tokens, tokens / "run")
    found = losses(tokens / "run")
    assert found[0] > 6.0
    assert found[-1] < found[0] - 1.5


def test_a_stopped_run_goes_on_to_the_same_weights(
    tokens: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load_file(train(TINY, tokens, tokens / "whole"))
    eager = replace(TINY, checkpoint_every_seconds=0)
    stops = iter(range(100))

    def save_then_die(path: Path, state: dict[str, object]) -> None:
        save_state(path, state)
        if next(stops) == 11:  # in the middle of the first stage
            raise KeyboardInterrupt

    monkeypatch.setattr("arietta.training.pretrain.save_state", save_then_die)
    with pytest.raises(KeyboardInterrupt):
        train(eager, tokens, tokens / "cut")
    assert 0 < torch.load(tokens / "cut" / "state.pt", weights_only=True)["seen"] < 2_048
    monkeypatch.undo()
    resumed = load_file(train(TINY, tokens, tokens / "cut"))
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def test_a_tokenizer_that_does_not_fit_is_refused(tokens: Path) -> None:
    wrong = replace(TINY, model=replace(TINY.model, vocab_size=100))
    with pytest.raises(UsageError, match="2565"):
        train(wrong, tokens, tokens / "run")


def test_the_shipped_recipe_is_the_small_preset() -> None:
    recipe = load_recipe(RECIPES / "small-pretrain.yaml")
    assert recipe.model == PRESETS["small"]
    assert recipe.lr_at(0) < recipe.lr / 10
    assert recipe.lr_at(recipe.warmup_tokens) == recipe.lr
    assert recipe.lr_at(recipe.total_tokens) == 0.0
    assert recipe.stage_at(0).seq_len < recipe.stage_at(recipe.total_tokens - 1).seq_len


@pytest.mark.parametrize(
    ("text", "error", "word"),
    [
        ("- a\n", InputError, "mapping"),
        ("a: [", InputError, "YAML"),
        ("colour: red\n", UsageError, "colour"),
        ("name: x\n", UsageError, "model"),
    ],
)
def test_bad_recipes_say_what_is_wrong(
    tmp_path: Path, text: str, error: type[Exception], word: str
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(error, match=word):
        load_recipe(path)
