"""Evaluate a classifier on labelled pieces: metrics, metrics by class, confusion matrix.

Conventions. *Precision* of a class: share of the pieces predicted as this class that belong to it;
*recall*: share of the pieces of the class that are predicted as this class. Either is None if its
denominator is 0. The metrics over all pieces and their intervals are those of ``evaluation.probe``:
the interval resamples groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from arietta.evaluation.probe import METRICS, figures

Report = dict[str, Any]


def judged(
    classes: Sequence[str],
    truth: Sequence[str],
    predicted: Sequence[str],
    groups: Sequence[str],
) -> Report:
    """Compute the metrics of the predictions of a classifier.

    Args:
        classes: (C,) names in order; classes without a piece stay in the matrix.
        truth, predicted: (n,) true and predicted class of each piece, n >= 1.
        groups: (n,) pieces of one group hold the same work.

    Returns:
        JSON values: ``accuracy`` and the other metrics with ``mean`` and ``interval_95``,
        ``classes`` (pieces, precision, recall, f1 of each), ``confusion`` (C rows of the truth).
    """
    place = {name: i for i, name in enumerate(classes)}
    labels = np.array([place[name] for name in truth], np.int64)
    predictions = np.array([place[name] for name in predicted], np.int64)
    rows = np.arange(len(labels))
    found = figures(labels, groups, [predictions], [(rows[:0], rows)], len(classes))
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(confusion, (labels, predictions), 1)
    by_class = {}
    for i, name in enumerate(classes):
        hits, there, claimed = confusion[i, i], confusion[i].sum(), confusion[:, i].sum()
        by_class[name] = {
            "pieces": int(there),
            "precision": _share(hits, claimed),
            "recall": _share(hits, there),
            "f1": _share(2 * hits, there + claimed),
        }
    return {
        "pieces": len(labels),
        "groups": len(set(groups)),
        **{
            name: {"mean": found[name]["mean"], "interval_95": found[name]["interval_95"]}
            for name in METRICS
        },
        "classes": by_class,
        "confusion": confusion.tolist(),
    }


def _share(part: int, whole: int) -> float | None:
    return round(float(part / whole), 4) if whole else None


def headline(report: Mapping[str, Any]) -> str:
    """Return accuracy and macro F1 in per cent, with their intervals."""
    shown = []
    for name, key in (("accuracy", "accuracy"), ("macro F1", "macro_f1")):
        low, high = report[key]["interval_95"]
        mean = report[key]["mean"]
        shown.append(f"{name} {100 * mean:.1f} % (95 %: {100 * low:.1f}–{100 * high:.1f})")
    return ", ".join(shown)


HEAD = ("class", "pieces", "precision", "recall", "F1", "taken for")


def class_rows(report: Mapping[str, Any]) -> list[list[str]]:
    """Return the rows of the table under ``HEAD``, figures in per cent."""
    names = list(report["classes"])
    rows = []
    for (name, one), counts in zip(report["classes"].items(), report["confusion"], strict=True):
        others = [(count, other) for count, other in zip(counts, names, strict=True)
                  if count and other != name]  # fmt: skip
        others.sort(key=lambda pair: -pair[0])
        shown = ", ".join(f"{other} {count:,}" for count, other in others[:3])
        cells = ["–" if one[k] is None else f"{100 * one[k]:.1f}"
                 for k in ("precision", "recall", "f1")]  # fmt: skip
        rows.append([name, f"{one['pieces']:,}", *cells, shown])
    return rows


def markdown(report: Mapping[str, Any], title: str, picture: str = "") -> str:
    """Format the report as Markdown.

    Args:
        report: result of ``judged``.
        title: title of the report.
        picture: path of the drawn matrix, if there is one.
    """
    lines = [
        f"# {title}",
        "",
        f"{report['pieces']:,} pieces in {report['groups']:,} groups: {headline(report)},"
        f" balanced accuracy {100 * report['balanced_accuracy']['mean']:.1f} %,"
        f" weighted F1 {100 * report['weighted_f1']['mean']:.1f} %. Intervals resample groups.",
        "",
        "Per cent. Precision: how many of those said to be of a class are. Recall: how many of a"
        " class were said to be.",
        "",
        "| " + " | ".join(HEAD) + " |",
        "|" + " --- |" * len(HEAD),
        *("| " + " | ".join(row) + " |" for row in class_rows(report)),
        "",
    ]
    if picture:
        lines += [f"![what was taken for what]({picture})", ""]
    return "\n".join(lines)
