"""Finding wrong notes: the regression, and what it makes of a spoilt piece."""

from __future__ import annotations

import json

import numpy as np
import pytest

from arietta.data.token_grid import NoteColumns
from arietta.evaluation.error_detector import (
    FEATURES,
    KINDS,
    Detector,
    detector,
    features,
    find_errors,
)
from arietta.evaluation.surprise import surprise
from arietta.models.aria.checkpoint import load
from arietta.models.executors import cpu_backend
from arietta.tokenizers.open import tokenizer_named


def alberti(bars: int = 40) -> NoteColumns:
    """A broken-chord bass under a slow tune: nothing to be surprised by."""
    bass = np.tile([48, 55, 52, 55, 48, 55, 52, 55, 47, 55, 50, 55, 47, 55, 50, 55], bars // 2)
    tune = np.repeat(np.resize([72, 76, 74, 71], bars), 1)
    onset = np.concatenate((np.arange(len(bass)) * 200, np.arange(bars) * 1_600))
    pitch = np.concatenate((bass, tune))
    velocity = np.concatenate((np.full(len(bass), 50), np.full(bars, 70)))
    duration = np.concatenate((np.full(len(bass), 190), np.full(bars, 1_500)))
    order = np.argsort(onset, kind="stable")
    return NoteColumns(onset[order], duration[order], pitch[order], velocity[order])


def test_wrong_notes_stand_out() -> None:
    notes = alberti()
    pitch, velocity = notes.pitch.copy(), notes.velocity.copy()
    wrong, loud = 150, 220
    pitch[wrong] += 1
    velocity[loud] = 110
    spoilt = notes._replace(pitch=pitch, velocity=velocity)
    found = surprise(spoilt, cpu_backend(load("small"), threads=1), tokenizer_named("piano"))
    judged = find_errors(spoilt, found)
    top = np.argsort(-judged.probability)[:6].tolist()
    assert wrong in top and loud in top
    assert KINDS[judged.kind[loud]] == "velocity"
    assert KINDS[judged.kind[wrong]] in ("wrong key", "stray note", "wrong octave")
    assert ((judged.probability >= 0) & (judged.probability <= 1)).all()
    assert np.median(judged.probability) < 0.02


def test_features_see_both_sides() -> None:
    notes = alberti(20)
    backend, piano = cpu_backend(load("small"), threads=1), tokenizer_named("piano")
    found = surprise(notes, backend, piano, removal=False)
    plain = features(notes, found)
    assert plain.shape == (len(notes.pitch), len(FEATURES)) and np.isfinite(plain).all()
    pitch = notes.pitch.copy()
    pitch[100] = 61
    spoilt = features(notes._replace(pitch=pitch), found)
    for name in ("rare_pitch", "rare_class", "lonely"):
        column = FEATURES.index(name)
        assert spoilt[100, column] >= plain[100, column]
    assert spoilt[100, FEATURES.index("rare_pitch")] > plain[:, FEATURES.index("rare_pitch")].max()
    one = NoteColumns(*(c[:1] for c in notes))
    alone = surprise(one, backend, piano)
    assert np.isfinite(features(one, alone)).all()


def test_fit_finds_the_weights_that_made_the_data() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((30_000, len(FEATURES))) * 3 + 1
    true = np.zeros((len(FEATURES), len(KINDS)))
    true[0, 0], true[1, 1], true[6, 2], true[2, 3], true[1, 4] = 2, -1.5, 1, 1, 2
    odds = (values - values.mean(0)) / values.std(0) @ true - 3
    share = np.column_stack((np.ones(len(values)), np.exp(odds)))
    share /= share.sum(axis=1, keepdims=True)
    kinds = (share.cumsum(axis=1) < rng.random((len(values), 1))).sum(axis=1)
    fitted = Detector.fit(values, kinds, penalty=1.0)
    np.testing.assert_allclose(fitted.weights[:-1], true, atol=0.2)
    np.testing.assert_allclose(fitted.weights[-1], -3, atol=0.2)
    again = Detector.from_json(json.loads(json.dumps(fitted.to_json())))
    np.testing.assert_allclose(again.log_odds(values), fitted.log_odds(values), atol=0.01)


def test_the_shipped_weights_fit_the_code() -> None:
    assert detector().weights.shape == (len(FEATURES) + 1, len(KINDS))
    # What a planted error raises has to raise suspicion.
    near, octave, velocity = (FEATURES.index(n) for n in ("near", "octave", "velocity"))
    weights = detector().weights
    assert weights[near, KINDS.index("wrong key")] > 0
    assert weights[octave, KINDS.index("wrong octave")] > 0
    assert weights[velocity, KINDS.index("velocity")] > 0


@pytest.mark.parametrize("kinds", [[0] * 50, [0] * 45 + [1, 2, 3, 4, 5]])
def test_fit_survives_rare_classes(kinds: list[int]) -> None:
    values = np.random.default_rng(1).standard_normal((len(kinds), len(FEATURES)))
    assert np.isfinite(Detector.fit(values, np.array(kinds)).weights).all()
