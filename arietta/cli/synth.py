"""``arietta synth``: MIDI file -> audio file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arietta.cli.console import (
    ForceFlag,
    JsonFlag,
    ProgressLine,
    clock,
    emit,
    new_app,
    say,
    with_notices,
)

app = new_app()


@app.command()
def synth(
    file: Annotated[Path, typer.Argument(metavar="FILE.mid", help="What to play.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT",
            help="Audio file to write; its suffix chooses .wav, .flac, .ogg or .mp3."
            " [default: FILE.wav beside FILE.mid]",
        ),
    ] = None,
    sample_rate: Annotated[
        int, typer.Option(help="Frames per second: 32000, 44100, 48000, 88200 or 96000.")
    ] = 44_100,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Sound a MIDI file on the bundled piano.

    The sustain pedal is respected, the loudest moment lies at -1 dBFS, and every instrument sounds
    as a piano; drums are left out.

    \b
    Examples:
      arietta synth nocturne.mid
      arietta synth nocturne.mid -o nocturne.flac --sample-rate 48000
    """
    from arietta.api.synthesis import synth as run
    from arietta.midi.reader import read

    with ProgressLine() as progress:
        done = run(
            with_notices(read(file)),
            output or file.with_suffix(".wav"),
            sample_rate=sample_rate,
            force=force,
            report=lambda at, total: progress.show(f"{clock(at)} of {clock(total)}"),
        )
    if as_json:
        emit(done.to_dict())
    else:
        say(
            f"{done.output}: {done.notes} notes, {clock(done.seconds)} of sound in"
            f" {clock(done.took_seconds)}"
        )
