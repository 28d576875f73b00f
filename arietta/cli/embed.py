"""``arietta embed``: MIDI -> vectors, for searching, classifying, drawing."""

from __future__ import annotations

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
from arietta.cli.options import AnyProgramFlag, Precision, PrecisionOption

app = new_app()

ModelOption = Annotated[
    str | None,
    typer.Option(metavar="NAME|PATH", help="What embeds. [default: the shipped model for it]"),
]


FullFlag = Annotated[
    bool,
    typer.Option(
        "--full",
        help="Longer vectors, which tell classes better: also the mean and the deviation of what"
        " the model holds of each note. For distances the short ones are better.",
    ),
]


@app.command()
def embed(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILES|DIR…", help="MIDI files, folders, archives of them, or datasets."
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="OUT.npz", help="File of vectors to write.")
    ],
    model: ModelOption = None,
    chunks: Annotated[
        bool, typer.Option("--chunks", help="Also the vector of every chunk (300 notes or fewer).")
    ] = False,
    full: FullFlag = False,
    transposed: Annotated[
        int,
        typer.Option(
            metavar="SEMITONES",
            min=0,
            max=12,
            help="Also each piece in another register, at random up to so far away: vectors to"
            " train `small-conditioned` with.",
        ),
    ] = 0,
    update: Annotated[
        Path | None,
        typer.Option(
            metavar="OLD.npz", help="Take what did not change from here; may be OUT.npz itself."
        ),
    ] = None,
    any_program: AnyProgramFlag = False,
    precision: PrecisionOption = Precision.int8,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Make a vector for every piece: near each other where pieces are alike.

    OUT.npz holds embeddings (n, d) float32, paths (n,), and what is known of each piece. Files that
    cannot be read, or are not for piano, are named and left out. A run that was stopped goes on
    where it was when the same command is given again.

    \b
    Examples:
      arietta embed my-midi -o my.npz
      arietta embed my.mid another.mid -o two.npz --chunks
      arietta embed my-midi -o newer.npz --update my.npz
    """
    from arietta.api.vectors import embed as run

    try:
        with ProgressLine(quiet=as_json) as progress:
            done = run(
                files,
                output,
                model=model,
                chunks=chunks,
                full=full,
                transposed=transposed,
                update=update,
                any_program=any_program,
                precision=precision.value,
                force=force,
                refused=left_out(quiet=as_json),
                report=lambda count, seconds: progress.show(
                    f"{count:,} pieces, {count / max(seconds, 1e-9):.1f} pieces/s, {clock(seconds)}"
                ),
            )
    except (KeyboardInterrupt, MemoryError):
        if output.with_name(f".{output.name}.part.npz").is_file():
            note("what is done is kept; the same command goes on from there")
        raise
    if as_json:
        emit(done.to_dict())
        return
    made = done.collection
    again = " (went on from a run that was stopped)" if done.resumed else ""
    say(
        f"{output}: {len(made):,} pieces, {made.about['size']} numbers each, by"
        f" {made.about['model']}, in {clock(done.seconds)}{again}"
    )
    if done.refused:
        say(f"{len(done.refused):,} files left out")
