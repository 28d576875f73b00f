"""Parity with the public reference on its golden files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arietta.errors import MidiError
from arietta.midi import pedal, reader
from arietta.midi.notes import NoteTable, PedalTable, note_table, pedal_table, program_table
from arietta.midi.overlaps import resolve_overlaps
from arietta.midi.piece import Piece
from arietta.midi.tempo import TempoMap
from arietta.midi.writer import write_reference
from tests.midi.columns import note_rows, pedal_rows, program_rows
from tests.midi.golden import golden_files

ERRORS = {
    "syn_bad_data_byte": ("data byte 0xC8 is above 127", 25),
    "syn_not_midi": ("not a MIDI file: it does not start with MThd", 0),
    "syn_truncated": ("a chunk claims 35 bytes, 26 are left", 14),
}


@pytest.fixture(params=["repository", "shared"])
def folder(request: pytest.FixtureRequest) -> Path:
    if request.param == "repository":
        return Path(request.getfixturevalue("golden_dir")) / "aria"
    return Path(request.getfixturevalue("shared_dir")) / "golden" / "aria"


def table(rows: list[list[int]]) -> NoteTable:
    pitch, velocity, onset, offset, channel = np.array(rows, np.int64).reshape(-1, 5).T
    return note_table(onset, offset, pitch, velocity, channel)


def pedals(rows: list[list[int]]) -> PedalTable:
    tick, channel, value = np.array(rows, np.int64).reshape(-1, 3).T
    return pedal_table(tick, value, channel)


def reference_events(data: bytes) -> list[list[Any]]:
    """[tick, type, fields] of a written one-track file, as the golden files list them."""
    assert data[:8] == b"MThd\0\0\0\6" and data[10:12] == b"\0\1"
    at, tick, status, events = 22, 0, 0, list[list[Any]]()
    while at < len(data):
        delta = 0
        while data[at] > 127:
            delta, at = delta << 7 | data[at] & 127, at + 1
        tick += delta << 7 | data[at]
        at += 1
        if data[at] > 127:
            status, at = data[at], at + 1
        if status == 0xFF:
            kind, size = data[at], data[at + 1]
            content, at = data[at + 2 : at + 2 + size], at + 2 + size
            if kind == 0x51:
                events.append([tick, "set_tempo", {"tempo": int.from_bytes(content, "big")}])
            else:
                events.append([tick, "end_of_track", {}])
            continue
        fields: dict[str, int] = {"channel": status & 15}
        if status & 0xF0 == 0xC0:
            name, fields["program"], size = "program_change", data[at], 1
        elif status & 0xF0 == 0xB0:
            name, size = "control_change", 2
            fields.update(control=data[at], value=data[at + 1])
        else:
            name, size = "note_on", 2
            fields.update(note=data[at], velocity=data[at + 1])
        events.append([tick, name, fields])
        at += size
    return events


def test_parsed_columns(folder: Path) -> None:
    for name, data, expected in golden_files(folder):
        if "parse_error" in expected:
            with pytest.raises(MidiError) as caught:
                reader.read_bytes(data)
            assert (caught.value.reason, caught.value.byte_offset) == ERRORS[name]
            continue
        piece, parse = reader.read_bytes(data, compat="aria"), expected["parse"]
        tempo = [
            list(row)
            for row in zip(
                piece.tempo.tick.tolist(), piece.tempo.us_per_quarter.tolist(), strict=True
            )
        ]
        assert piece.tempo.division == parse["ticks_per_beat"], name
        assert tempo == parse["tempo"], name
        assert program_rows(piece) == parse["program"], name
        assert [text for _, text in piece.text] == [text for _, text in parse["text"]], name
        assert note_rows(piece.notes) == parse["notes"], name
        if "pedal" in parse:
            assert pedal_rows(piece) == parse["pedal"], name
        else:
            assert len(piece.pedals) == parse["pedal_count"], name
        assert pedal.reference_hash(piece) == parse["hash"], name


def test_helper_operations_on_files(folder: Path) -> None:
    checked = 0
    for name, data, expected in golden_files(folder):
        if "resolve_pedal_notes" in expected:
            piece = reader.read_bytes(data, compat="aria")
            resolved = pedal.resolve_pedal(piece)
            assert note_rows(resolved.notes) == expected["resolve_pedal_notes"], name
            quiet = pedal.remove_redundant_pedals(piece)
            assert pedal_rows(quiet) == expected["non_redundant_pedal"], name
            checked += 1
    assert checked > 40


def test_written_files(folder: Path) -> None:
    checked = 0
    for name, _, expected in golden_files(folder):
        detokenised = expected.get("detokenised", {})
        if "midi_sha256" not in detokenised:
            continue
        tick, channel, program = np.array(detokenised["program"]).reshape(-1, 3).T
        piece = Piece(
            TempoMap.constant(),
            table(detokenised["notes"]),
            programs=program_table(tick, program, channel),
        )
        data = write_reference(piece)
        if "midi_events" in detokenised:
            assert reference_events(data) == detokenised["midi_events"], name
        assert hashlib.sha256(data).hexdigest() == detokenised["midi_sha256"], name
        checked += 1
    assert checked > 50


def test_helper_operations(golden_dir: Path) -> None:
    cases = json.loads((golden_dir / "aria" / "midi_ops.json").read_text())
    tempo = TempoMap.constant()
    for case in cases["resolve_overlaps"]:
        assert note_rows(resolve_overlaps(table(case["in"]))) == case["out"]
    for case in cases["enforce_gaps"]:
        piece = Piece(tempo, table(case["in"]))
        cut = pedal.enforce_gaps(piece, case["min_gap_ms"], case["min_length_ms"])
        assert note_rows(cut.notes) == case["out"]
    for case in cases["apply_pedal_threshold"]:
        events = pedals(case["in"])
        state, changed = pedal.pedal_states(events, case["threshold"], case["buffer"])
        rows = [
            [*row, int(down)]
            for row, down, change in zip(case["in"], state.tolist(), changed.tolist(), strict=True)
            if change or not case["transitions_only"]
        ]
        assert rows == case["out"]
        plain = pedal.apply_threshold(
            events, case["threshold"], case["buffer"], transitions_only=case["transitions_only"]
        )
        assert plain.value.tolist() == [127 * down for *_, down in case["out"]]
    for case in cases["remove_redundant_pedals"]:
        piece = Piece(tempo, table(case["notes"]), pedals(case["in"]))
        assert pedal_rows(pedal.remove_redundant_pedals(piece)) == case["out"]
