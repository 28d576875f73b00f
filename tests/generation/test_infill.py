"""Filled gaps: valid whatever the model says, judged by what follows, and the same for a seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arietta.errors import UsageError
from arietta.generation.infill import Busy, Columns, Fill, FillRules, fill, seam_bits
from arietta.tokenizers.aria import AriaTokenizer
from arietta.tokenizers.gaps import GapPlace
from arietta.tokenizers.vocabulary import EOS, Kind

NAMES = ("piano", "piano-fill")


def music(seed: int, n: int, span_ms: int = 20_000) -> Columns:
    rng = np.random.default_rng(seed)
    onset = np.sort(rng.integers(0, span_ms // 10, n)) * 10
    pitch = rng.integers(21, 109, n)
    order = np.lexsort((pitch, onset))
    return Columns(onset[order], rng.integers(1, 301, n)[order] * 10, pitch[order], np.full(n, 70))


def held(notes: Columns) -> Busy:
    return Busy(notes.pitch, notes.onset_ms, notes.onset_ms + notes.duration_ms)


def prefix(name: str) -> list[int]:
    return [AriaTokenizer(name).vocabulary.instrument_start]


def check(found: list[Fill], kept: Columns, place: GapPlace, busy: Busy) -> None:
    low, high = place.keys or (21, 108)
    for one in found:
        new = one.notes
        assert ((new.onset_ms >= place.start_ms) & (new.onset_ms < place.end_ms)).all()
        assert (np.diff(new.onset_ms) >= 0).all()
        assert ((new.pitch >= low) & (new.pitch <= high)).all()
        assert ((new.duration_ms >= 10) & (new.duration_ms <= 5000)).all()
        assert len(set(zip(new.onset_ms.tolist(), new.pitch.tolist(), strict=True))) == len(new)
        for onset, duration, pitch in zip(new.onset_ms, new.duration_ms, new.pitch, strict=True):
            same = busy.pitch == pitch
            down, up = busy.down_ms[same], busy.up_ms[same]
            assert not ((onset >= down) & (onset < up)).any()
            next_stroke = down[down > onset]
            assert not len(next_stroke) or onset + duration <= next_stroke.min()


@pytest.fixture(scope="module", params=NAMES)
def engine(request: Any, tiny: Any) -> Any:
    return tiny.engine(request.param, max_seq_len=512)


@given(st.integers(0, 10**6), st.data())
@settings(max_examples=25, deadline=None)
def test_every_fill_is_valid(engine: Any, seed: int, data: Any) -> None:
    n = data.draw(st.integers(0, 60))
    start = data.draw(st.integers(0, 1900))
    length = data.draw(st.sampled_from([1, 2, 37, 200, 500, 501]))
    low = data.draw(st.integers(21, 108))
    keys = data.draw(st.sampled_from([None, (low, min(108, low + 12)), (low, low), (100, 108)]))
    kept = music(seed, n)
    place = GapPlace(start * 10, (start + length) * 10, keys)
    busy = held(kept)
    found = fill(
        engine,
        kept,
        place,
        busy,
        prefix=prefix(engine.tokenizer.name),
        variations=2,
        takes=3,
        seed=seed,
    )
    assert len(found) == 2
    check(found, kept, place, busy)
    bits = [one.seam_bits for one in found]
    assert (bits[0] is None) == (not (kept.onset_ms >= place.end_ms).any() or bits[0] is None)
    if bits[0] is not None and bits[1] is not None:
        assert bits[0] <= bits[1]


def test_a_key_that_is_held_throughout_is_never_struck(engine: Any) -> None:
    kept = Columns(np.array([0, 9_000]), np.array([5_000, 500]), np.array([60, 64]), np.full(2, 70))
    busy = Busy(np.array([60]), np.array([0]), np.array([9_000]))
    place = GapPlace(2_000, 4_000, (60, 60))
    found = fill(engine, kept, place, busy, prefix=prefix(engine.tokenizer.name))
    assert all(len(one.notes) == 0 for one in found)


def test_the_same_seed_gives_the_same_fill(engine: Any) -> None:
    kept, place = music(3, 40), GapPlace(5_000, 8_000)
    asked = {"prefix": prefix(engine.tokenizer.name), "variations": 2}
    a, b, other = (fill(engine, kept, place, held(kept), **asked, seed=s) for s in (7, 7, 8))
    assert [x.notes.onset_ms.tolist() for x in a] == [x.notes.onset_ms.tolist() for x in b]
    assert [x.notes.pitch.tolist() for x in a] != [x.notes.pitch.tolist() for x in other]


def test_more_notes_than_the_context_holds_are_left_out_far_from_the_gap(tiny: Any) -> None:
    for name in NAMES:
        engine = tiny.engine(name, max_seq_len=256)
        kept, place = music(1, 600, 60_000), GapPlace(30_000, 32_000)
        kept = kept.where((kept.onset_ms < place.start_ms) | (kept.onset_ms >= place.end_ms))
        found = fill(engine, kept, place, held(kept), prefix=prefix(name), variations=2)
        check(found, kept, place, held(kept))


def test_an_empty_span_and_broken_steps_are_refused(engine: Any) -> None:
    kept = music(1, 10)
    for place in (GapPlace(500, 500), GapPlace(800, 500), GapPlace(5, 500), GapPlace(-10, 500)):
        with pytest.raises(UsageError, match="gap"):
            fill(engine, kept, place, held(kept), prefix=prefix(engine.tokenizer.name))


def test_seam_bits_are_those_of_the_whole_sequence(tiny: Any) -> None:
    engine = tiny.engine("piano")
    kept = music(5, 40)
    place = GapPlace(8_000, 12_000)
    outside = kept.where((kept.onset_ms < place.start_ms) | (kept.onset_ms >= place.end_ms))
    inside = kept.where((kept.onset_ms >= place.start_ms) & (kept.onset_ms < place.end_ms))
    (found,) = seam_bits(engine, outside, [inside], place, prefix("piano"))
    judged = kept.where(kept.onset_ms < place.end_ms + 5_000)
    tokenizer = engine.tokenizer
    ids = tokenizer.encode_columns(*judged.as_tuple(), eos=False)
    if judged.onset_ms[0] > 0:
        ids = np.array(
            [*ids[:2], *tokenizer.encode_columns(*judged.as_tuple(), eos=False)[2:]], np.int32
        )
    count = int((judged.onset_ms >= place.end_ms).sum())
    session = engine.backend.new_session(1)
    logits = session.head(session.append(ids[None, :-1])[0]).astype(np.float64)
    log_p = logits - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True))
    log_p -= logits.max(1, keepdims=True)
    starts = np.flatnonzero(tokenizer.vocabulary.kinds[ids] == Kind.NOTE)
    first = int(starts[len(judged) - count])
    while tokenizer.vocabulary.kinds[ids[first - 1]] == Kind.TIME:
        first -= 1
    places = np.arange(first - 1, len(ids) - 1)
    nats = -log_p[places, ids[places + 1]].sum()
    assert found == pytest.approx(nats / np.log(2) / count, rel=1e-6)


def test_nothing_that_follows_is_no_seam(engine: Any) -> None:
    kept = music(2, 20, 5_000)
    place = GapPlace(6_000, 8_000)
    found = fill(engine, kept, place, held(kept), prefix=prefix(engine.tokenizer.name))
    assert [one.seam_bits for one in found] == [None] * 4


def test_rules_always_leave_something_to_draw() -> None:
    tokenizer = AriaTokenizer("piano-fill")
    rng = np.random.default_rng(0)
    for trial in range(60):
        kept = music(trial, 50)
        start = int(rng.integers(0, 1500)) * 10
        place = GapPlace(start, start + int(rng.integers(1, 600)) * 10)
        rules = FillRules(
            tokenizer, place, held(kept), segment=place.segment, open_end=bool(trial % 2)
        )
        for _ in range(400):
            ranges = rules.allowed()
            assert ranges and all(low < high for low, high in ranges)
            assert list(ranges) == sorted(ranges)
            low, high = ranges[int(rng.integers(0, len(ranges)))]
            token = int(rng.integers(low, high))
            rules.advance(token)
            if token == EOS:
                break
