"""Datasets on disk: Parquet shards of pieces, one row a piece, readable by pyarrow, polars, duckdb.

A dataset is a folder::

    train-00000.parquet …  shards; each holds one split, so a split can be carried alone
    manifest.parquet       a row for every input file, kept or refused
    dataset.json           form, shards, settings and counts; written last, so it marks completion

Two forms. ``pieces``: every field of ``Piece``, lossless. ``grid``: the notes alone on the token
grid (``arietta.data.grid``), which is all that token models see, in a fraction of the space.
Times are ticks in the first and steps of 10 ms in the second.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from arietta.data.grid import GridNotes, grid_of, tags_of
from arietta.errors import InputError, MissingExtraError, UsageError
from arietta.midi.notes import ExtraTable, MessageList, NoteTable, PedalTable, Piece, ProgramTable
from arietta.midi.tempo import TempoMap
from arietta.output import whole_file
from arietta.tokenizers.encoding import MAX_SEGMENT
from arietta.tokenizers.quantise import MAX_DURATION_MS, SEGMENT_MS, STEP
from arietta.tokenizers.vocabulary import MAX_VELOCITY_STEP, N_PITCHES

Form = Literal["pieces", "grid"]
Table: TypeAlias = Any
"""A ``pyarrow.Table``; pyarrow is optional and has no types."""

FORMAT_VERSION = 1
DESCRIPTION = "dataset.json"
MANIFEST = "manifest.parquet"
# A row group is what the loader reads at once: about 300 kB of the grid form.
ROWS_PER_GROUP = 64
ROWS_PER_SHARD = 2048
# Level 19 makes the grid form 5 % smaller and takes ten times as long.
ZSTD_LEVEL = 9

_DESCRIBED = ("id", "split", "group", "source")
_GRID = {"wait": "int32", "duration": "uint16", "pitch": "uint8", "velocity": "uint8"}
_GRID_LIMITS = {
    "wait": (0, MAX_SEGMENT * SEGMENT_MS // STEP),
    "duration": (1, MAX_DURATION_MS // STEP),
    "pitch": (0, N_PITCHES - 1),
    "velocity": (1, MAX_VELOCITY_STEP),
}
_PIECE = {
    "tempo_tick": "int64",
    "tempo_us_per_quarter": "int64",
    "onset_tick": "int64",
    "duration_tick": "int64",
    "pitch": "uint8",
    "velocity": "uint8",
    "channel": "uint8",
    "track": "int32",
    "pedal_tick": "int64",
    "pedal_value": "uint8",
    "pedal_channel": "uint8",
    "pedal_track": "int32",
    "program_tick": "int64",
    "program": "uint8",
    "program_channel": "uint8",
    "program_track": "int32",
    "extra_tick": "int64",
    "extra_track": "int32",
    "extra_data": "binary",
    "text_tick": "int64",
    "text": "string",
}


# Columns of one table of ``Piece``, equal in length within a row.
_PIECE_TABLES = (
    ("tempo_tick", "tempo_us_per_quarter"),
    ("onset_tick", "duration_tick", "pitch", "velocity", "channel", "track"),
    ("pedal_tick", "pedal_value", "pedal_channel", "pedal_track"),
    ("program_tick", "program", "program_channel", "program_track"),
    ("extra_tick", "extra_track", "extra_data"),
    ("text_tick", "text"),
)


@dataclass(frozen=True)
class Row:
    """What is known of a piece besides its music.

    Attributes:
        id: unique in the dataset.
        split: train, valid, test.
        group: pieces of one group hold the same work.
        source: the collection it comes from.
        metadata: composer, form, genre and whatever else is known.
    """

    id: str
    split: str = "train"
    group: str = ""
    source: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


class GridRow(NamedTuple):
    """A piece on the token grid with its description."""

    row: Row
    notes: GridNotes


@dataclass(frozen=True)
class Shard:
    """One Parquet file of a dataset.

    Attributes:
        file: its name.
        split: which split all its rows belong to.
        rows, notes: how many pieces and notes it holds.
    """

    file: str
    split: str
    rows: int
    notes: int


@dataclass(frozen=True)
class Dataset:
    """An opened dataset.

    Attributes:
        path: its folder.
        form: ``pieces`` or ``grid``.
        shards: in order.
        settings: what the builder recorded.
    """

    path: Path
    form: Form
    shards: tuple[Shard, ...]
    settings: Mapping[str, Any]

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, in the order they appear."""
        return tuple(dict.fromkeys(shard.split for shard in self.shards))

    def of_split(self, split: str | None) -> list[Shard]:
        """The shards of a split, or all of them; every file is there.

        Raises:
            InputError: there is no such split, or one of its files is missing.
        """
        shards = [s for s in self.shards if split is None or s.split == split]
        if not shards:
            raise InputError(
                f"{self.path}: no split {split!r}; it has {', '.join(self.splits) or 'none'}"
            )
        for shard in shards:
            if not (self.path / shard.file).is_file():
                raise InputError(
                    f"{self.path / shard.file}: named in {DESCRIPTION} but not there; "
                    "copy it, or build the dataset again"
                )
        return shards


def arrow() -> tuple[ModuleType, ModuleType]:
    """pyarrow and pyarrow.parquet.

    Raises:
        MissingExtraError: they are not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError("reading and writing datasets", "train") from None
    return pyarrow, pyarrow.parquet


# Rows <-> Parquet


def piece_to_row(piece: Piece) -> dict[str, Any]:
    """The music of a piece as columns of the form ``pieces``; metadata and description apart."""
    tempo, notes, pedals = piece.tempo, piece.notes, piece.pedals
    programs, extra = piece.programs, piece.extra
    return {
        "file": piece.source,
        "division": tempo.division,
        "tempo_tick": tempo.tick,
        "tempo_us_per_quarter": tempo.us_per_quarter,
        "onset_tick": notes.onset_tick,
        "duration_tick": notes.offset_tick - notes.onset_tick,
        "pitch": notes.pitch,
        "velocity": notes.velocity,
        "channel": notes.channel,
        "track": notes.track,
        "pedal_tick": pedals.tick,
        "pedal_value": pedals.value,
        "pedal_channel": pedals.channel,
        "pedal_track": pedals.track,
        "program_tick": programs.tick,
        "program": programs.program,
        "program_channel": programs.channel,
        "program_track": programs.track,
        "extra_tick": extra.tick,
        "extra_track": extra.track,
        "extra_data": list(extra.data),
        "text_tick": [tick for tick, _ in piece.text],
        "text": [text for _, text in piece.text],
    }


def row_to_piece(row: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> Piece:
    """The piece that ``piece_to_row`` took apart; lists are taken as well as arrays."""

    def column(name: str) -> npt.NDArray[Any]:
        return np.asarray(row[name], _PIECE[name])

    onset = column("onset_tick")
    return Piece(
        TempoMap(int(row["division"]), column("tempo_tick"), column("tempo_us_per_quarter")),
        NoteTable(
            onset,
            onset + column("duration_tick"),
            *(column(name) for name in ("pitch", "velocity", "channel", "track")),
        ),
        PedalTable(
            *(column(f"pedal_{name}") for name in ("tick", "value", "channel", "track")),
        ),
        ProgramTable(
            column("program_tick"),
            column("program"),
            column("program_channel"),
            column("program_track"),
        ),
        ExtraTable(
            column("extra_tick"), column("extra_track"), MessageList.pack(row["extra_data"])
        ),
        tuple(
            (int(tick), str(text)) for tick, text in zip(row["text_tick"], row["text"], strict=True)
        ),
        dict(metadata or {}),
        row["file"],
    )


def _schema(form: Form) -> Any:
    pa, _ = arrow()
    fields = [pa.field(name, pa.string(), nullable=False) for name in _DESCRIBED]
    fields.append(pa.field("metadata", pa.map_(pa.string(), pa.string()), nullable=False))
    if form == "pieces":
        fields.append(pa.field("file", pa.string()))
        fields.append(pa.field("division", pa.int32(), nullable=False))
    for name, kind in (_PIECE if form == "pieces" else _GRID).items():
        element = pa.field("element", getattr(pa, kind)(), nullable=False)
        fields.append(pa.field(name, pa.list_(element), nullable=False))
    return pa.schema(fields)


def _list_column(values: Sequence[Any], kind: str) -> Any:
    """A list column out of one array (or list of bytes or strings) a row."""
    pa, _ = arrow()
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum([len(v) for v in values], out=offsets[1:])
    if kind in ("binary", "string"):
        flat = pa.array([item for v in values for item in v], getattr(pa, kind)())
    else:
        joined = np.concatenate([np.zeros(0, kind), *(np.asarray(v, kind) for v in values)])
        flat = pa.array(joined, getattr(pa, kind)())
    element = pa.field("element", flat.type, nullable=False)
    return pa.ListArray.from_arrays(pa.array(offsets), flat, type=pa.list_(element))


def rows_table(form: Form, rows: Sequence[tuple[Row, Piece | GridNotes]]) -> Table:
    """Rows as one ``pyarrow.Table``.

    The metadata of a row is that of the piece, or the tags of the grid, overruled by the row's own.

    Raises:
        InputError: a piece cannot be put on the grid, or a text is not Unicode.
        UsageError: grid notes are to be written as a piece.
    """
    pa, _ = arrow()
    columns: dict[str, Any] = {}
    try:
        for name in _DESCRIBED:
            columns[name] = pa.array([getattr(row, name) for row, _ in rows], pa.string())
        known = [music.metadata if isinstance(music, Piece) else music.tags for _, music in rows]
        merged = [{**k, **row.metadata} for k, (row, _) in zip(known, rows, strict=True)]
        columns["metadata"] = pa.array(
            [sorted(m.items()) for m in merged], pa.map_(pa.string(), pa.string())
        )
        if form == "pieces":
            parts = []
            for row, music in rows:
                if not isinstance(music, Piece):
                    raise UsageError(f"{row.id}: the grid holds too little to make a piece of it")
                parts.append(piece_to_row(music))
            columns["file"] = pa.array([p["file"] for p in parts], pa.string())
            columns["division"] = pa.array([p["division"] for p in parts], pa.int32())
            for name, kind in _PIECE.items():
                columns[name] = _list_column([p[name] for p in parts], kind)
        else:
            notes = [grid_of(m) if isinstance(m, Piece) else m for _, m in rows]
            for name, kind in _GRID.items():
                columns[name] = _list_column([getattr(n, name) for n in notes], kind)
    except (pa.ArrowInvalid, UnicodeEncodeError) as error:
        raise InputError(f"{rows[0][0].id} or a row after it: cannot be stored ({error})") from None
    return pa.table(columns, schema=_schema(form))


def _writer_options(form: Form) -> dict[str, Any]:
    """How columns are packed, chosen by measurement (benchmarks/loader_speed.py)."""
    encodings = {}
    dictionary = ["split", "group", "source", "metadata.key_value.key", "metadata.key_value.value"]
    for name, kind in (_PIECE if form == "pieces" else _GRID).items():
        path = f"{name}.list.element"
        if name.endswith("_tick") and name != "duration_tick":
            encodings[path] = "DELTA_BINARY_PACKED"
        elif kind in ("binary", "string"):
            dictionary.append(path)
        else:
            # The high bytes, nearly all zero, leave the low ones to the entropy coder.
            encodings[path] = "BYTE_STREAM_SPLIT"
    return {
        "compression": "zstd",
        "compression_level": ZSTD_LEVEL,
        "use_dictionary": dictionary,
        "column_encoding": encodings,
        "write_statistics": list(_DESCRIBED),
        "data_page_size": 1 << 22,
        # A flipped bit must not become a wrong note.
        "write_page_checksum": True,
    }


def shard_name(split: str, index: int) -> str:
    """File name of a split's shard, counted from 0.

    Raises:
        UsageError: the split is not a plain word.
    """
    if not split.replace("_", "").replace("-", "").isalnum() or f"{split}.parquet" == MANIFEST:
        raise UsageError(f"split {split!r}: use letters and digits")
    return f"{split}-{index:05d}.parquet"


def write_shard(
    path: Path,
    rows: Iterable[tuple[Row, Piece | GridNotes]],
    form: Form,
    *,
    rows_per_group: int = ROWS_PER_GROUP,
    force: bool = False,
) -> Shard:
    """Write one shard, whole or not at all; the same rows give the same bytes.

    Args:
        path: where; its name goes into the result.
        rows: all of one split; at most ``rows_per_group`` are held in memory.
        form: ``grid`` takes pieces and grid notes alike.

    Raises:
        OutputError: the file exists (without ``force``) or cannot be written.
        InputError: a piece cannot be stored.
        UsageError: the rows are of several splits.
    """
    _, pq = arrow()
    left = iter(rows)
    splits: set[str] = set()
    n_rows = n_notes = 0
    with (
        whole_file(path, force=force) as part,
        pq.ParquetWriter(part, _schema(form), **_writer_options(form)) as writer,
    ):
        while group := list(islice(left, rows_per_group)):
            splits.update(row.split for row, _ in group)
            if len(splits) > 1:
                raise UsageError(f"{path.name}: one split a shard, not {sorted(splits)}")
            table = rows_table(form, group)
            writer.write_table(table, row_group_size=rows_per_group)
            n_rows += len(group)
            n_notes += len(table["pitch"].combine_chunks().flatten())
    return Shard(path.name, next(iter(splits), ""), n_rows, n_notes)


class ShardWriter:
    """Rows in any order of splits -> numbered shards of each split.

    Used as a context; ``dataset.json`` is written when the block ends well. Memory is bounded by
    ``rows_per_shard`` pieces for each split.

    Args:
        folder: the dataset; made where it is missing.
        form: ``pieces`` or ``grid``.
        rows_per_group, rows_per_shard: pieces a row group and a shard.
        settings: recorded in ``dataset.json``.
        force: replace shards that exist.
    """

    def __init__(
        self,
        folder: Path,
        form: Form,
        *,
        rows_per_group: int = ROWS_PER_GROUP,
        rows_per_shard: int = ROWS_PER_SHARD,
        settings: Mapping[str, Any] | None = None,
        force: bool = False,
    ) -> None:
        self.folder = folder
        self.form: Form = form
        self.rows_per_group = rows_per_group
        self.rows_per_shard = rows_per_shard
        self.settings = dict(settings or {})
        self.force = force
        self.shards: list[Shard] = []
        self._waiting: dict[str, list[tuple[Row, Piece | GridNotes]]] = {}
        self._written: dict[str, int] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()

    def add(self, row: Row, music: Piece | GridNotes) -> None:
        """Add one piece; for the form ``grid`` a piece is reduced at once.

        Raises:
            InputError: the piece has no piano note; nothing was added.
        """
        if self.form == "grid" and isinstance(music, Piece):
            music = grid_of(music)
        waiting = self._waiting.setdefault(row.split, [])
        waiting.append((row, music))
        if len(waiting) == self.rows_per_shard:
            self._flush(row.split)

    def close(self) -> None:
        """Write what is waiting and ``dataset.json``."""
        for split in list(self._waiting):
            self._flush(split)
        write_description(self.folder, self.form, self.shards, self.settings, force=self.force)

    def _flush(self, split: str) -> None:
        rows = self._waiting.pop(split)
        index = self._written.get(split, 0)
        path = self.folder / shard_name(split, index)
        self.shards.append(
            write_shard(path, rows, self.form, rows_per_group=self.rows_per_group, force=self.force)
        )
        self._written[split] = index + 1


def write_description(
    folder: Path,
    form: Form,
    shards: Sequence[Shard],
    settings: Mapping[str, Any],
    *,
    force: bool = False,
) -> None:
    """Write ``dataset.json``, which makes the folder a complete dataset."""
    counts = {
        split: {
            "pieces": sum(s.rows for s in shards if s.split == split),
            "notes": sum(s.notes for s in shards if s.split == split),
        }
        for split in dict.fromkeys(s.split for s in shards)
    }
    described = {
        "format": "arietta dataset",
        "version": FORMAT_VERSION,
        "form": form,
        "counts": counts,
        "shards": [vars(shard) for shard in sorted(shards, key=lambda s: s.file)],
        "settings": settings,
    }
    text = json.dumps(described, indent=1, ensure_ascii=False) + "\n"
    with whole_file(folder / DESCRIPTION, force=force) as part:
        part.write_text(text, encoding="utf8")


# Reading


def open_dataset(path: Path) -> Dataset:
    """Open a dataset; its shards are only touched when they are read.

    Raises:
        InputError: there is none, it is unfinished, damaged, or of a later version.
    """
    description = path / DESCRIPTION
    if not path.is_dir():
        raise InputError(f"{path}: no such dataset folder; make one with arietta data build")
    if not description.is_file():
        raise InputError(
            f"{path}: no {DESCRIPTION}, so it is no dataset or an unfinished one; "
            "run arietta data build to its end"
        )
    try:
        described = json.loads(description.read_text(encoding="utf8"))
        version = described["version"]
        if described["format"] == "arietta dataset" and version != FORMAT_VERSION:
            raise InputError(
                f"{description}: format version {version}, this arietta reads {FORMAT_VERSION}; "
                "update arietta or build the dataset again"
            )
        shards = tuple(Shard(**shard) for shard in described["shards"])
        outside = [shard.file for shard in shards if Path(shard.file).name != shard.file]
        if outside:
            raise ValueError(f"shards outside the folder: {outside}")
        form = described["form"]
        if form not in ("pieces", "grid"):
            raise ValueError(f"unknown form {form!r}")
        return Dataset(path, form, shards, described["settings"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{description}: not a dataset description ({error})") from None


class ShardFile:
    """An opened shard; used as a context, or left open for as long as it is read.

    Attributes:
        path: of the file.
        num_rows, num_row_groups: of pieces, and of the groups they are read in.
    """

    def __init__(self, path: Path, form: Form) -> None:
        pa, pq = arrow()
        self.path = path
        try:
            self._file = pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{path}: not a readable Parquet file ({error})") from None
        self._schema = _schema(form)
        missing = set(self._schema.names) - set(self._file.schema_arrow.names)
        if missing:
            self.close()
            raise InputError(f"{path}: lacks the columns {', '.join(sorted(missing))}")
        self.num_rows: int = self._file.metadata.num_rows
        self.num_row_groups: int = self._file.num_row_groups

    def __enter__(self) -> ShardFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self, index: int) -> Table:
        """One row group, in our types whatever other program wrote it; further columns left out.

        Raises:
            InputError: its bytes are damaged, or of types that are not ours.
        """
        pa, _ = arrow()
        try:
            # One thread: whoever wants several reads several shards.
            table = self._file.read_row_group(
                index, columns=self._schema.names, use_threads=False
            ).select(self._schema.names)
        except (OSError, pa.ArrowException) as error:
            raise InputError(
                f"{self.path}: row group {index} is damaged; copy the file again ({error})"
            ) from None
        if table.schema.equals(self._schema):
            return table
        try:
            return table.cast(self._schema)
        except (ValueError, pa.ArrowException) as error:
            raise InputError(f"{self.path}: columns of other types ({error})") from None


def open_shard(dataset: Dataset, shard: Shard) -> ShardFile:
    """Open one shard of a dataset.

    Raises:
        InputError: it is missing, damaged, or of another form than the dataset.
    """
    return ShardFile(dataset.path / shard.file, dataset.form)


def read_group(file: ShardFile, index: int) -> Table:
    """One row group of an opened shard.

    Raises:
        InputError: its bytes are damaged.
    """
    return file.read(index)


def described_rows(table: Table) -> list[Row]:
    """The descriptions of a table's rows."""
    ids, splits, groups, sources = (table[name].to_pylist() for name in _DESCRIBED)
    metadata = map(dict, table["metadata"].to_pylist())
    return list(map(Row, ids, splits, groups, sources, metadata))


def list_columns(table: Table, names: Iterable[str]) -> tuple[npt.NDArray[Any], list[Any]]:
    """List columns of equal lengths as flat arrays: (rows + 1,) offsets and one array a name.

    Raises:
        InputError: the lists of a row differ in length, or one has nulls.
    """
    flat = []
    shared: npt.NDArray[Any] | None = None
    for name in names:
        column = table[name].combine_chunks()
        if column.null_count or column.values.null_count:
            raise InputError(f"column {name!r} has gaps (null)")
        offsets = column.offsets.to_numpy()
        flat.append(column.values.to_numpy()[offsets[0] : offsets[-1]])
        offsets = offsets - offsets[0]
        if shared is not None and not np.array_equal(offsets, shared):
            raise InputError(f"column {name!r} differs in length from the columns beside it")
        shared = offsets
    assert shared is not None
    return shared, flat


def table_pieces(table: Table) -> Iterator[tuple[Row, Piece]]:
    """Rows of the form ``pieces`` one by one.

    Raises:
        InputError: the columns of a note, pedal or other table differ in length.
    """
    columns: dict[str, tuple[npt.NDArray[Any], Any]] = {}
    for names in _PIECE_TABLES:
        numeric = [name for name in names if _PIECE[name] not in ("binary", "string")]
        offsets, flat = list_columns(table, numeric)
        columns |= {name: (offsets, f) for name, f in zip(numeric, flat, strict=True)}
    extra, text = table["extra_data"].to_pylist(), table["text"].to_pylist()
    files, divisions = table["file"].to_pylist(), table["division"].to_pylist()
    for i, row in enumerate(described_rows(table)):
        values: dict[str, Any] = {
            # A copy, so that one small piece does not keep the whole row group alive.
            name: flat[offsets[i] : offsets[i + 1]].copy()
            for name, (offsets, flat) in columns.items()
        }
        values |= {"file": files[i], "division": divisions[i]}
        values |= {"extra_data": extra[i], "text": text[i]}
        for texts, ticks in (("extra_data", "extra_tick"), ("text", "text_tick")):
            if len(values[texts]) != len(values[ticks]):
                raise InputError(f"{row.id}: {texts!r} and {ticks!r} differ in length")
        yield row, row_to_piece(values, row.metadata)


def table_grid(table: Table) -> Iterator[GridRow]:
    """Rows of the form ``grid`` one by one.

    Raises:
        InputError: columns differ in length, or hold values off the grid.
    """
    offsets, flat = list_columns(table, _GRID)
    for (name, (low, high)), column in zip(_GRID_LIMITS.items(), flat, strict=True):
        if len(column) and not (low <= column.min() and column.max() <= high):
            raise InputError(f"column {name!r} holds values outside {low}..{high}")
    for i, row in enumerate(described_rows(table)):
        wait, duration, pitch, velocity = (c[offsets[i] : offsets[i + 1]] for c in flat)
        tags = tags_of(row.metadata)
        yield GridRow(row, GridNotes(wait, duration, pitch, velocity, tags))


def read_pieces(dataset: Dataset, split: str | None = None) -> Iterator[tuple[Row, Piece]]:
    """Every piece of a split, or of all, in stored order; one row group is held in memory.

    Raises:
        InputError: a shard is missing or damaged, or the dataset has the form ``grid``.
    """
    if dataset.form != "pieces":
        raise InputError(
            f"{dataset.path}: holds notes on the token grid, not whole pieces; "
            "build it with --form pieces"
        )
    for shard in dataset.of_split(split):
        with open_shard(dataset, shard) as file:
            for group in range(file.num_row_groups):
                yield from table_pieces(read_group(file, group))


def group_grid(dataset: Dataset, table: Table) -> Iterator[GridRow]:
    """Rows of either form on the token grid; a piece without piano notes is left out."""
    if dataset.form == "grid":
        yield from table_grid(table)
        return
    for row, piece in table_pieces(table):
        try:
            yield GridRow(row, grid_of(piece))
        except InputError:
            continue


def read_grid(dataset: Dataset, split: str | None = None) -> Iterator[GridRow]:
    """Every piece of a split, or of all, on the token grid, from either form.

    A stored piece without piano notes is left out.

    Raises:
        InputError: a shard is missing or damaged.
    """
    for shard in dataset.of_split(split):
        with open_shard(dataset, shard) as file:
            for group in range(file.num_row_groups):
                yield from group_grid(dataset, read_group(file, group))
