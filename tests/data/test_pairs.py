"""Pairs of scores and takes: labels, alignments that are given, files."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arietta.cli.main import run
from arietta.data import pair_sources
from arietta.data.pair_sources import given_pairs, own_pairs
from arietta.data.pairs import Pair, label, label_of, read_pairs, write_pairs
from arietta.errors import InputError
from arietta.midi.merged import MergedNotes, read_merged
from arietta.midi.note_ons import read_note_ons
from arietta.midi.notes import note_table
from arietta.midi.piece import Piece
from arietta.midi.tempo import TempoMap
from arietta.notation.reader import NOTATION, read_score
from arietta.notation.score_notes import ScoreNotes
from arietta.tokenizers.pianist import columns_of, ids_of_columns

pytest.importorskip("pyarrow")


def take_of(score: ScoreNotes, *, seed: int = 0) -> Piece:
    """Somebody plays it, slower and with a slip."""
    rng = np.random.default_rng(seed)
    onset = np.rint(score.onset_ms * 1.2 + rng.normal(0, 3, len(score)) + 50)
    order = np.argsort(onset, kind="stable")
    velocity = rng.integers(40, 90, len(score))
    return Piece.from_ms(
        onset[order], np.full(len(score), 200.0), score.pitch[order], velocity[order]
    )


@pytest.fixture(scope="module")
def score() -> ScoreNotes:
    tick = np.arange(100) * 240
    return ScoreNotes.from_piece(
        Piece(TempoMap.constant(480), note_table(tick, tick + 240, 48 + np.arange(100) % 24, 64))
    )


def test_labels_follow_the_rules() -> None:
    # Row 1 is missing; rows 2 and 3 were played the other way round.
    got = label([0, 10, 20, 30, 40], [0, -1, 2, 1, 3], [5, 95, 105, 200], [50, 60, 80, 90], [9] * 4)
    assert got.onset_ms.tolist() == [5, 50, 95, 105, 200]
    assert got.duration_ms.tolist() == [50, 65, 80, 60, 90]  # lengths stay with their own stroke
    assert got.played.tolist() == [True, False, True, True, True]


def test_the_ends_of_a_score_are_always_played() -> None:
    got = label([0, 10, 20], [-1, 0, -1], [500], [80], [70])
    assert got.onset_ms.tolist() == [500, 500, 500]
    assert got.played.all()


def test_a_gap_of_five_ends_a_segment_and_short_ones_are_dropped() -> None:
    stroke = np.arange(200)
    stroke[70:77] = -1
    stroke[150:155] = -1
    got = label(np.arange(200), stroke, np.arange(200) * 10, [5] * 200, [64] * 200)
    # The rest of the longer gap stays at the head of the next segment; 45 rows are too few.
    assert got.segments == ((0, 70), (75, 150))


def test_nothing_played_is_refused() -> None:
    with pytest.raises(InputError, match="plays no note"):
        label([0, 1], [-1, -1], [0], [1], [64])


@settings(max_examples=60)
@given(st.data())
def test_labels_are_performances(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 30))
    due = np.cumsum(data.draw(st.lists(st.integers(0, 500), min_size=n, max_size=n)))
    played = data.draw(st.lists(st.integers(0, 5_000), min_size=n, max_size=n))
    stroke = np.where(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), np.arange(n), -1)
    stroke[data.draw(st.integers(0, n - 1))] = 0
    got = label(due, stroke, played, [30] * n, [64] * n, [1, 2], [127, 0])
    assert np.all(np.diff(got.onset_ms) >= 0)
    assert np.all((got.duration_ms == 30) & (got.velocity == 64))
    assert set(got.onset_ms[got.played].tolist()) <= set(played)


def test_labels_equal_the_public_ones(shared_dir: Path) -> None:
    golden = shared_dir / "golden" / "pianist"
    cases = json.loads((golden / "manifest.json").read_text())["align"]
    assert cases
    for case in cases:
        asked, heard = (
            read_merged((golden / case[side]).read_bytes()) for side in ("score", "performance")
        )
        stroke = np.full(len(asked), -1)
        for line in (golden / case["corresp"]).read_text().splitlines()[1:]:
            cells = line.split()
            if cells[0] == "*":
                break
            if cells[5] != "*":
                stroke[int(cells[0])] = int(cells[5])
        got = label(
            asked.onset_ms,
            stroke,
            heard.onset_ms,
            heard.offset_ms - heard.onset_ms,
            heard.velocity,
            heard.pedal_ms,
            heard.pedal_value,
        )
        made = MergedNotes(
            got.onset_ms,
            got.onset_ms + got.duration_ms,
            asked.pitch,
            got.velocity,
            got.pedal_ms,
            got.pedal_value,
        )
        wanted = np.load(golden / case["npz"])
        assert [b - a for a, b in got.segments] == case["segments"]
        for number, (a, b) in enumerate(got.segments):
            ids = ids_of_columns(columns_of(made)).reshape(-1, 8)[a:b].reshape(-1)
            assert np.array_equal(ids, wanted[f"label{number}"])


def test_pairs_survive_their_file(tmp_path: Path, score: ScoreNotes) -> None:
    take = take_of(score)
    pair = Pair("a/b", score, take, np.arange(len(score)), {"split": "test", "pt_test": "1"})
    poor = Pair("a/c", score, take, np.full(len(score), -1), {"split": "test"})
    path = tmp_path / "pairs.parquet"
    assert write_pairs(path, [pair, poor]) == 2
    (again,) = read_pairs(path)
    assert again.id == "a/b" and again.about == pair.about
    for name in ("onset_tick", "duration_tick", "pitch", "velocity", "track"):
        assert np.array_equal(getattr(again.score, name), getattr(score, name))
    assert np.array_equal(again.take.onset_ms, take.onset_ms)
    assert np.array_equal(again.stroke, pair.stroke)
    assert np.array_equal(label_of(again).onset_ms, np.rint(take.onset_ms))
    assert len(list(read_pairs(path, min_match=0))) == 2
    assert not list(read_pairs(path, where={"split": "train"}))


def test_other_files_are_not_pairs(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"x\.parquet"):
        list(read_pairs(tmp_path / "x.parquet"))
    with pytest.raises(InputError, match="no pair"):
        write_pairs(tmp_path / "y.parquet", [])
    assert not (tmp_path / "y.parquet").exists()


def tar_of(path: Path, files: dict[str, bytes]) -> None:
    zstandard = pytest.importorskip("zstandard")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    path.write_bytes(zstandard.ZstdCompressor().compress(packed.getvalue()))


def test_given_alignments_are_carried_to_the_rows(tmp_path: Path) -> None:
    # The score repeats a pitch at one tick, so that its indices and our rows differ.
    written = Piece(
        TempoMap.constant(480),
        note_table([0, 0, 480, 480], [480, 960, 960, 960], [60, 60, 64, 62], 64, 0, [0, 1, 0, 0]),
    )
    played = Piece.from_ms([10, 500, 520], [100, 100, 100], [60, 62, 64], [50, 60, 70])
    head = "pair,performance_id,performance_shard,performance_path,score_table,score_midi_id,"
    head += "score_midi_shard,score_midi_path,piece_id,split,match_perf,match_score,robust,pt_test"
    rows = [
        f"pairs/{n}.csv,t,m.tar.zst,{n}.mid,scores/s.csv,s,m.tar.zst,s.mid,w,train,1,1,1,0"
        for n in ("t", "gone")
    ]
    tar_of(
        tmp_path / "asap-pairs.tar.zst",
        {
            "index.csv": "\n".join([head, *rows]).encode(),
            # Score rows in the order of the notation; mid counts by onset, then pitch.
            "scores/s.csv": b"s,pitch,mid\n0,60,0\n1,60,1\n2,64,3\n3,62,2\n4,70,-1\n",
            "pairs/t.csv": b"s,p\n0,0\n1,-1\n2,2\n3,1\n-1,1\n",
            "pairs/gone.csv": b"s,p\n0,0\n",
        },
    )
    tar_of(tmp_path / "m.tar.zst", {"s.mid": written.to_bytes(), "t.mid": played.to_bytes()})
    refused: list[tuple[str, str]] = []
    (pair,) = given_pairs(tmp_path, lambda *row: refused.append(row))
    assert pair.score.pitch.tolist() == [60, 62, 64]
    assert pair.take.notes.pitch[pair.stroke].tolist() == [60, 62, 64]
    assert pair.about["split"] == "train"
    assert refused == [("pairs/gone.csv", "gone.mid is not in m.tar.zst")]


def test_own_takes(
    tmp_path: Path, score: ScoreNotes, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(pair_sources, "align", lambda score, _: np.arange(len(score)))
    folder = tmp_path / "takes"
    for piece, files in {"one": ["my score", "a", "b"], "two": ["a"]}.items():
        (folder / piece).mkdir(parents=True)
        for name in files:
            music = score.piece if "score" in name else take_of(score)
            (folder / piece / f"{name}.mid").write_bytes(music.to_bytes())
    (folder / "one" / "c.mid").write_bytes(b"broken")
    refused: list[tuple[str, str]] = []
    found = list(own_pairs(folder, read_score, NOTATION, lambda *row: refused.append(row)))
    assert [pair.id for pair in found] == ["one/a.mid", "one/b.mid"]
    assert [name for name, _ in refused] == ["one/c.mid", "two"]
    out = tmp_path / "pairs.parquet"
    assert run(["data", "pairs", str(folder), "-o", str(out), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["pairs"], figures["segments"], len(figures["refused"])) == (2, 2, 2)
    assert run(["data", "pairs", str(folder), "-o", str(out)]) == 1  # it exists
    assert run(["data", "pairs", str(tmp_path / "no"), "-o", str(tmp_path / "x")]) == 1


def test_aligner_finds_a_slip(score: ScoreNotes) -> None:
    pytest.importorskip("parangonar")
    take = take_of(score)
    rest = take.notes.take(np.arange(len(take)) != 40)
    without = read_note_ons(Piece(take.tempo, rest).to_bytes())
    stroke = pair_sources.align(score, without)
    assert np.sum(stroke < 0) <= 2
    hit = stroke >= 0
    assert np.array_equal(without.notes.pitch[stroke[hit]], score.pitch[hit])
