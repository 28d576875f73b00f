"""``arietta fill``: fill a gap in a piece."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arietta.cli.console import (
    ForceFlag,
    JsonFlag,
    ProgressLine,
    clock,
    emit,
    new_app,
    note,
    print_pairs,
    print_table,
    seconds_of,
    with_notices,
)
from arietta.cli.generate import stopped_by_ctrl_c
from arietta.cli.options import Group, WavFlag, with_groups
from arietta.generation.fill_settings import FillRequest, bars_of, is_file
from arietta.generation.settings import DEFAULT_TAKES, Steering

if TYPE_CHECKING:
    from arietta.api.filling import FillResult
    from arietta.generation.engine import GenerationProgress

app = new_app()


@app.command()
@with_groups
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
    *,
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
    then: Annotated[
        Path | None,
        typer.Option(
            metavar="NEXT.mid", help="Fill the time between the piece and another that follows."
        ),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT",
            help="What of the gap stays: right-hand, left-hand, a range of keys such as C4-C8, or"
            " a MIDI file with the notes that stay, at their times. [default: nothing]",
        ),
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(metavar="REF.mid", help="Steer the new notes towards the music of a file."),
    ] = None,
    request: Annotated[
        dict[str, Any],
        Group(
            FillRequest,
            only=("opening", "between", "density", "groove", "variations"),
            unset=("between",),
        ),
    ],
    takes: Annotated[
        int, typer.Option("--of", metavar="N", help="How many to choose them from.")
    ] = DEFAULT_TAKES,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", help="The same seed gives the same notes. [default: a new one]"),
    ] = None,
    steering: Annotated[dict[str, Any], Group(Steering, unset=None)],
    wav: WavFlag = False,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A name from `arietta models list` or a path. [default: small; with --like"
            " small-conditioned]",
        ),
    ] = None,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Fill a gap in a piece: this bar again, another left hand, the missing middle.

    Whatever is kept stays as it stands in the file; the new notes get a track of their own. Several
    takes are made and judged by how well the music behind the gap goes on from them: in bits a
    note, and in how many more these are than with what stood in the gap. Ctrl-C stops and keeps
    what was decided so far.

    \b
    Examples:
      arietta fill my.mid --from 12 --to 17
      arietta fill my.mid --bars 5-8 --keep right-hand --variations 4
      arietta fill my.mid --opening 8 -o with-intro.mid --variations 1 --wav
      arietta fill my.mid --then reference.mid --between 6 --seed 7
    """
    from secrets import randbits

    from arietta.api.files import free_output
    from arietta.api.filling import fill as run
    from arietta.midi.reader import read

    values: dict[str, Any] = {
        "from_seconds": None if start is None else seconds_of(start, "--from"),
        "to_seconds": None if end is None else seconds_of(end, "--to"),
        "bars": None if bars is None else bars_of(bars),
        "then": then,
        "keep": keep,
        "takes": takes,
        "seed": randbits(31) if seed is None else seed,
        **request,
    }
    FillRequest(**values)  # Everything that can be refused is refused before the work.
    if then is not None:
        values["then"] = with_notices(read(then))
    if keep is not None and is_file(keep):
        values["keep"] = with_notices(read(keep))
    wanted = FillRequest(**values)
    name = f"{piece.stem}-filled"
    if output is None:
        output = free_output(name, wanted.variations, wav=wav, force=force)
    elif output.is_dir():
        output /= f"{name}.mid"
    with ProgressLine(quiet=as_json) as progress:
        done = run(
            with_notices(read(piece)),
            wanted,
            model=model,
            like=None if like is None else with_notices(read(like)),
            **steering,
            output=output,
            wav=wav,
            force=force,
            report=lambda now: _show(now, progress),
            sound_report=lambda at, total: progress.show(f"sound: {clock(at)} of {clock(total)}"),
            watch=lambda stream: stopped_by_ctrl_c(stream.cancel),
        )
    for line in done.notices:
        note(line)
    if as_json:
        emit(done.to_dict())
    else:
        _summary(done, wanted)
    if done.interrupted:
        note("stopped; what was decided so far is kept")
        raise typer.Exit(130)


def _show(now: GenerationProgress, progress: ProgressLine) -> None:
    """Show on the progress line how a stream stands."""
    if progress.due():
        progress.show(f"{len(now.rows)} takes, {now.notes:,} notes")


def _summary(done: FillResult, request: FillRequest) -> None:
    """Print a line for each file, and with what they were made."""
    rows = [
        [
            str(target.midi),
            f"{one.new:,}",
            f"{one.replaced:,}",
            "-" if one.seam_bits is None else f"{one.seam_bits:.2f}",
            "-" if one.extra_bits is None else f"{one.extra_bits:+.2f}",
        ]
        for one, target in zip(done.pieces, done.targets, strict=True)
    ]
    print_table(["file", "new notes", "taken out", "bits a note behind it", "than before"], rows)
    first = done.pieces[0]
    used, best_of = first.provenance, max(request.takes, request.variations)
    print_pairs(
        [
            ("gap", f"{clock(first.start_ms / 1000)} to {clock(first.end_ms / 1000)}"),
            ("model", f"{used['model']}, hash {used['model_sha256'][:12]}"),
            ("takes", f"best of {best_of}, {clock(done.wall_seconds)}; seed {request.seed}"),
        ]
    )
