"""``arietta evaluate rendering``: how performances of scores compare with people's."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arietta.cli.console import (
    ForceFlag,
    JsonFlag,
    ProgressLine,
    clock,
    emit,
    print_table,
    say,
)
from arietta.errors import InputError, UsageError

if TYPE_CHECKING:
    from arietta.evaluation.rendering import Rendering, TestPiece

_SIZES = ("tempo error", "metronome's", "tempo ratio", "swing ratio", "tune above", "people's")
WRITTEN, HUMANS = "score as is", "human vs human"


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
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Write the figures as JSON."),
    ] = None,
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
    from arietta.evaluation.rendering import evaluate, evaluate_humans
    from arietta.evaluation.testsets import load_test_set, rendering_file
    from arietta.output import check_output, whole_file

    if output is not None:
        check_output(output, force=force)
    folders = dict(_named(text) for text in renderings or ())
    with ProgressLine(quiet=as_json) as progress:
        progress.show("reading the test set")
        pieces = load_test_set(music, pairs)
        if not any(piece.takes for piece in pieces):
            raise InputError(f"{music}: no human takes to compare with")
        systems: dict[str, Any] = {}

        def judge(name: str, rendered: Mapping[str, Sequence[Rendering]]) -> None:
            systems[name] = evaluate(pieces, rendered)

        judge(WRITTEN, {p.name: [p.as_written()] for p in pieces})
        for name in model or ["rules", "performer"]:
            judge(name, _rendered(name, pieces, variations, seed, progress))
        for name, folder in folders.items():
            progress.show(f"reading {name}")
            found = {p.name: folder / f"{p.name}.mid" for p in pieces}
            here = {p.name: p for p in pieces if found[p.name].is_file()}
            if not here:
                raise InputError(f"{folder}: none of {len(pieces)} renderings is there")
            judge(
                name,
                {key: [rendering_file(p.score, found[key])] for key, p in here.items()},
            )
        progress.show("comparing the humans")
        systems[HUMANS] = evaluate_humans(pieces)
    figures = {
        "music": str(music),
        "pieces": len(pieces),
        "takes": sum(len(piece.takes) for piece in pieces),
        "distinct_takes": sum(len(piece.distinct()) for piece in pieces),
        "variations": variations,
        "seed": seed,
        "systems": systems,
    }
    if output is not None:
        with whole_file(output, force=force) as part:
            part.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", "utf-8")
    if as_json:
        emit(figures)
    else:
        _print(figures)


def _named(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise UsageError(f"--renderings {text!r}: give NAME=FOLDER")
    return name, Path(folder)


def _rendered(
    name: str, pieces: Sequence[TestPiece], variations: int, seed: int, progress: ProgressLine
) -> dict[str, list[Rendering]]:
    from arietta.evaluation.testsets import rendering_of
    from arietta.rendering.render import open_player, render
    from arietta.rendering.settings import BlockSettings

    player = open_player(name, BlockSettings(seed=seed))
    began = time.monotonic()
    rendered: dict[str, list[Rendering]] = {}
    for done, piece in enumerate(pieces, start=1):
        takes = render(piece.score, player, variations=range(variations))
        rendered[piece.name] = [rendering_of(piece.score, take.performed) for take in takes]
        left = (time.monotonic() - began) / done * (len(pieces) - done)
        progress.show(f"{name}: {done:,} of {len(pieces):,} scores, {clock(left)} left")
    return rendered


def _print(figures: dict[str, Any]) -> None:
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
