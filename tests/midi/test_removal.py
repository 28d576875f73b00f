"""What is left when notes and pedal are taken out of a file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import arietta
from arietta.midi.events import END_OF_TRACK, Event
from arietta.midi.piece import Piece
from arietta.midi.reader import read, read_bytes
from arietta.midi.removal import without_notes, without_pedal
from arietta.midi.seam import join_bytes, tracks_of
from benchmarks.fill_validity import hostile

PROMPTS = Path(arietta.__file__).parent / "assets" / "prompts"


def notes_of(piece: Piece, chosen: Any = slice(None)) -> Counter[tuple[int, ...]]:
    notes = piece.notes
    columns = (notes.onset_tick, notes.offset_tick, notes.pitch, notes.velocity, notes.track)
    return Counter(zip(*(column[chosen].tolist() for column in columns), strict=True))


@pytest.mark.parametrize("seed", [*range(25), 3458])
def test_what_is_kept_reads_as_before(seed: int) -> None:
    rng = np.random.default_rng(seed)
    piece = hostile(rng)
    gone = rng.random(len(piece)) < rng.choice([0.1, 0.5, 0.9])
    left = read_bytes(join_bytes(piece.tempo.division, without_notes(piece, gone)))
    assert notes_of(left) == notes_of(piece, ~gone)


def pedalled(values: list[tuple[int, int]]) -> list[list[Event]]:
    track = [Event(tick, bytes((0xB0, 64, value))) for tick, value in values]
    track.append(Event(5_000, bytes((0xB0, 7, 90))))
    return [[*sorted(track, key=lambda e: e.tick), Event(9_000, END_OF_TRACK)]]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # Down throughout: nothing to take out.
        ([(100, 127), (9_000, 0)], [(100, 127), (9_000, 0)]),
        # Up inside ends what was before; presses inside go, the last is held over the end.
        (
            [(100, 127), (1_200, 0), (1_300, 127), (1_500, 0), (1_900, 127), (2_300, 0)],
            [(100, 127), (1_200, 0), (1_900, 127), (2_300, 0)],
        ),
        # Dry before and behind.
        ([(1_200, 127), (1_500, 0), (1_600, 90), (1_700, 0)], []),
        # A pedal of many positions: its whole way up and its whole way down stay.
        (
            [
                *((100, 127), (1_200, 50), (1_210, 0), (1_300, 99), (1_350, 0)),
                *((1_900, 20), (1_910, 70), (1_920, 127), (2_300, 0)),
            ],
            [
                (100, 127),
                (1_200, 50),
                (1_210, 0),
                (1_900, 20),
                (1_910, 70),
                (1_920, 127),
                (2_300, 0),
            ],
        ),
        # Outside of the span nothing changes.
        ([(100, 127), (900, 0), (2_000, 127)], [(100, 127), (900, 0), (2_000, 127)]),
    ],
)
def test_pedal_that_the_music_around_needs_stays(
    before: list[tuple[int, int]], after: list[tuple[int, int]]
) -> None:
    assert without_pedal(pedalled(before), 1_000, 2_000, [0]) == pedalled(after)
    assert without_pedal(pedalled(before), 1_000, 2_000, [1]) == pedalled(before)


def test_nothing_taken_out_is_nothing_changed() -> None:
    piece = read(PROMPTS / "waltz.mid")
    assert without_notes(piece, np.zeros(len(piece), bool)) == tracks_of(piece)
