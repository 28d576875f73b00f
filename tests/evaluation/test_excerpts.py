"""Continuations beside those of people, as the library and ``arietta evaluate`` measure them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from arietta.api import evaluate
from arietta.api.evaluate.continuations import OTHERS, PEOPLE, SHUFFLED
from arietta.cli.main import run
from arietta.data.build import build_dataset
from arietta.data.settings import preset
from arietta.errors import InputError, UsageError
from arietta.evaluation.excerpts import FOLLOW_MS, PROMPT_MS, draw_excerpts, shuffled
from arietta.midi.piece import Piece

pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight performances of a minute, all in the split test."""
    place = tmp_path_factory.mktemp("excerpts")
    rng = np.random.default_rng(0)
    (place / "midi").mkdir()
    for i in range(8):
        onset = np.cumsum(rng.integers(80, 400, 250)).astype(float)
        pitch = rng.integers(40, 90, 250)
        velocity = rng.integers(30, 100, 250)
        Piece.from_ms(onset, np.full(250, 180.0), pitch, velocity).save(place / f"midi/{i}.mid")
    settings = preset("none", form="grid", fractions={"test": 1.0})
    build_dataset([place / "midi"], place / "dataset", settings)
    return place / "dataset"


def test_excerpts_are_of_different_compositions_and_follow_each_other(dataset: Path) -> None:
    excerpts = draw_excerpts(dataset, "test", 6, seed=1)
    assert len({tuple(e.prompt_notes.pitch.tolist()) for e in excerpts}) == 6
    for one in excerpts:
        assert len(one.prompt) == len(one.prompt_notes) >= 10
        assert 0 <= one.prompt_notes.onset_ms.min() <= one.prompt_notes.onset_ms.max() < PROMPT_MS
        assert 0 <= one.human.onset_ms.min() <= one.human.onset_ms.max() < FOLLOW_MS
    again = draw_excerpts(dataset, "test", 6, seed=1)
    assert all(
        np.array_equal(a.human.pitch, b.human.pitch) for a, b in zip(excerpts, again, strict=True)
    )
    with pytest.raises(InputError, match="only 8 of 9"):
        draw_excerpts(dataset, "test", 9, seed=1)


def test_shuffling_keeps_the_times_between_onsets(dataset: Path) -> None:
    human = draw_excerpts(dataset, "test", 1, seed=1)[0].human
    mixed = shuffled(human, 3)
    assert sorted(np.diff(mixed.onset_ms)) == pytest.approx(sorted(np.diff(human.onset_ms)))
    assert not np.array_equal(mixed.onset_ms, human.onset_ms)


def test_people_without_a_model(dataset: Path, tmp_path: Path) -> None:
    done = evaluate.continuations(dataset, tmp_path / "f.json", systems={}, prompts=6)
    systems = done.figures["systems"]
    assert list(systems) == [PEOPLE, OTHERS, SHUFFLED]
    assert systems[PEOPLE]["mean_overlap"] == 1.0
    people, mixed = (systems[name]["musicality"] for name in (PEOPLE, SHUFFLED))
    assert people["shuffled_pulse_clarity"] == pytest.approx(mixed["pulse_clarity"], abs=0.05)
    assert json.loads((tmp_path / "f.json").read_text()) == done.to_dict()
    with pytest.raises(UsageError, match="`prompts`"):
        evaluate.continuations(dataset, systems={}, prompts=1)


def test_the_command_prints_a_table_and_writes_json(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "continuations", str(dataset), "--prompts", "2"]
    assert run([*words, "-o", str(tmp_path / "f.json")]) == 0
    out = capsys.readouterr().out
    for text in ("people shuffled", "small", "overlap with people", "pulse clarity", "pitch mean"):
        assert text in out
    figures = json.loads((tmp_path / "f.json").read_text())
    assert run([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == figures
    assert len(figures["systems"]["small"]["model_sha256"]) == 64
