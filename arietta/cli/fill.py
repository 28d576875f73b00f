"""``arietta fill``: fill a gap in a piece."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arietta.cli.console import (
    ForceFlag,
    JsonFlag,
    clock,
    emit,
    new_app,
    print_pairs,
    print_table,
    seconds_of,
    with_notices,
)
from arietta.cli.options import WavFlag

app = new_app()


@app.command()
def fill(
    piece: Annotated[Path, typer.Argument(metavar="PIECE", help="MIDI file with the gap.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT.mid",
            help="MIDI file to write, or a folder; several variations become OUT-1.mid, OUT-2.mid,"
            " ..., the smoothest first. [default: PIECE-filled-1.mid in the current directory, the"
            " next free number]",
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="TIME", help="Where the gap begins: 12.5 or 1:20."),
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Where new notes end to begin.")
    ] = None,
    bars: Annotated[
        str | None,
        typer.Option(metavar="N[-M]", help="The gap as bars of the piece's own metre instead."),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT",
            help="What of the gap stays: right-hand, left-hand, or a range of keys such as C4-C8."
            " [default: nothing]",
        ),
    ] = None,
    density: Annotated[
        float | None,
        typer.Option(
            metavar="D", help="0.1..10 times as many notes a second; for models that know it."
        ),
    ] = None,
    variations: Annotated[int, typer.Option(metavar="N", help="How many ways.")] = 4,
    takes: Annotated[
        int, typer.Option("--of", metavar="N", help="How many to choose them from.")
    ] = 16,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", help="The same seed gives the same notes. [default: a new one]"),
    ] = None,
    wav: WavFlag = False,
    model: Annotated[
        str, typer.Option(metavar="NAME", help="A name from `arietta models list` or a path.")
    ] = "small",
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Fill a gap in a piece: this bar again, another left hand, the missing middle.

    Whatever is kept stays as it stands in the file; the new notes get a track of their own. Several
    takes are made and judged by how well the music behind the gap goes on from them.

    \b
    Examples:
      arietta fill my.mid --from 12 --to 17
      arietta fill my.mid --bars 5-8 --keep right-hand --variations 4
      arietta fill my.mid --from 0 --to 3.5 -o opening.mid --seed 7 --wav
    """
    from secrets import randbits

    from arietta.api.files import free_output
    from arietta.api.filling import fill as run
    from arietta.generation.filling import FillRequest, bars_of
    from arietta.midi.reader import read

    request = FillRequest(
        None if start is None else seconds_of(start, "--from"),
        None if end is None else seconds_of(end, "--to"),
        None if bars is None else bars_of(bars),
        keep,
        density,
        variations,
        takes,
        randbits(31) if seed is None else seed,
    )
    name = f"{piece.stem}-filled"
    if output is None:
        output = free_output(name, variations, wav=wav, force=force)
    elif output.is_dir():
        output /= f"{name}.mid"
    done = run(with_notices(read(piece)), request, model=model, output=output, wav=wav, force=force)
    if as_json:
        emit(done.to_dict())
        return
    rows = [
        [
            str(target.midi),
            f"{one.new:,}",
            f"{one.replaced:,}",
            "-" if one.seam_bits is None else f"{one.seam_bits:.2f}",
        ]
        for one, target in zip(done.pieces, done.targets, strict=True)
    ]
    print_table(["file", "new notes", "taken out", "bits a note behind it"], rows)
    used, best_of = done.pieces[0].provenance, max(takes, variations)
    print_pairs(
        [
            ("model", f"{used['model']}, hash {used['model_sha256'][:12]}"),
            ("takes", f"best of {best_of}, {clock(done.wall_seconds)}; seed {request.seed}"),
        ]
    )
