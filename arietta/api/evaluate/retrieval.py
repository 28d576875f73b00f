"""Measure whether search finds the performances of a score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from arietta.api.evaluate.report import Evaluation, Report, Show


def retrieval(
    music: str | PathLike[str],
    output: str | PathLike[str] | None = None,
    *,
    models: Sequence[str | PathLike[str] | None] = (None,),
    split: str | None = None,
    performances: int = 1,
    scores: int | None = None,
    seed: int = 0,
    per_piece: str | PathLike[str] | None = None,
    force: bool = False,
    show: Show = lambda _: None,
    refused: Callable[[str], None] = lambda _: None,
) -> Evaluation:
    """Measure whether search finds the performances of a score, also from 20 s or in another key.

    Args:
        music: one folder for each work with ``score.mid`` and performances, or a corpus; see
            ``evaluation.retrieval.works_of``.
        output: file for the figures, as JSON.
        models: whose embeddings; None for the shipped one. The others are compared with the first.
        split: of a corpus; all by default.
        performances: of each work in the gallery.
        scores: at most so many queries.
        seed: draws excerpts and keys.
        per_piece: file for the rank of every query, ``.parquet`` or ``.csv``.
        force: replace files that exist.
        show: called with a line of progress.
        refused: called with the reason of each file that is left out.

    Returns:
        Figures: ``by``, for each system (two baselines first) and each of four tasks
        ``recall_at_1``, ``recall_at_10`` (shares of the queries), their intervals and the
        ``median_rank``.

    Raises:
        CheckpointError: a model does not embed.
        InputError: there is nothing to find.
        OutputError: a file exists or cannot be written.
    """
    from arietta.api.vectors import open_embedder
    from arietta.evaluation.retrieval import (
        ANY_KEY,
        HISTOGRAM,
        figures,
        queries_of,
        ranks_of,
        works_of,
    )

    report = Report(output, per_piece, force=force)
    embedders = {}
    for name in dict.fromkeys(models):
        opened = open_embedder(name)
        embedders[opened.checkpoint.name if name is None else str(name)] = opened
    left_out: list[dict[str, str]] = []

    def refuse(name: str, reason: str) -> None:
        left_out.append({"file": name, "reason": reason})
        refused(reason)

    show("reading scores and performances")
    works = works_of(
        Path(music), split=split, performances=performances, scores=scores, refuse=refuse
    )
    queries = queries_of(works.scores, seed)
    tables: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    first: dict[str, Any] = {}
    for name in (HISTOGRAM, ANY_KEY, *embedders):
        show(f"searching by {name}")
        found = ranks_of(works, queries, name, embedders.get(name))
        if name in embedders and not first:
            first = found
        differ = first if name in embedders and found is not first else {}
        tables[name] = {task: figures(rank, differ.get(task)) for task, rank in found.items()}
        for task, rank in found.items():
            rows += [
                {"system": name, "task": task, "piece": work, "rank": place}
                for work, place in zip(works.names, rank.tolist(), strict=True)
            ]
    described = {
        "music": str(music),
        "split": split,
        "queries": len(works.names),
        "gallery": len(works.gallery),
        "seed": seed,
        "models": {name: one.checkpoint.sha256 for name, one in embedders.items()},
        "by": tables,
        "refused": left_out,
    }
    return report.write(described, rows, left_out)
