"""``arietta play``: hear a MIDI file."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from arietta.cli.console import (
    ForceFlag,
    JsonFlag,
    ProgressLine,
    clock,
    emit,
    free_name,
    new_app,
    note,
    say,
    seconds_of,
    with_notices,
)
from arietta.errors import UsageError

app = new_app()


@app.command()
def play(
    file: Annotated[Path, typer.Argument(metavar="FILE.mid", help="What to play.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT.wav",
            help="Where to put the sound if it cannot be played. [default: FILE.wav in the current"
            " directory, numbered if that exists]",
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="TIME", help="Begin there: seconds or minutes, 80 or 1:20."),
    ] = None,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Play a MIDI file on the bundled piano.

    Uses the sound player of this machine (afplay, pw-play, paplay, aplay, play or ffplay, on
    Windows its own; the environment variable ARIETTA_PLAYER names another). Where there is no audio
    device the sound is written to a WAV file instead.

    \b
    Example:
      arietta play nocturne.mid
      arietta play nocturne.mid --from 1:20
    """
    from arietta.midi.passages import piece_from
    from arietta.midi.reader import read
    from arietta.output import check_output
    from arietta.sound.files import check_audio, write_piece
    from arietta.sound.player import find_player, play_file

    if output is not None:
        check_output(check_audio(output), force=force)
    begin_s = 0.0 if start is None else seconds_of(start, "--from")
    piece = with_notices(read(file))
    if begin_s * 1000 >= max(piece.end_ms, 1.0):
        raise UsageError(f"--from {start}: {file} ends at {clock(piece.end_ms / 1000)}")
    piece = piece_from(piece, begin_s * 1000)
    player = find_player()
    with ProgressLine() as progress, tempfile.TemporaryDirectory() as folder:

        def show(done: float, total: float) -> None:
            progress.show(f"{clock(done)} of {clock(total)}")

        if player is not None:
            sound = Path(folder) / "arietta.wav"
            seconds = write_piece(sound, piece, progress=show)
            progress.clear()
            if not as_json:
                say(f"{file}: {len(piece)} notes, {clock(seconds)}")
            if play_file(player, sound):
                if as_json:
                    emit({"played": True, "output": None, "seconds": round(seconds, 3)})
                return
            note(f"{player[0]} could not play it; writing a file instead")
        else:
            note("there is no audio device here; writing a file instead")
        target = output or free_name(Path(file.with_suffix(".wav").name))
        seconds = write_piece(target, piece, force=force, progress=show)
    if as_json:
        emit({"played": False, "output": str(target), "seconds": round(seconds, 3)})
    else:
        say(f"{target}: {len(piece)} notes, {clock(seconds)} of sound")
