"""Classifier finetuning: it learns what can be told apart, keeps the best, votes by tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from arietta.data.shards import PieceRecord, ShardWriter
from arietta.errors import InputError, UsageError
from arietta.models.aria.checkpoint import load
from arietta.models.executors import cpu_backend
from arietta.tokenizers.vocabulary import EOS, PAD
from arietta.training.config import Recipe, recipe_from
from arietta.training.loop import train
from arietta.training.rows.slices import LabelStream
from arietta.training.tasks.classify import ClassifyTask
from arietta.training.tasks.linear_head import best_temperature, fitted_head, pieces_of, states_of
from arietta.vectors.classification import vote
from tests.training.conftest import TINY, some_notes
from tests.training.test_loop import column, weights

CLASSES = ("high", "low", "middle")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pieces whose register is their class; one has none."""
    folder = tmp_path_factory.mktemp("labelled") / "set"
    with ShardWriter(folder, "grid", rows_per_group=4) as writer:
        for i in range(41):
            notes = some_notes(30 + i, i)
            label = CLASSES[i % 3]
            notes.pitch[:] = notes.pitch % 12 + {"low": 30, "middle": 60, "high": 90}[label]
            split = "valid" if i % 4 == 3 else "train"
            metadata = {} if i == 40 else {"register": label}
            writer.add(PieceRecord(f"piece-{i}", split, str(i), "made", metadata), notes)
    return folder


def classes(**changes: Any) -> Recipe:
    values = {
        **TINY,
        "task": "classify",
        "classify": {"label": "register", "min_notes": 8, "max_notes": 18},
        "stages": [{"seq_len": 64, "rows": 6, "until_epochs": 12}],
        "optimiser": {"kind": "adamw", "lr": 1.0e-2},
        "resid_dropout": 0.2,
        "data": {"augment": {"pitch": 2}},
        "patience": 2,
        **changes,
    }
    return recipe_from(values)


def test_a_run_learns_to_tell_apart_and_stops(labelled: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    done = train(classes(), labelled, tmp_path / "run", cpu=True)
    accuracy = column(tmp_path / "run", "accuracy", "valid.csv")
    assert max(accuracy) == 1.0
    found = load(tmp_path / "run" / "model")
    assert (found.kind, tuple(found.info["classes"])) == ("classifier", CLASSES)
    assert found.config.class_size == 3
    # Two validations without gain end it; the model is that of the best one.
    merits = [
        (f1, -loss)
        for f1, loss in zip(
            column(tmp_path / "run", "macro_f1", "valid.csv"),
            column(tmp_path / "run", "nats_per_slice", "valid.csv"),
            strict=True,
        )
    ]
    steps = column(tmp_path / "run", "step", "valid.csv")
    best = merits.index(max(merits))
    assert found.info["trained_steps"] == steps[best]
    assert done.steps == steps[-1]
    if len(merits) > best + 1:
        assert len(merits) == best + 3 or done.steps == 48

    train(classes(), labelled, tmp_path / "parts", cpu=True, max_steps=int(steps[0]) + 1)
    train(classes(), labelled, tmp_path / "parts", cpu=True)
    for name, value in weights(tmp_path / "run").items():
        assert torch.equal(value, weights(tmp_path / "parts")[name]), name


def test_slices_carry_their_class(labelled: Path) -> None:
    task = ClassifyTask(classes(), labelled)
    assert task.classes == CLASSES
    stream = task.stream("train", 0, 0, 1)
    assert isinstance(stream, LabelStream)
    drawn = {}
    for _ in range(200):
        row = next(stream)
        assert (row[:-1] == EOS).sum() == 1
        drawn[stream.names[0]] = int(row[-1])
    assert len(drawn) == 30 and "piece-40" not in drawn
    assert all(CLASSES[label] == CLASSES[int(n.split("-")[1]) % 3] for n, label in drawn.items())


def test_few_labels_are_as_many_of_each(labelled: Path) -> None:
    options = {"label": "register", "min_notes": 8, "max_notes": 18, "per_class": 4}
    found = []
    for count in (4, 2):
        recipe = classes(classify={**options, "per_class": count})
        stream = ClassifyTask(recipe, labelled).stream("train", 0, 0, 1)
        drawn = set()
        for _ in range(200):
            row = next(stream)
            drawn.add((stream.names[0], int(row[-1])))
        assert sorted(label for _, label in drawn) == sorted([0, 1, 2] * count)
        found.append(drawn)
    assert found[1] < found[0]


def test_the_end_token_begins_anew(labelled: Path, dataset: Path, tmp_path: Path) -> None:
    plain = recipe_from({**TINY, "stages": [{"seq_len": 64, "rows": 2, "until_tokens": 256}]})
    train(plain, dataset, tmp_path / "lm", cpu=True)
    recipe = classes(init=str(tmp_path / "lm" / "model"), model=None)
    mine = ClassifyTask(recipe, labelled).decoder.state_dict()
    old = weights(tmp_path / "lm")["model.tok_embeddings.weight"]
    new = mine["model.tok_embeddings.weight"]
    changed = (old != new).any(dim=1).nonzero().flatten().tolist()
    assert changed == [EOS]
    assert 0.005 < float(new[EOS].std()) < 0.05


def test_what_cannot_be_told_apart(labelled: Path) -> None:
    with pytest.raises(InputError, match="has 0 classes in the field 'style'"):
        ClassifyTask(classes(classify={"label": "style"}), labelled)
    options = {"label": "register", "classes": ["low", "sung"]}
    with pytest.raises(InputError, match="no 'sung' in the field 'register'"):
        ClassifyTask(classes(classify=options), labelled)
    with pytest.raises(UsageError, match="go together"):
        recipe_from({**TINY, "task": "classify"})


def small_embedding(folder: Path, dataset: Path) -> str:
    """A contrastive model of a few steps."""
    values = {
        **TINY,
        "task": "contrastive",
        "contrastive": {"min_notes": 8, "max_notes": 18, "embedding_size": 8},
        "stages": [{"seq_len": 64, "rows": 4, "until_tokens": 2048}],
    }
    return str(train(recipe_from(values), dataset, folder, cpu=True).model)


def probed(init: str, pooling: str, **changes: Any) -> Recipe:
    options = {"label": "register", "min_notes": 8, "max_notes": 18}
    return classes(
        **{
            "init": init,
            "model": None,
            "classify": {**options, "head": "probe", "pooling": pooling},
            "stages": [{"seq_len": 64, "rows": 6, "until_epochs": 0}],
            **changes,
        }
    )


@pytest.mark.parametrize("pooling", ["end", "full"])
def test_a_linear_head_needs_no_step(labelled: Path, tmp_path: Path, pooling: str) -> None:
    torch.set_num_threads(1)
    init = small_embedding(tmp_path / "embedding", labelled)
    done = train(probed(init, pooling), labelled, tmp_path / "run", cpu=True)
    measured = dict(zip(done.measures, done.valid, strict=True))
    assert done.steps == 0 and measured["accuracy"] > 0.8  # registers are easily told apart
    # Nothing but the head is new.
    found, before = load(done.model), load(init)
    assert found.kind == "classifier" and found.config.pooling == pooling
    for name in before.tensors:
        if name.startswith("model."):
            np.testing.assert_array_equal(found.tensors[name], before.tensors[name])
    # A run that goes on from it takes it as it is, and torch says what the kernel says.
    options = {"label": "register", "min_notes": 8, "max_notes": 18, "pooling": pooling}
    task = ClassifyTask(probed(str(done.model), pooling, classify=options), labelled)
    rows = task.validation()
    assert rows is not None
    with torch.no_grad():
        expected = task.module.eval()(rows[:, :-1], predict=True).numpy()
    states = states_of(cpu_backend(found, "f32"), rows.numpy())
    states = states if pooling == "full" else states[:, : found.config.d_model]
    np.testing.assert_allclose(states @ found.tensors["class_head.weight"].T, expected, atol=2e-3)


def test_finetuning_never_leaves_less_than_it_began_with(labelled: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    init = small_embedding(tmp_path / "embedding", labelled)
    ruin = {
        "stages": [{"seq_len": 64, "rows": 6, "until_epochs": 4}],
        "optimiser": {"kind": "adamw", "lr": 1.0},
    }
    done = train(probed(init, "full", **ruin), labelled, tmp_path / "run", cpu=True)
    steps = column(tmp_path / "run", "step", "valid.csv")
    merits = column(tmp_path / "run", "macro_f1", "valid.csv")
    assert steps[0] == 0 and merits[0] > max(merits[1:])
    assert load(done.model).info["trained_steps"] == 0


def test_a_linear_head_needs_a_model_that_embeds(labelled: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not from small, of kind lm"):
        ClassifyTask(probed("small", "full", tokenizer="piano-fill"), labelled)
    options = {"label": "register", "head": "probe"}
    with pytest.raises(UsageError, match="needs an embedding model in init"):
        classes(classify=options)
    with pytest.raises(UsageError, match="fresh or probe"):
        classes(classify={**options, "head": "best"})


def test_a_head_for_other_classes_begins_anew(labelled: Path, tmp_path: Path) -> None:
    init = small_embedding(tmp_path / "embedding", labelled)
    done = train(probed(init, "full"), labelled, tmp_path / "run", cpu=True)
    options = {"label": "register", "classes": ["middle", "low", "high"], "pooling": "full"}
    other = ClassifyTask(probed(str(done.model), "full", classify=options), labelled)
    head = other.decoder.get_parameter("class_head.weight").detach().numpy()
    assert not np.allclose(head, load(done.model).tensors["class_head.weight"])


def test_two_classes_have_a_row_each(labelled: Path, tmp_path: Path) -> None:
    init = small_embedding(tmp_path / "embedding", labelled)
    options = {"label": "register", "min_notes": 8, "max_notes": 18, "classes": ["low", "high"]}
    recipe = probed(init, "end", classify={**options, "head": "probe"})
    done = train(recipe, labelled, tmp_path / "run", cpu=True)
    assert dict(zip(done.measures, done.valid, strict=True))["accuracy"] > 0.8
    assert load(done.model).tensors["class_head.weight"].shape[0] == 2


def test_slices_vote_by_their_tokens() -> None:
    sure, torn = np.log([0.8, 0.2]), np.log([0.3, 0.7])
    found = vote(
        np.array([sure, torn, torn]), np.array([100, 100, 300]), np.array([4, 2, 4]), "shares"
    )
    np.testing.assert_allclose(found[0], [0.3, 0.7])  # piece 2
    np.testing.assert_allclose(found[1], [(0.8 + 0.3 * 3) / 4, (0.2 + 0.7 * 3) / 4])


@pytest.mark.parametrize("classes", [2, 3])
def test_a_head_tells_classes_apart_without_a_bias(classes: int) -> None:
    rng = np.random.default_rng(0)
    label = np.arange(90) % classes
    x = rng.normal(size=(90, 6)).astype(np.float32)
    x[:, 5] = 5 + 0.01 * x[:, 5]  # what all pieces share stands for a bias
    x[:, 0] += 6 * (label == 1)
    x[:, 1] += 6 * (label == 2)
    groups = [str(i // 3) for i in range(90)]
    for weighted in (True, False):
        head = fitted_head(x, label, groups, weighted=weighted)
        assert head.shape == (classes, 6)
        assert ((x @ head.T).argmax(axis=1) == label).mean() > 0.95
    # With one group there is nothing to choose a strength by, and still a head.
    assert np.isfinite(fitted_head(x, label, ["one"] * 90, weighted=True)).all()


def test_a_head_is_as_sure_as_it_is_right() -> None:
    rng = np.random.default_rng(0)
    label = np.arange(1_400) % 3
    x = rng.normal(size=(1_400, 60))
    x[:, 0] += 1.5 * (label == 1)
    x[:, 1] += 1.5 * (label == 2)
    x[:, 59] = 5
    known, asked = np.arange(400), np.arange(400, 1_400)
    head = fitted_head(x[known], label[known], [str(i) for i in known], weighted=True)
    logits = x[asked] @ head.T
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    right = (logits.argmax(axis=1) == label[asked]).mean()
    assert right > 0.55
    assert abs(shares.max(axis=1).mean() - right) < 0.04


@pytest.mark.parametrize("temperature", [0.7, 1.0, 4.0])
def test_the_best_temperature_is_that_of_the_labels(temperature: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20_000, 4))
    label = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    assert best_temperature(logits * temperature, label) == pytest.approx(temperature, rel=0.06)


def test_logits_of_slices_are_those_of_their_mean_state() -> None:
    rng = np.random.default_rng(0)
    slices = np.full((5, 12), 9)
    slices[2, 6:10] = slices[4, 3:10] = PAD
    slices[:, -1] = [0, 0, 0, 1, 1]
    states, head = rng.normal(size=(5, 4)).astype(np.float32), rng.normal(size=(3, 4))
    tokens = (slices[:, :-2] != PAD).sum(axis=1)
    said = vote(states @ head.T, tokens, slices[:, -1], "logits")
    logits = pieces_of(states, slices) @ head.T
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(said, expected)
    np.testing.assert_allclose(
        pieces_of(states, slices)[1], (10 * states[3] + 3 * states[4]) / 13, rtol=1e-6
    )
