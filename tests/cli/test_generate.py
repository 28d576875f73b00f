"""``arietta generate`` from end to end, with the shipped model."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from arietta.cli.generate import name_targets
from arietta.midi.piece import Piece
from arietta.midi.reader import read

from .conftest import Command


@pytest.fixture
def desk(tmp_path: Path, prompts_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "waltz.mid").write_bytes((prompts_dir / "waltz.mid").read_bytes())
    return tmp_path


def strikes(piece: Piece) -> list[tuple[int, int]]:
    """(onset tick, pitch) of every note, sorted."""
    return sorted(zip(piece.notes.onset_tick.tolist(), piece.notes.pitch.tolist(), strict=True))


def test_prompt_and_continuation(arietta: Command, desk: Path) -> None:
    words = "generate waltz.mid -o out.mid --prompt-seconds 8 --seconds 2 --seed 7 --json".split()
    done = arietta(*words)
    assert done.code == 0, done.err
    facts = done.json
    (row,) = facts["outputs"]
    assert row["midi"] == "out.mid" and row["wav"] is None and row["stopped"] == "seconds"
    assert facts["notes"] == row["notes"] > 0
    assert facts["realtime_factor"] > 0 and facts["first_note_seconds"] > 0
    assert facts["provenance"]["seed"] == 7 and facts["provenance"]["model"] == "small"

    prompt, whole = read("waltz.mid"), read("out.mid")
    heard = int((prompt.onset_ms <= 3200 + 8000).sum())
    assert len(whole) == heard + row["notes"]
    # Simultaneous notes are read in the order of their ends, which a restrike can bring forward.
    assert strikes(whole)[:heard] == strikes(prompt)[:heard]
    assert whole.onset_ms[heard] == pytest.approx(row["seam_ms"])
    (told,) = (text for _, text in whole.text if text.startswith("arietta "))
    assert json.loads(told.removeprefix("arietta "))["model_sha256"]

    first = Path("out.mid").read_bytes()
    assert arietta(*words, "--force").code == 0
    assert Path("out.mid").read_bytes() == first


def test_variations_with_sound(arietta: Command, desk: Path) -> None:
    done = arietta(
        *"generate waltz.mid -o a.mid --prompt-seconds 4 --seconds 1 --variations 2 --wav".split()
    )
    assert done.code == 0, done.err
    assert sorted(p.name for p in desk.iterdir()) == [
        "a-1.mid", "a-1.wav", "a-2.mid", "a-2.wav", "waltz.mid",
    ]  # fmt: skip
    assert soundfile.info("a-1.wav").duration > 4
    for words in ("a-1.mid, a-1.wav", "real time", "model", "seed"):
        assert words in done.out
    assert len(done.out.splitlines()) < 24


def test_the_seam_is_said_to_lie_where_it_lies(arietta: Command, desk: Path) -> None:
    onset = np.arange(20) * 500
    Piece.from_ms(onset, np.where(onset < 9500, 400, 4000), 60 + onset % 7, 70).save("ring.mid")
    for how, side in (("now", "in front of"), ("release", "behind")):
        done = arietta(*f"generate ring.mid --seam {how} --seconds 2 --of 1 --seed 3".split())
        (line,) = (line for line in done.out.splitlines() if line.startswith("seam"))
        assert f", {side} the prompt's last release at 13.5 s" in line


def test_only_new_bars_and_default_name(arietta: Command, desk: Path) -> None:
    words = "generate waltz.mid --prompt-seconds 5 --bars 1 --only-new --seed 3 --json".split()
    done = arietta(*words)
    assert done.json["outputs"][0]["midi"] == "waltz-continued-1.mid"
    piece = read("waltz-continued-1.mid")
    assert len(piece) == done.json["notes"] and piece.notes.onset_tick.min() == 0
    place = done.json["outputs"][0]["place"]
    assert place.startswith("0:") and f"place at {place}" in done.err  # played without a metre
    assert done.json["music_seconds"] < 2 + 10  # one bar of 4/4 at 120, and a note's length


def test_like_another_file(arietta: Command, desk: Path) -> None:
    words = ["generate", "waltz.mid", "--prompt-seconds", 4, "--seconds", 2, "--seed", 1, "--json"]
    nocturne, jazz = (f"arietta/assets/prompts/{n}.mid" for n in ("nocturne", "smooth_jazz"))
    made = {}
    for name, reference in (("a", nocturne), ("b", jazz), ("c", jazz)):
        file = Path(__file__).resolve().parents[2] / reference
        done = arietta(*words, "-o", f"{name}.mid", "--like", file, "--guidance", 6)
        assert done.code == 0, done.err
        used = done.json["provenance"]
        assert used["model"] == "small-conditioned" and used["guidance"] == 6
        assert used["like"] == file.name
        made[name] = read(desk / f"{name}.mid").notes.pitch.tolist()
    assert made["a"] != made["b"] == made["c"]
    assert arietta(*words, "-o", "d.mid", "--guidance", 2).code == 2
    refused = arietta(*words, "-o", "d.mid", "--like", "waltz.mid", "--model", "small")
    assert refused.code == 1 and "has not learned to resemble" in refused.err


def test_from_scratch(arietta: Command, desk: Path) -> None:
    done = arietta(*"generate --seconds 1 --style chopin --temperature 0.5 --seed 5".split())
    assert done.code == 0 and (desk / "improvised-1.mid").exists()
    assert "from scratch" in done.out


def test_a_prompt_longer_than_the_context_is_cut_and_said(
    arietta: Command, desk: Path, prompts_dir: Path
) -> None:
    words = ["-o", "out.mid", "--seconds", "1", "--seed", "1", "--json"]
    done = arietta("generate", prompts_dir / "pokey_jazz.mid", *words)
    assert done.code == 0
    assert "longer than the model's context" in done.err
    assert done.json["notices"]
    assert len(read("out.mid")) == 1980 + done.json["notes"]


def test_ctrl_c_keeps_what_was_decided(desk: Path) -> None:
    words = ["generate", "waltz.mid", "-o", "out.mid", "--seconds", "3000", "--json"]
    with subprocess.Popen(
        [sys.executable, "-m", "arietta", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        time.sleep(6)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err and "stopped" in err
    if out:  # a very slow machine may have been stopped before the first note
        facts = json.loads(out)
        assert facts["interrupted"] and facts["outputs"][0]["stopped"] == "cancelled"
        assert len(read("out.mid")) == 341 + facts["notes"]
    assert sorted(p.name for p in desk.iterdir())[-1] == "waltz.mid"


def test_names_of_variations() -> None:
    assert [t.midi.name for t in name_targets(Path("x/a.mid"), 1, wav=False)] == ["a.mid"]
    many = name_targets(Path("x/a.b.mid"), 10, wav=True)
    assert str(many[0].midi) == "x/a.b-01.mid" and str(many[9].wav) == "x/a.b-10.wav"
