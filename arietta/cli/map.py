"""``arietta map``: a picture of a collection, to look at and to listen to."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from arietta.cli.console import (
    ForceFlag,
    JsonFlag,
    ProgressLine,
    clock,
    emit,
    left_out,
    new_app,
    note,
    say,
)
from arietta.cli.embed import ModelOption
from arietta.cli.options import AnyProgramFlag

app = new_app()


@app.command(name="map")
def draw_map(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR|FILES…",
            help="MIDI files, folders, archives or datasets; or one .npz of `arietta embed`.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="MAP.html", help="Page to write.")
    ] = Path("map.html"),
    png: Annotated[
        bool, typer.Option("--png/--no-png", help="Also write the picture beside the page.")
    ] = True,
    colour: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Colour by this column of the metadata at first; the page can change it.",
        ),
    ] = None,
    seconds: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=0, help="How much of each piece the page plays."),
    ] = 30.0,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of the layout.")] = 0,
    model: ModelOption = None,
    any_program: AnyProgramFlag = False,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Lay a collection out on a plane, like pieces together, as a page and a picture.

    The page is one file and needs no network: point at a dot for its title, click to hear the piece
    and see its roll, choose a column to colour by. Columns come from metadata.csv or metadata.json
    in the folder, and from the folders' names.

    \b
    Examples:
      arietta map my-midi -o map.html
      arietta map my.npz -o map.html --colour minutes --no-png
    """
    from arietta.api.vectors import draw_map as run

    if png and find_spec("matplotlib") is None:
        note("no picture: it needs an extra: pip install 'arietta[plot]'")
        png = False
    with ProgressLine(quiet=as_json) as progress:
        done = run(
            files,
            output,
            png=png,
            colour=colour,
            seconds=seconds,
            seed=seed,
            model=model,
            any_program=any_program,
            force=force,
            refused=left_out(quiet=as_json),
            report=lambda count, passed: progress.show(f"{count:,} pieces, {clock(passed)}"),
            laying_out=lambda: progress.show("laying out"),
        )
    if as_json:
        emit(done.to_dict())
        return
    written = ", ".join(map(str, done.written))
    say(f"{written}: {len(done.collection):,} pieces in {clock(done.seconds)}")
