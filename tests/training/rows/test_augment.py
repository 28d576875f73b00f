from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arietta.data.token_grid import NoteColumns
from arietta.errors import InputError, UsageError
from arietta.midi.piece import Piece
from arietta.tokenizers.aria import AriaTokenizer
from arietta.tokenizers.relative import RelativeTokenizer
from arietta.tokenizers.vocabulary import VARIANT_NAMES, vocabulary
from arietta.training.rows import augment
from arietta.training.rows.augment import Change, Ranges
from arietta.training.rows.augment_relative import mix_relative_chords, scale_relative_tempo
from tests.tokenizers.golden import Golden
from tests.tokenizers.pieces import pieces

PIANO, FULL = AriaTokenizer("piano"), AriaTokenizer("full")
RELATIVE = RelativeTokenizer()


@pytest.fixture
def golden(golden_dir: Path) -> Golden:
    return Golden(golden_dir / "aria")


def test_ids_equal_the_reference(golden: Golden) -> None:
    checked = 0
    for file, name in (("augment", "full"), ("augment_pedal", "full-pedal")):
        vocab = vocabulary(name)
        for case in golden.json(file):
            ids = case["ids"]
            for what, expected in case.items():
                if what in ("name", "ids"):
                    continue
                kind, amount = what.split()[:2]
                mixup = "reverse" if "mixup" in what else None
                if kind == "pitch":
                    got = augment.shift_pitch_ids(ids, vocab, int(amount))
                elif kind == "velocity":
                    got = augment.shift_velocity_ids(ids, vocab, int(amount))
                elif kind == "tempo":
                    got = augment.scale_tempo_ids(ids, vocab, float(amount), mixup)  # type: ignore[arg-type]
                else:
                    assert what == "chain tempo 1.13 (shuffle=reverse), pitch +3, velocity -1"
                    got = augment.scale_tempo_ids(ids, vocab, 1.13, "reverse")
                    got = augment.shift_velocity_ids(
                        augment.shift_pitch_ids(got, vocab, 3), vocab, -1
                    )
                expected = ids if expected == "unchanged" else expected
                assert got.tolist() == expected, (case["name"], what)
                checked += 1
    assert checked == 308


@given(pitch=st.integers(0, 127), semitones=st.integers(-12, 12))
def test_what_is_transposed_stays_on_the_keyboard(pitch: int, semitones: int) -> None:
    moved = int(augment.on_keyboard(np.array([pitch], np.uint8), semitones)[0])
    assert 21 <= moved <= 108 and (moved - pitch - semitones) % 12 == 0
    if 21 <= pitch + semitones <= 108:
        assert moved == pitch + semitones
    else:
        assert min(moved - 21, 108 - moved) < 12


@pytest.mark.parametrize("semitones", [-12, -5, 0, 7, 12])
def test_ids_and_notes_are_transposed_alike(semitones: int) -> None:
    def scale(pitch: Any) -> Piece:
        return Piece.from_ms(100.0 * np.arange(88), np.full(88, 90.0), pitch, np.full(88, 64))

    pitch = np.arange(21, 109)
    ids = augment.transpose_ids(PIANO.encode(scale(pitch)), PIANO.vocabulary, semitones)
    expected = PIANO.encode(scale(augment.on_keyboard(pitch, semitones)))
    assert ids.tolist() == expected.tolist()


def test_relative_ids_equal_the_reference(golden: Golden) -> None:
    vocab = RELATIVE.vocabulary
    for case in golden.json("rel"):
        ids = case["ids"]

        def check(what: str, got, case=case, ids=ids) -> None:  # type: ignore[no-untyped-def]
            expected = ids if case[what] == "unchanged" else case[what]
            assert got.tolist() == expected, (case["name"], what)

        check("pitch +3", augment.shift_pitch_ids(ids, vocab, 3))
        check("velocity +1", augment.shift_velocity_ids(ids, vocab, 1))
        for factor in ("0.8", "1.0", "1.2"):
            scaled = scale_relative_tempo(ids, vocab, float(factor), compat="aria")
            check(f"tempo {factor}", scaled)
        mixed = mix_relative_chords(ids, vocab, "reverse", compat="aria")
        check("chord mixup with shuffle=reverse", mixed)


def columns_of(tokenizer: AriaTokenizer, piece: Piece) -> NoteColumns:
    c = tokenizer.decode_columns(tokenizer.encode(piece))
    return NoteColumns(c.onset_ms, c.duration_ms, c.pitch, c.velocity)


changes = st.builds(Change, st.floats(0.3, 2.0), st.integers(-14, 14), st.integers(-3, 3))


@given(pieces(piano_only=True), changes)
@settings(max_examples=150)
def test_columns_and_ids_agree(piece: Piece, change: Change) -> None:
    """The same change on columns and on ids, notes off the keyboard aside."""
    vocab = PIANO.vocabulary
    ids = PIANO.encode(piece)
    low, high = int(piece.notes.pitch.min()), int(piece.notes.pitch.max())
    change = Change(change.tempo, int(np.clip(change.pitch, -low, 127 - high)), change.velocity)
    for mixup in (None, "reverse"):
        changed = augment.augment_columns(columns_of(PIANO, piece), change, mixup)  # type: ignore[arg-type]
        expected = PIANO.encode_columns(*changed)
        room = np.append(ids, np.full(len(expected), PIANO.pad, np.int32))
        got = augment.scale_tempo_ids(room, vocab, change.tempo, mixup)  # type: ignore[arg-type]
        got = augment.shift_velocity_ids(
            augment.shift_pitch_ids(got, vocab, change.pitch), vocab, change.velocity
        )
        assert got[got != PIANO.pad].tolist() == expected.tolist()


@given(pieces(piano_only=True), st.integers(0, 10**6))
def test_columns_stay_on_the_grid(piece: Piece, seed: int) -> None:
    rng = np.random.default_rng(seed)
    before = columns_of(PIANO, piece)
    change = Ranges().draw(rng)
    after = augment.augment_columns(before, change, rng)
    assert len(after.onset_ms) <= len(before.onset_ms)
    assert np.all(np.diff(after.onset_ms) >= 0)
    for column, low, high in (
        (after.duration_ms, 10, 5000), (after.velocity, 10, 120), (after.onset_ms, 0, 10**9),
    ):  # fmt: skip
        assert np.all(column % 10 == 0) and np.all((column >= low) & (column <= high))
    assert np.all((after.pitch >= 0) & (after.pitch <= 127))
    # Encoding what was augmented and reading it back gives it again.
    if len(after.onset_ms):
        again = PIANO.decode_columns(PIANO.encode_columns(*after))
        assert again.onset_ms.tolist() == after.onset_ms.tolist()
        assert again.duration_ms.tolist() == after.duration_ms.tolist()


def test_notes_off_the_keyboard_are_dropped() -> None:
    notes = NoteColumns(*(np.array(c) for c in ([0, 10, 20], [50] * 3, [2, 60, 125], [64] * 3)))
    assert augment.augment_columns(notes, Change(pitch=-5)).pitch.tolist() == [55, 120]
    assert augment.augment_columns(notes, Change(pitch=5)).pitch.tolist() == [7, 65]


def test_mixup_only_moves_notes_of_one_onset() -> None:
    n = 400
    rng = np.random.default_rng(1)
    onset = np.sort(rng.integers(0, 60, n)) * 10
    notes = NoteColumns(onset, np.full(n, 100), np.arange(n) % 128, np.full(n, 60))
    mixed = augment.augment_columns(notes, Change(), np.random.default_rng(5))
    again = augment.augment_columns(notes, Change(), np.random.default_rng(5))
    other = augment.augment_columns(notes, Change(), np.random.default_rng(6))
    assert mixed.pitch.tolist() == again.pitch.tolist() != other.pitch.tolist()
    assert mixed.onset_ms.tolist() == onset.tolist()
    for t in np.unique(onset):
        assert sorted(mixed.pitch[onset == t]) == sorted(notes.pitch[onset == t])
    # Every order of a chord of three is about equally likely.
    chord = NoteColumns(*(np.array(c) for c in ([0] * 3, [50] * 3, [60, 64, 67], [64] * 3)))
    rng = np.random.default_rng(2)
    orders = [tuple(augment.augment_columns(chord, Change(), rng).pitch) for _ in range(600)]
    assert all(70 < orders.count(o) < 130 for o in set(orders)) and len(set(orders)) == 6


@given(pieces(), st.sampled_from(VARIANT_NAMES), st.integers(0, 10**6))
def test_random_rows_are_deterministic_and_sound(piece: Piece, name: str, seed: int) -> None:
    tokenizer = AriaTokenizer(name)
    try:
        ids = tokenizer.encode(piece)
    except InputError:
        return
    row = np.concatenate((ids, ids))
    first = augment.augment_ids(row, tokenizer.vocabulary, np.random.default_rng(seed))
    second = augment.augment_ids(row, tokenizer.vocabulary, np.random.default_rng(seed))
    assert first.tolist() == second.tolist()
    assert len(first) == len(row) and first.dtype == np.int32
    assert np.all((first >= 0) & (first < tokenizer.vocab_size))


@given(st.integers(0, 10**6), st.integers(1, 60), st.sampled_from(VARIANT_NAMES))
def test_damaged_rows_survive(seed: int, n: int, name: str) -> None:
    """Random ids: the vectorised parser and the one for damaged rows see the same events."""
    rng = np.random.default_rng(seed)
    vocab = vocabulary(name)
    ids = rng.integers(0, vocab.size, n).astype(np.int32)
    out = augment.scale_tempo_ids(ids, vocab, 1.0, rng)
    assert len(out) == n
    sound = out[out != 2]
    again = augment.scale_tempo_ids(sound, vocab, 1.0)
    assert again.tolist() == sound.tolist()
    kind = vocab.kinds[sound]
    fast = augment._parse(sound, kind, vocab)
    slow = augment._parse_damaged(sound, kind, vocab)
    assert fast.at.tolist() == slow.at.tolist()
    assert fast.segment.tolist() == slow.segment.tolist()
    assert (fast.marks, fast.ends) == (slow.marks, slow.ends)


def test_length_and_contrast_change_nothing_else() -> None:
    rng = np.random.default_rng(3)
    n = 200
    notes = NoteColumns(
        np.sort(rng.integers(0, 20_000, n)) * 10,
        rng.integers(1, 200, n) * 10,
        rng.integers(30, 90, n),
        rng.integers(2, 12, n) * 10,
    )
    longer = augment.augment_columns(notes, Change(length=1.5))
    np.testing.assert_array_equal(longer.onset_ms, notes.onset_ms)
    np.testing.assert_allclose(longer.duration_ms, notes.duration_ms * 1.5, atol=5)
    flat = augment.augment_columns(notes, Change(contrast=0.5))
    np.testing.assert_array_equal(flat.duration_ms, notes.duration_ms)
    np.testing.assert_allclose(flat.velocity, 64 + (notes.velocity - 64) / 2, atol=5)
    drawn = [Ranges(length=0.2, contrast=0.3).draw(rng) for _ in range(300)]
    assert min(c.length for c in drawn) < 0.82 and max(c.contrast for c in drawn) > 1.27
    # Recipes without them draw what they drew before.
    plain, fuller = (Ranges(length=x).draw(np.random.default_rng(0)) for x in (0.0, 0.2))
    assert (plain.tempo, plain.pitch) == (fuller.tempo, fuller.pitch) and plain.length == 1


def test_ranges_and_no_change() -> None:
    for wrong in (
        {"tempo": 1.0},
        {"tempo": -0.1},
        {"pitch": -1},
        {"velocity": -1},
        {"length": 1.0},
        {"contrast": -0.1},
    ):
        with pytest.raises(UsageError):
            Ranges(**wrong)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    drawn = [Ranges().draw(rng) for _ in range(500)]
    assert {c.pitch for c in drawn} == set(range(-5, 6))
    assert {c.velocity for c in drawn} == {-1, 0, 1}
    assert 0.8 <= min(c.tempo for c in drawn) < 0.82 and 1.18 < max(c.tempo for c in drawn) <= 1.2
    piece = Piece.from_ms([0, 500, 7000], [300] * 3, [60, 64, 67], [70] * 3)
    still = Ranges(tempo=0, pitch=0, velocity=0, mixup=False)
    ids = FULL.encode(piece)
    assert augment.augment_ids(ids, FULL.vocabulary, rng, still).tolist() == ids.tolist()


def test_relative_tempo_does_not_drift() -> None:
    gaps = np.arange(300) * 130
    piece = Piece.from_ms(gaps, [50] * 300, [60] * 300, [70] * 300)
    ids = np.append(RELATIVE.encode(piece), np.full(300, RELATIVE.pad, np.int32))
    for factor in (0.93, 1.11):
        scaled = RELATIVE.decode(scale_relative_tempo(ids, RELATIVE.vocabulary, factor))
        assert np.abs(scaled.notes.onset_tick - gaps * factor).max() <= 5.001
        drifting = scale_relative_tempo(ids, RELATIVE.vocabulary, factor, compat="aria")
        far = np.abs(RELATIVE.decode(drifting).notes.onset_tick - gaps * factor).max()
        assert far > 100


def test_relative_oddities() -> None:
    vocab = RELATIVE.vocabulary
    note, dur, wait = [44 + 13 * 60 + 6], [16741], [vocab.onset_start + 50]
    row = np.array([*note, *dur, *wait, RELATIVE.unk, *note, *dur, *wait, RELATIVE.eos])
    ours = scale_relative_tempo(row, vocab, 1.0)
    theirs = scale_relative_tempo(row, vocab, 1.0, compat="aria")
    unknown = [RELATIVE.unk]
    assert ours.tolist() == [*note, *dur, *wait, *unknown, *note, *dur, RELATIVE.eos, RELATIVE.pad]
    assert theirs.tolist() == [
        *note, *dur, *unknown, *wait, *note, *dur, RELATIVE.eos, RELATIVE.pad,
    ]  # fmt: skip
    drum = [vocab.drum_start]
    chord = np.array([*note, *dur, *drum, *wait, *drum, *note, *dur])
    rng = np.random.default_rng(0)
    mixed = mix_relative_chords(chord, vocab, "reverse")
    assert mixed.tolist() == [*drum, *note, *dur, *wait, *note, *dur, *drum]
    assert mix_relative_chords(chord, vocab, None).tolist() == chord.tolist()
    assert sorted(mix_relative_chords(chord, vocab, rng)) == sorted(chord)


onsets = st.lists(st.integers(0, 400), max_size=40)


@given(onsets, st.floats(0, 200), st.integers(0, 99))
def test_jitter_keeps_order_and_chords(gaps: list[int], jitter_ms: float, seed: int) -> None:
    onset = np.cumsum(np.array([0, *gaps]))
    moved = augment.jitter_onsets(onset, jitter_ms, np.random.default_rng(seed))
    assert moved.dtype == np.int64
    assert moved[0] == 0
    before, after = np.diff(onset), np.diff(moved)
    # Half of the time between at most, and rounding to whole milliseconds.
    assert (np.abs(after - before) <= before / 2 + 1).all()
    assert (after >= 0).all()
    assert not after[before == 0].any()


def test_jitter_has_the_size_asked_for() -> None:
    onset = np.arange(20_000) * 1000
    rng = np.random.default_rng(0)
    for jitter_ms in (0.0, 5.0, 40.0):
        change = np.diff(augment.jitter_onsets(onset, jitter_ms, rng)) - 1000
        assert abs(change.std() - jitter_ms) < 0.5
    assert onset[1] == 1000  # the input is not changed
