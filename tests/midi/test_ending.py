"""What is said of the end of a prompt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import arietta
from arietta.midi.ending import alone_from_ms, notices_of_the_end, ritard, silence_behind_ms
from arietta.midi.events import END_OF_TRACK, Event
from arietta.midi.notes import note_table
from arietta.midi.piece import Piece
from arietta.midi.reader import read, read_bytes
from arietta.midi.seam import join_bytes
from arietta.midi.tempo import TempoMap

PROMPTS = Path(arietta.__file__).parent / "assets" / "prompts"


def quarters(count: int, tempi: dict[int, float], end: int = 0) -> Piece:
    """Return quarters under tempi that begin on some of them, the file ending on one."""
    track = [
        Event(480 * at, b"\xff\x51\x03" + round(60e6 / bpm).to_bytes(3, "big"))
        for at, bpm in tempi.items()
    ]
    for i in range(count):
        track += [Event(480 * i, bytes((0x90, 60, 70))), Event(480 * i + 400, bytes((0x80, 60, 0)))]
    track.sort(key=lambda event: event.tick)
    track.append(Event(max(480 * end, track[-1].tick), END_OF_TRACK))
    return read_bytes(join_bytes(480, [track]))


@pytest.mark.parametrize(("usual", "slowest"), [(120, 60), (96, 70), (60, 40)])
def test_a_written_ritard_is_found(usual: float, slowest: float) -> None:
    piece = quarters(40, {0: usual, 36: (usual + slowest) / 2 * 0.95, 38: slowest})
    found = ritard(piece)
    assert found is not None
    assert (round(found.usual), round(found.last)) == (usual, slowest)
    assert found.start_ms == pytest.approx(36 * 60_000 / usual, abs=1)
    (said,) = notices_of_the_end(piece)
    assert f"`prompt_seconds` to {36 * 60 / usual:.1f}" in said


def test_what_is_no_ritard() -> None:
    assert ritard(quarters(40, {0: 120})) is None
    assert ritard(quarters(40, {0: 120, 38: 110})) is None
    assert ritard(quarters(40, {0: 60, 36: 120})) is None
    assert ritard(quarters(40, {0: 120, 20: 60, 30: 120})) is None  # back to tempo
    assert ritard(quarters(100, {0: 120, 50: 60})) is None  # a slow part
    assert ritard(Piece(TempoMap.constant(), note_table([], [], [], []))) is None


def test_silence_behind_the_last_release() -> None:
    piece = quarters(8, {0: 120}, end=24)
    assert silence_behind_ms(piece) == pytest.approx(24 * 500 - piece.end_ms)
    (said,) = notices_of_the_end(piece)
    assert "3.9 s, was taken" in said
    assert notices_of_the_end(quarters(8, {0: 120}, end=10)) == []


def test_notes_that_stand_alone_at_the_end() -> None:
    onset = np.append(np.arange(20) * 500.0, 20_000.0)
    piece = Piece.from_ms(onset, np.full(21, 400), np.full(21, 60), np.full(21, 70))
    assert alone_from_ms(piece) == 20_000
    (said,) = notices_of_the_end(piece)
    assert "last note comes 10.1 s" in said and "to 9.9" in said
    early = Piece.from_ms(onset[::-1].max() - onset[::-1], np.full(21, 400), [60] * 21, [70] * 21)
    assert alone_from_ms(early) is None


@pytest.mark.parametrize("name", ["waltz", "nocturne", "classical"])
def test_nothing_is_said_of_a_plain_end(name: str) -> None:
    assert notices_of_the_end(read(PROMPTS / f"{name}.mid")) == []
