"""``arietta evaluate retrieval``: does search find the performances of a score?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from arietta.cli.console import (
    ForceFlag,
    JsonFlag,
    ProgressLine,
    emit,
    note,
    print_table,
    say,
)
from arietta.cli.options import FiguresOption, PerPieceOption


def retrieval(
    music: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="A folder for each work, with score.mid and performances in it; or a corpus:"
            " manifest.csv and the archives it names.",
        ),
    ],
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|PATH",
            help="Whose embeddings; give it once for each. [default: the shipped model for it]",
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(metavar="NAME", help="Split of a corpus. [default: all]")
    ] = None,
    performances: Annotated[
        int, typer.Option(metavar="N", min=1, help="Of each work in the gallery.")
    ] = 1,
    scores: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="At most so many queries.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Draws excerpts and keys.")] = 0,
    per_piece: PerPieceOption = None,
    output: FiguresOption = None,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Search performances by their scores: whole or 20 s of them, as written or in another key.

    Recall is the share of scores whose performance is found first, or among ten, with 95 %
    intervals over scores. Two baselines stand beside the models: how often each key is struck, and
    the same in any transposition. Other models are compared with the first, score by score.

    \b
    Examples:
      arietta evaluate retrieval my-takes
      arietta evaluate retrieval my-takes --performances 3 --per-piece ranks.csv -o f.json
    """
    from arietta.api.evaluate import retrieval as run

    with ProgressLine(quiet=as_json) as progress:
        figures = run(
            music,
            output,
            models=model or (None,),
            split=split,
            performances=performances,
            scores=scores,
            seed=seed,
            per_piece=per_piece,
            force=force,
            show=progress.show,
            refused=lambda reason: None if as_json else note(f"left out: {reason}"),
        ).to_dict()
    if as_json:
        emit(figures)
        return
    say(f"{figures['queries']:,} scores, {figures['gallery']:,} performances; per cent")
    rows = [
        _row(name, task, line)
        for name, tasks in figures["by"].items()
        for task, line in tasks.items()
    ]
    say()
    print_table(
        ["", "query", "found first", "among ten", "median rank", "more than the first"], rows
    )


def _row(name: str, task: str, line: dict[str, Any]) -> list[str]:
    cells = [name, task]
    for at in (1, 10):
        low, high = (100 * bound for bound in line[f"recall_at_{at}_95"])
        cells.append(f"{100 * line[f'recall_at_{at}']:.1f} ({low:.1f}–{high:.1f})")
    cells.append(f"{line['median_rank']:g}")
    if "recall_at_1_against_first" in line:
        more, low, high = (100 * value for value in line["recall_at_1_against_first"])
        cells.append(f"{more:+.1f} ({low:+.1f} to {high:+.1f})")
    else:
        cells.append("")
    return cells
