"""What a piece says of itself: signatures, names, its end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from arietta.errors import OutputError
from arietta.midi.notes import ExtraTable, MessageList, note_table
from arietta.midi.piece import Piece
from arietta.midi.tempo import TempoMap


def with_meta(*messages: bytes) -> Piece:
    n = len(messages)
    extra = ExtraTable(
        np.arange(n, dtype=np.int64), np.zeros(n, np.int32), MessageList.pack(list(messages))
    )
    return Piece(TempoMap.constant(), note_table([0], [480], [60], [64]), extra=extra)


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"\x00\x00", (0, False)),
        (b"\x07\x00", (7, False)),
        (b"\x7f\x00", (127, False)),
        (b"\x80\x01", (-128, True)),
        (b"\xf9\x01", (-7, True)),
        (b"\xff\x00", (-1, False)),
    ],
)
def test_flats_are_negative(data: bytes, wanted: tuple[int, bool]) -> None:
    assert with_meta(b"\xff\x59" + data).key_signatures == [(0, *wanted)]


@pytest.mark.parametrize(
    ("power", "below"), [(0, 1), (2, 4), (3, 8), (15, 32_768), (16, 65_536), (17, 65_536)]
)
def test_the_lower_number_of_a_metre_is_bounded(power: int, below: int) -> None:
    assert with_meta(b"\xff\x58" + bytes((7, power, 24, 8))).time_signatures == [(0, 7, below)]
    assert with_meta(b"\xff\x58\x03\xff\x18\x08").time_signatures == [(0, 3, 65_536)]


def test_short_signatures_are_left_out() -> None:
    piece = with_meta(b"\xff\x58\x03", b"\xff\x59\x01", b"\xff\x58\x03\x02", b"\xff\x59\x01\x00")
    assert piece.time_signatures == [(2, 3, 4)] and piece.key_signatures == [(3, 1, False)]


def test_a_track_has_its_first_name_or_its_instruments() -> None:
    piece = with_meta(b"\xff\x04Piano", b"\xff\x03Left \0 ", b"\xff\x03Right")
    assert piece.track_names == {0: "Left"}
    assert with_meta(b"\xff\x03 \0", b"\xff\x04Piano").track_names == {0: "Piano"}


def test_columns_in_milliseconds_become_a_piece() -> None:
    piece = Piece.from_ms(
        [100.4, 0.0], [50.0, 2.6], [61, 60], [70, 80], pedal_time_ms=[5.0], pedal_value=[127]
    )
    rows = zip(
        piece.notes.onset_tick.tolist(),
        piece.notes.offset_tick.tolist(),
        piece.notes.pitch.tolist(),
        piece.notes.velocity.tolist(),
        strict=True,
    )
    assert list(rows) == [(0, 3, 60, 80), (100, 150, 61, 70)]
    assert piece.onset_ms.tolist() == [0.0, 100.0] and piece.end_ms == 150.0
    assert piece.pedals.tick.tolist() == [5] and piece.pedals.value.tolist() == [127]
    assert Piece.from_ms([], [], [], []).end_ms == 0.0


def test_a_file_is_replaced_only_when_told(tmp_path: Path) -> None:
    piece = Piece.from_ms([0], [10], [60], [64])
    piece.save(tmp_path / "a.mid")
    with pytest.raises(OutputError, match="exists already"):
        piece.save(tmp_path / "a.mid")
    longer = Piece.from_ms([0], [20], [60], [64])
    longer.save(tmp_path / "a.mid", force=True)
    assert (tmp_path / "a.mid").read_bytes() == longer.to_bytes() != piece.to_bytes()
    assert piece.with_metadata(composer="A").metadata == {"composer": "A"}
