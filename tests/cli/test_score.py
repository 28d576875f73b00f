"""``arietta score`` and ``arietta evaluate likelihood``."""

from __future__ import annotations

import csv
import json
import struct
from pathlib import Path

import numpy as np
import pytest

from arietta.api.evaluate.likelihood import NGRAMS
from arietta.data.shards import PieceRecord, ShardWriter
from arietta.midi.reader import read

from .conftest import Command


def test_score_writes_every_note(arietta: Command, prompts_dir: Path, tmp_path: Path) -> None:
    source = prompts_dir / "waltz.mid"
    outputs = [tmp_path / f"a.{suffix}" for suffix in ("json", "csv", "png")]
    words = [word for path in outputs for word in ("-o", path)]
    done = arietta("score", source, "--quick", *words, "--top", 5, "--json")
    assert done.code == 0, done.err
    assert done.json["notes"] == 341 and len(done.json["top"]) == 5
    whole = json.loads(outputs[0].read_text())
    piece = read(source)
    assert [n["pitch"] for n in whole["notes"]] == piece.notes.pitch.tolist()
    np.testing.assert_allclose(
        [n["onset_s"] for n in whole["notes"]], piece.onset_ms / 1000, atol=1e-3
    )
    bits = [n["bits"] for n in whole["notes"]]
    assert [n["bits"] for n in whole["top"]] == sorted(bits, reverse=True)[:5]
    parts = ("pitch_bits", "velocity_bits", "onset_bits", "duration_bits", "time_bits")
    assert sum(whole["notes"][7][p] for p in parts) == pytest.approx(bits[7], abs=0.05)
    rows = list(csv.DictReader(outputs[1].read_text().splitlines()))
    assert [float(row["bits"]) for row in rows] == bits
    header = outputs[2].read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">2I", header[16:])[0] == 1430


def test_score_lists_suspects(arietta: Command, prompts_dir: Path) -> None:
    done = arietta("score", prompts_dir / "waltz.mid", "--top", 3)
    assert done.code == 0 and "341 notes" in done.out
    head, *rows = done.out.splitlines()[1:]
    assert "suspicion" in head and "looks like" in head and len(rows) == 3
    shares = [int(row.split("%")[0].split()[-1]) for row in rows]
    assert shares == sorted(shares, reverse=True)
    by_bits = arietta("score", prompts_dir / "waltz.mid", "--quick", "--json").json["top"]
    assert [n["bits"] for n in by_bits] == sorted((n["bits"] for n in by_bits), reverse=True)
    assert "suspicion" not in by_bits[0]


def test_likelihood_of_files(arietta: Command, prompts_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "music").mkdir()
    for name in ("waltz.mid", "nocturne.mid"):
        (tmp_path / "music" / name).write_bytes((prompts_dir / name).read_bytes())
    (tmp_path / "music" / "broken.mid").write_text("dear diary")
    target = tmp_path / "a.json"
    words = ["evaluate", "likelihood", tmp_path / "music", "--length", 256, "--windows", 4]
    rows = tmp_path / "rows.csv"
    done = arietta(
        *words, "--ngram", tmp_path / "music", "-o", target, "--per-piece", rows, "--json"
    )
    assert done.code == 0, done.err
    assert done.json == json.loads(target.read_text())
    assert [r["file"].rsplit("/")[-1] for r in done.json["refused"]] == ["broken.mid"]
    small, five = done.json["models"]["small"], done.json["models"]["5-gram"]
    assert small["windows"] == 4 and small["groups"] == 2
    assert 1.5 < small["nats_per_token"] < 4.5
    assert five["against_first"]["bits_per_note"] == pytest.approx(
        five["bits_per_note"] - small["bits_per_note"], abs=0.01
    )
    # Back-off by kind puts no weight on what cannot come; on waits, bits per note still compare.
    models = done.json["models"]
    assert list(models)[1:] == list(NGRAMS)
    assert models["5-gram by kind"]["nats_per_token"] < five["nats_per_token"]
    assert models["5-gram by kind, on waits"]["vocabulary"] == "relative-piano"
    pieces = list(csv.DictReader(rows.read_text("utf-8").splitlines()))
    mine = [row for row in pieces if row["model"] == "small"]
    assert len(mine) == 2 and len(pieces) == 2 * len(models)
    bits, notes = (sum(float(row[name]) for row in mine) for name in ("bits", "notes"))
    assert bits / notes == pytest.approx(small["bits_per_note"], abs=1e-3)
    text = arietta(*words)
    assert f"{small['nats_per_token']:.3f}" in text.out and "left out" in text.err
    assert all(word in text.out for word in ("duration", "source", "music"))
    bare = arietta(*words, "--by", "none", "--json").json["models"]["small"]
    assert not any(key.startswith("by_") for key in bare)


def test_likelihood_of_a_dataset(arietta: Command, prompts_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "d"
    with ShardWriter(folder, "pieces") as writer:
        for split, name in (("train", "nocturne"), ("test", "waltz"), ("test", "classical")):
            metadata = {"genre": "classical"} if name == "waltz" else {}
            writer.add(
                PieceRecord(name, split, name, "x", metadata), read(prompts_dir / f"{name}.mid")
            )
    words = ["evaluate", "likelihood", folder, "--length", 128, "--windows", 4, "--json"]
    done = arietta(*words, "--by", "genre", "--ngram", folder)
    assert done.code == 0, done.err
    table = done.json["models"]["small"]
    assert done.json["split"] == "test" and table["groups"] == 2
    assert set(table["by_genre"]) == {"classical", "-"} and "by_kind" not in table
    assert arietta(*words, "--split", "all").json["models"]["small"]["groups"] == 3


BAD = [
    ("score none.mid", 1, "none.mid"),
    ("score text.mid", 1, "text.mid"),
    ("score empty.mid", 1, "no notes"),
    ("score waltz.mid -o there.csv", 1, "--force"),
    ("score waltz.mid -o a.pdf", 2, ".png"),
    ("score waltz.mid -o no/a.png", 1, "make it first"),
    ("score waltz.mid --quick --by suspicion", 2, "--quick"),
    ("score waltz.mid --by colour", 2, "--by"),
    ("score waltz.mid --top -1", 2, "--top"),
    ("score waltz.mid --model smal", 1, "did you mean small"),
    ("evaluate likelihood none", 1, "none"),
    ("evaluate likelihood text.mid", 1, "nothing to score"),
    ("evaluate likelihood waltz.mid --split test", 2, "--split"),
    ("evaluate likelihood waltz.mid --length 9", 2, "--length"),
    ("evaluate likelihood waltz.mid --length 9000", 2, "2048"),
    ("evaluate likelihood waltz.mid --windows -1", 2, "--windows"),
    ("evaluate likelihood waltz.mid --device tpu", 2, "cuda"),
    ("evaluate likelihood waltz.mid --precision int2", 2, "int8"),
    ("evaluate likelihood waltz.mid --model smal", 1, "did you mean small"),
    ("evaluate likelihood waltz.mid -o there.csv", 1, "--force"),
    ("evaluate likelihood dataset", 1, "dataset"),
    ("evaluate nothing", 2, "nothing"),
]


@pytest.mark.parametrize(("command", "code", "words"), BAD, ids=[row[0] for row in BAD])
def test_bad_requests(
    arietta: Command,
    prompts_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "waltz.mid").write_bytes((prompts_dir / "waltz.mid").read_bytes())
    (tmp_path / "text.mid").write_text("dear diary")
    (tmp_path / "empty.mid").write_bytes(b"MThd\0\0\0\6\0\0\0\1\1\xe0MTrk\0\0\0\4\0\xff\x2f\0")
    (tmp_path / "there.csv").write_text("mine")
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "dataset.json").write_text("{}")
    before = sorted(tmp_path.iterdir())
    done = arietta(*command.split())
    assert done.code == code, done.err
    *notes, last = done.err.splitlines()
    assert last.startswith("arietta: error: ") and words in last and "fault of ours" not in last
    assert all("left out" in line for line in notes)
    assert not done.out and sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "there.csv").read_text() == "mine"
