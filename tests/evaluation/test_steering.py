"""Guidance measured: figures of made-up columns, and a run whose answer is known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import arietta
from arietta.api import data
from arietta.api.models import Model
from arietta.cli.main import run
from arietta.errors import InputError
from arietta.evaluation.steering import MEASURES, STATISTICS, draw_references, figures, slope
from arietta.midi.piece import Piece

NAMES = (*MEASURES, *STATISTICS)


def columns(seed: int, n: int = 60) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=n) for name in NAMES}


def test_the_slope_says_how_far_a_statistic_follows() -> None:
    aim, prompt = columns(0)["pitch_mean"], columns(1)["pitch_mean"]
    for follows in (0.0, 0.4, 1.0):
        found, low, high = slope(follows * aim + (1 - follows) * prompt + 3, aim, prompt)
        assert found == low == high == pytest.approx(follows)


def test_what_comes_nearer_is_told_pair_by_pair() -> None:
    plain, aim, prompt = columns(0), columns(1), columns(2)
    got = {name: values.copy() for name, values in plain.items()}
    got["cosine"] += 0.25
    got["pitch_mean"] = aim["pitch_mean"].copy()
    got["cosine"][3] = np.nan
    found = figures(got, plain, aim, prompt)
    assert found["silent"] == 1 and found["nearer_share"] == 1.0
    assert found["cosine_gain"] == [0.25, 0.25, 0.25]
    assert found["bits_per_note_gain"] == [0.0, 0.0, 0.0]
    assert found["pitch_mean_distance"] == [0.0, 0.0, 0.0]
    assert found["pitch_mean_slope"] == [1.0, 1.0, 1.0]
    assert found["velocity_mean_slope"][1] < 0 < found["velocity_mean_slope"][2]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Three works of a minute, each in a register of its own."""
    (tmp_path / "midi").mkdir()
    rng = np.random.default_rng(0)
    for number, pitch in enumerate((40, 60, 80)):
        onset = np.arange(240) * 250
        keys = pitch + rng.integers(0, 12, 240)
        Piece.from_ms(onset, np.full(240, 200), keys, np.full(240, 50 + 20 * number)).save(
            tmp_path / "midi" / f"{number}.mid"
        )
    settings = data.settings_of("none", form="grid", fractions={"test": 1.0})
    data.build([tmp_path / "midi"], tmp_path / "set", settings=settings, workers=1)
    return tmp_path / "set"


def test_a_model_that_plays_the_example_follows_it(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    references = draw_references(dataset, "test", 2, 6)

    def played(model: Model, prompt: Piece, *, seed: int, guidance: float, **_: Any) -> Any:
        source = references[seed] if guidance else prompt
        new = replace(source, notes=source.notes.take(source.onset_ms < 15_000))
        return SimpleNamespace(new=new, piece=new)

    monkeypatch.setattr(Model, "generate", played)
    out, rows = tmp_path / "f.json", tmp_path / "rows.csv"
    words = ["evaluate", "steering", str(dataset), "--pairs", "2", "--strengths", "2"]
    assert run([*words, "-o", str(out), "--per-piece", str(rows)]) == 0
    found = json.loads(out.read_text("utf-8"))
    assert found["model_sha256"] == arietta.load("small-conditioned").checkpoint.sha256
    assert list(found["strengths"]) == ["0", "2"]
    line = found["strengths"]["2"]
    # The example's own first seconds: its register, and nearer by its embedding.
    assert line["pitch_mean_distance"][0] < 1 and line["nearer_share"] == 1.0
    assert found["strengths"]["0"]["cosine_gain"] == [0.0, 0.0, 0.0]
    assert len(rows.read_text("utf-8").splitlines()) == 5


def test_too_few_works_are_told(dataset: Path) -> None:
    with pytest.raises(InputError, match="only 3 works"):
        draw_references(dataset, "test", 4, 0)
    assert run(["evaluate", "steering", str(dataset), "--strengths", "strong"]) == 2
