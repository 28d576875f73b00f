"""``arietta train``: a recipe and a dataset (or a folder of MIDI) -> a model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arietta.cli.console import JsonFlag, ProgressLine, clock, emit, new_app, note, print_table, say
from arietta.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from arietta.training.config import Recipe
    from arietta.training.loop import Report

app = new_app()


@app.command()
def train(
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="[RECIPE]", help="Name of a recipe, or path of a YAML file."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DATA]",
            help="Dataset made by `arietta data build`, or a folder of MIDI files, from which one"
            " is made first.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="RUN", help="Folder of the run: states, logs, model."),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change one key, such as optimiser.lr=1e-4."
        ),
    ] = None,
    variant: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only this run of a recipe with several.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="path,label of every file, for recipes that classify. Without it each folder in"
            " DATA is a class.",
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Stop after N steps; go on later.")
    ] = None,
    cpu: Annotated[bool, typer.Option("--cpu", help="Stay on the processor.")] = False,
    plan_only: Annotated[
        bool, typer.Option("--plan", help="Say what the run would be, and stop.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Train a model by a recipe. Without RECIPE: list the recipes.

    The same command goes on from the last saved state after a stop, a kill or a crash. RUN/model
    is a model that `arietta generate --model RUN/model` loads; RUN/loss.csv and RUN/valid.csv are
    the curves, RUN/tensorboard the same for TensorBoard, RUN/samples what it sounds like meanwhile.
    Several processes: `accelerate launch -m arietta train RECIPE DATA -o RUN`.

    Examples:

      arietta train finetune-folder my-midi -o my-model

      arietta train classify-folder my-classes -o my-classifier

      arietta train small-pretrain dataset -o run --set optimiser.lr=2e-3
    """
    from arietta.training.config import load_recipes, recipe_names

    try:
        import yaml  # noqa: F401
    except ImportError:
        raise MissingExtraError("training", "train") from None
    if recipe is None:
        _list(recipe_names(), as_json)
        return
    found = load_recipes(recipe, changes or (), variant=variant)
    if plan_only:
        _show_plan(found, data, as_json)
        return
    if data is None or out is None:
        raise UsageError("give DATA and -o RUN (or --plan to see what the recipe would do)")
    try:
        from arietta.training.loop import train as run_recipe
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("torch", "numpy", "pyarrow"):
            raise MissingExtraError("training", "train") from None
        raise
    classify = any(one.task == "classify" for one in found.values())
    if labels is not None and not classify:
        raise UsageError(f"--labels: recipe {recipe} classifies nothing")
    dataset = _dataset_of(data, out, labels, classify=classify)
    results: dict[str, Any] = {}
    for name, one in found.items():
        folder = out / name if name else out
        with ProgressLine(quiet=as_json) as progress:

            def report(state: Report, one: Recipe = one, progress: ProgressLine = progress) -> None:
                if progress.due():
                    progress.show(_line(one.name, state))

            result = run_recipe(
                one,
                dataset,
                folder,
                cpu=cpu,
                max_steps=steps,
                report=report,
                say=note,
                write_samples=_write_samples,
            )
        results[one.name] = {
            "model": str(result.model),
            "steps": result.steps,
            "tokens": result.tokens,
            f"train_{result.measures[0]}": _number(result.train_loss),
            **{
                f"valid_{name}": _number(value)
                for name, value in zip(result.measures, result.valid, strict=True)
            },
        }
        if not as_json:
            measured = ", ".join(
                f"{name.replace('_', ' ')} {value:.3f}"
                for name, value in zip(result.measures, result.valid, strict=True)
                if not math.isnan(value)
            )
            trained = f", training {result.train_loss:.3f}" * (result.steps > 0)
            valid = f", validation {measured}" if measured else ", not validated"
            say(
                f"{result.model}: {result.steps} steps, {result.tokens / 1e6:.2f} M tokens"
                f"{trained}{valid}"
            )
    if as_json:
        emit(results if len(found) > 1 else next(iter(results.values())))


def _write_samples(model: Path, folder: Path, step: int) -> None:
    from arietta.generation.samples import write_samples

    write_samples(model, folder, step)


def _number(value: float) -> float | None:
    return None if value != value else round(value, 5)


def _line(name: str, state: Report) -> str:
    valid = "" if state.valid is None else f"  valid {state.valid:.3f}"
    return (
        f"{name}  {state.step}/{state.steps}  loss {state.loss:.3f}{valid}"
        f"  {state.tokens_per_second:,.0f} tokens/s  {state.peak_share:.0%} of peak"
        f"  {clock(state.seconds_left)} left"
    )


def _dataset_of(data: Path, out: Path, labels: Path | None, *, classify: bool) -> Path:
    """A dataset as it is; a folder of MIDI is made into one inside the run's folder."""
    from arietta.data.shards import DESCRIPTION

    if (data / DESCRIPTION).is_file() or not data.is_dir():
        if labels is not None:
            raise UsageError(
                f"--labels goes with a folder of MIDI; {data} is none. For a dataset: arietta data"
                " build … --metadata CSV, and --set classify.label=COLUMN"
            )
        return data
    from arietta.data.build import build_dataset
    from arietta.data.settings import preset

    folder = out / "dataset"
    if not (folder / DESCRIPTION).is_file():
        note(f"{data}: making a dataset of its MIDI files in {folder}")
        settings = preset(
            "none", form="grid", dedup="exact", fractions={"train": 0.9, "valid": 0.1}
        )
        if classify and labels is None:
            labels = out / "labels.json"
            _write_folder_labels(data, labels)
        done = build_dataset([data], folder, settings, metadata=labels)
        note(f"{folder}: {done.kept} of {done.inputs} files")
    return folder


def _write_folder_labels(data: Path, labels: Path) -> None:
    """A table that gives each file in a sub-folder of ``data`` the folder's name as its class."""
    from arietta.output import whole_file

    table = {
        path.relative_to(data).as_posix(): {"label": path.relative_to(data).parts[0]}
        for path in sorted(data.glob("*/**/*"))
        if path.is_file()
    }
    if not table:
        raise UsageError(f"{data}: holds no folders; make one for each class, or give --labels CSV")
    labels.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(labels, force=True) as part:
        part.write_text(json.dumps(table, ensure_ascii=False), encoding="utf8")


def _list(names: list[str], as_json: bool) -> None:
    from arietta.training.config import RECIPES

    if as_json:
        emit(names)
        return
    rows = []
    for name in names:
        comments = []
        for line in (RECIPES / f"{name}.yaml").read_text("utf8").splitlines():
            if not line.startswith("#"):
                break
            comments.append(line.lstrip("# "))
        rows.append((name, " ".join(comments).split(". ")[0].rstrip(".")))
    print_table(("recipe", "what it is"), rows)


def _show_plan(found: dict[str, Recipe], data: Path | None, as_json: bool) -> None:
    from arietta.training.dry_run import dry_run

    plans = [dry_run(one, data) for one in found.values()]
    if as_json:
        emit(plans if len(plans) > 1 else plans[0])
        return
    for values in plans:
        for key, value in values.items():
            say(f"{key:<22}{value:,}" if isinstance(value, int) else f"{key:<22}{value}")
