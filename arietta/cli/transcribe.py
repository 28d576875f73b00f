"""``arietta transcribe``: a recording of a piano -> MIDI file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arietta.cli.console import ForceFlag, JsonFlag, ProgressLine, clock, emit, new_app, say

app = new_app()


@app.command()
def transcribe(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.wav", help="A recording: WAV, FLAC, OGG or MP3.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT.mid",
            help="MIDI file to write. [default: FILE.mid beside FILE.wav]",
        ),
    ] = None,
    device: Annotated[str, typer.Option(metavar="NAME", help="cpu, cuda or mps.")] = "cpu",
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Write down the notes of a recording of a piano, with velocities and pedals.

    So that you can play, record and continue without a MIDI keyboard. It takes longer than the
    recording on a laptop, in memory that does not grow with its length. Needs the extra
    arietta[transcribe], which brings the public model Transkun.

    \b
    Examples:
      arietta transcribe take.wav -o take.mid
      arietta generate take.mid -o more.mid
    """
    from arietta.api.transcription import transcribe as run

    with ProgressLine(quiet=as_json) as progress:
        done = run(
            file,
            output or file.with_suffix(".mid"),
            device=device,
            force=force,
            report=lambda at, total: progress.show(f"{clock(at)} of {clock(total)}"),
        )
    if as_json:
        emit(done.to_dict())
    else:
        found = done.to_dict()
        say(
            f"{done.output}: {found['notes']} notes and {found['pedals']} pedals of"
            f" {clock(done.seconds)} in {clock(done.took_seconds)}"
        )
