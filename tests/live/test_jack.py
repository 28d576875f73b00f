"""The command on virtual ports of a JACK server, and another program that plays with it."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
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
    key = time.monotonic()
    out.send(mido.Message("note_on", note=40, velocity=70))
    time.sleep(0.5)
    out.send(mido.Message("note_off", note=40))
    time.sleep(0.2)
    print(json.dumps({"heard": [data for _, data in heard], "key": sum(t < key for t, _ in heard)}))
    """
)


def duet(jack: Jack, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "arietta", "duet", "--virtual", "--backend", BACKEND, "--json"]
    return subprocess.Popen(
        [*command, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=jack.environment,
    )


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


def hanging(messages: list[list[int]]) -> set[int]:
    down: set[int] = set()
    for status, pitch, value in messages:
        if status & 0xF0 == 0x90 and value:
            down.add(pitch)
        elif status & 0xF0 in (0x80, 0x90):
            down.discard(pitch)
    return down


def test_two_programs_play_a_duet(jack: Jack, tmp_path: Path) -> None:
    process = duet(jack, "--record", str(tmp_path / "duet.mid"), "--pause-seconds", "0.3")
    found = partner(jack)
    out, err = process.communicate("q\n", timeout=30)
    assert process.returncode == 0, err
    assert "it plays" in err
    assert found["key"] >= 3 and not hanging(found["heard"])
    told = json.loads(out)
    assert told["your_notes"] == 13 and told["model_notes"] >= 3
    piece = read(tmp_path / "duet.mid")
    assert piece.track_names == {0: "You", 1: "Arietta"}
    assert (piece.notes.track == 0).sum() == 13


def test_a_partner_that_is_killed_does_not_end_the_duet(jack: Jack) -> None:
    process = duet(jack, "--pause-seconds", "0.3")
    partner(jack)
    again = partner(jack, 8)
    assert again["key"] >= 3 and not hanging(again["heard"])
    _, err = process.communicate("q\n", timeout=30)
    assert process.returncode == 0, err


@pytest.mark.parametrize("end", ["", "\n"])
def test_the_end_of_standard_input_does_not_end_it(jack: Jack, end: str) -> None:
    process = duet(jack, "--pause-seconds", "0.3")
    assert process.stdin is not None
    process.stdin.write(end)
    process.stdin.close()
    process.stdin = None
    found = partner(jack)
    assert found["key"] >= 3 and process.poll() is None
    process.send_signal(2)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0 and json.loads(out)["your_notes"] == 13, err
