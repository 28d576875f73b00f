"""Rows for training: what is in them, that they repeat, and that a place is found again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arietta.data.shards import (
    Dataset,
    PieceRecord,
    RowGroups,
    ShardWriter,
    open_dataset,
    read_grid,
)
from arietta.data.token_grid import GridNotes
from arietta.errors import InputError, UsageError
from arietta.midi.piece import Piece
from arietta.tokenizers.open import tokenizer_named
from arietta.training.rows.augment import Ranges
from arietta.training.rows.stream import (
    Chunk,
    LoaderSettings,
    Mode,
    RowStream,
    chosen,
    cut_piece,
    glue,
    validation_rows,
)

MODES = get_args(Mode)
NAMES = ("piano", "full", "relative-piano", "relative")
TAGS = {"composer": "chopin", "genre": "classical"}
PLAIN = LoaderSettings(seq_len=64, augment=None, block_pieces=4)


def notes_of(n: int, seed: int) -> GridNotes:
    rng = np.random.default_rng(seed)
    return GridNotes(
        np.append(0, rng.geometric(0.04, n - 1) - 1).astype(np.int32),
        rng.integers(1, 501, n).astype(np.uint16),
        rng.integers(21, 109, n).astype(np.uint8),
        rng.integers(1, 13, n).astype(np.uint8),
        TAGS,
    )


Make = Callable[..., Dataset]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A dataset whose pieces have so many notes each."""

    def built(lengths: list[int], split: str = "train", rows_per_group: int = 2) -> Dataset:
        folder = tmp_path / f"{split}{len(list(tmp_path.iterdir()))}"
        with ShardWriter(folder, "grid", rows_per_group=rows_per_group, rows_per_shard=6) as writer:
            for i, n in enumerate(lengths):
                writer.add(PieceRecord(f"p{i}", split), notes_of(n, i))
        return open_dataset(folder)

    return built


def take(stream: RowStream, n: int) -> list[list[int]]:
    return [next(stream).tolist() for _ in range(n)]


def epoch_of(dataset: Dataset, settings: LoaderSettings) -> list[np.ndarray]:
    stream = RowStream(dataset, "train", settings)
    rows = []
    for row in stream:
        if stream.epoch > 1:
            return rows
        rows.append(row)
    raise AssertionError


def is_note(rows: np.ndarray, name: str) -> np.ndarray:
    vocab = tokenizer_named(name).vocabulary
    return (rows >= vocab.note_start) & (rows < vocab.drum_start)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", MODES)
def test_an_epoch_holds_every_note(make: Make, mode: Mode, name: str) -> None:
    lengths = [1, 300, 20, 90, 7, 150, 40]
    settings = replace(PLAIN, mode=mode, tokenizer=name)
    rows = np.stack(epoch_of(make(lengths), settings))
    assert rows.dtype == np.int32 and rows.shape[1] == 65
    seen = int(is_note(rows, name).sum())
    # A note that a row breaks off in is told again; what fills no row is carried over.
    assert seen <= sum(lengths) + len(rows)
    assert seen >= sum(lengths) - (0 if mode == "separate" else 65)
    kinds = tokenizer_named(name).vocabulary.kinds
    assert rows.max() < len(kinds) - 1


@pytest.mark.parametrize("name", NAMES)
def test_packed_rows_are_the_pieces_glued(make: Make, name: str) -> None:
    dataset = make([30, 45, 60, 10])
    settings = replace(PLAIN, mode="packed", tokenizer=name, tag_share=0.0, seq_len=32)
    tokenizer = tokenizer_named(name)
    stream = RowStream(dataset, "train", replace(settings, block_pieces=99))
    # One block holds all, and its rows come shuffled: line them up again by their overlap-free cut.
    rows = epoch_of(dataset, replace(settings, block_pieces=99))
    block = stream._build(0, [])
    assert sorted(r.tolist() for r in rows) == sorted(r.tolist() for r in block.rows)
    pieces = {
        f"p{i}": tokenizer.encode_columns(*notes_of(n, i).columns()).tolist()
        for i, n in enumerate([30, 45, 60, 10])
    }
    joined = [t for row in block.rows.tolist() for t in row if t != tokenizer.dim]
    counted = sum(len(p) for p in pieces.values())
    left = sum(int((c.ids != tokenizer.dim).sum()) for c in block.left)
    assert len(joined) + left == counted
    assert sum(t == tokenizer.eos for t in joined) >= 3


def test_aligned_rows_begin_like_a_prompt(make: Make) -> None:
    dataset = make([2000])
    for name in NAMES:
        tokenizer = tokenizer_named(name)
        vocab = tokenizer.vocabulary
        rows = epoch_of(dataset, replace(PLAIN, tokenizer=name, tag_share=0.0))
        begun = [r for r in rows if r[0] == vocab.instrument_start and r[1] == tokenizer.bos]
        assert len(begun) >= len(rows) - 2  # the glued ends begin wherever they fall
        for row in begun:
            assert (
                not vocab.dur_start
                <= row[2]
                < (vocab.onset_start if vocab.relative else vocab.pedal_start)
            )


@pytest.mark.parametrize("name", ["piano", "relative-piano"])
def test_separate_rows_hold_one_piece_and_end_it(make: Make, name: str) -> None:
    lengths = [5, 60, 200]
    tokenizer = tokenizer_named(name)
    settings = replace(PLAIN, mode="separate", seq_len=256, tokenizer=name, tag_share=1.0)
    stream = RowStream(make(lengths), "train", settings)
    rows = {}
    while stream.epoch < 1:
        row = next(stream)
        (piece,) = stream.names
        rows.setdefault(piece, []).append(row)
        used = int((row != tokenizer.pad).sum())
        assert (row[used:] == tokenizer.pad).all()
        assert (row == tokenizer.bos).sum() == 1 and row[3] == tokenizer.bos
        assert (row == tokenizer.eos).sum() <= 1
        assert (row == tokenizer.dim).sum() <= 1
    assert sum(int((r == tokenizer.eos).sum()) for rs in rows.values() for r in rs) == 3
    assert len(rows["p0"]) == 1
    # Bodies of more than 150 tokens tell that their end is near.
    assert sum(int((r == tokenizer.dim).sum()) for r in rows["p2"]) == 1
    # Without changes, a short piece is exactly what the tokenizer says.
    whole = tokenizer.encode_columns(
        *notes_of(5, 0).columns(), prefix_ids=rows["p0"][0][:3].tolist()
    )
    assert rows["p0"][0][: len(whole)].tolist() == whole.tolist()


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_marks_the_end_of_a_long_piece(make: Make, mode: Mode) -> None:
    settings = replace(PLAIN, mode=mode, seq_len=256, tag_share=0.0)
    dim = tokenizer_named("piano").dim
    # Three of 600 tokens each, one too short to be marked.
    rows = np.stack(epoch_of(make([200, 200, 20, 200]), settings))
    assert 2 <= int((rows == dim).sum()) <= 3


@pytest.mark.parametrize("mode", MODES)
def test_a_saved_place_is_found_again(make: Make, mode: Mode) -> None:
    dataset = make([40, 3, 90, 200, 33, 64, 10, 120, 5])
    settings = replace(PLAIN, mode=mode, augment=Ranges(), jitter_ms=5.0, seq_len=48)
    for n_streams in (1, 3):
        stream = RowStream(dataset, "train", settings, n_streams - 1, n_streams)
        places, rows = [], []
        for _ in range(90):
            places.append(json.loads(json.dumps(stream.position())))
            rows.append(next(stream).tolist())
        assert stream.epoch > 2
        for at in (0, 1, 17, 44, 71):
            again = RowStream(dataset, "train", settings, n_streams - 1, n_streams)
            again.seek(places[at])
            assert again.position() == places[at]
            assert take(again, 19) == rows[at : at + 19]
        # Also going back and forth in one stream.
        stream.seek(places[30])
        assert take(stream, 5) == rows[30:35]


def test_streams_do_not_depend_on_each_other(make: Make) -> None:
    dataset = make([60] * 12)
    settings = replace(PLAIN, augment=Ranges())
    alone = [take(RowStream(dataset, "train", settings, s, 4), 20) for s in range(4)]
    streams = [RowStream(dataset, "train", settings, s, 4) for s in range(4)]
    together = [[next(s).tolist() for s in streams] for _ in range(20)]
    assert [list(rows) for rows in zip(*together, strict=True)] == alone
    flat = [tuple(row) for rows in alone for row in rows]
    assert len(set(flat)) == len(flat)


def test_streams_share_an_epoch_without_overlap(make: Make) -> None:
    dataset = make([30] * 24)
    settings = replace(PLAIN, mode="separate", seq_len=128, block_pieces=2)
    seen = []
    for s in range(3):
        stream = RowStream(dataset, "train", settings, s, 3)
        for _ in range(8):
            next(stream)
            seen.extend(stream.names)
    assert sorted(seen) == sorted(f"p{i}" for i in range(24))


def test_order_depends_on_seed_and_epoch(make: Make) -> None:
    dataset = make([40] * 10)  # too short for <D>, whose place is drawn
    assert take(RowStream(dataset, "train", PLAIN), 9) == take(
        RowStream(dataset, "train", PLAIN), 9
    )
    other = replace(PLAIN, seed=1)
    assert take(RowStream(dataset, "train", PLAIN), 9) != take(
        RowStream(dataset, "train", other), 9
    )
    separate = replace(PLAIN, mode="separate", seq_len=256, tag_share=0.0)
    rows = take(RowStream(dataset, "train", separate), 20)
    assert rows[:10] != rows[10:]
    assert sorted(rows[:10]) == sorted(rows[10:])
    changed = take(RowStream(dataset, "train", replace(separate, augment=Ranges())), 20)
    assert not {tuple(r) for r in changed[:10]} & {tuple(r) for r in changed[10:]}


def test_a_tiny_piece_fills_rows_all_the_same(make: Make) -> None:
    dataset = make([3])
    for mode in MODES:
        rows = take(RowStream(dataset, "train", replace(PLAIN, mode=mode)), 5)
        assert all(len(row) == 65 for row in rows)


def test_names_tell_what_a_row_holds(make: Make) -> None:
    dataset = make([4, 90, 5, 4, 6, 33])
    for mode in MODES:
        stream = RowStream(dataset, "train", replace(PLAIN, mode=mode, block_pieces=99))
        bos = stream.tokenizer.bos
        for _ in range(30):
            row = next(stream)
            assert set(stream.names) <= {f"p{i}" for i in range(6)}
            # One piece may go on from the row before, another may get no further than its prefix.
            assert len(stream.names) <= (row == bos).sum() + 2
            assert mode == "aligned" or len(stream.names) >= (row == bos).sum()


@given(st.lists(st.integers(1, 40), max_size=12), st.integers(1, 30))
def test_gluing_loses_nothing(lengths: list[int], length: int) -> None:
    ids = np.arange(sum(lengths), dtype=np.int32)
    parts = np.split(ids, np.cumsum(lengths)[:-1]) if lengths else []
    rows, names, left = glue([Chunk(str(i), p) for i, p in enumerate(parts)], length)
    joined = np.concatenate([rows.ravel(), *(c.ids for c in left)])
    assert np.array_equal(joined, ids)
    assert sum(len(c.ids) for c in left) < length
    owner = np.repeat(np.arange(len(lengths)), lengths).astype(str)
    for row, of_row in zip(rows, names, strict=True):
        assert list(dict.fromkeys(owner[row].tolist())) == list(of_row)
    for chunk in left:
        assert set(owner[chunk.ids].tolist()) == {chunk.name}


@given(st.integers(1, 200), st.integers(11, 80), st.integers(11, 80), st.integers(0, 9))
def test_cut_rows_hold_every_event_whole(n: int, length: int, first: int, seed: int) -> None:
    first = min(first, length)
    for name in ("piano", "relative-piano"):
        tokenizer = tokenizer_named(name)
        vocab = tokenizer.vocabulary
        body = tokenizer.encode_columns(*notes_of(n, seed).columns(), prefix_ids=())[1:]
        rows = cut_piece(body, iter(lambda: [5], None), vocab, tokenizer.bos, length, first)
        assert is_note(body, name).sum() == n
        # Without the event it broke off in, each row ends where the next begins.
        at = 0
        for row in rows:
            assert len(row) <= length
            inner = row[2:]
            assert np.array_equal(inner, body[at : at + len(inner)])
            end = at + len(inner)
            at = end
            while at < len(body) and vocab.dur_start <= body[at] < (
                vocab.onset_start if vocab.relative else vocab.pedal_start
            ):
                at -= 1
        assert end == len(body)


def test_shares_are_nested_and_of_the_size_asked_for(make: Make) -> None:
    names = [f"piece {i}" for i in range(4000)]
    kept = {share: {n for n in names if chosen(n, share)} for share in (0.1, 0.25, 0.5, 1.0)}
    assert kept[0.1] < kept[0.25] < kept[0.5] < kept[1.0]
    for share, of_share in kept.items():
        assert abs(len(of_share) / 4000 - share) < 0.03
    dataset = make([20] * 40)
    stream = RowStream(dataset, "train", replace(PLAIN, mode="separate", share=0.25))
    seen = set()
    while stream.epoch < 1:
        next(stream)
        seen.update(stream.names)
    assert seen == {f"p{i}" for i in range(40) if chosen(f"p{i}", 0.25)}


def test_a_share_without_pieces_is_named(make: Make) -> None:
    assert not chosen("p0", 1e-9)
    stream = RowStream(make([20]), "train", replace(PLAIN, share=1e-9))
    with pytest.raises(InputError, match="share 1e-09"):
        next(stream)


def test_tags_are_shown_to_the_share_asked_for(make: Make) -> None:
    dataset = make([150] * 30)
    for share, low, high in ((0.0, 0, 0), (1.0, 1, 1), (0.5, 0.3, 0.7)):
        rows = np.stack(epoch_of(dataset, replace(PLAIN, tag_share=share)))
        vocab = tokenizer_named("piano").vocabulary
        begun = rows[(rows[:, 0] == vocab.instrument_start)]
        tagged = ((begun >= vocab.label_start) & (begun < vocab.note_start))[:, :3].any(axis=1)
        assert low <= tagged.mean() <= high


def test_both_forms_give_the_same_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for form in ("pieces", "grid"):
        with ShardWriter(tmp_path / form, form, rows_per_group=2) as writer:
            for i in range(5):
                piece = Piece.from_ms(
                    np.arange(40) * 37 * (i + 1), 500 + i, 40 + np.arange(40), 64 + i,
                    pedal_time_ms=[100, 900], pedal_value=[127, 0],
                )  # fmt: skip
                writer.add(PieceRecord(str(i), metadata=TAGS), piece)
    streams = [RowStream(open_dataset(tmp_path / f), "train", PLAIN) for f in ("pieces", "grid")]
    assert take(streams[0], 20) == take(streams[1], 20)
    del rng


def test_validation_rows_are_fixed_and_plain(make: Make) -> None:
    dataset = make([80] * 10, split="valid")
    settings = replace(PLAIN, augment=Ranges(), jitter_ms=9.0, seed=5, tag_share=1.0, share=0.1)
    rows = validation_rows(dataset, "valid", settings, 12)
    assert rows.shape == (12, 65)
    assert np.array_equal(rows, validation_rows(dataset, "valid", replace(settings, seed=6), 12))
    vocab = tokenizer_named("piano").vocabulary
    assert not ((rows >= vocab.label_start) & (rows < vocab.note_start)).any()
    assert len(validation_rows(dataset, "valid", settings, 10_000)) < 60


def test_wrong_settings_and_places_are_named(make: Make) -> None:
    for wrong in (
        {"mode": "glued"}, {"seq_len": 3}, {"tag_share": 2.0}, {"share": 0.0}, {"seed": -1},
        {"tokenizer": "no such"}, {"jitter_ms": -1.0},
    ):  # fmt: skip
        with pytest.raises(UsageError):
            LoaderSettings(**wrong)  # type: ignore[arg-type]
    dataset = make([20, 30])
    with pytest.raises(UsageError, match="stream 2 of 2"):
        RowStream(dataset, "train", PLAIN, 2, 2)
    with pytest.raises(InputError, match="no split 'test'"):
        RowStream(dataset, "test", PLAIN)
    place = RowStream(dataset, "train", PLAIN).position()
    with pytest.raises(UsageError, match="another stream"):
        RowStream(dataset, "train", replace(PLAIN, seed=1)).seek(place)
    with pytest.raises(UsageError, match="another stream"):
        RowStream(dataset, "train", PLAIN, 0, 2).seek(place)
    with pytest.raises(UsageError, match="not the position"):
        RowStream(dataset, "train", PLAIN).seek({"block": 1})


FEW_FILES = """
import os, resource, sys
from pathlib import Path
from arietta.data.shards import open_dataset
from arietta.errors import InputError
from arietta.training.rows.stream import LoaderSettings, RowStream

resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
dataset = open_dataset(Path(sys.argv[1]))
settings = LoaderSettings(seq_len=64, augment=None, block_pieces=64)
streams = [RowStream(dataset, "train", settings, s, 2) for s in range(2)]
seen = set()
while streams[0].epoch < 1.1:
    for stream in streams:
        next(stream)
        seen.update(stream.names)
print(len(seen))
taken = []
try:
    while True:
        taken.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
try:
    while streams[0].epoch < 2:
        next(streams[0])
except InputError as error:
    os.close(taken.pop())
    print(error)
"""


def test_many_shards_are_read_with_few_open_files(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "set", "grid", rows_per_shard=1) as writer:
        for i in range(800):
            writer.add(PieceRecord(f"piece-{i}", "train"), notes_of(30, i))
    command = [sys.executable, "-c", FEW_FILES, str(tmp_path / "set")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    seen, error = done.stdout.splitlines()
    assert int(seen) > 780  # but for those whose ends are carried over
    assert "too many open files" in error and "ulimit -n" in error and ".parquet" in error


def test_groups_in_any_order_are_those_of_the_files(make: Make) -> None:
    dataset = make([30] * 40)  # seven shards, so that files are closed and opened again
    groups = RowGroups(dataset, "train", kept_open=2)
    order = np.random.default_rng(0).permutation(len(groups)).tolist()
    found = {i: groups.read(i) for i in [*order, *order]}
    stored = [row.row.id for row in read_grid(dataset, "train")]
    assert [name for i in sorted(found) for name in found[i]["id"].to_pylist()] == stored
    assert groups.num_rows == 40
