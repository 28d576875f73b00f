"""``arietta duet``: play with the model on MIDI ports."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arietta.cli.console import (
    ForceFlag,
    JsonFlag,
    clock,
    emit,
    new_app,
    note,
    print_pairs,
    say,
)
from arietta.cli.options import Group, with_groups
from arietta.realtime.settings import DuetSettings

if TYPE_CHECKING:
    from arietta.realtime.loop import DuetLoop, Event

app = new_app()

_STATES = {
    "listening": "listening: play",
    "handover": "its turn",
    "answering": "it plays; any key of yours takes over",
    "paused": "paused",
}


@app.command()
@with_groups
def duet(
    *,
    input: Annotated[
        str | None,
        typer.Option("--in", metavar="NAME", help="MIDI input: its name or a part of it."),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("--out", metavar="NAME", help="MIDI output: its name or a part of it."),
    ] = None,
    list_ports: Annotated[
        bool, typer.Option("--list", help="List the MIDI ports and leave.")
    ] = False,
    settings: Annotated[
        dict[str, Any],
        Group(
            DuetSettings,
            only=("mode", "bars", "pause_seconds", "budget_ms", "takeover_key", "seed"),
            first=("mode", "bars", "pause_seconds"),
        ),
    ],
    latency: Annotated[
        float, typer.Option(metavar="MS", min=0, max=2000, help="How late the instrument sounds.")
    ] = 0.0,
    tap: Annotated[
        bool, typer.Option("--tap", help="Measure the latency first: it clicks, you tap along.")
    ] = False,
    record: Annotated[
        Path | None,
        typer.Option(metavar="OUT.mid", help="Write what both play, each on a track of its own."),
    ] = None,
    model: Annotated[
        str, typer.Option(metavar="NAME", help="A name from `arietta models list` or a path.")
    ] = "small",
    backend: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Another mido backend for the ports."),
    ] = None,
    virtual: Annotated[
        bool,
        typer.Option(
            "--virtual", help="Make ports of these names for other programs (not on Windows)."
        ),
    ] = False,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Play a duet with the model on a MIDI keyboard.

    Play something and let go: when keys and pedal are up for --pause-seconds, it answers. Enter,
    the soft pedal or --takeover-key hand over at once; any key of yours ends its answer. q and
    Enter, or Ctrl-C, end the duet. Needs arietta[live].

    \b
    Examples:
      arietta duet --list
      arietta duet --in Keyboard --out Synth --record duet.mid
      arietta duet --in Keyboard --out Synth --mode go-on
    """
    from arietta.api.duet import duet as run
    from arietta.api.duet import duet_ports, tap_latency
    from arietta.realtime.latency import Latency

    if list_ports:
        _list(duet_ports(backend), as_json=as_json)
        return
    wanted = DuetSettings(**settings)
    if tap:
        note("it clicks twelve times: tap any other key along with what you hear")
        latency = tap_latency(input, output, backend=backend)
        note(f"the instrument sounds {latency:.0f} ms late: --latency {latency:.0f}")
    with _signals() as stopped_by_signals:

        def started(loop: DuetLoop) -> None:
            stopped_by_signals(loop)
            _watch_keys(loop)

        done = run(
            input,
            output,
            settings=wanted,
            model=model,
            latency=Latency(latency),
            record=record,
            force=force,
            backend=backend,
            virtual=virtual,
            report=_teller(),
            started=started,
        )
    if as_json:
        emit(done.to_dict())
        return
    print_pairs(
        [
            ("you", f"{done.your_notes:,} notes"),
            ("arietta", f"{done.model_notes:,} notes"),
            ("length", clock(done.seconds)),
            ("recording", "" if done.recording is None else str(done.recording)),
        ]
    )


def _list(names: Any, *, as_json: bool) -> None:
    if as_json:
        emit({"inputs": list(names.inputs), "outputs": list(names.outputs)})
        return
    for what, found in (("input", names.inputs), ("output", names.outputs)):
        for name in found:
            say(f"{what:<8}{name}")
        if not found:
            say(f"{what:<8}none on this machine")


def _teller() -> Callable[[Event], None]:
    """Return what prints notices, and states where they mean something new to the player."""
    last = ""

    def tell(event: Event) -> None:
        from arietta.realtime.plans import Notice

        nonlocal last
        if isinstance(event, Notice):
            note(event.text)
            return
        text = _STATES.get(event.state, "")
        if text and text != last:
            last = text
            note(text)

    return tell


@contextmanager
def _signals() -> Iterator[Callable[[DuetLoop], None]]:
    """Give what has a loop stopped by the signals that end a program: silent first, then over."""
    before: dict[int, Any] = {}

    def stop(loop: DuetLoop) -> None:
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGINT", "SIGTERM", "SIGHUP"):
                number = getattr(signal, name, None)  # Windows has no SIGHUP
                if number is not None:
                    before[number] = signal.signal(number, lambda *_: loop.stop())

    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch_keys(loop: DuetLoop) -> None:
    """Hand over at every line of the standard input, in a thread of its own."""
    threading.Thread(target=follow_lines, args=(sys.stdin, loop), daemon=True).start()


def follow_lines(lines: Iterable[str], loop: DuetLoop) -> None:
    """Hand over at every line, stop at ``q``; the end of the lines is neither."""
    try:
        for line in lines:
            if line.strip().lower() in ("q", "quit"):
                loop.stop()
                return
            if line.endswith("\n"):
                loop.takeover()
    except (OSError, ValueError) as error:
        # A terminal that is gone ends the keys, not the duet; the user is told.
        note(f"the keyboard of this terminal is gone ({error}); the duet goes on")
    except BaseException as error:
        loop.fail(error)
