"""``arietta render``: play a score with expression."""

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
    say,
)
from arietta.cli.generate import stopped_by_ctrl_c
from arietta.cli.options import (
    Device,
    DeviceOption,
    Group,
    Precision,
    PrecisionOption,
    ThreadsOption,
    WavFlag,
    with_groups,
)
from arietta.errors import UsageError
from arietta.rendering.settings import BlockSettings

if TYPE_CHECKING:
    from arietta.api.rendering import RenderResult
    from arietta.rendering.players import RenderProgress

app = new_app()


@app.command()
@with_groups
def render(
    score: Annotated[
        Path,
        typer.Argument(
            metavar="SCORE",
            help="The score: MIDI; MusicXML, MXL, MEI, kern or ABC need arietta[score].",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT.mid",
            help="MIDI file to write; with several variations OUT-1.mid, OUT-2.mid, ..."
            " [default: SCORE-played.mid in the current directory]",
        ),
    ] = None,
    editable: Annotated[
        bool,
        typer.Option(
            "--editable/--plain",
            help="Keep bars, beats, signatures, tracks and drums of the score; the timing becomes"
            " tempo, one event a beat. --plain: one tick a millisecond, one track, no bars.",
        ),
    ] = True,
    snap: Annotated[
        bool,
        typer.Option("--snap", help="Put every note on the grid; of timing the tempo is left."),
    ] = False,
    tempo: Annotated[
        str,
        typer.Option(
            metavar="T",
            help="written: keep the score's tempo, where it gives one; free: as the player likes; a"
            " number: quarters a minute.",
        ),
    ] = "written",
    movement: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Which movement of a score, or tune of a book. [default: 1]"
        ),
    ] = None,
    variations: Annotated[
        int, typer.Option(metavar="N", help="How many different performances.")
    ] = 1,
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="The same seed plays the same. [default: a new one, which is printed]"
        ),
    ] = None,
    dynamics: Annotated[
        str,
        typer.Option(
            metavar="X",
            help="0: as loud as written, 1: as performed, above 1: exaggerated; also"
            " left=0.5,right=1.2 or by the name of a track.",
        ),
    ] = "1",
    rubato: Annotated[
        str, typer.Option(metavar="X", help="The same for tempo and articulation.")
    ] = "1",
    pedal: Annotated[
        float, typer.Option(metavar="X", help="The same for the pedal; 0: as marked.")
    ] = 1.0,
    steady: Annotated[
        str | None,
        typer.Option(metavar="BARS", help="Bars that keep the score's tempo, as 1-4,9."),
    ] = None,
    wav: WavFlag = False,
    *,
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Who plays: a rendering model by name, file or folder; or rules.",
        ),
    ] = "performer",
    drawing: Annotated[
        dict[str, Any], Group(BlockSettings, only=("temperature", "top_p", "top_k"), unset=None)
    ],
    precision: PrecisionOption = Precision.int8,
    device: DeviceOption = Device.cpu,
    threads: ThreadsOption = None,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Play a score with expression: timing, dynamics, articulation, pedal.

    Every note of the score is played exactly once. With --model rules the performance follows rules
    of musicians' practice instead of a model. Ctrl-C stops and keeps what was performed so far; the
    rest stays as written. Every file carries what made it in a text event.

    \b
    Examples:
      arietta render sonata.mid -o played.mid
      arietta render sonata.mid -o played.mid --tempo 72 --rubato 1.3 --dynamics left=0.8,right=1.2
      arietta render sonata.mid -o played.mid --variations 3 --seed 7 --steady 1-4 --pedal 0 --wav
    """
    from secrets import randbits

    from arietta.api.rendering import render as run
    from arietta.rendering.controls import Controls, parse_bars, parse_scale

    controls = Controls(
        parse_scale(dynamics, "dynamics"),
        parse_scale(rubato, "rubato"),
        pedal,
        parse_bars(steady) if steady is not None else (),
    )
    stopped: list[bool] = []
    with (
        ProgressLine(quiet=as_json) as progress,
        stopped_by_ctrl_c(lambda: stopped.append(True)) as interrupted,
    ):
        done = run(
            score,
            output or Path(f"{score.stem}-played.mid"),
            model=model,
            editable=editable,
            snap=snap,
            tempo=tempo_from(tempo),
            movement=movement,
            wav=wav,
            variations=variations,
            seed=randbits(31) if seed is None else seed,
            controls=controls,
            device=device.value,
            precision=precision.value,
            threads=threads,
            force=force,
            report=lambda now: show(now, progress),
            sound_report=lambda at, end: progress.show(f"sound: {clock(at)} of {clock(end)}"),
            stop=lambda: bool(stopped),
            **drawing,
        )
    for remark in done.remarks:
        note(f"{score}: {remark}")
    if interrupted and not any(done.targets):
        note("stopped before the first note; nothing was written")
        raise typer.Exit(130)
    if as_json:
        emit(done.to_dict())
    else:
        summary(done, score)
    if interrupted:
        note("stopped; notes not performed yet stay as written")
        raise typer.Exit(130)


def tempo_from(text: str) -> str | float:
    """Return ``written``, ``free`` or a number.

    Raises:
        UsageError: it is not one of them.
    """
    if text in ("written", "free"):
        return text
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--tempo {text!r}: give written, free or quarters a minute") from None


def show(now: RenderProgress, progress: ProgressLine) -> None:
    """Show on the progress line how far the rendering is."""
    if progress.due():
        progress.show(f"{now.notes:,} of {now.total:,} notes, {clock(now.seconds_left)} left")


def summary(done: RenderResult, score: Path) -> None:
    """Print one screen: where, how long, with what."""
    total, first = done.to_dict(), done.renderings[0]
    for row in total["outputs"]:
        where = row["midi"] if row["wav"] is None else f"{row['midi']}, {row['wav']}"
        say(f"{where}: {row['notes']} notes, {clock(row['music_seconds'])}")
    used = first.provenance
    heard = float((first.score.onset_ms + first.score.duration_ms).max()) / 1000
    model = str(used["model"])
    if "model_sha256" in used:
        model += f", {used['precision']}, hash {used['model_sha256'][:12]}"
    settings = ", ".join(f"{k} {v}" for k, v in used.get("settings", {}).items())
    print_pairs(
        [
            ("score", f"{score}, {total['notes']} notes, {clock(heard)} as written"),
            ("speed", f"{total['notes_per_second']:g} notes/s"),
            ("played by", model),
            (
                "settings",
                f"{settings}; seed {used['seed']}" if settings else f"seed {used['seed']}",
            ),
        ]
    )
