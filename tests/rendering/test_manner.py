"""A rendering in the manner of a take comes nearer to it than the plain one, in every quality."""

from __future__ import annotations

from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest

from arietta.errors import InputError
from arietta.midi.piece import Piece
from arietta.notation.score_notes import ScoreNotes
from arietta.rendering.manner import Manner, in_manner, manner_of
from arietta.rendering.render import RulePlayer, render
from tests.notation.scores import score_of

CHORDS = [(480 * i, 470, p + i % 5) for i in range(40) for p in (48, 64, 72)]


def performance(velocity: int, voicing: int, held: float, pedal: float) -> Piece:
    """Chords of three keys twice a second."""
    rows = [(500.0 * i, p) for i in range(40) for p in (48, 60, 72)]
    onset, pitch = (np.array(column) for column in zip(*rows, strict=True))
    loud = np.where(pitch == 72, velocity + voicing, velocity) + np.arange(len(pitch)) % 7
    down = 500.0 * np.arange(40)
    times = np.stack((down, down + 500 * pedal), axis=1).ravel()
    when, value = (times, [127, 0] * 40) if pedal else ((), ())
    return Piece.from_ms(onset, 500 * held, pitch, loud, pedal_time_ms=when, pedal_value=value)


def test_a_manner_is_what_was_played() -> None:
    found = manner_of(performance(50, 20, 0.4, 0.6))
    assert found.voicing == pytest.approx(20, abs=2) and found.loudness == pytest.approx(60, abs=3)
    assert np.exp(found.touch) == pytest.approx(0.4, rel=0.02)
    assert found.pedal == pytest.approx(0.6, abs=0.02)


@pytest.mark.parametrize(
    "like", [performance(40, 4, 0.3, 0.2), performance(80, 25, 0.95, 0.9), performance(60, 9, 1, 0)]
)
def test_a_rendering_takes_it_over(like: Piece) -> None:
    score = score_of(CHORDS)
    plain = RulePlayer(1).takes(score)[0].performed
    pedal_ms = np.arange(40) * 500.0
    plain = replace(plain, pedal_ms=pedal_ms, pedal_value=np.array([127, 0] * 20, np.uint8))
    wanted = manner_of(like)
    before, after = (
        np.array(astuple(manner_of(p.to_piece(score))))
        for p in (plain, in_manner(score, plain, wanted))
    )
    target = np.array(astuple(wanted))
    names = list(Manner.__dataclass_fields__)
    for name, a, b, goal in zip(names, before, after, target, strict=True):
        assert abs(b - goal) <= abs(a - goal) + 0.05, name
    assert abs(after[0] - target[0]) < 3 and abs(after[2] - target[2]) < 3


def test_the_marks_stay_law_and_provenance_says_it(tmp_path: Path) -> None:
    score = ScoreNotes.from_piece(score_of(CHORDS).piece)
    like = manner_of(performance(40, 4, 0.3, 0.2))
    plain, made = (render(score, RulePlayer(1), manner=m)[0] for m in (None, like))
    assert made.performed.velocity.mean() < plain.performed.velocity.mean()
    written = score.onset_ms[-1] - score.onset_ms[0]
    span = made.performed.onset_ms.max() - made.performed.onset_ms.min()
    assert span == pytest.approx(written, rel=0.01)
    assert made.provenance["manner"]["touch"] == pytest.approx(like.touch, abs=1e-3)
    assert "manner" not in plain.provenance


def test_a_few_notes_have_no_manner() -> None:
    with pytest.raises(InputError, match="a manner needs"):
        manner_of(Piece.from_ms([0, 500], 200, [60, 64], 64))
