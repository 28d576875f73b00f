"""Differential test against mido, the byte reader of the public reference."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import pytest

from arietta.errors import MidiError
from arietta.midi.reader import read_bytes
from tests.midi.columns import note_rows, pedal_rows, program_rows
from tests.midi.files import damaged, random_file

mido = pytest.importorskip("mido")

# What mido reads and we do not: garbage after a dropped byte, times and headers without sense.
OURS_ONLY = (
    "running status after a system message",
    "a track lasts longer than 2**40 ticks",
    "the header gives no ticks per quarter or frame",
)


def paired(file: Any) -> dict[str, list[list[int]]]:
    """Notes by the rule of specification A.1, and the other columns, from mido's messages."""
    notes: list[tuple[int, list[int]]] = []
    pedal: list[list[int]] = []
    programs: list[list[int]] = []
    tempos: list[list[int]] = []
    for track in file.tracks:
        tick, pending = 0, dict[tuple[int, int], list[tuple[int, int]]]()
        for message in track:
            tick += message.time
            if message.type == "set_tempo":
                tempos.append([tick, message.tempo])
            elif message.type == "program_change":
                programs.append([tick, message.channel, message.program])
            elif message.type == "control_change" and message.control == 64:
                pedal.append([tick, message.channel, message.value])
            elif message.type == "note_on" and message.velocity:
                key = (message.channel, message.note)
                pending.setdefault(key, []).append((tick, message.velocity))
            elif message.type in ("note_on", "note_off"):
                key = (message.channel, message.note)
                waiting = pending.pop(key, [])
                early = [one for one in waiting if one[0] != tick]
                same = [one for one in waiting if one[0] == tick]
                for onset, velocity in early:
                    row = [message.note, velocity, onset, tick, message.channel]
                    notes.append((onset, row))
                if early and same:
                    pending[key] = same
    notes.sort(key=lambda note: note[0])
    for rows in (pedal, programs, tempos):
        rows.sort(key=lambda row: row[0])
    return {
        "notes": [row for _, row in notes],
        "pedal": pedal,
        "programs": programs or [[0, 0, 0]],
        "tempos": tempos or [[0, 500_000]],
    }


def test_the_same_files_read_alike(golden_dir: Path) -> None:
    rng = random.Random(3)
    folder = golden_dir / "aria" / "midi"
    small = [p.read_bytes() for p in sorted(folder.glob("*.mid")) if p.stat().st_size < 3000]
    compared = 0
    for i in range(1500):
        data = random_file(rng) if i % 3 == 0 else damaged(rng.choice(small), rng)
        try:
            theirs = mido.MidiFile(file=io.BytesIO(data))
        except Exception:  # it raises OSError, EOFError, ValueError, IndexError, KeySignatureError
            continue  # what we read of those is the subject of test_reader.py
        try:
            ours = read_bytes(data, compat="aria")
        except MidiError as error:
            promised = int.from_bytes(data[10:12], "big")  # mido takes 32768 and more as negative
            assert error.reason in OURS_ONLY or promised >= 2**15, (i, error)
            continue
        messages = [message for track in theirs.tracks for message in track]
        if any(message.type == "unknown_meta" for message in messages):
            continue  # mido forgets their delta times
        if int.from_bytes(data[10:12], "big") >= 2**15:
            continue
        expected = paired(theirs)
        assert note_rows(ours.notes) == expected["notes"], i
        assert pedal_rows(ours) == expected["pedal"], i
        assert program_rows(ours) == expected["programs"], i
        tempo = zip(ours.tempo.tick.tolist(), ours.tempo.us_per_quarter.tolist(), strict=True)
        assert [list(row) for row in tempo] == expected["tempos"], i
        compared += 1
    assert compared > 400
