"""Measure continuations beside those of people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arietta.api.evaluate.report import Evaluation, Remaining, Report, Show
from arietta.api.models import DEFAULT_MODEL, Model, load
from arietta.errors import UsageError

if TYPE_CHECKING:
    from arietta.evaluation.excerpts import Excerpt
    from arietta.generation.measures import Notes


PEOPLE, OTHERS, SHUFFLED = "people", "other people", "people shuffled"


def continuations(
    dataset: str | PathLike[str],
    output: str | PathLike[str] | None = None,
    *,
    systems: Mapping[str, Mapping[str, Any]] | None = None,
    split: str = "test",
    prompts: int = 40,
    seed: int = 1,
    force: bool = False,
    show: Show = lambda _: None,
) -> Evaluation:
    """Measure continuations beside those of people: do they degenerate, keep time, key, texture?

    Args:
        dataset: folder of a dataset.
        output: file for the figures, as JSON.
        systems: name -> keywords of ``Model.generate`` and ``model``; the shipped model by
            default.
        split: that prompts are drawn from.
        prompts: how many, each from another group of compositions.
        seed: of the prompts.
        force: replace a file that exists.
        show: called with a line of progress.

    Returns:
        Figures: ``systems``, each with ``mean_overlap``, ``statistics`` and ``musicality``, as
        ``evaluation.excerpts.evaluate`` gives them: people, others (as many continuations of
        other performances), people with the times between their onsets in random order, then
        the systems, also with ``metronome``: quarters a minute -> share of the onsets of 12 takes
        within 30 ms of an eighth, behind eight bars of even quarters; all, those of the first
        4 s, and chance.

    Raises:
        CheckpointError: a model does not generate.
        InputError: the dataset has fewer prompts.
        OutputError: the file exists or cannot be written.
        UsageError: a keyword is unknown or out of range.
    """
    from arietta.evaluation.excerpts import draw_excerpts, evaluate, shuffled

    report = Report(output, force=force)
    if prompts < 2:
        raise UsageError(f"`prompts` must be at least 2, not {prompts}")
    systems = {DEFAULT_MODEL: {}} if systems is None else systems
    loaded: dict[str, Model] = {}
    models: dict[str, Model] = {}
    for name, options in systems.items():
        wanted = str(options.get("model", DEFAULT_MODEL))
        if wanted not in loaded:
            loaded[wanted] = load(wanted)
            loaded[wanted].checkpoint.require("lm", "conditioned")
        models[name] = loaded[wanted]
    show("drawing prompts")
    excerpts = draw_excerpts(Path(dataset), split, prompts, seed)
    others = draw_excerpts(Path(dataset), split, prompts, seed + 1)
    found = {
        PEOPLE: evaluate([e.human for e in excerpts], excerpts),
        OTHERS: evaluate([e.human for e in others], excerpts),
        SHUFFLED: evaluate([shuffled(e.human, i) for i, e in enumerate(excerpts)], excerpts),
    }
    for name, options in systems.items():
        keywords = {key: value for key, value in options.items() if key != "model"}
        played = _continued(name, models[name], excerpts, keywords, show)
        found[name] = {
            "model": models[name].name,
            "model_sha256": models[name].checkpoint.sha256,
            **evaluate(played, excerpts),
            "metronome": _on_eighths(models[name], keywords),
        }
    figures = {
        "dataset": str(dataset),
        "split": split,
        "prompts": len(excerpts),
        "seed": seed,
        "systems": found,
    }
    return report.write(figures)


def _continued(
    name: str, model: Model, excerpts: Sequence[Excerpt], options: Mapping[str, Any], show: Show
) -> list[Notes]:
    """Return the notes of one continuation of every prompt."""
    from arietta.evaluation.excerpts import FOLLOW_MS
    from arietta.generation.measures import notes_of

    left = Remaining()
    found = []
    for number, excerpt in enumerate(excerpts):
        keywords: dict[str, Any] = {**options, "seconds": FOLLOW_MS / 1000, "seed": number}
        found.append(notes_of(model.generate(excerpt.prompt, **keywords).new))
        done = number + 1
        show(
            f"{name}: {done:,} of {len(excerpts):,} prompts, {left.text(done, len(excerpts))} left"
        )
    return found


def _on_eighths(model: Model, options: Mapping[str, Any]) -> dict[str, list[float | None]]:
    """Return the shares of the metronome test, see ``continuations``."""
    from arietta.evaluation.musicality import METRONOMES, TOLERANCE_MS

    takes = 12
    found: dict[str, list[float | None]] = {}
    for test in METRONOMES:
        keywords = {**options, "seconds": 16.0, "seed": 3, "variations": takes, "of": takes}
        rows = [
            take.place_ms + take.new.onset_ms.astype(float)
            for take in model.generate_many(test.prompt(), **keywords)
        ]
        shares = []
        for first_ms in (None, 4_000.0):
            each = [test.share(onset_ms, first_ms) for onset_ms in rows]
            known = [share for share in each if share is not None]
            shares.append(sum(known) / len(known) if known else None)
        found[f"{test.bpm:g}"] = [*shares, 2 * TOLERANCE_MS / test.eighth_ms]
    return found
