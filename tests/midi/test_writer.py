"""What is written reads back; every file is valid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arietta.errors import OutputError, UsageError
from arietta.midi.notes import ExtraTable, NoteTable, note_table, pedal_table, program_table
from arietta.midi.piece import Piece
from arietta.midi.reader import read_bytes
from arietta.midi.tempo import TempoMap
from arietta.midi.writer import save_midi, write_midi, write_reference
from tests.midi.columns import note_rows, pedal_rows, program_rows
from tests.midi.files import midi_file
from tests.midi.golden import golden_files

Row = tuple[int, int, int, int, int, int]


def table(rows: Sequence[Row]) -> NoteTable:
    """Rows of (onset, length, pitch, velocity, channel, track)."""
    onset, length, pitch, velocity, channel, track = np.array(rows, np.int64).reshape(-1, 6).T
    notes = note_table(onset, onset + length, pitch, velocity, channel, track)
    return notes.take(np.argsort(onset, kind="stable"))


rows = st.lists(
    st.tuples(
        st.integers(0, 60),
        st.integers(0, 25),
        st.integers(60, 62),
        st.integers(1, 127),
        st.sampled_from((0, 0, 9)),
        st.sampled_from((0, 0, 1)),
    ),
    max_size=25,
)
apart = st.lists(
    st.tuples(st.integers(0, 300), st.integers(1, 5000), st.integers(0, 127), st.integers(1, 127)),
    max_size=60,
)


def same_notes(piece: Piece, other: Piece) -> bool:
    def sort(notes: NoteTable) -> list[tuple[list[int], int]]:
        return sorted(zip(note_rows(notes), notes.track.tolist(), strict=True))

    return sort(piece.notes) == sort(other.notes)


@given(apart)
def test_notes_that_do_not_overlap_read_back(events: list[tuple[int, int, int, int]]) -> None:
    start: dict[int, int] = {}
    made: list[Row] = []
    for gap, length, pitch, velocity in events:
        onset = start.get(pitch, 0) + gap
        made.append((onset, length, pitch, velocity, 0, 0))
        start[pitch] = onset + length
    piece = Piece(TempoMap.constant(), table(made))
    assert same_notes(read_bytes(write_midi(piece)), piece)


@given(rows)
def test_any_notes_make_a_valid_file(made: list[Row]) -> None:
    piece = Piece(TempoMap.constant(), table(made))
    read = read_bytes(write_midi(piece))
    assert np.all(read.notes.offset_tick > read.notes.onset_tick)
    # Nothing is invented: every note that is read was written, perhaps longer.
    written = {
        (onset, pitch, velocity, channel, track): length
        for onset, length, pitch, velocity, channel, track in sorted(made, key=lambda row: row[1])
    }
    for (pitch, velocity, onset, offset, channel), track in zip(
        note_rows(read.notes), read.notes.track.tolist(), strict=True
    ):
        assert offset - onset <= written[onset, pitch, velocity, channel, track]
    # Every first stroke of a key at a tick is there, and what was read is written back exactly.
    lasting = {(row[0], row[2], row[4], row[5]) for row in made if row[1] > 0}
    ends = {(row[2], row[4], row[5], row[0]) for row in made if row[1] == 0}
    if not ends:
        strokes = zip(
            read.notes.onset_tick.tolist(),
            read.notes.pitch.tolist(),
            read.notes.channel.tolist(),
            read.notes.track.tolist(),
            strict=True,
        )
        assert set(strokes) == lasting
    assert same_notes(read_bytes(write_midi(read)), read)


def test_golden_files_survive(golden_dir: Path) -> None:
    for name, data, expected in golden_files(golden_dir / "aria"):
        if "parse_error" in expected:
            continue
        piece = read_bytes(data)
        written = write_midi(piece)
        again = read_bytes(written)
        assert same_notes(piece, again), name
        assert pedal_rows(piece) == pedal_rows(again), name
        assert program_rows(piece) == program_rows(again), name
        assert piece.text == again.text, name
        assert sorted(piece.extra.data) == sorted(again.extra.data), name
        assert piece.time_signatures == again.time_signatures, name
        assert piece.track_names == again.track_names, name
        assert piece.tempo.division == again.tempo.division, name
        assert piece.tempo.tick.tolist() == again.tempo.tick.tolist(), name
        assert piece.tempo.us_per_quarter.tolist() == again.tempo.us_per_quarter.tolist(), name
        assert write_midi(again) == write_midi(read_bytes(write_midi(again))), name


def test_order_at_one_tick() -> None:
    piece = Piece(
        TempoMap.constant(),
        table([(0, 10, 60, 64, 0, 0), (10, 10, 60, 65, 0, 0)]),
        pedal_table([10], [127]),
        program_table([10], [5]),
        ExtraTable(np.array([10, 10]), np.zeros(2, np.int32), (b"\xb0\x00\x01", b"\xff\x06hi")),
    )
    body = write_midi(piece)[22:]
    assert body == (
        b"\x00\xff\x51\x03\x07\xa1\x20"  # tempo
        b"\x00\x90\x3c\x40"
        b"\x0a\xff\x06\x02hi"
        b"\x00\xb0\x00\x01"  # bank before program
        b"\x00\xc0\x05"
        b"\x00\x90\x3c\x00"  # off, pedal, on
        b"\x00\xb0\x40\x7f"
        b"\x00\x90\x3c\x41"
        b"\x0a\x3c\x00"
        b"\x00\xff\x2f\x00"
    )


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        # A stroke during a note of the same key ends it.
        ([(0, 20, 60, 1, 0, 0), (10, 20, 60, 2, 0, 0)], [(0, 10), (10, 30)]),
        # Notes that end together stay whole: one note-off means both.
        ([(0, 20, 60, 1, 0, 0), (10, 10, 60, 2, 0, 0)], [(0, 20), (10, 20)]),
        # A note inside another: what is left of the long one cannot be written.
        ([(0, 30, 60, 1, 0, 0), (10, 10, 60, 2, 0, 0)], [(0, 10), (10, 20)]),
        # Three in a chain: a note that is cut no longer ends with the one before it.
        (
            [(0, 20, 60, 1, 0, 0), (10, 10, 60, 2, 0, 0), (15, 15, 60, 3, 0, 0)],
            [(0, 10), (10, 15), (15, 30)],
        ),
        # Other channels and tracks are other keys.
        ([(0, 30, 60, 1, 0, 0), (10, 10, 60, 2, 1, 0)], [(0, 30), (10, 20)]),
        ([(0, 30, 60, 1, 0, 0), (10, 10, 60, 2, 0, 1)], [(0, 30), (10, 20)]),
        # No length, no note.
        ([(0, 0, 60, 1, 0, 0), (10, 10, 60, 2, 0, 0)], [(10, 20)]),
    ],
)
def test_overlaps(made: list[Row], expected: list[tuple[int, int]]) -> None:
    notes = read_bytes(write_midi(Piece(TempoMap.constant(), table(made)))).notes
    assert list(zip(notes.onset_tick.tolist(), notes.offset_tick.tolist(), strict=True)) == expected


def test_format_follows_the_tracks() -> None:
    one = Piece(TempoMap.constant(), table([(0, 10, 60, 64, 0, 0)]))
    two = replace(one, notes=table([(0, 10, 60, 64, 0, 0), (0, 10, 62, 64, 0, 2)]))
    assert write_midi(one)[8:12] == b"\0\0\0\1"
    assert write_midi(two)[8:12] == b"\0\1\0\3"


def test_texts_are_added_once() -> None:
    piece = read_bytes(midi_file([b"\0\xff\1\2hi\0\xff\1\2hi\0\xff\2\1c"]))
    again = read_bytes(write_midi(piece, extra_text=["made by ©", "音"]))
    assert [text for _, text in again.text] == ["made by ©", "音", "hi", "hi", "c"]
    new = Piece(TempoMap.constant(), piece.notes, text=((3, "late"), (0, "early")))
    assert read_bytes(write_midi(new)).text == ((0, "early"), (3, "late"))


def test_smpte_division_is_kept() -> None:
    piece = read_bytes(midi_file([b"\0\x90\x3c\x40\x60\x3c\0"], division=-25 * 256 + 40))
    assert read_bytes(write_midi(piece)).duration_ms.tolist() == [96.0]


@pytest.mark.parametrize(
    "broken",
    [
        lambda p: replace(p, notes=table([(-1, 10, 60, 64, 0, 0)])),
        lambda p: replace(p, notes=table([(0, 2**28, 60, 64, 0, 0)])),
        lambda p: replace(p, tempo=TempoMap.constant(500, 2**24)),
        lambda p: replace(p, tempo=TempoMap.constant(0)),
        lambda p: replace(p, tempo=TempoMap.constant(40_000)),
    ],
)
def test_what_no_file_can_hold(broken: object) -> None:
    assert callable(broken)
    piece = broken(Piece(TempoMap.constant(), table([])))
    for write in (write_midi, write_reference):
        with pytest.raises(UsageError):
            write(piece)


def test_saving(tmp_path: Path) -> None:
    piece = Piece.from_ms([0, 500], [400, 400], [60, 64], [80, 81])
    path = tmp_path / "out.mid"
    piece.save(path)
    assert path.read_bytes() == piece.to_bytes()
    with pytest.raises(OutputError, match="exists already"):
        piece.save(path)
    save_midi(piece, path, force=True, extra_text=["made here"])
    assert read_bytes(path.read_bytes()).text == ((0, "made here"),)
    with pytest.raises(OutputError, match="no directory"):
        piece.save(tmp_path / "missing" / "out.mid")
    with pytest.raises(OutputError, match="is a directory"):
        piece.save(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["out.mid"]


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("arietta.midi.writer.os.fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        Piece.from_ms([0], [1], [60], [80]).save(tmp_path / "out.mid")
    assert list(tmp_path.iterdir()) == []
