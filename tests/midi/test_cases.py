"""The files of ``tests/cases/midi``: what each kind of fault reads as, and siblings of it."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from arietta.errors import MidiError
from arietta.midi.doubts import doubts
from arietta.midi.instruments import remove_ignored
from arietta.midi.merged import merge_tracks
from arietta.midi.note_ons import read_note_ons
from arietta.midi.pedal import pedal_offsets
from arietta.midi.piece import Piece
from arietta.midi.reader import read, read_bytes
from arietta.tokenizers.aria import AriaTokenizer
from arietta.tokenizers.pianist import PianistTokenizer
from tests.midi.files import chunk, midi_file, rmid

CASES = Path(__file__).parent.parent / "cases" / "midi"
ON, OFF = b"\0\x90\x3c\x40", b"\x60\x80\x3c\x40"
END = b"\0\xff\x2f\0"


def case(name: str) -> Piece:
    return read(CASES / f"{name}.mid")


def spans(piece: Piece) -> list[tuple[int, int]]:
    return list(zip(piece.notes.onset_tick.tolist(), piece.notes.offset_tick.tolist(), strict=True))


def by_hand(data: bytes) -> Piece:
    return read_bytes(data, strict=False)


# ---- files that players open ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "notes", "said"),
    [
        ("alien_chunk_counted", 8, "promises 3 tracks, the file holds 2"),
        ("header_one_track_less", 16, "promises 2 tracks, the file holds 3"),
        ("tail_broken_chunk", 8, "a broken track behind the last"),
        ("end_of_track_padding", 8, "behind the end of a track"),
        ("cc_value_255", 8, "read as 127 (byte 34)"),
        ("running_status_after_sysex", 11, "running status"),
        ("tempo_two_bytes", 8, "tempo event"),
        ("negative_delta", 9, "start before the clip"),
    ],
)
def test_damage_is_mended_and_named(name: str, notes: int, said: str) -> None:
    piece = case(name)
    assert len(piece) == notes
    assert len(piece.notices) == 1 and said in piece.notices[0]
    assert doubts(piece)[0] == piece.notices[0]
    # The mended file is whole: it is read again without a word, also by the strict reader.
    again = read_bytes(piece.to_bytes())
    assert len(again) == notes and not again.notices
    assert len(by_hand(piece.to_bytes()).notices) == 0


@pytest.mark.parametrize("name", ["cc_value_255", "tempo_two_bytes", "running_status_after_sysex"])
def test_datasets_stay_strict(name: str) -> None:
    with pytest.raises(MidiError):
        read(CASES / f"{name}.mid", strict=True)


@pytest.mark.parametrize(
    ("data", "notes"),
    [
        # Padding of any length and content behind the end.
        *(
            (midi_file([ON + OFF + END + bytes([fill]) * n]), 1)
            for fill in (0, 255)
            for n in (1, 7)
        ),
        (midi_file([ON + OFF + END + b"\0\x90\x40\x40\x60\x40\0"]), 1),
        # Any number in the header.
        (midi_file([ON + OFF, ON + OFF], count=1), 2),
        (midi_file([ON + OFF, ON + OFF], count=9), 2),
        (midi_file([ON + OFF], count=0), 1),
        (midi_file([ON + OFF], count=65_535), 1),
        # A data byte above 127 in any kind of message.
        (midi_file([ON + b"\0\x90\x40\xc0" + OFF + b"\0\x80\x40\0"]), 2),
        (midi_file([ON + b"\0\xc0\x80" + OFF]), 1),
        (midi_file([ON + b"\0\xe0\0\x90" + OFF]), 1),
        # Running status behind any system message.
        (midi_file([ON + b"\0\xf0\1\xf7" + b"\x60\x3c\0"]), 1),
        (midi_file([ON + b"\0\xf7\1\xf7" + b"\x60\x3c\0"]), 1),
        (midi_file([ON + b"\0\xf8" + b"\x60\x3c\0"]), 1),
        # Short tempo events.
        (midi_file([b"\0\xff\x51\0" + ON + OFF]), 1),
        (midi_file([b"\0\xff\x51\1\7" + ON + OFF]), 1),
        # A last track that is cut anywhere behind its first note.
        *((midi_file([ON + OFF + ON + OFF + END])[:-n], 1 + (n < 5)) for n in (1, 3, 5, 9, 12)),
        # Wrong lengths of a track that is not the last.
        (
            b"MThd\0\0\0\6\0\1\0\2\1\xe0MTrk\0\0\0\x05"
            + (ON + OFF + END)
            + chunk(b"MTrk", ON + OFF),
            2,
        ),
        (
            b"MThd\0\0\0\6\0\1\0\2\1\xe0MTrk\0\0\1\0" + (ON + OFF + END) + chunk(b"MTrk", ON + OFF),
            2,
        ),
    ],
)
def test_siblings_are_mended(data: bytes, notes: int) -> None:
    piece = by_hand(data)
    assert len(piece) == notes
    assert piece.notices
    assert len(read_bytes(piece.to_bytes())) == notes
    assert len(by_hand(rmid(data))) == notes


def test_what_is_no_music_stays_refused() -> None:
    for data in (
        b"",
        b"MThd\0\0\0\6\0\1\0\1\1\xe0",
        midi_file([bytes(range(256)) * 4]),
        midi_file([b"\0\x3c\x40" * 50]),
        midi_file([ON + OFF], division=0),
    ):
        with pytest.raises(MidiError):
            by_hand(data)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (gzip.compress(midi_file([ON + OFF]), mtime=0), "gunzip"),
        (bytes(1) + b"\4name" + bytes(122) + midi_file([ON + OFF]), "MacBinary.*tail"),
        (b"SMF2CLIP" + bytes(40), "MIDI 2.0 clip"),
        (b"<?xml version='1.0'?><!DOCTYPE score-partwise>", "MusicXML.*arietta render"),
        ("﻿<?xml version='1.0'?>\n<score-partwise>".encode("utf-16"), "MusicXML"),
        (b"<?xml version='1.0'?><mei xmlns='x'>", "MEI.*arietta render"),
        (b"PK\3\4" + bytes(26) + b"META-INF/container.xml", "MusicXML.*arietta render"),
        (b"**kern\t**kern\n", "kern.*arietta render"),
        (b"X:1\nT:Tune\nK:C\nCDEF", "ABC.*arietta render"),
        (b"RIFF\0\0\0\0WAVEfmt ", "WAVE"),
        (b"ID3\4" + bytes(40), "MP3"),
    ],
)
def test_alien_formats_are_named(data: bytes, said: str) -> None:
    for strict in (True, False):
        with pytest.raises(MidiError, match=said):
            read_bytes(data, strict=strict)


def test_every_reader_sees_the_same_tracks() -> None:
    data = (CASES / "header_one_track_less.mid").read_bytes()
    tail = (CASES / "tail_broken_chunk.mid").read_bytes()
    for given, strict, count in ((data, True, 8), (data, False, 16), (tail, True, 8)):
        piece = read_bytes(given, strict=strict)
        strokes = read_note_ons(given, strict=strict)
        assert len(piece) == len(strokes) == count
        assert len(read_note_ons(rmid(given), strict=strict)) == count
        assert len(PianistTokenizer().encode(piece)) // 8 == len(merge_tracks(piece))


# ---- what the messages mean -------------------------------------------------------------------


def test_notes_that_controllers_end() -> None:
    piece = case("notes_end_by_cc123")
    assert len(piece) == 7
    assert any("6 notes ended by All Sound Off" in line for line in doubts(piece))
    assert len(read(CASES / "notes_end_by_cc123.mid", compat="aria")) == 1


@pytest.mark.parametrize("number", [120, 123, 124, 127])
def test_every_mode_message_ends_the_notes_of_its_channel(number: int) -> None:
    end = bytes((0x30, 0xB0, number, 0))
    for other, expected in ((b"", [(0, 0x30)]), (b"\0\xb1\x7b\0", [(0, 0x30)])):
        assert spans(read_bytes(midi_file([ON + other + end + OFF]))) == expected
        assert spans(read_bytes(midi_file([ON + other + end]))) == expected
    # In another track as well; on another channel not.
    assert spans(read_bytes(midi_file([ON + OFF, end]))) == [(0, 0x30)]
    wrong = bytes((0x30, 0xB5, number, 0))
    assert spans(read_bytes(midi_file([ON + wrong + OFF]))) == [(0, 0x90)]
    # At the tick of the onset it stands before the note.
    assert spans(read_bytes(midi_file([bytes((0, 0xB0, number, 0)) + ON + OFF]))) == [(0, 0x60)]


def test_unended_notes_last_to_the_end_of_their_track() -> None:
    data = midi_file([ON + b"\x40\x90\x40\x40\x40\x40\0" + b"\x10\xff\x2f\0"])
    piece = read_bytes(data)
    assert spans(piece) == [(0, 0x90), (0x40, 0x80)]
    assert any("1 notes without a note-off" in line for line in doubts(piece))
    assert len(read_bytes(data, compat="aria")) == 1
    # A note-off in another track ends them.
    assert spans(read_bytes(midi_file([ON, b"\x20\x80\x3c\0"]))) == [(0, 0x20)]
    # One that is off at its own tick does not hang.
    assert spans(read_bytes(midi_file([ON + b"\0\x80\x3c\0" + b"\x40\xff\x2f\0"]))) == []


def test_notes_without_length_are_counted() -> None:
    piece = case("zero_length")
    assert len(piece) == 4
    assert "4 notes of no length: left out" in doubts(piece)


def test_reset_controllers_lifts_the_pedal() -> None:
    piece = case("reset_controllers_lifts_pedal")
    assert pedal_offsets(piece)[0] == piece.pedals.tick[1] == 960
    public = read(CASES / "reset_controllers_lifts_pedal.mid", compat="aria")
    assert pedal_offsets(public)[0] > 960
    pedal = b"\0\xb0\x40\x7f" + ON + OFF
    reset = read_bytes(midi_file([pedal + b"\x40\xb0\x79\0" + b"\x40\x90\x30\x40\x40\x30\0"]))
    assert reset.pedals.value.tolist() == [127, 0]
    other = read_bytes(midi_file([pedal + b"\x40\xb1\x79\0" + b"\x40\x90\x30\x40\x40\x30\0"]))
    assert other.pedals.value.tolist() == [127]
    both = read_bytes(midi_file([b"\0\xb0\x79\0" + pedal]))
    assert both.pedals.value.tolist() == [127]


@pytest.mark.parametrize(("micros", "seconds"), [(1_000_000, 5.917), (250_000, 3.0)])
def test_120_holds_up_to_the_first_tempo(micros: int, seconds: float) -> None:
    data = (CASES / "late_tempo.mid").read_bytes()
    data = data.replace((1_000_000).to_bytes(3, "big"), micros.to_bytes(3, "big"))
    piece = by_hand(data)
    if micros == 1_000_000:
        assert piece.end_ms / 1000 == pytest.approx(seconds, abs=0.001)
    assert piece.tempo.ms_at(1920) == pytest.approx(2000)
    assert piece.tempo.tick_at(2000) == 1920
    assert any("first tempo stands at tick 1920" in line for line in doubts(piece))
    # The public arithmetic is kept: it counts nothing before a single late tempo.
    assert piece.tempo.distance_ms(0, [480, 1920], compat="aria").tolist() == [0.0, 0.0]


def test_a_tempo_of_0_is_ignored() -> None:
    piece = case("tempo_zero")
    assert piece.end_ms == pytest.approx(6000, abs=100)
    assert any("a tempo of 0 at tick 0" in line for line in doubts(piece))
    assert sum("tempo" in line for line in doubts(piece)) == 1
    # What is too long is no damage where its first bytes are a tempo.
    longer = midi_file([b"\0\xff\x51\4\7\xa1\x20\0" + ON + OFF])
    assert not [line for line in doubts(read_bytes(longer)) if "tempo" in line]
    both = read_bytes(midi_file([b"\0\xff\x51\3\7\xa1\x20" + ON + b"\x20\xff\x51\3\0\0\0" + OFF]))
    assert both.duration_ms.tolist() == pytest.approx([128 / 480 * 500])


def test_patterns_of_format_2_follow_one_another() -> None:
    piece = case("format_2")
    first = piece.notes.track == 0
    assert piece.notes.offset_tick[first].max() <= piece.notes.onset_tick[~first].min()
    assert any("format 2" in line for line in doubts(piece))
    assert piece.to_bytes()[8:10] == b"\0\2"
    strokes = read_note_ons(CASES / "format_2.mid")
    assert strokes.notes.onset_tick.tolist() == piece.notes.onset_tick.tolist()


def test_programs_count_where_notes_sound() -> None:
    piece = case("program_after_the_music")
    assert remove_ignored(piece) is piece
    assert len(AriaTokenizer("piano").encode(piece)) > 20
    assert len(remove_ignored(piece, compat="aria")) == 0
    # One that another replaces before any note does not sound either; one at the note's tick does.
    reset = midi_file([b"\0\xc0\x7a\0\xc0\0" + ON + OFF + b"\0\xc0\x60"])
    assert len(remove_ignored(read_bytes(reset))) == 1
    loud = midi_file([b"\0\xc0\0" + ON + OFF + b"\0\xc0\x7a" + ON + OFF])
    assert len(remove_ignored(read_bytes(loud))) == 0


# ---- texts ------------------------------------------------------------------------------------


def test_texts_are_utf8_where_they_can_be() -> None:
    piece = case("name_utf8")
    assert piece.track_names == {0: "Prélude № 4 – 音"}
    mixed = midi_file([b"\0\xff\1\2\xc3\xa9\0\xff\1\1\xe9" + b"\0\xff\1\3\xed\xa0\x80" + ON + OFF])
    texts = [text for _, text in read_bytes(mixed).text]
    assert texts == ["é", "é", "\xed\xa0\x80"]  # a surrogate is no UTF-8


@pytest.mark.parametrize("tail", ["00", "0000", "2000", "0d0a"])
def test_names_are_trimmed(tail: str) -> None:
    name = b"Piano" + bytes.fromhex(tail)
    data = midi_file([b"\0\xff\3" + bytes([len(name)]) + name + ON + OFF])
    piece = read_bytes(data)
    assert piece.track_names == {0: "Piano"}
    assert piece.to_bytes() == data
    assert case("name_nul").track_names == {0: "Piano"}


def test_an_instrument_names_a_track_without_a_name() -> None:
    data = midi_file([b"\0\xff\4\3abc" + ON + OFF, b"\0\xff\4\3abc\0\xff\3\2de", b"\0\xff\3\0"])
    assert read_bytes(data).track_names == {0: "abc", 1: "de"}
