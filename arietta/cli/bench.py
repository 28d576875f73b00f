"""``arietta bench``: measure this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from arietta.cli.console import JsonFlag, ProgressLine, emit, new_app, print_pairs, print_table
from arietta.cli.options import ThreadsOption
from arietta.errors import UsageError

app = new_app()

PRECISIONS = ("int8", "int4", "f32")


@app.callback()
def bench() -> None:
    """Measure what this machine reaches.

    \b
    Examples:
      arietta bench decode
      arietta bench decode --preset medium --json
    """


@app.command()
def decode(
    preset: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Architecture to measure on random weights, such as medium (650 M parameters).",
        ),
    ] = "medium",
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Measure this checkpoint instead of a preset."),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TYPE", help="int8, int4 or f32; may be repeated. [default: int8, int4]"
        ),
    ] = None,
    variations: Annotated[
        int, typer.Option(metavar="N", min=1, help="Rows of the batched measurement.")
    ] = 8,
    context: Annotated[
        int, typer.Option(metavar="N", min=1, help="Tokens of prompt before measuring.")
    ] = 512,
    tokens: Annotated[
        int, typer.Option(metavar="N", min=1, help="Tokens to decode for each figure.")
    ] = 64,
    threads: ThreadsOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Tokens a second of a model, beside what the memory of this machine allows.

    Decoding one token reads every weight once, so bytes of weights over measured read bandwidth is
    the least time it can take; the share of that limit is printed.

    \b
    Examples:
      arietta bench decode --preset medium
      arietta bench decode --model small --precision int8
    """
    wanted = tuple(precision or PRECISIONS[:2])
    if unknown := set(wanted) - set(PRECISIONS):
        raise UsageError(
            f"--precision {', '.join(sorted(unknown))} is not one of {', '.join(PRECISIONS)}"
        )
    from arietta.evaluation.decode_speed import decode as measure
    from arietta.evaluation.decode_speed import table

    with ProgressLine(quiet=as_json) as progress:
        figures = measure(
            preset=None if model else preset,
            model=model,
            precisions=wanted,
            variations=variations,
            context=context,
            tokens=tokens,
            threads=threads,
            report=progress.show,
        )
    if as_json:
        emit(figures)
        return
    print_pairs((name.replace("_", " "), str(v)) for name, v in figures["settings"].items())
    head, *rows = table(figures)
    print_table(head, rows)
