"""A collection of pieces as vectors, in one ``.npz`` file.

    embeddings (n, D) float32, paths (n,), sha256 (n,), notes (n,), seconds (n,)
    metadata (n,) JSON of what tables say about each piece
    chunk_embeddings, chunk_piece, chunk_start_ms, chunk_end_ms          the chunks, if kept
    passage_embeddings, passage_piece, passage_start_ms, passage_end_ms  the passages, if made
    about: JSON of the model that made it and how

Every row is found again by the content of its file, so what was embedded once is not embedded
again: not when a run was stopped, not when a file was renamed.
"""

from __future__ import annotations

import hashlib
import json
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arietta.arrays import Float32Array
from arietta.data.shards import DESCRIPTION, open_dataset, read_grid
from arietta.data.sources import (
    MANIFEST,
    MIDI_SUFFIXES,
    Item,
    Source,
    find_sources,
    read_source,
)
from arietta.data.token_grid import on_keyboard
from arietta.errors import InputError
from arietta.midi.notes import DRUM_CHANNEL
from arietta.midi.piece import Piece
from arietta.midi.reader import DEFAULT_MAX_BYTES, read_bytes
from arietta.output import whole_file
from arietta.vectors.embedding import Embedder, Embedding, Passages, Stretches

FORMAT = "arietta-collection-1"
TRANSPOSED, TRANSPOSED_OF = "transposed", "transposed_of"
"""In the metadata of a piece that was moved on the keyboard: semitones, and the id it is of."""
_SAVE_EVERY_S = 30.0
_SAVING_SHARE = 0.05  # of the time, at most


@dataclass(frozen=True, eq=False)
class Entry:
    """One piece of a collection.

    Attributes:
        path: where it lies, or its id in an archive or dataset.
        sha256: of its bytes.
        notes: their number.
        seconds: from the first key down to the last key up.
        metadata: what tables say about it.
        embedding: its vectors.
    """

    path: str
    sha256: str
    notes: int
    seconds: float
    metadata: Mapping[str, str]
    embedding: Embedding

    @property
    def title(self) -> str:
        """What to call it."""
        given = self.metadata.get("title", "")
        composer = self.metadata.get("composer_name") or self.metadata.get("composer", "")
        who = composer or self.metadata.get("performer", "")
        if given and who:
            return f"{who}: {given}"
        return given or Path(self.path).stem


@dataclass(eq=False)
class Collection:
    """Pieces with their vectors.

    Attributes:
        about: model, its hash, how the vectors were made; JSON values.
        entries: path -> piece, in the order they came.
    """

    about: dict[str, Any]
    entries: dict[str, Entry] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of pieces."""
        return len(self.entries)

    @property
    def vectors(self) -> Float32Array:
        """(n, D)."""
        rows = [entry.embedding.vector for entry in self.entries.values()]
        return np.stack(rows) if rows else np.zeros((0, 0), np.float32)

    def by_content(self) -> dict[str, Entry]:
        """SHA-256 -> a piece of that content."""
        return {entry.sha256: entry for entry in self.entries.values()}

    def save(self, path: Path, *, force: bool = False, chunks: bool = True) -> None:
        """Write the file.

        Args:
            path: of the ``.npz``.
            force: whether an existing file is replaced.
            chunks: whether the vectors of chunks are written; they are three to twenty times as
                many as the pieces.

        Raises:
            OutputError: see ``output.check_output``.
        """
        entries = list(self.entries.values())
        arrays: dict[str, NDArray[Any]] = {
            "embeddings": self.vectors,
            "paths": np.array([e.path for e in entries], np.str_),
            "sha256": np.array([e.sha256 for e in entries], np.str_),
            "notes": np.array([e.notes for e in entries], np.int64),
            "seconds": np.array([e.seconds for e in entries], np.float64),
            "metadata": np.array(
                [json.dumps(dict(e.metadata), ensure_ascii=False) for e in entries], np.str_
            ),
            "about": np.array(json.dumps({"format": FORMAT, **self.about}, ensure_ascii=False)),
        }
        for kind in ("chunk", "passage"):
            parts = [getattr(e.embedding, f"{kind}s") for e in entries]
            if (kind == "chunk" and not chunks) or not any(len(p.vectors) for p in parts):
                continue
            counts = [len(p.vectors) for p in parts]
            arrays[f"{kind}_embeddings"] = np.concatenate([p.vectors for p in parts])
            arrays[f"{kind}_piece"] = np.repeat(np.arange(len(parts)), counts)
            arrays[f"{kind}_start_ms"] = np.concatenate([p.start_ms for p in parts])
            arrays[f"{kind}_end_ms"] = np.concatenate([p.end_ms for p in parts])
        with whole_file(path, force=force) as part, part.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> Collection:
        """Read a file.

        Raises:
            InputError: there is none, or it is no such file.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                about = json.loads(str(arrays["about"]))
                if about.pop("format", None) != FORMAT:
                    raise InputError(f"{path}: not a collection of this version of arietta")
                vectors = arrays["embeddings"]
                width = vectors.shape[1] if vectors.ndim == 2 else 0
                chunks = _parts(arrays, "chunk", len(vectors), width)
                passages = _parts(arrays, "passage", len(vectors), width)
                columns = [arrays[n] for n in ("paths", "sha256", "notes", "seconds", "metadata")]
                entries = {}
                for i, (name, sha, notes, seconds, known) in enumerate(zip(*columns, strict=True)):
                    entries[str(name)] = Entry(
                        str(name),
                        str(sha),
                        int(notes),
                        float(seconds),
                        json.loads(str(known)),
                        Embedding(vectors[i], chunks[i], passages[i]),
                    )
        except FileNotFoundError:
            raise InputError(f"{path}: there is no such file") from None
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: not a collection that can be read ({error})") from None
        return cls(about, entries)


def _parts(arrays: Any, kind: str, pieces: int, width: int) -> list[Stretches]:
    if f"{kind}_embeddings" not in arrays:
        none = Stretches(np.zeros((0, width), np.float32), np.zeros(0), np.zeros(0))
        return [none] * pieces
    vectors, piece = arrays[f"{kind}_embeddings"], arrays[f"{kind}_piece"]
    start, end = arrays[f"{kind}_start_ms"], arrays[f"{kind}_end_ms"]
    cut = np.searchsorted(piece, np.arange(pieces + 1))
    return [Stretches(vectors[a:b], start[a:b], end[a:b]) for a, b in pairwise(cut.tolist())]


def about(embedder: Embedder, passages: Passages | None) -> dict[str, Any]:
    """Return what decides a vector: vectors of equal values may stand in one collection."""
    return {
        "model": embedder.checkpoint.name,
        "model_sha256": embedder.checkpoint.sha256,
        "pooling": embedder.pooling,
        "size": embedder.size,
        "chunk_notes": embedder.chunk_notes,
        "passages": [passages.seconds, passages.hop] if passages else None,
    }


def music_items(paths: Sequence[Path]) -> Iterator[Item]:
    """Every file of files, folders, archives, corpora and datasets, each once.

    The id of a plain file is its path as it was given.

    Raises:
        InputError: a path does not exist, or holds no MIDI.
    """
    seen = set()
    for source in find_sources(paths):
        path, empty = source.path, True
        plain = path.is_dir() and not any(
            (path / name).is_file() for name in (MANIFEST, DESCRIPTION)
        )
        on_grid = (path / DESCRIPTION).is_file() and open_dataset(path).form == "grid"
        single = path.is_file() and path.name.lower().endswith(MIDI_SUFFIXES)
        for item in _grid_items(source) if on_grid else read_source(source):
            empty = False
            name = str(path / item.path) if plain else str(path) if single else item.id
            if name not in seen:
                seen.add(name)
                yield Item(**{**item.__dict__, "id": name})
        if empty:
            raise InputError(f"{path}: no MIDI files in it")


def _grid_items(source: Source) -> Iterator[Item]:
    """Pieces of a dataset on the token grid: all that a token model sees of them is there."""
    for row, notes in read_grid(open_dataset(source.path)):
        columns = notes.columns()
        yield Item(
            f"{source.label}:{row.id}" if source.renamed else row.id,
            row.source or source.label,
            row.id,
            piece=Piece.from_ms(
                columns.onset_ms, columns.duration_ms, columns.pitch, columns.velocity
            ),
            known={**row.metadata, "split": row.split, "group": row.group},
        )


def with_transposed(items: Iterable[Item], semitones: int) -> Iterator[Item]:
    """Every item, and after it the same music in another register, up to ``semitones`` away.

    How far is drawn from the id, so a second call gives the same. It stands in ``TRANSPOSED`` of
    the item's ``known``, and the id it is of in ``TRANSPOSED_OF``. What cannot be read has none.
    """
    for item in items:
        yield item
        name = item.id.encode("utf8", "surrogatepass")
        seed = int.from_bytes(hashlib.blake2b(name, digest_size=8).digest())
        shift = int(np.random.default_rng(seed).integers(1, semitones + 1)) * (-1) ** (seed % 2)
        try:
            piece, _ = read_item(item)
        except InputError:
            continue
        notes = piece.notes
        drums = notes.channel == DRUM_CHANNEL
        pitch = np.where(drums, notes.pitch, on_keyboard(notes.pitch, shift)).astype(np.uint8)
        yield replace(
            item,
            id=f"{item.id} {shift:+d}",
            piece=replace(piece, notes=replace(notes, pitch=pitch)),
            known={**item.known, TRANSPOSED: str(shift), TRANSPOSED_OF: item.id},
        )


def read_item(item: Item) -> tuple[Piece, str]:
    """Return the music of an item, and the SHA-256 of its content.

    Raises:
        InputError: it cannot be read.
    """
    if item.problem:
        raise InputError(f"{item.id}: {item.problem}")
    if item.piece is not None:
        return item.piece, hashlib.sha256(item.piece.to_bytes()).hexdigest()
    data = item.data
    if data is None:
        assert item.file is not None
        try:
            if item.file.stat().st_size > DEFAULT_MAX_BYTES:
                raise InputError(f"{item.id}: larger than {DEFAULT_MAX_BYTES} bytes")
            data = item.file.read_bytes()
        except OSError as error:
            raise InputError(f"{item.id}: cannot be read: {error.strerror or error}") from None
    return read_bytes(data, source=item.id), hashlib.sha256(data).hexdigest()


def embed_items(
    items: Iterable[Item],
    embedder: Embedder,
    *,
    passages: Passages | None = None,
    any_program: bool = False,
    known: Mapping[str, Entry] | None = None,
    refused: Callable[[str, InputError], None] = lambda path, error: None,
    report: Callable[[int], None] = lambda tokens: None,
) -> Iterator[Entry]:
    """Entries of items as they are done; what is known by content is taken from there.

    Args:
        items: what to embed.
        embedder: how.
        passages: windows to embed as well.
        any_program: take every instrument but drums as a piano.
        known: SHA-256 -> an entry made in the same way.
        refused: called with every item that cannot be used.
        report: called with every so many tokens that have been run.
    """
    known = known or {}
    ready: list[Entry] = []

    def unknown() -> Iterator[tuple[tuple[Item, str, Piece], Piece]]:
        for item in items:
            try:
                piece, sha256 = read_item(item)
            except InputError as error:
                refused(item.id, error)
                continue
            if sha256 in known:
                ready.append(_entry(item, sha256, piece, known[sha256].embedding))
            else:
                yield (item, sha256, piece), piece

    for (item, sha256, piece), found in embedder.embed_many(
        unknown(), any_program=any_program, passages=passages, report=report
    ):
        yield from _taken(ready)
        if isinstance(found, InputError):
            refused(item.id, found)
        else:
            yield _entry(item, sha256, piece, found)
    yield from _taken(ready)


def _taken(entries: list[Entry]) -> list[Entry]:
    taken = entries.copy()
    entries.clear()
    return taken


def _entry(item: Item, sha256: str, piece: Piece, embedding: Embedding) -> Entry:
    start = float(piece.onset_ms.min()) if len(piece) else 0.0
    metadata = {**piece.metadata, **item.known}
    return Entry(
        item.id, sha256, len(piece), round((piece.end_ms - start) / 1000, 3), metadata, embedding
    )


def build(
    paths: Sequence[Path],
    embedder: Embedder,
    *,
    journal: Path | None = None,
    passages: Passages | None = None,
    any_program: bool = False,
    transposed: int = 0,
    known: Mapping[str, Entry] | None = None,
    refused: Callable[[str, InputError], None] = lambda path, error: None,
    report: Callable[[Collection, int], None] = lambda collection, tokens: None,
) -> Collection:
    """Embed all that the paths hold.

    Args:
        paths: files, folders, archives, corpora, datasets.
        embedder: how.
        journal: a file that keeps what is done while the run goes on, and that a stopped run goes
            on from; the caller removes it when the result is safe.
        passages, any_program, known, refused: see ``embed_items``.
        transposed: how far ``with_transposed`` may go; 0 for the pieces as they are alone.
        report: called with the collection so far, and of the tokens run.

    Returns:
        The collection in the order of the paths.
    """
    made = about(embedder, passages)
    done: dict[str, Entry] = dict(known or {})
    if journal is not None and journal.is_file():
        try:
            before = Collection.load(journal)
        except InputError:
            before = Collection({})
        if before.about == made:
            done |= before.by_content()
    collection = Collection(made)
    order: dict[str, int] = {}
    tokens = 0

    def numbered() -> Iterator[Item]:
        items = music_items(paths)
        for item in with_transposed(items, transposed) if transposed else items:
            order[item.id] = len(order)
            yield item

    def tell(count: int) -> None:
        nonlocal tokens
        tokens += count
        report(collection, tokens)

    saved, cost = time.monotonic(), 0.0
    try:
        for entry in embed_items(
            numbered(),
            embedder,
            passages=passages,
            any_program=any_program,
            known=done,
            refused=refused,
            report=tell,
        ):
            collection.entries[entry.path] = entry
            now = time.monotonic()
            if journal is not None and now - saved > max(_SAVE_EVERY_S, cost / _SAVING_SHARE):
                collection.save(journal, force=True)
                saved = time.monotonic()
                cost = saved - now
    except BaseException:
        if journal is not None and len(collection):
            collection.save(journal, force=True)
        raise
    ordered = sorted(collection.entries.values(), key=lambda e: order[e.path])
    collection.entries = {entry.path: entry for entry in ordered}
    return collection
