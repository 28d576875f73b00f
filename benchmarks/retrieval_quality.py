"""Does search find the performances of a score, also from 20 seconds of it or in another key?

    python -m benchmarks.retrieval_quality CORPUS [--model NAME] [--performances 1]

CORPUS is a folder with ``manifest.csv`` that holds ASAP. Queries are its scores as MIDI, the
gallery its performances; any performance of the same piece is right. Four tasks: the whole score
or 20 seconds of it drawn at random, as written or transposed by one to six semitones up or down.
The baseline is the histogram of keys, which nearly solves the first task alone, and the same in
every transposition within a tritone, as ``arietta search --by notes`` uses it.

Whole scores are compared with whole performances, excerpts with passages of 20 seconds every 10, a
performance counting as its best passage.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from arietta.arrays import BoolArray, Float32Array
from arietta.data.sources import find_sources, read_source
from arietta.data.splits import hashed
from arietta.errors import InputError
from arietta.midi.piece import Piece
from arietta.midi.reader import read_bytes
from arietta.models.aria.checkpoint import load
from arietta.vectors.embedding import Embedder, Passages, default_model, keys_struck
from arietta.vectors.index import EVERY_KEY, Space, transposed
from benchmarks.common import file_result

WINDOWS = Passages(20.0, 10.0)
Vectors = tuple[Float32Array, list[Float32Array]]
"""Vectors of whole pieces (n, D), and of the passages of each piece."""
Embed = Callable[[Sequence[Piece]], Vectors]
HISTOGRAM, ANY_KEY = "pitch histogram", "pitch histogram, any key"


def main() -> None:
    """Measure, print, file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--model", nargs="*", help="instead of the shipped one")
    parser.add_argument("--performances", type=int, default=1, help="of each piece, in the gallery")
    parser.add_argument("--split", help="pieces of this split alone")
    parser.add_argument("--scores", type=int, help="at most so many queries")
    parser.add_argument("--no-file", action="store_true", help="print, but file no result")
    arguments = parser.parse_args()
    scores, gallery = _music(arguments.corpus, arguments.split, arguments.performances)
    names = sorted(set(scores) & {name for name, _ in gallery}, key=lambda n: hashed(0, n))
    names = sorted(names[: arguments.scores])
    queries = _queries([scores[name] for name in names])
    right = np.array([[name == other for other, _ in gallery] for name in names])
    pieces = [piece for _, piece in gallery]
    figures: dict[str, Any] = {
        "queries": len(names),
        "gallery": len(gallery),
        "split": arguments.split,
        "by": {},
    }
    models = [default_model()] if arguments.model is None else arguments.model
    for name in [HISTOGRAM, ANY_KEY, *models]:
        embed: Embed = _histograms
        pooling, shifts = "end", EVERY_KEY if name == ANY_KEY else [0]
        if name not in (HISTOGRAM, ANY_KEY):
            embedder = Embedder(load(name))
            embed, pooling = _embed(embedder), embedder.pooling
        known = embed(pieces)
        table = figures["by"][name] = {}
        wholes, parts = Space.of(known[0], pooling), Space.of(np.concatenate(known[1]), pooling)
        windows = [parts.place(rows) for rows in known[1]]
        for task, task_queries in queries.items():
            likeness = np.full(right.shape, -np.inf, np.float32)
            query_vectors, _ = embed(task_queries)
            for shift in shifts:
                vectors = transposed(query_vectors, shift)
                if "20 s" in task:
                    near = parts.place(vectors)
                    found = np.stack([(near @ rows.T).max(axis=1) for rows in windows], axis=1)
                else:
                    found = wholes.place(vectors) @ wholes.place(known[0]).T
                likeness = np.maximum(likeness, found)
            table[task] = _figures(likeness, right)
            print(f"{name:26} {task:20}", table[task], flush=True)
    if not arguments.no_file:
        file_result("retrieval_quality", figures)


def _music(
    corpus: Path, split: str | None, count: int
) -> tuple[dict[str, Piece], list[tuple[str, Piece]]]:
    """Return scores by piece, and at most ``count`` performances of each piece."""
    (source,) = find_sources([corpus])
    scores: dict[str, Piece] = {}
    found: dict[str, list[tuple[str, Piece]]] = defaultdict(list)
    for item in read_source(source):
        if item.known.get("source") != "asap" or split not in (None, item.known["split"]):
            continue
        name = item.id.rsplit("/", 1)[0]
        try:
            piece = read_bytes(item.data or b"", source=item.id)
        except InputError:
            continue
        if item.known["kind"] == "score":
            scores[name] = piece
        else:
            found[name].append((item.id, piece))
    gallery = []
    for name in sorted(set(scores) & set(found)):
        chosen = sorted(found[name], key=lambda row: hashed(0, row[0]))[:count]
        gallery += [(name, piece) for _, piece in chosen]
    if not gallery:
        raise InputError(f"{corpus}: no scores and performances of ASAP in it")
    return scores, gallery


def _queries(scores: Sequence[Piece]) -> dict[str, list[Piece]]:
    rng = np.random.default_rng(0)
    shifts = rng.integers(1, 7, len(scores)) * rng.choice((-1, 1), len(scores))
    excerpts = []
    for score in scores:
        onset = score.onset_ms
        last = max(float(onset.max()) - WINDOWS.seconds * 1000, float(onset.min()))
        start = float(onset[np.searchsorted(onset, rng.uniform(float(onset.min()), last))])
        inside = (onset >= start) & (onset < start + WINDOWS.seconds * 1000)
        excerpts.append(replace(score, notes=score.notes.take(inside)))
    moved = [_transposed(score, int(s)) for score, s in zip(scores, shifts, strict=True)]
    parts = [_transposed(one, int(s)) for one, s in zip(excerpts, shifts, strict=True)]
    return {
        "score": list(scores),
        "score, transposed": moved,
        "20 s of the score": excerpts,
        "20 s, transposed": parts,
    }


def _transposed(piece: Piece, semitones: int) -> Piece:
    pitch = piece.notes.pitch.astype(np.int64) + semitones
    inside = (pitch >= 0) & (pitch <= 127)
    notes = replace(piece.notes, pitch=pitch.clip(0, 127).astype(piece.notes.pitch.dtype))
    return replace(piece, notes=notes.take(inside))


def _embed(embedder: Embedder) -> Embed:
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


def _figures(likeness: Float32Array, right: BoolArray) -> dict[str, float]:
    best = np.where(right, likeness, -np.inf).max(axis=1, keepdims=True)
    # Ties count against the model, so that a constant answer is not good.
    rank = ((likeness >= best) & ~right).sum(axis=1) + 1
    return {
        "recall_at_1": round(float((rank == 1).mean()), 4),
        "recall_at_10": round(float((rank <= 10).mean()), 4),
        "median_rank": float(np.median(rank)),
    }


if __name__ == "__main__":
    main()
