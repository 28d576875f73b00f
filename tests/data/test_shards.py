"""Datasets on disk: what is written reads back, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arietta.data.shards import (
    PieceRecord,
    ShardWriter,
    arrow,
    open_dataset,
    piece_to_row,
    read_grid,
    read_pieces,
    row_to_piece,
    rows_table,
    shard_name,
    table_pieces,
    write_shard,
)
from arietta.data.token_grid import GridNotes, grid_of
from arietta.errors import InputError, MissingExtraError, OutputError, UsageError
from arietta.midi.notes import ExtraTable, note_table, pedal_table, program_table
from arietta.midi.piece import Piece
from arietta.midi.reader import read, read_bytes
from arietta.midi.tempo import TempoMap

TABLES = {
    "tempo": ("tick", "us_per_quarter"),
    "notes": ("onset_tick", "offset_tick", "pitch", "velocity", "channel", "track"),
    "pedals": ("tick", "value", "channel", "track"),
    "programs": ("tick", "program", "channel", "track"),
    "extra": ("tick", "track"),
}


def assert_same(a: Piece, b: Piece) -> None:
    for table, names in TABLES.items():
        for name in names:
            x, y = getattr(getattr(a, table), name), getattr(getattr(b, table), name)
            assert x.dtype == y.dtype, (table, name)
            assert np.array_equal(x, y), (table, name)
    assert a.tempo.division == b.tempo.division
    assert tuple(a.extra.data) == tuple(b.extra.data)
    assert (a.text, dict(a.metadata), a.source) == (b.text, dict(b.metadata), b.source)


def some_piece(seed: int, n: int = 30) -> Piece:
    rng = np.random.default_rng(seed)
    onset = np.cumsum(rng.integers(0, 900, n))
    return Piece.from_ms(
        onset, rng.integers(1, 3000, n), rng.integers(21, 109, n), rng.integers(1, 128, n)
    )


ticks = st.lists(st.integers(-(2**62), 2**62), max_size=5)


@given(ticks, st.lists(st.binary(max_size=8), max_size=4), st.text(max_size=5), st.data())
def test_every_field_of_a_piece_reads_back(
    tick: list[int], data: list[bytes], text: str, draw: st.DataObject
) -> None:
    n = len(tick)
    small = draw.draw(st.lists(st.integers(0, 127), min_size=n, max_size=n))
    m = len(data)
    # Texts that UTF-8 cannot hold are refused, below.
    text = text.encode("utf8", "ignore").decode("utf8")
    piece = Piece(
        TempoMap(draw.draw(st.integers(-32768, 32767)), np.array([0, *tick]), np.arange(n + 1)),
        note_table(tick, tick[::-1], small, small, 3, 70_000),
        pedal_table(tick, small, 1, 2),
        program_table(tick, small, 1, 2),
        ExtraTable(np.arange(m), np.arange(m, dtype=np.int32), data),
        ((-5, text), (7, "é")),
        {"composer": text, "opus": "9"},
        None if n % 2 else "name.mid",
    )
    assert_same(row_to_piece(piece_to_row(piece), piece.metadata), piece)
    described = PieceRecord("a", "valid", "g", "s")
    ((row, again),) = table_pieces(rows_table("pieces", [(described, piece)]))
    assert_same(again, piece)
    assert (row.id, row.split, row.group, row.source) == ("a", "valid", "g", "s")


def test_files_read_back_through_a_dataset(
    prompts_dir: Path, golden_dir: Path, tmp_path: Path
) -> None:
    paths = [*sorted(prompts_dir.glob("*.mid")), *sorted(golden_dir.rglob("*.mid"))[:40]]
    pieces = []
    for path in paths:
        try:
            pieces.append(read(path))
        except InputError:
            continue
    assert len(pieces) > 2
    with ShardWriter(tmp_path / "d", "pieces", rows_per_group=3, rows_per_shard=7) as writer:
        for i, piece in enumerate(pieces):
            writer.add(PieceRecord(str(i), "test" if i % 3 else "train"), piece)
    dataset = open_dataset(tmp_path / "d")
    again = {row.id: piece for row, piece in read_pieces(dataset)}
    assert len(again) == len(pieces)
    for i, piece in enumerate(pieces):
        assert_same(again[str(i)], piece)
    train = [row for row, _ in read_pieces(dataset, "train")]
    assert [row.id for row in train] == [str(i) for i in range(0, len(pieces), 3)]
    # The bytes of a written file survive too: ticks are the truth.
    assert read_bytes(again["0"].to_bytes()).notes.onset_tick.tolist() == (
        pieces[0].notes.onset_tick.tolist()
    )


def same_grid(a: GridNotes, b: GridNotes) -> bool:
    names = ("wait", "duration", "pitch", "velocity")
    equal = [np.array_equal(getattr(a, n), getattr(b, n)) for n in names]
    kinds = [getattr(a, n).dtype == getattr(b, n).dtype for n in names]
    return all(equal) and all(kinds) and dict(a.tags) == dict(b.tags)


def test_both_forms_give_the_same_grid(tmp_path: Path) -> None:
    pieces = [some_piece(i, 1 + 17 * i) for i in range(9)]
    for form in ("pieces", "grid"):
        with ShardWriter(tmp_path / form, form, rows_per_group=2, rows_per_shard=5) as writer:
            for i, piece in enumerate(pieces):
                writer.add(PieceRecord(str(i), metadata={"form": "Etude", "opus": "3"}), piece)
    grids = [list(read_grid(open_dataset(tmp_path / form))) for form in ("pieces", "grid")]
    assert len(grids[0]) == len(grids[1]) == 9
    for i, (a, b) in enumerate(zip(*grids, strict=True)):
        assert a.row == b.row
        assert same_grid(a.notes, b.notes)
        assert np.array_equal(a.notes.wait, grid_of(pieces[i]).wait)
        assert dict(b.notes.tags) == {"form": "étude"}
        assert b.row.metadata == {"form": "Etude", "opus": "3"}
    with pytest.raises(InputError, match="`form` pieces"):
        next(read_pieces(open_dataset(tmp_path / "grid")))


def test_a_piece_without_piano_is_refused_or_passed_over(tmp_path: Path) -> None:
    drums = Piece(TempoMap.constant(), note_table([0], [9], 60, 64, 9))
    with ShardWriter(tmp_path / "grid", "grid") as writer:
        with pytest.raises(InputError, match="no notes"):
            writer.add(PieceRecord("drums"), drums)
        writer.add(PieceRecord("piano"), some_piece(0))
    with ShardWriter(tmp_path / "pieces", "pieces") as writer:
        writer.add(PieceRecord("drums"), drums)
        writer.add(PieceRecord("piano"), some_piece(0))
    for form in ("grid", "pieces"):
        assert [r.row.id for r in read_grid(open_dataset(tmp_path / form))] == ["piano"]


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    rows = [(PieceRecord(str(i), metadata={"b": "1", "a": "2"}), some_piece(i)) for i in range(5)]
    turned = [(PieceRecord(r.id, metadata=dict(reversed(r.metadata.items()))), p) for r, p in rows]
    for form in ("pieces", "grid"):
        write_shard(tmp_path / f"{form}a.parquet", rows, form)
        write_shard(tmp_path / f"{form}b.parquet", turned, form)
        first = (tmp_path / f"{form}a.parquet").read_bytes()
        assert first == (tmp_path / f"{form}b.parquet").read_bytes()


def test_a_failing_source_leaves_no_shard_and_no_dataset(tmp_path: Path) -> None:
    def broken():  # type: ignore[no-untyped-def]
        yield PieceRecord("0"), some_piece(0)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_shard(tmp_path / "train-00000.parquet", broken(), "grid")
    assert not list(tmp_path.iterdir())
    with pytest.raises(RuntimeError), ShardWriter(tmp_path / "d", "grid") as writer:
        writer.add(PieceRecord("0"), some_piece(0))
        raise RuntimeError
    with pytest.raises(InputError, match="unfinished"):
        open_dataset(tmp_path / "d")
    write_shard(tmp_path / "x.parquet", [(PieceRecord("0"), some_piece(0))], "grid")
    with pytest.raises(OutputError, match="exists already"):
        write_shard(tmp_path / "x.parquet", [(PieceRecord("0"), some_piece(0))], "grid")


def test_wrong_rows_are_named(tmp_path: Path) -> None:
    two = [(PieceRecord("0", "train"), some_piece(0)), (PieceRecord("1", "test"), some_piece(1))]
    with pytest.raises(UsageError, match="one split"):
        write_shard(tmp_path / "x.parquet", two, "grid")
    with pytest.raises(InputError, match=r"cannot be stored"):
        rows_table("grid", [(PieceRecord("a\udcff"), some_piece(0))])
    with pytest.raises(UsageError, match="too little"):
        rows_table("pieces", [(PieceRecord("a"), grid_of(some_piece(0)))])
    for split in ("", "a/b", ".."):
        with pytest.raises(UsageError, match="split"):
            shard_name(split, 0)


def test_damaged_datasets_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such dataset"):
        open_dataset(tmp_path / "none")
    folder = tmp_path / "d"
    with ShardWriter(folder, "grid", settings={"preset": "none"}) as writer:
        writer.add(PieceRecord("0", "train"), some_piece(0))
        writer.add(PieceRecord("1", "test"), some_piece(1))
    dataset = open_dataset(folder)
    assert dataset.splits == ("test", "train")
    assert dataset.settings == {"preset": "none"}
    assert [(s.file, s.rows, s.notes) for s in dataset.of_split("train")] == [
        ("train-00000.parquet", 1, 30)
    ]
    with pytest.raises(InputError, match=r"no split 'valid'; it has test, train"):
        next(read_grid(dataset, "valid"))
    # One split may be carried without the others.
    (folder / "test-00000.parquet").unlink()
    assert len(list(read_grid(dataset, "train"))) == 1
    with pytest.raises(InputError, match=r"test-00000.parquet: named in"):
        next(read_grid(dataset))
    shard = folder / "train-00000.parquet"
    whole = shard.read_bytes()
    for at in (6, len(whole) // 10):
        shard.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(InputError, match=r"train-00000.parquet: row group 0 is damaged"):
            next(read_grid(dataset, "train"))
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="not a readable Parquet"):
        next(read_grid(dataset, "train"))
    _, pq = arrow()
    pq.write_table(
        rows_table("grid", [(PieceRecord("0"), some_piece(0))]).drop_columns(["pitch"]), shard
    )
    with pytest.raises(InputError, match="lacks the columns pitch"):
        next(read_grid(dataset, "train"))
    description = folder / "dataset.json"
    described = json.loads(description.read_text())
    description.write_text(json.dumps({**described, "version": 99}))
    with pytest.raises(InputError, match="version 99"):
        open_dataset(folder)
    outside = [{**described["shards"][0], "file": "../x.parquet"}]
    for text in (
        "",
        "[]",
        "{}",
        json.dumps({**described, "form": "x"}),
        json.dumps({**described, "shards": outside}),
    ):
        description.write_text(text)
        with pytest.raises(InputError, match="not a dataset description"):
            open_dataset(folder)


def test_without_pyarrow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"arietta\[train\]"):
        arrow()


def test_shards_of_other_programs_are_read(tmp_path: Path) -> None:
    """Wider types, another order of columns, one more: what polars or duckdb may write."""
    pa, pq = arrow()
    with ShardWriter(tmp_path / "d", "grid") as writer:
        writer.add(PieceRecord("0", metadata={"form": "fugue"}), some_piece(0))
    dataset = open_dataset(tmp_path / "d")
    shard = tmp_path / "d" / "train-00000.parquet"
    ((row, notes),) = read_grid(dataset)
    table = pq.read_table(shard)
    foreign = table.select(sorted(table.column_names)).append_column("more", pa.array([1]))
    wide = pa.large_list(pa.int64())
    for name in ("wait", "duration", "pitch", "velocity"):
        place = foreign.column_names.index(name)
        foreign = foreign.set_column(place, name, foreign[name].cast(wide))
    pq.write_table(foreign, shard)
    ((again, same),) = read_grid(dataset)
    assert again == row
    assert same_grid(same, notes)
    for name, values, complaint in (
        ("pitch", [[None] * 30], "gaps"),
        ("pitch", [None], "gaps|other types"),
        ("pitch", [["C4"] * 30], "other types"),
        ("pitch", [[60] * 29], "differs in length"),
        ("pitch", [[128] * 30], r"outside 0..127"),
        ("velocity", [[0] * 30], r"outside 1..12"),
        ("wait", [[-1] * 30], r"outside 0.."),
        ("duration", [[501] * 30], r"outside 1..500"),
    ):
        place = foreign.column_names.index(name)
        pq.write_table(foreign.set_column(place, name, pa.array(values)), shard)
        with pytest.raises(InputError, match=complaint):
            list(read_grid(dataset))


@pytest.mark.parametrize(
    "name", ["velocity", "tempo_tick", "pedal_value", "program", "extra_data", "text"]
)
def test_unequal_columns_of_a_piece_are_named(name: str) -> None:
    pa, _ = arrow()
    table = rows_table("pieces", [(PieceRecord("0"), some_piece(0))])
    place = table.column_names.index(name)
    (values,) = table[name].to_pylist()
    kind = table.schema.field(name).type
    more = pa.array([[*values, b"" if name == "extra_data" else "" if name == "text" else 1]], kind)
    with pytest.raises(InputError, match="in length"):
        list(table_pieces(table.set_column(place, name, more)))
