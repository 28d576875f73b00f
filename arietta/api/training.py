"""Train a model by a recipe: the use case behind ``arietta train``."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from arietta.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from arietta.training.loop import Report, Result


@dataclass(frozen=True, eq=False)
class TrainResult:
    """What ``train`` made.

    Attributes:
        runs: name of the recipe, with its variant and its seed -> model, steps and measures of its
            run.
        spread: with several seeds, name of the recipe with its variant -> metric -> mean and
            standard deviation over the seeds of the last value on the validation rows.
    """

    runs: dict[str, Result]
    spread: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return the figures of each run, and of several seeds together, as JSON values."""
        spread = {
            f"{name} over seeds": {
                f"valid_{measure}": {
                    "mean": _number(mean),
                    "standard_deviation": _number(deviation),
                }
                for measure, (mean, deviation) in found.items()
            }
            for name, found in self.spread.items()
        }
        return spread | {
            name: {
                "model": str(run.model),
                "steps": run.steps,
                "tokens": run.tokens,
                f"train_{run.measures[0]}": _number(run.train_loss),
                **{
                    f"valid_{measure}": _number(value)
                    for measure, value in zip(run.measures, run.valid, strict=True)
                },
            }
            for name, run in self.runs.items()
        }


def _number(value: float) -> float | None:
    return None if value != value else round(value, 5)


def train(
    recipe: str | PathLike[str],
    data: str | PathLike[str],
    out: str | PathLike[str],
    *,
    changes: Sequence[str] = (),
    variant: str | None = None,
    labels: str | PathLike[str] | None = None,
    steps: int | None = None,
    seeds: int = 1,
    cpu: bool = False,
    report: Callable[[str, Report], None] = lambda *_: None,
    say: Callable[[str], None] = lambda _: None,
) -> TrainResult:
    """Train a model by a recipe, or go on from the last saved state.

    Args:
        recipe: name of a recipe, or path of a YAML file.
        data: dataset, or a folder of MIDI files, from which one is made first.
        out: folder of the run: states, logs, model; one folder a variant inside it where the
            recipe has several.
        changes: ``key=value`` each, such as ``optimiser.lr=1e-4``.
        variant: only this run of a recipe with several.
        labels: table path,label of the files of a folder, for recipes that classify; without it
            each sub-folder is a class.
        steps: stop after this many steps.
        seeds: run the recipe as many times, with its seed and those that follow, each in a folder
            of its own.
        cpu: stay on the processor.
        report: called after every step with the recipe's name.
        say: called with a line for the user.

    Raises:
        InputError: recipe or data cannot be read.
        Interrupted: Ctrl-C or SIGTERM; the step was finished and its state is saved.
        MissingExtraError: training is not installed.
        OutputError: a state cannot be written.
        TrainingError: the loss is not a number.
        UsageError: recipe, data and folder do not fit together.
    """
    found = recipes(recipe, changes, variant=variant)
    if seeds < 1:
        raise UsageError(f"`seeds` must be at least 1, got {seeds}")
    data, out = Path(data), Path(out)
    try:
        from arietta.training.loop import train as run_recipe
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("torch", "numpy", "pyarrow"):
            raise MissingExtraError("training", "train") from None
        raise
    from arietta.data.folders import dataset_of

    classify = any(one.task == "classify" for one in found.values())
    if labels is not None and not classify:
        raise UsageError(f"`labels`: recipe {recipe} classifies nothing")
    dataset = dataset_of(
        data,
        out,
        labels=None if labels is None else Path(labels),
        folders_are_classes=classify,
        say=say,
    )
    runs: dict[str, Result] = {}
    spread = {}
    for name, one in found.items():
        of_recipe = []
        for seed in range(one.seed, one.seed + seeds):
            part = f"seed-{seed}" if seeds > 1 else ""
            called = "-".join(filter(None, (one.name, part)))

            def reported(state: Report, name: str = called) -> None:
                report(name, state)

            seeded = replace(one, seed=seed)
            done = run_recipe(
                seeded,
                dataset,
                out / name / part,
                cpu=cpu,
                max_steps=steps,
                report=reported,
                say=say,
                write_samples=_write_samples,
            )
            model = "-".join(filter(None, (out.resolve().name, name, part)))
            _describe(model, seeded, dataset, done)
            runs[called] = done
            of_recipe.append(done)
        if seeds > 1:
            spread[one.name] = _spread(of_recipe)
    return TrainResult(runs, spread)


def _spread(runs: Sequence[Result]) -> dict[str, tuple[float, float]]:
    """Return mean and standard deviation over two or more runs by metric."""
    values = np.array([run.valid for run in runs], float)
    means, deviations = values.mean(axis=0).tolist(), values.std(axis=0, ddof=1).tolist()
    return dict(zip(runs[0].measures, zip(means, deviations, strict=True), strict=True))


def _describe(name: str, recipe: Any, data: Path, done: Result) -> None:
    """Give the model of a run its name, its card, and the hash and the licence of its data."""
    from arietta.checkpoints.store import CONFIG
    from arietta.models.card import Training, describe_model, init_of

    # Beside the processes that train, only one of them writes.
    if not (done.model / CONFIG).is_file() or not _is_first_process():
        return
    measures = zip(done.measures, done.valid, strict=True)
    figures = {
        "steps": done.steps,
        "tokens": done.tokens,
        f"train {done.measures[0]}": _number(done.train_loss),
        **{f"valid {measure}": _number(value) for measure, value in measures},
    }
    sha256, licence = _data_facts(data)
    describe_model(
        done.model,
        Training(
            name=name,
            recipe=recipe.name,
            settings=recipe.to_dict(),
            data=data.resolve().name,
            data_sha256=sha256,
            licence=licence,
            init=init_of(recipe.init) if recipe.init else {},
            figures=figures,
        ),
    )


def _is_first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _data_facts(data: Path) -> tuple[str, str]:
    """Return hash and licence of a dataset, or of a file of pairs."""
    from arietta.checkpoints.store import file_sha256
    from arietta.data.card import UNSTATED, licence_of
    from arietta.data.shards import dataset_sha256, open_dataset

    if data.is_file():
        return file_sha256(data), UNSTATED
    dataset = open_dataset(data)
    return dataset_sha256(dataset), licence_of(dataset)


def plan(
    recipe: str | PathLike[str],
    data: str | PathLike[str] | None = None,
    out: str | PathLike[str] | None = None,
    *,
    changes: Sequence[str] = (),
    variant: str | None = None,
    labels: str | PathLike[str] | None = None,
    steps: int | None = None,
) -> list[dict[str, Any]]:
    """Return what each run of a recipe would be, without training.

    Arguments and errors as for ``train``; nothing is written. Of a folder of MIDI files the dataset
    is made in a temporary folder, unless ``out`` has it already.
    """
    found = recipes(recipe, changes, variant=variant)
    from arietta.data.folders import dataset_of
    from arietta.training.dry_run import dry_run

    classify = any(one.task == "classify" for one in found.values())
    if labels is not None and not classify:
        raise UsageError(f"`labels`: recipe {recipe} classifies nothing")
    with tempfile.TemporaryDirectory() as folder:
        dataset = None
        if data is not None:
            made = out is not None and (Path(out) / "dataset").is_dir()
            dataset = dataset_of(
                Path(data),
                Path(out) if made and out is not None else Path(folder),
                labels=None if labels is None else Path(labels),
                folders_are_classes=classify,
            )
        plans = [dry_run(one, dataset) for one in found.values()]
    for values in plans:
        if steps is not None:
            values["stops after step"] = steps
    return plans


def recipes(
    recipe: str | PathLike[str], changes: Sequence[str] = (), *, variant: str | None = None
) -> dict[str, Any]:
    """Return a recipe's variants by name; see ``training.config.load_recipes``.

    Raises:
        MissingExtraError: training is not installed.
    """
    try:
        import yaml  # noqa: F401
    except ImportError:
        raise MissingExtraError("training", "train") from None
    from arietta.training.config import load_recipes

    return load_recipes(str(recipe), changes, variant=variant)


def recipe_summaries() -> dict[str, str]:
    """Return the recipes that come with arietta and the first sentence of each."""
    from arietta.training.config import RECIPES, recipe_names

    found = {}
    for name in recipe_names():
        comments = []
        for line in (RECIPES / f"{name}.yaml").read_text("utf8").splitlines():
            if not line.startswith("#"):
                break
            comments.append(line.lstrip("# "))
        found[name] = " ".join(comments).split(". ")[0].rstrip(".")
    return found


def _write_samples(model: Path, folder: Path, step: int, device: str) -> None:
    from arietta.generation.samples import write_samples

    write_samples(model, folder, step, device)
