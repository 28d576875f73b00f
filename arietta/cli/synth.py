"""``arietta synth``: MIDI file -> audio file."""

from __future__ import annotations

import time
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
    from arietta.midi.reader import read
    from arietta.sound.files import write_piece

    target = output or file.with_suffix(".wav")
    piece = with_notices(read(file))
    began = time.perf_counter()
    with ProgressLine() as progress:
        seconds = write_piece(
            target,
            piece,
            sample_rate,
            force=force,
            progress=lambda done, total: progress.show(f"{clock(done)} of {clock(total)}"),
        )
    took = time.perf_counter() - began
    if as_json:
        emit(
            {
                "output": str(target),
                "notes": len(piece),
                "seconds": round(seconds, 3),
                "sample_rate": sample_rate,
                "took_seconds": round(took, 3),
            }
        )
    else:
        say(f"{target}: {len(piece)} notes, {clock(seconds)} of sound in {clock(took)}")
