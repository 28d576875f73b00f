"""``arietta evaluate likelihood``: how well models predict unheard music."""

from __future__ import annotations

from collections.abc import Sequence
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
from arietta.cli.options import (
    Device,
    DeviceOption,
    FiguresOption,
    PerPieceOption,
    Precision,
    PrecisionOption,
)


def likelihood(
    music: Annotated[
        list[Path],
        typer.Argument(metavar="DATASET|FILES…", help="A dataset, or MIDI files and folders."),
    ],
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|PATH",
            help="What to evaluate; give it once for each. All see the same notes, and the others"
            " are compared with the first. [default: small]",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Split of a dataset, or all. [default: test]"),
    ] = None,
    windows: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Windows to score: one a recording first, then by length; 0 for all there are.",
        ),
    ] = 1000,
    length: Annotated[
        int, typer.Option(metavar="N", help="Tokens a window, in the absolute piano vocabulary.")
    ] = 1024,
    by: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="Also split the figures by these, separated by commas: kind (of token), source,"
            " or what the dataset's metadata has, such as genre; none for nothing.",
        ),
    ] = "kind,source",
    ngram: Annotated[
        Path | None,
        typer.Option(
            metavar="DATASET|FOLDER",
            help="Beside the models: Kneser-Ney 5-grams counted on this dataset's train split, or"
            " on these MIDI files: over all tokens, by kind of token, and by kind on waits.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Decides the windows.")] = 0,
    precision: PrecisionOption = Precision.int8,
    device: DeviceOption = Device.cpu,
    per_piece: PerPieceOption = None,
    output: FiguresOption = None,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Measure nats per token and bits per note of new music, with 95 % intervals.

    Windows of each recording are read like a prompt and every token is scored given those before
    it. Nats per token compare models of one vocabulary; bits per note compare any two. Intervals
    resample groups of recordings (the dataset's composition groups, or files). Files that cannot be
    read are named and left out.

    \b
    Examples:
      arietta evaluate likelihood my-midi/ another.mid
      arietta evaluate likelihood dataset --split valid --windows 300 --by kind,source,genre
      arietta evaluate likelihood dataset --model small --model mine --ngram dataset -o f.json
    """
    from arietta.api.evaluate import likelihood as run
    from arietta.api.models import DEFAULT_MODEL

    labels = [name.strip() for name in by.split(",") if name.strip() not in ("", "none")]
    with ProgressLine(quiet=as_json) as progress:
        done = run(
            music,
            output,
            models=list(dict.fromkeys(model or [DEFAULT_MODEL])),
            split=split,
            windows=windows,
            length=length,
            by=labels,
            ngram=ngram,
            seed=seed,
            precision=precision.value,
            device=device.value,
            per_piece=per_piece,
            force=force,
            show=progress.show,
            refused=lambda reason: None if as_json else note(f"left out: {reason}"),
        )
    if as_json:
        emit(done.to_dict())
    else:
        _print(done.to_dict(), labels)


def _print(figures: dict[str, Any], labels: Sequence[str]) -> None:
    models: dict[str, Any] = figures["models"]
    names = list(models)
    one = models[names[0]]
    where = f"{figures['split']} split of " if figures["split"] else ""
    say(
        f"{where}{', '.join(figures['music'])}: {one['windows']:,} windows of"
        f" {figures['window_tokens']:,} tokens, {one['notes']:,} notes, {one['groups']:,} groups"
    )
    say()
    rows = []
    for name, table in models.items():
        row = [name, _figure(table, "nats_per_token", 3), _figure(table, "bits_per_note", 2)]
        if "against_first" in table:
            row.append(_figure(table["against_first"], "bits_per_note", 3))
        rows.append(row)
    head = ["model", "nats/token", "bits/note", "more bits/note than the first"]
    print_table(head[: len(rows[-1])], [row + [""] * (len(rows[-1]) - len(row)) for row in rows])
    if len({table["vocabulary"] for table in models.values()}) > 1:
        say("Their vocabularies differ: compare bits per note, not nats per token.")
    for label in labels:
        key = f"by_{label}"
        head = ["token" if label == "kind" else label]
        for name in names:
            ours = f"{name}: " if len(names) > 1 else ""
            head += [f"{ours}nats/token", f"{ours}bits/note"]
        rows = []
        for value in dict.fromkeys(v for name in names for v in models[name][key]):
            row = [value]
            for name in names:
                table = models[name][key].get(value, {})
                row += [_figure(table, "nats_per_token", 3), _figure(table, "bits_per_note", 2)]
            rows.append(row)
        if label != "kind":
            head.append("windows")
            for row in rows:
                row.append(f"{one[key][row[0]]['windows']:,}")
        say()
        print_table(head, rows)


def _figure(table: dict[str, Any], name: str, digits: int) -> str:
    """Return a number with its interval, as far as there is one."""
    if table.get(name) is None:
        return "-"
    text = f"{table[name]:.{digits}f}"
    if table.get(f"{name}_95"):
        low, high = table[f"{name}_95"]
        text += f" ({low:.{digits}f}–{high:.{digits}f})"
    return text
