"""Where the music comes from: folders, archives, datasets; and what is said about it.

A source gives its files one by one in an order that depends on nothing but its content, so that
the same sources always make the same dataset. Archives are read as streams, whatever their size;
nothing is ever unpacked to disk. A file that cannot be had is given as well, with the reason.
"""

from __future__ import annotations

import csv
import io
import json
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, Any

from arietta.data.metadata import MetadataTable
from arietta.data.shards import DESCRIPTION, Dataset, Shard, open_dataset, read_pieces
from arietta.errors import InputError, MissingExtraError, UsageError
from arietta.midi.piece import Piece
from arietta.midi.reader import DEFAULT_MAX_BYTES
from arietta.midi.zips import open_zip, read_member

MIDI_SUFFIXES = (".mid", ".midi", ".rmi", ".kar")
TAR_SUFFIXES = (".tar", ".tar.zst", ".tzst", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
MANIFEST = "manifest.csv"
LARGEST_MEMBER = 2**28
"""Bytes of one file of an archive that is read for what stands beside the music."""


@dataclass(frozen=True)
class Item:
    """One input file, not parsed yet.

    Attributes:
        id: unique among all sources.
        source: the collection it belongs to.
        path: where in its source it lies.
        size: bytes; 0 where there are none.
        file: the file to read, unless ``data`` or ``piece`` is here already.
        data: bytes of the MIDI file.
        piece: the music, out of a dataset.
        known: what tables say of it.
        problem: why there is nothing to read.
        stamp: changes when the content may have changed.
        consumed: bytes of the source that have been read when this item was reached.
    """

    id: str
    source: str
    path: str
    size: int = 0
    file: Path | None = None
    data: bytes | None = None
    piece: Piece | None = None
    known: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    stamp: str = ""
    consumed: int = 0

    def key(self) -> str:
        """Return a text that changes when the item does."""
        known = json.dumps(dict(self.known), sort_keys=True)
        return f"{self.id}\0{self.source}\0{self.size}\0{self.stamp}\0{self.problem}\0{known}"


@dataclass(frozen=True)
class Source:
    """One of the places given by the user.

    Attributes:
        path: a folder, an archive or a dataset.
        label: its name in ids, unique among the sources.
        renamed: whether the label had to be changed; ids that tables give get it in front then.
    """

    path: Path
    label: str
    renamed: bool = False

    def bytes(self) -> int:
        """Size of what will be read, for the progress line."""
        if self.path.is_file():
            return self.path.stat().st_size
        if rows := _corpus_rows(self.path):
            shards = [self.path / name for name in rows]
            return sum(shard.stat().st_size for shard in shards if shard.is_file())
        return sum(size for _, _, size, _ in _walk(self.path))


def find_sources(paths: Sequence[Path]) -> list[Source]:
    """Return the sources with their labels.

    Raises:
        InputError: a path does not exist, or is of no known kind.
        UsageError: no path is given.
    """
    if not paths:
        raise UsageError("name a folder, an archive or a dataset to build from")
    sources: list[Source] = []
    labels: set[str] = set()
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder")
        name = path.resolve().name
        if path.is_file():
            if not name.lower().endswith((*TAR_SUFFIXES, ".zip", ".parquet", *MIDI_SUFFIXES)):
                raise InputError(
                    f"{path}: not a source; give a folder, .tar (.zst, .gz, .bz2, .xz), .zip, "
                    ".parquet or .mid"
                )
            for suffix in (*TAR_SUFFIXES, ".zip", ".parquet"):
                name = name.removesuffix(suffix)
        label, number = name, 1
        while label in labels:
            number += 1
            label = f"{name}-{number}"
        labels.add(label)
        sources.append(Source(path, label, label != name))
    return sources


def read_source(source: Source, table: MetadataTable | None = None) -> Iterator[Item]:
    """Every input file of a source, in order.

    Args:
        source: where to read.
        table: metadata given apart; for a folder ``metadata.json`` or ``metadata.csv`` in it is
            used where none is given.

    Raises:
        MissingExtraError: a package that the archive needs is not installed.
        InputError: a table is damaged.
    """
    path, lower = source.path, source.path.name.lower()
    if path.is_dir():
        if shards := _corpus_rows(path):
            consumed = 0
            for name in sorted(shards):
                shard = path / name
                for item in _corpus_shard(source, shard, shards[name]):
                    yield replace(item, consumed=consumed + item.consumed)
                consumed += shard.stat().st_size if shard.is_file() else 0
        elif (path / DESCRIPTION).is_file():
            yield from _dataset(source, path)
        else:
            yield from _folder(source, table or _table_of(path))
    elif lower.endswith(MIDI_SUFFIXES):
        stat = path.stat()
        known = table.lookup(path.name) if table else {}
        yield Item(
            path.name, "", path.name, stat.st_size, path, known=known, stamp=str(stat.st_mtime_ns)
        )
    elif lower.endswith(".parquet"):
        yield from _dataset(source, path.parent, path.name)
    elif rows := _corpus_rows(path.parent).get(path.name, {}):
        yield from _corpus_shard(source, path, rows)
    else:
        for member, content, problem, stamp, consumed in _archive(path):
            yield Item(
                f"{source.label}/{member}",
                source.label,
                member,
                len(content),
                data=content,
                known=table.lookup(member) if table else {},
                problem=problem,
                stamp=stamp,
                consumed=consumed,
            )


def _table_of(folder: Path) -> MetadataTable | None:
    """Return the metadata table in a folder, or one above its data as Aria-MIDI has it."""
    for candidate in (folder / "metadata.json", folder / "metadata.csv"):
        if candidate.is_file():
            return MetadataTable.read(candidate)
    return None


# Folders


def _walk(folder: Path, inside: str = "") -> Iterator[tuple[Path, str, int, int]]:
    """(file, path inside, size, time of change) of every MIDI file, in order of names."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        below = f"{inside}/{entry.name}" if inside else entry.name
        # A link to a folder could lead in a circle.
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), below)
        elif entry.name.lower().endswith(MIDI_SUFFIXES):
            try:
                stat = entry.stat()
            except OSError:  # a link to nothing; reading it will say so
                yield Path(entry.path), below, 0, 0
                continue
            yield Path(entry.path), below, stat.st_size, stat.st_mtime_ns


def _folder(source: Source, table: MetadataTable | None) -> Iterator[Item]:
    consumed = 0
    for file, inside, size, changed in _walk(source.path):
        consumed += size
        # Tables of a dataset hold UTF-8; a file's name may hold any byte.
        inside = inside.encode("utf8", "backslashreplace").decode("utf8")
        yield Item(
            f"{source.label}/{inside}",
            source.label,
            inside,
            size,
            file,
            known=table.lookup(inside) if table else {},
            stamp=str(changed),
            consumed=consumed,
        )


# Archives


def _open_tar(path: Path, raw: IO[bytes]) -> tarfile.TarFile:
    if path.name.lower().endswith(("zst",)):
        try:
            import zstandard
        except ImportError:
            raise MissingExtraError("reading .tar.zst archives", "train") from None
        stream = zstandard.ZstdDecompressor(max_window_size=1 << 28).stream_reader(raw)
        return tarfile.open(fileobj=io.BufferedReader(stream, 1 << 20), mode="r|")
    try:
        return tarfile.open(fileobj=raw, mode="r|*")
    except TypeError:  # tarfile asks for the number of a byte that is not there
        raise tarfile.ReadError("it ends within its header") from None


def _archive_errors() -> tuple[type[Exception], ...]:
    """Return what reading a damaged archive raises; zstandard's own if it is installed."""
    try:
        from zstandard import ZstdError
    except ImportError:
        return _DAMAGED
    return (*_DAMAGED, ZstdError)


_DAMAGED: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


def _archive(
    path: Path, wanted: Iterable[str] | None = None
) -> Iterator[tuple[str, bytes, str, str, int]]:
    """(name, bytes, problem, stamp, consumed) of the MIDI files in an archive, in its order.

    A damaged archive ends with one item that says so.
    """
    stat = path.stat()
    stamp = f"{stat.st_size}:{stat.st_mtime_ns}"
    files = _zip_files(path) if path.name.lower().endswith(".zip") else _tar_files(path)
    names = None if wanted is None else set(wanted)
    try:
        for name, size, load, consumed in files:
            if names is not None:
                if name not in names:
                    continue
            elif not _is_midi(name):
                continue
            if size > DEFAULT_MAX_BYTES:
                yield name, b"", f"larger than {DEFAULT_MAX_BYTES} bytes", stamp, consumed
                continue
            try:
                yield name, load(), "", stamp, consumed
            except zipfile.BadZipFile as error:
                yield name, b"", f"cannot be read from {path.name}: {error}", stamp, consumed
    except _archive_errors() as error:
        yield "", b"", f"{path.name} is damaged from here on: {error}", stamp, stat.st_size


def read_members(archive: Path, suffixes: str | tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """(path inside, bytes) of the files of an archive whose names end like this.

    Raises:
        InputError: the archive is damaged.
        MissingExtraError: a package that it needs is not installed.
    """
    files = _zip_files(archive) if archive.suffix.lower() == ".zip" else _tar_files(archive)
    try:
        for name, size, load, _ in files:
            if not name.lower().endswith(suffixes):
                continue
            if size > LARGEST_MEMBER:
                raise InputError(
                    f"{archive}: {name} is {size:,} bytes; at most {LARGEST_MEMBER:,} are read"
                )
            yield name, load()
    except _archive_errors() as error:
        raise InputError(f"{archive}: damaged, or cannot be unpacked: {error}") from None


def _tar_files(path: Path) -> Iterator[tuple[str, int, Any, int]]:
    with path.open("rb") as raw, _open_tar(path, raw) as tar:
        for member in tar:
            if not member.isfile():
                continue
            content = tar.extractfile(member)
            assert content is not None
            yield member.name, member.size, content.read, raw.tell()
            # Every header would be remembered otherwise, a kilobyte each.
            tar.members.clear()  # type: ignore[attr-defined]


def _zip_files(path: Path) -> Iterator[tuple[str, int, Any, int]]:
    with open_zip(path) as archive:
        consumed = 0
        for info in archive.infolist():
            consumed += info.compress_size
            if not info.filename.endswith("/"):
                yield info.filename, info.file_size, partial(read_member, archive, info), consumed


def _is_midi(name: str) -> bool:
    base = name.rsplit("/", 1)[-1]
    return base.lower().endswith(MIDI_SUFFIXES) and not base.startswith(".")


# A corpus: manifest.csv and the shards it names

_Rows = dict[str, list[dict[str, str]]]


def _corpus_rows(folder: Path) -> dict[str, _Rows]:
    """Shard -> path inside -> rows of the manifest; empty where the folder is no corpus."""
    manifest = folder / MANIFEST
    if not manifest.is_file():
        return {}
    found: dict[str, _Rows] = {}
    with manifest.open(encoding="utf8", newline="") as file:
        reader = csv.DictReader(file)
        if not {"id", "shard", "path"} <= set(reader.fieldnames or ()):
            return {}
        for row in reader:
            found.setdefault(row["shard"], {}).setdefault(row["path"], []).append(row)
    return found


def _corpus_shard(source: Source, shard: Path, rows: _Rows) -> Iterator[Item]:
    """Every row of the manifest that names this shard; rows may share a file."""
    left = dict(rows)

    def items(path: str, content: bytes, problem: str, stamp: str, consumed: int) -> Iterator[Item]:
        for row in left.pop(path, ()):
            known = dict(row)
            if source.renamed:
                for name in ("id", "dup_of"):
                    known[name] = f"{source.label}:{known[name]}" if known.get(name) else ""
            yield Item(
                known["id"],
                known.get("source") or source.label,
                path,
                len(content),
                data=content,
                known=known,
                problem=problem,
                stamp=stamp,
                consumed=consumed,
            )

    if not shard.is_file():
        problem = f"{shard.name} is named in {MANIFEST} but not there"
        for path in list(left):
            yield from items(path, b"", problem, "", 0)
        return
    damage = ""
    for path, content, problem, stamp, consumed in _archive(shard, rows):
        damage = damage or (problem if not path else "")
        yield from items(path, content, problem, stamp, consumed)
    for path in list(left):
        yield from items(path, b"", damage or f"not in {shard.name}", "", shard.stat().st_size)


# Datasets


def _dataset(source: Source, folder: Path, shard: str | None = None) -> Iterator[Item]:
    """Yield the pieces of a dataset, or of one Parquet file of pieces."""
    if shard is None:
        dataset = open_dataset(folder)
        read = folder / DESCRIPTION
    else:
        dataset = Dataset(folder, "pieces", (Shard(shard, "", 0, 0),), {})
        read = folder / shard
    stamp = f"{read.stat().st_size}:{read.stat().st_mtime_ns}"
    for i, (row, piece) in enumerate(read_pieces(dataset)):
        known = {**row.metadata, "split": row.split, "group": row.group}
        identity = f"{source.label}:{row.id}" if source.renamed else row.id
        yield Item(
            identity,
            row.source or source.label,
            row.id,
            piece=piece,
            known=known,
            stamp=f"{stamp}:{i}",
        )
