"""What a row may say: endings, keys struck once, looking ahead."""

from __future__ import annotations

import numpy as np
import pytest

from arietta.generation.constraints import Rules
from arietta.generation.sampling import Sampler
from arietta.generation.settings import SamplingSettings
from arietta.tokenizers.aria import AriaTokenizer
from arietta.tokenizers.vocabulary import DIM, EOS, TIME

PIANO = AriaTokenizer("piano")
V = PIANO.vocabulary
START = [V.instrument_start, PIANO.bos]


def note(pitch: int, onset_ms: int, velocity: int = 60) -> list[int]:
    key = V.note_start + pitch * V.velocities
    return [key + velocity // 10 - 1, V.onset_start + onset_ms // 10, V.dur_start + 20]


def rules(ids: list[int], **options: object) -> Rules:
    return Rules(PIANO, np.array(ids, np.int32), **options)  # type: ignore[arg-type]


def may(state: Rules, token: int) -> bool:
    return any(lo <= token < hi for lo, hi in state.allowed())


def test_no_ending_unless_it_is_asked_for() -> None:
    state = rules(START)
    assert not may(state, EOS) and not may(state, DIM)
    free = rules(START, ending="free")
    assert may(free, EOS) and not may(free, DIM)


def test_asking_brings_dim_then_end() -> None:
    state = rules([*START, *note(60, 100)], ending="asked")
    assert not may(state, EOS)
    state.advance(note(62, 200)[0])
    state.ask()
    assert not state.forcing and not may(state, DIM)  # not inside a note
    for token in note(62, 200)[1:]:
        state.advance(token)
    assert state.forcing and may(state, DIM)
    state.advance(DIM)
    assert not state.forcing and state.has_dim
    assert may(state, EOS) and not may(state, DIM)


def test_forcing_leaves_the_end_its_share_and_gives_dim_the_rest() -> None:
    state = rules([*START, *note(60, 100)], ending="asked")
    state.ask()
    sampler = Sampler(SamplingSettings(1.0, None), V)
    choices = sampler.choices(state.allowed())
    p = sampler.probabilities(choices, np.zeros(len(choices)))
    shaped = state.shape(choices, p)
    assert shaped[choices.index(EOS)] == p[choices.index(EOS)] > 0
    assert shaped[choices.index(DIM)] == 1 - p[choices.index(EOS)]
    assert np.count_nonzero(shaped) == 2


def test_the_public_form_replaces_what_was_drawn() -> None:
    state = rules(START, grammar=False, ending="asked")
    assert state.allowed() == ((0, V.size),)
    assert state.override(EOS) == EOS
    state.ask()
    assert state.override(EOS) == DIM
    assert state.override(V.onset_start) == V.onset_start
    assert state.override(V.dur_start) == V.dur_start
    state.advance(DIM)
    assert state.override(EOS) == EOS
    banned = rules(START, grammar=False, ban_dim=True)
    assert not may(banned, DIM) and may(banned, TIME)


def test_a_key_is_not_struck_twice_at_once() -> None:
    state = rules([*START, *note(60, 100)])
    state.advance(note(60, 100, 90)[0])
    assert not may(state, V.onset_start + 10) and may(state, V.onset_start + 11)
    other = rules([*START, *note(60, 100)])
    other.advance(note(61, 100)[0])
    assert may(other, V.onset_start + 10)
    # A later onset or segment lets the key go.
    later = rules([*START, *note(60, 100), *note(64, 110)])
    later.advance(note(60, 110)[0])
    assert may(later, V.onset_start + 11)
    later = rules([*START, *note(60, 100), TIME])
    later.advance(note(60, 100)[0])
    assert may(later, V.onset_start)


def test_at_the_last_onset_of_a_segment_struck_keys_cannot_come() -> None:
    state = rules([*START, *note(60, 4990), *note(64, 4990)])
    for pitch in (60, 64):
        assert not any(may(state, note(pitch, 0, v)[0]) for v in range(10, 121, 10))
    assert may(state, note(61, 0)[0]) and may(state, note(59, 0, 120)[0]) and may(state, TIME)
    state.advance(TIME)
    assert may(state, note(60, 0)[0])


def test_copies_are_independent() -> None:
    state = rules([*START, *note(60, 4990)], ending="asked")
    twin = state.copy()
    twin.ask()
    twin.advance(DIM)
    for token in note(64, 4990):
        twin.advance(token)
    assert not state.has_dim and not state.forcing
    assert may(state, note(64, 0)[0]) and not may(twin, note(64, 0)[0])


@pytest.mark.parametrize("vocab", ["full", "full-pedal", "piano-demo"])
def test_drums_pedals_and_other_vocabularies(vocab: str) -> None:
    tokenizer = AriaTokenizer(vocab)
    vocabulary = tokenizer.vocabulary
    names = ["piano", "drum"] if vocabulary.drums else ["piano"]
    ids = [*vocabulary.ids_of_prefix(names), tokenizer.bos]
    last = vocabulary.pedal_start - 1
    if vocabulary.drums:
        ids += [vocabulary.drum_start + 3, last]
    state = Rules(tokenizer, np.array(ids, np.int32))
    if vocabulary.drums:
        assert not may(state, vocabulary.drum_start + 3)
        assert may(state, vocabulary.drum_start + 4)
    if vocabulary.pedal:
        assert may(state, vocabulary.pedal_start)
    if tokenizer.delimiter is not None:
        assert not may(state, tokenizer.delimiter)
