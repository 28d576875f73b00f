"""``arietta evaluate steering``: do continuations come to resemble an example?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from arietta.cli.console import ForceFlag, JsonFlag, ProgressLine, emit, print_table, say
from arietta.cli.options import FiguresOption, PerPieceOption
from arietta.errors import UsageError


def steering(
    dataset: Annotated[
        Path, typer.Argument(metavar="DATASET", help="Where prompts and examples come from.")
    ],
    model: Annotated[
        str, typer.Option(metavar="NAME|PATH", help="A conditioned model.")
    ] = "small-conditioned",
    plain: Annotated[
        str, typer.Option(metavar="NAME|PATH", help="Judges whether it is still music.")
    ] = "small",
    pairs: Annotated[
        int, typer.Option(metavar="N", min=2, help="Prompts with an example, each another work.")
    ] = 48,
    strengths: Annotated[
        str, typer.Option(metavar="NUMBERS", help="Of guidance, besides 0, with commas between.")
    ] = "1,1.5,2.5,4",
    split: Annotated[str, typer.Option(metavar="NAME", help="Split of the dataset.")] = "test",
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Draws prompts and examples.")] = 5,
    per_piece: PerPieceOption = None,
    output: FiguresOption = None,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Continue prompts towards examples at several strengths, and compare with strength 0.

    Cosine is that of the embeddings of continuation and example, "other" that with another pair's
    example. A slope of 1: the continuation has the example's notes a second (mean pitch, mean
    velocity), 0: it does not follow. Means with 95 % intervals over pairs.

    \b
    Examples:
      arietta evaluate steering dataset
      arietta evaluate steering dataset --pairs 100 --strengths 1,2 -o f.json
    """
    from arietta.api.evaluate import steering as run

    try:
        wanted = [float(text) for text in strengths.split(",")]
    except ValueError:
        raise UsageError(f"--strengths {strengths}: give numbers, as in 1,2.5") from None
    with ProgressLine(quiet=as_json) as progress:
        figures = run(
            dataset,
            output,
            model=model,
            plain=plain,
            pairs=pairs,
            strengths=wanted,
            split=split,
            seed=seed,
            per_piece=per_piece,
            force=force,
            show=progress.show,
        ).to_dict()
    if as_json:
        emit(figures)
        return
    say(f"{figures['model']}, {figures['split']} split: {figures['pairs']:,} pairs")
    say()
    head = ["strength", "cosine", "other", "bits/note", "slope: density", "pitch", "velocity"]
    rows = [
        [
            strength,
            *(_mean(line[name]) for name in ("cosine", "cosine_other", "bits_per_note")),
            *(_mean(line[f"{name}_slope"]) for name in _STATISTICS),
        ]
        for strength, line in figures["strengths"].items()
    ]
    print_table(head, rows)


_STATISTICS = ("notes_per_second", "pitch_mean", "velocity_mean")


def _mean(values: list[Any]) -> str:
    mean, low, high = values
    return f"{mean:.2f} ({low:.2f}–{high:.2f})"
