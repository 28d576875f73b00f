"""The command on virtual ports of a JACK server, and another program that plays with it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from arietta.midi.reader import read
from tests.live.conftest import Jack

BACKEND = "mido.backends.rtmidi/UNIX_JACK"

PARTNER = textwrap.dedent(
    """
    import json, sys, time
    import mido
    ports = mido.Backend(sys.argv[1])

    def named(names, part):
        end = time.monotonic() + 30
        while time.monotonic() < end:
            for name in names():
                if part in name:
                    return name
            time.sleep(0.05)
        sys.exit(f"no port {part}")

    heard = []
    # The same client twice: one JACK client for each port.
    out = ports.open_output(named(ports.get_output_names, "duet-in"))
    into = ports.open_input(
        named(ports.get_input_names, "duet-out"),
        callback=lambda message: heard.append((time.monotonic(), message.bytes())),
    )
    began = time.monotonic()
    for i in range(int(sys.argv[2])):
        for kind in ("note_on", "note_off"):
            out.send(mido.Message(kind, note=60 + i % 12, velocity=70))
            time.sleep(0.03)
    end = time.monotonic() + 30
    while len(heard) < 6 and time.monotonic() < end:
        time.sleep(0.005)
    if len(sys.argv) > 3:
        # Say that it sounds, and listen on while the duet is ended.
        print("sounding", flush=True)
        sys.stdin.readline()
        time.sleep(0.5)
        print(json.dumps({"heard": [data for _, data in heard]}))
        sys.exit()
    key = time.monotonic()
    out.send(mido.Message("note_on", note=40, velocity=70))
    time.sleep(0.5)
    out.send(mido.Message("note_off", note=40))
    time.sleep(0.2)
    print(json.dumps({"heard": [data for _, data in heard], "key": sum(t < key for t, _ in heard)}))
    """
)


@contextmanager
def duet(jack: Jack, *words: str) -> Iterator[subprocess.Popen[str]]:
    """The command while it runs; it is killed where a test leaves it behind."""
    command = [sys.executable, "-m", "arietta", "duet", "--virtual", "--backend", BACKEND, "--json"]
    with subprocess.Popen(
        [*command, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=jack.environment,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def partner(jack: Jack, notes: int = 12) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", PARTNER, BACKEND, str(notes)],
        capture_output=True,
        text=True,
        env=jack.environment,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def listener(jack: Jack, notes: int = 8) -> Iterator[subprocess.Popen[str]]:
    """A partner that plays, lets the model play, and says so; a line ends it."""
    with subprocess.Popen(
        [sys.executable, "-c", PARTNER, BACKEND, str(notes), "listen"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=jack.environment,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "sounding\n"
            yield process
        finally:
            process.kill()


def wait_for_ports(jack: Jack) -> None:
    """Wait until the duet has made its ports."""
    look = PARTNER.split("heard = []")[0] + 'named(ports.get_output_names, "duet-in")'
    subprocess.run(
        [sys.executable, "-c", look, BACKEND], check=True, env=jack.environment, timeout=60
    )
    time.sleep(0.5)


def pedal_down(messages: list[list[int]]) -> bool:
    moves = [value for status, number, value in messages if (status & 0xF0, number) == (0xB0, 64)]
    return bool(moves) and moves[-1] >= 64


def hanging(messages: list[list[int]]) -> set[int]:
    down: set[int] = set()
    for status, pitch, value in messages:
        if status & 0xF0 == 0x90 and value:
            down.add(pitch)
        elif status & 0xF0 in (0x80, 0x90):
            down.discard(pitch)
    return down


def test_two_programs_play_a_duet(jack: Jack, tmp_path: Path) -> None:
    recording = tmp_path / "duet.mid"
    with duet(jack, "--record", str(recording), "--pause-seconds", "0.3") as process:
        found = partner(jack)
        out, err = process.communicate("q\n", timeout=30)
    assert process.returncode == 0, err
    assert "it plays" in err
    assert found["key"] >= 3 and not hanging(found["heard"])
    told = json.loads(out)
    assert told["your_notes"] == 13 and told["model_notes"] >= 3
    piece = read(recording)
    assert piece.track_names == {0: "You", 1: "Arietta"}
    assert (piece.notes.track == 0).sum() == 13


def test_a_partner_that_leaves_does_not_end_the_duet(jack: Jack) -> None:
    with duet(jack, "--pause-seconds", "0.3") as process:
        partner(jack)
        again = partner(jack, 8)
        assert again["key"] >= 3 and not hanging(again["heard"])
        _, err = process.communicate("q\n", timeout=30)
    assert process.returncode == 0, err


def test_the_end_of_standard_input_neither_hands_over_nor_ends(jack: Jack) -> None:
    with duet(jack, "--pause-seconds", "5") as process:
        wait_for_ports(jack)
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
        time.sleep(2)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "its turn" not in err and json.loads(out)["model_notes"] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_in_silence(jack: Jack, tmp_path: Path, number: int) -> None:
    recording = tmp_path / "duet.mid"
    words = ("--record", str(recording), "--pause-seconds", "0.3", "--mode", "go-on")
    with duet(jack, *words) as process, listener(jack) as partner:
        time.sleep(2)  # in the middle of it
        process.send_signal(number)
        process.send_signal(number)  # an impatient user
        out, err = process.communicate(timeout=30)
        told, _ = partner.communicate("over\n", timeout=30)
    assert process.returncode == 0, err
    heard = json.loads(told)["heard"]
    assert any(status & 0xF0 == 0x90 for status, *_ in heard)
    assert not hanging(heard) and not pedal_down(heard)
    assert heard[-2:] == [[0xB0, 64, 0], [0xB0, 123, 0]]
    assert json.loads(out)["model_notes"] >= 3 and len(read(recording)) >= 11
