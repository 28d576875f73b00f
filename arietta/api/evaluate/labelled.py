"""Labelled files and their embeddings, for what trains classifiers on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from arietta.api.evaluate.report import Remaining, Show
from arietta.errors import UsageError

if TYPE_CHECKING:
    from arietta.arrays import Float32Array
    from arietta.evaluation.labels import Benchmark, Example
    from arietta.vectors.embedding import Embedder


@dataclass(frozen=True, eq=False)
class Labelled:
    """The files of a benchmark that could be read.

    Attributes:
        benchmark: the named benchmark; None for a CSV.
        examples: the files, with label and group.
        baseline: (n, 100) shares of pitches, times and velocities of each file.
        refused: files that were left out, each with its reason.
    """

    benchmark: Benchmark | None
    examples: Sequence[Example]
    baseline: Float32Array
    refused: list[dict[str, str]]

    def embedded(
        self, model: str | PathLike[str] | None, cache: str | PathLike[str] | None, show: Show
    ) -> tuple[Embedder, Float32Array]:
        """Embed all files.

        Args:
            model: name or path; the shipped one by default.
            cache: folder that keeps embeddings.
            show: called with a line of progress.

        Returns:
            The embedder, and full vectors (n, size), which begin with the short ones.

        Raises:
            CheckpointError: the model does not embed.
        """
        from arietta.api.vectors import open_embedder
        from arietta.evaluation.probe_vectors import model_vectors

        embedder, left = open_embedder(model, full=True), Remaining()
        vectors = model_vectors(
            self.examples,
            embedder,
            None if cache is None else Path(cache),
            lambda done, total: show(
                f"embedding: {done:,} of {total:,} files, {left.text(done, total)} left"
            ),
        )
        return embedder, vectors


def read_labelled(
    benchmark: str,
    folder: str | PathLike[str] | None,
    limit: int | None,
    show: Show,
    refused: Callable[[str], None],
) -> Labelled:
    """Read the files of a benchmark.

    Args:
        benchmark: name of one, or a CSV of path,label and, if wanted, group,split.
        folder: where a named benchmark's files are.
        limit: files of each class.
        show: called with a line of progress.
        refused: called with the reason of each file that is left out.

    Raises:
        InputError: the files cannot be used.
        UsageError: there is no such benchmark, or it needs a folder.
    """
    from arietta.evaluation.labels import gather_table, named
    from arietta.evaluation.probe_vectors import baseline_vectors, limited

    known = None if benchmark.lower().endswith(".csv") else named(benchmark)
    if known is None:
        examples = gather_table(Path(benchmark))
    elif folder is None:
        raise UsageError(f"{benchmark} needs a FOLDER: {known.folder}")
    else:
        examples = known.gather(Path(folder))
    examples, baseline, left_out = baseline_vectors(
        limited(examples, limit),
        lambda done, total: show(f"reading: {done:,} of {total:,} files"),
    )
    for one in left_out:
        refused(one["reason"])
    return Labelled(known, examples, baseline, left_out)
