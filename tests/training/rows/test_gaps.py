"""Rows with gaps and with controls: nothing is lost, all lies on one grid, and they fit the row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arietta.data.token_grid import NoteColumns
from arietta.errors import UsageError
from arietta.models.aria.clock import clock_of
from arietta.tokenizers.aria import AriaTokenizer
from arietta.tokenizers.controls import control_id, density_level, loudness_level, register_level
from arietta.tokenizers.vocabulary import BOS, CONTROL_LEVELS, EOS, TIME, Kind
from arietta.training.rows.gaps import control_ids, draw_gap, gap_row, gap_rows, with_controls
from arietta.training.rows.stream import LoaderSettings

TOKENIZER = AriaTokenizer("piano-fill")
VOCAB = TOKENIZER.vocabulary
GAPS, FILL, MID = range(VOCAB.fill_start, VOCAB.fill_start + 3)
PREFIX = [VOCAB.instrument_start]


def columns(seed: int, n: int) -> NoteColumns:
    rng = np.random.default_rng(seed)
    onset = np.cumsum(rng.geometric(0.05, n) - 1) * 10
    return NoteColumns(
        onset - onset[0],
        rng.integers(1, 501, n) * 10,
        rng.integers(21, 109, n),
        rng.integers(1, 13, n) * 10,
    )


def events(ids: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """(onset in steps, pitch, velocity, duration) of events, counted from their first segment."""
    found, segment, at = [], 0, 0
    while at < len(ids):
        kind = VOCAB.kinds[ids[at]]
        if ids[at] == TIME:
            segment += 1
        elif kind == Kind.NOTE:
            key, step = divmod(int(ids[at]) - VOCAB.note_start, VOCAB.velocities)
            place = int(ids[at + 1]) - VOCAB.onset_start + 500 * segment
            found.append((place, key, step + 1, int(ids[at + 2]) - VOCAB.dur_zero))
            at += 2
        at += 1
    return found


def as_events(notes: NoteColumns, chosen: np.ndarray) -> list[tuple[int, int, int, int]]:
    whole = zip(
        notes.onset_ms // 10,
        notes.pitch,
        notes.velocity // 10,
        notes.duration_ms // 10,
        strict=True,
    )
    return [tuple(map(int, e)) for e, c in zip(whole, chosen, strict=True) if c]


@given(st.integers(0, 10**6), st.integers(2, 80))
@settings(max_examples=150, deadline=None)
def test_a_row_with_a_gap_holds_every_note_once(seed: int, n: int) -> None:
    notes = columns(seed, n)
    gap = draw_gap(notes, np.random.default_rng(seed))
    ids = gap_row(notes, gap, PREFIX, VOCAB).tolist()
    assert ids[:3] == [*PREFIX, GAPS, BOS] and ids[-1] == EOS
    fill, mid = ids.index(FILL), ids.index(MID)
    start = gap.start_ms // 5000 * 500
    missing = [(o + start, *rest) for o, *rest in events(ids[mid + 1 :])]
    assert events(ids[3:fill]) == as_events(notes, ~gap.missing)
    assert missing == as_events(notes, gap.missing)
    assert all(gap.start_ms <= 10 * o < gap.end_ms for o, *_ in missing)
    if gap.keys is not None:
        assert all(gap.keys[0] <= pitch <= gap.keys[1] for _, pitch, *_ in missing)


@given(st.integers(0, 10**6), st.integers(2, 80))
@settings(max_examples=100, deadline=None)
def test_the_clock_goes_on_from_the_start_of_the_gap(seed: int, n: int) -> None:
    notes = columns(seed, n)
    gap = draw_gap(notes, np.random.default_rng(seed))
    ids = gap_row(notes, gap, PREFIX, VOCAB)
    at = int(np.flatnonzero(ids == MID)[0])
    cursor = clock_of("piano-fill").cursors(ids[None], np.zeros(1, np.int64))[0, at]
    assert cursor == gap.start_ms % 5000 // 10
    waits = clock_of("piano-fill").waits(ids[None], np.zeros(1, np.int64))[0, at:]
    onsets = [o for o, *_ in as_events(notes, gap.missing)]
    expected = np.minimum(np.diff(onsets, prepend=gap.start_ms // 10), 999)
    assert waits[waits >= 0].tolist() == expected.tolist()


def prefixes() -> Iterator[list[int]]:
    while True:
        yield PREFIX


@pytest.mark.parametrize("length", [129, 257, 513])
def test_rows_of_a_piece_fit_and_fill_their_length(length: int) -> None:
    rng = np.random.default_rng(1)
    rows = [
        row
        for seed in range(12)
        for row in gap_rows(columns(seed, 700), prefixes(), VOCAB, length, 0.5, rng)
    ]
    sizes = np.array([len(row) for row in rows])
    assert sizes.max() <= length
    assert np.mean(sizes > 0.85 * length) > 0.45
    assert sum((row == GAPS).any() for row in rows) == len(rows)
    assert sum((VOCAB.kinds[row] == Kind.CONTROL).any() for row in rows) > len(rows) / 2


def test_controls_describe_what_follows_them() -> None:
    notes = columns(3, 150)
    body = TOKENIZER.encode_columns(*notes, prefix_ids=PREFIX)
    found = 0
    for seed in range(40):
        ids = with_controls(body, VOCAB, 1.0, np.random.default_rng(seed))
        assert len(ids) == len(body)
        told = np.flatnonzero(VOCAB.kinds[ids] == Kind.CONTROL)
        if not len(told):
            assert (ids == body).all()
            continue
        found += 1
        at = int(told[0])
        assert (np.delete(ids, told) == body[: len(body) - len(told)]).all()
        assert VOCAB.kinds[ids[told[-1] + 1]] == Kind.NOTE
        rest = events(body[at:])
        seconds = (rest[-1][0] - rest[0][0]) / 100
        assert ids[told].tolist() == [
            control_id(VOCAB, "density", density_level(len(rest) / seconds)),
            control_id(VOCAB, "register", register_level(np.mean([e[1] for e in rest]))),
            control_id(VOCAB, "loudness", loudness_level(10 * np.mean([e[2] for e in rest]))),
        ]
    assert 10 < found < 30


def test_levels_are_as_documented_and_clipped() -> None:
    assert [density_level(1.6 * 2 ** (k / 3)) for k in range(CONTROL_LEVELS)] == list(range(12))
    assert [register_level(42 + 3.5 * k) for k in range(CONTROL_LEVELS)] == list(range(12))
    assert [loudness_level(30 + 6 * k) for k in range(CONTROL_LEVELS)] == list(range(12))
    assert density_level(0.01) == 0 and density_level(500) == register_level(127) == 11
    assert control_ids(8.0, 60.0, 64.0, VOCAB, np.zeros(3, bool)) == []


def test_gaps_need_a_vocabulary_for_them() -> None:
    with pytest.raises(UsageError, match="filling"):
        LoaderSettings(tokenizer="piano", gap_share=0.5)
    with pytest.raises(UsageError, match="aligned"):
        LoaderSettings(tokenizer="piano-fill", mode="packed", tell_share=0.5)
