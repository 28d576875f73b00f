"""``arietta evaluate few-label``: how many labelled pieces does a classifier need?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

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
from arietta.cli.options import FiguresOption, PerPieceOption
from arietta.errors import UsageError


def few_label(
    benchmark: Annotated[
        str,
        typer.Argument(
            metavar="BENCHMARK|LABELS.csv",
            help="As for arietta evaluate probe: asap-composer, pijama30, …; or a CSV of path,label"
            " and, if wanted, group.",
        ),
    ],
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[FOLDER]", help="Where the benchmark's files are."),
    ] = None,
    sizes: Annotated[
        str,
        typer.Option(
            "--n", metavar="NUMBERS", help="Labelled pieces of each class, with commas; or all."
        ),
    ] = "25,50,100,200,all",
    in_total: Annotated[
        bool, typer.Option("--in-total", help="Count the pieces of all classes together.")
    ] = False,
    draws: Annotated[int, typer.Option(metavar="N", min=1, help="Choices of pieces.")] = 1,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME|PATH", help="Whose embeddings. [default: the shipped model]"),
    ] = None,
    finetune: Annotated[
        Path | None,
        typer.Option(
            metavar="RUNS",
            help="Also finetune, in this folder; needs arietta[train]. A stopped run goes on, a"
            " finished one is not repeated.",
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(metavar="NAME|PATH", help="Model to finetune. [default: the shipped model]"),
    ] = None,
    epochs: Annotated[
        float | None,
        typer.Option(metavar="N", min=0.01, help="Of a finetuning. [default: the recipe's]"),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe; may be repeated."),
    ] = None,
    cpu: Annotated[bool, typer.Option("--cpu", help="Finetune on the processor.")] = False,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Use only this many files of each class at all."),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Keep embeddings here, to go on after a stop."),
    ] = None,
    per_piece: PerPieceOption = None,
    output: FiguresOption = None,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Train classifiers on few labelled pieces, and test them on works that none has seen.

    A fifth of the works is the test part of all systems. The floor sees 100 shares of pitches,
    times and velocities; the embedding is short or full, as of `arietta embed --full`. Accuracy and
    macro F1 in per cent, with 95 % intervals over works.

    \b
    Examples:
      arietta evaluate few-label labels.csv --n 1,2
      arietta evaluate few-label labels.csv --n 10,all --finetune runs -o f.json
    """
    from arietta.api.evaluate import few_label as run

    with ProgressLine(quiet=as_json) as progress:
        figures = run(
            benchmark,
            folder,
            output,
            sizes=[_size(text.strip()) for text in sizes.split(",")],
            in_total=in_total,
            draws=draws,
            model=model,
            finetune=finetune,
            init=init,
            epochs=epochs,
            changes=changes or (),
            cpu=cpu,
            limit=limit,
            cache=cache,
            per_piece=per_piece,
            force=force,
            show=progress.show,
            refused=lambda reason: None if as_json else note(f"left out: {reason}"),
        ).to_dict()
    if as_json:
        emit(figures)
        return
    say(
        f"{figures['benchmark']}: {len(figures['classes'])} classes, {figures['test_pieces']:,}"
        f" test pieces of {figures['test_groups']:,} works; n is {figures['n_is']}"
    )
    say()
    rows = [
        [row["n"], f"{row['pieces']:,.0f}", row["system"], _per_cent(row["accuracy"]),
         _per_cent(row["macro_f1"])]
        for row in figures["rows"]
    ]  # fmt: skip
    print_table(["n", "labelled", "system", "accuracy", "macro F1"], rows)


def _size(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isdigit() or int(text) < 1:
        raise UsageError(f"--n {text}: give numbers from 1 on, or all")
    return int(text)


def _per_cent(figure: dict[str, Any]) -> str:
    low, high = (100 * bound for bound in figure["interval_95"])
    return f"{100 * figure['mean']:.1f} ({low:.1f}–{high:.1f})"
