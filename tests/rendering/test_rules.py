"""Rules: each does what it says, on music made for it."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings

from arietta.errors import UsageError
from arietta.midi.notes import note_table
from arietta.midi.piece import Piece
from arietta.midi.tempo import TempoMap
from arietta.notation.score_notes import PerformedNotes, ScoreNotes
from arietta.rendering.rules import RuleRenderer, Strengths
from tests.notation.scores import score_of, scores

NOTHING = {f.name: 0.0 for f in fields(Strengths)} | {"legato": 1.0, "level": 64.0, "marks": 1.0}


def play(score: ScoreNotes, **strengths: float) -> PerformedNotes:
    return RuleRenderer(Strengths(**{**NOTHING, **strengths})).perform(score)


TUNE = score_of([(480 * i, 480, 60 + (7 * i) % 12) for i in range(32)], metre=(4, 2))


@settings(max_examples=60)
@given(scores())
def test_any_score_is_playable(score: ScoreNotes) -> None:
    performed = RuleRenderer(seed=3).perform(score).check(score)
    piece = performed.to_piece(score)
    assert sorted(piece.notes.pitch.tolist()) == sorted(score.pitch.tolist())


def test_without_rules_it_is_the_score() -> None:
    performed = play(TUNE)
    assert np.allclose(performed.onset_ms, TUNE.onset_ms)
    assert np.allclose(performed.duration_ms[:-1], np.minimum(TUNE.duration_ms, 500)[:-1])
    assert set(performed.velocity.tolist()) == {64}
    assert not len(performed.pedal_ms)


def test_seeds_decide_the_noise_alone() -> None:
    one, same, other = (RuleRenderer(seed=s).perform(TUNE) for s in (1, 1, 2))
    assert np.array_equal(one.velocity, same.velocity)
    assert not np.array_equal(one.velocity, other.velocity)
    assert np.array_equal(play(TUNE, ritardando=0.5).onset_ms, play(TUNE, ritardando=0.5).onset_ms)


def test_final_ritardando_slows_the_last_two_bars_only() -> None:
    spans = np.diff(play(TUNE, ritardando=0.6).onset_ms)
    assert np.allclose(spans[:24], 500)
    assert np.all(np.diff(spans[24:]) > 0)
    assert spans[-1] > 700


def test_phrase_arch_is_slow_and_soft_at_the_ends() -> None:
    slow = np.diff(play(TUNE, phrase_tempo=0.3).onset_ms)[:16]  # the first phrase of four bars
    assert slow[0] > slow[7] < slow[15] and slow[15] > slow[0]
    soft = play(TUNE, phrase_level=4).velocity[:16]
    assert soft[0] < soft[7] > soft[15]


@pytest.mark.parametrize(
    "rule", ["high_loud", "melody_level", "charge_level", "contour_level", "texture_level"]
)
def test_levels_shape_the_dynamics_and_keep_their_mean(rule: str) -> None:
    rng = np.random.default_rng(0)
    rows = [(240 * i, 240, int(p)) for i in range(40) for p in rng.integers(40, 80, 1 + i // 10)]
    velocity = play(score_of(rows), **{rule: 4.0}).velocity.astype(float)
    assert velocity.std() > 1
    assert abs(velocity.mean() - 64) < 1


def test_high_is_loud() -> None:
    velocity = play(TUNE, high_loud=3).velocity
    assert np.all(np.diff(velocity[np.argsort(TUNE.pitch, kind="stable")].astype(int)) >= 0)


def test_duration_contrast() -> None:
    score = score_of([(0, 960, 60), (960, 120, 62), (1080, 120, 64), (1200, 960, 65)])
    velocity = play(score, contrast_level=4).velocity
    assert velocity[1] < velocity[0]
    spans = np.diff(play(score, contrast_time=0.2).onset_ms) / np.diff(score.onset_ms)
    assert spans[0] > spans[1]


def test_melodic_charge_stresses_the_note_outside_the_harmony() -> None:
    chord = [(0, 1920, p) for p in (48, 52, 55)]
    velocity = play(score_of([*chord, (0, 480, 72), (480, 480, 78)]), charge_level=4).velocity
    assert velocity[-1] > velocity[-2]  # F sharp over C major, against C


def test_repeated_keys_are_let_go_early() -> None:
    score = score_of([(480 * i, 480, 60) for i in range(4)])
    lengths = play(score, repetition=0.5).duration_ms
    assert np.allclose(lengths[:3], 250)


def test_chords_spread_without_stumbling() -> None:
    rows = [(480 * i, 480, p) for i in range(8) for p in (48, 60, 67, 72)]
    score = score_of(rows)
    onset = RuleRenderer(Strengths(**{**NOTHING, "noise_time": 10.0})).perform(score).onset_ms
    means = np.bincount(score.chord, onset) / 4
    assert onset[score.chord == 3].std() > 2
    assert np.allclose(means[1:], 500.0 * np.arange(1, 8))


def test_pedal_is_changed_just_after_a_new_harmony() -> None:
    rows = [(0, 960, 48), (480, 480, 64), (960, 960, 53), (1440, 480, 69)]
    performed = play(score_of(rows), pedal=1.0)
    assert performed.pedal_value.tolist() == [127, 0, 127, 0]
    down, up, again, end = performed.pedal_ms.tolist()
    assert 0 < down < 500 and 1000 < up < again < 1200 and end > 1500


def test_marks_of_the_score_are_kept() -> None:
    score = score_of([(0, 480, 60), (480, 480, 62)], pedals=[(0, 127), (480, 0)])
    performed = play(score, pedal=1.0)
    assert performed.pedal_ms.tolist() == [0, 500]


def test_hour_long_rests_and_empty_bars() -> None:
    onset = np.array([0, 480, 480 * 7200])
    piece = Piece(TempoMap.constant(480), note_table(onset, onset + 100, [60, 62, 64], 80))
    performed = RuleRenderer().perform(ScoreNotes.from_piece(piece))
    assert performed.onset_ms[-1] > 3_000_000


def test_strengths_are_numbers() -> None:
    with pytest.raises(UsageError, match="phrase_tempo"):
        Strengths(phrase_tempo=float("nan"))
