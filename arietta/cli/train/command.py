"""``arietta train``: a recipe and a dataset (or a folder of MIDI) -> a model."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arietta.cli.console import JsonFlag, ProgressLine, clock, emit, new_app, note, print_table, say
from arietta.errors import Interrupted, UsageError

if TYPE_CHECKING:
    from arietta.training.loop import Report, Result

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
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            metavar="M",
            help="End after M minutes, with the learning rate at its end; the recipe's `minutes`.",
        ),
    ] = None,
    seeds: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Run the recipe N times with other seeds, each in a folder in RUN; print mean and"
            " standard deviation.",
        ),
    ] = 1,
    cpu: Annotated[bool, typer.Option("--cpu", help="Stay on the processor.")] = False,
    plan_only: Annotated[
        bool, typer.Option("--plan", help="Print what the run would be, and stop.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Train a model by a recipe. Without RECIPE: list the recipes.

    The same command goes on from the last saved state after a stop, a kill or a crash. Ctrl-C and
    SIGTERM end the run after the step that it is in, with its state saved. RUN/model
    is a model that `arietta generate --model RUN/model` loads; RUN/loss.csv and RUN/valid.csv are
    the curves, RUN/tensorboard the same for TensorBoard, RUN/samples what it sounds like meanwhile.
    Several processes: `accelerate launch -m arietta train RECIPE DATA -o RUN`.

    Examples:

      arietta train finetune-folder my-midi -o my-model

      arietta train classify-folder my-classes -o my-classifier

      arietta train small-pretrain dataset -o run --set optimiser.lr=2e-3

      arietta train small-pretrain dataset -o runs --seeds 3
    """
    from arietta.api.training import recipes
    from arietta.api.training import train as run

    if recipe is None:
        _list(as_json)
        return
    limit = [f"minutes={minutes}"] if minutes is not None else []
    given: dict[str, Any] = {"changes": [*(changes or ()), *limit], "variant": variant}
    if plan_only:
        _show_plan(recipe, data, out, {**given, "labels": labels, "steps": steps}, as_json)
        return
    recipes(recipe, **given)
    if data is None or out is None:
        raise UsageError("give DATA and -o RUN (or --plan to see what the recipe would do)")
    with ProgressLine(quiet=as_json) as progress:

        def report(name: str, state: Report) -> None:
            if progress.due():
                progress.show(_line(name, state))

        settings = {**given, "labels": labels, "steps": steps, "seeds": seeds, "cpu": cpu}
        try:
            done = run(recipe, data, out, **settings, report=report, say=note)
        except Interrupted as stop:
            progress.clear()
            if _is_first():
                note(str(stop))
            raise typer.Exit(stop.exit_code) from None
    if not _is_first():
        return
    if as_json:
        figures = done.to_dict()
        emit(figures if len(figures) > 1 else next(iter(figures.values())))
        return
    for one in done.runs.values():
        _summary(one)
    for name, spread in done.spread.items():
        figures_of = ", ".join(
            f"{measure.replace('_', ' ')} {mean:.3f} ± {deviation:.3f}"
            for measure, (mean, deviation) in spread.items()
        )
        say(f"{name}, mean ± standard deviation over {seeds} seeds: validation {figures_of}")


def _is_first() -> bool:
    return os.environ.get("RANK", "0") == "0"  # set by torchrun and accelerate


def _summary(run: Result) -> None:
    """Print one line on a run: where, how long, how good."""
    measured = _measured(run, run.valid)
    trained = f", training {run.train_loss:.3f}" * (run.steps > 0)
    valid = f", validation {measured}" if measured else ", not validated"
    say(f"{run.model}: {run.steps} steps, {run.tokens / 1e6:.2f} M tokens{trained}{valid}")
    if run.before and run.kept:
        say(f"held out, before: {_measured(run, run.before)}")
        say(f"held out, the model that is kept: {_measured(run, run.kept)}")


def _measured(run: Result, values: Sequence[float]) -> str:
    return ", ".join(
        f"{name.replace('_', ' ')} {value:.3f}"
        for name, value in zip(run.measures, values, strict=True)
        if not math.isnan(value)
    )


def _line(name: str, state: Report) -> str:
    valid = "" if state.valid is None else f"  valid {state.valid:.3f}"
    return (
        f"{name}  {state.step}/{state.steps}  loss {state.loss:.3f}{valid}"
        f"  {state.tokens_per_second:,.0f} tokens/s  {state.peak_share:.0%} of peak"
        f"  {clock(state.seconds_left)} left"
    )


def _list(as_json: bool) -> None:
    from arietta.api.training import recipe_summaries

    found = recipe_summaries()
    if as_json:
        emit(list(found))
    else:
        print_table(("recipe", "what it is"), list(found.items()))


def _show_plan(
    recipe: str, data: Path | None, out: Path | None, given: dict[str, Any], as_json: bool
) -> None:
    from arietta.api.training import plan

    plans = plan(recipe, data, out, **given)
    if as_json:
        emit(plans if len(plans) > 1 else plans[0])
        return
    for values in plans:
        for key, value in values.items():
            say(f"{key:<22}{value:,}" if isinstance(value, int) else f"{key:<22}{value}")
