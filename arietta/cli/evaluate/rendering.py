"""``arietta evaluate rendering``: how performances of scores compare with people's."""

from __future__ import annotations

from collections.abc import Mapping
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
from arietta.cli.options import FiguresOption
from arietta.errors import UsageError

_SIZES = ("tempo error", "metronome's", "tempo ratio", "swing ratio", "tune above", "people's")


def rendering(
    music: Annotated[
        Path,
        typer.Argument(
            metavar="PAIRS|FOLDER",
            help="Scores with human takes: a file that arietta data pairs made, or a folder with"
            " score/P.mid and human/P-K.mid.",
        ),
    ],
    pairs: Annotated[
        Path | None,
        typer.Option(
            metavar="PAIRS",
            help="For a folder: where its takes are aligned, for the measures note by note.",
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|PATH",
            help="Who plays: rules, or a rendering model; give it once for each."
            " [default: rules and performer, the model that ships with arietta]",
        ),
    ] = None,
    renderings: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FOLDER",
            help="Finished renderings P.mid of somebody else's; may be repeated.",
        ),
    ] = None,
    variations: Annotated[
        int, typer.Option(metavar="N", min=1, help="Renderings of each score by each model.")
    ] = 1,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Decides the renderings.")] = 0,
    output: FiguresOption = None,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Distributions as the public script measures them, and agreement note by note.

    Distance (lower is better) and intersection (higher) compare what velocities, lengths, gaps and
    pedalling occur at all; the correlations compare each note with the same note of every human
    take: velocity, local tempo, articulation. Humans among themselves are the ceiling.

    \b
    Examples:
      arietta evaluate rendering pairs.parquet
      arietta evaluate rendering pairs.parquet --renderings theirs=rendered -o figures.json
    """
    from arietta.api.evaluate import rendering as run

    with ProgressLine(quiet=as_json) as progress:
        done = run(
            music,
            output,
            pairs=pairs,
            models=model or ("rules", "performer"),
            renderings=dict(_named(text) for text in renderings or ()),
            variations=variations,
            seed=seed,
            force=force,
            show=progress.show,
        )
    for one in done.refused:
        note(f"left out: {one['take']}: {one['reason']}")
    if as_json:
        emit(done.to_dict())
    else:
        _print(done.figures)


def _named(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise UsageError(f"--renderings {text!r}: give NAME=FOLDER")
    return name, Path(folder)


def _print(figures: Mapping[str, Any]) -> None:
    from arietta.api.evaluate.rendering import HUMANS
    from arietta.evaluation.rendering import ALIGNED, FEATURES

    say(
        f"{figures['music']}: {figures['pieces']} scores, {figures['takes']} human takes,"
        f" {figures['distinct_takes']} of them different"
    )
    for weight, title in (
        ("files", "Distance, intersection with all takes"),
        ("distinct", "The same, copies counted once"),
    ):
        lines = [
            [name, *(_two(system[weight].get(f)) for f in (*FEATURES, "overall"))]
            for name, system in figures["systems"].items()
            if system.get(weight)
        ]
        if lines:
            say()
            print_table([title, *FEATURES, "overall"], lines)
    humans = figures["systems"][HUMANS]
    if humans["distinct"] and humans["other_piece"]:
        other = humans["other_piece"]
        listed = ", ".join(f"{f} {_two(other[f])}" for f in (*FEATURES, "overall"))
        say(f"A human take of another piece: {listed}")
    table: list[list[str]] = []
    agreements = [(name, system["aligned"]) for name, system in figures["systems"].items()]
    agreements.append(("mean of the other humans", humans["leave_one_out"]))
    for name, aligned in agreements:
        if aligned["takes"]:
            cells = ["-" if aligned[m] is None else f"{aligned[m]:.3f}" for m in ALIGNED]
            unit = "pairs" if name == HUMANS else "takes"
            table.append([name, *cells, f"{aligned['pieces']} pieces, {aligned['takes']} {unit}"])
    sizes = [
        [name, *("-" if value is None else f"{value:.3f}" for value in system["sizes"].values())]
        for name, system in figures["systems"].items()
        if any(value is not None for value in system.get("sizes", {}).values())
    ]
    if sizes:
        say()
        print_table(["Size of liberties", *_SIZES], sizes)
    say()
    if table:
        print_table(["Correlation note by note", *ALIGNED, ""], table)
    else:
        say("No take is aligned: give --pairs for the measures note by note.")


def _two(row: dict[str, float] | None) -> str:
    return "-" if row is None else f"{row['distance']:.3f}, {row['intersection']:.3f}"
