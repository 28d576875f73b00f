"""Examples of a benchmark -> the vectors that probes are taught on."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from arietta.arrays import Float32Array
from arietta.data.splits import hashed
from arietta.data.token_grid import grid_of
from arietta.errors import InputError, OutputError
from arietta.evaluation.histogram_baseline import histogram_features
from arietta.evaluation.labels import Example
from arietta.vectors.collection import Collection, about, embed_items, read_item
from arietta.vectors.embedding import Embedder

Report = Callable[[int, int], None]
"""Told how many of how many examples are done."""

_SAVE_EVERY_S = 60.0


def limited(examples: Sequence[Example], count: int | None) -> list[Example]:
    """So many examples of each class, chosen by a hash of their names; None for all."""
    if count is None:
        return list(examples)
    kept: list[Example] = []
    seen: dict[str, int] = {}
    for example in sorted(examples, key=lambda e: hashed(0, e.item.id)):
        seen[example.label] = seen.get(example.label, 0) + 1
        if seen[example.label] <= count:
            kept.append(example)
    return kept


def baseline_vectors(
    examples: Sequence[Example], report: Report = lambda done, total: None
) -> tuple[list[Example], Float32Array, list[dict[str, str]]]:
    """The examples that can be read, their histogram numbers (n, F), and what is left out.

    Raises:
        InputError: nothing can be read.
    """
    kept: list[Example] = []
    rows: list[Float32Array] = []
    refused: list[dict[str, str]] = []
    for number, example in enumerate(examples, start=1):
        report(number, len(examples))
        try:
            piece, _ = read_item(example.item)
            rows.append(histogram_features(grid_of(piece).columns()))
        except InputError as error:
            refused.append({"file": example.item.id, "reason": str(error)})
            continue
        kept.append(example)
    if not kept:
        raise InputError(f"nothing to probe: none of {len(examples):,} files can be used")
    return kept, np.stack(rows), refused


def model_vectors(
    examples: Sequence[Example],
    embedder: Embedder,
    cache: Path | None = None,
    report: Report = lambda done, total: None,
) -> Float32Array:
    """(n, D) in the order of the examples, every instrument taken as a piano.

    Args:
        examples: all of them readable.
        embedder: whose vectors.
        cache: folder where they are kept by model and file content; made if it is missing.
        report: told of progress.

    Raises:
        OutputError: the cache cannot be written.
    """
    made = about(embedder, None)
    collection = Collection(made)
    store = None
    if cache is not None:
        try:
            cache.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"{cache}: cannot be created ({error.strerror})") from None
        key = hashlib.sha256(json.dumps(made).encode()).hexdigest()[:12]
        store = cache / f"{key}.npz"
        if store.is_file():
            collection = Collection.load(store)
    found: dict[str, Float32Array] = {}
    saved = time.monotonic()
    fresh = False
    try:
        known = collection.by_content()
        for entry in embed_items(
            (example.item for example in examples), embedder, any_program=True, known=known
        ):
            found[entry.path] = entry.embedding.vector
            fresh |= entry.sha256 not in known
            collection.entries[entry.path] = entry
            report(len(found), len(examples))
            if store is not None and fresh and time.monotonic() - saved > _SAVE_EVERY_S:
                collection.save(store, force=True, chunks=False)
                saved, fresh = time.monotonic(), False
    finally:
        if store is not None and fresh:
            collection.save(store, force=True, chunks=False)
    return np.stack([found[example.item.id] for example in examples])
