from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arietta.errors import InputError, TokenError
from arietta.midi.notes import empty_notes, note_table, program_table
from arietta.midi.piece import Piece
from arietta.midi.tempo import TempoMap
from arietta.tokenizers.aria import AriaTokenizer
from arietta.tokenizers.metadata import label
from arietta.tokenizers.quantise import DURATION_STEPS, ONSET_STEPS, VELOCITY_STEPS
from arietta.tokenizers.relative import RelativeTokenizer
from arietta.tokenizers.vocabulary import VARIANT_NAMES
from tests.tokenizers import plain_tokenizer
from tests.tokenizers.pieces import pieces

TOKENIZERS = {name: AriaTokenizer(name) for name in VARIANT_NAMES}
FULL, PIANO = TOKENIZERS["full"], TOKENIZERS["piano"]
compats = st.sampled_from([None, "aria"])


@given(pieces(), st.sampled_from(VARIANT_NAMES), compats, st.booleans())
@settings(max_examples=300)
def test_vectorised_equals_plain(piece: Piece, name: str, compat, keep_silence: bool) -> None:  # type: ignore[no-untyped-def]
    tokenizer = TOKENIZERS[name]
    expected = plain_tokenizer.encode(piece, tokenizer.vocabulary, compat, keep_silence)
    try:
        ids = tokenizer.encode(piece, compat=compat, keep_silence=keep_silence).tolist()
    except TokenError:
        assert tokenizer.vocabulary.pedal  # another instrument than piano
        return
    except InputError:
        assert tokenizer.vocabulary.kinds[expected].max(initial=0) < 9  # no event is left
        return
    assert ids == expected


@given(pieces(piano_only=True, tempos=1))
def test_round_trip_is_quantisation(piece: Piece) -> None:
    for tokenizer in (FULL, PIANO, TOKENIZERS["piano-demo"]):
        plain = replace(piece, pedals=piece.pedals.take(slice(0)))
        decoded = tokenizer.decode(tokenizer.encode(plain))
        zero = int(plain.notes.onset_tick[0])
        onset = np.rint(plain.tempo.distance_ms(zero, plain.notes.onset_tick)).astype(int)
        duration = np.rint(plain.duration_ms).astype(int)
        expected = sorted(
            zip(
                (onset // 5000 * 5000 + ONSET_STEPS[onset % 5000] * 10).tolist(),
                (DURATION_STEPS[np.clip(duration, 0, 5000)] * 10).tolist(),
                plain.notes.pitch.tolist(),
                (VELOCITY_STEPS[plain.notes.velocity] * 10).tolist(),
                strict=True,
            )
        )
        notes = decoded.notes
        got = zip(
            notes.onset_tick.tolist(),
            (notes.offset_tick - notes.onset_tick).tolist(),
            notes.pitch.tolist(),
            notes.velocity.tolist(),
            strict=True,
        )
        assert sorted(got) == expected


@given(pieces(), st.sampled_from(["full", "piano", "no-drums"]))
def test_encoding_what_was_decoded_changes_nothing(piece: Piece, name: str) -> None:
    """Ids -> piece -> ids is the identity on sequences an encoder makes."""
    tokenizer = TOKENIZERS[name]
    try:
        ids = tokenizer.encode(piece)
    except InputError:
        return
    decoded = tokenizer.decode(ids)
    if len(decoded):
        onset = decoded.notes.onset_tick
        again = tokenizer.encode(decoded, keep_silence=True)
        if np.all(onset[:-1] <= onset[1:]) and tokenizer.decode_columns(ids).dropped == 0:
            events = [t for t in ids.tolist() if t > tokenizer.time]
            assert [t for t in again.tolist() if t > tokenizer.time] == events


@given(pieces(piano_only=True), st.integers(-20, 20))
def test_transposing_commutes(piece: Piece, semitones: int) -> None:
    pitch = piece.notes.pitch.astype(int)
    semitones = int(np.clip(semitones, -pitch.min(), 127 - pitch.max()))
    moved = replace(piece, notes=replace(piece.notes, pitch=(pitch + semitones).astype(np.uint8)))
    for tokenizer in (FULL, PIANO):
        ids = tokenizer.encode(piece)
        notes = tokenizer.vocabulary.kinds[ids] == 9
        ids[notes] += semitones * tokenizer.vocabulary.velocities
        assert tokenizer.encode(moved).tolist() == ids.tolist()


@given(pieces(piano_only=True))
def test_shifting_in_time_changes_nothing(piece: Piece) -> None:
    one_tempo = replace(piece, tempo=TempoMap.constant(480))
    late = replace(
        one_tempo,
        notes=replace(
            piece.notes,
            onset_tick=piece.notes.onset_tick + 12_345,
            offset_tick=piece.notes.offset_tick + 12_345,
        ),
        pedals=replace(piece.pedals, tick=piece.pedals.tick + 12_345),
    )
    assert PIANO.encode(late).tolist() == PIANO.encode(one_tempo).tolist()


@given(pieces(piano_only=True, tempos=1))
def test_columns_equal_piece(piece: Piece) -> None:
    for tokenizer in (FULL, PIANO):
        ids = tokenizer.encode(piece)
        columns = tokenizer.decode_columns(ids)
        again = tokenizer.encode_columns(
            columns.onset_ms, columns.duration_ms, columns.pitch, columns.velocity
        )
        assert again.tolist() == ids.tolist()


def test_columns_edge_cases() -> None:
    none = np.zeros(0, np.int64)
    assert PIANO.encode_columns(none, none, none, none).tolist() == [6, 0, 1]
    assert PIANO.encode_columns(none, none, none, none, eos=False, prefix_ids=[6, 9]).tolist() == [
        6, 9, 0,
    ]  # fmt: skip
    n = np.arange(100)
    ids = PIANO.encode_columns(n * 100, n + 10, n, n + 1, dim_offset=0)
    assert np.count_nonzero(ids == PIANO.dim) == 1


@given(pieces())
def test_encoding_leaves_the_piece_alone(piece: Piece) -> None:
    tables = (piece.notes, piece.pedals, piece.programs)
    before = [getattr(t, c).copy() for t in tables for c in t.__dataclass_fields__]
    for tokenizer in (FULL, PIANO, RelativeTokenizer()):
        try:
            tokenizer.encode(piece)
        except InputError:
            continue
    after = [getattr(t, c) for t in tables for c in t.__dataclass_fields__]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def small_piece(**metadata: str) -> Piece:
    return Piece.from_ms([0, 500, 1000], [300] * 3, [60, 64, 67], [70] * 3, metadata=metadata)


def test_prefix_options() -> None:
    piece = small_piece(composer="Chopin", form="etude", genre="classical", title="op. 10")
    named = FULL.tokens(FULL.encode(piece))
    assert named[:4] == [
        ("prefix", "instrument", "piano"),
        ("prefix", "composer", "chopin"),
        ("prefix", "form", "étude"),
        ("prefix", "genre", "classical"),
    ]
    explicit = FULL.encode(piece, prefix=["jazz", "piano"])
    assert explicit[:3].tolist() == [37, 6, FULL.bos]
    assert FULL.encode(piece, prefix=[])[0] == FULL.bos
    shuffled = {
        tuple(FULL.encode(piece, rng=np.random.default_rng(seed))[:4].tolist())
        for seed in range(40)
    }
    assert len(shuffled) > 10 and len({tuple(sorted(s)) for s in shuffled}) == 1
    with pytest.raises(TokenError, match="salieri"):
        FULL.encode(piece, prefix="salieri")
    assert FULL.encode(small_piece(composer="salieri"))[:2].tolist() == [6, FULL.bos]


def test_dim_options() -> None:
    long = Piece.from_ms(np.arange(200) * 100, [90] * 200, [60] * 200, [64] * 200)
    plain = PIANO.encode(long)
    fixed = PIANO.encode(long, dim=True)
    assert np.delete(fixed, np.flatnonzero(fixed == PIANO.dim)).tolist() == plain.tolist()
    drawn = {
        int(np.flatnonzero(PIANO.encode(long, dim=True, rng=np.random.default_rng(s)) == 4)[0])
        for s in range(60)
    }
    assert 4 <= len(drawn) <= 8  # 21 offsets fall on the few event boundaries among them
    assert PIANO.encode(small_piece(), dim=True).tolist() == PIANO.encode(small_piece()).tolist()


def test_prompt_measures_from_the_first_note() -> None:
    late = Piece.from_ms([7000, 7500, 9000], [300] * 3, [60, 64, 67], [70] * 3)
    assert len(FULL.prompt(late, 1.0)) == 2 + 2 * 3
    assert FULL.prompt(late, 1.0, compat="aria").tolist() == [6, FULL.bos]
    assert FULL.prompt(late).tolist() == FULL.encode(late, eos=False).tolist()
    assert PIANO.prompt(replace(late, notes=empty_notes())).tolist() == [6, 0]


def test_prompt_ends_without_an_open_pedal() -> None:
    pedalled = Piece.from_ms(
        [0, 500, 1000, 3000], [300] * 4, [60, 64, 67, 72], [70] * 4,
        pedal_time_ms=[0, 350, 400, 450, 4000], pedal_value=[100, 0, 90, 127, 0],
    )  # fmt: skip
    decoded = PIANO.decode(PIANO.prompt(pedalled, 2.0))
    lengths = decoded.notes.offset_tick - decoded.notes.onset_tick
    assert lengths.tolist() == [350, 300, 300]
    # The reference leaves the earlier of the two downs: the second note is held to the end.
    compat = FULL.decode(FULL.prompt(pedalled, 2.0, compat="aria"))
    assert (compat.notes.offset_tick - compat.notes.onset_tick).tolist() == [350, 800, 300]


def test_pieces_that_cannot_be_encoded() -> None:
    nothing = replace(small_piece(), notes=empty_notes())
    drums = replace(small_piece(), notes=note_table([0], [10], [40], [64], channel=9))
    harp = replace(small_piece(), programs=program_table([0], [100]))
    organ = replace(small_piece(), programs=program_table([0], [17]))
    for tokenizer in (FULL, PIANO, RelativeTokenizer()):
        with pytest.raises(InputError, match="no notes"):
            tokenizer.encode(nothing)
        with pytest.raises(InputError, match="no notes of an instrument in use"):
            tokenizer.encode(harp)
    with pytest.raises(InputError, match="no notes"):
        PIANO.encode(drums)
    for tokenizer in (FULL, RelativeTokenizer()):
        assert len(tokenizer.encode(drums)) >= 4
    with pytest.raises(TokenError, match="piano only"):
        TOKENIZERS["full-pedal"].encode(organ)
    with pytest.raises(InputError, match="solo piano"):
        FULL.embedding_chunks(organ)
    with pytest.raises(InputError, match="nothing to embed"):
        FULL.embedding_chunks(nothing)
    assert PIANO.encode(organ).tolist() == PIANO.encode(small_piece()).tolist()


def test_a_damaged_clock_does_not_fill_the_memory() -> None:
    notes = note_table([0, 2**40], [10, 2**40 + 10], [60, 60], [64, 64])
    endless = Piece(TempoMap.constant(1, 2**24 - 1), notes)
    for tokenizer in (FULL, PIANO, RelativeTokenizer()):
        with pytest.raises(InputError, match="tempo right"):
            tokenizer.encode(endless)


def test_chunks_of_a_long_piece() -> None:
    piece = Piece.from_ms(np.arange(1000) * 50, [40] * 1000, [60] * 1000, [64] * 1000)
    rows = FULL.embedding_chunks(piece)
    assert [FULL.tokens(r).count("<E>") for r in rows] == [1] * 4
    assert sum(len(FULL.decode(r)) for r in rows) == 1000
    short = FULL.embedding_chunks(piece, max_length=100)
    assert {len(r) for r in short} == {100} and {int(r[-1]) for r in short} == {FULL.eos}


def test_drums_without_a_token_leave_the_rest_in_time() -> None:
    rows = note_table([0, 500, 9000], [100, 600, 9100], [60, 90, 62], [64] * 3, [0, 9, 0])
    for tokenizer in (FULL, RelativeTokenizer()):
        ids = tokenizer.encode(Piece(TempoMap.constant(), rows))
        assert tokenizer.tokens(ids).count("<U>") == 1
        assert tokenizer.decode(ids).notes.onset_tick.tolist() == [0, 9000]


def test_metadata_of_a_piece() -> None:
    piece = replace(small_piece(), source="midi/Etude_chopin.mid", text=((0, "by Liszt"),))
    assert label(piece).metadata == {"composer": "chopin", "form": "étude"}
    assert label(small_piece()).metadata == {}
    unnamed = replace(small_piece(genre="jazz"), text=((0, "by Liszt"),))
    assert label(unnamed).metadata == {"genre": "jazz", "composer": "liszt"}
