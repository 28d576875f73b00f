"""``arietta train``: a recipe and a dataset (or a folder of MIDI) -> a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arietta.cli.console import JsonFlag, Progress, clock, emit, new_app, note, print_table, say
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
    dataset = _dataset_of(data, out)
    results: dict[str, Any] = {}
    for name, one in found.items():
        folder = out / name if name else out
        with Progress(quiet=as_json) as progress:

            def report(state: Report, one: Recipe = one, progress: Progress = progress) -> None:
                if progress.due():
                    progress.show(_line(one.name, state))

            result = run_recipe(
                one, dataset, folder, cpu=cpu, max_steps=steps, report=report, say=note
            )
        results[one.name] = {
            "model": str(result.model),
            "steps": result.steps,
            "tokens": result.tokens,
            "train_nats_per_token": _number(result.train_loss),
            "valid_nats_per_token": _number(result.valid_loss),
        }
        if not as_json:
            say(
                f"{result.model}: {result.steps} steps, {result.tokens / 1e6:.2f} M tokens,"
                f" loss {result.train_loss:.3f}, validation {result.valid_loss:.3f} nats per token"
            )
    if as_json:
        emit(results if len(found) > 1 else next(iter(results.values())))


def _number(value: float) -> float | None:
    return None if value != value else round(value, 5)


def _line(name: str, state: Report) -> str:
    valid = "" if state.valid is None else f"  valid {state.valid:.3f}"
    return (
        f"{name}  {state.step}/{state.steps}  loss {state.loss:.3f}{valid}"
        f"  {state.tokens_per_second:,.0f} tokens/s  {state.peak_share:.0%} of peak"
        f"  {clock(state.seconds_left)} left"
    )


def _dataset_of(data: Path, out: Path) -> Path:
    """A dataset as it is; a folder of MIDI is made into one inside the run's folder."""
    from arietta.data.shards import DESCRIPTION

    if (data / DESCRIPTION).is_file() or not data.is_dir():
        return data
    from arietta.data.build import build_dataset
    from arietta.data.settings import preset

    folder = out / "dataset"
    if not (folder / DESCRIPTION).is_file():
        note(f"{data}: making a dataset of its MIDI files in {folder}")
        settings = preset(
            "none", form="grid", dedup="exact", fractions={"train": 0.9, "valid": 0.1}
        )
        done = build_dataset([data], folder, settings)
        note(f"{folder}: {done.kept} of {done.inputs} files")
    return folder


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
    from arietta.training.planning import planned

    plans = [planned(one, data) for one in found.values()]
    if as_json:
        emit(plans if len(plans) > 1 else plans[0])
        return
    for values in plans:
        for key, value in values.items():
            say(f"{key:<22}{value:,}" if isinstance(value, int) else f"{key:<22}{value}")
