"""``arietta classify``: which class a piece belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from arietta.cli.console import (
    ForceFlag,
    JsonFlag,
    ProgressLine,
    emit,
    left_out,
    new_app,
    print_table,
    say,
)
from arietta.cli.options import AnyProgramFlag, Precision, PrecisionOption

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
        str | None,
        typer.Option(
            metavar="NAME|PATH",
            help="A classifier: a registered name, or a folder that `arietta train` left. [default:"
            " small-composers]",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="OUT.csv", help="Write path, class, shares."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="CSV|folders|COLUMN",
            help="Judge the answers: a table path,label; each file's folder in DIR; or a column of"
            " the metadata of a corpus or dataset.",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="REPORT.md",
            help="Write the judgement here, as .json, and what is taken for what as .png.",
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only this split of a corpus or dataset.")
    ] = None,
    top: Annotated[
        int, typer.Option(metavar="N", min=1, help="How many classes to show of each piece.")
    ] = 3,
    any_program: AnyProgramFlag = False,
    precision: PrecisionOption = Precision.int8,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Tell what a piece is, by a classifier that was trained on examples.

    The shipped one tells fourteen composers apart; `arietta train classify-folder` makes your own.
    Slices of the piece vote, each with the number of its tokens. Files that cannot be read are
    named and left out. With --labels the answers are judged, by pieces that the classifier should
    not have learned from: accuracy, macro F1, precision and recall of each class.

    \b
    Examples:
      arietta classify my.mid
      arietta classify my-midi --model my-classifier/model -o classes.csv
      arietta classify my-classes --model my-classifier/model --labels folders --report report.md
    """
    from arietta.api.classification import classify as run

    with ProgressLine(quiet=as_json) as progress:
        done = run(
            files,
            output,
            model=model,
            labels=labels,
            report=report,
            split=split,
            any_program=any_program,
            precision=precision.value,
            force=force,
            refused=left_out(quiet=as_json),
            progress=lambda count, rate: progress.show(f"{count:,} pieces, {rate:.1f} pieces/s"),
        )
    if as_json:
        emit(done.to_dict())
        return
    if done.judgement is None:
        rows = []
        for path, one in done.pieces.items():
            shown = list(one.shares.items())[:top]
            rows.append((path, ", ".join(f"{name} {share:.0%}" for name, share in shown)))
        print_table(("piece", "class"), rows)
    else:
        _print_judgement(done.judgement)
    if done.refused:
        say(f"{len(done.refused):,} files left out")
    if output is not None:
        say(f"{output}: {len(done.pieces):,} pieces")
    if report is not None:
        say(f"{report}: the report; beside it .json and the picture .png")


def _print_judgement(judgement: Mapping[str, Any]) -> None:
    from arietta.evaluation.confusion import HEAD, class_rows, headline

    say(f"{judgement['pieces']:,} pieces: {headline(judgement)}")
    say()
    print_table(HEAD, class_rows(judgement))
    if judgement["unlabelled"]:
        say(f"{judgement['unlabelled']:,} files without a label are not judged")
    if judgement["unknown_classes"]:
        names = ", ".join(f"{n} ({c:,})" for n, c in judgement["unknown_classes"].items())
        say(f"not judged, of classes that the classifier does not know: {names}")
