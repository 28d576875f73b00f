"""``arietta classify``: which class a piece belongs to."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from arietta.cli.console import (
    ForceFlag,
    JsonFlag,
    Progress,
    emit,
    new_app,
    note,
    print_table,
    say,
)
from arietta.errors import InputError, UsageError

app = new_app()


@app.command()
def classify(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILES|DIR…", help="MIDI files, folders, archives of them, or datasets."
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME|PATH",
            help="A classifier: a registered name, or a folder that `arietta train` left.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="OUT.csv", help="Write path, class, shares."),
    ] = None,
    top: Annotated[
        int, typer.Option(metavar="N", min=1, help="How many classes to show of each piece.")
    ] = 3,
    any_program: Annotated[
        bool, typer.Option("--any-program", help="Take every instrument but drums as a piano.")
    ] = False,
    precision: Annotated[
        str, typer.Option(metavar="NAME", help="int8, int4 or f32 weights.")
    ] = "int8",
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Tell what a piece is, by a classifier that was trained on examples.

    Slices of the piece vote, each with the number of its tokens. Files that cannot be read are
    named and left out.

    \\b
    Examples:
      arietta classify my.mid --model my-classifier/model
      arietta classify my-midi --model my-classifier/model -o classes.csv
    """
    from arietta.checkpoints.store import load
    from arietta.graphs.packing import PRECISIONS
    from arietta.inference.classification import Classifier
    from arietta.midi.notes import Piece
    from arietta.output import check_output, whole_file
    from arietta.retrieval.collection import music_items, read_item

    if output is not None:
        check_output(output, force=force)
    known = next((name for name in PRECISIONS if name == precision), None)
    if known is None:
        raise UsageError(f"--precision {precision!r} is none of {', '.join(PRECISIONS)}")
    classifier = Classifier(load(model), precision=known)
    refused: list[dict[str, str]] = []

    def refuse(path: str, error: InputError) -> None:
        refused.append({"file": path, "reason": str(error)})
        if not as_json:
            note(f"left out: {error}")

    def pieces() -> Iterator[tuple[str, Piece]]:
        for item in music_items(files):
            try:
                yield item.id, read_item(item)[0]
            except InputError as error:
                refuse(item.id, error)

    found: dict[str, Any] = {}
    began = time.monotonic()
    with Progress(quiet=as_json) as progress:
        for path, one in classifier.classify_many(pieces(), any_program=any_program):
            if isinstance(one, InputError):
                refuse(path, one)
                continue
            found[path] = one
            rate = len(found) / max(time.monotonic() - began, 1e-9)
            progress.show(f"{len(found):,} pieces, {rate:.1f} pieces/s")
    if not found:
        raise InputError(f"{files[0]}: nothing to classify: {len(refused)} files, none can be used")
    if output is not None:
        with whole_file(output, force=force) as part, part.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "label", *classifier.classes])
            for path, one in found.items():
                shares = [f"{one.shares[name]:.4f}" for name in classifier.classes]
                writer.writerow([path, one.label, *shares])
    if as_json:
        emit(
            {
                "model": classifier.checkpoint.name,
                "pieces": [
                    {
                        "path": path,
                        "label": one.label,
                        "shares": {name: round(share, 4) for name, share in one.shares.items()},
                    }
                    for path, one in found.items()
                ],
                "refused": refused,
            }
        )
        return
    rows = []
    for path, one in found.items():
        shown = list(one.shares.items())[:top]
        rows.append((path, ", ".join(f"{name} {share:.0%}" for name, share in shown)))
    print_table(("piece", "class"), rows)
    if refused:
        say(f"{len(refused):,} files left out")
    if output is not None:
        say(f"{output}: {len(found):,} pieces")
