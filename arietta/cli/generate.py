"""``arietta generate``: continue a performance."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

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
    from arietta.generation import engine
    from arietta.generation.continuation import Continuation, ContinuationStream

app = new_app()


class Preset(StrEnum):
    """Choices of ``--preset``."""

    faithful = "faithful"
    balanced = "balanced"
    adventurous = "adventurous"


class Seam(StrEnum):
    """Choices of ``--seam``."""

    now = "now"
    release = "release"
    bar = "bar"


class GrooveName(StrEnum):
    """Choices of ``--groove``."""

    tight = "tight"
    loose = "loose"
    off = "off"


class RequestOptions(TypedDict):
    """What is asked for, as ``Model.stream`` takes it."""

    seconds: float | None
    bars: float | None
    prompt_seconds: float | None
    end: bool
    seed: int
    style: tuple[str, ...]
    seam: Literal["now", "release", "bar"] | None
    pedal: bool
    groove: Literal["tight", "loose", "off"]
    into: str | None


class SettingOptions(TypedDict):
    """How it is sampled, as ``Model.stream`` takes it."""

    temperature: float | None
    min_p: float | None
    top_p: float | None
    density: float | None
    grammar: bool | None


@dataclass(frozen=True)
class Target:
    """Where one variation goes."""

    midi: Path
    wav: Path | None


@app.command()
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
    prompt_seconds: Annotated[
        float | None,
        typer.Option(
            metavar="S", help="Go on after the first S seconds of the prompt. [default: all of it]"
        ),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(metavar="S", help="Length of the new music. [default: 30]")
    ] = None,
    bars: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            help="Length in whole bars of the prompt's own metre and tempo instead; ends on a bar"
            " line.",
        ),
    ] = None,
    variations: Annotated[
        int, typer.Option(metavar="N", help="How many different continuations.")
    ] = 1,
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="The same seed gives the same music. [default: a new one, told]"
        ),
    ] = None,
    end: Annotated[
        bool, typer.Option("--end", help="Bring the music to an ending at about that length.")
    ] = False,
    only_new: Annotated[
        bool,
        typer.Option(
            "--only-new",
            help="Write the continuation without the prompt, and tell at which bar it belongs.",
        ),
    ] = False,
    seam: Annotated[
        Seam | None,
        typer.Option(
            metavar="HOW",
            help="Where the new notes begin: now (where the model hears them), release (behind the"
            " prompt's last release) or bar (on the next bar line). [default: bar where the"
            " prompt's notes stand on a metre, else release]",
        ),
    ] = None,
    no_pedal: Annotated[
        bool,
        typer.Option("--no-pedal", help="Long notes in place of shorter keys under a pedal."),
    ] = False,
    groove: Annotated[
        GrooveName,
        typer.Option(
            metavar="HOW",
            help="tight, loose or off: how far new onsets move to the sixteenths of the prompt's"
            " own tempo, where its notes stand on them.",
        ),
    ] = GrooveName.loose,
    into: Annotated[
        str | None,
        typer.Option(
            metavar="TRACK",
            help="Merge the new notes into this track of the prompt, by name or number."
            " [default: tracks of their own, right and left hand]",
        ),
    ] = None,
    wav: WavFlag = False,
    preset: Annotated[
        Preset,
        typer.Option(
            metavar="NAME",
            help="faithful (temperature 0.94), balanced (1.0) or adventurous (1.05), each without"
            " min-p.",
        ),
    ] = Preset.balanced,
    temperature: Annotated[
        float | None,
        typer.Option(metavar="T", help="0..2, in place of the preset's; 0 always takes the top."),
    ] = None,
    min_p: Annotated[
        float | None,
        typer.Option(
            metavar="P", help="0..1: drop what is less than P times as likely as the likeliest."
        ),
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(metavar="P", help="0..1: keep the likeliest that make up P together."),
    ] = None,
    density: Annotated[
        float | None,
        typer.Option(metavar="D", help="0.1..10: above 1 for more notes, below for fewer."),
    ] = None,
    style: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A composer, form or genre to lean to (chopin, nocturne, jazz); may be repeated.",
        ),
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(metavar="REF.mid", help="Steer the music towards that of another file."),
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(
            metavar="G",
            help="0..10, with --like: 0 ignores it, 1 follows it, more exaggerates. [default: 2.5]",
        ),
    ] = None,
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
    no_grammar: Annotated[
        bool,
        typer.Option(
            "--no-grammar", help="Sample as the public code does; notes may come out broken."
        ),
    ] = False,
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
      arietta generate --style chopin --style nocturne --seconds 60 --end
    """
    from secrets import randbits

    from arietta.generation.continuation import Request
    from arietta.generation.sampling import settings_from
    from arietta.midi.reader import read
    from arietta.output import check_output

    # Everything that can be refused is refused before the work.
    request: RequestOptions = {
        "seconds": seconds,
        "bars": bars,
        "prompt_seconds": prompt_seconds,
        "end": end,
        "seed": randbits(31) if seed is None else seed,
        "style": tuple(style or ()),
        "seam": None if seam is None else seam.value,
        "pedal": not no_pedal,
        "groove": groove.value,
        "into": into,
    }
    settings: SettingOptions = {
        "temperature": temperature,
        "min_p": min_p,
        "top_p": top_p,
        "density": density,
        "grammar": False if no_grammar else None,
    }
    Request(**request, variations=variations)
    settings_from(preset.value, **settings)
    if prompt is None and prompt_seconds is not None:
        raise UsageError("--prompt-seconds needs a PROMPT")
    if prompt is None and into is not None:
        raise UsageError("--into names a track of a PROMPT; there is none")
    if prompt is None and bars is not None:
        raise UsageError("--bars counts in the prompt's metre; without one give --seconds")
    if guidance is not None and like is None:
        raise UsageError("--guidance needs --like REF.mid")
    if output is None:
        output = default_output(prompt, variations, wav=wav, force=force)
    elif output.suffix.lower() not in (".mid", ".midi"):
        raise UsageError(f"{output}: the output is a MIDI file; call it {output.stem}.mid")
    targets = name_targets(output, variations, wav=wav)
    for target in targets:
        check_output(target.midi, force=force)
        if target.wav is not None:
            check_output(target.wav, force=force)
    piece = None if prompt is None else told(read(prompt))
    reference = None if like is None else told(read(like))

    from arietta.api import CONDITIONED_MODEL, DEFAULT_GUIDANCE, DEFAULT_MODEL, load

    began = time.perf_counter()
    player = load(
        model or (DEFAULT_MODEL if like is None else CONDITIONED_MODEL),
        device=device.value,
        precision=precision.value,
        threads=threads,
        draft=draft,
    )
    load_seconds = time.perf_counter() - began
    with ProgressLine(quiet=as_json) as progress:
        stream = player.stream(
            piece,
            variations=variations,
            preset=preset.value,
            like=reference,
            guidance=DEFAULT_GUIDANCE if guidance is None else guidance,
            **request,
            **settings,
        )
        with stopped_by_ctrl_c(stream.cancel) as interrupted:
            follow(stream, progress)
        made = stream.results()
        notices = list(dict.fromkeys(line for result in made for line in result.notices))
        for line in notices:
            note(line)
        if only_new:
            for line in dict.fromkeys(
                f"place at {result.place}" for result in made if result.place
            ):
                note(line)
        facts = stream.progress()
        if interrupted and not any(len(result.new) for result in made):
            note("stopped before the first note; nothing was written")
            raise typer.Exit(130)
        rows = []
        for target, result in zip(targets, made, strict=True):
            if interrupted and not len(result.new):
                continue
            result.save(target.midi, only_new=only_new, force=force)
            if target.wav is not None:
                sound(target.wav, result, progress, only_new=only_new, force=force)
            rows.append(row_facts(target, result))
    total = {
        "load_seconds": round(load_seconds, 3),
        "prefill_seconds": round(facts.prefill_seconds, 3),
        "first_note_seconds": _rounded(facts.first_note_seconds, load_seconds),
        "wall_seconds": round(facts.wall_seconds, 3),
        "notes": sum(len(result.new) for result in made),
        "tokens": facts.tokens,
        "music_seconds": round(sum(result.music_seconds for result in made), 3),
        "notes_per_second": round(facts.notes_per_second, 1),
        "realtime_factor": round(facts.realtime_factor, 1),
        "draft_acceptance": facts.acceptance,
        "interrupted": bool(interrupted),
        "notices": notices,
        "provenance": dict(made[0].provenance),
    }
    if as_json:
        emit({"outputs": rows, **total})
    else:
        summary(rows, total, made, prompt)
    if interrupted:
        note("stopped; what was decided so far is kept")
        raise typer.Exit(130)


def default_output(prompt: Path | None, variations: int, *, wav: bool, force: bool) -> Path:
    """WALTZ-continued-1.mid, or the next number that is free; improvised-1.mid from scratch."""
    stem = "improvised" if prompt is None else f"{prompt.stem}-continued"
    number = 1
    while True:
        output = Path(f"{stem}-{number}.mid")
        targets = name_targets(output, variations, wav=wav)
        taken = any(t.midi.exists() or (t.wav is not None and t.wav.exists()) for t in targets)
        if force or not taken:
            return output
        number += 1


def name_targets(output: Path, variations: int, *, wav: bool) -> list[Target]:
    """OUT.mid alone, or OUT-1.mid to OUT-N.mid with numbers of one width."""
    if variations == 1:
        paths = [output]
    else:
        width = len(str(variations))
        paths = [
            output.with_name(f"{output.stem}-{i:0{width}d}{output.suffix}")
            for i in range(1, variations + 1)
        ]
    return [Target(path, path.with_suffix(".wav") if wav else None) for path in paths]


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


def follow(stream: ContinuationStream, progress: ProgressLine) -> None:
    """Run a stream to its end under a progress line."""

    def show(now: engine.GenerationProgress) -> None:
        if progress.due():
            progress.show(
                f"{now.notes} notes, {clock(now.music_seconds)} of music,"
                f" {now.realtime_factor:.1f}x real time"
            )

    stream.run(show)


def sound(
    path: Path, result: Continuation, progress: ProgressLine, *, only_new: bool, force: bool
) -> None:
    """Write the WAV of a continuation."""
    from arietta.sound.files import write_piece

    write_piece(
        path,
        result.new if only_new else result.piece,
        force=force,
        progress=lambda done, total: progress.show(f"sound: {clock(done)} of {clock(total)}"),
    )


def row_facts(target: Target, result: Continuation) -> dict[str, Any]:
    """What ``--json`` says about one variation."""
    return {
        "midi": str(target.midi),
        "wav": None if target.wav is None else str(target.wav),
        "variation": result.stats.variation,
        "notes": len(result.new),
        "tokens": result.stats.tokens,
        "music_seconds": round(result.music_seconds, 3),
        "seam_ms": round(result.seam_ms, 3),
        "place": result.place,
        "place_ms": round(result.place_ms, 3),
        "ringing": result.ringing,
        "stopped": result.stats.reason,
    }


def summary(
    rows: list[dict[str, Any]],
    total: dict[str, Any],
    made: list[Continuation],
    prompt: Path | None,
) -> None:
    """One screen: where, how much, how fast, with what."""
    for row in rows:
        where = row["midi"] if row["wav"] is None else f"{row['midi']}, {row['wav']}"
        say(f"{where}: {row['notes']} new notes, {clock(row['music_seconds'])}")
    first = made[0]
    came_from = "from scratch"
    if prompt is not None:
        heard = first.prompt.end_ms / 1000
        came_from = f"{prompt}, {len(first.prompt)} notes, {clock(heard)}"
    used = first.provenance
    settings = used["settings"]
    dials = ", ".join(f"{k} {v:g}" for k, v in settings.items() if type(v) in (int, float))
    first_note = total["first_note_seconds"]
    print_pairs(
        [
            ("prompt", came_from),
            ("new", f"{total['notes']} notes, {clock(total['music_seconds'])} of music"),
            ("seam", _seam_line(first)),
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


def _seam_line(made: Continuation) -> str:
    """What was taken as the prompt's end, and where the new notes begin."""
    if not len(made.prompt) or not len(made.new):
        return ""
    last = clock(made.prompt.end_ms / 1000)
    where = f" in {made.place}" if made.place.startswith("bar") else ""
    return f"at {clock(made.seam_ms / 1000)}{where}, behind the prompt's last release at {last}"


def _rounded(first_note_seconds: float | None, load_seconds: float) -> float | None:
    return None if first_note_seconds is None else round(first_note_seconds + load_seconds, 3)
