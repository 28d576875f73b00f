"""``arietta duet`` on ports in memory."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from arietta import api
from arietta.cli import duet as command
from arietta.midi.reader import read
from arietta.realtime import ports
from tests.realtime.memory_ports import BrokenPorts, Ports

from .conftest import Command


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Ports:
    found = Ports()
    monkeypatch.setattr(ports, "backend", lambda name=None: found)
    return found


def test_the_ports_are_listed(arietta: Command, system: Ports) -> None:
    assert arietta("duet", "--list").out == "input   Keys 1\noutput  Synth 1\n"
    assert arietta("duet", "--list", "--json").json == {
        "inputs": ["Keys 1"],
        "outputs": ["Synth 1"],
    }
    system.inputs = []
    assert "input   none on this machine" in arietta("duet", "--list").out


def test_wrong_ports_are_refused_by_the_names_of_the_flags(arietta: Command, system: Ports) -> None:
    done = arietta("duet", "--in", "Organ")
    assert done.code == 1 and "--in 'Organ' is no port: there are Keys 1" in done.err
    system.outputs = ["a", "b"]
    assert "--out is needed: there are a, b" in arietta("duet").err


def test_a_machine_without_midi(arietta: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "backend", lambda name=None: BrokenPorts())
    done = arietta("duet", "--list")
    assert done.code == 1 and "no MIDI ports" in done.err


def test_an_existing_recording_is_kept(arietta: Command, system: Ports, tmp_path: Path) -> None:
    (tmp_path / "a.mid").write_bytes(b"mine")
    done = arietta("duet", "--record", tmp_path / "a.mid")
    assert done.code == 1 and "exists already" in done.err
    assert (tmp_path / "a.mid").read_bytes() == b"mine"


def test_a_duet_with_the_shipped_model(
    arietta: Command, system: Ports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """You play a chord, let go, hear an answer, and end it with a key."""
    import mido

    def you(loop: Any) -> None:
        for velocity in (70, 0):
            for pitch in (60, 64, 67):
                system.callback(mido.Message("note_on", note=pitch, velocity=velocity))
        end = time.perf_counter() + 20
        while len([m for m in system.sent if m[0] == 0x90]) < 3 and time.perf_counter() < end:
            time.sleep(0.005)
        system.callback(mido.Message("note_on", note=40, velocity=70))
        time.sleep(0.05)
        loop.stop()

    monkeypatch.setattr(
        command, "_watch_keys", lambda loop: threading.Thread(target=you, args=(loop,)).start()
    )
    out = tmp_path / "duet.mid"
    done = arietta("duet", "--pause-seconds", "0.1", "--record", out, "--json")
    assert done.code == 0, done.err
    assert done.json["your_notes"] == 4 and done.json["model_notes"] >= 3
    assert done.json["recording"] == str(out)
    assert "it plays; any key of yours takes over" in done.err
    piece = read(out)
    assert piece.track_names == {0: "You", 1: "Arietta"} and len(piece) >= 7
    down: set[int] = set()
    for status, pitch, *_ in ([*message, 0] for message in system.sent):
        if status == 0x90:
            down.add(pitch)
        elif status == 0x80:
            down.discard(pitch)
    assert (
        not down and [0xFE] in system.sent and system.sent[-1] == [0xB0, 123, 0] and system.closed
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_duet_in_silence(
    arietta: Command, system: Ports, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    import mido

    def you(loop: Any) -> None:
        system.callback(mido.Message("control_change", control=64, value=127))
        system.callback(mido.Message("note_on", note=60, velocity=70))
        loop.takeover()
        end = time.perf_counter() + 20
        while len([m for m in system.sent if m[0] == 0x90]) < 3 and time.perf_counter() < end:
            time.sleep(0.005)
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)

    monkeypatch.setattr(
        command, "_watch_keys", lambda loop: threading.Thread(target=you, args=(loop,)).start()
    )
    before = signal.getsignal(number)
    done = arietta("duet", "--json")
    assert done.code == 0, done.err
    assert done.json["model_notes"] >= 3
    assert system.sent[-2:] == [[0xB0, 64, 0], [0xB0, 123, 0]] and system.closed
    assert signal.getsignal(number) is before


def test_what_was_played_is_kept_when_the_port_goes(
    arietta: Command, system: Ports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mido

    def you(loop: Any) -> None:
        for velocity in (70, 0):
            system.callback(mido.Message("note_on", note=60, velocity=velocity))
        system.outputs = []

    monkeypatch.setattr(command, "_watch_keys", you)
    done = arietta("duet", "--record", tmp_path / "kept.mid")
    assert done.code == 1 and "unplugged" in done.err
    assert len(read(tmp_path / "kept.mid")) == 1


def test_the_latency_is_measured_by_tapping(system: Ports, monkeypatch: pytest.MonkeyPatch) -> None:
    import mido

    from arietta.api import duet as module

    monkeypatch.setattr(module, "_CLICK_S", 0.02)
    send = system.send

    def clicked(message: Any) -> None:
        send(message)
        if message.type == "note_on":
            system.callback(mido.Message("note_on", note=50, velocity=80))

    monkeypatch.setattr(system, "send", clicked)
    assert 0 <= api.tap_latency() < 15
    assert len([m for m in system.sent if m[0] == 0x90]) == 12
