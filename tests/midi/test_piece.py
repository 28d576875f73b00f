"""What a piece says of itself: signatures, names, its end."""

from __future__ import annotations

import numpy as np
import pytest

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
