"""Pedal and instrument rules against slow spellings of specification A.3 to A.5."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arietta.errors import UsageError
from arietta.midi import pedal
from arietta.midi.instruments import CLASSES, DRUMS, channel_classes, remove_ignored
from arietta.midi.notes import PedalTable, note_table, pedal_table, program_table
from arietta.midi.overlaps import resolve_overlaps
from arietta.midi.piece import Piece
from arietta.midi.tempo import TempoMap

notes = st.lists(
    st.tuples(
        st.integers(0, 40), st.integers(1, 15), st.integers(60, 61), st.sampled_from((0, 9, 3))
    )
)
pedals = st.lists(
    st.tuples(st.integers(0, 50), st.sampled_from((0, 63, 64, 127)), st.sampled_from((0, 9, 3)))
)


def make(played: list[tuple[int, int, int, int]], pressed: list[tuple[int, int, int]]) -> Piece:
    onset, length, pitch, channel = np.array(sorted(played), np.int64).reshape(-1, 4).T
    tick, value, on = np.array(sorted(pressed, key=lambda p: p[0]), np.int64).reshape(-1, 3).T
    return Piece(
        TempoMap.constant(),
        note_table(onset, onset + length, pitch, 64, channel),
        pedal_table(tick, value, on),
    )


def plain_offsets(piece: Piece) -> list[int]:
    """Specification A.3, one event and one note at a time."""
    intervals: dict[int, list[tuple[int, int]]] = {}
    opened: dict[int, int] = {}
    table = piece.pedals
    for tick, value, channel in zip(
        table.tick.tolist(), table.value.tolist(), table.channel.tolist(), strict=True
    ):
        if value >= 64:
            opened.setdefault(channel, tick)
        elif channel in opened:
            intervals.setdefault(channel, []).append((opened.pop(channel), tick))
    for channel, tick in opened.items():
        last = int(piece.notes.offset_tick[-1]) if len(piece) else tick
        intervals.setdefault(channel, []).append((tick, last))
    out = []
    for end, channel in zip(
        piece.notes.offset_tick.tolist(), piece.notes.channel.tolist(), strict=True
    ):
        held = [b for a, b in intervals.get(channel, []) if a < end < b]
        out.append(held[0] if held and channel != 9 else end)
    return out


@given(notes, pedals)
def test_extension(
    played: list[tuple[int, int, int, int]], pressed: list[tuple[int, int, int]]
) -> None:
    piece = make(played, pressed)
    assert pedal.pedal_offsets(piece).tolist() == plain_offsets(piece)


def test_a_pedal_that_never_comes_up() -> None:
    piece = make([(0, 10, 60, 0), (5, 50, 61, 0), (20, 5, 60, 0)], [(2, 127, 0)])
    start, end = pedal.pedal_intervals(piece, 0)
    # The last note in reading order decides, not the latest end.
    assert (start.tolist(), end.tolist()) == ([2], [25])
    assert pedal.pedal_offsets(piece).tolist() == [25, 55, 25]


@given(notes, pedals)
def test_operations_change_no_input_and_settle(
    played: list[tuple[int, int, int, int]], pressed: list[tuple[int, int, int]]
) -> None:
    piece = make(played, pressed)
    before = pedal.reference_hash(piece)
    cut = resolve_overlaps(piece.notes)
    again = resolve_overlaps(cut)
    assert again.offset_tick.tolist() == cut.offset_tick.tolist()
    pedal.remove_redundant_pedals(piece)
    assert len(pedal.pedal_offsets(piece)) == len(piece)
    pedal.resolve_pedal(piece)
    pedal.enforce_gaps(piece, 3, 2)
    assert pedal.reference_hash(piece) == before


@given(notes, st.integers(0, 6), st.integers(0, 6))
def test_gaps(played: list[tuple[int, int, int, int]], gap: int, shortest: int) -> None:
    cut = pedal.enforce_gaps(make(played, []), gap, shortest).notes
    assert np.all(cut.offset_tick - cut.onset_tick >= shortest)
    assert np.all(np.diff(cut.onset_tick) >= 0)


def test_gaps_under_a_changing_tempo() -> None:
    tempo = TempoMap(480, np.array([0, 480]), np.array([500_000, 1_000_000]))
    piece = Piece(tempo, note_table([0, 960], [960, 1440], 60, 64))
    cut = pedal.enforce_gaps(piece, 100).notes
    assert cut.offset_tick.tolist() == [960 - 48, 1440]


def test_hysteresis_bounds() -> None:
    events: PedalTable = pedal_table([0, 1, 2, 3], [66, 72, 66, 56])
    state, changed = pedal.pedal_states(events, 64, 8)
    assert (state.tolist(), changed.tolist()) == (
        [False, True, True, False],
        [False, True, False, True],
    )
    for threshold, buffer in ((64, -1), (3, 4), (120, 8)):
        with pytest.raises(UsageError, match="pedal threshold"):
            pedal.pedal_states(events, threshold, buffer)


def test_last_program_that_sounds_decides() -> None:
    piece = Piece(
        TempoMap.constant(),
        note_table([0, 1, 2, 3], [5, 5, 5, 5], 60, 64, [0, 1, 9, 5]),
        programs=program_table([0, 4, 0, 9, 0], [40, 24, 60, 0, 88], [0, 0, 9, 1, 2]),
    )
    classes = {c: "drums" if n == DRUMS else CLASSES[n] for c, n in channel_classes(piece).items()}
    assert classes == {0: "strings", 1: "piano", 2: "synth_pad", 5: "piano", 9: "drums"}


def test_any_program_of_an_ignored_class_silences_a_channel() -> None:
    piece = Piece(
        TempoMap.constant(),
        note_table([0, 1, 2], [5, 5, 5], 60, 64, [0, 1, 9]),
        pedal_table([0, 1], [127, 127], [0, 1]),
        program_table([0, 4, 0, 9], [120, 0, 125, 0], [0, 0, 9, 1]),
    )
    left = remove_ignored(piece)
    assert left.notes.channel.tolist() == [1, 9]
    assert left.pedals.channel.tolist() == [1]
    assert left.programs.channel.tolist() == [9, 1]
    assert remove_ignored(left) is left
    # Program 0 is never tested, so piano cannot be ignored this way.
    assert remove_ignored(left, ["piano"]) is left
    with pytest.raises(UsageError, match="theremin"):
        remove_ignored(piece, ["theremin"])


@pytest.mark.parametrize(
    ("up", "wanted"), [(9, 9), (10, 10), (11, 20), (19, 20), (20, 20), (21, 21)]
)
def test_the_pedal_holds_what_ends_inside_it(up: int, wanted: int) -> None:
    """Between 10 and 20 the pedal is down; a key that comes up on either edge is not held."""
    piece = make([(0, up, 60, 0)], [(10, 64, 0), (20, 63, 0)])
    assert pedal.pedal_offsets(piece).tolist() == [wanted]


def test_a_key_that_comes_up_as_the_pedal_goes_down_again_is_not_held() -> None:
    piece = make([(0, 20, 60, 0)], [(10, 127, 0), (20, 0, 0), (20, 127, 0), (30, 0, 0)])
    assert pedal.pedal_offsets(piece).tolist() == [20]


@pytest.mark.parametrize(("value", "down"), [(63, False), (64, True), (127, True), (0, False)])
def test_down_is_from_64_on(value: int, down: bool) -> None:
    table = pedal_table([0], [value], [0])
    assert pedal.pedal_states(table)[0].tolist() == [down]
    piece = make([(5, 5, 60, 0)], [(0, value, 0), (40, 0, 0)])
    assert pedal.pedal_offsets(piece).tolist() == [40 if down else 10]


@pytest.mark.parametrize(
    ("values", "states"),
    [
        ((73, 74), (False, True)),
        ((74, 55), (True, True)),
        ((74, 54), (True, False)),
        ((74, 54, 73), (True, False, False)),
    ],
)
def test_the_band_of_a_buffer(values: tuple[int, ...], states: tuple[bool, ...]) -> None:
    table = pedal_table(list(range(len(values))), list(values), [0] * len(values))
    assert tuple(pedal.pedal_states(table, 64, 10)[0].tolist()) == states
