"""``arietta generate``: continue a performance."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arietta.api.files import Target as Target
from arietta.api.files import free_output
from arietta.api.files import name_targets as name_targets
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
    with_notices,
)
from arietta.cli.options import (
    Device,
    DeviceOption,
    Group,
    Precision,
    PrecisionOption,
    ThreadsOption,
    WavFlag,
    choices_of,
    with_groups,
)
from arietta.errors import UsageError
from arietta.generation.settings import (
    DEFAULT_PRESET,
    PRESETS,
    Request,
    SamplingSettings,
    Steering,
)

if TYPE_CHECKING:
    from arietta.api.generation import GenerateResult
    from arietta.generation.continuation import Continuation
    from arietta.generation.engine import GenerationProgress, StreamedNote
    from arietta.midi.piece import Piece

app = new_app()

if TYPE_CHECKING:
    Preset = StrEnum
else:
    Preset = choices_of("Preset", PRESETS)
_DEFAULT: Preset = getattr(Preset, DEFAULT_PRESET)
_WARMTHS = [f"{name} ({one.temperature})" for name, one in PRESETS.items()]
_PRESET_HELP = (
    f"{_WARMTHS[0].replace('(', '(temperature ')}, {', '.join(_WARMTHS[1:-1])} or {_WARMTHS[-1]},"
    " each without min-p."
)


@app.command()
@with_groups
def generate(
    prompt: Annotated[
        Path | None,
        typer.Argument(
            metavar="PROMPT", help="MIDI file to go on from; without one, start from scratch."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT.mid",
            help="MIDI file to write; with several variations OUT-1.mid, OUT-2.mid, ..."
            " [default: PROMPT-continued-1.mid in the current directory, the next free number]",
        ),
    ] = None,
    *,
    request: Annotated[
        dict[str, Any],
        Group(
            Request,
            first=("prompt_seconds", "seconds", "bars", "variations", "of", "seed", "end"),
            unset=("seed",),
        ),
    ],
    only_new: Annotated[
        bool,
        typer.Option(
            "--only-new",
            help="Write the continuation without the prompt, and name the bar where it belongs.",
        ),
    ] = False,
    wav: WavFlag = False,
    play: Annotated[
        bool,
        typer.Option(
            "--play",
            help="Sound the first variation while it is decided, from the end of the prompt on.",
        ),
    ] = False,
    preset: Annotated[Preset, typer.Option(metavar="NAME", help=_PRESET_HELP)] = _DEFAULT,
    sampling: Annotated[dict[str, Any], Group(SamplingSettings, unset=None)],
    like: Annotated[
        Path | None,
        typer.Option(metavar="REF.mid", help="Steer the music towards that of another file."),
    ] = None,
    steering: Annotated[dict[str, Any], Group(Steering, unset=None)],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A name from `arietta models list`, a file or a folder. [default: small; with"
            " --like small-conditioned]",
        ),
    ] = None,
    draft: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A small model to draft for a big one: faster, the same kind of music.",
        ),
    ] = None,
    precision: PrecisionOption = Precision.int8,
    device: DeviceOption = Device.cpu,
    threads: ThreadsOption = None,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Continue a piano performance, or improvise from nothing.

    Works offline with the model that ships with arietta. Ctrl-C stops and keeps what was decided so
    far. Every file carries the model, settings and seed it was made with in a text event.

    \b
    Examples:
      arietta generate
      arietta generate prompt.mid -o out.mid --seconds 30 --variations 4 --seed 7 --wav
      arietta generate prompt.mid -o out.mid --prompt-seconds 15 --bars 8 --only-new
      arietta generate prompt.mid -o out.mid --like reference.mid --guidance 2.5
      arietta generate prompt.mid --play
      arietta generate --style chopin --style nocturne --seconds 60 --end
    """
    from secrets import randbits

    from arietta.api.generation import check_request
    from arietta.api.generation import generate as run
    from arietta.midi.reader import read

    request = {"seed": randbits(31), **request}
    steered = {**steering, "like": like} if like is not None else steering
    # Everything that can be refused is refused before the work.
    check_request(prompt, **request, **sampling, **steered, preset=preset.value)
    if play:
        if (request.get("of") or 1) > request["variations"]:
            raise UsageError("`play` sounds what is not yet chosen among several; leave out `of`")
        request["of"] = request["variations"]
    output = output or default_output(prompt, request["variations"], wav=wav, force=force)
    piece = None if prompt is None else with_notices(read(prompt))
    if like is not None:
        steered["like"] = with_notices(read(like))
    with ProgressLine(quiet=as_json) as progress, sounding(piece, wanted=play) as listen:
        done = run(
            piece,
            output=output,
            wav=wav,
            only_new=only_new,
            force=force,
            preset=preset.value,
            model=model,
            draft=draft,
            device=device.value,
            precision=precision.value,
            threads=threads,
            report=lambda now: show(now, progress),
            listen=listen,
            sound_report=lambda at, end: progress.show(f"sound: {clock(at)} of {clock(end)}"),
            watch=lambda stream: stopped_by_ctrl_c(stream.cancel),
            **request,
            **sampling,
            **steered,
        )
    for line in done.notices:
        note(line)
    for place in done.places if only_new else []:
        note(f"place at {place}")
    if done.interrupted and not any(done.targets):
        note("stopped before the first note; nothing was written")
        raise typer.Exit(130)
    if as_json:
        emit(done.to_dict())
    else:
        summary(done, prompt)
    if done.interrupted:
        note("stopped; what was decided so far is kept")
        raise typer.Exit(130)


def default_output(prompt: Path | None, variations: int, *, wav: bool, force: bool) -> Path:
    """Return WALTZ-continued-1.mid, or the next free number; improvised-1.mid from scratch."""
    stem = "improvised" if prompt is None else f"{prompt.stem}-continued"
    return free_output(stem, variations, wav=wav, force=force)


@contextmanager
def stopped_by_ctrl_c(cancel: Callable[[], None]) -> Iterator[list[int]]:
    """Let the first ctrl-C ask for an orderly stop; a second one interrupts as usual.

    Yields:
        A list that is no longer empty once ctrl-C was pressed.
    """
    pressed: list[int] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        pressed.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        cancel()

    try:
        before = signal.signal(signal.SIGINT, on_signal)
    except ValueError:  # not in the main thread, where no ctrl-C arrives
        yield pressed
        return
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def sounding(
    prompt: Piece | None, *, wanted: bool
) -> Iterator[Callable[[StreamedNote], None] | None]:
    """Play the notes of the first variation as they are decided, behind the end of the prompt.

    Yields:
        What takes the notes; None where nothing is played.
    """
    if not wanted:
        yield None
        return
    from arietta.sound.live import LivePlayer, LiveSound
    from arietta.sound.player import find_stream_player

    command = find_stream_player()
    if command is None:
        note(
            "nothing here plays sound while it is made (aplay, play or ffplay, and an audio"
            " device): hear the file with `arietta play`"
        )
        yield None
        return
    player = LivePlayer(command, LiveSound.behind(prompt))
    try:
        yield lambda new: player.sound.take(new)
    except BaseException:
        player.stop()
        raise
    if not player.close():
        note(f"{command[0]} could not play it; hear the file with `arietta play`")


def show(now: GenerationProgress, progress: ProgressLine) -> None:
    """Show on the progress line how a stream stands."""
    if progress.due():
        progress.show(
            f"{_takes(len(now.rows))}{clock(now.music_seconds)} of music,"
            f" {now.realtime_factor:.1f}x real time"
        )


def _takes(count: int) -> str:
    return f"{count} takes, " if count > 1 else ""


def summary(done: GenerateResult, prompt: Path | None) -> None:
    """Print one screen: where, how much, how fast, with what."""
    total = done.to_dict()
    for row in total["outputs"]:
        where = row["midi"] if row["wav"] is None else f"{row['midi']}, {row['wav']}"
        say(f"{where}: {row['notes']} new notes, {clock(row['music_seconds'])}")
    first = done.continuations[0]
    came_from = "from scratch"
    if prompt is not None:
        length_s = first.prompt.end_ms / 1000
        came_from = f"{prompt}, {len(first.prompt)} notes, {clock(length_s)}"
    used = first.provenance
    settings = used["settings"]
    dials = ", ".join(f"{k} {v:g}" for k, v in settings.items() if type(v) in (int, float))
    first_note = total["first_note_seconds"]
    print_pairs(
        [
            ("prompt", came_from),
            ("new", f"{total['notes']} notes, {clock(total['music_seconds'])} of music"),
            ("seam", _seam_line(first)),
            ("chosen", _chosen_line(done)),
            (
                "speed",
                f"{total['notes_per_second']:g} notes/s, {total['realtime_factor']:g}x real time,"
                f" first note after {clock(first_note)}"
                if first_note is not None
                else "",
            ),
            ("model", f"{used['model']}, {used['precision']}, hash {used['model_sha256'][:12]}"),
            ("settings", f"{used['preset']}: {dials}; seed {used['seed']}"),
        ]
    )


def _chosen_line(done: GenerateResult) -> str:
    """Return what the best take was chosen from, and how it was judged."""
    takes, verdict = len(done.progress.rows), done.continuations[0].verdict
    if takes <= len(done.continuations) or verdict is None:
        return ""
    return (
        f"best of {takes} takes: in time {verdict.in_time:.2f}, in key {verdict.in_key:.2f},"
        f" like the prompt {verdict.like_prompt:.2f}"
    )


def _seam_line(made: Continuation) -> str:
    """Return what was taken as the prompt's end, and where the new notes begin."""
    if not len(made.prompt) or not len(made.new):
        return ""
    last = clock(made.prompt.end_ms / 1000)
    where = f" in {made.place}" if made.place.startswith("bar") else ""
    side = "in front of" if made.seam_ms < made.prompt.end_ms - 0.5 else "behind"
    return f"at {clock(made.seam_ms / 1000)}{where}, {side} the prompt's last release at {last}"
