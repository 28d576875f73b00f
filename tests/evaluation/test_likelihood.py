"""Held-out likelihood on models whose answers are known."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arietta.data.shards import PieceRecord, ShardWriter
from arietta.data.token_grid import NoteColumns, grid_of
from arietta.errors import InputError, UsageError
from arietta.evaluation.likelihood import (
    Recording,
    compare,
    draw_stretches,
    evaluate,
    score_stretches,
    stretches_of,
    token_kinds,
    window_ids,
)
from arietta.evaluation.recordings import midi_files, recordings
from arietta.midi.piece import Piece
from arietta.tokenizers.open import tokenizer_named
from arietta.tokenizers.vocabulary import BOS, EOS, TIME

PIANO = tokenizer_named("piano")


def recording(notes: int, name: str = "a", gap_ms: int = 310, **labels: str) -> Recording:
    at = np.arange(notes) * gap_ms
    columns = NoteColumns(at, np.full(notes, 400), 40 + np.arange(notes) % 30, np.full(notes, 70))
    return Recording(name, labels.pop("group", name), columns, labels)


def flat(ids, first: int):
    """Every token costs one bit."""
    return np.full(len(ids) - first, math.log(2))


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=300),
    st.integers(64, 200),
)
@settings(max_examples=60)
def test_stretches_cut_the_recording_into_windows_that_fit(gaps: list[int], length: int) -> None:
    onset = np.cumsum(gaps) * 250
    n = len(gaps)
    whole = NoteColumns(onset, np.full(n, 100), np.full(n, 60), np.full(n, 50))
    parts = list(stretches_of(Recording("a", "a", whole), length))
    ids = PIANO.encode_columns(onset - onset[0], *whole[1:])[2:]
    joined: list[int] = []
    for part in parts:
        window = window_ids(part, PIANO)
        assert len(window) <= length
        body = window[2:].tolist()
        # A stretch begins with its first note, whatever time went by before it.
        skipped = 0
        while ids[len(joined) + skipped] == TIME:
            skipped += 1
        joined += [TIME] * skipped + body
    assert joined == ids[: len(joined)].tolist()
    if parts[-1].ends:
        assert joined[-1] == EOS and len(joined) == len(ids)
    else:
        assert len(ids) - len(joined) <= length // 2 + 1


def test_other_vocabularies_see_the_same_notes() -> None:
    for name in ("full", "relative"):
        tokenizer = tokenizer_named(name)
        for part in stretches_of(recording(900, gap_ms=1_730), 256):
            ids = window_ids(part, tokenizer)
            assert len(ids) <= 256
            assert (token_kinds(ids, tokenizer.vocabulary) == "note").sum() == len(part.notes.pitch)


def test_every_recording_once_then_by_length_whatever_the_order() -> None:
    music = [recording(n, name) for name, n in (("a", 30), ("b", 400), ("c", 40), ("d", 400))]

    def names(count: int | None, order: int = 1) -> list[tuple[str, int]]:
        found = draw_stretches(music[::order], 128, count)
        return sorted((s.name, int(s.notes.onset_ms[0]) + int(s.ends)) for s in found)

    assert {n for n, _ in names(4)} == set("abcd") and len(names(4)) == 4
    assert len(names(2)) == 2
    assert names(9) == names(9, -1)
    assert set(names(4)) <= set(names(9)) <= set(names(None))
    starts = [draw_stretches([recording(4_000, "x")], 128, 1, seed)[0] for seed in range(8)]
    assert len({s.notes.pitch.tobytes() + s.notes.onset_ms.tobytes() for s in starts}) > 2


def test_too_small_requests_are_refused() -> None:
    with pytest.raises(UsageError, match="`length`"):
        draw_stretches([recording(9)], 20)
    with pytest.raises(UsageError, match="`windows`"):
        draw_stretches([recording(9)], 128, 0)


@pytest.mark.parametrize("name", ["piano", "full", "relative"])
def test_bits_count_what_stands_behind_the_first_note(name: str) -> None:
    tokenizer = tokenizer_named(name)
    drawn = draw_stretches([recording(20, source="x")], 128)
    scored = score_stretches(drawn, tokenizer, flat)
    table = evaluate(scored)
    # 19 further notes of three tokens, one <E>, and one <T> at five seconds.
    time = 0 if name == "relative" else 1
    assert table["notes"] == 19
    assert table["bits_per_note"] == pytest.approx((57 + 1 + time) / 19, abs=1e-3)
    assert table["nats_per_token"] == pytest.approx(math.log(2), abs=1e-4)
    assert table["tokens"] == 57 + 1 + time + (2 if name == "relative" else 3)
    assert table["nats_per_token_95"] is None  # one group says nothing of others
    kinds = table["by_kind"]
    assert ("wait" in kinds) == (name == "relative")
    parts = sum(row["bits_per_note"] for row in kinds.values())
    assert parts == pytest.approx(table["bits_per_note"], abs=0.01)
    assert table["by_source"]["x"]["notes"] == 19


def test_intervals_resample_groups() -> None:
    music = [recording(30, f"r{i}", group=f"g{i % 6}", source="ab"[i % 2]) for i in range(12)]
    scored = score_stretches(draw_stretches(music, 128), PIANO, flat)
    nats = tuple(
        n * (1 + int(s.group[1])) for n, s in zip(scored.nats, scored.stretches, strict=True)
    )
    spread = replace(scored, nats=nats)
    table = evaluate(spread, by=("source", "none"))
    low, high = table["nats_per_token_95"]
    assert low < table["nats_per_token"] < high
    assert table["groups"] == 6 and set(table["by_source"]) == {"a", "b"}
    assert table["by_none"]["-"]["windows"] == 12
    same = compare(spread, spread)
    assert same["bits_per_note"] == 0 and same["bits_per_note_95"] == [0, 0]
    better = compare(scored, spread)
    assert better["bits_per_note"] < 0 and better["percent_95"][1] < 0


def test_recordings_of_files_name_what_they_refuse(tmp_path: Path, prompts_dir: Path) -> None:
    (tmp_path / "jazz").mkdir()
    (tmp_path / "jazz" / "a.MID").write_bytes((prompts_dir / "waltz.mid").read_bytes())
    (tmp_path / "broken.mid").write_text("dear diary")
    (tmp_path / "notes.txt").write_text("dear diary")
    refused = []
    found = list(recordings([tmp_path], None, lambda p, e: refused.append((p.name, str(e)))))
    assert [r.labels["source"] for r in found] == ["jazz"]
    assert len(found[0].notes.pitch) == 341
    assert [name for name, _ in refused] == ["broken.mid"]
    with pytest.raises(UsageError, match="`split`"):
        recordings([tmp_path], "test", lambda *_: None)
    with pytest.raises(InputError, match="no such"):
        midi_files(tmp_path / "none")
    with pytest.raises(InputError, match="no MIDI"):
        (tmp_path / "empty").mkdir()
        midi_files(tmp_path / "empty")


def test_recordings_of_datasets(tmp_path: Path) -> None:
    music = recording(50).notes
    piece = Piece.from_ms(*music, metadata={"genre": "jazz"})
    with ShardWriter(tmp_path / "d", "grid") as writer:
        for split in ("train", "test"):
            writer.add(PieceRecord(f"{split}/1", split, "work", "here"), piece)
    found = list(recordings([tmp_path / "d"], "test", lambda *_: None))
    assert [(r.name, r.group, r.labels["genre"]) for r in found] == [("test/1", "work", "jazz")]
    for ours, theirs in zip(found[0].notes, grid_of(piece).columns(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len(list(recordings([tmp_path / "d"], None, lambda *_: None))) == 2
    with pytest.raises(UsageError, match="not both"):
        recordings([tmp_path / "d", tmp_path], None, lambda *_: None)


def test_backend_scores_are_those_of_the_plain_formula(prompts_dir: Path) -> None:
    from arietta.evaluation.likelihood import backend_scorer
    from arietta.models.aria.checkpoint import load
    from arietta.models.executors import cpu_backend

    backend = cpu_backend(load("small"), threads=1)
    ids = window_ids(draw_stretches([recording(40)], 128)[0], PIANO)
    nats = backend_scorer(backend, chunk=50)(ids, 2)
    session = backend.new_session()
    logits = session.head(session.append(ids[None])[0]).astype(np.float64)
    plain = [
        np.log(np.exp(logits[i - 1]).sum()) - logits[i - 1, ids[i]] for i in range(2, len(ids))
    ]
    np.testing.assert_allclose(nats, plain, atol=1e-4)
    assert ids[1] == BOS and len(nats) == len(ids) - 2
