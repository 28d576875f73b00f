"""Measure search: does it find the performances of a score?

Definition. Queries are scores, the gallery performances; any performance of the same work is right.
Four tasks: the whole score or 20 seconds of it drawn at random, as written or transposed by one to
six semitones up or down. Whole scores are compared with whole performances, excerpts with passages
of 20 seconds every 10, a performance counting as its best passage.

Conventions. The rank of a query is that of its best right answer; ties count against the system, so
that a constant answer is not good. Two baselines without a model: the histogram of keys, which
nearly solves the first task alone, and the same in every transposition within a tritone, as
``arietta search --by notes`` uses it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from arietta.arrays import BoolArray, Float32Array, FloatArray, IntArray
from arietta.data.sources import MANIFEST, find_sources, read_source
from arietta.data.splits import hashed
from arietta.errors import InputError
from arietta.evaluation.intervals import interval, paired
from arietta.midi.piece import Piece
from arietta.midi.reader import read, read_bytes
from arietta.vectors.embedding import Embedder, Passages, keys_struck
from arietta.vectors.index import EVERY_KEY, Space, transposed

WINDOWS = Passages(20.0, 10.0)
HISTOGRAM, ANY_KEY = "pitch histogram", "pitch histogram, any key"
TASKS = ("score", "score, transposed", "20 s of the score", "20 s, transposed")
MIDI = (".mid", ".midi")
Vectors = tuple[Float32Array, list[Float32Array]]
"""Vectors of whole pieces (n, D), and of the passages of each piece."""
Embed = Callable[[Sequence[Piece]], Vectors]


@dataclass(frozen=True, eq=False)
class Works:
    """Scores, and performances to find by them.

    Attributes:
        names: q works, one query each.
        scores: their q scores.
        gallery: performances of these and of other works.
        right: (q, len(gallery)) whether a performance is one of the query's work.
    """

    names: tuple[str, ...]
    scores: tuple[Piece, ...]
    gallery: tuple[Piece, ...]
    right: BoolArray


def works_of(
    folder: Path,
    *,
    split: str | None = None,
    performances: int = 1,
    scores: int | None = None,
    refuse: Callable[[str, str], None] = lambda *_: None,
) -> Works:
    """Return the works of a folder.

    Args:
        folder: one sub-folder for each work with ``score.mid`` and performances beside it, or a
            corpus: ``manifest.csv`` (columns ``kind``, ``source``) and the archives it names, of
            which ASAP is taken.
        split: of a corpus; all by default.
        performances: of each work in the gallery, drawn by a hash of their names.
        scores: at most so many queries; all by default.
        refuse: told the name and the reason of every file that is left out.

    Raises:
        InputError: there is no work with a score and a performance.
    """
    known: dict[str, Piece] = {}
    found: dict[str, list[tuple[str, Piece]]] = defaultdict(list)
    corpus = (folder / MANIFEST).is_file()
    for work, name, piece in (
        _of_corpus(folder, split, refuse) if corpus else _of_folders(folder, refuse)
    ):
        if name is None:
            known[work] = piece
        else:
            found[work].append((name, piece))
    gallery: list[tuple[str, Piece]] = []
    for work in sorted(set(known) & set(found)):
        chosen = sorted(found[work], key=lambda row: hashed(0, row[0]))[:performances]
        gallery += [(work, piece) for _, piece in chosen]
    if not gallery:
        raise InputError(
            f"{folder}: no work with a score and a performance; make a folder for each work, with"
            " score.mid and performances in it"
        )
    names = sorted({work for work, _ in gallery}, key=lambda name: hashed(0, name))
    names = sorted(names[:scores])
    right = np.array([[name == other for other, _ in gallery] for name in names])
    return Works(
        tuple(names),
        tuple(known[name] for name in names),
        tuple(piece for _, piece in gallery),
        right,
    )


def _of_corpus(
    folder: Path, split: str | None, refuse: Callable[[str, str], None]
) -> Iterator[tuple[str, str | None, Piece]]:
    """Work, name of the performance (None: the score), piece."""
    (source,) = find_sources([folder])
    for item in read_source(source):
        if item.known.get("source") != "asap" or split not in (None, item.known["split"]):
            continue
        try:
            piece = read_bytes(item.data or b"", source=item.id)
        except InputError as error:
            refuse(item.id, str(error))
            continue
        score = item.known["kind"] == "score"
        yield item.id.rsplit("/", 1)[0], None if score else item.id, piece


def _of_folders(
    folder: Path, refuse: Callable[[str, str], None]
) -> Iterator[tuple[str, str | None, Piece]]:
    for path in sorted(folder.glob("*/*")):
        if path.suffix.lower() not in MIDI:
            continue
        work = path.parent.name
        try:
            yield work, None if path.stem == "score" else f"{work}/{path.name}", read(path)
        except InputError as error:
            refuse(f"{work}/{path.name}", str(error))


def queries_of(scores: Sequence[Piece], seed: int = 0) -> dict[str, list[Piece]]:
    """Return the queries of each of ``TASKS``."""
    rng = np.random.default_rng(seed)
    shifts = rng.integers(1, 7, len(scores)) * rng.choice((-1, 1), len(scores))
    excerpts = []
    for score in scores:
        onset = score.onset_ms
        last = max(float(onset.max()) - WINDOWS.seconds * 1000, float(onset.min()))
        start = float(onset[np.searchsorted(onset, rng.uniform(float(onset.min()), last))])
        inside = (onset >= start) & (onset < start + WINDOWS.seconds * 1000)
        excerpts.append(replace(score, notes=score.notes.take(inside)))
    moved = [_moved(score, int(s)) for score, s in zip(scores, shifts, strict=True)]
    parts = [_moved(one, int(s)) for one, s in zip(excerpts, shifts, strict=True)]
    return dict(zip(TASKS, (list(scores), moved, excerpts, parts), strict=True))


def _moved(piece: Piece, semitones: int) -> Piece:
    pitch = piece.notes.pitch.astype(np.int64) + semitones
    inside = (pitch >= 0) & (pitch <= 127)
    notes = replace(piece.notes, pitch=pitch.clip(0, 127).astype(piece.notes.pitch.dtype))
    return replace(piece, notes=notes.take(inside))


def ranks_of(
    works: Works, queries: dict[str, list[Piece]], name: str, embedder: Embedder | None = None
) -> dict[str, IntArray]:
    """Return the rank of each query (q,), from 1, in every task.

    Args:
        works: the gallery, and what is right.
        queries: see ``queries_of``.
        name: of the system; ``ANY_KEY`` compares in every transposition.
        embedder: of a model; a baseline without.
    """
    embed: Embed = _histograms if embedder is None else _embedded(embedder)
    pooling = "end" if embedder is None else embedder.pooling
    shifts: Sequence[int] = EVERY_KEY if name == ANY_KEY else [0]
    known = embed(works.gallery)
    wholes, parts = Space.of(known[0], pooling), Space.of(np.concatenate(known[1]), pooling)
    windows = [parts.place(rows) for rows in known[1]]
    found = {}
    for task, pieces in queries.items():
        likeness = np.full(works.right.shape, -np.inf, np.float32)
        vectors, _ = embed(pieces)
        for shift in shifts:
            moved = transposed(vectors, shift)
            if "20 s" in task:
                near = parts.place(moved)
                alike = np.stack([(near @ rows.T).max(axis=1) for rows in windows], axis=1)
            else:
                alike = wholes.place(moved) @ wholes.place(known[0]).T
            likeness = np.maximum(likeness, alike)
        found[task] = ranks(likeness, works.right)
    return found


def ranks(likeness: Float32Array, right: BoolArray) -> IntArray:
    """(q,) rank of the best right answer; likeness and right are (q, gallery)."""
    best = np.where(right, likeness, -np.inf).max(axis=1, keepdims=True)
    rank: IntArray = ((likeness >= best) & ~right).sum(axis=1) + 1
    return rank


def figures(rank: IntArray, first: IntArray | None = None) -> dict[str, Any]:
    """Return recall at 1 and 10 with 95 % intervals over queries, and the median rank.

    Args:
        rank: (q,) from 1.
        first: ranks of the same queries by another system, to differ from.
    """
    table: dict[str, Any] = {}
    for at in (1, 10):
        hit = _hits(rank, at)
        mean, low, high = interval(hit)
        table |= {f"recall_at_{at}": mean, f"recall_at_{at}_95": [low, high]}
        if first is not None:
            table[f"recall_at_{at}_against_first"] = paired(hit, _hits(first, at))
    return {**table, "median_rank": float(np.median(rank))}


def _hits(rank: IntArray, at: int) -> FloatArray:
    return (rank <= at).astype(np.float64)


def _embedded(embedder: Embedder) -> Embed:
    def embed(pieces: Sequence[Piece]) -> Vectors:
        found: dict[int, Any] = {}
        for key, one in embedder.embed_many(enumerate(pieces), any_program=True, passages=WINDOWS):
            if isinstance(one, InputError):
                raise one
            found[key] = one
        order = [found[i] for i in range(len(pieces))]
        return np.stack([e.vector for e in order]), [e.passages.vectors for e in order]

    return embed


def _histograms(pieces: Sequence[Piece]) -> Vectors:
    wholes = np.stack([keys_struck(piece) for piece in pieces])
    parts = [[keys_struck(part) for part in WINDOWS.cut(piece)] for piece in pieces]
    return wholes, [np.stack(rows) for rows in parts]
