"""``arietta score``: how surprising each note of a file is, and which are likely wrong."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from arietta.cli.console import (
    ForceFlag,
    JsonFlag,
    ProgressLine,
    clock,
    emit,
    new_app,
    note,
    print_table,
    say,
    with_notices,
)

app = new_app()

_NAMES = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")


class Order(StrEnum):
    """Choices of ``--by``."""

    suspicion = "suspicion"
    bits = "bits"


@app.command()
def score(
    file: Annotated[Path, typer.Argument(metavar="FILE.mid", help="Solo-piano MIDI file.")],
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT",
            help="Write every note as .json or .csv, or a piano roll as .png; may be repeated.",
        ),
    ] = None,
    top: Annotated[
        int, typer.Option(metavar="N", min=0, help="How many notes to list and to ring.")
    ] = 10,
    by: Annotated[
        Order | None,
        typer.Option(
            metavar="ORDER",
            help="List the likely wrong notes (suspicion) or simply the most surprising (bits)."
            " [default: suspicion, with --quick bits]",
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Bits alone, no suspicion; about eight times as fast."),
    ] = False,
    model: Annotated[
        str, typer.Option(metavar="NAME|PATH", help="Whose expectations count.")
    ] = "small",
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Measure how surprising each note is, in bits, and which notes are likely wrong.

    Bits say how little the model expected a note's pitch, velocity, onset and duration, given all
    the music before it. Suspicion is the probability that a note is wrong, from those bits and from
    how the music goes on: a help to proof-read a transcription, not a verdict. In the picture notes
    last as long as their key is down, and the listed ones are ringed.

    \b
    Examples:
      arietta score transcription.mid
      arietta score transcription.mid -o roll.png -o notes.csv --top 20
    """
    from arietta.api.scoring import score as run
    from arietta.midi.reader import read

    with ProgressLine(quiet=as_json) as progress:
        done = run(
            with_notices(read(file)),
            output or (),
            model=model,
            top=top,
            by=None if by is None else by.value,
            quick=quick,
            force=force,
            report=lambda at, total, left: progress.show(
                f"{at:,} of {total:,} notes, {clock(left)} left"
            ),
        )
    if as_json:
        emit({**done.to_dict(), "file": str(file)})
        return
    say(
        f"{file}: {len(done.bits):,} notes, {done.bits.mean():.1f} bits a note in the ears of"
        f" {done.model}"
    )
    if done.top:
        _print([done.notes[i] for i in done.top])
    for target in dict.fromkeys(output or ()):
        note(f"wrote {target}")


def _print(rows: Sequence[dict[str, Any]]) -> None:
    """Print the listed notes, and what of each is surprising."""
    judged = "suspicion" in rows[0]
    head = ["", "time", "note", "velocity", "bits", "of which"]
    lines = []
    for rank, row in enumerate(rows, start=1):
        minutes, seconds = divmod(row["onset_s"], 60)
        parts = sorted(
            ((row[f"{name}_bits"], name) for name in ("pitch", "velocity", "onset", "duration")),
            reverse=True,
        )
        line = [
            str(rank),
            f"{int(minutes)}:{seconds:06.3f}",
            f"{_NAMES[row['pitch'] % 12]}{row['pitch'] // 12 - 1}",
            str(row["velocity"]),
            f"{row['bits']:.1f}",
            ", ".join(f"{name} {value:.1f}" for value, name in parts[:2]),
        ]
        if judged:
            line += [f"{row['suspicion']:.0%}", row["looks_like"]]
        lines.append(line)
    print_table(head + ["suspicion", "looks like"] * judged, lines)
