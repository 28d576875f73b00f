"""Find similar music: an index of pieces and passages, kept up to date by the content of files.

Vectors are compared by cosine, in one of two senses. Likeness is what the model makes of the music:
it finds the same style. Notes are how often each key is struck, in every transposition of the
query: they find the same work, in whatever key and however played (``benchmarks.retrieval_quality``
shows both).

Vectors of an embedding head were trained for cosines; mean hidden states of a language model have a
large part in common, so they are standardised first, by what the pieces of the first build have in
common (``Space``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from arietta.arrays import Float32Array
from arietta.errors import InputError, UsageError
from arietta.midi.notes import KEYS
from arietta.vectors.collection import Entry, about, embed_items, music_items, read_item
from arietta.vectors.embedding import Embedder, Embedding, Passages
from arietta.vectors.stores import (
    KINDS,
    FolderStore,
    Found,
    Kind,
    Sense,
    Store,
    VectorRecord,
    open_store,
)

_SPACE_ROWS = 50  # fewer say too little about what all have in common
_WIDE = 200  # passages looked at for each passage of a query
_PUT = 64  # pieces put into the store at once
EVERY_KEY = sorted(range(-6, 7), key=abs)
"""Semitones that a search by notes tries."""


@dataclass(frozen=True, eq=False)
class Space:
    """How vectors are placed on the unit sphere.

    Attributes:
        mean, scale: (D,) taken off and divided by; None to leave vectors as they are.
    """

    mean: Float32Array | None = None
    scale: Float32Array | None = None

    @classmethod
    def of(cls, rows: Float32Array, pooling: str) -> Space:
        """Return the space of a collection (n, D)."""
        if pooling == "end" or len(rows) < _SPACE_ROWS:
            return cls()
        return cls(rows.mean(axis=0), np.maximum(rows.std(axis=0), 1e-6))

    def place(self, vectors: Float32Array) -> Float32Array:
        """(n, D) of length 1."""
        if self.mean is not None and self.scale is not None:
            vectors = (vectors - self.mean) / self.scale
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        placed: Float32Array = (vectors / np.maximum(length, 1e-12)).astype(np.float32)
        return placed

    def to_dict(self) -> dict[str, Any] | None:
        """JSON values."""
        if self.mean is None or self.scale is None:
            return None
        return {"mean": self.mean.tolist(), "scale": self.scale.tolist()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | None) -> Space:
        """Inverse of ``to_dict``."""
        if values is None:
            return cls()
        return cls(np.array(values["mean"], np.float32), np.array(values["scale"], np.float32))


@dataclass(frozen=True)
class Match:
    """Two passages that are alike, in milliseconds from tick 0 of their pieces."""

    score: float
    query_start_ms: float
    query_end_ms: float
    start_ms: float
    end_ms: float


@dataclass(frozen=True)
class Hit:
    """A piece that was found.

    Attributes:
        path: as it is in the index.
        score: cosine of the pieces, or the mean over the query's passages of their best cosine.
        notes, seconds, metadata, sha256: of the piece.
        match: the passages most alike, if any are kept.
        semitones: how far the query was transposed to be so near, upwards; -6..6.
    """

    path: str
    score: float
    notes: int
    seconds: float
    metadata: Mapping[str, str]
    sha256: str
    match: Match | None = None
    semitones: int = 0


@dataclass
class Changes:
    """What an update did, as paths."""

    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


class Index:
    """Pieces and passages that can be searched.

    Args:
        where: see ``stores.open_store``.

    Raises:
        InputError: what lies there is no index.
        MissingExtraError: the database's client is not installed.
    """

    def __init__(self, where: str | Path) -> None:
        self.where = str(where)
        self._store: Store = open_store(self.where)
        self._about = self._store.about

    def close(self) -> None:
        """Let go of a database."""
        self._store.close()

    @property
    def about(self) -> dict[str, Any]:
        """Model, its hash, how the vectors were made.

        Raises:
            InputError: there is no index yet.
        """
        if self._about is None:
            raise InputError(
                f"{self.where}: no index here; `arietta index FILES -o INDEX` makes one"
            )
        return self._about

    def exists(self) -> bool:
        """Whether there is an index already."""
        return self._about is not None

    def pieces(self) -> tuple[list[dict[str, Any]], Float32Array]:
        """Return what is shown of every piece, and its vectors (n, D) of length 1.

        Raises:
            InputError: there is no index, or it lies in a database.
        """
        self.about  # noqa: B018  # an index that is not there is a mistake
        if not isinstance(self._store, FolderStore):
            raise InputError(f"{self.where}: only an index in a folder gives all of its pieces")
        return self._store.pieces()

    def contents(self) -> dict[str, str]:
        """Path -> SHA-256 of every piece."""
        return self._store.contents() if self.exists() else {}

    def update(
        self,
        paths: Sequence[Path],
        embedder: Embedder,
        *,
        passages: Passages | None = None,
        any_program: bool = False,
        source: str = "",
        report: Callable[[int, int], None] = lambda pieces, tokens: None,
    ) -> Changes:
        """Add what the paths hold; a file that changed takes the place of its old self.

        What was decided is kept when the run is stopped; the same call goes on from there.

        Args:
            paths: files, folders, archives, corpora, datasets.
            embedder: the one the index was begun with.
            passages: windows with vectors of their own; None for pieces alone.
            any_program: take every instrument but drums as a piano.
            source: name or path that the model can be loaded by again.
            report: called with pieces put and tokens run.

        Raises:
            UsageError: the index was made by another model, or with other passages.
        """
        wanted = about(embedder, passages)
        if self.exists():
            for name, value in wanted.items():
                if self.about.get(name) != value:
                    raise UsageError(
                        f"{self.where}: made with {name} {self.about.get(name)}, not {value};"
                        " use the same or make another index"
                    )
        changes = Changes()
        before = self.contents()
        waiting: list[Entry] = []
        tokens = 0

        def new() -> Iterable[Any]:
            for item in music_items(paths):
                try:
                    _, sha256 = read_item(item)
                except InputError as error:
                    changes.refused[item.id] = str(error)
                    continue
                if before.get(item.id) == sha256:
                    changes.unchanged.append(item.id)
                else:
                    yield item

        def tell(count: int) -> None:
            nonlocal tokens
            tokens += count
            report(len(changes.added) + len(changes.updated), tokens)

        try:
            for entry in embed_items(
                new(),
                embedder,
                passages=passages,
                any_program=any_program,
                refused=lambda path, error: changes.refused.update({path: str(error)}),
                report=tell,
            ):
                (changes.updated if entry.path in before else changes.added).append(entry.path)
                waiting.append(entry)
                if self.exists() and len(waiting) >= _PUT:
                    self._put(waiting, before)
                    waiting = []
        finally:
            if waiting and not self.exists():
                rows = [w.embedding.vector[None] for w in waiting]
                rows += [w.embedding.passages.vectors for w in waiting if passages]
                space = Space.of(np.concatenate(rows), embedder.pooling)
                self._about = {
                    **wanted,
                    "source": source or wanted["model"],
                    "sizes": {"likeness": wanted["size"], "notes": KEYS},
                    "space": space.to_dict(),
                }
                self._store.create(self._about)
            if self.exists():
                self._put(waiting, before)
                self._store.save()
        return changes

    def remove(self, paths: Iterable[str]) -> Changes:
        """Take out pieces by path.

        Raises:
            InputError: a path is not in the index.
        """
        known, wanted = self.contents(), list(paths)
        for path in wanted:
            if path not in known:
                raise InputError(f"{path}: not in the index {self.where}")
        self._store.remove(wanted)
        self._store.save()
        return Changes(removed=wanted)

    def _put(self, entries: Sequence[Entry], before: Mapping[str, str]) -> None:
        space = Space.from_dict(self.about.get("space"))
        self._store.remove(entry.path for entry in entries if entry.path in before)
        rows: dict[Kind, list[VectorRecord]] = {kind: [] for kind in KINDS}
        for entry in entries:
            shown = {
                "path": entry.path,
                "sha256": entry.sha256,
                "notes": entry.notes,
                "seconds": entry.seconds,
                "metadata": {**entry.metadata, "title": entry.title},
            }
            whole, windows = _placed(entry.embedding, space)
            rows["piece"].append(VectorRecord({sense: v[0] for sense, v in whole.items()}, shown))
            passages = entry.embedding.passages
            for i, (start, end) in enumerate(zip(passages.start_ms, passages.end_ms, strict=True)):
                times = {"start_ms": round(float(start), 1), "end_ms": round(float(end), 1)}
                row = VectorRecord(
                    {sense: v[i] for sense, v in windows.items()}, {**shown, **times}
                )
                rows["passage"].append(row)
        self._store.put(rows)

    def passages(self) -> Passages | None:
        """Return the windows that the index was made with."""
        made = self.about["passages"]
        return Passages(*made) if made else None

    def search(
        self,
        query: Embedding,
        count: int = 10,
        *,
        by: Kind = "piece",
        sense: Sense = "likeness",
        without: str | None = None,
    ) -> list[Hit]:
        """Pieces like the query.

        Args:
            query: made by the index's model, with ``passages()``.
            count: how many.
            by: compare whole pieces, or passages: then a piece counts as much as its best passage
                for each of the query's, on average.
            sense: what to compare: ``likeness`` finds the same style, ``notes`` the same work in
                any key.
            without: SHA-256 of a piece to leave out, usually the query itself.

        Raises:
            UsageError: the index or the query lacks the passages or notes that are asked for.
        """
        if by == "passage" and self.passages() is None:
            raise UsageError(f"{self.where}: keeps no passages; build it with `passages`")
        if by == "passage" and not len(query.passages.vectors):
            raise UsageError("the query has no passages; embed it with the index's passages()")
        if sense == "notes" and not len(query.chunks.keys):
            raise UsageError("the query was read from a file, without its notes; embed its MIDI")
        whole, windows = _placed(query, Space.from_dict(self.about.get("space")))
        shifts = EVERY_KEY if sense == "notes" else [0]

        @lru_cache
        def near(shift: int) -> list[list[Found]]:
            """Passages near each of the query's."""
            vectors = Space().place(transposed(windows[sense], shift))
            return self._store.search("passage", sense, vectors, _WIDE) if len(vectors) else []

        best: dict[str, tuple[float, int, Mapping[str, Any]]] = {}
        for shift in shifts:
            if by == "piece":
                vectors = Space().place(transposed(whole[sense], shift))
                (found,) = self._store.search("piece", sense, vectors, count + 1)
                ranked = [(f.score, f.shown) for f in found if f.shown["sha256"] != without]
            else:
                ranked = _by_passages(near(shift), without)
            for score, shown in ranked:
                path = shown["path"]
                if path not in best or score > best[path][0]:
                    best[path] = score, shift, shown
        # Equal scores in the order they were found.
        hits = sorted(best.values(), key=lambda row: -row[0])[:count]
        return [
            Hit(
                shown["path"],
                round(score, 6),
                shown["notes"],
                shown["seconds"],
                shown["metadata"],
                shown["sha256"],
                _match(near(shift), query, shown["path"]),
                shift,
            )
            for score, shift, shown in hits
        ]


def _placed(
    embedding: Embedding, space: Space
) -> tuple[dict[Sense, Float32Array], dict[Sense, Float32Array]]:
    """Return unit vectors (1, D) of a piece and (n, D) of its passages, in every sense."""
    keys = embedding.chunks.keys.sum(axis=0, keepdims=True)
    passages = embedding.passages
    return (
        {"likeness": space.place(embedding.vector[None]), "notes": Space().place(keys)},
        {"likeness": space.place(passages.vectors), "notes": Space().place(passages.keys)},
    )


def transposed(keys: Float32Array, semitones: int) -> Float32Array:
    """Move counts of keys (n, 88) up by semitones; what leaves the keyboard is lost."""
    moved = np.roll(keys, semitones, axis=1)
    if semitones > 0:
        moved[:, :semitones] = 0
    elif semitones < 0:
        moved[:, semitones:] = 0
    return moved


def _match(near: Sequence[Sequence[Found]], query: Embedding, path: str) -> Match | None:
    """Return the passages of the query and of a piece that are most alike."""
    pairs = [
        (found.score, -i, found)
        for i, row in enumerate(near)
        for found in row
        if found.shown["path"] == path
    ]
    if not pairs:
        return None
    score, i, found = max(pairs, key=lambda pair: pair[:2])
    windows = query.passages
    return Match(
        score,
        float(windows.start_ms[-i]),
        float(windows.end_ms[-i]),
        found.shown["start_ms"],
        found.shown["end_ms"],
    )


def _by_passages(
    near: Sequence[Sequence[Found]], without: str | None
) -> list[tuple[float, Mapping[str, Any]]]:
    """Pieces by the mean over the query's passages of their best score.

    A piece that is not among the nearest of a passage counts there as the last that is.
    """
    shown: dict[str, Mapping[str, Any]] = {}
    gain: dict[str, float] = {}
    base = 0.0
    for found in near:
        last = found[-1].score if found else 0.0
        base += last
        best: dict[str, float] = {}
        for one in found:
            if one.shown["sha256"] != without:
                path = one.shown["path"]
                shown.setdefault(path, one.shown)
                best[path] = max(best.get(path, -1.0), one.score)
        for path, score in best.items():
            gain[path] = gain.get(path, 0.0) + score - last
    ranked = [((base + g) / len(near), path) for path, g in gain.items()]
    ranked.sort(key=lambda row: (-row[0], row[1]))
    return [(score, shown[path]) for score, path in ranked]
