"""Train linear classifiers on embeddings."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path

from arietta.api.evaluate.labelled import read_labelled
from arietta.api.evaluate.report import Evaluation, Show
from arietta.errors import UsageError


def probe(
    benchmark: str,
    folder: str | PathLike[str] | None = None,
    output: str | PathLike[str] | None = None,
    *,
    models: Sequence[str | None] = (None,),
    splits: int = 20,
    limit: int | None = None,
    seed: int = 0,
    cache: str | PathLike[str] | None = None,
    force: bool = False,
    show: Show = lambda _: None,
    refused: Callable[[str], None] = lambda _: None,
) -> Evaluation:
    """Train a linear classifier on embeddings, and test it on works that it has not seen.

    Args:
        benchmark: name of one, or a CSV of path,label and, if wanted, group,split.
        folder: where the benchmark's files are.
        output: ``.md`` or ``.json``; both are written.
        models: whose embeddings; None for the shipped one, ``none`` for the baseline alone.
        splits: random splits, five folds each.
        limit: files of each class.
        seed: deals the splits.
        cache: folder that keeps embeddings.
        force: replace files that exist.
        show: called with a line of progress.
        refused: called with the reason of each file that is left out.

    Returns:
        Figures as ``evaluation.probe.evaluate`` gives them.

    Raises:
        InputError: the benchmark's files cannot be used.
        OutputError: a file exists or cannot be written.
        UsageError: there is no such benchmark, or it needs a folder.
    """
    from arietta.evaluation.probe import baseline_alone, compared, evaluate, markdown
    from arietta.output import check_output, json_text, whole_file

    report = None if output is None else Path(output)
    if report is not None:
        if report.suffix.lower() not in (".md", ".json"):
            raise UsageError(f"`output` {report}: the report is written as .md and .json")
        for suffix in (".md", ".json"):
            check_output(report.with_suffix(suffix), force=force)
    began = time.monotonic()
    labelled = read_labelled(benchmark, folder, limit, show, refused)
    vectors = baseline_alone(labelled.baseline)
    for name in dict.fromkeys(models):
        if name != "none":
            embedder, x = labelled.embedded(name, cache, show)
            vectors += compared(embedder.checkpoint.name, x, embedder.short_size, labelled.baseline)
    figures = evaluate(
        labelled.benchmark or Path(benchmark).stem,
        labelled.examples,
        vectors,
        splits=splits,
        seed=seed,
        report=lambda what: show(f"training: {what}"),
    )
    figures = {**figures, "seed": seed, "refused": labelled.refused}
    figures["seconds"] = round(time.monotonic() - began, 1)
    if report is not None:
        for suffix, text in (
            (".md", markdown(figures)),
            (".json", json_text(figures, indent=2) + "\n"),
        ):
            with whole_file(report.with_suffix(suffix), force=force) as part:
                part.write_text(text, encoding="utf-8")
    return Evaluation(figures, tuple(labelled.refused))
