"""Scaling a performance between the score as written and an exaggeration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arietta.errors import UsageError
from arietta.notation.score_notes import LEFT, RIGHT, PerformedNotes, ScoreNotes, deadpan
from arietta.rendering.controls import Controls, apply_controls, parse_bars, parse_scale
from tests.notation.scores import performances, score_of, scores

TWO_HANDS = score_of(
    [(480 * i, 480, 72) for i in range(8)] + [(480 * i, 480, 48) for i in range(8)],
    tracks=[0] * 8 + [1] * 8,
    metre=(2, 2),
)


def rubato_of(score: ScoreNotes, spans: list[float], velocity: int = 90) -> PerformedNotes:
    times = np.concatenate(([0.0], np.cumsum(spans)))
    n = len(score)
    return PerformedNotes(
        times[score.chord],
        np.full(n, 300.0),
        np.full(n, velocity, np.uint8),
        np.array([10.0, 800.0]),
        np.array([100, 0], np.uint8),
    )


PLAYED = rubato_of(TWO_HANDS, [500, 600, 700, 1000, 400, 500, 500])


@settings(max_examples=30)
@given(st.data())
def test_at_rest_nothing_changes_and_every_scale_gives_a_performance(data: st.DataObject) -> None:
    score = data.draw(scores())
    performed = data.draw(performances(score))
    assert apply_controls(score, performed, Controls()) is performed
    scale = st.floats(0, 4)
    controls = Controls(data.draw(scale), data.draw(scale), data.draw(scale))
    apply_controls(score, performed, controls).check(score)


def test_nothing_of_the_performance_is_the_score_as_written() -> None:
    written = deadpan(TWO_HANDS)
    got = apply_controls(TWO_HANDS, PLAYED, Controls(0, 0, 0))
    assert np.allclose(got.onset_ms, written.onset_ms)
    assert np.allclose(got.duration_ms, written.duration_ms)
    assert np.array_equal(got.velocity, written.velocity)
    assert not len(got.pedal_ms)


def test_rubato_is_scaled_by_ratio() -> None:
    got = apply_controls(TWO_HANDS, PLAYED, Controls(rubato=2))
    spans = np.diff(np.unique(got.onset_ms))
    assert np.allclose(spans, [500, 720, 980, 2000, 320, 500, 500])
    # The pedal stays where it was among the chords, and dynamics are left alone.
    assert np.allclose(got.pedal_ms, [10, 500 + 300 / 600 * 720])
    assert np.array_equal(got.velocity, PLAYED.velocity)


def test_dynamics_of_one_hand() -> None:
    got = apply_controls(TWO_HANDS, PLAYED, Controls(dynamics={"left": 0.5}))
    assert set(got.velocity[TWO_HANDS.hand == LEFT].tolist()) == {77}
    assert set(got.velocity[TWO_HANDS.hand == RIGHT].tolist()) == {90}
    assert apply_controls(TWO_HANDS, PLAYED, Controls(dynamics={"2": 0})).velocity.min() == 64


def test_steady_bars_keep_the_tempo_of_the_score() -> None:
    got = apply_controls(TWO_HANDS, PLAYED, Controls(steady_bars=((2, 3),)))
    assert np.allclose(np.diff(np.unique(got.onset_ms)), [500, 600, 500, 500, 500, 500, 500])


def test_pedal_depth() -> None:
    half = apply_controls(TWO_HANDS, PLAYED, Controls(pedal=0.5))
    assert half.pedal_value.tolist() == [50, 0]
    marked = score_of([(0, 480, 60), (480, 480, 62)], pedals=[(0, 127), (480, 0)])
    bare = PerformedNotes(np.array([0.0, 900.0]), np.full(2, 300.0), np.full(2, 64, np.uint8))
    got = apply_controls(marked, bare, Controls(pedal=0))
    assert got.pedal_ms.tolist() == [0, 900]  # the score's marks, where the music is now
    assert got.pedal_value.tolist() == [127, 0]


def test_what_people_type() -> None:
    assert parse_scale("1.5", "dynamics") == 1.5
    assert parse_scale("left=0.5, right=2", "dynamics") == {"left": 0.5, "right": 2.0}
    assert parse_bars("1-4, 9") == ((1, 4), (9, 9))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: parse_scale("loud", "dynamics"),
        lambda: parse_scale("left=", "dynamics"),
        lambda: parse_bars("four"),
        lambda: Controls(dynamics=5),
        lambda: Controls(rubato={"left": -1}),
        lambda: Controls(steady_bars=((3, 2),)),
        lambda: apply_controls(TWO_HANDS, PLAYED, Controls(steady_bars=((99, 99),))),
        lambda: apply_controls(TWO_HANDS, PLAYED, Controls(dynamics={"violin": 1})),
    ],
)
def test_what_nobody_can_do_is_refused(wrong) -> None:
    with pytest.raises(UsageError, match="`"):
        wrong()
