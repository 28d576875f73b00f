"""Measure how many labelled pieces a classifier needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arietta.api.evaluate.labelled import read_labelled
from arietta.api.evaluate.report import Evaluation, Report, Show
from arietta.errors import UsageError

if TYPE_CHECKING:
    from arietta.api.few_label import Finetuning


def few_label(
    benchmark: str,
    folder: str | PathLike[str] | None = None,
    output: str | PathLike[str] | None = None,
    *,
    sizes: Sequence[int | None] = (25, 50, 100, 200, None),
    in_total: bool = False,
    draws: int = 1,
    model: str | PathLike[str] | None = None,
    finetune: str | PathLike[str] | None = None,
    init: str | None = None,
    epochs: float | None = None,
    most_tokens: float | None = None,
    changes: Sequence[str] = (),
    cpu: bool = False,
    cache: str | PathLike[str] | None = None,
    limit: int | None = None,
    per_piece: str | PathLike[str] | None = None,
    force: bool = False,
    show: Show = lambda _: None,
    refused: Callable[[str], None] = lambda _: None,
) -> Evaluation:
    """Measure how many labelled pieces a classifier needs: a baseline, probes, and finetuning.

    Args:
        benchmark: name of one of ``probe``, or a CSV of path,label and, if wanted, group.
        folder: where the benchmark's files are.
        output: file for the figures, as JSON.
        sizes: numbers of labelled pieces of each class; None for all there are.
        in_total: count the pieces of all classes together.
        draws: choices of pieces for each size.
        model: whose embeddings are probed; the shipped one by default.
        finetune: folder of the finetunings, which need torch; None for none of them.
        init: model to finetune; the shipped embedding model by default.
        epochs, most_tokens: of a finetuning; the recipe's and no limit by default.
        changes: of the recipe ``classify-folder``, ``key=value`` each.
        cpu: finetune on the processor.
        cache: folder that keeps embeddings.
        limit: use only so many files of each class at all.
        per_piece: file for the prediction of every test piece, ``.parquet`` or ``.csv``.
        force: replace files that exist.
        show: called with a line of progress.
        refused: called with the reason of each file that is left out.

    Returns:
        Figures as ``api.few_label.compare`` gives them: ``rows``, one for each size and system,
        with ``accuracy``, ``macro_f1`` and their intervals.

    Raises:
        InputError: the files cannot be used.
        MissingExtraError: scikit-learn is not installed, or torch, to finetune.
        OutputError: a file exists or cannot be written.
        UsageError: there is no such benchmark, or it needs a folder.
    """
    from arietta.api.few_label import Finetuning, compare
    from arietta.vectors.embedding import default_model

    report = Report(output, per_piece, force=force)
    if any(size is not None and size < 1 for size in sizes):
        raise UsageError("`sizes` are numbers of pieces from 1 on")
    labelled = read_labelled(benchmark, folder, limit, show, refused)
    embedder, full = labelled.embedded(model, cache, show)
    start = init or default_model()

    def tuned(*about: Any) -> Finetuning:
        assert finetune is not None
        return Finetuning(
            Path(finetune),
            *about,
            init=start,
            epochs=epochs,
            most_tokens=most_tokens,
            changes=changes,
            cpu=cpu,
        )

    def done(row: Mapping[str, Any]) -> None:
        show(f"{row['n']} labelled: {row['system']} {100 * row['accuracy']['mean']:.1f} %")

    found, single = compare(
        labelled.examples,
        {
            "floor": labelled.baseline,
            "embedding": full[:, : embedder.short_size],
            "full embedding": full,
        },
        sizes,
        draws=draws,
        in_total=in_total,
        finetuning=None if finetune is None else tuned,
        found_row=done,
    )
    figures = {
        "benchmark": Path(benchmark).stem,
        "model": embedder.checkpoint.name,
        "model_sha256": embedder.checkpoint.sha256,
        "init": None if finetune is None else start,
        "epochs": epochs,
        "most_tokens": most_tokens,
        "changes": list(changes),
        "refused": len(labelled.refused),
        **found,
    }
    return report.write(figures, single, labelled.refused)
