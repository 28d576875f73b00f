"""A decoder that sees what it is to resemble."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from arietta.data.shards import PieceRecord, ShardWriter, open_dataset
from arietta.errors import UsageError
from arietta.models.aria.checkpoint import load
from arietta.tokenizers.vocabulary import BOS, EOS, PAD, TIME, vocabulary
from arietta.training.config import Recipe, load_recipes, recipe_from
from arietta.training.loop import train
from arietta.training.loss import NextToken
from arietta.training.rows.augment import shift_pitch_ids
from arietta.training.rows.conditions import ConditionSettings, ConditionStream, mixed
from arietta.training.tasks.conditioned import ConditionedTask
from arietta.vectors.collection import Collection, Entry
from arietta.vectors.embedding import Embedding, Stretches
from tests.training.conftest import TINY, some_notes
from tests.training.test_loop import same_run

PIECES = 16


@pytest.fixture(scope="module")
def registers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """High pieces and low pieces, and vectors that say which is which."""
    folder = tmp_path_factory.mktemp("registers") / "set"
    none = Stretches(np.zeros((0, 4), np.float32), np.zeros(0), np.zeros(0))
    collection = Collection({"model": "made", "model_sha256": "0" * 64, "size": 4})
    with ShardWriter(folder, "grid", rows_per_group=4) as writer:
        for i in range(PIECES):
            notes = some_notes(60, i)
            notes.pitch[:] = (30 if i % 2 else 80) + notes.pitch % 12
            writer.add(
                PieceRecord(f"piece-{i}", "valid" if i >= PIECES - 4 else "train", str(i), "made"),
                notes,
            )
            vector = np.array([i % 2, 1 - i % 2, 0.1 * i, 1], np.float32)
            collection.entries[f"piece-{i}"] = Entry(
                f"piece-{i}", str(i), 60, 1.0, {}, Embedding(vector, none, none)
            )
    collection.save(folder.parent / "vectors.npz")
    return folder


def recipe(data: Path, **changes: Any) -> Recipe:
    values = {
        **TINY,
        "task": "conditioned",
        "conditioned": {"embeddings": str(data.parent / "vectors.npz"), "free_share": 0.25},
        "stages": [{"seq_len": 48, "rows": 4, "until_tokens": 48 * 8 * 40}],
        "data": {"augment": None, "block_pieces": 8, "valid_rows": 16, "mode": "separate"},
        "optimiser": {"kind": "adamw", "lr": 1.0e-2},
        "resid_dropout": 0.0,
        **changes,
    }
    return recipe_from(values)


def test_rows_name_the_vector_of_their_piece(registers: Path) -> None:
    numbers = {f"piece-{i}": [(i, 0)] for i in range(PIECES)}
    settings = ConditionSettings(seq_len=48, mode="aligned", augment=None, free_share=0.25)
    stream = ConditionStream(open_dataset(registers), "train", settings, numbers=numbers)
    shown, free = 0, 0
    for _ in range(200):
        row = next(stream)
        assert row.shape == (51,) and row[-2] == 0
        if row[-1]:
            assert stream.names == (f"piece-{row[-1] - 1}",)
            shown += 1
        else:
            free += len(stream.names) == 1
    assert 0.6 < shown / (shown + free) < 0.9


def test_a_row_is_in_the_register_of_its_vector(registers: Path) -> None:
    versions = {f"piece-{i}": [(i, 0), (PIECES + i, 7)] for i in range(PIECES)}
    settings = ConditionSettings(seq_len=48, mode="separate", augment=None, free_share=0.25)

    def rows(numbers: dict[str, list[tuple[int, int]]]) -> np.ndarray[Any, Any]:
        stream = ConditionStream(open_dataset(registers), "train", settings, numbers=numbers)
        return np.array([next(stream) for _ in range(200)])

    plain, some = rows({}), rows(versions)
    assert not plain[:, -1].any()
    moved = some[:, -1] > PIECES
    assert 40 < moved.sum() < 110
    np.testing.assert_array_equal(some[~moved, :-2], plain[~moved, :-2])
    vocab = vocabulary("piano")
    for before, after in zip(plain[moved, :-2], some[moved, :-2], strict=True):
        np.testing.assert_array_equal(after, shift_pitch_ids(before, vocab, 7))


def test_a_mixed_row_is_two_pieces() -> None:
    rng = np.random.default_rng(0)
    first = np.array([6, BOS, 20, TIME, 21, TIME, 22, 23, TIME, 24], np.int32)
    then = np.array([6, 7, BOS, 30, 31, TIME, 32, 33, 34, EOS], np.int32)
    made = [mixed(first, then, rng) for _ in range(50)]
    assert {heard for _, heard in made} == {4}
    found = {tuple(row.tolist()) for row, _ in made}
    assert found == {  # the first half holds one end of a segment
        (6, BOS, 20, TIME, 30, 31, TIME, 32, 33, 34),
    }
    row, heard = mixed(then, first, rng)  # no <T> in its first half
    assert heard == 0
    np.testing.assert_array_equal(row, first)
    short = np.array([6, BOS, 30, EOS, PAD, PAD, PAD, PAD, PAD, PAD], np.int32)
    row, heard = mixed(first, short, rng)
    assert row.tolist() == [6, BOS, 20, TIME, 30, EOS, *[PAD] * 4] and heard == 4


def test_mixed_rows_keep_the_vector_of_what_follows(registers: Path) -> None:
    numbers = {f"piece-{i}": [(i, 0)] for i in range(PIECES)}

    def rows(share: float) -> np.ndarray[Any, Any]:
        settings = ConditionSettings(
            seq_len=400, mode="separate", augment=None, free_share=0.25, mixed_share=share
        )
        stream = ConditionStream(open_dataset(registers), "train", settings, numbers=numbers)
        return np.array([next(stream) for _ in range(60)])

    plain, some = rows(0.0), rows(0.5)
    np.testing.assert_array_equal(plain[:, -1], some[:, -1])
    changed = (plain != some).any(axis=1)
    assert 5 < changed.sum() < 40
    assert not changed[plain[:, -1] == 0].any()
    np.testing.assert_array_equal(changed, some[:, -2] > 0)


def test_a_row_without_a_vector_is_the_plain_model(registers: Path) -> None:
    torch.set_num_threads(1)
    task = ConditionedTask(recipe(registers), registers)
    rows = task.validation()
    assert rows is not None
    rows = rows[rows[:, -1] > 0]
    task.module.eval()
    free = rows.clone()
    free[:, -1] = 0
    plain = NextToken(task.decoder, PAD, "f32").eval()
    with torch.no_grad():
        expected = float(plain(rows[:, :-2]))
        assert float(task.module(free)) == pytest.approx(expected, abs=1e-5)
        assert abs(float(task.module(rows)) - expected) > 1e-5
        # The training module and the decoder's own path agree on what a condition is.
        logits = task.decoder(rows[:, :-2], task.module.vectors[rows[:, -1] - 1])
        wanted = rows[:, 1:-2].clone()
        own = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), wanted.flatten(), ignore_index=PAD
        )
        assert float(task.module(rows)) == pytest.approx(float(own), abs=1e-5)
        # What is only heard is not learned: the first of the ids to predict is number 10.
        rows[:, -2], wanted[:, :9] = 10, PAD
        own = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), wanted.flatten(), ignore_index=PAD
        )
        assert float(task.module(rows)) == pytest.approx(float(own), abs=1e-5)
        assert task._predicted(rows) == int((wanted != PAD).sum())


def test_the_vector_is_made_use_of_and_stored(registers: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    long = recipe(registers, stages=[{"seq_len": 48, "rows": 4, "until_tokens": 48 * 8 * 120}])
    result = train(long, registers, tmp_path / "run", cpu=True)
    with_vector, free = result.valid
    # All there is to gain is the register of the first note: log 2 over 47 tokens.
    assert with_vector < free - 0.005
    found = load(result.model)
    assert found.kind == "conditioned"
    assert found.info["embeddings"]["model"] == "made"


def test_a_second_training_begins_where_the_first_ended(registers: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    first = recipe(registers, stages=[{"seq_len": 48, "rows": 4, "until_tokens": 48 * 8 * 40}])
    result = train(first, registers, tmp_path / "run", cpu=True)
    second = recipe(registers, model=None, init=str(result.model))
    task = ConditionedTask(second, registers)
    rows = task.validation()
    assert rows is not None
    rows = rows[rows[:, -1] > 0]
    task.module.eval()
    with torch.no_grad():
        assert float(task.module(rows)) == pytest.approx(result.valid[0], abs=1e-4)
    task.export(tmp_path / "again", task.module.state_dict(), {})
    name = "embedding_adapter.weight"
    np.testing.assert_allclose(
        load(tmp_path / "again").tensors[name], load(result.model).tensors[name], atol=1e-4
    )


def test_it_goes_on_exactly(registers: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    short = recipe(registers, stages=[{"seq_len": 48, "rows": 4, "until_tokens": 48 * 8 * 6}])
    train(short, registers, tmp_path / "whole", cpu=True)
    train(short, registers, tmp_path / "parts", cpu=True, max_steps=3)
    train(short, registers, tmp_path / "parts", cpu=True)
    same_run(tmp_path / "whole", tmp_path / "parts")


def test_what_does_not_fit_is_said(registers: Path, tmp_path: Path, dataset: Path) -> None:
    nowhere = {"embeddings": None}
    with pytest.raises(UsageError, match="arietta embed DATASET"):
        ConditionedTask(recipe(registers, conditioned=nowhere), registers)
    others = Collection.load(registers.parent / "vectors.npz")
    others.entries = {n: replace(e, path=f"x{n}") for n, e in others.entries.items()}
    others.save(tmp_path / "other.npz")
    with pytest.raises(UsageError, match="no vector of the pieces"):
        ConditionedTask(
            recipe(registers, conditioned={"embeddings": str(tmp_path / "other.npz")}), registers
        )


def test_the_recipe_starts_from_the_shipped_model() -> None:
    (found,) = load_recipes("small-conditioned").values()
    assert found.task == "conditioned" and found.init == "small"
