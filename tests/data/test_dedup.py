"""Same notes, same recording, same composition: on invented works whose truth is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arietta.data import dedup
from arietta.data.dedup import (
    Fingerprint,
    FingerprintTable,
    Work,
    cap_compositions,
    composition_groups,
    content_hash,
    dedup_recordings,
    fingerprint,
    fingerprint_notes,
    same_composition,
    same_recording,
)
from arietta.midi.notes import note_table, program_table
from arietta.midi.piece import Piece
from arietta.midi.tempo import TempoMap


@dataclass(frozen=True, eq=False)
class Notes:
    """(n,) columns in milliseconds, in order of onset."""

    onset: npt.NDArray[np.float64]
    pitch: npt.NDArray[np.int64]

    @classmethod
    def of(cls, onset: npt.NDArray[np.float64], pitch: npt.NDArray[np.int64]) -> Notes:
        order = np.argsort(onset, kind="stable")
        return cls(onset[order], pitch[order])

    @property
    def print(self) -> Fingerprint:
        return fingerprint_notes(self.onset, self.pitch)

    def between(self, start: float, stop: float) -> Notes:
        inside = (self.onset >= start) & (self.onset < stop)
        return Notes(self.onset[inside], self.pitch[inside])


def compose(seed: int, chords: int = 400) -> Notes:
    """A score: chords of one to four notes, 250 ms apart, over a wandering bass."""
    rng = np.random.default_rng(seed)
    bass = 48 + np.cumsum(rng.integers(-3, 4, chords)) % 24
    size = rng.integers(1, 5, chords)
    onset = np.repeat(np.arange(chords) * 250.0, size)
    above = rng.integers(0, 5, len(onset)) * 3 + rng.integers(0, 3, len(onset))
    return Notes.of(onset, np.repeat(bass, size) + above)


def play(score: Notes, seed: int, slips: float = 0.03) -> Notes:
    """A performance: a tempo that drifts, chords that spread, some notes left out or wrong."""
    rng = np.random.default_rng(seed)
    beats, place = np.unique(score.onset, return_inverse=True)
    drift = np.exp(np.cumsum(rng.normal(0, 0.03, len(beats))))
    onset = np.cumsum(250 * drift)[place] + rng.normal(0, 6, len(place))
    pitch = score.pitch + np.where(rng.random(len(place)) < slips, rng.integers(-2, 3), 0)
    heard = rng.random(len(place)) >= slips
    return Notes.of(onset[heard] - onset.min(), pitch[heard])


def encoded_anew(notes: Notes) -> Notes:
    return Notes.of(np.round(notes.onset / 10) * 10, notes.pitch)


def transcribed(notes: Notes) -> Notes:
    rng = np.random.default_rng(7)
    heard = rng.random(len(notes.onset)) > 0.04
    ghosts = rng.integers(0, len(notes.onset), len(notes.onset) // 30)
    onset = np.append(notes.onset[heard] + rng.normal(0, 4, heard.sum()), notes.onset[ghosts] + 40)
    return Notes.of(onset, np.append(notes.pitch[heard], notes.pitch[ghosts] + 12))


VARIANTS: dict[str, Callable[[Notes], Notes]] = {
    "itself": lambda notes: notes,
    "later": lambda notes: Notes(notes.onset + 61_234, notes.pitch),
    "a part": lambda notes: notes.between(30_000, 60_000),
    "a part from zero": lambda notes: Notes(
        notes.between(30_000, 60_000).onset - 30_000, notes.between(30_000, 60_000).pitch
    ),
    "on a 10 ms grid": encoded_anew,
    "heard by a machine": transcribed,
    "with more before and after": lambda notes: Notes(
        np.concatenate((compose(90).onset, notes.onset + 2e5, compose(91).onset + 2e6)),
        np.concatenate((compose(90).pitch, notes.pitch, compose(91).pitch)),
    ),
}


def piece_of(notes: Notes) -> Piece:
    return Piece.from_ms(notes.onset, 200, notes.pitch, 64)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_recording_is_known_again(name: str) -> None:
    played = play(compose(1), 2)
    changed = VARIANTS[name](played)
    match = same_recording(played.print, changed.print)
    assert match.same
    assert same_recording(changed.print, played.print).same
    assert same_composition(played.print, changed.print).same


@pytest.mark.parametrize(
    ("name", "shift"),
    [("itself", 0), ("later", 61_234), ("a part from zero", -30_000), ("on a 10 ms grid", 0)],
)
def test_the_shift_leads_from_the_first_to_the_second(name: str, shift: int) -> None:
    played = play(compose(1), 2)
    match = same_recording(played.print, VARIANTS[name](played).print)
    assert abs(match.shift_ms - shift) <= 10


def test_two_performances_are_one_composition_and_two_recordings() -> None:
    for seed in range(8):
        one, other = play(compose(seed), 100 + seed).print, play(compose(seed), 200 + seed).print
        assert same_composition(one, other).same
        assert not same_recording(one, other).same


def test_chords_may_be_spread_either_way() -> None:
    score = compose(3)
    lower_first = Notes.of(score.onset + score.pitch * 0.2, score.pitch)
    upper_first = Notes.of(score.onset - score.pitch * 0.2 + 20, score.pitch)
    assert same_composition(lower_first.print, upper_first.print).share > 0.95


def test_two_works_share_nothing() -> None:
    prints = [play(compose(seed), seed).print for seed in range(12)]
    for i, one in enumerate(prints):
        for other in prints[:i]:
            assert not same_composition(one, other).same
            assert not same_recording(one, other).same


def test_scales_and_trills_do_not_count() -> None:
    up = np.arange(40, 90)
    scale = np.concatenate([up, up[::-1]] * 6)
    trill = np.tile([60, 62, 65], 300)
    assert len(fingerprint_notes(np.arange(len(trill)) * 100.0, trill)) == 0
    # Only the turns of the scale are left.
    turns = fingerprint_notes(np.arange(len(scale)) * 100.0, scale)
    assert len(np.unique(turns.hash)) <= 2 * (dedup.SEQUENCE - 1)


def test_a_passage_that_many_works_hold_does_not_join_them() -> None:
    passage = compose(500, 36)
    prints = []
    for seed in range(12):
        work = compose(seed, 300)
        after = passage.onset + work.onset[-1] + 500
        both = Notes(np.append(work.onset, after), np.append(work.pitch, passage.pitch))
        prints += [play(both, seed, 0.01).print, play(both, 50 + seed, 0.01).print]
    # Each with each, it would be enough.
    assert same_composition(prints[0], prints[2]).same
    assert composition_groups(prints).tolist() == [i - i % 2 for i in range(24)]
    # What only two works have in common counts.
    assert composition_groups(prints[:4]).tolist() == [0] * 4


def test_long_files_are_thinned_out_and_short_ones_found_in_them() -> None:
    works = [play(compose(seed, 500), seed) for seed in range(20)]
    starts = np.cumsum([0.0] + [w.onset[-1] + 3000 for w in works])
    recital = Notes(
        np.concatenate([w.onset + s for w, s in zip(works, starts, strict=False)]),
        np.concatenate([w.pitch for w in works]),
    ).print
    assert recital.level == dedup.MAX_LEVEL
    for i in (0, 9, 19):
        match = same_recording(works[i].print, recital)
        assert match.same
        assert abs(match.shift_ms - starts[i]) <= 2
        assert same_composition(play(compose(i, 500), 77).print, recital).same
    assert not same_recording(play(compose(55), 1).print, recital).same


def test_fingerprints_stay_small_whatever_the_music() -> None:
    loop = np.tile(compose(6, 16).pitch, 400)
    print_ = fingerprint_notes(np.arange(len(loop)) * 120.0, loop)
    assert len(print_) <= len(np.unique(print_.hash)) * dedup.MAX_REPEATS
    assert print_.hash.dtype == print_.time_ms.dtype == np.uint32
    assert (np.diff(print_.hash.astype(np.int64)) >= 0).all()


@pytest.mark.parametrize("count", range(10))
def test_tiny_files_have_no_match(count: int) -> None:
    score = compose(8)
    tiny = fingerprint_notes(score.onset[:count], score.pitch[:count])
    assert tiny.notes == count
    for other in (tiny, score.print):
        assert not same_recording(tiny, other).same
        assert not same_recording(other, tiny).same
        assert not same_composition(tiny, other).same
    assert dedup_recordings([tiny, tiny]) == []
    assert composition_groups([tiny, tiny]).tolist() == [0, 1]


def test_no_files() -> None:
    assert dedup_recordings([]) == []
    assert composition_groups([]).tolist() == []


def test_drums_do_not_count() -> None:
    notes = compose(9)
    alone = piece_of(notes)
    n = len(notes.onset)
    both = note_table(
        np.append(alone.notes.onset_tick, np.arange(n) * 100),
        np.append(alone.notes.offset_tick, np.arange(n) * 100 + 50),
        np.append(alone.notes.pitch, np.full(n, 38)),
        64,
        np.append(np.zeros(n), np.full(n, 9)),
    )
    with_drums = replace(alone, notes=both.take(np.argsort(both.onset_tick, kind="stable")))
    assert np.array_equal(fingerprint(with_drums).hash, fingerprint(alone).hash)
    assert fingerprint(with_drums).notes == n


# Groups and choices


def collection() -> tuple[list[Fingerprint], list[int], list[set[int]]]:
    """Fingerprints, their works, and sets of files with one recording each (longest first)."""
    prints: list[Fingerprint] = []
    numbers: list[int] = []
    recordings: list[set[int]] = []
    for work in range(10):
        for performance in range(work % 4 + 1):
            played = play(compose(work), 1000 * work + performance)
            copies = [played]
            if performance == 0:
                copies += [
                    VARIANTS["a part from zero"](played),
                    VARIANTS["heard by a machine"](played),
                ]
            recordings.append(set(range(len(prints), len(prints) + len(copies))))
            prints += [c.print for c in copies]
            numbers += [work] * len(copies)
    return prints, numbers, recordings


@pytest.mark.parametrize("entries", [1 << 25, 500])
def test_groups_and_duplicates_of_a_collection(
    entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the index has to be made in many slices."""
    monkeypatch.setattr(dedup, "ENTRIES", entries)
    prints, numbers, recordings = collection()
    labels = composition_groups(prints)
    assert labels.tolist() == [numbers.index(w) for w in numbers]
    found = dedup_recordings(FingerprintTable.pack(prints))
    expected = {i: max(r, key=lambda j: prints[j].notes) for r in recordings for i in r}
    assert {d.duplicate: d.kept for d in found} == {i: k for i, k in expected.items() if i != k}
    assert all(d.match.same for d in found)


def test_order_of_files_changes_nothing_but_ties() -> None:
    prints, _, _ = collection()
    order = np.random.default_rng(3).permutation(len(prints))
    mixed = [prints[i] for i in order]
    kept = {(d.duplicate, d.kept) for d in dedup_recordings(prints)}
    assert kept == {(order[d.duplicate], order[d.kept]) for d in dedup_recordings(mixed)}
    labels, mixed_labels = composition_groups(prints), composition_groups(mixed)
    same = labels[order][:, None] == labels[order][None]
    assert np.array_equal(same, mixed_labels[:, None] == mixed_labels[None])


def test_of_equal_copies_the_first_is_kept() -> None:
    print_ = play(compose(1), 1).print
    assert [(d.duplicate, d.kept) for d in dedup_recordings([print_] * 3)] == [(1, 0), (2, 0)]


def test_two_parts_of_a_recording_go_only_where_the_whole_is() -> None:
    whole = play(compose(1), 1)
    parts = [whole.between(0, 40_000).print, whole.between(45_000, 90_000).print]
    assert dedup_recordings(parts) == []
    found = dedup_recordings([*parts, whole.print])
    assert [(d.duplicate, d.kept) for d in found] == [(0, 2), (1, 2)]


def test_a_work_that_many_have_played_is_one_group() -> None:
    prints = [play(compose(1, 150), seed).print for seed in range(60)]
    prints += [play(compose(2, 150), seed).print for seed in range(3)]
    assert composition_groups(prints).tolist() == [0] * 60 + [60] * 3
    assert dedup_recordings(prints) == []


def test_sharing_a_stretch_does_not_make_one_recording() -> None:
    """Half a recording in another one counts, less than half does not."""
    played, other = play(compose(1, 600), 1), play(compose(2, 600), 2)
    end = played.onset[-1]
    for share, same in ((0.35, False), (0.65, True)):
        stretch = played.between(0, share * end)
        rest = other.between(share * end, end)
        mixed = Notes(np.append(stretch.onset, rest.onset), np.append(stretch.pitch, rest.pitch))
        match = same_recording(played.print, mixed.print)
        assert match.agreement > 0.9
        assert match.same == same


def test_tables_give_back_what_went_in() -> None:
    prints = [play(compose(i, 40 * i + 1), i).print for i in range(4)]
    table = FingerprintTable.pack(prints)
    assert len(table) == 4
    for before, after in zip(prints, table, strict=True):
        for name in ("hash", "time_ms", "span_ms"):
            assert np.array_equal(getattr(before, name), getattr(after, name))
        assert (before.level, before.notes) == (after.level, after.notes)
    with pytest.raises(IndexError):
        table[4]


# Exact duplicates


def rewritten(piece: Piece, resolution: int, us_per_quarter: int) -> Piece:
    """The same times on another grid, with tracks and channels changed and notes mixed."""
    ticks = Fraction(resolution * 1000, us_per_quarter)
    onset = [round(int(t) * ticks) for t in piece.notes.onset_tick]
    offset = [round(int(t) * ticks) for t in piece.notes.offset_tick]
    order = np.lexsort((np.random.default_rng(0).random(len(onset)), onset))
    table = note_table(
        np.array(onset) + 7 * resolution,
        np.array(offset) + 7 * resolution,
        piece.notes.pitch,
        piece.notes.velocity,
        3,
        2,
    ).take(order)
    tempo = TempoMap(resolution, np.array([0], np.int64), np.array([us_per_quarter], np.int64))
    return Piece(tempo, table, programs=program_table([0], [1], 3))


def sample_piece(seed: int = 0, shift: int = 0, stretch: int = 1) -> Piece:
    notes = play(compose(seed, 60), 1)
    onset = np.round(notes.onset) * stretch
    duration = (np.arange(len(onset)) % 7 * 50 + 80) * stretch
    return Piece.from_ms(onset, duration, notes.pitch + shift, 40 + np.arange(len(onset)) % 60)


@pytest.mark.parametrize(("resolution", "us"), [(1000, 500_000), (480, 480_000), (500, 250_000)])
def test_content_does_not_depend_on_how_it_is_written(resolution: int, us: int) -> None:
    piece = sample_piece()
    other = rewritten(piece, resolution, us)
    assert other.notes.onset_tick[0] != piece.notes.onset_tick[0]
    assert content_hash(piece) == content_hash(other)
    assert len(content_hash(piece)) == 32


@pytest.mark.parametrize("name", ["onset_tick", "offset_tick", "pitch", "velocity"])
def test_every_column_counts(name: str) -> None:
    piece = sample_piece()
    column = getattr(piece.notes, name).copy()
    column[len(column) // 2] += 1
    changed = replace(piece, notes=replace(piece.notes, **{name: column}))
    assert content_hash(piece) != content_hash(changed)
    organ = replace(piece, programs=program_table([0], [16]))
    assert content_hash(piece) != content_hash(organ)


def test_transposition_and_tempo_count_unless_told_otherwise() -> None:
    piece, higher, slower = sample_piece(), sample_piece(shift=3), sample_piece(stretch=3)
    both = sample_piece(shift=3, stretch=3)
    assert len({content_hash(p) for p in (piece, higher, slower, both)}) == 4
    by_pitch = [content_hash(p, transposition=True) for p in (piece, higher, slower, both)]
    assert by_pitch[0] == by_pitch[1] != by_pitch[2] == by_pitch[3]
    by_tempo = [content_hash(p, tempo=True) for p in (piece, slower, higher, both)]
    assert by_tempo[0] == by_tempo[1] != by_tempo[2] == by_tempo[3]
    neither = {content_hash(p, transposition=True, tempo=True) for p in (piece, higher, both)}
    assert len(neither) == 1
    other = sample_piece(seed=1)
    assert content_hash(other, transposition=True, tempo=True) not in neither


def test_drums_are_not_transposed() -> None:
    piece = sample_piece()
    channel = np.where(np.arange(len(piece)) % 2 == 0, 9, 0).astype(np.uint8)
    mixed = replace(piece, notes=replace(piece.notes, channel=channel))
    higher = mixed.notes.pitch + np.where(channel == 9, 0, 2).astype(np.uint8)
    all_higher = mixed.notes.pitch + np.uint8(2)
    tuned = replace(mixed, notes=replace(mixed.notes, pitch=higher))
    wrong = replace(mixed, notes=replace(mixed.notes, pitch=all_higher))
    assert content_hash(mixed, transposition=True) == content_hash(tuned, transposition=True)
    assert content_hash(mixed, transposition=True) != content_hash(wrong, transposition=True)


def test_pieces_without_notes_or_length_have_a_hash() -> None:
    empty = Piece.from_ms([], [], [], [])
    still = Piece.from_ms([5, 5], [0, 0], [60, 64], [1, 2])
    hashes = {content_hash(p, transposition=t, tempo=t) for p in (empty, still) for t in (0, 1)}
    assert len(hashes) == 3


@given(st.integers(0, 30), st.integers(1, 4), st.integers(0, 10_000), st.integers(-12, 12))
@settings(max_examples=25)
def test_invariances(seed: int, stretch: int, later: int, shift: int) -> None:
    notes = compose(seed, 12)
    one = Piece.from_ms(notes.onset, 200, notes.pitch, 64)
    two = Piece.from_ms(notes.onset * stretch + later, 200 * stretch, notes.pitch + shift, 64)
    assert content_hash(one, transposition=True, tempo=True) == content_hash(
        two, transposition=True, tempo=True
    )
    assert (content_hash(one) == content_hash(two)) == (stretch == 1 and shift == 0)


# Caps


def works(composer: str, numbers: int, copies: int) -> list[Work]:
    return [Work(composer, "op. 10", str(n)) for n in range(numbers) for _ in range(copies)]


def test_composers_with_many_files_are_capped() -> None:
    listed = [*works("a", 20, 13), Work("a", "", ""), *works("b", 20, 12), Work("b", "", "")]
    dropped = cap_compositions(listed)
    assert len(dropped) == 20 * 3 + 1
    assert all(i <= 260 for i in dropped)
    assert [i for i in dropped if i < 13] == [10, 11, 12]
    assert "untagged" in dropped[260]


def test_exactly_the_limit_is_not_over_it() -> None:
    assert not cap_compositions(works("a", 10, 25))
    assert cap_compositions([*works("a", 10, 25), Work("a", "", "99")])


def test_a_known_group_identifies_an_untagged_file() -> None:
    listed = [*works("a", 20, 13), *[Work("a", "", "", "g")] * 12]
    dropped = cap_compositions(listed)
    assert [i for i in dropped if i >= 260] == [270, 271]


def test_one_of_each_work() -> None:
    listed = [*works("a", 2, 3), Work("", "", "", "g"), Work("", "", "", "g"), Work("", "", "")]
    assert sorted(cap_compositions(listed, limit=None, per_work=1)) == [1, 2, 4, 5, 7]


def one_sequence(count: int, span_ms: list[int] | None = None) -> FingerprintTable:
    """Files that hold the same three sequences and nothing else."""
    spans = span_ms or [0] * count
    return FingerprintTable.pack(
        Fingerprint(
            np.array([5, 6, 7], np.uint32),
            np.array([0, 1, 2], np.uint32),
            np.full(3, span, np.uint16),
            0,
            10,
        )
        for span in spans
    )


def pairs(found: npt.NDArray[np.int64]) -> set[tuple[int, int]]:
    return {(int(a), int(b)) for a, b in found}


@pytest.mark.parametrize("window", [1, 2, 5])
def test_the_search_compares_each_sequence_with_the_next_of_its_window(window: int) -> None:
    table = one_sequence(7)
    near = {(a, b) for a in range(7) for b in range(a + 1, 7) if b - a <= window}
    assert pairs(dedup.recording_candidates(table, window)) == near
    assert pairs(dedup.composition_candidates(table, np.arange(7), window)) == near


def test_the_windows_are_32_recordings_and_4_compositions() -> None:
    table = one_sequence(34)
    found = pairs(dedup.recording_candidates(table))
    assert {b - a for a, b in found} == set(range(1, 33))
    found = pairs(dedup.composition_candidates(table, np.arange(34)))
    assert {b - a for a, b in found} == set(range(1, 5))


def test_copies_of_a_recording_are_as_long_within_half_a_shift() -> None:
    half = dedup.SHIFT_MS // 2
    table = one_sequence(3, [1000, 1000 + half, 1000 + 2 * half + 1])
    assert pairs(dedup.recording_candidates(table)) == {(0, 1)}


@pytest.mark.parametrize(
    ("late", "same"), [(0, True), (dedup.SHIFT_MS, True), (dedup.SHIFT_MS + 1, False)]
)
def test_differences_in_time_lie_in_one_window(late: int, same: bool) -> None:
    """Half of the sequences come later by so much in the second file."""
    count = 40
    hashes = np.arange(count, dtype=np.uint32)
    time = np.arange(count, dtype=np.uint32) * 1000
    shifted = time + np.where(np.arange(count) % 2, late, 0).astype(np.uint32)
    a, b = (Fingerprint(hashes, t, np.zeros(count, np.uint16), 0, count) for t in (time, shifted))
    match = same_recording(a, b, agreement=0.9)
    assert match.same == same
    assert match.shared == (count if same else count // 2)


def test_the_window_of_differences_is_two_shifts_wide() -> None:
    """21 sequences come up to two shifts later, evenly; 15 come at one other time."""
    shift = dedup.SHIFT_MS
    late = np.array([0, shift, 2 * shift] * 7 + [8 * shift] * 15, np.uint32)
    count = len(late)
    hashes, time = np.arange(count, dtype=np.uint32), np.arange(count, dtype=np.uint32) * 1000
    a, b = (
        Fingerprint(hashes, t, np.zeros(count, np.uint16), 0, count) for t in (time, time + late)
    )
    match = same_recording(a, b)
    assert match.shared == 21 and match.shift_ms == shift
