"""``arietta render``, and the tokenizer of its models."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from arietta.midi.notes import note_table
from arietta.midi.piece import Piece
from arietta.midi.reader import read
from arietta.midi.tempo import TempoMap
from arietta.notation.reader import read_score

from .conftest import Command

GOLDEN = Path(__file__).parents[1] / "golden" / "pianist"
TINY = ["--model", GOLDEN / "model", "--precision", "f32", "--threads", 1]


@pytest.fixture
def score(tmp_path: Path) -> Path:
    tick = np.arange(24) * 240
    notes = note_table(tick, tick + 240, 60 + np.arange(24) % 12, 64, 0, np.arange(24) % 2)
    Piece(TempoMap.constant(480), notes).save(tmp_path / "score.mid")
    return tmp_path / "score.mid"


def pitches(path: Path) -> list[int]:
    return sorted(read(path).notes.pitch.tolist())


def said(path: Path) -> dict:
    ((_, text),) = read(path).text
    return json.loads(text.removeprefix("arietta "))


def test_by_rule(arietta: Command, score: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = arietta("render", score, "--seed", 4, "--model", "rules")
    assert done.code == 0, done.err
    assert "score-played.mid: 24 notes" in done.out and "seed 4" in done.out
    assert pitches(tmp_path / "score-played.mid") == pitches(score)
    assert said(tmp_path / "score-played.mid")["model"] == "rules"
    again = arietta("render", score)
    assert again.code == 1 and "--force" in again.err


def test_by_the_model_that_ships(arietta: Command, score: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.mid"
    done = arietta("render", score, "-o", out, "--seed", 4, "--editable")
    assert done.code == 0, done.err
    assert said(out)["model"] == "performer" and pitches(out) == pitches(score)
    velocity = read(out).notes.velocity.astype(float)
    assert velocity.std() > 3 and 30 < velocity.mean() < 100
    refused = arietta("render", score, "-o", tmp_path / "b.mid", "--top-k", 3)
    assert refused.code == 2 and "it takes --temperature" in refused.err


def test_a_score_in_notation(arietta: Command, golden_dir: Path, tmp_path: Path) -> None:
    pytest.importorskip("verovio")
    out = tmp_path / "a.mid"
    score = golden_dir / "scores" / "small.musicxml"
    done = arietta("render", score, "-o", out, "--editable", "--seed", 1, "--json")
    assert done.code == 0, done.err
    played = read(out)
    assert len(played) == done.json["notes"] > 12  # the repeat is played, the trill played out
    assert played.time_signatures[0][1:] == read_score(score).time_signatures[0][1:]
    assert len(set(played.tempo.us_per_quarter.tolist())) > 2
    assert len(set(played.notes.velocity.tolist())) > 2


def test_by_model(arietta: Command, score: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.mid"
    words = ["render", score, "-o", out, *TINY, "--seed", 7, "--variations", 2]
    done = arietta(*words, "--temperature", 0.9, "--top-p", 0.8, "--top-k", 0, "--json")
    assert done.code == 0, done.err
    assert [Path(row["midi"]).name for row in done.json["outputs"]] == ["a-1.mid", "a-2.mid"]
    assert all(row["performed"] == row["notes"] == 24 for row in done.json["outputs"])
    settings = {"temperature": 0.9, "top_p": 0.8, "top_k": 0}
    assert done.json["provenance"]["settings"] == settings
    first, second = (tmp_path / f"a-{i}.mid" for i in (1, 2))
    assert pitches(first) == pitches(second) == pitches(score)
    assert first.read_bytes() != second.read_bytes()
    before = second.read_bytes()
    words = [*words, "--temperature", 0.9, "--top-p", 0.8, "--top-k", 0, "--force"]
    assert arietta(*words).code == 0
    assert second.read_bytes() == before


def test_editable_keeps_the_tracks(arietta: Command, score: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.mid"
    words = ["--editable", "--dynamics", "left=0,right=2", "--steady", "1-2", "--rubato", 1.5]
    assert arietta("render", score, "-o", out, *words, "--seed", 1).code == 0
    piece = read(out)
    assert set(piece.notes.track.tolist()) == {0, 1}
    controls = said(out)["controls"]
    assert controls["dynamics"] == {"left": 0, "right": 2}
    assert controls["rubato"] == 1.5 and controls["steady_bars"] == [[1, 2]]


def test_sound(arietta: Command, score: Path, tmp_path: Path) -> None:
    done = arietta("render", score, "-o", tmp_path / "a.mid", "--wav", "--json")
    assert done.code == 0 and (tmp_path / "a.wav").read_bytes()[:4] == b"RIFF"
    assert done.json["outputs"][0]["wav"].endswith("a.wav")


def test_what_is_stopped_is_kept(
    arietta: Command, score: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from arietta.rendering.blocks import BlockRender

    asked = []
    real = BlockRender.progress

    def after_five(self):
        asked.append(1)
        if len(asked) == 5:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGINT)
        return real(self)

    monkeypatch.setattr(BlockRender, "progress", after_five)
    done = arietta("render", score, "-o", tmp_path / "a.mid", *TINY, "--json")
    assert done.code == 130 and done.json["interrupted"]
    assert 5 <= done.json["outputs"][0]["performed"] < 24
    assert pitches(tmp_path / "a.mid") == pitches(score)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("none.mid", 1, "cannot be read"),
        ("score.mid -o out.wav", 2, "call it out.mid"),
        ("score.mid --variations 0", 2, "--variations"),
        ("score.mid --model rules --temperature 0.5", 2, "rules have none"),
        ("score.mid --model rules --top-k 3", 2, "rules have none"),
        ("score.mid --model x.safetensors", 1, "no such checkpoint"),
        ("score.mid --model small", 1, "a pianist model is needed"),
        ("score.mid --dynamics loud", 2, "--dynamics"),
        ("score.mid --rubato 9", 2, "--rubato"),
        ("score.mid --pedal -1", 2, "--pedal"),
        ("score.mid --steady 90-91", 2, "the score has"),
        ("score.mid --dynamics flute=1", 2, "not in this score"),
        ("score.mid --seed -1", 2, "--seed"),
        ("drums.mid", 1, "only drums"),
    ],
)
def test_refusals_leave_nothing_behind(
    arietta: Command, score: Path, tmp_path: Path, monkeypatch, words: str, code: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Piece(TempoMap.constant(480), note_table([0], [480], [36], 64, 9)).save("drums.mid")
    done = arietta("render", *words.split())
    assert done.code == code and message in done.err, done.err
    assert len(done.err.splitlines()) <= 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["drums.mid", "score.mid"]


def test_ids_of_a_score_and_back(arietta: Command, score: Path, tmp_path: Path) -> None:
    done = arietta("tokenize", score, "--tokenizer", "pianist", "--json")
    assert done.code == 0 and len(done.json["ids"]) == 8 * 24
    assert done.json["tokens"][:2] == [["pitch", 60], ["ms", 0]]
    strict = arietta("tokenize", score, "--tokenizer", "pianist", "--compat", "pianist", "--json")
    assert strict.json["ids"] == done.json["ids"]
    ids = tmp_path / "ids.json"
    ids.write_text(done.out)
    back = arietta("detokenize", ids, "-o", tmp_path / "b.mid", "--tokenizer", "pianist")
    assert back.code == 0 and pitches(tmp_path / "b.mid") == pitches(score)


@pytest.mark.parametrize(
    "words",
    ["--tokenizer pianist --compat aria", "--compat pianist", "--tokenizer pianist --prefix x"],
)
def test_tokenizer_options_that_contradict(arietta: Command, score: Path, words: str) -> None:
    done = arietta("tokenize", score, *words.split())
    assert done.code == 2 and "go with" in done.err
