"""Sounding lengths become keys and pedal, and sound as before."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arietta.midi.hands import can_hold, split_hands
from arietta.midi.merged import merge_tracks
from arietta.midi.reader import read
from arietta.midi.repedal import (
    CHANGE_MS,
    LONGEST_MS,
    next_strokes,
    repedal,
    sounding_ends,
)
from arietta.paths import assets_dir

notes = st.lists(
    st.tuples(st.integers(0, 400), st.integers(1, 500), st.integers(40, 70)),
    min_size=1,
    max_size=60,
    unique_by=lambda row: (row[0], row[2]),
)


def arpeggios(bars: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Wide broken chords that ring until the pedal comes up at the bar."""
    onset, length, pitch = [], [], []
    for bar in range(bars):
        for i, p in enumerate((36, 48, 55, 64, 67, 72, 76, 79)):
            onset.append(bar * 2000.0 + i * 240)
            length.append(bar * 2000.0 + 1990 - onset[-1])
            pitch.append(p + bar % 3)
    return np.array(onset), np.array(length), np.array(pitch)


def test_broken_chords_are_pedalled_bar_by_bar() -> None:
    onset, length, pitch = arpeggios()
    made = repedal(onset, length, pitch)
    assert made.pedal_value.tolist() == [127, 0] * 12
    assert np.allclose(made.pedal_ms[1::2], np.arange(12) * 2000 + 1990)
    ends = sounding_ends(onset, made.offset_ms, pitch, made.pedal_ms, made.pedal_value)
    assert np.abs(ends - onset - length).max() <= 20
    # The keys are let go long before.
    assert np.median(made.offset_ms - onset) < 600


def test_a_dry_passage_stays_dry() -> None:
    onset = np.arange(0, 30_000, 150.0)
    pitch = 60 + np.arange(len(onset)) * 5 % 12
    for length in (60.0, 140.0):
        made = repedal(onset, np.full(len(onset), length), pitch)
        assert not len(made.pedal_ms)
        assert np.allclose(made.offset_ms, onset + length)
    chords = np.repeat(np.arange(0, 20_000, 500.0), 3)
    made = repedal(chords, np.full(len(chords), 450.0), np.tile([60, 64, 67], len(chords) // 3))
    assert not len(made.pedal_ms)


def test_dry_and_pedalled_passages_of_one_piece() -> None:
    onset, length, pitch = arpeggios()
    later = np.arange(60_000, 90_000, 200.0)
    made = repedal(
        np.append(onset, later),
        np.append(length, np.full(len(later), 120.0)),
        np.append(pitch, 60 + np.arange(len(later)) % 8),
    )
    assert len(made.pedal_ms) == 24 and made.pedal_ms.max() < 30_000


@given(notes, st.sampled_from((None, True, False)))
def test_any_notes(rows: list[tuple[int, int, int]], expected: bool | None) -> None:
    onset, length, pitch = np.array(rows, np.float64).T * np.array([[10], [10], [1]])
    pitch = pitch.astype(np.int64)
    made = repedal(onset, length, pitch, expected=expected)
    assert made.pedal_value.tolist() == [127, 0] * (len(made.pedal_ms) // 2)
    assert np.all(np.diff(made.pedal_ms) >= CHANGE_MS - 1.5)
    again = next_strokes(onset, pitch)
    assert np.all(made.offset_ms <= np.maximum(again, onset + length))
    assert np.all(made.offset_ms[again > onset] >= onset[again > onset])
    if not len(made.pedal_ms):
        return
    # Nothing is cut short by the pedal, and what is not restruck ends when it should.
    wanted = np.minimum(np.minimum(onset + length, again), onset + LONGEST_MS)
    ends = sounding_ends(onset, made.offset_ms, pitch, made.pedal_ms, made.pedal_value)
    late = np.minimum(ends, onset + LONGEST_MS) - wanted
    free = (again - onset - length > 60) & (again > onset)
    assert np.abs(late[free]).max(initial=0.0) <= 30


@pytest.mark.parametrize("name", ["nocturne", "classical", "smooth_jazz", "waltz"])
def test_people(name: str) -> None:
    piano = merge_tracks(read(assets_dir() / "prompts" / f"{name}.mid"))
    onset, pitch = piano.onset_ms.astype(np.float64), piano.pitch
    end = sounding_ends(
        onset,
        piano.offset_ms.astype(np.float64),
        pitch,
        piano.pedal_ms.astype(np.float64),
        piano.pedal_value,
    )
    length = np.clip(np.where(np.isfinite(end), end, piano.offset_ms) - onset, 10, 5000)
    made = repedal(onset, length, pitch, expected=True)
    got = sounding_ends(onset, made.offset_ms, pitch, made.pedal_ms, made.pedal_value)
    again = next_strokes(onset, pitch)
    wanted = np.minimum(np.minimum(onset + length, again), onset + LONGEST_MS)
    right = np.abs(np.minimum(got, onset + LONGEST_MS) - wanted) <= 20
    assert right.mean() >= 0.98
    people = int(np.count_nonzero(np.diff(piano.pedal_value >= 64, prepend=False)))
    if people >= 10:
        assert people / 2.2 <= len(made.pedal_ms) <= people * 2


def test_what_two_hands_hold() -> None:
    assert can_hold([])
    assert can_hold([60]) and can_hold([36, 48, 72, 84])
    assert can_hold([36, 40, 43, 48, 52, 72, 76, 79, 84, 88])
    assert not can_hold([21, 60, 108])
    assert not can_hold(list(range(60, 73)))


def test_hands_by_reach() -> None:
    onset = np.repeat(np.arange(0, 8000, 500.0), 4)
    pitch = np.tile([40, 47, 72, 76], 16)
    right = split_hands(onset, onset + 480, pitch)
    assert right.tolist() == [False, False, True, True] * 16
    # A line in one hand stays there, high or low.
    line = np.arange(0, 8000, 250.0)
    assert split_hands(line, line + 240, 72 + np.arange(32) % 5).all()
    assert not split_hands(line, line + 240, 40 + np.arange(32) % 5).any()
    assert len(split_hands([], [], [])) == 0
