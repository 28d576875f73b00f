"""First stage of a build: one input file -> a record of what was found, and its music.

A chunk of files becomes two Arrow files: ``NAME.music``, the pieces that no rule refused in the
form of the dataset, and ``NAME.records``, a row for every file, written last. Both depend on
nothing but the chunk and the settings, so a chunk that is there need not be done again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from arietta.data.dedup import content_hash, fingerprint
from arietta.data.filters import CHECKS, Value, check
from arietta.data.metadata import describe
from arietta.data.settings import IGNORED, BuildSettings
from arietta.data.sources import Item
from arietta.data.tables import METADATA, PieceRecord, arrow, rows_table, texts_cell, texts_type
from arietta.data.token_grid import GridNotes, grid_of
from arietta.errors import InputError
from arietta.midi.instruments import remove_ignored
from arietta.midi.notes import DRUM_CHANNEL
from arietta.midi.piece import Piece
from arietta.midi.reader import read, read_bytes
from arietta.output import whole_file
from arietta.tokenizers.quantise import SEGMENT_MS

_LISTS = frozenset(
    ("unique_pitch_count_in_interval", "note_density_in_interval", "note_timing_entropy")
)
# Ids around the notes: the instrument, <S> and <E>.
_TOKENS_BESIDE = 3


@dataclass(frozen=True)
class Chunk:
    """A piece of work.

    Attributes:
        folder: where its files go.
        name: of its files, without suffix.
        items: the inputs.
        settings: of the build.
    """

    folder: Path
    name: str
    items: tuple[Item, ...]
    settings: BuildSettings


def record_schema() -> Any:
    """Columns of a record; those of the manifest, and what later stages need."""
    pa, _ = arrow()
    values = {name: pa.list_(pa.float64()) if name in _LISTS else pa.float64() for name in CHECKS}
    return pa.schema(
        {
            "id": pa.string(),
            "source": pa.string(),
            "path": pa.string(),
            "bytes": pa.int64(),
            "rule": pa.string(),
            "detail": pa.string(),
            "duplicate_of": pa.string(),
            "notes": pa.int64(),
            "seconds": pa.float64(),
            "tokens": pa.int64(),
            "content_hash": pa.string(),
            METADATA: texts_type(),
            **values,
            "given_split": pa.string(),
            "given_group": pa.string(),
            "composer": pa.string(),
            "opus": pa.string(),
            "number": pa.string(),
            # Place in the music file, -1 where it has none.
            "row": pa.int32(),
            "print_hash": pa.list_(pa.uint32()),
            "print_time_ms": pa.list_(pa.uint32()),
            "print_span_ms": pa.list_(pa.uint16()),
            "print_level": pa.uint8(),
            "print_notes": pa.int64(),
        }
    )


def scan_chunk(chunk: Chunk) -> int:
    """Do a chunk and write its files.

    Returns:
        How many inputs it had.

    Raises:
        OutputError: the files cannot be written.
    """
    pa, _ = arrow()
    records: list[dict[str, Any]] = []
    music: list[tuple[PieceRecord, Piece | GridNotes]] = []
    for item in chunk.items:
        record, kept = scan_item(item, chunk.settings)
        record["row"] = -1 if kept is None else len(music)
        if kept is not None:
            music.append(kept)
        records.append(record)
    path = chunk.folder / chunk.name
    _write_ipc(path.with_suffix(".music"), rows_table(chunk.settings.form, music))
    schema = record_schema()
    columns = {f.name: pa.array([r.get(f.name) for r in records], f.type) for f in schema}
    _write_ipc(path.with_suffix(".records"), pa.table(columns, schema=schema))
    return len(records)


def _write_ipc(path: Path, table: Any) -> None:
    pa, _ = arrow()
    with whole_file(path, force=True) as part, pa.ipc.new_file(str(part), table.schema) as writer:
        writer.write_table(table.combine_chunks())


def scan_item(
    item: Item, settings: BuildSettings
) -> tuple[dict[str, Any], tuple[PieceRecord, Piece | GridNotes] | None]:
    """Return the record of one file, and its music unless a rule refuses it.

    Nothing that a file can hold makes this raise: what goes wrong is the record's ``detail``.
    """
    record: dict[str, Any] = {
        "id": printable(item.id),
        "source": printable(item.source),
        "path": printable(item.path),
        "bytes": item.size,
        "rule": "unreadable",
        "detail": "",
        "duplicate_of": "",
    }
    try:
        described = describe(item.known)
        record |= {
            "given_split": described.split,
            "given_group": described.group,
            "composer": described.composer,
            "opus": described.opus,
            "number": described.number,
            METADATA: texts_cell(described.metadata),
        }
        piece = _read(item)
        if settings.infer_tags:
            texts = [item.path.rsplit("/", 1)[-1].rsplit(".", 1)[0]]
            texts += [text for _, text in piece.text]
            described = describe(item.known, infer_from=printable(" ".join(texts)))
            record[METADATA] = texts_cell(described.metadata)
            record["composer"] = described.composer
        refused, values = check(piece, settings.filters, settings.compat)
        record |= values
        excluded = next((e for e in settings.exclude if item.known.get(e[0]) == e[1]), None)
        if excluded:
            record["detail"] = "=".join(excluded)
            refused = "excluded"
        elif described.duplicate_of and settings.looks_for("known"):
            record["duplicate_of"] = described.duplicate_of
            refused = "known_duplicate"
        elif refused:
            record["detail"] = _detail(values[refused])
        piece = preprocess(piece, settings)
        music: Piece | GridNotes = piece
        record |= _size(piece)
        if not refused:
            if not record["tokens"]:
                raise _NoNotes("no notes of an instrument in use")
            if settings.form == "grid":
                music = grid_of(piece)
                record["notes"] = len(music)
            if settings.fingerprints:
                mark = fingerprint(piece)
                record["print_hash"], record["print_time_ms"] = mark.hash, mark.time_ms
                record["print_span_ms"], record["print_level"] = mark.span_ms, mark.level
                record["print_notes"] = mark.notes
            record["content_hash"] = content_hash(
                piece, transposition=settings.any_key, tempo=settings.any_tempo
            )
        record["rule"] = refused
    except _NoNotes as error:
        record["rule"], record["detail"] = "no_notes", str(error)
        return record, None
    except InputError as error:
        record["detail"] = printable(str(error)).removeprefix(f"{record['id']}: ")
        return record, None
    except Exception as error:
        # A fault of ours in one file of a million must not cost the other ones.
        record["detail"] = printable(f"fault of ours: {type(error).__name__}: {error}")
        return record, None
    if refused:
        return record, None
    row = PieceRecord(record["id"], "", "", record["source"], dict(described.metadata))
    return record, (row, music)


def preprocess(piece: Piece, settings: BuildSettings) -> Piece:
    """Return the piece without the channels of instruments that are not wanted."""
    piece = remove_ignored(piece, IGNORED[settings.instruments])
    drums = piece.notes.channel == DRUM_CHANNEL
    if settings.instruments == "piano" and drums.any():
        piece = replace(piece, notes=piece.notes.take(~drums))
    return piece


class _NoNotes(Exception):
    """Nothing is left to train on."""


def printable(text: str) -> str:
    """Return the text without what UTF-8 cannot hold: file names may be any bytes."""
    return text.encode("utf8", "backslashreplace").decode("utf8")


def _read(item: Item) -> Piece:
    if item.problem:
        raise InputError(item.problem)
    if item.piece is not None:
        return item.piece
    # The piece is named after its place among the sources, not after this machine's folders.
    name = printable(item.id)
    if item.data is not None:
        return read_bytes(item.data, source=name)
    assert item.file is not None
    try:
        return replace(read(item.file, strict=True), source=name)
    except InputError as error:
        raise InputError(str(error).removeprefix(f"{item.file}: ")) from None


def _detail(value: Value) -> str:
    values = value if isinstance(value, tuple) else (value,)
    return ", ".join(f"{v:g}" for v in values)


def _size(piece: Piece) -> dict[str, Any]:
    """Count notes, seconds from first key down to last key up, tokens of the piano vocabulary."""
    notes = piece.notes
    if not len(notes):
        return {"notes": 0, "seconds": 0.0, "tokens": 0}
    onset = piece.onset_ms
    tuned = notes.channel != DRUM_CHANNEL
    count = int(np.count_nonzero(tuned))
    tokens = 0
    if count:
        used = onset[tuned]
        tokens = 3 * count + int(used[-1] - used[0]) // SEGMENT_MS + _TOKENS_BESIDE
    return {
        "notes": len(notes),
        "seconds": round((piece.end_ms - float(onset[0])) / 1000, 3),
        "tokens": tokens,
    }


def open_ipc(path: Path) -> Any:
    """Return an Arrow file as a table over mapped memory."""
    pa, _ = arrow()
    with pa.memory_map(str(path)) as mapped:
        return pa.ipc.open_file(mapped).read_all()


def read_records(path: Path, columns: Sequence[str]) -> Mapping[str, Any]:
    """Return some columns of a records file."""
    table = open_ipc(path)
    return {name: table[name] for name in columns}
