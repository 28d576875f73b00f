"""``arietta evaluate probe``: what a linear classifier reads out of embeddings."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arietta.cli.console import (
    ForceFlag,
    JsonFlag,
    Progress,
    clock,
    emit,
    note,
    print_table,
    say,
)
from arietta.cli.embed import open_embedder
from arietta.errors import InputError, OutputError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from arietta.evaluation.labels import Example


def probe(
    benchmark: Annotated[
        str,
        typer.Argument(
            metavar="BENCHMARK|LABELS.csv",
            help="pianist8, vgmidi, aria-genre, aria-form, aria-period, aria-composer, pijama30,"
            " pijama30-albums, asap-composer, maestro-composer, style; or a CSV of path,label and,"
            " if wanted, group,split.",
        ),
    ],
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[FOLDER]", help="Where the benchmark's files are."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|PATH",
            help="Whose embeddings; give it once for each. none: the floor alone. [default: the"
            " shipped model for it]",
        ),
    ] = None,
    splits: Annotated[
        int, typer.Option(metavar="N", min=1, help="Random splits: five folds, dealt anew.")
    ] = 20,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Use only this many files of each class."),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Deals the splits.")] = 0,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Keep embeddings here, to go on after a stop and to probe again.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="REPORT.md", help="Also write the table here, and as .json."
        ),
    ] = None,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Teach a linear classifier on embeddings; ask it about files it has not seen.

    Beside each figure stand the floor (100 shares of pitches, times and velocities) and what was
    published. No work is in two parts of a split. Intervals resample works. Files that cannot be
    read are named and left out.

    \b
    Examples:
      arietta evaluate probe labels.csv
      arietta evaluate probe labels.csv --model none --splits 5 -o report.md
    """
    from arietta.evaluation.labels import gather_table, named
    from arietta.evaluation.probe import HEAD, Vectors, evaluate, markdown, table_rows
    from arietta.output import check_output, whole_file

    if output is not None:
        if output.suffix.lower() not in (".md", ".json"):
            raise UsageError(f"-o {output}: the report is written as .md and .json")
        for suffix in (".md", ".json"):
            check_output(output.with_suffix(suffix), force=force)
    table = benchmark.lower().endswith(".csv")
    known = None if table else named(benchmark)
    began = time.monotonic()
    with Progress(quiet=as_json) as progress:
        if known is None:
            examples = gather_table(Path(benchmark))
        else:
            if folder is None:
                raise UsageError(f"{benchmark} needs a FOLDER: {known.folder}")
            examples = known.gather(folder)
        examples = _limited(examples, limit)
        examples, floor, refused = _read(examples, progress)
        for one in refused if not as_json else []:
            note(f"left out: {one['reason']}")
        vectors = [Vectors("floor: 101 histogram numbers", floor, paper=False)]
        for name in dict.fromkeys(model or [""]):
            if name != "none":
                vectors.append(Vectors(*_embedded(name or None, examples, cache, progress)))
        figures = evaluate(
            known or Path(benchmark).stem,
            examples,
            vectors,
            splits=splits,
            seed=seed,
            report=lambda what: progress.show(f"teaching: {what}"),
        )
    figures = {**figures, "seed": seed, "refused": refused}
    figures["seconds"] = round(time.monotonic() - began, 1)
    if output is not None:
        for suffix, text in (
            (".md", markdown(figures)),
            (".json", json.dumps(figures, indent=2, ensure_ascii=False) + "\n"),
        ):
            with whole_file(output.with_suffix(suffix), force=force) as part:
                part.write_text(text, encoding="utf-8")
    if as_json:
        emit(figures)
        return
    what = f": {figures['what']}" if figures["what"] else ""
    say(f"{figures['benchmark']}{what}")
    say(
        f"{figures['files']:,} files in {figures['groups']:,} groups,"
        f" {len(figures['classes'])} classes; per cent, mean ± sd over splits (95 % interval)"
    )
    say()
    print_table(HEAD, table_rows(figures))


def _limited(examples: Sequence[Example], limit: int | None) -> list[Example]:
    """So many of each class, chosen by a hash of their names."""
    from arietta.data.splits import hashed

    if limit is None:
        return list(examples)
    kept: list[Example] = []
    count: dict[str, int] = {}
    for example in sorted(examples, key=lambda e: hashed(0, e.item.id)):
        count[example.label] = count.get(example.label, 0) + 1
        if count[example.label] <= limit:
            kept.append(example)
    return kept


def _read(
    examples: Sequence[Example], progress: Progress
) -> tuple[list[Example], NDArray[np.float32], list[dict[str, str]]]:
    """The examples that can be used, the floor's numbers, and what is left out."""
    import numpy as np

    from arietta.data.grid import grid_of
    from arietta.evaluation.floor import histogram_features
    from arietta.retrieval.collection import read_item

    kept, rows, refused = [], [], []
    for number, example in enumerate(examples, start=1):
        progress.show(f"reading: {number:,} of {len(examples):,} files")
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


def _embedded(
    name: str | None,
    examples: Sequence[Example],
    cache: Path | None,
    progress: Progress,
) -> tuple[str, NDArray[np.float32]]:
    """A model's name, and its vectors (n, D) in the order of the examples."""
    import numpy as np

    from arietta.retrieval.collection import Collection, about, embed_items

    embedder = open_embedder(name)
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
    known = collection.by_content()
    vectors: dict[str, Any] = {}
    began = saved = time.monotonic()
    try:
        for entry in embed_items(
            (example.item for example in examples), embedder, any_program=True, known=known
        ):
            vectors[entry.path] = entry.embedding.vector
            collection.entries[entry.path] = entry
            now = time.monotonic()
            left = (now - began) / len(vectors) * (len(examples) - len(vectors))
            progress.show(
                f"embedding: {len(vectors):,} of {len(examples):,} files, {clock(left)} left"
            )
            if store is not None and now - saved > 60:
                collection.save(store, force=True, chunks=False)
                saved = now
    finally:
        if store is not None and len(vectors) > 0:
            collection.save(store, force=True, chunks=False)
    return embedder.checkpoint.name, np.stack([vectors[e.item.id] for e in examples])
