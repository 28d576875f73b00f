"""Play with a model on MIDI ports: the use case behind ``arietta duet``."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arietta.api.models import DEFAULT_MODEL, Model, load
from arietta.realtime.settings import DuetSettings

if TYPE_CHECKING:
    from arietta.realtime.latency import Latency
    from arietta.realtime.loop import DuetLoop, Event
    from arietta.realtime.ports import PortNames

QUICK_BUDGET_MS, BIG_BUDGET_MS = 120.0, 280.0
"""From the handover to the first note: for models that keep an answer ready, and for others."""

_CLICK_S, _CLICKS, _CLICK_KEY = 0.6, 12, 84


@dataclass(frozen=True)
class DuetResult:
    """What a duet was.

    Attributes:
        your_notes, model_notes: how many notes each played.
        seconds: from the start to the end.
        late_ms: how late 95 of 100 notes of the model were sent, at most; None without any.
        recording: file with both players, or None.
        notices: what the user was told.
    """

    your_notes: int
    model_notes: int
    seconds: float
    late_ms: float | None
    recording: Path | None
    notices: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {
            "your_notes": self.your_notes,
            "model_notes": self.model_notes,
            "seconds": round(self.seconds, 3),
            "late_ms": None if self.late_ms is None else round(self.late_ms, 2),
            "recording": None if self.recording is None else str(self.recording),
            "notices": list(self.notices),
        }


def duet(
    input_port: str | None = None,
    output_port: str | None = None,
    *,
    settings: DuetSettings | None = None,
    model: Model | str | PathLike[str] | None = None,
    latency: Latency | None = None,
    record: str | PathLike[str] | None = None,
    force: bool = False,
    backend: str | None = None,
    virtual: bool = False,
    report: Callable[[Event], None] = lambda event: None,
    started: Callable[[DuetLoop], None] = lambda loop: None,
) -> DuetResult:
    """Play a duet until ``DuetLoop.stop`` or an interrupt.

    Args:
        input_port, output_port: MIDI ports, by their names or a part of them; without one the only
            port there is.
        settings: how it goes; ``same_port`` is set where both ports are one instrument, and the
            budget to what the model needs where it is the default.
        model: a loaded model, a name or a path; the shipped one by default.
        latency: how late the instrument sounds.
        record: MIDI file for what both play; it is written whatever ends the duet.
        force: replace a file that exists.
        backend: another mido backend than python-rtmidi with the system's own interface.
        virtual: make ports of these names, for other programs, instead of opening some.
        report: told of states and notices.
        started: given the loop when it is about to run, to hand over or to stop it.

    Raises:
        CheckpointError: there is no such model, or it does not generate.
        InputError: there is no such input, or it is gone.
        MissingExtraError: the extra ``live`` is not installed.
        OutputError: there is no such output, it is gone, or the recording cannot be written.
    """
    from arietta.midi.writer import save_midi
    from arietta.output import check_output
    from arietta.realtime.answerer import Answerer
    from arietta.realtime.duet import DuetSession
    from arietta.realtime.latency import NO_LATENCY
    from arietta.realtime.loop import DuetLoop
    from arietta.realtime.plans import Notice
    from arietta.realtime.ports import MidiIn, MidiOut, same_device
    from arietta.realtime.ports import backend as open_backend
    from arietta.realtime.recording import ARIETTA, YOU, Recording

    if record is not None:
        check_output(record, force=force)
    ports = open_backend(backend)
    names = _chosen(ports, input_port, output_port, virtual=virtual)
    if not isinstance(model, Model):
        model = load(model or DEFAULT_MODEL)
    wanted = settings or DuetSettings()
    answerer = Answerer(model.engine)
    if not answerer.keeps_ready and wanted.budget_ms == QUICK_BUDGET_MS:
        wanted = replace(wanted, budget_ms=BIG_BUDGET_MS)
    if same_device(*names) and not virtual:
        wanted = replace(wanted, same_port=True)
    notices: list[str] = []

    def tell(event: Event) -> None:
        if isinstance(event, Notice):
            notices.append(event.text)
        report(event)

    taken = Recording()
    session = DuetSession(wanted, latency=latency or NO_LATENCY)
    out = MidiOut(ports, names[1], virtual=virtual)
    try:
        loop = DuetLoop(session, answerer, out, report=tell, record=taken, sensing=True)
        into = MidiIn(ports, names[0], loop.receive, loop.fail, virtual=virtual)
        loop.check_input = into.check
        began = time.monotonic()
        try:
            started(loop)
            loop.run()
        except KeyboardInterrupt:
            pass
        finally:
            into.close()
            seconds = time.monotonic() - began
            if record is not None and len(taken):
                save_midi(taken.piece(), record, force=force)
    finally:
        out.close()
    counts = [int((taken.piece().notes.track == player).sum()) for player in (YOU, ARIETTA)]
    late = sorted(loop.late_ms)
    return DuetResult(
        counts[0],
        counts[1],
        seconds,
        late[int(0.95 * (len(late) - 1))] if late else None,
        Path(record) if record is not None and len(taken) else None,
        tuple(notices),
    )


def _chosen(
    ports: Any, input_port: str | None, output_port: str | None, *, virtual: bool
) -> tuple[str, str]:
    from arietta.realtime.ports import choose, port_names

    if virtual:
        return input_port or "duet-in", output_port or "duet-out"
    names = port_names(ports)
    return choose(input_port, names.inputs, "input"), choose(output_port, names.outputs, "output")


def duet_ports(backend: str | None = None) -> PortNames:
    """Return the names of the MIDI ports there are.

    Args:
        backend: as for ``duet``.

    Raises:
        InputError: the system has no MIDI.
        MissingExtraError: the extra ``live`` is not installed.
    """
    from arietta.realtime.ports import backend as open_backend
    from arietta.realtime.ports import port_names

    return port_names(open_backend(backend))


def tap_latency(
    input_port: str | None = None, output_port: str | None = None, *, backend: str | None = None
) -> float:
    """Measure how late an instrument sounds, in ms: it clicks a dozen times, and you tap along.

    Args:
        input_port, output_port, backend: as for ``duet``.

    Raises:
        InputError: too few taps fall on clicks, or they scatter too much.
        MissingExtraError: the extra ``live`` is not installed.
        OutputError: the output cannot be opened.
    """
    from arietta.realtime.latency import tap_latency_ms
    from arietta.realtime.ports import MidiIn, MidiOut
    from arietta.realtime.ports import backend as open_backend

    ports = open_backend(backend)
    names = _chosen(ports, input_port, output_port, virtual=False)
    clicks: list[float] = []
    taps: list[float] = []
    wait = threading.Event()

    def tapped(data: list[int]) -> None:
        if data[0] & 0xF0 == 0x90 and data[2] and data[1] != _CLICK_KEY:
            taps.append(time.perf_counter() * 1000)

    def failed(error: BaseException) -> None:
        wait.set()

    out = MidiOut(ports, names[1])
    into = MidiIn(ports, names[0], tapped, failed)
    try:
        for _ in range(_CLICKS):
            clicks.append(time.perf_counter() * 1000)
            out.send((0x90, _CLICK_KEY, 90))
            wait.wait(_CLICK_S / 2)
            out.send((0x80, _CLICK_KEY, 0))
            wait.wait(_CLICK_S / 2)
    finally:
        into.close()
        out.close()
    return tap_latency_ms(clicks, taps)
