"""Classify pieces, and measure the answers: the use case behind ``arietta classify``."""

from __future__ import annotations

import csv
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arietta.errors import InputError, MissingExtraError, UsageError

if TYPE_CHECKING:
    from arietta.data.sources import Item
    from arietta.midi.piece import Piece
    from arietta.models.kernel.packing import Precision
    from arietta.vectors.classification import Classification

REPORT_SUFFIXES = (".md", ".json", ".png")


@dataclass(frozen=True, eq=False)
class ClassifyResult:
    """What ``classify`` found.

    Attributes:
        model: name of the classifier.
        classes: those that it knows.
        pieces: path -> class and shares.
        truth: path -> the true class, "" where it is not known; empty without labels.
        judgement: accuracy, F1 and so on, as ``evaluation.confusion`` gives them; None without
            labels.
        refused: files that were left out, each with its reason.
    """

    model: str
    classes: tuple[str, ...]
    pieces: Mapping[str, Classification]
    truth: Mapping[str, str]
    judgement: Mapping[str, Any] | None
    refused: tuple[dict[str, str], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "model": self.model,
            "pieces": [
                {
                    "path": path,
                    "label": one.label,
                    **({"truth": self.truth[path] or None} if self.truth else {}),
                    "shares": {name: round(share, 4) for name, share in one.shares.items()},
                }
                for path, one in self.pieces.items()
            ],
            "refused": list(self.refused),
            **({"judgement": self.judgement} if self.judgement else {}),
        }


def classify(
    files: Sequence[str | PathLike[str]],
    output: str | PathLike[str] | None = None,
    *,
    model: str | PathLike[str] | None = None,
    labels: str | None = None,
    report: str | PathLike[str] | None = None,
    split: str | None = None,
    any_program: bool = False,
    precision: Precision = "int8",
    force: bool = False,
    refused: Callable[[str, InputError], None] = lambda *_: None,
    progress: Callable[[int, float], None] = lambda *_: None,
) -> ClassifyResult:
    """Find the class of pieces; measure the answers where labels are given.

    Args:
        files: MIDI files, folders, archives or datasets.
        output: ``.csv`` to write: path, class, shares.
        model: a classifier; the shipped one by default.
        labels: a table path,label; ``folders``; or a column of the metadata.
        report: ``.md`` to write the judgement to, with ``.json`` and ``.png`` beside it.
        split: only this split of a corpus or dataset.
        any_program: take every instrument but drums as a piano.
        precision: of the weights.
        force: replace files that exist.
        refused: called with a file that is left out, and why.
        progress: called after every piece with the pieces that are done and the pieces a second.

    Raises:
        CheckpointError: the model is not a classifier.
        InputError: not one file can be used, or the labels do not fit.
        MissingExtraError: the report needs matplotlib.
        OutputError: a file exists or cannot be written.
        UsageError: a report is wanted without labels, or under another suffix.
    """
    from arietta.evaluation.labels import label_finder
    from arietta.models.aria.checkpoint import load
    from arietta.output import check_output
    from arietta.vectors.classification import SHIPPED, Classifier

    paths = [Path(file) for file in files]
    table = None if output is None else check_output(output, force=force)
    page = None if report is None else _checked_report(Path(report), labels, force=force)
    label_of = None if labels is None else label_finder(labels)
    classifier = Classifier(load(model or SHIPPED), precision=precision)
    left_out: list[dict[str, str]] = []
    items: dict[str, Item] = {}

    def refuse(path: str, error: InputError) -> None:
        left_out.append({"file": path, "reason": str(error)})
        refused(path, error)

    found: dict[str, Classification] = {}
    began = time.monotonic()
    pieces = _pieces(paths, split, items, refuse)
    for path, one in classifier.classify_many(pieces, any_program=any_program):
        if isinstance(one, InputError):
            refuse(path, one)
            continue
        found[path] = one
        progress(len(found), len(found) / max(time.monotonic() - began, 1e-9))
    if not found:
        what = "" if split is None else f" of the split {split!r}"
        raise InputError(
            f"{paths[0]}: nothing to classify: {len(left_out)} files{what}, none can be used"
        )
    judgement: dict[str, Any] | None = None
    truth: dict[str, str] = {}
    if label_of is not None:
        truth = {path: label_of(items[path]) for path in found}
        judgement = _judge(classifier.classes, found, truth, items, str(labels))
    if table is not None:
        _write_table(table, classifier.classes, found, force=force)
    if page is not None and judgement is not None:
        title = f"{classifier.checkpoint.name} on {', '.join(map(str, paths))}"
        _write_report(page, judgement, title, force=force)
    return ClassifyResult(
        classifier.checkpoint.name, classifier.classes, found, truth, judgement, tuple(left_out)
    )


def _checked_report(report: Path, labels: str | None, *, force: bool) -> Path:
    from arietta.output import check_output

    if labels is None:
        raise UsageError("`report` needs `labels`, which give the true classes")
    if report.suffix.lower() not in REPORT_SUFFIXES:
        raise UsageError(f"`report` {report}: the report is written as .md, .json and .png")
    for suffix in REPORT_SUFFIXES:
        check_output(report.with_suffix(suffix), force=force)
    if find_spec("matplotlib") is None:
        raise MissingExtraError("drawing", "plot")
    return report


def _pieces(
    files: Sequence[Path],
    split: str | None,
    items: dict[str, Item],
    refuse: Callable[[str, InputError], None],
) -> Iterator[tuple[str, Piece]]:
    """Read the pieces one after the other; ``items`` takes what is known of each."""
    from arietta.vectors.collection import music_items, read_item

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


def _judge(
    classes: tuple[str, ...],
    found: Mapping[str, Classification],
    truth: Mapping[str, str],
    items: Mapping[str, Item],
    labels: str,
) -> dict[str, Any]:
    """Measure the answers on the pieces whose class is known to the classifier."""
    from arietta.evaluation.confusion import judged

    if not any(truth.values()):
        raise InputError(
            f"`labels` {labels}: gives the class of none of the {len(found):,} files; give a table"
            " path,label, folders, or a column of their metadata"
        )
    strange = Counter(name for name in truth.values() if name and name not in classes)
    paths = [path for path, name in truth.items() if name in classes]
    if not paths:
        raise InputError(
            f"`labels` {labels}: its classes ({', '.join(sorted(strange)[:5])}) are not among the"
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


def _write_table(
    output: Path, classes: Sequence[str], found: Mapping[str, Classification], *, force: bool
) -> None:
    from arietta.output import whole_file

    with (
        whole_file(output, force=force) as part,
        part.open("w", encoding="utf8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["path", "label", *classes])
        for path, one in found.items():
            writer.writerow([path, one.label, *(f"{one.shares[name]:.4f}" for name in classes)])


def _write_report(report: Path, judgement: Mapping[str, Any], title: str, *, force: bool) -> None:
    import numpy as np

    from arietta.evaluation.confusion import headline, markdown
    from arietta.evaluation.pictures import draw_confusion
    from arietta.output import json_text, whole_file

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
        (".json", json_text(judgement, indent=2) + "\n"),
    ):
        with whole_file(report.with_suffix(suffix), force=force) as part:
            part.write_text(text, encoding="utf-8")
