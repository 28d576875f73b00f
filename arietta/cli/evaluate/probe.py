"""``arietta evaluate probe``: what a linear classifier reads out of embeddings."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from arietta.api.vectors import open_embedder
from arietta.cli.console import (
    ForceFlag,
    JsonFlag,
    ProgressLine,
    clock,
    emit,
    note,
    print_table,
    say,
)
from arietta.errors import UsageError


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

    Of each model its vectors are judged, its full ones (longer, as of `arietta embed --full`), and
    these with the floor: 100 shares of pitches, times and velocities, which also stand alone.
    Published figures stand below. No work is in two parts of a split. Intervals resample works.
    Files that cannot be read are named and left out.

    \b
    Examples:
      arietta evaluate probe labels.csv
      arietta evaluate probe labels.csv --model none --splits 5 -o report.md
    """
    from arietta.evaluation.labels import gather_table, named
    from arietta.evaluation.probe import (
        HEAD,
        baseline_alone,
        compared,
        evaluate,
        markdown,
        table_rows,
    )
    from arietta.evaluation.probe_vectors import baseline_vectors, limited, model_vectors
    from arietta.output import check_output, whole_file

    if output is not None:
        if output.suffix.lower() not in (".md", ".json"):
            raise UsageError(f"-o {output}: the report is written as .md and .json")
        for suffix in (".md", ".json"):
            check_output(output.with_suffix(suffix), force=force)
    table = benchmark.lower().endswith(".csv")
    known = None if table else named(benchmark)
    began = time.monotonic()
    with ProgressLine(quiet=as_json) as progress:
        if known is None:
            examples = gather_table(Path(benchmark))
        else:
            if folder is None:
                raise UsageError(f"{benchmark} needs a FOLDER: {known.folder}")
            examples = known.gather(folder)
        examples, floor, refused = baseline_vectors(
            limited(examples, limit),
            lambda done, total: progress.show(f"reading: {done:,} of {total:,} files"),
        )
        for one in refused if not as_json else []:
            note(f"left out: {one['reason']}")
        vectors = baseline_alone(floor)
        for name in dict.fromkeys(model or [""]):
            if name != "none":
                embedder = open_embedder(name or None, full=True)
                x = model_vectors(examples, embedder, cache, _embedding(progress))
                vectors += compared(embedder.checkpoint.name, x, embedder.short_size, floor)
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


def _embedding(progress: ProgressLine) -> Callable[[int, int], None]:
    began = time.monotonic()

    def report(done: int, total: int) -> None:
        left = (time.monotonic() - began) / done * (total - done)
        progress.show(f"embedding: {done:,} of {total:,} files, {clock(left)} left")

    return report
