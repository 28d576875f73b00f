"""Measure whether continuations come to resemble an example."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arietta.api.evaluate.report import Evaluation, Remaining, Report, Show
from arietta.api.models import CONDITIONED_MODEL, DEFAULT_MODEL, Model, load
from arietta.errors import UsageError

if TYPE_CHECKING:
    from arietta.evaluation.excerpts import Excerpt


def steering(
    dataset: str | PathLike[str],
    output: str | PathLike[str] | None = None,
    *,
    model: str | PathLike[str] = CONDITIONED_MODEL,
    plain: str | PathLike[str] = DEFAULT_MODEL,
    pairs: int = 48,
    strengths: Sequence[float] = (1, 1.5, 2.5, 4),
    split: str = "test",
    seed: int = 5,
    per_piece: str | PathLike[str] | None = None,
    force: bool = False,
    show: Show = lambda _: None,
) -> Evaluation:
    """Measure whether continuations come to resemble an example, and how far.

    Args:
        dataset: folder of a dataset.
        output: file for the figures, as JSON.
        model: a conditioned model.
        plain: a model that judges whether it is still music.
        pairs: prompts and references, each of another group of compositions.
        strengths: of guidance; 0, to compare with, is always among them.
        split: that prompts and references are drawn from.
        seed: of the draw.
        per_piece: file for the figures of every continuation, ``.parquet`` or ``.csv``.
        force: replace files that exist.
        show: called with a line of progress.

    Returns:
        Figures: ``passage_of_the_reference``, and ``strengths``, each as
        ``evaluation.steering.figures`` gives them.

    Raises:
        CheckpointError: the model is not conditioned.
        InputError: the dataset has fewer pairs.
        OutputError: a file exists or cannot be written.
        UsageError: fewer than two pairs.
    """
    from arietta.evaluation import steering as measure
    from arietta.evaluation.excerpts import draw_excerpts
    from arietta.evaluation.intervals import interval

    report = Report(output, per_piece, force=force)
    if pairs < 2:
        raise UsageError(f"`pairs` must be at least 2, not {pairs}")
    steered, judge = load(model), load(plain)
    embedder = steered.likeness
    show("drawing prompts and references")
    excerpts = draw_excerpts(Path(dataset), split, pairs, seed)
    references = measure.draw_references(Path(dataset), split, pairs, seed + 1)
    goals = [embedder.embed(piece).vector for piece in references]
    aim, near, start = (
        measure.columns(found)
        for found in (
            [measure.description(piece) for piece in references],
            measure.passages(references),
            [measure.description(excerpt.prompt) for excerpt in excerpts],
        )
    )
    described: dict[str, Any] = {
        "dataset": str(dataset),
        "model": steered.name,
        "model_sha256": steered.checkpoint.sha256,
        "plain": judge.name,
        "plain_sha256": judge.checkpoint.sha256,
        "split": split,
        "pairs": len(excerpts),
        "seed": seed,
        "passage_of_the_reference": {
            f"{name}_distance": interval(abs(near[name] - aim[name])) for name in measure.STATISTICS
        },
        "strengths": {},
    }
    found: dict[float, dict[str, Any]] = {}
    rows: list[dict[str, Any]] = []
    for strength in sorted({0.0, *map(float, strengths)}):
        columns = _steered(steered, judge, excerpts, goals, strength, show)
        found[strength] = columns
        described["strengths"][f"{strength:g}"] = measure.figures(columns, found[0.0], aim, start)
        rows += [
            {
                "strength": strength,
                "pair": i,
                **{name: float(values[i]) for name, values in columns.items()},
                **{f"{name}_wanted": float(values[i]) for name, values in aim.items()},
            }
            for i in range(len(excerpts))
        ]
    return report.write(described, rows)


def _steered(
    model: Model,
    judge: Model,
    excerpts: Sequence[Excerpt],
    goals: Sequence[Any],
    strength: float,
    show: Show,
) -> dict[str, Any]:
    """Continue every prompt towards its goal; measures and statistics (n,), NaN where silent."""
    import numpy as np

    from arietta.evaluation import steering as measure
    from arietta.evaluation.excerpts import FOLLOW_MS

    embedder = model.likeness
    # A full vector begins with the short one; distances use the short one.
    short = slice(embedder.checkpoint.config.embedding_size)
    centre = np.mean(goals, axis=0)[short]
    found = {
        name: np.full(len(excerpts), np.nan) for name in (*measure.MEASURES, *measure.STATISTICS)
    }
    left = Remaining()
    for i, excerpt in enumerate(excerpts):
        out = model.generate(
            excerpt.prompt,
            seconds=FOLLOW_MS / 1000,
            seed=i,
            guidance_vector=goals[i],
            guidance=strength,
        )
        show(
            f"strength {strength:g}: {i + 1:,} of {len(excerpts):,} pairs,"
            f" {left.text(i + 1, len(excerpts))} left"
        )
        if not len(out.new):
            continue
        vector = embedder.embed(out.new).vector[short] - centre
        found["cosine"][i] = measure.cosine(vector, goals[i][short] - centre)
        other = goals[(i + 1) % len(goals)][short] - centre
        found["cosine_other"][i] = measure.cosine(vector, other)
        bits = -judge.logprobs(out.piece).per_note / np.log(2)
        found["bits_per_note"][i] = bits[-len(out.new) :].mean()
        got = measure.description(out.new, FOLLOW_MS)
        for name in measure.STATISTICS:
            found[name][i] = getattr(got, name)
    return found
