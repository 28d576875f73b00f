"""Measures of renderings: the public figures, and what notes have to say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from arietta.cli.main import run
from arietta.data.pairs import Pair, Played, write_pairs
from arietta.evaluation.rendering import (
    FEATURES,
    agreement,
    consensus,
    distance,
    distribution_table,
    evaluate,
    evaluate_humans,
    histograms,
    match_rendering,
    played_rows,
)
from arietta.evaluation.testsets import load_test_set, of_pairs, rendering_of
from arietta.midi.merged import MergedNotes, merge_tracks, read_merged
from arietta.midi.notes import note_table
from arietta.midi.piece import Piece
from arietta.midi.tempo import TempoMap
from arietta.notation.score_notes import ScoreNotes, deadpan
from arietta.rendering.rules import RuleRenderer


def tune(shift: int = 0, source: str | None = None) -> ScoreNotes:
    tick = np.repeat(np.arange(60) * 240, 2)
    pitch = np.stack((60 + shift + np.arange(60) * 5 % 12, 40 + np.arange(60) % 5), 1).reshape(-1)
    notes = note_table(tick, tick + 240, pitch, 64)
    return ScoreNotes.from_piece(Piece(TempoMap.constant(480), notes, source=source))


def take(score: ScoreNotes, seed: int) -> Piece:
    return RuleRenderer(seed=seed).perform(score).to_piece(score)


def test_public_histograms(shared_dir: Path) -> None:
    golden = shared_dir / "golden" / "pianist"
    expected = np.load(golden / "metrics" / "histograms.npz")
    for kind in ("score", "performance", "human"):
        for row, name in enumerate(expected[f"{kind}_names"].tolist()[::9]):
            path = golden / "testset" / kind / f"{Path(name).stem}.mid"
            counts = histograms(read_merged(path.read_bytes()))
            for feature in FEATURES:
                assert np.array_equal(expected[f"{kind}_{feature}"][row * 9], counts[feature])


def test_public_anchor(shared_dir: Path) -> None:
    golden = shared_dir / "golden" / "pianist"
    stored = np.load(golden / "metrics" / "histograms.npz")
    rows = {
        kind: {
            Path(name).stem: {f: stored[f"{kind}_{f}"][i] for f in FEATURES}
            for i, name in enumerate(stored[f"{kind}_names"].tolist())
        }
        for kind in ("score", "performance", "human")
    }
    for kind, overall in (("performance", (0.1633, 0.8483)), ("score", (0.6577, 0.3262))):
        table = distribution_table(
            (rows[kind][name.split("-")[0]], counts) for name, counts in rows["human"].items()
        )
        assert round(table["overall"].distance, 4) == overall[0]
        assert round(table["overall"].intersection, 4) == overall[1]


def test_histograms_of_a_few_notes() -> None:
    notes = MergedNotes(
        np.array([0, 100, 100, 900]),
        np.array([499, 600, 101, 1000]),
        np.array([60, 62, 64, 65]),
        np.array([1, 127, 64, 64]),
        np.array([110, 500]),
        np.array([127, 0]),
    )
    counts = histograms(notes)
    assert np.flatnonzero(counts["velocity"]).tolist() == [1, 64, 127]
    assert np.flatnonzero(counts["duration"]).tolist() == [0, 50, 249]  # 500 ms is left out
    assert np.flatnonzero(counts["ioi"]).tolist() == [0, 100]  # 800 ms is left out
    # The third note is followed after 800 ms: pedal at 300 ms only, the second of four samples.
    assert counts["pedal"][0b0100] == 1


def test_distance_is_the_square_root_of_the_divergence() -> None:
    same = distance([1, 2, 3], [2, 4, 6])
    assert same.distance == pytest.approx(0, abs=1e-6) and same.intersection == pytest.approx(1)
    apart = distance([1, 0], [0, 1])
    assert apart.distance == pytest.approx(1) and apart.intersection == pytest.approx(0, abs=1e-8)
    some = distance([3, 1], [1, 1])
    assert some.distance**2 == pytest.approx(some.divergence)


def test_agreement_says_what_agrees() -> None:
    score = tune()
    one = played_rows(score, RuleRenderer(seed=1).perform(score))
    assert agreement(score.onset_tick, one, one) == pytest.approx((1, 1, 1))
    # Slower as a whole, softer as a whole, everything shorter: the same expression.
    other = Played(one.onset_ms * 1.5 + 99, one.duration_ms * 0.7, one.velocity / 2)
    assert agreement(score.onset_tick, one, other) == pytest.approx((1, 1, 1))
    mirrored = Played(one.onset_ms, one.duration_ms, 127 - one.velocity)
    assert agreement(score.onset_tick, one, mirrored).velocity == pytest.approx(-1)
    gone = one.onset_ms.copy()
    gone[::7] = np.nan  # rows that nobody played do not count
    assert agreement(score.onset_tick, one._replace(onset_ms=gone), one).velocity == pytest.approx(
        1
    )


def test_who_never_varies_agrees_with_nobody() -> None:
    score = tune()
    flat = played_rows(score, deadpan(score))
    human = played_rows(score, RuleRenderer().perform(score))
    assert agreement(score.onset_tick, flat, human)[:2] == (0, 0)
    assert np.isnan(agreement(score.onset_tick, human, flat).velocity)


def test_renderings_of_others_are_matched_to_the_rows() -> None:
    score = tune()
    performed = RuleRenderer(seed=2).perform(score)
    found = match_rendering(score, performed.to_piece(score))
    assert np.abs(found.onset_ms - performed.onset_ms).max() < 1
    piece = performed.to_piece(score)
    keep = np.arange(len(piece)) != 50
    short = match_rendering(score, Piece(piece.tempo, piece.notes.take(keep)))
    (missing,) = np.flatnonzero(np.isnan(short.onset_ms))
    assert score.pitch[missing] == piece.notes.pitch[50]
    assert np.nanmax(np.abs(short.onset_ms - performed.onset_ms)) < 1


def pairs_of(score: ScoreNotes, name: str, seeds: range) -> list[Pair]:
    out = []
    for seed in seeds:
        performed = RuleRenderer(seed=seed).perform(score)
        piece = performed.to_piece(score)
        stroke = np.empty(len(score), np.int64)
        order = np.lexsort((score.pitch, np.rint(performed.onset_ms)))
        stroke[order] = np.lexsort((piece.notes.pitch, piece.notes.onset_tick))
        about = {"score_sha256": name, "performance_sha256": f"{name}{seed}"}
        out.append(Pair(f"pairs/{name}/{seed}.csv", score, piece, stroke, about))
    return out


def test_a_test_set_of_pairs() -> None:
    pieces = of_pairs(
        [
            *pairs_of(tune(), "a", range(3)),
            *pairs_of(tune(3), "b", range(2)),
            *pairs_of(tune(5), "c", range(1)),
        ]
    )
    assert [(piece.name, len(piece.takes)) for piece in pieces] == [("a", 3), ("b", 2), ("c", 1)]
    rules = evaluate(
        pieces,
        {p.name: [rendering_of(p.score, RuleRenderer(seed=9).perform(p.score))] for p in pieces},
    )
    written = evaluate(pieces, {piece.name: [piece.as_written()] for piece in pieces})
    humans = evaluate_humans(pieces, draws=5)
    assert rules["aligned"]["takes"] == 6 and humans["aligned"]["takes"] == 4
    assert rules["aligned"]["velocity"] > 0.8 > written["aligned"]["velocity"] == 0
    assert rules["files"]["velocity"]["distance"] < written["files"]["velocity"]["distance"]
    # One piece has three takes; their mean is nearer to each than another one is.
    assert humans["leave_one_out"]["takes"] == 3
    assert humans["leave_one_out"]["velocity"] > humans["by_piece"]["a"]["velocity"]
    assert humans["aligned"]["pieces"] == 2 and set(humans["by_piece"]) == {"a", "b"}


def test_scores_of_one_folder_stay_apart() -> None:
    one, other = (pairs_of(tune(seed), "a", range(2)) for seed in (0, 3))
    assert len(one[0].score) == len(other[0].score)  # so that mixing them would not be seen
    unnamed = [replace(pair, about={}) for pair in (*one, *other)]
    named = [
        replace(pair, about={"score_sha256": str(number)})
        for number, pairs in enumerate((one, other))
        for pair in pairs
    ]
    for pairs in (named, unnamed):
        pieces = of_pairs(pairs)
        assert [(piece.name, len(piece.takes)) for piece in pieces] == [("a", 2), ("a 2", 2)]
        rendered = {p.name: [p.as_written()] for p in pieces}
        assert evaluate(pieces, rendered)["aligned"]["takes"] == 4


def test_a_take_of_another_piece_is_named() -> None:
    pairs = pairs_of(tune(), "a", range(2))
    wrong = replace(pairs[1], id="pairs/a/wrong.csv", stroke=pairs[1].stroke.copy())
    wrong.stroke[: round(0.87 * len(wrong.stroke))] = -1
    refused: list[tuple[str, str]] = []
    (piece,) = of_pairs([pairs[0], wrong], lambda *row: refused.append(row))
    assert len(piece.takes) == 1
    ((name, reason),) = refused
    assert name == "pairs/a/wrong.csv" and "another piece" in reason and "13%" in reason


def test_consensus_is_what_takes_have_in_common() -> None:
    pieces = of_pairs([*pairs_of(tune(), "a", range(6)), *pairs_of(tune(3), "b", range(4))])
    people = consensus(pieces)
    assert people["pieces"] == 1  # the other piece has too few takes
    score = pieces[0].score
    one = RuleRenderer(seed=9).perform(score)
    mirrored = replace(one, velocity=(127 - one.velocity).astype(np.uint8))
    found = [
        consensus(pieces, {"a": [rendering_of(score, played)]})["velocity"]
        for played in (one, mirrored)
    ]
    assert found[0] > 0.5 > found[1] == 0 and people["velocity"] > 0.5
    assert consensus(pieces, {"a": [pieces[0].as_written()]})["inter_onset"] == 0


def test_copies_count_once() -> None:
    pairs = pairs_of(tune(), "a", range(2))
    copy = Pair("pairs/a/9.csv", pairs[0].score, pairs[0].take, pairs[0].stroke, pairs[0].about)
    (piece,) = of_pairs([*pairs, copy])
    assert (len(piece.takes), len(piece.distinct())) == (3, 2)


def test_folder_and_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyarrow")
    for name in ("score", "human", "theirs"):
        (tmp_path / name).mkdir()
    pairs = []
    for number in range(3):
        score = tune(number)
        data = score.piece.to_bytes()
        (tmp_path / "score" / f"{number}.mid").write_bytes(data)
        (tmp_path / "theirs" / f"{number}.mid").write_bytes(take(score, 5).to_bytes())
        pairs += pairs_of(score, str(number), range(2))
        for seed in range(2):
            human = tmp_path / "human" / f"{number}-{seed}.mid"
            human.write_bytes(take(score, seed).to_bytes())
    write_pairs(tmp_path / "pairs.parquet", pairs)
    command = ["evaluate", "rendering", str(tmp_path), f"--renderings=theirs={tmp_path / 'theirs'}"]
    assert run([*command, "--json", "-o", str(tmp_path / "f.json")]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures == json.loads((tmp_path / "f.json").read_text())
    assert list(figures["systems"]) == [
        "score as is",
        "rules",
        "performer",
        "theirs",
        "human vs human",
    ]
    assert figures["systems"]["theirs"]["aligned"]["takes"] == 0  # nobody said how they align
    assert run(command) == 0
    assert "give --pairs" in capsys.readouterr().out
    assert run(["evaluate", "rendering", str(tmp_path / "pairs.parquet")]) == 0
    assert "human vs human" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["nowhere"], 1),
        (["."], 1),
        (["p.parquet", "--model", "nobody"], 1),
        (["p.parquet", "--renderings", "x"], 2),
        (["p.parquet", "--renderings", "x=."], 1),
    ],
)
def test_requests_that_cannot_be_met(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int
) -> None:
    pytest.importorskip("pyarrow")
    monkeypatch.chdir(tmp_path)
    write_pairs("p.parquet", pairs_of(tune(), "a", range(1)))
    assert run(["evaluate", "rendering", *words]) == code


def test_alignments_come_by_content(shared_dir: Path, tmp_path: Path) -> None:
    folder = shared_dir / "golden" / "pianist" / "testset"
    for kind in ("score", "human"):
        (tmp_path / kind).mkdir()
    for name in ("score/3.mid", "human/3-0.mid"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (piece,) = load_test_set(tmp_path)
    assert len(piece.score) == 524 and piece.takes[0].played is None
    assert merge_tracks(piece.score.piece).pitch.tolist() == piece.score.pitch.tolist()
