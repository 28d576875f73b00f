"""What a file becomes: specification section A.1, and what is better than the reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from arietta.errors import InputError, MidiError
from arietta.midi.reader import read, read_bytes
from tests.midi.columns import note_rows, pedal_rows, program_rows
from tests.midi.files import chunk, midi_file, rmid

NOTE = b"\x00\x90\x3c\x40\x60\x80\x3c\x00"


def notes_of(*tracks: bytes) -> list[list[int]]:
    return note_rows(read_bytes(midi_file(tracks), compat="aria").notes)


def test_defaults() -> None:
    piece = read_bytes(midi_file([NOTE]), source="a.mid")
    assert note_rows(piece.notes) == [[60, 64, 0, 96, 0]]
    assert program_rows(piece) == [[0, 0, 0]]
    assert (piece.tempo.tick.tolist(), piece.tempo.us_per_quarter.tolist()) == ([0], [500_000])
    assert (piece.tempo.division, piece.source, piece.text) == (480, "a.mid", ())
    assert piece.duration_ms.tolist() == [100.0]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        # Two ons and one off: both end, the second off is a stray.
        (b"\0\x90\x3c\1\1\x3c\2\1\x3c\0\1\x3c\0", [[60, 1, 0, 2, 0], [60, 2, 1, 2, 0]]),
        # A zero-length pair leaves nothing behind, not even the on.
        (b"\0\x90\x3c\1\0\x3c\0\5\x3c\0", []),
        # An on at the off's tick outlives it where an earlier note ends there ...
        (b"\0\x90\x3c\1\2\x3c\2\0\x3c\0\1\x3c\0", [[60, 1, 0, 2, 0], [60, 2, 2, 3, 0]]),
        # ... and is forgotten by a second off at that tick.
        (b"\0\x90\x3c\1\2\x3c\2\0\x3c\0\0\x3c\0\1\x3c\0", [[60, 1, 0, 2, 0]]),
        # Never ended: dropped.
        (b"\0\x90\x3c\1\1\x3d\1\1\x3d\0", [[61, 1, 1, 2, 0]]),
        # Simultaneous notes stand in the order of their ends.
        (b"\0\x90\x3c\1\0\x3d\1\1\x3d\0\1\x3c\0", [[61, 1, 0, 1, 0], [60, 1, 0, 2, 0]]),
        # Channels are apart; note-offs may come as such or as velocity 0.
        (b"\0\x90\x3c\1\1\x81\x3c\0\1\x80\x3c\x7f", [[60, 1, 0, 2, 0]]),
        # Meta events leave running status alone, also in a run of bytes.
        (b"\0\x90\x3c\1\0\xff\1\1a\1\x3c\0", [[60, 1, 0, 1, 0]]),
        # Delta times of up to four bytes, and longer than needed.
        (b"\x81\0\x90\x3c\1\x80\x80\x80\x80\1\x3c\0", [[60, 1, 128, 129, 0]]),
    ],
)
def test_pairing(events: bytes, expected: list[list[int]]) -> None:
    assert notes_of(events) == expected


def test_tracks_keep_their_own_notes() -> None:
    on, off = b"\0\x90\x3c\x40", b"\5\x90\x3c\0"
    assert notes_of(on, off) == []
    assert notes_of(on + off, b"\0\x90\x30\x40\5\x30\0") == [[60, 64, 0, 5, 0], [48, 64, 0, 5, 0]]
    assert read_bytes(midi_file([on + off, on + off])).notes.track.tolist() == [0, 1]


def test_containers_and_alien_chunks() -> None:
    plain = midi_file([NOTE])
    alien = plain[:14] + chunk(b"XFIH", b"junk") + plain[14:] + b"trailing"
    for data in (rmid(plain), alien, b"MThd\0\0\0\x08" + plain[8:14] + b"ab" + plain[14:]):
        assert note_rows(read_bytes(data).notes) == [[60, 64, 0, 96, 0]]


@pytest.mark.parametrize(
    ("frames", "subframes", "ms_per_tick"), [(25, 40, 1.0), (24, 100, 1 / 2.4), (29, 100, 0.33367)]
)
def test_smpte_divisions_give_real_time(frames: int, subframes: int, ms_per_tick: float) -> None:
    piece = read_bytes(midi_file([NOTE], division=-frames * 256 + subframes))
    assert piece.duration_ms[0] == pytest.approx(96 * ms_per_tick, rel=1e-5)


def test_what_the_reference_crashes_on_is_read() -> None:
    odd_key = b"\0\xff\x59\2\x20\5"
    high_sysex = b"\0\xf0\3\x90\xff\xf7"
    piece = read_bytes(midi_file([odd_key + high_sysex + NOTE]))
    assert len(piece) == 1
    assert list(piece.extra.data) == [b"\xff\x59\x20\5", b"\xf0\x90\xff\xf7"]


def test_delta_times_of_unknown_meta_events_count() -> None:
    assert notes_of(b"\x10\xff\x60\1x" + NOTE) == [[60, 64, 16, 112, 0]]


def test_everything_else_is_carried_along() -> None:
    first = (
        b"\0\xff\3\4Left\0\xff\x58\4\3\3\x18\x08\0\xff\x59\2\xfd\1\0\xff\1\5a\xe9iou\0\xff\2\1C"
        b"\0\xb0\x43\x7f\0\x43\0\0\xa0\x3c\5\0\xd0\x09\0\xe0\1\x40\0\xc0\x05\0\xb0\x40\x50"
    )
    piece = read_bytes(midi_file([first + NOTE, b"\0\xff\3\5Right"]))
    assert piece.track_names == {0: "Left", 1: "Right"}
    assert piece.time_signatures == [(0, 3, 8)]
    assert piece.key_signatures == [(0, -3, True)]
    assert piece.text == ((0, "aéiou"), (0, "C"))
    assert list(piece.extra.data)[5:10] == [
        b"\xb0\x43\x7f",
        b"\xb0\x43\0",
        b"\xa0\x3c\5",
        b"\xd0\x09",
        b"\xe0\1\x40",
    ]
    assert program_rows(piece) == [[0, 0, 5]]
    assert pedal_rows(piece) == [[0, 0, 80]]
    assert piece.extra.track.tolist() == [0] * 10 + [1]


def test_messages_are_a_sequence() -> None:
    data = read_bytes(midi_file([b"\0\xff\1\1a\0\xff\1\2bc\0\xff\1\0"])).extra.data
    assert len(data) == 3
    assert (data[0], data[-1], data[1:]) == (b"\xff\1a", b"\xff\1", (b"\xff\1bc", b"\xff\1"))
    assert data == [b"\xff\1a", b"\xff\1bc", b"\xff\1"] and data != [b"\xff\1a"]
    with pytest.raises(IndexError):
        data[3]


def test_rows_of_tables_can_be_taken() -> None:
    extra = read_bytes(midi_file([b"\0\xff\1\1a\1\xff\1\2bc\1\xff\1\0"])).extra
    taken = extra.take(np.array([False, True, True]))
    assert (taken.tick.tolist(), list(taken.data)) == ([1, 2], [b"\xff\1bc", b"\xff\1"])


def test_files_are_read_by_name(tmp_path: Path) -> None:
    path = tmp_path / "ünï.mid"
    path.write_bytes(midi_file([NOTE]))
    assert read(path).source == str(path)
    with pytest.raises(MidiError, match="larger than 20 bytes"):
        read(path, max_bytes=20)
    path.write_bytes(b"")
    with pytest.raises(MidiError, match=r"ünï\.mid: the file is empty \(byte 0\)"):
        read(str(path))
    for bad in (tmp_path, tmp_path / "missing.mid", tmp_path / "missing" / "a.mid"):
        with pytest.raises(InputError, match="cannot be read"):
            read(bad)
