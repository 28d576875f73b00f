"""``arietta render``: play a score with expression."""

from __future__ import annotations

import time
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
    told,
)
from arietta.cli.generate import Target, name_targets, stopped_by_ctrl_c
from arietta.cli.options import (
    Device,
    DeviceOption,
    Precision,
    PrecisionOption,
    ThreadsOption,
    WavFlag,
)
from arietta.errors import UsageError

if TYPE_CHECKING:
    from arietta.rendering import players
    from arietta.rendering.blocks import BlockSettings
    from arietta.rendering.controls import Controls
    from arietta.rendering.players import Player
    from arietta.rendering.render import Rendering

app = new_app()

_SURE = 0.8


@app.command()
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
            "--editable",
            help="Keep bars, beats, signatures and tracks of the score; the timing becomes tempo.",
        ),
    ] = False,
    variations: Annotated[
        int, typer.Option(metavar="N", help="How many different performances.")
    ] = 1,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", help="The same seed plays the same. [default: a new one, told]"),
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
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Who plays: a rendering model by name, file or folder; or rules.",
        ),
    ] = "performer",
    temperature: Annotated[
        float | None,
        typer.Option(
            metavar="T", help="Of a model: 0..2; 0 leaves nothing to chance. [default: 1]"
        ),
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            help="Of a Pianist Transformer: the likeliest that make up P. [default: 0.95]",
        ),
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(
            metavar="K", help="Of a Pianist Transformer: the K likeliest; 0 for all. [default: 50]"
        ),
    ] = None,
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
      arietta render sonata.mid -o played.mid --editable --rubato 1.3 --dynamics left=0.8,right=1.2
      arietta render sonata.mid -o played.mid --variations 3 --seed 7 --steady 1-4 --pedal 0 --wav
    """
    from secrets import randbits

    from arietta.midi.grid import estimate_kind
    from arietta.notation.reader import read_score
    from arietta.notation.score_notes import ScoreNotes
    from arietta.output import check_output
    from arietta.rendering.controls import Controls, parse_bars, parse_scale
    from arietta.rendering.performer import PerformerPlayer
    from arietta.rendering.render import RULES, open_player

    # Everything that can be refused is refused before the work.
    if variations < 1:
        raise UsageError(f"--variations must be at least 1, not {variations}")
    settings = settings_from(
        randbits(31) if seed is None else seed, temperature=temperature, top_p=top_p, top_k=top_k
    )
    if model == RULES and not (temperature is None and top_p is None and top_k is None):
        raise UsageError("--temperature, --top-p and --top-k are a model's; rules have none")
    controls = Controls(
        parse_scale(dynamics, "dynamics"),
        parse_scale(rubato, "rubato"),
        pedal,
        parse_bars(steady) if steady is not None else (),
    )
    if output is None:
        output = Path(f"{score.stem}-played.mid")
    elif output.suffix.lower() not in (".mid", ".midi"):
        raise UsageError(f"{output}: the output is a MIDI file; call it {output.stem}.mid")
    targets = name_targets(output, variations, wav=wav)
    for target in targets:
        check_output(target.midi, force=force)
        if target.wav is not None:
            check_output(target.wav, force=force)
    piece = told(read_score(score))
    kind = estimate_kind(piece)
    if kind is not None and kind.kind == "performance" and kind.confidence >= _SURE:
        note(
            f"{score}: looks like a performance, not a score: its notes stand on no grid of its"
            " tempo; it is played as if every length and loudness were written so"
        )
    rows = ScoreNotes.from_piece(piece)
    for remark in rows.remarks:
        note(f"{score}: {remark}")
    player = open_player(
        model, settings, device=device.value, precision=precision.value, threads=threads
    )
    if isinstance(player, PerformerPlayer) and not (top_p is None and top_k is None):
        raise UsageError(f"--top-p and --top-k do nothing to {model}; it takes --temperature")
    began = time.perf_counter()
    made, interrupted = perform(rows, player, variations, controls, as_json=as_json)
    seconds = time.perf_counter() - began
    if interrupted and not any(take.rows for take in made):
        note("stopped before the first note; nothing was written")
        raise typer.Exit(130)
    written = []
    with ProgressLine(quiet=as_json) as progress:
        for target, take in zip(targets, made, strict=True):
            take.save(target.midi, editable=editable, force=force)
            if target.wav is not None:
                sound(target.wav, take, progress, force=force)
            written.append(row_facts(target, take))
    total = {
        "notes": len(rows),
        "wall_seconds": round(seconds, 3),
        "notes_per_second": round(sum(take.rows for take in made) / max(seconds, 1e-9), 1),
        "interrupted": interrupted,
        "remarks": list(rows.remarks),
        "provenance": dict(made[0].provenance),
    }
    if as_json:
        emit({"outputs": written, **total})
    else:
        summary(written, total, made[0], score)
    if interrupted:
        note("stopped; notes not performed yet stay as written")
        raise typer.Exit(130)


def settings_from(
    seed: int, *, temperature: float | None, top_p: float | None, top_k: int | None
) -> BlockSettings:
    """How a model draws; None keeps the default, ``top_k`` 0 means any number."""
    from arietta.rendering.blocks import BlockSettings

    given: dict[str, Any] = {"temperature": temperature, "top_p": top_p}
    given = {name: value for name, value in given.items() if value is not None}
    if top_k is not None:
        given["top_k"] = top_k or None
    return BlockSettings(seed=seed, **given)


def perform(
    rows: Any, player: Player, variations: int, controls: Controls, *, as_json: bool
) -> tuple[list[Rendering], bool]:
    """All performances under a progress line, and whether ctrl-C ended them early."""
    from arietta.rendering.render import render as render_score

    stopped: list[bool] = []
    with (
        ProgressLine(quiet=as_json) as progress,
        stopped_by_ctrl_c(lambda: stopped.append(True)) as interrupted,
    ):

        def report(now: players.RenderProgress) -> None:
            if progress.due():
                progress.show(
                    f"{now.notes:,} of {now.total:,} notes, {clock(now.seconds_left)} left"
                )

        made = render_score(
            rows,
            player,
            variations=range(variations),
            controls=controls,
            report=report,
            stop=lambda: bool(stopped),
        )
    return made, bool(interrupted)


def sound(path: Path, take: Rendering, progress: ProgressLine, *, force: bool) -> None:
    """Write the WAV of a performance."""
    from arietta.sound.files import write_piece

    write_piece(
        path,
        take.piece(),
        force=force,
        progress=lambda done, total: progress.show(f"sound: {clock(done)} of {clock(total)}"),
    )


def row_facts(target: Target, take: Rendering) -> dict[str, Any]:
    """Return what ``--json`` shows of one performance."""
    return {
        "midi": str(target.midi),
        "wav": None if target.wav is None else str(target.wav),
        "variation": take.provenance["variation"],
        "notes": len(take.score),
        "performed": take.rows,
        "music_seconds": round(take.piece().end_ms / 1000, 3),
    }


def summary(
    written: list[dict[str, Any]], total: dict[str, Any], first: Rendering, score: Path
) -> None:
    """One screen: where, how long, with what."""
    for row in written:
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
