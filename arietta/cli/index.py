"""``arietta index``: make a collection searchable, and keep it up to date."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from arietta.cli.console import JsonFlag, ProgressLine, clock, emit, new_app, note, say
from arietta.cli.embed import ModelOption, open_embedder
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
    """Make MIDI searchable by likeness; `arietta search` asks.

    Given again, new files are added and changed ones replaced, told by their content. Files that
    cannot be read are named and left out. A run that was stopped keeps what it did.

    \b
    Examples:
      arietta index my-midi -o my-index
      arietta index another.mid -o my-index
      arietta index -o my-index --prune
    """
    from arietta.vectors.embedding import Passages, default_model
    from arietta.vectors.index import Changes, Index

    if not output:
        raise UsageError("-o INDEX is missing: where is the index to be?")
    if not (files or remove or prune):
        raise UsageError("nothing to do: give FILES to add, or --remove PATH, or --prune")
    began = time.monotonic()
    found = Index(output)
    changes = Changes()
    try:
        gone = list(remove or [])
        if prune:
            # What came out of an archive has no file of its own.
            gone += [p for p in found.contents() if _was_file(p) and not Path(p).is_file()]
        if gone:
            changes.removed = found.remove(dict.fromkeys(gone)).removed
        elif remove or prune:
            found.about  # noqa: B018  # an index that is not there is a mistake
        if files:
            # An index goes on with the model it was begun with.
            name = model or (found.about["source"] if found.exists() else default_model())
            if Path(name).exists():
                name = str(Path(name).resolve())
            windows = Passages(seconds, seconds / 2) if seconds else None
            with ProgressLine(quiet=as_json) as progress:
                done = found.update(
                    files,
                    open_embedder(name),
                    passages=found.passages() if found.exists() else windows,
                    any_program=any_program,
                    source=name,
                    report=lambda pieces, tokens: progress.show(
                        f"{pieces:,} pieces, {clock(time.monotonic() - began)}"
                    ),
                )
            done.removed = changes.removed
            changes = done
        total = len(found.contents())
    finally:
        found.close()
    if as_json:
        emit({"index": output, "pieces": total, **changes.__dict__})
        return
    for reason in changes.refused.values():
        note(f"left out: {reason}")
    parts = [
        f"{len(rows):,} {name}"
        for name, rows in changes.__dict__.items()
        if rows and name != "refused"
    ]
    if changes.refused:
        parts.append(f"{len(changes.refused):,} left out")
    say(f"{output}: {total:,} pieces ({', '.join(parts) or 'no file'})")


def _was_file(path: str) -> bool:
    from arietta.data.sources import MIDI_SUFFIXES

    return ":" not in path and path.lower().endswith(MIDI_SUFFIXES)
