"""Decoding, the incremental decoder, and the grammar that makes generated sequences decodable."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from arietta.errors import InputError, TokenError
from arietta.midi.piece import Piece
from arietta.tokenizers.aria import AriaTokenizer
from arietta.tokenizers.grammar import AriaGrammar, merged
from arietta.tokenizers.relative import RelativeTokenizer
from arietta.tokenizers.vocabulary import VARIANT_NAMES, Kind
from tests.tokenizers.pieces import pieces

TOKENIZERS = {name: AriaTokenizer(name) for name in VARIANT_NAMES}
FULL, PIANO = TOKENIZERS["full"], TOKENIZERS["piano"]
names = st.sampled_from(VARIANT_NAMES)


def any_ids(tokenizer: AriaTokenizer, seed: int, n: int) -> list[int]:
    """Random ids, each kind equally likely, so that whole events come about by chance."""
    rng = np.random.default_rng(seed)
    kinds = tokenizer.vocabulary.kinds[:-1]
    present = np.unique(kinds)
    ids = [int(rng.choice(np.flatnonzero(kinds == rng.choice(present)))) for _ in range(n)]
    return [tokenizer.vocabulary.instrument_start] * int(rng.integers(2)) + ids


@given(names, st.integers(0, 10**6), st.integers(0, 80))
@settings(max_examples=150)
def test_incremental_decoder_equals_decode(name: str, seed: int, n: int) -> None:
    tokenizer = TOKENIZERS[name]
    ids = any_ids(tokenizer, seed, n)
    decoder = tokenizer.decoder()
    notes = decoder.extend(ids)
    columns = tokenizer.decode_columns(ids)
    assert [e.onset_ms for e in notes] == columns.onset_ms.tolist()
    assert [e.duration_ms for e in notes] == columns.duration_ms.tolist()
    assert [e.pitch for e in notes] == columns.pitch.tolist()
    assert [e.velocity for e in notes] == columns.velocity.tolist()
    assert [e.channel for e in notes] == columns.channel.tolist()
    assert [e.program for e in notes] == [columns.programs[e.channel] for e in notes]
    assert [e.time_ms for e in decoder.pedals] == columns.pedal_ms.tolist()
    assert [e.value for e in decoder.pedals] == columns.pedal_value.tolist()
    # Ids of an event that is not finished yet are not dropped yet.
    decoder.push(tokenizer.pad)
    assert decoder.dropped == columns.dropped


@given(st.lists(st.integers(-5, 20_000), max_size=60), names)
def test_any_integers_decode(ids: list[int], name: str) -> None:
    tokenizer = TOKENIZERS[name]
    piece = tokenizer.decode(ids)
    assert np.all(piece.notes.offset_tick > piece.notes.onset_tick)
    assert np.all(piece.notes.velocity > 0)
    assert tokenizer.length_ms(ids) >= 0
    RelativeTokenizer().decode(ids)
    grammar = tokenizer.grammar(ids)
    assert grammar.allowed()


def test_ids_that_are_not_a_list_of_integers() -> None:
    for wrong in ([[1, 2]], [0.5], "abc"):
        with pytest.raises(TokenError, match="flat list of integers"):
            FULL.decode(wrong)


@given(pieces(), names)
def test_an_encoded_piece_loses_nothing(piece: Piece, name: str) -> None:
    tokenizer = TOKENIZERS[name]
    try:
        ids = tokenizer.encode(piece)
    except InputError:
        return
    relative = RelativeTokenizer().encode(piece)
    assume(not np.any(relative == RelativeTokenizer().unk))  # drums without a token
    assert tokenizer.decode_columns(ids).dropped == 0
    assert RelativeTokenizer().decode_columns(relative).dropped == 0
    # What an encoder writes, the grammar allows, silence of any length apart.
    grammar = tokenizer.grammar(max_time_run=10**9)
    for token in ids.tolist():
        assert any(low <= token < high for low, high in grammar.allowed()), (token, ids)
        grammar.advance(token)
    assert grammar.finished


def walk(grammar: AriaGrammar, rng: np.random.Generator, steps: int) -> list[int]:
    """A random walk through the grammar, ranges equally likely so that rare ids come too."""
    ids: list[int] = []
    while len(ids) < steps or not grammar.complete:
        allowed = grammar.allowed()
        low, high = allowed[rng.integers(len(allowed))]
        ids.append(int(rng.integers(low, high)))
        grammar.advance(ids[-1])
        if grammar.finished:
            break
    return ids


@given(
    names,
    st.integers(0, 10**6),
    st.integers(0, 150),
    st.booleans(),
    st.booleans(),
    st.integers(0, 3),
)
@settings(max_examples=200)
def test_whatever_the_grammar_allows_decodes(
    name: str, seed: int, steps: int, end: bool, dim: bool, run: int
) -> None:
    tokenizer = TOKENIZERS[name]
    grammar = tokenizer.grammar(
        allow_end=end, allow_dim=dim, allow_delimiter=True, max_time_run=run
    )
    ids = walk(grammar, np.random.default_rng(seed), steps)
    columns = tokenizer.decode_columns(ids)
    assert columns.dropped == 0
    assert np.all(columns.duration_ms > 0) and np.all(columns.velocity > 0)
    assert np.all(np.diff(columns.onset_ms) >= 0)
    assert tokenizer.complete_length(ids) == len(ids)
    assert ids.count(tokenizer.dim) <= int(dim)
    assert ids.count(tokenizer.unk) == ids.count(tokenizer.pad) == 0
    if not end:
        assert tokenizer.eos not in ids
    longest = max(len(r) for r in "".join("T" if i == 5 else "." for i in ids).split("."))
    assert longest <= run


@given(pieces(piano_only=True), st.integers(0, 10**6), st.integers(0, 40))
def test_continuing_a_prompt_cut_anywhere_decodes(piece: Piece, seed: int, cut: int) -> None:
    """The grammar finishes an event that a prompt leaves incomplete."""
    ids = FULL.encode(piece, eos=False).tolist()
    body = ids.index(FULL.bos) + 1
    prompt = ids[: body + cut]
    grammar = FULL.grammar(prompt)
    more = walk(grammar, np.random.default_rng(seed), 30)
    assert FULL.decode_columns(prompt + more).dropped == 0


@given(names, st.integers(0, 10**6), st.integers(0, 60))
def test_a_copied_grammar_is_independent(name: str, seed: int, steps: int) -> None:
    rng = np.random.default_rng(seed)
    grammar = TOKENIZERS[name].grammar()
    ids = walk(grammar, rng, steps)
    twin, allowed = grammar.copy(), grammar.allowed()
    walk(grammar, rng, 20)
    assert twin.allowed() == allowed == TOKENIZERS[name].allowed_next(ids)


def test_allowed_ranges_in_each_state() -> None:
    v = PIANO.vocabulary
    notes, onsets, durations = (29, 1565), (2065, 2565), (1565, 2065)
    assert PIANO.allowed_next([]) == ((6, 7),)
    assert PIANO.allowed_next([6]) == ((0, 1),)
    assert PIANO.allowed_next([6, 0]) == ((1, 2), (5, 6), notes)
    assert PIANO.allowed_next([6, 0, 29]) == (onsets,)
    assert PIANO.allowed_next([6, 0, 29, v.onset_start + 7]) == (durations,)
    event = [29, v.onset_start + 7, v.dur_start]
    assert PIANO.allowed_next([6, 0, *event, 29]) == ((v.onset_start + 7, 2565),)
    assert PIANO.allowed_next([6, 0, *event, PIANO.time, 29]) == (onsets,)
    assert PIANO.allowed_next([6, 0, *event, *[PIANO.time] * 6]) == ((1, 2), notes)
    assert PIANO.allowed_next([6, 0, *event, PIANO.eos]) == ((2, 3),)
    switched = PIANO.grammar([6, 0, *event], allow_end=False, allow_dim=True)
    assert switched.allowed() == ((4, 6), notes)
    switched.allow_dim, switched.allow_end = False, True
    assert switched.allowed() == ((1, 2), (5, 6), notes)
    # Full vocabulary: only the instruments of the prefix, drums as pairs, no duration of 0.
    f = FULL.vocabulary
    assert FULL.allowed_next([7, 16, 0]) == (
        (1, 2), (5, 6), f.class_range(1), (f.drum_start, f.dur_start),
    )  # fmt: skip
    assert FULL.allowed_next([6, 0, 39, f.onset_start]) == ((f.dur_start + 1, f.onset_start),)
    drum = [f.drum_start, f.onset_start + 499]
    assert FULL.allowed_next([6, 16, 0, *drum, f.drum_start]) == ((f.pedal_start - 1, f.size),)
    # Without an instrument nothing can sound, so the end is always open.
    assert FULL.grammar([17, 0], allow_end=False, max_time_run=0).allowed() == ((1, 2),)
    # A mark between two events is neither a silence nor an event.
    dim = PIANO.grammar([6, 0, *event, 5, 5, 4, 5], max_time_run=3)
    assert dim.allowed() == ((1, 2), notes)
    assert dim.vocabulary is v and dim.onset_step == 0


def test_pedal_and_delimiter_are_options() -> None:
    demo = TOKENIZERS["piano-demo"]
    pedal, x = (2672, 2674), (2674, 2675)
    assert pedal in demo.allowed_next([6, 0])
    assert demo.grammar([6, 0], allow_delimiter=True).allowed()[-1] == (pedal[0], x[1])
    assert demo.grammar([6, 0], allow_pedal=False).allowed()[-1] == (7, 1671)
    assert demo.allowed_next([6, 0, 2673]) == ((2172, 2672),)


def test_merged_ranges() -> None:
    assert merged([(5, 6), (1, 3), (3, 5), (9, 9), (8, 9)]) == ((1, 6), (8, 9))


def test_complete_length_drops_a_half_event() -> None:
    event = [29, 2065, 1565]
    for extra, left in (([], 5), ([29], 5), ([29, 2065], 5), ([5], 6), ([2065], 6)):
        ids = [6, 0, *event, *extra]
        assert PIANO.complete_length(ids) == left
    assert PIANO.complete_length([]) == 0


def test_decoder_state_while_streaming() -> None:
    decoder = PIANO.decoder()
    assert decoder.extend([6, 0, 5, 29 + 12 * 60 + 4, 2066]) == []
    note = decoder.push(1565 + 9)
    assert [tuple(e) for e in note] == [(5010, 100, 60, 50, 0, 0)]
    assert decoder.clock_ms == 5000 and decoder.programs == {0: 0}


def test_kinds_are_the_special_ids() -> None:
    assert list(range(6)) == [Kind.BOS, Kind.EOS, Kind.PAD, Kind.UNK, Kind.DIM, Kind.TIME]
