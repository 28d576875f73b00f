"""``arietta data stats``: what is in a dataset."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from arietta.cli.console import ForceFlag, JsonFlag, emit, print_table, say


def stats(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Folder of a dataset.")],
    png: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw histograms into this picture.")
    ] = None,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Hours, notes and tokens of a dataset by split and source; what was refused, and why.

    \b
    Examples:
      arietta data stats dataset
      arietta data stats dataset --png dataset.png
    """
    from arietta.data.stats import Amount, dataset_stats, draw_stats
    from arietta.output import check_output

    if png is not None:
        check_output(png, force=force)
    found = dataset_stats(dataset)
    if png is not None:
        draw_stats(dataset, png, force=force)
    if as_json:
        emit(asdict(found))
        return

    def row(name: str, amount: Amount) -> tuple[str, ...]:
        numbers = (f"{n:,}" for n in (amount.files, amount.groups))
        return (name, *numbers, f"{amount.hours:,.1f}", f"{amount.notes:,}", f"{amount.tokens:,}")

    head = ("", "files", "works", "hours", "notes", "tokens")
    rows = [row(f"split {name}", amount) for name, amount in found.by_split.items()]
    rows += [row(f"source {name}", amount) for name, amount in found.by_source.items()]
    print_table(head, [*rows, row("kept", found.kept)])
    say()
    if found.refused:
        refused = [(n, f"{a.files:,}", f"{a.hours:,.1f}") for n, a in found.refused.items()]
        print_table(("refused by", "files", "hours"), refused)
    else:
        say(f"nothing refused of {found.inputs:,} files")
    if png is not None:
        say(f"{png}: histograms")
