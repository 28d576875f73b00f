"""Pieces later, and one after the other: every event is there, and sounds as before."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import arietta
from arietta.errors import InputError
from arietta.midi.events import END_OF_TRACK, Event
from arietta.midi.notes import note_table
from arietta.midi.piece import Piece
from arietta.midi.reader import read, read_bytes
from arietta.midi.seam import bar_at, join_bytes
from arietta.midi.sequence import delayed, one_after_the_other
from arietta.midi.tempo import TempoMap
from tests.midi.dump import dump

PROMPTS = Path(arietta.__file__).parent / "assets" / "prompts"
WALTZ, NOCTURNE = PROMPTS / "waltz.mid", PROMPTS / "nocturne.mid"


def beats(division: int, head: list[bytes], count: int = 12) -> Piece:
    """Return quarters on middle C behind some messages at tick 0."""
    track = [Event(0, message) for message in head]
    for i in range(count):
        track.append(Event(i * division, b"\x90\x3c\x40"))
        track.append(Event(i * division + division // 2, b"\x80\x3c\x40"))
    return read_bytes(join_bytes(division, [[*track, Event(track[-1].tick, END_OF_TRACK)]]))


METRE_3, TEMPO_90 = b"\xff\x58\x04\x03\x02\x18\x08", b"\xff\x51\x03" + (666_667).to_bytes(3, "big")


@pytest.mark.parametrize("path", [WALTZ, NOCTURNE])
@pytest.mark.parametrize("seconds", [0.3, 8.0])
def test_a_delayed_piece_sounds_as_before(path: Path, seconds: float) -> None:
    piece = read(path)
    made = delayed(piece, seconds)
    shift = made.piece.onset_ms - piece.onset_ms
    assert np.ptp(shift) < 0.01 and shift[0] >= seconds * 1000 - 1
    assert np.allclose(made.piece.duration_ms, piece.duration_ms)
    assert made.start_ms == 0 and made.end_ms == pytest.approx(made.piece.onset_ms.min())
    before, after = (dump(p.to_bytes()).tracks for p in (piece, made.piece))
    for old, new in zip(before, after, strict=True):
        assert Counter(message for _, message in old) == Counter(message for _, message in new)


def test_a_setting_behind_the_first_note_of_tick_0_stays_in_front() -> None:
    note, volume = Event(0, b"\x90\x3c\x40"), Event(0, b"\xb0\x07\x50")
    track = [note, volume, Event(480, b"\x80\x3c\x40"), Event(480, END_OF_TRACK)]
    made = delayed(read_bytes(join_bytes(480, [track])), 1.0)
    assert dump(made.piece.to_bytes()).tracks[0][:2] == [volume, (960, note.message)]


def test_on_bars_the_time_is_whole_bars() -> None:
    made = delayed(beats(480, [METRE_3, TEMPO_90]), 2.5)
    assert made.end_ms == pytest.approx(2 * 3 * 666.667, abs=1)
    assert made.piece.time_signatures == [(0, 3, 4)]


@pytest.mark.parametrize("division", [480, 500, 96, 384])
def test_two_pieces_follow_each_other_in_their_own_time(division: int) -> None:
    first, second = beats(480, [METRE_3, TEMPO_90]), beats(division, [b"\xc0\x05"], 7)
    made = one_after_the_other(first, second, 3.0)
    whole = made.piece
    assert len(whole) == len(first) + len(second)
    early = whole.onset_ms < made.end_ms - 1
    assert np.allclose(whole.onset_ms[early], first.onset_ms, atol=0.05)
    later = whole.onset_ms[~early]
    assert np.allclose(later - later[0], second.onset_ms, atol=0.05)
    assert made.start_ms == pytest.approx(first.end_ms)
    assert made.end_ms >= made.start_ms + 3_000
    # It begins on a line of the first's bars, with a metre and a tempo of its own.
    begin = int(whole.notes.onset_tick[~early][0])
    assert bar_at(whole, begin - 1).end == begin
    assert whole.time_signatures[-1][0] == begin and whole.time_signatures[-1][1:] == (4, 4)


def test_what_the_first_piece_leaves_does_not_colour_the_second() -> None:
    first = beats(480, [b"\xc0\x05", b"\xb0\x07\x14", b"\xb0\x40\x7f"])
    whole = one_after_the_other(first, beats(480, []), 1.0).piece
    begin = int(whole.notes.onset_tick[12])
    messages = [
        message for track in dump(whole.to_bytes()).tracks for tick, message in track
        if tick == begin
    ]  # fmt: skip
    assert b"\xc0\x00" in messages and b"\xb0\x07\x64" in messages
    assert whole.pedals.value.tolist()[-1] == 0 and whole.pedals.tick[-1] < begin


def test_pieces_without_notes_or_quarters_are_refused() -> None:
    empty = Piece(TempoMap.constant(), note_table([], [], [], []))
    frames = Piece(
        TempoMap(-(25 << 8) | 40, np.zeros(1, np.int64), np.full(1, 500_000)),
        note_table([0], [10], [60], [64]),
    )
    with pytest.raises(InputError, match="no notes"):
        delayed(empty, 1.0)
    for one, two in ((empty, frames), (frames, beats(480, []))):
        with pytest.raises(InputError, match=r"no notes|frames"):
            one_after_the_other(one, two, 1.0)
