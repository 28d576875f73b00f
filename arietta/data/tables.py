"""Pieces as Arrow tables: the columns of a dataset, one row a piece, both ways.

Two forms. ``pieces``: every field of ``Piece``, lossless. ``grid``: the notes alone on the token
grid (``arietta.data.token_grid``), which is all that token models see, in half the space. Times are
ticks in the first and steps of 10 ms in the second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from arietta.data.token_grid import GridNotes, grid_of, tags_of
from arietta.errors import InputError, MissingExtraError, UsageError
from arietta.midi.notes import (
    ExtraTable,
    MessageList,
    NoteTable,
    PedalTable,
    ProgramTable,
)
from arietta.midi.piece import Piece
from arietta.midi.tempo import TempoMap
from arietta.tokenizers.encoding import MAX_SEGMENT
from arietta.tokenizers.quantise import MAX_DURATION_MS, SEGMENT_MS, STEP
from arietta.tokenizers.vocabulary import MAX_VELOCITY_STEP, N_PITCHES

Form = Literal["pieces", "grid"]
Table: TypeAlias = Any
"""A ``pyarrow.Table``; pyarrow is optional and has no types."""

DESCRIBED = ("id", "split", "group", "source")
METADATA = "metadata"
GRID_COLUMNS = {"wait": "int32", "duration": "uint16", "pitch": "uint8", "velocity": "uint8"}
GRID_LIMITS = {
    "wait": (0, MAX_SEGMENT * SEGMENT_MS // STEP),
    "duration": (1, MAX_DURATION_MS // STEP),
    "pitch": (0, N_PITCHES - 1),
    "velocity": (1, MAX_VELOCITY_STEP),
}
PIECE_COLUMNS = {
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

FIELDS: Mapping[str, tuple[str, str]] = {
    "id": ("", "name of the file in its source, unique in the dataset"),
    "split": ("", "train, valid or test; one a shard"),
    "group": ("", "composition: pieces of one group hold the same work and share a split"),
    "source": ("", "collection that the file comes from"),
    METADATA: ("", "composer, composer_name, form, genre and whatever else is known"),
    "file": ("", "name of the file that was read"),
    "division": ("ticks per quarter note", "resolution of all ticks of the piece"),
    "tempo_tick": ("tick", "where a tempo begins"),
    "tempo_us_per_quarter": ("microseconds per quarter note", "tempo from there on"),
    "onset_tick": ("tick", "key down"),
    "duration_tick": ("ticks", "key down to key up, without the pedal"),
    "pitch": ("MIDI note number", "0 to 127, 60 is middle C"),
    "velocity": ("MIDI velocity", "1 to 127"),
    "channel": ("MIDI channel", "0 to 15, drums on 9"),
    "track": ("number", "track of the file, from 0"),
    "pedal_tick": ("tick", "where the sustain pedal moves"),
    "pedal_value": ("controller value", "0 to 127, down from 64 on"),
    "pedal_channel": ("MIDI channel", "0 to 15"),
    "pedal_track": ("number", "track of the file, from 0"),
    "program_tick": ("tick", "where a program is chosen"),
    "program": ("MIDI program", "0 to 127, pianos are 0 to 7"),
    "program_channel": ("MIDI channel", "0 to 15"),
    "program_track": ("number", "track of the file, from 0"),
    "extra_tick": ("tick", "place of an event that no other column holds"),
    "extra_track": ("number", "track of the file, from 0"),
    "extra_data": ("bytes", "that event as in the file"),
    "text_tick": ("tick", "place of a text or copyright event"),
    "text": ("", "its text"),
    "wait": ("10 ms", "onset minus the onset before; 0 at the first note"),
    "duration": ("10 ms", "1 to 500, sustain pedal folded in"),
}
"""Column -> unit of its values, and what they are; also in the metadata of the Parquet fields."""
_GRID_FIELDS = {"velocity": ("10 MIDI velocities", "1 to 12")}


# Columns of one table of ``Piece``, equal in length within a row.
PIECE_TABLES = (
    ("tempo_tick", "tempo_us_per_quarter"),
    ("onset_tick", "duration_tick", "pitch", "velocity", "channel", "track"),
    ("pedal_tick", "pedal_value", "pedal_channel", "pedal_track"),
    ("program_tick", "program", "program_channel", "program_track"),
    ("extra_tick", "extra_track", "extra_data"),
    ("text_tick", "text"),
)


@dataclass(frozen=True)
class PieceRecord:
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

    row: PieceRecord
    notes: GridNotes


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


# Piece -> table


def piece_to_row(piece: Piece) -> dict[str, Any]:
    """Return the music of a piece as columns of the form ``pieces``, without its metadata."""
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
    """Return the piece that ``piece_to_row`` took apart; lists are taken as well as arrays."""

    def column(name: str) -> npt.NDArray[Any]:
        return np.asarray(row[name], PIECE_COLUMNS[name])

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


def described_fields(form: Form) -> dict[str, tuple[str, str]]:
    """Return the columns of a form in order: name -> unit, and what the values are."""
    names = [*DESCRIBED, METADATA]
    names += ["file", "division", *PIECE_COLUMNS] if form == "pieces" else GRID_COLUMNS
    special = {} if form == "pieces" else _GRID_FIELDS
    return {name: special.get(name, FIELDS[name]) for name in names}


def schema_of(form: Form) -> Any:
    """Return the ``pyarrow.Schema`` of a form; fields carry ``unit`` and ``description``."""
    pa, _ = arrow()
    fields = [pa.field(name, pa.string(), nullable=False) for name in DESCRIBED]
    fields.append(pa.field(METADATA, texts_type(), nullable=False))
    if form == "pieces":
        fields.append(pa.field("file", pa.string()))
        fields.append(pa.field("division", pa.int32(), nullable=False))
    for name, kind in (PIECE_COLUMNS if form == "pieces" else GRID_COLUMNS).items():
        element = pa.field("element", getattr(pa, kind)(), nullable=False)
        fields.append(pa.field(name, pa.list_(element), nullable=False))
    told = described_fields(form)
    return pa.schema(
        one.with_metadata(
            {
                key: text
                for key, text in zip(("unit", "description"), told[one.name], strict=True)
                if text
            }
        )
        for one in fields
    )


def texts_type() -> Any:
    """Return the type of named texts: a list of key and value.

    Not a map: Hugging Face ``datasets`` opens none.
    """
    pa, _ = arrow()
    pair = pa.struct([pa.field(name, pa.string(), nullable=False) for name in ("key", "value")])
    return pa.list_(pa.field("element", pair, nullable=False))


def texts_array(rows: Iterable[Mapping[str, str]]) -> Any:
    """Return named texts as a column, keys in order."""
    pa, _ = arrow()
    return pa.array([texts_cell(row) for row in rows], texts_type())


def texts_cell(texts: Mapping[str, str]) -> list[dict[str, str]]:
    """Return named texts as one cell of a column of ``texts_type``."""
    return [{"key": key, "value": value} for key, value in sorted(texts.items())]


def texts_rows(column: Any) -> list[dict[str, str]]:
    """Return a column of named texts, also of the maps that older files have."""
    return [
        dict((one["key"], one["value"]) if isinstance(one, Mapping) else one for one in cell or ())
        for cell in column.to_pylist()
    ]


def list_array(values: Sequence[Any], kind: str) -> Any:
    """Return a list column out of one array (or list of bytes or strings) a row."""
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


def rows_table(form: Form, rows: Sequence[tuple[PieceRecord, Piece | GridNotes]]) -> Table:
    """Rows as one ``pyarrow.Table``.

    The metadata of a row is that of the piece, or the tags of the grid, overruled by the row's own.

    Raises:
        InputError: a piece cannot be put on the grid, or a text is not Unicode.
        UsageError: grid notes are to be written as a piece.
    """
    pa, _ = arrow()
    columns: dict[str, Any] = {}
    try:
        for name in DESCRIBED:
            columns[name] = pa.array([getattr(row, name) for row, _ in rows], pa.string())
        known = [music.metadata if isinstance(music, Piece) else music.tags for _, music in rows]
        merged = [{**k, **row.metadata} for k, (row, _) in zip(known, rows, strict=True)]
        columns[METADATA] = texts_array(merged)
        if form == "pieces":
            parts = []
            for row, music in rows:
                if not isinstance(music, Piece):
                    raise UsageError(f"{row.id}: the grid holds too little to make a piece of it")
                parts.append(piece_to_row(music))
            columns["file"] = pa.array([p["file"] for p in parts], pa.string())
            columns["division"] = pa.array([p["division"] for p in parts], pa.int32())
            for name, kind in PIECE_COLUMNS.items():
                columns[name] = list_array([p[name] for p in parts], kind)
        else:
            notes = [grid_of(m) if isinstance(m, Piece) else m for _, m in rows]
            for name, kind in GRID_COLUMNS.items():
                columns[name] = list_array([getattr(n, name) for n in notes], kind)
    except (pa.ArrowInvalid, UnicodeEncodeError) as error:
        raise InputError(f"{rows[0][0].id} or a row after it: cannot be stored ({error})") from None
    return pa.table(columns, schema=schema_of(form))


# Table -> pieces


def described_rows(table: Table) -> list[PieceRecord]:
    """Return the descriptions of a table's rows."""
    ids, splits, groups, sources = (table[name].to_pylist() for name in DESCRIBED)
    metadata = texts_rows(table[METADATA])
    return list(map(PieceRecord, ids, splits, groups, sources, metadata))


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


def table_pieces(table: Table) -> Iterator[tuple[PieceRecord, Piece]]:
    """Rows of the form ``pieces`` one by one.

    Raises:
        InputError: the columns of a note, pedal or other table differ in length.
    """
    columns: dict[str, tuple[npt.NDArray[Any], Any]] = {}
    for names in PIECE_TABLES:
        numeric = [name for name in names if PIECE_COLUMNS[name] not in ("binary", "string")]
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
    offsets, flat = list_columns(table, GRID_COLUMNS)
    for (name, (low, high)), column in zip(GRID_LIMITS.items(), flat, strict=True):
        if len(column) and not (low <= column.min() and column.max() <= high):
            raise InputError(f"column {name!r} holds values outside {low}..{high}")
    for i, row in enumerate(described_rows(table)):
        wait, duration, pitch, velocity = (c[offsets[i] : offsets[i + 1]] for c in flat)
        tags = tags_of(row.metadata)
        yield GridRow(row, GridNotes(wait, duration, pitch, velocity, tags))
