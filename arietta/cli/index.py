"""``arietta index``: make a collection searchable, and keep it up to date."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arietta.cli.console import JsonFlag, ProgressLine, clock, emit, new_app, note, say
from arietta.cli.embed import ModelOption
from arietta.cli.options import AnyProgramFlag
from arietta.errors import UsageError

app = new_app()


@app.command()
def index(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FILES|DIR…]", help="MIDI files, folders, archives of them, or datasets."
        ),
    ] = None,
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            metavar="INDEX",
            help="Folder of the index; qdrant:FOLDER or http://HOST:PORT/NAME for a Qdrant"
            " database.",
        ),
    ] = "",
    model: ModelOption = None,
    seconds: Annotated[
        float,
        typer.Option(
            "--passages",
            metavar="SECONDS",
            min=0,
            help="Length of the passages that can be found, one every half of it; 0 for none.",
        ),
    ] = 20.0,
    remove: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Take this piece out; may be repeated."),
    ] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Take out pieces whose files are gone.")
    ] = False,
    any_program: AnyProgramFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Make MIDI searchable by likeness; `arietta search` finds it.

    Given again, new files are added and changed ones replaced; contents are compared, not names.
    Files that cannot be read are named and left out. A run that was stopped keeps what it did.

    \b
    Examples:
      arietta index my-midi -o my-index
      arietta index another.mid -o my-index
      arietta index -o my-index --prune
    """
    from arietta.api.vectors import index as run

    if not output:
        raise UsageError("-o INDEX is missing: where is the index to be?")
    with ProgressLine(quiet=as_json) as progress:
        done = run(
            files or (),
            output,
            model=model,
            passages=seconds,
            remove=remove or (),
            prune=prune,
            any_program=any_program,
            report=lambda count, passed: progress.show(f"{count:,} pieces, {clock(passed)}"),
        )
    if as_json:
        emit(done.to_dict())
        return
    changes = done.changes
    for reason in changes.refused.values():
        note(f"left out: {reason}")
    parts = [
        f"{len(rows):,} {name}"
        for name, rows in changes.__dict__.items()
        if rows and name != "refused"
    ]
    if changes.refused:
        parts.append(f"{len(changes.refused):,} left out")
    say(f"{output}: {done.pieces:,} pieces ({', '.join(parts) or 'no file'})")
