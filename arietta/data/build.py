"""Folders and archives of MIDI -> a dataset: shards of pieces and a manifest of every file.

Three stages. Files are read and measured in chunks (``measure``); what concerns several files is
decided over all records (``plan``); the shards are written. Each chunk and each shard is one task
for an engine and one file in the end, written whole or not at all, named after everything it
depends on. So a build that was killed goes on where it stopped, and neither the number of processes
nor the engine nor an interruption changes a byte of the result.

Until it is done everything lies in ``.build`` inside the dataset's folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from arietta._version import __version__
from arietta.data.card import write_card
from arietta.data.engines import Engine, Local
from arietta.data.metadata import MetadataTable
from arietta.data.scan import Chunk, open_ipc, record_schema, scan_chunk
from arietta.data.selection import Selection, select
from arietta.data.settings import BuildSettings
from arietta.data.shards import (
    DESCRIPTION,
    FORMAT_VERSION,
    MANIFEST,
    Shard,
    open_dataset,
    shard_sha256,
    write_description,
    write_shard,
)
from arietta.data.sources import Item, find_sources, read_source
from arietta.data.tables import Form, PieceRecord, arrow, table_grid, table_pieces
from arietta.data.token_grid import GridNotes
from arietta.errors import InputError, OutputError
from arietta.midi.piece import Piece
from arietta.output import held, whole_file

WORK = ".build"
CHUNK_FILES = 64
CHUNK_BYTES = 8 << 20
# Part of the name of every chunk, like arietta's version: raise it when the same input gives other
# records.
_CODE_VERSION = 1
_INTERNAL = ("given_split", "given_group", "composer", "opus", "number", "row")


@dataclass(frozen=True)
class BuildProgress:
    """How far a build is.

    Attributes:
        stage: ``reading``, ``deciding`` or ``writing``.
        done: files read, or shards written.
        share: 0..1 of the stage; None where it cannot be told.
    """

    stage: str
    done: int
    share: float | None


@dataclass(frozen=True)
class BuildReport:
    """What a build came to.

    Attributes:
        inputs, kept: files.
        refused: rule -> files.
        shards: what was written.
    """

    inputs: int
    kept: int
    refused: Mapping[str, int]
    shards: tuple[Shard, ...]


def build_dataset(
    sources: Sequence[Path],
    out: Path,
    settings: BuildSettings | None = None,
    *,
    metadata: Path | None = None,
    engine: Engine | None = None,
    force: bool = False,
    report: Callable[[BuildProgress], None] = lambda _: None,
) -> BuildReport:
    """Build a dataset, or go on with an unfinished build.

    Args:
        sources: folders, ``.tar`` archives (plain, zst, gz, bz2, xz), ``.zip``, datasets, and
            corpora: folders with ``manifest.csv`` and the shards it names.
        out: folder of the dataset; made where it is missing.
        settings: what to keep and how; the preset ``pretrain`` by default.
        metadata: a table about the files, see ``arietta.data.metadata``.
        engine: where the work is done; all cores of this machine by default.
        force: replace a dataset that is there.
        report: told now and then how far it is.

    Raises:
        InputError: a source does not exist, or not one of its files can be kept.
        OutputError: there is something else in the folder, the dataset exists (without ``force``),
            another process is building it, or it cannot be written.
    """
    settings = settings or BuildSettings()
    engine = engine or Local()
    arrow()
    found = find_sources(sources)
    table = MetadataTable.read(metadata) if metadata else None
    with _work_folder(out, force=force) as work:
        if (work / "finish.json").is_file():
            # Killed while the finished files were being moved: there is nothing left to decide.
            return _finish(out, work)
        sizes = [source.bytes() for source in found]
        total = sum(sizes) or 1
        chunks_done: list[str] = []

        def items() -> Iterator[tuple[Item, float]]:
            before = 0
            for source, size in zip(found, sizes, strict=True):
                for item in read_source(source, table):
                    yield item, min((before + item.consumed) / total, 1.0)
                before += size

        done = 0
        share = 0.0

        def tasks() -> Iterator[Chunk]:
            nonlocal done, share
            for number, (members, reached) in enumerate(_cut(items())):
                name = f"{number:07d}-{_chunk_key(members, settings)}"
                chunks_done.append(name)
                share = reached
                if (work / f"{name}.records").is_file():
                    done += len(members)
                    report(BuildProgress("reading", done, share))
                else:
                    yield Chunk(work, name, members, settings)

        for count in engine.run(scan_chunk, tasks()):
            done += count
            report(BuildProgress("reading", done, share))
        if not done:
            raise InputError(f"{', '.join(map(str, sources))}: no MIDI files in there")
        report(BuildProgress("deciding", done, None))
        records = [work / f"{name}.records" for name in chunks_done]
        plan = select(records, settings, work)
        if not plan.shards:
            common = Counter(plan.rule).most_common(3)
            told = ", ".join(f"{rule} {count}" for rule, count in common)
            raise InputError(f"none of {len(plan.rule)} files can be kept: {told}")
        folder = work / _shard_folder(chunks_done, plan, settings)
        shards = _write_shards(folder, chunks_done, plan, settings, engine, report)
        _write_manifest(work / MANIFEST, records, plan)
        refused = dict(sorted(Counter(rule for rule in plan.rule if rule).items()))
        description = {
            "shards": [vars(shard) for shard in shards],
            "form": settings.form,
            "folder": folder.name,
            "settings": {
                **settings.recorded(),
                "sources": [source.label for source in found],
                "inputs": len(plan.rule),
                "refused": refused,
            },
        }
        with whole_file(work / "finish.json", force=True) as part:
            part.write_text(json.dumps(description), encoding="utf8")
        return _finish(out, work)


# The folder


@contextmanager
def _work_folder(out: Path, *, force: bool) -> Iterator[Path]:
    """Hold the folder of an unfinished build for this process alone."""
    work = out / WORK
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out}: is a file; name a folder for the dataset")
    if not work.is_dir() and out.is_dir() and any(out.iterdir()) and not force:
        if (out / DESCRIPTION).is_file():
            raise OutputError(f"{out}: holds a dataset already; `force=True` replaces it")
        raise OutputError(
            f"{out}: is not empty; name a new folder (`force=True` uses it all the same)"
        )
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: cannot be written: {error.strerror or error}") from None
    with held(work / "lock", f"{out}: another process is building this dataset"):
        try:
            yield work
        except InputError:
            # Going on would end in the same way: there is nothing to keep.
            shutil.rmtree(work)
            if not any(out.iterdir()):
                out.rmdir()
            raise


def _finish(out: Path, work: Path) -> BuildReport:
    """Move the finished files to their place; can be interrupted and repeated."""
    try:
        plan = json.loads((work / "finish.json").read_text(encoding="utf8"))
        shards = tuple(Shard(**shard) for shard in plan["shards"])
        if (out / DESCRIPTION).is_file():
            old = [shard.file for shard in open_dataset(out).shards]
            for name in (DESCRIPTION, MANIFEST, *old):
                (out / name).unlink(missing_ok=True)
        for source in [*(work / plan["folder"] / s.file for s in shards), work / MANIFEST]:
            if source.is_file():
                os.replace(source, out / source.name)
        settings = plan["settings"]
        write_description(out, plan["form"], shards, settings, force=True)
        write_card(out)
        shutil.rmtree(work)
    except OSError as error:
        raise OutputError(f"{out}: cannot be written: {error.strerror or error}") from None
    kept = sum(shard.rows for shard in shards)
    return BuildReport(settings["inputs"], kept, settings["refused"], shards)


# First stage


def _cut(
    items: Iterable[tuple[Item, float]],
) -> Iterator[tuple[tuple[Item, ...], float]]:
    """Chunks of neighbouring items; where they are cut depends on the items alone."""
    members: list[Item] = []
    size, share = 0, 0.0
    for item, share in items:
        members.append(item)
        size += item.size
        if len(members) == CHUNK_FILES or size >= CHUNK_BYTES:
            yield tuple(members), share
            members, size = [], 0
    if members:
        yield tuple(members), share


def _chunk_key(items: Sequence[Item], settings: BuildSettings) -> str:
    """Return a text that changes with an item, or with a setting that the first stage needs."""
    recorded = settings.recorded()
    for later in ("cap_limit", "cap_per_work", "fractions", "licence", "seed"):
        del recorded[later]
    for later in ("rows_per_group", "rows_per_shard"):
        del recorded[later]
    digest = hashlib.blake2b(digest_size=8)
    digest.update(json.dumps([__version__, _CODE_VERSION, FORMAT_VERSION, recorded]).encode())
    for item in items:
        digest.update(item.key().encode("utf8", "surrogatepass") + b"\1")
    return digest.hexdigest()


# Third stage


class _Place(NamedTuple):
    """Where the first stage left a piece, and what the second made of it."""

    music: Path
    at: int
    id: str
    split: str
    group: str


@dataclass(frozen=True)
class _ShardTask:
    """One shard to write.

    Attributes:
        path: where.
        form: of the dataset.
        rows: in order of storing.
        rows_per_group: pieces a row group.
    """

    path: Path
    form: Form
    rows: tuple[_Place, ...]
    rows_per_group: int


def _write_one(task: _ShardTask) -> Shard:
    return write_shard(
        task.path, _music(task), task.form, rows_per_group=task.rows_per_group, force=True
    )


def _music(task: _ShardTask) -> Iterator[tuple[PieceRecord, Piece | GridNotes]]:
    """Return the rows of a shard; those of one row group are fetched together."""
    pa, _ = arrow()
    opened: dict[Path, Any] = {}
    for start in range(0, len(task.rows), task.rows_per_group):
        places = task.rows[start : start + task.rows_per_group]
        for place in places:
            if place.music not in opened:
                opened[place.music] = open_ipc(place.music)
        table = pa.concat_tables([opened[place.music].slice(place.at, 1) for place in places])
        stored: Iterable[tuple[PieceRecord, Piece | GridNotes]] = (
            table_grid(table) if task.form == "grid" else table_pieces(table)
        )
        for place, (row, music) in zip(places, stored, strict=True):
            yield replace(row, id=place.id, split=place.split, group=place.group), music


def _shard_folder(chunks: Sequence[str], plan: Selection, settings: BuildSettings) -> str:
    """Name of the folder for the shards, which changes with everything they depend on."""
    digest = hashlib.blake2b(digest_size=8)
    digest.update(json.dumps([settings.form, settings.rows_per_group, *chunks]).encode())
    for name, rows in plan.shards.items():
        digest.update(f"{name}\0".encode())
        for i in rows:
            line = f"{plan.id[i]}\0{plan.group[i]}\0{plan.chunk[i]}\0{plan.row[i]}\1"
            digest.update(line.encode("utf8"))
    return f"shards-{digest.hexdigest()}"


def _write_shards(
    folder: Path,
    chunks: Sequence[str],
    plan: Selection,
    settings: BuildSettings,
    engine: Engine,
    report: Callable[[BuildProgress], None],
) -> list[Shard]:
    folder.mkdir(exist_ok=True)
    done = 0
    hashes: dict[str, str] = {}

    def shard_of(name: str, rows: list[int]) -> Shard:
        notes = sum(plan.notes[i] for i in rows)
        return Shard(name, plan.split[rows[0]], len(rows), notes, hashes[name])

    def tasks() -> Iterator[_ShardTask]:
        nonlocal done
        for name, rows in plan.shards.items():
            if (folder / name).is_file():
                done += 1
                hashes[name] = shard_sha256(folder / name)
                continue
            places = tuple(
                _Place(
                    folder.parent / f"{chunks[plan.chunk[i]]}.music",
                    plan.row[i],
                    plan.id[i],
                    plan.split[i],
                    plan.group[i],
                )
                for i in rows
            )
            yield _ShardTask(folder / name, settings.form, places, settings.rows_per_group)

    for shard in engine.run(_write_one, tasks()):
        hashes[shard.file] = shard.sha256
        assert shard == shard_of(shard.file, plan.shards[shard.file])
        done += 1
        report(BuildProgress("writing", done, done / len(plan.shards)))
    return [shard_of(name, rows) for name, rows in plan.shards.items()]


def _write_manifest(path: Path, records: Sequence[Path], plan: Selection) -> None:
    """Return a row for every input file, in the order of the inputs."""
    pa, pq = arrow()
    schema = record_schema()
    names = [n for n in schema.names if n not in _INTERNAL and not n.startswith("print_")]
    decided = {
        "id": pa.string(),
        "kept": pa.bool_(),
        "rule": pa.string(),
        "split": pa.string(),
        "group": pa.string(),
        "shard": pa.string(),
    }
    fields = [pa.field(name, kind) for name, kind in decided.items()]
    fields += [schema.field(name) for name in names if name not in decided]
    whole = pa.schema(fields)
    at = 0
    with (
        whole_file(path, force=True) as part,
        pq.ParquetWriter(part, whole, compression="zstd", compression_level=9) as writer,
    ):
        for group in range(0, len(records), 64):
            tables = []
            for file in records[group : group + 64]:
                table = open_ipc(file)
                rows = range(at, at + len(table))
                at += len(table)
                columns = {name: table[name] for name in names}
                columns["id"] = pa.array([plan.id[i] for i in rows], pa.string())
                columns["kept"] = pa.array([not plan.rule[i] for i in rows])
                columns["rule"] = pa.array([plan.rule[i] for i in rows])
                for name, values in (
                    ("split", plan.split),
                    ("group", plan.group),
                    ("shard", plan.shard),
                ):
                    columns[name] = pa.array([values.get(i, "") for i in rows], pa.string())
                for name, said in (("detail", plan.detail), ("duplicate_of", plan.duplicate_of)):
                    before = table[name].to_pylist()
                    columns[name] = pa.array(
                        [said.get(i, old) for i, old in zip(rows, before, strict=True)],
                        pa.string(),
                    )
                tables.append(pa.table({name: columns[name] for name in whole.names}, whole))
            writer.write_table(pa.concat_tables(tables).combine_chunks())
