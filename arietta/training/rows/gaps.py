"""Make training rows with a gap that is written last, and rows with controls.

``arietta.tokenizers.gaps`` documents the layout of a row with a gap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from arietta.arrays import BoolArray, Int32Array
from arietta.data.token_grid import NoteColumns
from arietta.tokenizers.controls import (
    control_id,
    density_level,
    loudness_level,
    register_level,
)
from arietta.tokenizers.gaps import GapPlace, event_ids, gap_header, kept_head
from arietta.tokenizers.quantise import SEGMENT_MS, STEP
from arietta.tokenizers.vocabulary import EOS, N_PITCHES, TIME, Kind, Vocabulary

SHORTEST_GAP_S, LONGEST_GAP_S = 0.5, 20.0
LARGEST_SHARE = 0.4
"""Largest share of the window that a gap in time may take."""
_KINDS = ("span", "part of a span", "part", "scattered", "opening")
_CHANCES = (0.40, 0.20, 0.15, 0.15, 0.10)
_MIN_DESCRIBED_NOTES = 16
_MIN_DESCRIBED_S = 2.0


@dataclass(frozen=True, eq=False)
class Gap:
    """Describe the gap of a window.

    Attributes:
        missing: (n,) whether each note is missing.
        start_ms, end_ms: span of the missing onsets, from the start of the window; whole steps of
            10 ms.
        keys: lowest and highest missing key, if the gap is in a part of the keys.
    """

    missing: BoolArray
    start_ms: int
    end_ms: int
    keys: tuple[int, int] | None = None


def draw_gap(notes: NoteColumns, rng: np.random.Generator) -> Gap:
    """Draw the gap of a window of notes whose first onset is at 0."""
    kind = _KINDS[int(rng.choice(len(_KINDS), p=_CHANCES))]
    onset = np.asarray(notes.onset_ms)
    length_ms = int(onset[-1]) + STEP
    start_ms, end_ms = 0, length_ms
    if kind in ("span", "part of a span", "opening"):
        longest_s = max(SHORTEST_GAP_S, min(LONGEST_GAP_S, LARGEST_SHARE * length_ms / 1000))
        gap_s = float(np.exp(rng.uniform(np.log(SHORTEST_GAP_S), np.log(longest_s))))
        gap_ms = int(gap_s * 1000) // STEP * STEP
        if kind != "opening":
            start_ms = int(rng.integers(0, max(1, length_ms - gap_ms))) // STEP * STEP
        end_ms = start_ms + gap_ms
    inside = (onset >= start_ms) & (onset < end_ms)
    if kind in ("span", "opening"):
        return Gap(inside, start_ms, end_ms)
    if kind == "scattered":
        return Gap(inside & (rng.random(len(onset)) < rng.uniform(0.1, 0.9)), start_ms, end_ms)
    missing = inside & _part(notes, rng)
    if not missing.any():
        missing = inside
    pitch = np.asarray(notes.pitch)[missing]
    keys = (int(pitch.min()), int(pitch.max())) if len(pitch) else None
    return Gap(missing, start_ms, end_ms, keys)


def _part(notes: NoteColumns, rng: np.random.Generator) -> BoolArray:
    """Select all but the top line, one side of a split, or a range of keys."""
    pitch, onset = np.asarray(notes.pitch), np.asarray(notes.onset_ms)
    draw = rng.random()
    if draw < 0.25:
        # The top line: the highest note of those that begin within 30 ms.
        order = np.lexsort((pitch, onset // 30))
        top = np.zeros(len(pitch), bool)
        top[order[np.append(np.diff(onset[order] // 30) > 0, True)]] = True
        return ~top if rng.random() < 0.7 else top
    if draw < 0.75:
        split = int(np.quantile(pitch, rng.uniform(0.3, 0.7)))
        below: BoolArray = pitch < split
        return below if rng.random() < 0.6 else ~below
    low, high = np.sort(rng.integers(int(pitch.min()), int(pitch.max()) + 1, 2))
    inside: BoolArray = (pitch >= low) & (pitch <= high)
    return inside


def gap_row(
    notes: NoteColumns,
    gap: Gap,
    prefix: Sequence[int],
    vocab: Vocabulary,
    controls: Sequence[int] = (),
) -> Int32Array:
    """Return the ids of a window with a gap; see ``arietta.tokenizers.gaps``.

    Args:
        notes: notes of the window in token order; times count from its start.
        gap: the missing notes.
        prefix: ids before <GAPS>.
        vocab: a vocabulary with ``filling``.
        controls: ids that describe the missing notes.
    """
    place = GapPlace(gap.start_ms, gap.end_ms, gap.keys)
    kept, missing = (
        [np.asarray(column)[chosen] for column in notes] for chosen in (~gap.missing, gap.missing)
    )
    head = event_ids(kept, vocab, kept_head(prefix, vocab))
    head = np.concatenate((head, np.array([*gap_header(place, vocab), *controls], np.int32)))
    filled = event_ids(missing, vocab, (), place.segment)
    return np.concatenate((head, filled, np.array([EOS], np.int32)))


def gap_rows(
    notes: NoteColumns,
    prefixes: Iterator[Sequence[int]],
    vocab: Vocabulary,
    length: int,
    tell_share: float,
    rng: np.random.Generator,
) -> Iterator[Int32Array]:
    """Yield rows of at most ``length`` ids that cover a piece window by window.

    Args:
        notes: of the piece.
        prefixes: the prefix of each row.
        vocab: with ``filling``.
        length: ids of a row.
        tell_share: probability of each control.
        rng: draws all random numbers.
    """
    at, total = 0, len(notes.onset_ms)
    onset = np.asarray(notes.onset_ms)
    # Two thirds of the rows are full, the others shorter, so that short contexts are learned too.
    while at < total:
        room = length if rng.random() < 0.67 else int(rng.integers(length // 4, length))
        count = min(total - at, max(4, (room - 12) // 3))
        prefix = next(prefixes)
        state = rng.bit_generator.state
        for _ in range(8):
            rng.bit_generator.state = state
            window = NoteColumns(*(np.asarray(c)[at : at + count] for c in notes))
            window = window._replace(onset_ms=onset[at : at + count] - onset[at])
            gap = draw_gap(window, rng)
            controls = _controls(window, gap, vocab, tell_share, rng)
            ids = gap_row(window, gap, prefix, vocab, controls)
            if len(ids) <= room or count <= 4:
                break
            count = max(4, count - (len(ids) - room + 2) // 3)
        if len(ids) <= length:
            yield ids
        at += count


def _controls(
    notes: NoteColumns, gap: Gap, vocab: Vocabulary, share: float, rng: np.random.Generator
) -> list[int]:
    """Return controls that describe the missing notes, each with a probability of ``share``."""
    shown = rng.random(3) < share
    if not gap.missing.any():
        return []
    return control_ids(
        int(gap.missing.sum()) / ((gap.end_ms - gap.start_ms) / 1000),
        float(np.asarray(notes.pitch)[gap.missing].mean()),
        float(np.asarray(notes.velocity)[gap.missing].mean()),
        vocab,
        shown,
    )


def control_ids(
    notes_per_second: float,
    mean_pitch: float,
    mean_velocity: float,
    vocab: Vocabulary,
    shown: BoolArray,
) -> list[int]:
    """Return the shown controls of the music that follows, in the order of ``CONTROLS``."""
    levels = (
        ("density", density_level(notes_per_second)),
        ("register", register_level(mean_pitch)),
        ("loudness", loudness_level(mean_velocity)),
    )
    return [
        control_id(vocab, name, level)
        for (name, level), show in zip(levels, shown.tolist(), strict=True)
        if show
    ]


def with_controls(
    ids: Int32Array, vocab: Vocabulary, tell_share: float, rng: np.random.Generator
) -> Int32Array:
    """Return a row of one piece with controls at a random event, as long as before.

    The controls describe the rest of the row. Half of the rows have none, and a rest that is too
    short has none.

    Args:
        ids: (n,) prefix, <S>, events.
        vocab: with ``filling``.
        tell_share: probability of each control.
        rng: draws all random numbers.
    """
    kinds = vocab.kinds[ids]
    at_start = rng.random() < 0.25
    shown, place, describe = rng.random(3) < tell_share, rng.random(), rng.random() < 0.5
    notes = np.flatnonzero(kinds == Kind.NOTE)
    if not describe or not shown.any() or len(notes) <= _MIN_DESCRIBED_NOTES:
        return ids
    at = int(notes[0 if at_start else int(place * (len(notes) - _MIN_DESCRIBED_NOTES))])
    rest = ids[at:]
    note = kinds[at:] == Kind.NOTE
    key, loud = np.divmod(rest[note] - vocab.note_start, vocab.velocities)
    onset = kinds[at:] == Kind.ONSET
    time_ms = (rest - vocab.onset_start) * STEP + SEGMENT_MS * np.cumsum(rest == TIME)
    seconds = float(np.ptp(time_ms[onset])) / 1000 if onset.any() else 0.0
    if seconds < _MIN_DESCRIBED_S:
        return ids
    controls = control_ids(
        int(note.sum()) / seconds,
        float((key % N_PITCHES).mean()),
        float((loud + vocab.first_step).mean() * STEP),
        vocab,
        shown,
    )
    # The last ids are cut; an event that is cut off is not a target.
    return np.concatenate((ids[:at], np.array(controls, ids.dtype), rest))[: len(ids)]
