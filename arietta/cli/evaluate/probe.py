"""``arietta evaluate probe``: what a linear classifier reads out of embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arietta.cli.console import (
    ForceFlag,
    JsonFlag,
    ProgressLine,
    emit,
    note,
    print_table,
    say,
)


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
            help="Whose embeddings; give it once for each. none: the baseline alone. [default: the"
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
    """Train a linear classifier on embeddings; test it on files that it has not seen.

    Of each model its vectors are judged, its full ones (longer, as of `arietta embed --full`), and
    these with the baseline: 100 shares of pitches, times and velocities, which also stand alone.
    Published figures stand below. No work is in two parts of a split. Intervals resample works.
    Files that cannot be read are named and left out.

    \b
    Examples:
      arietta evaluate probe labels.csv
      arietta evaluate probe labels.csv --model none --splits 5 -o report.md
    """
    from arietta.api.evaluate import probe as run
    from arietta.evaluation.probe import HEAD, table_rows

    with ProgressLine(quiet=as_json) as progress:
        figures = run(
            benchmark,
            folder,
            output,
            models=model or (None,),
            splits=splits,
            limit=limit,
            seed=seed,
            cache=cache,
            force=force,
            show=progress.show,
            refused=lambda reason: None if as_json else note(f"left out: {reason}"),
        ).to_dict()
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
