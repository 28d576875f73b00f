"""Learning to perform: what takes say, the run, and the player that comes out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from arietta.data.pairs import Pair, write_pairs
from arietta.data.shards import PieceRecord, ShardWriter
from arietta.errors import CheckpointError, InputError, UsageError
from arietta.evaluation.rendering import correlation
from arietta.midi.piece import Piece
from arietta.models.performer.checkpoint import (
    LoadedPerformer,
    is_performer,
    join,
    load_folder,
    save,
)
from arietta.models.performer.config import OUTPUTS, PerformerConfig
from arietta.models.performer.openvino import PerformerModel, window_starts
from arietta.models.performer.torch_module import Performer, initialise
from arietta.notation.features import FEATURES, levels, score_features, summary
from arietta.notation.score_notes import ScoreNotes
from arietta.rendering.performer import PerformerPlayer
from arietta.training.config import Recipe, recipe_from
from arietta.training.loop import train
from arietta.training.tasks.performer import PerformerTask
from arietta.training.tasks.performer_targets import (
    fit_levels,
    reading_of,
    recording_targets,
    score_targets,
)
from tests.notation.scores import score_of, scores
from tests.training.conftest import some_notes
from tests.training.test_loop import column

SMALL = PerformerConfig(
    d_model=32, n_heads=2, n_layers=2, ff_mult=2, n_features=len(FEATURES), max_notes=64
)


def a_score(seed: int, notes: int = 90) -> ScoreNotes:
    rng = np.random.default_rng(seed)
    tick = np.cumsum(rng.choice([0, 240, 240, 480], notes))
    pitch = rng.permuted(np.arange(40, 40 + notes) % 50 + 40)
    rows = list(zip(tick.tolist(), [200] * notes, pitch.tolist(), strict=True))
    return score_of(rows, metre=(3, 2))


def a_take(score: ScoreNotes, seed: int) -> Piece:
    """High notes loud, the third beat late, everybody at a tempo and touch of his own."""
    rng = np.random.default_rng(seed)
    beat = (score.onset_tick // 480) % 3
    ms = score.onset_ms * rng.uniform(0.8, 1.5) + np.where(beat == 2, 60.0, 0.0)
    velocity = 30 + (score.pitch.astype(int) - 40) + rng.integers(0, 30)
    length = np.where(score.pitch > 64, 220.0, 90.0) * rng.uniform(0.8, 1.2)
    return Piece.from_ms(ms, length, score.pitch, np.clip(velocity, 1, 127))


def a_pair(name: str, score: ScoreNotes, seed: int, **about: str) -> Pair:
    return Pair(name, score, a_take(score, seed), np.arange(len(score)), about)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pairs") / "pairs.parquet"
    found = []
    for i in range(8):
        score = a_score(i)
        about = {"piece_id": f"p{i}", "split": "valid" if i > 5 else "train", "pt_test": "0"}
        found += [a_pair(f"{i}-{k}", score, 10 * i + k, **about) for k in range(2)]
    hidden = a_score(99)
    found.append(a_pair("hidden", hidden, 1, piece_id="x", pt_test="1"))
    part = zip(*(c[:60].tolist() for c in (hidden.onset_tick, hidden.pitch)), strict=True)
    same = score_of([(tick, 200, pitch) for tick, pitch in part], metre=(3, 2))
    found.append(a_pair("hidden under another name", same, 2, piece_id="y", pt_test="0"))
    write_pairs(path, found)
    return path


SLOW = {"kind": "muon", "lr": 1e-4, "weight_decay": 0.0, "decay_all": False}


def recipe(**changes: Any) -> Recipe:
    return recipe_from(
        {
            "name": "player",
            "task": "perform",
            "model": SMALL.to_dict(),
            "stages": [{"seq_len": 64, "rows": 4, "until_epochs": 30}],
            "perform": {"dropout": 0.1, "hide": 0.2},
            "optimiser": {"kind": "muon", "lr": 5e-3, "weight_decay": 0.0, "decay_all": False},
            "precision": "f32",
            "valid_every_steps": 30,
            **changes,
        }
    )


def test_readings_are_the_same_for_loud_and_soft_fast_and_slow(pairs: Path) -> None:
    score = a_score(0)
    one, other = (reading_of(a_pair("a", score, seed)) for seed in (1, 2))
    assert one is not None and other is not None
    known = np.isfinite(one.outputs[:, :3]) & np.isfinite(other.outputs[:, :3])
    for i in range(3):
        x, y = one.outputs[known[:, i], i], other.outputs[known[:, i], i]
        assert abs(x.mean()) < 0.3 and 0.7 < x.std() < 1.3
        assert correlation(x, y) > 0.9
    assert abs(one.level[2] - other.level[2]) > 0.01
    (target,) = score_targets([a_pair("a", score, 1), a_pair("b", score, 2)])
    assert target.takes[:, 0].tolist() == [2.0] * len(score)
    np.testing.assert_allclose(
        target.outputs[known.all(axis=1), 0],
        (one.outputs + other.outputs)[known.all(axis=1), 0] / 2,
        atol=1e-6,
    )


def test_a_run_learns_and_goes_on_to_the_same_bits(pairs: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    train(recipe(), pairs, tmp_path / "whole", cpu=True)
    agreed = [
        column(tmp_path / "whole", name, "valid.csv") for name in ("velocity", "articulation")
    ]
    assert agreed[0][-1] > 0.9 and agreed[1][-1] > 0.5  # of pieces it never saw
    train(recipe(), pairs, tmp_path / "parts", cpu=True, max_steps=13)
    train(recipe(), pairs, tmp_path / "parts", cpu=True)
    assert column(tmp_path / "whole", "loss") == column(tmp_path / "parts", "loss")
    # It plays: the order of loudness is what the takes have.
    model = load_folder(tmp_path / "whole" / "model")
    score = a_score(50, 200)
    played = PerformerPlayer(PerformerModel(model, 1)).perform(score)
    played.check(score)
    assert correlation(played.velocity.astype(float), score.pitch.astype(float)) > 0.8
    assert 30 < played.velocity.mean() < 110


def test_nothing_of_the_test_pieces_is_learned_from(pairs: Path) -> None:
    task = PerformerTask(recipe(), pairs)
    stream = task.stream("train", 0, 0, 1)
    seen = set()
    for _ in range(60):
        assert next(stream).dtype == np.float32
        seen.add(stream.names[0].split("-")[0])
    assert seen == set("012345")


@pytest.fixture(scope="module")
def performances(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Performances in which high notes are loud, without scores; chords are spread a little."""
    folder = tmp_path_factory.mktemp("heard") / "set"
    with ShardWriter(folder, "grid", rows_per_group=4) as writer:
        for i in range(10):
            notes = some_notes(150, i)
            notes.velocity[:] = 3 + (notes.pitch.astype(int) - 55) // 4
            writer.add(PieceRecord(f"h{i}", "valid" if i > 7 else "train", str(i), "made"), notes)
    return folder


def test_performances_alone_teach_loudness(performances: Path, pairs: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    first = recipe(perform={"hide": 0.0, "transpose": 0})
    train(first, performances, tmp_path / "pre", cpu=True)
    assert column(tmp_path / "pre", "velocity", "valid.csv")[-1] > 0.8
    assert np.isnan(column(tmp_path / "pre", "tempo", "valid.csv")[-1])
    model = load_folder(tmp_path / "pre" / "model")
    short = {"seq_len": 64, "rows": 4, "until_epochs": 1}
    after = recipe(stages=[short], init=str(model.path.parent), model=None, optimiser=SLOW)
    train(after, pairs, tmp_path / "run", cpu=True)
    fresh_start = recipe(stages=[short], optimiser=SLOW)
    train(fresh_start, pairs, tmp_path / "fresh", cpu=True)
    with_first, without = (
        column(tmp_path / run, "velocity", "valid.csv")[-1] for run in ("run", "fresh")
    )
    assert with_first > without + 0.1  # high notes are loud in the pairs as well
    with pytest.raises(UsageError, match="a model of its own kind"):
        PerformerTask(
            recipe(init=str(model.path.parent), model={**SMALL.to_dict(), "n_layers": 1}), pairs
        )


def test_notation_is_hidden_where_there_is_no_score() -> None:
    notes = some_notes(100, 3)
    target = recording_targets("x", notes)
    assert target is not None and len(target.features) == len(target.score)
    named = dict(zip(FEATURES, target.features.T, strict=True))
    for name in ("right hand", "on the bar", "tempo", "velocity", "length"):
        assert not named[name].any()
    assert named["chord size"].any() and named["pitch"].std() > 0
    assert not target.takes[:, 1:].any() and target.takes[:, 0].all()
    assert recording_targets("short", some_notes(5, 1)) is None


@pytest.fixture(scope="module")
def player(tmp_path_factory: pytest.TempPathFactory) -> PerformerPlayer:
    return PerformerPlayer(PerformerModel(fresh(tmp_path_factory.mktemp("model")), 1), seed=3)


def fresh(folder: Path) -> LoadedPerformer:
    """Random weights on disk."""
    model = Performer(SMALL)
    initialise(model, 1)
    tensors = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    usual = np.zeros((len(summary(np.zeros((1, len(FEATURES)), np.float32))), 6))
    usual[-1] = [64, 15, 6.2, 0.3, -0.3, 0.7]
    save(folder / "m", SMALL, tensors, usual, name="m")
    return load_folder(folder / "m")


def test_the_graph_is_the_module(player: PerformerPlayer) -> None:
    score = a_score(3, 60)
    features = score_features(score)
    model = Performer(SMALL)
    initialise(model, 1)
    with torch.no_grad():
        wanted = model(
            torch.from_numpy(score.pitch.astype(np.int64))[None],
            torch.from_numpy(features)[None],
            torch.from_numpy(score.onset_quarter - score.onset_quarter[0])[None],
        )[0]
    found = player.model.outputs(score, features)
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-4)


def test_models_answer_together(player: PerformerPlayer, tmp_path: Path) -> None:
    one = player.model.checkpoint
    other = Performer(SMALL)
    initialise(other, 2)
    tensors = {name: value.detach().numpy() for name, value in other.state_dict().items()}
    save(tmp_path / "2", SMALL, tensors, one.levels + 1, name="2")
    folders = [one.path.parent, tmp_path / "2"]
    both = load_folder(join(folders, tmp_path / "both", name="both"))
    assert both.config.members == 2
    assert both.config.parameter_count() == 2 * SMALL.parameter_count()
    np.testing.assert_allclose(both.levels, one.levels + 0.5, atol=1e-6)
    three = load_folder(join([*folders[:1], both.path.parent], tmp_path / "three", name="three"))
    score = a_score(3, 60)
    features = score_features(score)
    a, b = (PerformerModel(load_folder(f), 1).outputs(score, features) for f in folders)
    assert np.abs(a - b).max() > 0.01
    found = PerformerModel(both, 1).outputs(score, features)
    np.testing.assert_allclose(found, (a + b) / 2, atol=1e-4)
    found = PerformerModel(three, 1).outputs(score, features)
    np.testing.assert_allclose(found, (2 * a + b) / 3, atol=1e-4)
    odd = replace(SMALL, n_layers=1)
    rest = {name: value for name, value in tensors.items() if name in odd.tensor_shapes()}
    save(tmp_path / "odd", odd, rest, one.levels, name="odd")
    with pytest.raises(CheckpointError, match="of one size"):
        join([*folders, tmp_path / "odd"], tmp_path / "no", name="no")
    with pytest.raises(UsageError, match="one by one"):
        PerformerTask(recipe(model={**SMALL.to_dict(), "members": 2}), tmp_path / "pairs")


def test_steady_scores_are_told_from_free_ones() -> None:
    rng = np.random.default_rng(0)
    found = []
    for i in range(12):
        steady = i % 2 == 0
        tick = 240 * np.arange(120) if steady else np.cumsum(rng.choice([60, 240, 720], 120))
        rows = zip(tick.tolist(), [50] * 120, rng.integers(40, 80, 120).tolist(), strict=True)
        score = score_of(list(rows))
        waver = rng.normal(0, 0.05 if steady else 0.4, 120)
        ms = np.cumsum(np.diff(score.onset_ms, prepend=0.0) * np.exp(waver))
        take = Piece.from_ms(ms, 200, score.pitch, rng.integers(30, 90, 120))
        found.append(Pair(str(i), score, take, np.arange(120), {}))
    *known, free, even = score_targets(reversed(found))
    spreads = fit_levels(known)
    for target, wanted in ((free, 0.4), (even, 0.05)):
        told = levels(target.score, target.features, spreads)
        assert told[3] == pytest.approx(wanted, rel=0.4)


def test_models_that_answer_together_learn_on(
    player: PerformerPlayer, pairs: Path, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    one = player.model.checkpoint
    both = join([one.path.parent] * 2, tmp_path / "both", name="both")
    short = {"seq_len": 64, "rows": 4, "until_epochs": 4}
    more = recipe(init=str(both), model=None, stages=[short], valid_every_steps=3, patience=99)
    done = train(more, pairs, tmp_path / "run", cpu=True)
    assert sum(done.kept[1:]) > sum(done.before[1:])
    tuned = load_folder(done.model)
    assert tuned.config.members == 2
    np.testing.assert_array_equal(tuned.levels, one.levels)  # six scores do not tell
    score = a_score(3, 60)
    features = score_features(score)
    a, b = (PerformerModel(m, 1).outputs(score, features) for m in (load_folder(both), tuned))
    assert np.abs(a - b).max() > 0.01


@settings(max_examples=40, deadline=None)
@given(scores(), st.integers(0, 3), st.sampled_from([0.0, 1.0, 2.0]))
def test_every_score_is_played_whole(
    player: PerformerPlayer, score: ScoreNotes, variation: int, heat: float
) -> None:
    one = PerformerPlayer(player.model, 5, heat).perform(score, variation)
    one.check(score)
    again = PerformerPlayer(player.model, 5, heat).perform(score, variation)
    assert np.array_equal(one.onset_ms, again.onset_ms)
    assert np.array_equal(one.velocity, again.velocity)
    chord = score.chord
    order = [one.onset_ms[chord == c].mean() for c in range(chord[-1] + 1)]
    assert np.all(np.diff(order) > 0)


def test_variations_differ_unless_nothing_is_drawn(player: PerformerPlayer) -> None:
    score = a_score(1)
    for heat, same in ((1.0, False), (0.0, True)):
        cool = PerformerPlayer(player.model, 5, heat)
        one, other = cool.perform(score, 0), cool.perform(score, 1)
        assert np.array_equal(one.onset_ms, other.onset_ms) == same
        assert np.array_equal(one.velocity, other.velocity) == same


def test_windows_reach_everywhere() -> None:
    for rows in (1, 63, 64, 65, 100, 128, 129, 1000):
        starts = window_starts(rows, 64)
        covered = np.zeros(rows, bool)
        for start in starts:
            assert start + min(64, rows) <= rows
            covered[start : start + 64] = True
        assert covered.all()


def test_damaged_models_are_refused(tmp_path: Path) -> None:
    model = fresh(tmp_path)
    assert is_performer(model.path.parent) and not is_performer(tmp_path)
    place = model.path.parent / "config.json"
    place.write_text(place.read_text().replace('"levels"', '"level"'))
    with pytest.raises(CheckpointError, match="no table 'levels'"):
        load_folder(model.path.parent)


def test_what_cannot_be_learned_from(pairs: Path) -> None:
    with pytest.raises(InputError, match="no pair to learn from"):
        PerformerTask(recipe(perform={"where": {"composer": "nobody"}}), pairs)
    with pytest.raises(UsageError, match=f"has to be {len(FEATURES)}"):
        PerformerTask(recipe(model={**SMALL.to_dict(), "n_features": 3}), pairs)
    assert len(OUTPUTS) == 8
