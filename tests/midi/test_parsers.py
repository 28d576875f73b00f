"""The three readings of the same rules agree: plain, bulk, compiled."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from arietta.midi import reader
from arietta.midi.parse import RawColumns
from tests.midi.columns import outcome
from tests.midi.files import damaged, hostile_files, midi_file, random_file, rmid
from tests.midi.plain_reader import parse_plainly

FAST: list[Callable[[bytes], RawColumns]] = [reader.parse_python]
if reader.parse_c is not None:
    FAST.append(reader.parse_c)

NOTE = b"\x00\x90\x3c\x40\x60\x80\x3c\x00"
HEADER = 22  # bytes before the first event of a one-track file


def small_files(golden_dir: Path) -> list[bytes]:
    paths = sorted((golden_dir / "aria" / "midi").glob("*.mid"))
    return [path.read_bytes() for path in paths if path.stat().st_size < 9000]


@pytest.mark.parametrize("parser", FAST)
def test_golden_files(parser: Callable[[bytes], RawColumns], golden_dir: Path) -> None:
    for path in sorted((golden_dir / "aria" / "midi").glob("*.mid")):
        data = path.read_bytes()
        assert outcome(parser, data) == outcome(parse_plainly, data), path.name
        assert outcome(parser, rmid(data)) == outcome(parse_plainly, rmid(data)), path.name


@pytest.mark.parametrize("parser", FAST)
def test_random_files(parser: Callable[[bytes], RawColumns]) -> None:
    rng = random.Random(5)
    for i in range(1000):
        data = random_file(rng)
        expected = outcome(parse_plainly, data)
        assert isinstance(expected, dict), (i, expected)
        assert outcome(parser, data) == expected, i


@pytest.mark.parametrize("parser", FAST)
def test_damaged_files(parser: Callable[[bytes], RawColumns], golden_dir: Path) -> None:
    rng, files = random.Random(7), small_files(golden_dir)
    readable = 0
    for i in range(2500):
        source = random_file(rng) if i % 2 else rng.choice(files)
        data = damaged(source, rng)
        expected = outcome(parse_plainly, data)
        readable += isinstance(expected, dict)
        assert outcome(parser, data) == expected, i
    assert 300 < readable < 2200  # the corpus tests both sides


def test_every_truncation_of_a_file(golden_dir: Path) -> None:
    data = (golden_dir / "aria" / "midi" / "syn_fuzz_002.mid").read_bytes()
    for parser in FAST:
        for end in range(len(data)):
            got = outcome(parser, data[:end])
            assert isinstance(got, tuple) and got == outcome(parse_plainly, data[:end])


def test_hostile_files_read_alike() -> None:
    if reader.parse_c is None:
        pytest.skip("needs the compiled reader")
    for name, data in hostile_files():
        if len(data) < 2_000_000:
            assert outcome(reader.parse_c, data) == outcome(reader.parse_python, data), name


@pytest.mark.parametrize(
    ("data", "reason", "offset"),
    [
        (b"", "the file is empty", 0),
        (b"MTrk" + bytes(40), "not a MIDI file: it does not start with MThd", 0),
        (b"MThd\0\0\0\6\0\0\0", "the header is cut off", 11),
        (b"MThd\0\0\0\5" + bytes(20), "the header is shorter than six bytes", 4),
        (midi_file([NOTE], division=0), "the header gives no ticks per quarter or frame", 12),
        (midi_file([NOTE], count=2), "the header promises 2 tracks, the file holds 1", 30),
        (midi_file([NOTE])[:-1], "a chunk claims 8 bytes, 7 are left", 14),
        (midi_file([NOTE[:-1]]), "an event runs past the end of its track", HEADER + 7),
        (midi_file([NOTE[:5]]), "an event runs past the end of its track", HEADER + 5),
        (midi_file([b"\x81"]), "an event runs past the end of its track", HEADER + 1),
        (midi_file([b"\0\xff"]), "an event runs past the end of its track", HEADER + 2),
        (midi_file([b"\0\xff\1\4abc"]), "an event runs past the end of its track", HEADER + 7),
        (midi_file([b"\0\x3c\0"]), "a data byte without a status byte before it", HEADER + 1),
        (midi_file([b"\0\xf6\0\x3c"]), "running status after a system message", HEADER + 3),
        (midi_file([b"\0\xf4"]), "undefined status byte 0xF4", HEADER + 1),
        (midi_file([b"\0\x90\x80\0"]), "data byte 0x80 is above 127", HEADER + 2),
        (midi_file([NOTE + b"\0\x90\1\xff"]), "data byte 0xFF is above 127", HEADER + 11),
        (midi_file([b"\0\xff\x51\2\1\2"]), "a tempo of fewer than three bytes", HEADER + 1),
        (
            midi_file([NOTE, b"\xc0\x80\x80\x80\x80\x00" + NOTE[1:]]),
            "a track lasts longer than 2**40 ticks",
            38,
        ),
        (b"RIFF\0\0\0\0RMIDLIST\0\0\0\0", "a RIFF container without a MIDI data chunk", 20),
    ],
)
def test_errors_say_what_and_where(data: bytes, reason: str, offset: int) -> None:
    for parser in (parse_plainly, *FAST):
        assert outcome(parser, data) == (reason, offset)
