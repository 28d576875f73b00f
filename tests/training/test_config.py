"""Recipes as data: what they refuse, what they plan, the published schedule."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arietta.errors import InputError, UsageError
from arietta.models.aria.config import PRESETS
from arietta.training.config import (
    Schedule,
    Stage,
    load_recipes,
    plan,
    recipe_from,
    recipe_names,
)
from arietta.training.dry_run import dry_run
from tests.training.conftest import TINY, tiny


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_loads_plans_and_comes_back(name: str) -> None:
    for recipe in load_recipes(name).values():
        stages = plan(recipe, epoch_tokens=50_000_000)
        assert stages[0].first_step == 0
        assert all(a.end_step == b.first_step for a, b in pairwise(stages))
        only_a_head = recipe.classify is not None and recipe.stages[-1].until_epochs == 0
        assert only_a_head or stages[-1].end_step > stages[-1].first_step
        assert recipe_from(json.loads(json.dumps(recipe.to_dict()))) == recipe
        assert dry_run(recipe, None)["parameters"] > 100_000


def test_the_published_recipes_hold_the_published_settings() -> None:
    # Specification F, arXiv 2506.23869 section 3.
    (pretrain,) = load_recipes("aria-medium-pretrain").values()
    assert pretrain.model == PRESETS["medium"]
    assert pretrain.stages == (Stage(8192, 16, until_epochs=75),)
    assert (pretrain.streams, pretrain.data.mode, pretrain.tokenizer) == (8, "packed", "full")
    assert pretrain.schedule == Schedule(1000, "linear", 0.1)
    o = pretrain.optimiser
    assert (o.kind, o.lr, o.betas, o.eps, o.weight_decay) == ("adamw", 3e-4, (0.9, 0.95), 1e-5, 0.1)
    assert o.decay_all and o.clip_norm is None
    (generative,) = load_recipes("aria-medium-generative").values()
    assert (generative.data.mode, generative.schedule.end_ratio) == ("separate", 0.0)
    assert generative.stages[0].until_epochs == 1


# Learning rates that the public training code gives, from the reference run's table.
PUBLISHED = {0: 3e-10, 1: 1.5003e-06, 100: 0.00015000015, 200: 3e-4, 500: 1.9875e-4, 1000: 3e-5}


@pytest.mark.parametrize(("step", "lr"), PUBLISHED.items())
def test_linear_schedule_is_the_published_one(step: int, lr: float) -> None:
    assert 3e-4 * Schedule(200, "linear", 0.1).factor(step, 1000) == pytest.approx(lr, rel=1e-4)


def test_linear_schedule_on_the_whole_reference_table(shared_dir: Path) -> None:
    table = json.loads(
        (shared_dir / "golden" / "aria" / "model" / "training_expected.json").read_text()
    )["lr"]
    cases = [("lm 3e-4", 3e-4, 200), ("contrastive", 1e-5, 100), ("classifier", 1e-5, 0)]
    for start, peak, warmup in cases:
        (rates,) = [rates for name, rates in table.items() if name.startswith(start)]
        schedule = Schedule(warmup, "linear", 0.1)
        for step, lr in rates.items():
            assert peak * schedule.factor(int(step), 1000) == pytest.approx(lr, rel=1e-9)


@given(
    st.sampled_from(["linear", "cosine", "trapezoid"]),
    st.integers(0, 50),
    st.floats(0, 1),
    st.integers(51, 400),
)
def test_a_schedule_rises_to_its_peak_and_ends_where_it_says(
    shape: str, warmup: int, end_ratio: float, total: int
) -> None:
    schedule = Schedule(warmup, shape, end_ratio)
    factors = [schedule.factor(step, total) for step in range(total + 5)]
    assert max(factors) == pytest.approx(1.0)
    assert factors[:warmup] == sorted(factors[:warmup])
    assert factors[warmup:] == sorted(factors[warmup:], reverse=True)
    assert factors[-1] == pytest.approx(end_ratio)


def test_stages_are_planned_in_whole_steps() -> None:
    first, second = plan(tiny(), epoch_tokens=0)
    assert (first.first_step, first.end_step) == (0, 6)
    assert (second.first_step, second.end_step) == (6, 12)
    epochs = tiny(stages=[{"seq_len": 64, "rows": 2, "until_epochs": 1.5}])
    assert plan(epochs, epoch_tokens=2560)[0].end_step == 15


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"colour": "red"}, "colour"),
        ({"optimiser": {"lr": 0}}, "lr"),
        ({"optimiser": {"lr": 1e-3, "kind": "sgd"}}, "sgd"),
        ({"optimiser": {"lr": 1e-3, "beta": 1}}, "beta"),
        ({"stages": []}, "stages"),
        ({"stages": [{"seq_len": 64, "rows": 2}]}, "until_tokens"),
        ({"stages": [{"seq_len": 640, "rows": 2, "until_tokens": 9}]}, "640"),
        ({"lora": {"rank": 4}}, "init"),
        ({"model": None}, "init"),
        ({"layers": [0]}, "layers"),
        ({"model": None, "init": "small", "layers": []}, "layers"),
        ({"model": None, "init": "small", "layers": [1, 1]}, "layers"),
        ({"task": "contrastive", "contrastive": {}, "teacher": "small"}, "teacher"),
        ({"schedule": {"shape": "wavy"}}, "wavy"),
        ({"precision": "fp8"}, "fp8"),
        ({"data": {"augment": {"tempo": 2}}}, "tempo"),
        ({"model": 3}, "model must be a table of keys and values or null, not 3"),
        ({"data": 3}, "data must be a table"),
        ({"seed": "x"}, "seed must be a whole number, not 'x'"),
        ({"streams": 1.5}, "streams must be a whole number"),
        ({"compile": "yes"}, "compile must be true or false"),
        ({"optimiser": "adam"}, "optimiser must be a table"),
        ({"optimiser": {"lr": "fast"}}, "lr must be a number"),
        ({"data": {"mode": "loose"}}, "mode must be packed or aligned or separate"),
    ],
)
def test_wrong_recipes_say_what_is_wrong(changes: dict[str, object], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        recipe_from({**TINY, **changes})


@pytest.mark.parametrize(
    ("text", "error", "word"),
    [
        ("- a\n", InputError, "mapping"),
        ("model: huge\n", UsageError, "huge"),
        ("a: [", InputError, "YAML"),
        ("name: x\n", UsageError, "incomplete"),
        (None, InputError, "small-pretrain"),
    ],
)
def test_unreadable_recipe_files_say_what_is_wrong(
    tmp_path: Path, text: str | None, error: type[Exception], word: str
) -> None:
    path = tmp_path / "recipe.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(error, match=word):
        load_recipes(path)


def test_single_keys_can_be_changed() -> None:
    changes = ["optimiser.lr=1e-4", "stages.0.rows=3", "data.augment=null", "lora=null"]
    (recipe,) = load_recipes("finetune-folder", changes).values()
    assert recipe.optimiser.lr == 1e-4
    assert (recipe.stages[0].rows, recipe.data.augment, recipe.lora) == (3, None, None)


def test_a_change_names_the_preset_of_a_model(tmp_path: Path) -> None:
    (recipe,) = load_recipes("small-pretrain", ["model=tiny", "model.n_layers=3"]).values()
    assert recipe.model == replace(PRESETS["tiny"], n_layers=3)
    path = tmp_path / "two.yaml"
    path.write_text(
        "name: two\nmodel: small\noptimiser: {lr: 1.0e-3}\n"
        "stages: [{seq_len: 64, rows: 2, until_tokens: 1000}]\nvariants: {less: {model: tiny}}\n"
    )
    assert load_recipes(path)["less"].model == PRESETS["tiny"]
    with pytest.raises(UsageError, match=r"model=huge: model 'huge' is not one of .*medium"):
        load_recipes("small-pretrain", ["model=huge"])


@pytest.mark.parametrize("change", ["lr", "optimiser.colour=1", "stages.7.rows=1", "name.x=1"])
def test_changes_that_fit_nowhere_are_refused(change: str) -> None:
    with pytest.raises(UsageError):
        load_recipes("small-pretrain", [change])


def test_variants_are_the_recipe_with_keys_replaced(tmp_path: Path) -> None:
    path = tmp_path / "two.yaml"
    path.write_text(
        "name: two\nmodel: small\noptimiser: {lr: 1.0e-3}\n"
        "stages: [{seq_len: 64, rows: 2, until_tokens: 1000}]\n"
        "variants: {slow: {optimiser.lr: 1.0e-4}, plain: {}}\n"
    )
    found = load_recipes(path)
    assert {name: r.optimiser.lr for name, r in found.items()} == {"slow": 1e-4, "plain": 1e-3}
    assert found["slow"].name == "two-slow"
    assert list(load_recipes(path, variant="plain")) == ["plain"]
    with pytest.raises(UsageError, match="slow"):
        load_recipes(path, variant="fast")
