"""Measure performances of scores beside those of people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arietta.api.evaluate.report import Evaluation, Report, Show
from arietta.errors import InputError

if TYPE_CHECKING:
    from arietta.evaluation.rendering import Rendering, TestPiece


WRITTEN, HUMANS = "score as is", "human vs human"
"""Names of the score without a player and of people among the systems of ``rendering``."""


def rendering(
    music: str | PathLike[str],
    output: str | PathLike[str] | None = None,
    *,
    pairs: str | PathLike[str] | None = None,
    models: Sequence[str | PathLike[str]] = ("rules", "performer"),
    renderings: Mapping[str, str | PathLike[str]] | None = None,
    variations: int = 1,
    seed: int = 0,
    force: bool = False,
    show: Show = lambda _: None,
) -> Evaluation:
    """Measure how close performances of scores come to those of people.

    Args:
        music: pairs of scores and takes, or a folder with ``score/P.mid`` and ``human/P-K.mid``.
        output: file for the figures, as JSON.
        pairs: for a folder: where its takes are aligned.
        models: who plays: ``rules``, or names or paths of rendering models.
        renderings: finished renderings ``P.mid`` of others: a folder for each name.
        variations: renderings of each score by each model.
        seed: decides the renderings.
        force: replace a file that exists.
        show: called with a line of progress.

    Returns:
        Figures: ``systems``, each as ``evaluation.rendering.evaluate`` describes it; takes that
        are left out as ``refused``.

    Raises:
        CheckpointError: there is no such model, or it renders nothing.
        InputError: there is nothing to compare, or a file cannot be read.
        OutputError: the file exists or cannot be written.
    """
    from arietta.evaluation.rendering import evaluate, evaluate_humans
    from arietta.evaluation.testsets import load_test_set

    report = Report(output, force=force)
    left_out: list[dict[str, str]] = []
    show("reading the test set")
    pieces = load_test_set(
        Path(music),
        None if pairs is None else Path(pairs),
        lambda name, reason: left_out.append({"take": name, "reason": reason}),
    )
    if not any(piece.takes for piece in pieces):
        reason = f"; {left_out[0]['take']}: {left_out[0]['reason']}" if left_out else ""
        raise InputError(f"{music}: no human takes to compare with{reason}")
    systems: dict[str, Any] = {
        WRITTEN: evaluate(pieces, {piece.name: [piece.as_written()] for piece in pieces})
    }
    for model in models:
        rendered = _rendered(model, pieces, variations, seed, show)
        systems[str(model)] = evaluate(pieces, rendered)
    for name, folder in (renderings or {}).items():
        show(f"reading {name}")
        systems[name] = evaluate(pieces, _finished(pieces, Path(folder)))
    show("comparing the humans")
    systems[HUMANS] = evaluate_humans(pieces)
    figures = {
        "music": str(music),
        "pieces": len(pieces),
        "takes": sum(len(piece.takes) for piece in pieces),
        "distinct_takes": sum(len(piece.distinct()) for piece in pieces),
        "variations": variations,
        "seed": seed,
        "systems": systems,
    }
    return report.write(figures, refused=left_out)


def _rendered(
    model: str | PathLike[str], pieces: Sequence[TestPiece], variations: int, seed: int, show: Show
) -> dict[str, list[Rendering]]:
    """Return the renderings of every score by a model."""
    from arietta.evaluation.testsets import rendering_of
    from arietta.rendering.render import open_player, render
    from arietta.rendering.settings import BlockSettings

    player = open_player(model, BlockSettings(seed=seed))
    rendered: dict[str, list[Rendering]] = {}
    for done, piece in enumerate(pieces, start=1):
        takes = render(piece.score, player, variations=range(variations))
        rendered[piece.name] = [rendering_of(piece.score, take.performed) for take in takes]
        show(f"{model}: {done:,} of {len(pieces):,} scores")
    return rendered


def _finished(pieces: Sequence[TestPiece], folder: Path) -> dict[str, list[Rendering]]:
    """Return the renderings that lie in a folder.

    Raises:
        InputError: none lies there.
    """
    from arietta.evaluation.testsets import rendering_file

    files = {piece.name: folder / f"{piece.name}.mid" for piece in pieces}
    found = {
        piece.name: [rendering_file(piece.score, files[piece.name])]
        for piece in pieces
        if files[piece.name].is_file()
    }
    if not found:
        raise InputError(f"{folder}: none of {len(pieces)} renderings is there")
    return found
