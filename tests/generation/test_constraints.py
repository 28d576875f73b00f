"""What a row may say: endings, keys struck once, looking ahead."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arietta.generation.constraints import Rules, Start
from arietta.generation.sampling import Sampler
from arietta.generation.settings import SamplingSettings
from arietta.tokenizers.aria import AriaTokenizer
from arietta.tokenizers.decoding import prefix_channels
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


def test_a_key_has_time_to_come_up_before_it_is_struck_again() -> None:
    state = rules([*START, *note(60, 100)])
    state.advance(note(60, 100, 90)[0])
    assert not may(state, V.onset_start + 15) and may(state, V.onset_start + 16)
    other = rules([*START, *note(60, 100)])
    other.advance(note(61, 100)[0])
    assert may(other, V.onset_start + 10)
    # Also over the end of a segment, and not for longer.
    later = rules([*START, *note(60, 4970), TIME])
    later.advance(note(60, 0)[0])
    assert not may(later, V.onset_start + 2) and may(later, V.onset_start + 3)
    later = rules([*START, *note(60, 100), TIME])
    later.advance(note(60, 100)[0])
    assert may(later, V.onset_start)


def test_a_piano_plays_the_keys_it_has() -> None:
    state = rules(START)
    for pitch, there in ((0, False), (20, False), (21, True), (108, True), (109, False)):
        assert all(may(state, note(pitch, 0, v)[0]) == there for v in range(10, 121, 10))
    assert may(rules(START, grammar=False), note(3, 0)[0])


def test_nothing_begins_before_the_seam() -> None:
    prompt = [*START, *note(60, 100)]
    state = rules(prompt, start=Start(earliest_ms=12_345.0))
    for _ in range(2):
        assert state.allowed() == ((TIME, TIME + 1),)
        state.advance(TIME)
    assert may(state, TIME)
    state.advance(note(70, 0)[0])
    assert state.allowed() == ((V.onset_start + 235, V.pedal_start),)
    exact = rules([*prompt, TIME, TIME], start=Start(12_340.0, exact=True))
    assert not may(exact, TIME)
    exact.advance(note(70, 0)[0])
    assert exact.allowed() == ((V.onset_start + 234, V.onset_start + 235),)
    for token in note(70, 2340)[1:]:
        exact.advance(token)
    assert may(exact, TIME)
    exact.advance(note(71, 0)[0])
    assert exact.allowed() == ((V.onset_start + 234, V.pedal_start),)


def test_an_ending_may_be_asked_for_while_time_passes() -> None:
    state = rules(START, ending="asked", start=Start(7000.0, exact=True))
    state.ask()
    assert state.allowed() == ((EOS, EOS + 1), (DIM, TIME + 1))
    state.advance(DIM)
    assert state.allowed() == ((TIME, TIME + 1),)


def test_keys_that_the_prompt_holds_wait() -> None:
    held = {(0, 60): 2000.0, (0, 64): 9000.0}
    state = rules(START, start=Start(1000.0, held=held))
    assert not may(state, note(64, 0)[0]) and may(state, note(60, 0)[0])
    state.advance(note(60, 0)[0])
    assert state.allowed()[0][0] == V.onset_start + 200
    exact = rules(START, start=Start(1000.0, exact=True, held=held))
    assert not may(exact, note(60, 0)[0]) and may(exact, note(61, 0)[0])
    # Every key is down at the seam: the first to come up may be struck then.
    every = {(0, pitch): 1500.0 + pitch for pitch in range(128)}
    late = rules(START, start=Start(1000.0, exact=True, held=every))
    assert may(late, note(60, 0)[0]) and may(late, TIME)
    late.advance(note(60, 0)[0])
    assert late.allowed()[0][0] == V.onset_start + 156
    longer = rules(START, start=Start(1000.0, exact=True, held=dict.fromkeys(every, 70_000.0)))
    for _ in range(14):
        assert longer.allowed() == ((TIME, TIME + 1),)
        longer.advance(TIME)
    assert may(longer, note(60, 0)[0])


VOCABULARIES = ("piano", "piano-demo", "full", "full-pedal", "full-pedal-delimiter", "no-drums")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_walk_is_playable_music(data: st.DataObject) -> None:
    tokenizer = AriaTokenizer(data.draw(st.sampled_from(VOCABULARIES)))
    vocabulary = tokenizer.vocabulary
    known = ["piano", *(["drum"] if vocabulary.drums else []), *vocabulary.classes[1:3]]
    names = data.draw(st.lists(st.sampled_from(known), min_size=1, unique=True))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    keys = data.draw(st.sampled_from([0, 3, 40, 128]))
    held = {
        (vocabulary.instruments.index(name), int(pitch)): float(rng.integers(0, 40_000))
        for name in names
        for pitch in rng.permutation(128)[:keys]
    }
    start = Start(data.draw(st.floats(0, 42_000)), data.draw(st.booleans()), held)
    ids = [*vocabulary.ids_of_prefix(names), tokenizer.bos]
    ending = data.draw(st.sampled_from(["never", "free", "asked"]))
    state = Rules(tokenizer, np.array(ids, np.int32), ending=ending, start=start)
    asked = data.draw(st.integers(0, 60))
    for step in range(150):
        if step == asked and ending == "asked":
            state.ask()
        ranges = state.allowed()
        flat = [edge for pair in ranges for edge in pair]
        assert ranges and flat == sorted(set(flat)), ranges
        assert flat[0] >= 0 and flat[-1] <= vocabulary.size
        if state.forcing:
            assert may(state, DIM)
        assert state.copy().allowed() == ranges
        # Short waits and late onsets reach the ends of segments often.
        low, high = ranges[int(rng.integers(len(ranges)))]
        token = int(rng.choice([low, high - 1, int(rng.integers(low, high))]))
        state.advance(token)
        ids.append(token)
        if token == EOS:
            break
    out = tokenizer.decode_columns(ids[: tokenizer.complete_length(ids)])
    assert out.dropped == 0
    assert (out.onset_ms >= start.earliest_ms - 1e-3).all()
    struck: dict[tuple[int, int], float] = {}
    index_of = {channel: i for i, (channel, _) in _channels(tokenizer, ids).items()}
    for onset, pitch, channel in zip(out.onset_ms, out.pitch, out.channel, strict=True):
        voice = index_of[int(channel)]
        if vocabulary.instruments[voice] == "piano":
            assert 21 <= pitch <= 108
        key = (voice, int(pitch))
        assert onset >= held.get(key, 0.0) - 1e-3
        assert onset - struck.get(key, -1000.0) >= 60
        struck[key] = float(onset)


def _channels(tokenizer: AriaTokenizer, ids: list[int]) -> dict[int, tuple[int, int]]:
    vocabulary = tokenizer.vocabulary
    head = ids[: ids.index(tokenizer.bos)]
    return prefix_channels([i - vocabulary.instrument_start for i in head], vocabulary)


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
