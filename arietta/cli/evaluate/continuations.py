"""``arietta evaluate continuations``: do continuations degenerate, keep time, key and texture?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from arietta.cli.console import ForceFlag, JsonFlag, ProgressLine, emit, print_table, say
from arietta.cli.options import FiguresOption


def continuations(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Where prompts come from.")],
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|PATH", help="What goes on; give it once for each. [default: small]"
        ),
    ] = None,
    split: Annotated[str, typer.Option(metavar="NAME", help="Split of the dataset.")] = "test",
    prompts: Annotated[
        int, typer.Option(metavar="N", min=2, help="How many, each of another composition.")
    ] = 40,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Decides the prompts.")] = 1,
    output: FiguresOption = None,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Compare continuations of a model with what people played next.

    Each prompt is 15 s out of a performance; people and model go on for 20 s. Beside the medians of
    people stand those of other people's continuations, the ceiling of the overlap, and of the same
    notes with their times in random order, the baseline of the pulse. Overlap is the shared area of
    the distributions of eleven statistics, 0 to 1.

    \b
    Examples:
      arietta evaluate continuations dataset
      arietta evaluate continuations dataset --model small --model mine --prompts 100 -o f.json
    """
    from arietta.api.evaluate import continuations as run
    from arietta.api.models import DEFAULT_MODEL

    names = dict.fromkeys(model or [DEFAULT_MODEL])
    with ProgressLine(quiet=as_json) as progress:
        done = run(
            dataset,
            output,
            systems={name: {"model": name} for name in names},
            split=split,
            prompts=prompts,
            seed=seed,
            force=force,
            show=progress.show,
        )
    if as_json:
        emit(done.to_dict())
    else:
        _print(done.to_dict())


def _print(figures: dict[str, Any]) -> None:
    """Print overlap, musicality and statistics: a row a figure, a column a system."""
    systems: dict[str, Any] = figures["systems"]
    say(f"{figures['split']} split of {figures['dataset']}: {figures['prompts']} prompts, medians")
    say()
    rows = [
        ["overlap with people", *(f"{one['mean_overlap']:.3f}" for one in systems.values())],
        ["without notes", *(str(one["silent"]) for one in systems.values())],
    ]
    first = next(iter(systems.values()))
    for name in first["musicality"]:
        rows.append(_row(name, [one["musicality"][name] for one in systems.values()]))
    for name in first["statistics"]:
        if name not in first["musicality"]:
            medians = [one["statistics"][name]["generated"][1] for one in systems.values()]
            rows.append(_row(name, medians))
    print_table(["", *systems], rows)


def _row(name: str, values: list[float | None]) -> list[str]:
    cells = ("-" if value is None else f"{value:.3f}" for value in values)
    return [name.replace("_", " "), *cells]
