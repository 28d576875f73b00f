"""``arietta classify``: which class a piece belongs to."""

from __future__ import annotations

import csv
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arietta.cli.console import (
    ForceFlag,
    JsonFlag,
    ProgressLine,
    emit,
    new_app,
    note,
    print_table,
    say,
)
from arietta.cli.options import AnyProgramFlag, Precision, PrecisionOption
from arietta.errors import InputError, MissingExtraError, UsageError

if TYPE_CHECKING:
    from arietta.data.sources import Item
    from arietta.vectors.classification import Classification

app = new_app()

_REPORT = (".md", ".json", ".png")


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
    from arietta.evaluation.labels import label_finder
    from arietta.midi.piece import Piece
    from arietta.models.aria.checkpoint import load
    from arietta.output import check_output, whole_file
    from arietta.vectors.classification import SHIPPED, Classifier
    from arietta.vectors.collection import music_items, read_item

    if output is not None:
        check_output(output, force=force)
    if report is not None:
        if labels is None:
            raise UsageError("--report needs --labels, which tells the true classes")
        if report.suffix.lower() not in _REPORT:
            raise UsageError(f"--report {report}: the report is written as .md, .json and .png")
        for suffix in _REPORT:
            check_output(report.with_suffix(suffix), force=force)
        _need_plot()
    label_of = None if labels is None else label_finder(labels)
    classifier = Classifier(load(model or SHIPPED), precision=precision.value)
    refused: list[dict[str, str]] = []
    items: dict[str, Item] = {}

    def refuse(path: str, error: InputError) -> None:
        refused.append({"file": path, "reason": str(error)})
        if not as_json:
            note(f"left out: {error}")

    def pieces() -> Iterator[tuple[str, Piece]]:
        for item in music_items(files):
            if split is not None and item.known.get("split") != split:
                continue
            try:
                piece = read_item(item)[0]
            except InputError as error:
                refuse(item.id, error)
                continue
            # Its music is not needed any more.
            items[item.id] = replace(item, data=None, piece=None)
            yield item.id, piece

    found: dict[str, Classification] = {}
    began = time.monotonic()
    with ProgressLine(quiet=as_json) as progress:
        for path, one in classifier.classify_many(pieces(), any_program=any_program):
            if isinstance(one, InputError):
                refuse(path, one)
                continue
            found[path] = one
            rate = len(found) / max(time.monotonic() - began, 1e-9)
            progress.show(f"{len(found):,} pieces, {rate:.1f} pieces/s")
    if not found:
        what = "" if split is None else f" of the split {split!r}"
        raise InputError(
            f"{files[0]}: nothing to classify: {len(refused)} files{what}, none can be used"
        )
    judgement: dict[str, Any] | None = None
    truth: dict[str, str] = {}
    if label_of is not None:
        truth = {path: label_of(items[path]) for path in found}
        judgement = _judge(classifier.classes, found, truth, items, str(labels))
    if output is not None:
        with whole_file(output, force=force) as part, part.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "label", *classifier.classes])
            for path, one in found.items():
                shares = [f"{one.shares[name]:.4f}" for name in classifier.classes]
                writer.writerow([path, one.label, *shares])
    if report is not None and judgement is not None:
        title = f"{classifier.checkpoint.name} on {', '.join(map(str, files))}"
        _write_report(report, judgement, title, force=force)
    if as_json:
        emit(
            {
                "model": classifier.checkpoint.name,
                "pieces": [
                    {
                        "path": path,
                        "label": one.label,
                        **({"truth": truth[path] or None} if truth else {}),
                        "shares": {name: round(share, 4) for name, share in one.shares.items()},
                    }
                    for path, one in found.items()
                ],
                "refused": refused,
                **({"judgement": judgement} if judgement else {}),
            }
        )
        return
    if judgement is None:
        rows = []
        for path, one in found.items():
            shown = list(one.shares.items())[:top]
            rows.append((path, ", ".join(f"{name} {share:.0%}" for name, share in shown)))
        print_table(("piece", "class"), rows)
    else:
        _say_judgement(judgement)
    if refused:
        say(f"{len(refused):,} files left out")
    if output is not None:
        say(f"{output}: {len(found):,} pieces")
    if report is not None:
        say(f"{report}: the report; beside it .json and the picture .png")


def _need_plot() -> None:
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise MissingExtraError("drawing", "plot")


def _judge(
    classes: tuple[str, ...],
    found: Mapping[str, Classification],
    truth: Mapping[str, str],
    items: Mapping[str, Item],
    labels: str,
) -> dict[str, Any]:
    """The judgement of the pieces whose class is known and one of the classifier's."""
    from arietta.evaluation.confusion import judged

    if not any(truth.values()):
        raise InputError(
            f"--labels {labels}: tells the class of none of the {len(found):,} files; give a table"
            " path,label, folders, or a column of their metadata"
        )
    strange = Counter(name for name in truth.values() if name and name not in classes)
    paths = [path for path, name in truth.items() if name in classes]
    if not paths:
        raise InputError(
            f"--labels {labels}: its classes ({', '.join(sorted(strange)[:5])}) are none of the"
            f" classifier's ({', '.join(classes[:5])})"
        )
    groups = []
    for path in paths:
        known = items[path].known
        groups.append(known.get("piece_id") or known.get("group") or path)
    report = judged(
        classes, [truth[path] for path in paths], [found[path].label for path in paths], groups
    )
    without = sum(not name for name in truth.values())
    return {**report, "unlabelled": without, "unknown_classes": dict(strange.most_common())}


def _say_judgement(judgement: Mapping[str, Any]) -> None:
    from arietta.evaluation.confusion import HEAD, class_rows, headline

    say(f"{judgement['pieces']:,} pieces: {headline(judgement)}")
    say()
    print_table(HEAD, class_rows(judgement))
    if judgement["unlabelled"]:
        say(f"{judgement['unlabelled']:,} files without a label are not judged")
    if judgement["unknown_classes"]:
        names = ", ".join(f"{n} ({c:,})" for n, c in judgement["unknown_classes"].items())
        say(f"not judged, of classes that the classifier does not know: {names}")


def _write_report(report: Path, judgement: Mapping[str, Any], title: str, *, force: bool) -> None:
    import numpy as np

    from arietta.evaluation.confusion import headline, markdown
    from arietta.evaluation.pictures import draw_confusion
    from arietta.output import whole_file

    picture = report.with_suffix(".png")
    with whole_file(picture, force=force) as part:
        draw_confusion(
            part,
            np.array(judgement["confusion"]),
            list(judgement["classes"]),
            title=title,
            caption=headline(judgement),
        )
    for suffix, text in (
        (".md", markdown(judgement, title, picture.name)),
        (".json", json.dumps(judgement, indent=2, ensure_ascii=False) + "\n"),
    ):
        with whole_file(report.with_suffix(suffix), force=force) as part:
            part.write_text(text, encoding="utf-8")
