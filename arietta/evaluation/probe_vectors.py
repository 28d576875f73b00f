"""Compute the vectors that probes are trained on from the examples of a benchmark."""

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
"""Callback with (done, all) examples."""

_SAVE_EVERY_S = 60.0


def limited(examples: Sequence[Example], count: int | None) -> list[Example]:
    """Select at most ``count`` examples of each class by a hash of their names; None for all."""
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
    """Return the readable examples, their histogram numbers (n, F), and the skipped files.

    Raises:
        InputError: no file can be read.
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
    """Embed the examples (n, D) in their order; every instrument counts as a piano.

    Args:
        examples: readable examples.
        embedder: embedder to use.
        cache: folder of cached vectors, by model and file content; created if it is missing.
        report: callback for progress.

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
