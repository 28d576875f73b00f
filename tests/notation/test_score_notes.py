"""What becomes of the notes of a score before anybody plays them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from arietta.errors import InputError, UsageError
from arietta.midi.notes import empty_notes, note_table
from arietta.midi.piece import Piece
from arietta.midi.reader import read_bytes
from arietta.midi.tempo import TempoMap
from arietta.notation.score_notes import LEFT, NO_HAND, RIGHT, ScoreNotes, deadpan
from tests.notation.scores import score_of, scores


def test_every_note_of_the_score_is_played_by_one_row() -> None:
    # A unison of two voices, a key struck again while held, a note without length.
    score = score_of(
        [(0, 480, 60), (0, 960, 60), (240, 0, 64), (480, 960, 67), (960, 480, 67)],
        tracks=[0, 1, 0, 0, 0],
    )
    assert score.onset_tick.tolist() == [0, 240, 480, 960]
    assert score.pitch.tolist() == [60, 64, 67, 67]
    assert score.duration_tick.tolist() == [960, 1, 480, 480]
    assert score.row_of_source.tolist() == [0, 0, 1, 2, 3]
    assert score.track.tolist() == [1, 0, 0, 0]  # the longer voice holds the key
    assert len(score.remarks) == 2


@settings(max_examples=40)
@given(scores())
def test_rows_are_sorted_unique_and_separate(score: ScoreNotes) -> None:
    key = score.onset_tick * 128 + score.pitch
    assert np.all(np.diff(key) > 0)
    for pitch in np.unique(score.pitch):
        mine = score.pitch == pitch
        assert np.all(score.offset_tick[mine][:-1] <= score.onset_tick[mine][1:])
    assert np.all(score.duration_tick >= 1)
    assert set(score.row_of_source.tolist()) == set(range(len(score)))
    source = score.piece.notes
    assert np.array_equal(source.onset_tick, score.onset_tick[score.row_of_source])
    assert np.array_equal(source.pitch, score.pitch[score.row_of_source])


def test_hands_by_name_and_by_height() -> None:
    notes = [(0, 10, 40), (0, 10, 70)]
    assert score_of(notes, tracks=[0, 1]).hand.tolist() == [LEFT, RIGHT]
    assert score_of(notes).hand.tolist() == [NO_HAND, NO_HAND]
    assert score_of([*notes, (0, 10, 50)], tracks=[0, 1, 2]).hand.tolist() == [NO_HAND] * 3


def test_bars_follow_the_metre() -> None:
    score = score_of([(0, 10, 60), (1439, 10, 61), (1440, 10, 62)], metre=(3, 2))
    assert score.bar.tolist() == [1, 1, 2]
    assert score_of([(0, 10, 60), (1920, 10, 61)]).bar.tolist() == [1, 2]  # 4/4 unless told


def test_a_score_without_notes_or_with_drums_alone_is_refused() -> None:
    silent = Piece(TempoMap.constant(), empty_notes(), source="silent.mid")
    with pytest.raises(InputError, match=r"^silent\.mid: no notes"):
        ScoreNotes.from_piece(silent)
    drums = replace(silent, notes=note_table([0], [5], [40], [90], 9))
    with pytest.raises(InputError, match="only drums"):
        ScoreNotes.from_piece(drums)


def test_time_code_becomes_beats() -> None:
    # 25 frames a second, 40 ticks a frame: a tick a millisecond.
    piece = Piece(
        TempoMap(-(25 << 8) + 40, np.zeros(1, np.int64), np.array([500_000])),
        note_table([1000], [1500], [60], [70]),
    )
    score = ScoreNotes.from_piece(piece)
    assert score.onset_quarter.tolist() == [2.0]
    assert score.onset_ms.tolist() == [1000.0]


def test_ten_thousand_notes_at_one_tick_are_as_many_strokes_as_there_are_keys() -> None:
    n = 10_000
    notes = note_table(np.zeros(n), np.full(n, 10), np.arange(n) % 128, 80)
    score = ScoreNotes.from_piece(Piece(TempoMap.constant(), notes))
    assert len(score) == 128
    assert "9872 unisons" in score.remarks[0]


@settings(max_examples=40)
@given(scores())
def test_deadpan_survives_a_file(score: ScoreNotes) -> None:
    played = deadpan(score).to_piece(score)
    again = read_bytes(played.to_bytes())
    assert sorted(again.notes.pitch.tolist()) == sorted(score.pitch.tolist())


def test_performances_that_do_not_fit_are_refused() -> None:
    score = score_of([(0, 10, 60), (0, 10, 64)])
    good = deadpan(score)
    for bad in (
        replace(good, onset_ms=good.onset_ms[:1]),
        replace(good, onset_ms=good.onset_ms - 5),
        replace(good, velocity=good.velocity * 0),
        replace(good, duration_ms=good.duration_ms * np.nan),
        replace(good, pedal_ms=np.zeros(3)),
    ):
        with pytest.raises(UsageError):
            bad.check(score)
