"""Datasets on disk: Parquet shards of pieces, one row a piece, readable by pyarrow, polars, duckdb.

A dataset is a folder::

    train-00000.parquet …  shards; each holds one split, so a split can be carried alone
    manifest.parquet       a row for every input file, kept or refused
    dataset.json           form, shards, settings and counts; written last, so it marks completion

The form is ``pieces`` or ``grid``, see ``arietta.data.tables``.
"""

from __future__ import annotations

import errno
import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from arietta.data.tables import (
    DESCRIBED,
    GRID_COLUMNS,
    METADATA,
    PIECE_COLUMNS,
    schema_of,
    texts_array,
    texts_rows,
)
from arietta.data.tables import Form as Form
from arietta.data.tables import GridRow as GridRow
from arietta.data.tables import PieceRecord as PieceRecord
from arietta.data.tables import Table as Table
from arietta.data.tables import arrow as arrow
from arietta.data.tables import piece_to_row as piece_to_row
from arietta.data.tables import row_to_piece as row_to_piece
from arietta.data.tables import rows_table as rows_table
from arietta.data.tables import table_grid as table_grid
from arietta.data.tables import table_pieces as table_pieces
from arietta.data.token_grid import GridNotes, grid_of
from arietta.errors import InputError, UsageError
from arietta.midi.piece import Piece
from arietta.output import whole_file

FORMAT_VERSION = 2
READABLE_VERSIONS = (1, 2)
"""1 had metadata as a map, which Hugging Face ``datasets`` does not open."""
DESCRIPTION = "dataset.json"
MANIFEST = "manifest.parquet"
# A row group is what the loader reads at once: about 300 kB of the grid form.
ROWS_PER_GROUP = 64
ROWS_PER_SHARD = 2048
KEPT_OPEN = 4
# Level 19 makes the grid form 5 % smaller and takes ten times as long.
ZSTD_LEVEL = 9
_METADATA_PATHS = tuple(f"{METADATA}.list.element.{name}" for name in ("key", "value"))


@dataclass(frozen=True)
class Shard:
    """One Parquet file of a dataset.

    Attributes:
        file: its name.
        split: which split all its rows belong to.
        rows, notes: how many pieces and notes it holds.
        sha256: of the file; empty in datasets of version 1.
    """

    file: str
    split: str
    rows: int
    notes: int
    sha256: str = ""


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
        """Return the shards of a split, or all of them; every file is there.

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


def _writer_options(form: Form) -> dict[str, Any]:
    """How columns are packed, chosen by measurement (benchmarks/loader_speed.py)."""
    encodings = {}
    dictionary = ["split", "group", "source", *_METADATA_PATHS]
    for name, kind in (PIECE_COLUMNS if form == "pieces" else GRID_COLUMNS).items():
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
        "write_statistics": list(DESCRIBED),
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
    rows: Iterable[tuple[PieceRecord, Piece | GridNotes]],
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
        pq.ParquetWriter(part, schema_of(form), **_writer_options(form)) as writer,
    ):
        while group := list(islice(left, rows_per_group)):
            splits.update(row.split for row, _ in group)
            if len(splits) > 1:
                raise UsageError(f"{path.name}: one split a shard, not {sorted(splits)}")
            table = rows_table(form, group)
            writer.write_table(table, row_group_size=rows_per_group)
            n_rows += len(group)
            n_notes += len(table["pitch"].combine_chunks().flatten())
    return Shard(path.name, next(iter(splits), ""), n_rows, n_notes, shard_sha256(path))


def shard_sha256(path: Path) -> str:
    """SHA-256 of a shard.

    Raises:
        InputError: it is missing or cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


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
        self._waiting: dict[str, list[tuple[PieceRecord, Piece | GridNotes]]] = {}
        self._written: dict[str, int] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()

    def add(self, row: PieceRecord, music: Piece | GridNotes) -> None:
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
        if described["format"] == "arietta dataset" and version not in READABLE_VERSIONS:
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


def dataset_sha256(dataset: Dataset) -> str:
    """Return one hash of all music of a dataset: of the names and the hashes of its shards.

    Datasets of version 1 hold no hashes; theirs are made of the files.

    Raises:
        InputError: a shard without a known hash is missing.
    """
    digest = hashlib.sha256()
    for shard in sorted(dataset.shards, key=lambda s: s.file):
        known = shard.sha256 or shard_sha256(dataset.path / shard.file)
        digest.update(f"{shard.file} {known}\n".encode())
    return digest.hexdigest()


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
            if getattr(error, "errno", None) == errno.EMFILE:
                raise InputError(
                    f"{path}: cannot be opened, this process has too many open files; raise the"
                    " limit (`ulimit -n 4096`) and run again"
                ) from None
            raise InputError(f"{path}: not a readable Parquet file ({error})") from None
        self._schema = schema_of(form)
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
            if pa.types.is_map(table.schema.field(METADATA).type):
                place = table.schema.get_field_index(METADATA)
                texts = texts_array(texts_rows(table[METADATA]))
                table = table.set_column(place, self._schema.field(METADATA), texts)
            return table.cast(self._schema)
        except (ValueError, pa.ArrowException) as error:
            raise InputError(f"{self.path}: columns of other types ({error})") from None


def open_shard(dataset: Dataset, shard: Shard) -> ShardFile:
    """Open one shard of a dataset.

    Raises:
        InputError: it is missing, damaged, or of another form than the dataset.
    """
    return ShardFile(dataset.path / shard.file, dataset.form)


class RowGroups:
    """Read the row groups of a split in any order; few of its files are open at a time.

    Args:
        dataset: any form.
        split: name of the split.
        kept_open: files to keep open for further groups.

    Attributes:
        num_rows: number of pieces.

    Raises:
        InputError: there is no such split, or a shard is missing or damaged.
    """

    def __init__(self, dataset: Dataset, split: str, kept_open: int = KEPT_OPEN) -> None:
        self._dataset, self._kept_open = dataset, kept_open
        self._open: OrderedDict[str, ShardFile] = OrderedDict()
        self._places: list[tuple[Shard, int]] = []
        self.num_rows = 0
        for shard in dataset.of_split(split):
            with open_shard(dataset, shard) as file:
                self._places += ((shard, group) for group in range(file.num_row_groups))
                self.num_rows += file.num_rows

    def __len__(self) -> int:
        return len(self._places)

    def read(self, index: int) -> Table:
        """Return one row group, counted through all shards.

        Raises:
            InputError: its bytes are damaged, or the file is gone.
        """
        shard, group = self._places[index]
        file = self._open.pop(shard.file, None) or open_shard(self._dataset, shard)
        self._open[shard.file] = file  # the last to be closed
        if len(self._open) > self._kept_open:
            self._open.popitem(last=False)[1].close()
        return file.read(group)


def read_pieces(dataset: Dataset, split: str | None = None) -> Iterator[tuple[PieceRecord, Piece]]:
    """Every piece of a split, or of all, in stored order; one row group is held in memory.

    Raises:
        InputError: a shard is missing or damaged, or the dataset has the form ``grid``.
    """
    if dataset.form != "pieces":
        raise InputError(
            f"{dataset.path}: holds notes on the token grid, not whole pieces; "
            "build it with `form` pieces"
        )
    for shard in dataset.of_split(split):
        with open_shard(dataset, shard) as file:
            for group in range(file.num_row_groups):
                yield from table_pieces(file.read(group))


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
                yield from group_grid(dataset, file.read(group))
