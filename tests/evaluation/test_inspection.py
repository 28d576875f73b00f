"""Tokens, log-probabilities, states and attention of pieces, against plain ways to the same."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import arietta
from arietta.errors import CheckpointError, InputError, UsageError
from arietta.evaluation.inspection import MIN_CONTEXT, piece_tokens, windows
from arietta.evaluation.likelihood import backend_scorer
from arietta.evaluation.surprise import surprise
from arietta.midi.piece import Piece
from arietta.models.aria.trace import NumpyTracer
from arietta.tokenizers.open import tokenizer_named

PIANO = tokenizer_named("piano")


@pytest.fixture(scope="module")
def model() -> arietta.Model:
    return arietta.load("small", threads=1)


@pytest.fixture(scope="module")
def waltz() -> Piece:
    path = Path(__file__).resolve().parents[2] / "arietta" / "assets" / "prompts" / "waltz.mid"
    return arietta.read(path)


def part(piece: Piece, notes: int) -> Piece:
    return replace(piece, notes=piece.notes.take(np.arange(len(piece)) < notes))


def made(gaps: list[int]) -> Piece:
    onset = np.cumsum(gaps) * 200
    return Piece.from_ms(onset, np.full(len(onset), 300), 40 + onset % 40, 20 + onset % 90)


@pytest.mark.parametrize("name", ["piano", "relative-piano", "full"])
@given(gaps=st.lists(st.one_of(st.integers(0, 30), st.integers(0, 3_000)), min_size=1, max_size=80))
def test_tokens_know_their_notes(name: str, gaps: list[int]) -> None:
    piece = made(gaps)
    found = piece_tokens(piece, tokenizer_named(name))
    assert found.tokens[found.prompt - 1] == "<S>" and found.tokens[-1] == "<E>"
    assert (found.note[: found.prompt] == -1).all() and found.note[-1] == -1
    body = found.note[found.prompt : -1]
    assert (np.diff(body) >= 0).all() and set(body) == set(range(len(piece)))
    for number, last in enumerate(found.last):
        mine = found.note == number
        assert found.kinds[last] == "duration" and found.note[last] == number
        assert (found.kinds[mine] == "note").sum() == 1
    counts = found.per_note(np.ones(len(found)))
    assert counts.sum() == len(found) - found.prompt - 1 and counts.min() >= 2


@given(
    st.lists(st.one_of(st.integers(0, 30), st.integers(0, 3_000)), min_size=1, max_size=120),
    st.integers(MIN_CONTEXT, 100),
)
def test_every_token_counts_once_with_half_a_window_before_it(gaps: list[int], length: int) -> None:
    found = piece_tokens(made(gaps), PIANO)
    counted: list[int] = []
    for view in windows(found, length):
        assert found.prompt + view.stop - view.start <= length
        assert view.start == found.prompt or view.start < view.first
        quiet = "note" not in found.kinds[view.start : view.first]
        assert view.start == found.prompt or quiet or found.kinds[view.start] == "note"
        if view.start != found.prompt:
            # It begins at the first note of the latter half of the window before.
            half = view.first - (length - found.prompt) // 2
            assert half <= view.start and "note" not in found.kinds[half : view.start]
        counted += range(view.first, view.stop)
    assert counted == list(range(found.prompt, len(found)))


def test_logprobs_are_those_of_the_likelihood(model: arietta.Model, waltz: Piece) -> None:
    found = model.logprobs(waltz)
    ids = found.tokens.ids
    nats = backend_scorer(model.backend)(ids, 2)
    np.testing.assert_allclose(-found.logprobs[2:], nats, atol=1e-5)
    assert np.isnan(found.logprobs[:2]).all() and np.isnan(found.entropy[:2]).all()
    assert found.context.tolist() == list(range(len(ids)))
    bits = surprise(found.tokens.notes, model.backend, PIANO, removal=False).total
    np.testing.assert_allclose(-found.per_note / math.log(2), bits, atol=1e-3)
    # What the model expects is about what it finds.
    assert np.nanmean(found.entropy) == pytest.approx(-np.nanmean(found.logprobs), rel=0.1)
    assert (found.model, found.model_sha256) == ("small", model.checkpoint.sha256)


def test_a_long_piece_is_read_in_windows(model: arietta.Model, waltz: Piece) -> None:
    found = model.logprobs(waltz, context=256)
    *_, last = windows(found.tokens, 256)
    ids = np.concatenate((found.tokens.ids[:2], found.tokens.ids[last.start : last.stop]))
    first = last.first - last.start + 2
    nats = backend_scorer(model.backend)(ids.astype(np.int32), first)
    np.testing.assert_allclose(-found.logprobs[last.first :], nats, atol=1e-5)
    assert found.context[last.first] == first and found.context.max() < 256


def test_many_pieces_are_each_alone(model: arietta.Model, waltz: Piece) -> None:
    pieces = [part(waltz, 60), made([]), part(waltz, 9), "missing.mid", part(waltz, 130)]
    found = list(model.logprobs_many(pieces, context=300))
    assert [isinstance(one, InputError) for one in found] == [False, True, False, True, False]
    for piece, one in zip(pieces, found, strict=True):
        if not isinstance(one, InputError):
            alone = model.logprobs(piece, context=300)
            np.testing.assert_allclose(one.logprobs, alone.logprobs, atol=1e-5)
    states = list(model.states_many([pieces[0], pieces[1], pieces[2]], layers=(0, 2), context=100))
    assert isinstance(states[1], InputError)
    alone_states = model.states(pieces[0], layers=(0, 2), context=100).states
    np.testing.assert_allclose(states[0].states, alone_states, atol=1e-5)
    assert [len(one) for one in model.tokens_many(pieces[::2])] == [
        len(one.tokens) for one in found[::2]
    ]
    with pytest.raises(InputError, match=r"missing\.mid"):
        model.tokens("missing.mid")


def test_states_are_those_of_the_windows(model: arietta.Model, waltz: Piece) -> None:
    waltz = part(waltz, 120)
    found = model.states(waltz, layers=(0, -1), per="token", context=200)
    tokens = found.tokens
    config = model.checkpoint.config
    top = config.n_layers
    assert found.layers == (0, top)
    assert found.states.shape == (2, len(tokens), config.d_model)
    tracer = NumpyTracer(model.checkpoint)
    first, *_, last = windows(tokens, 200)
    for view in (first, last):
        ids = np.concatenate((tokens.ids[:2], tokens.ids[view.start : view.stop]))
        (trace,) = tracer.trace([ids], layers=[top])
        skip = view.first - view.start + 2
        np.testing.assert_allclose(
            found.states[1, view.first : view.stop], trace.states[top][skip:], atol=1e-4
        )
    np.testing.assert_allclose(
        found.states[1, :2], tracer.trace([ids], [top])[0].states[top][:2], atol=1e-4
    )
    notes = model.states(waltz, layers=(0, -1), context=200)
    np.testing.assert_allclose(notes.states, found.states[:, tokens.last], atol=1e-4)


def test_attention_of_notes_is_that_of_their_tokens(model: arietta.Model, waltz: Piece) -> None:
    piece = part(waltz, 50)
    every = model.attention(piece, layers=(1, -1), per="token")
    notes = model.attention(piece, layers=(1, -1))
    tokens = every.tokens
    config = model.checkpoint.config
    assert every.layers == (1, config.n_layers)
    assert every.weights.shape == (2, config.n_heads, len(tokens), len(tokens))
    for key in (0, 7, 49):
        summed = every.weights[..., tokens.last, :][..., tokens.note == key].sum(axis=-1)
        np.testing.assert_allclose(notes.weights[..., key], summed, atol=1e-5)
    (same,) = model.attention_many([piece], layers=config.n_layers, per="note")
    np.testing.assert_array_equal(same.weights[0], notes.weights[1])


def test_what_does_not_go_is_refused_at_once(model: arietta.Model, waltz: Piece) -> None:
    with pytest.raises(UsageError, match="`layers`"):
        model.states_many([waltz], layers=model.checkpoint.config.n_layers + 1)
    with pytest.raises(UsageError, match="`layers`"):
        model.attention_many([waltz], layers=0)
    with pytest.raises(UsageError, match="`per` 'bar'"):
        model.states(waltz, per="bar")
    for context in (MIN_CONTEXT - 1, model.checkpoint.config.max_seq_len + 1):
        with pytest.raises(UsageError, match="`context`"):
            model.logprobs(waltz, context=context)
    with pytest.raises(InputError, match=r"tokens exceed the 2,048"):
        model.attention(made([1] * 800))
    embedder = arietta.load("small-embedding", threads=1)
    assert embedder.states(part(waltz, 5)).states.shape[1] == 5
    with pytest.raises(CheckpointError):
        embedder.logprobs(waltz)
