"""One note for every note-on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arietta.errors import InputError, MidiError
from arietta.midi.note_ons import read_note_ons
from arietta.midi.reader import read_bytes
from tests.midi.files import midi_file

END = b"\x00\xff\x2f\x00"


def rows(data: bytes) -> list[tuple[int, int, int, int]]:
    notes = read_note_ons(data).notes
    columns = (notes.onset_tick, notes.offset_tick, notes.pitch, notes.velocity)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_the_first_note_off_ends_the_first_note_on() -> None:
    data = midi_file([b"\x00\x90\x3c\x50\x0a\x90\x3c\x51\x0a\x80\x3c\x00\x0a\x80\x3c\x00" + END])
    assert rows(data) == [(0, 20, 60, 80), (10, 30, 60, 81)]


def test_notes_without_length_or_end_are_kept() -> None:
    data = midi_file([b"\x00\x90\x3c\x50\x00\x80\x3c\x00\x05\x90\x40\x50\x14\xff\x2f\x00"])
    assert rows(data) == [(0, 0, 60, 80), (5, 25, 64, 80)]


@settings(max_examples=50)
@given(st.data())
def test_every_note_on_is_a_note(data: st.DataObject) -> None:
    event = st.tuples(
        st.integers(0, 9),
        st.sampled_from([0x80, 0x90, 0x91]),
        st.sampled_from([60, 61]),
        st.integers(0, 127),
    )
    events = data.draw(st.lists(event, max_size=30))
    blob = midi_file([b"".join(map(bytes, events)) + END])
    piece = read_note_ons(blob)
    times = np.cumsum([e[0] for e in events], dtype=np.int64)
    wanted = sorted(
        (int(t), e[2], e[3]) for t, e in zip(times, events, strict=True) if e[1] >= 0x90 and e[3]
    )
    notes = piece.notes
    got = zip(notes.onset_tick.tolist(), notes.pitch.tolist(), notes.velocity.tolist(), strict=True)
    assert sorted(got) == wanted
    assert np.all(notes.offset_tick >= notes.onset_tick)


def test_simple_files_read_alike(prompts_dir: Path) -> None:
    path = prompts_dir / "waltz.mid"
    ours, theirs = read_note_ons(path), read_bytes(path.read_bytes())
    assert len(ours) == len(theirs)
    assert np.array_equal(np.sort(ours.notes.onset_tick), np.sort(theirs.notes.onset_tick))
    assert np.array_equal(ours.pedals.tick, theirs.pedals.tick)


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.mid"):
        read_note_ons(tmp_path / "gone.mid")
    (tmp_path / "big.mid").write_bytes(b"M" * 100)
    with pytest.raises(MidiError, match="larger than 50"):
        read_note_ons(tmp_path / "big.mid", max_bytes=50)
