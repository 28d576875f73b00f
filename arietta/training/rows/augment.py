"""Augment music: tempo, pitch, velocity, order inside a chord (section C).

Training augments columns. The public system augments ids of the absolute tokenizer, and golden data
check this version. All random numbers come from the generator in the arguments.

On columns a note that leaves the range of pitches is dropped; on ids it becomes <U> while its onset
and duration remain, as in public training data.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from arietta.arrays import AnyIntArray, Int32Array, IntArray, Uint8Array
from arietta.data.token_grid import NoteColumns, on_keyboard
from arietta.errors import UsageError
from arietta.tokenizers.encoding import lay_out
from arietta.tokenizers.quantise import MAX_DURATION_MS, SEGMENT_MS, STEP
from arietta.tokenizers.vocabulary import (
    EOS,
    MAX_VELOCITY_STEP,
    N_PITCHES,
    PAD,
    UNK,
    Kind,
    Vocabulary,
    as_ids,
    vocabulary,
)

Mixup = np.random.Generator | Literal["reverse"] | None
MAX_VELOCITY = MAX_VELOCITY_STEP * STEP
CONTRAST_CENTRE = 64


@dataclass(frozen=True)
class Ranges:
    """Hold the ranges of random changes; the defaults are those of the published training.

    Attributes:
        tempo: the factor is uniform in 1 - tempo .. 1 + tempo.
        pitch: semitones are uniform in -pitch .. pitch.
        velocity: steps of 10 are uniform in -velocity .. velocity.
        mixup: whether notes of one onset are shuffled.
        length, contrast: the factors of all lengths, and of the distance of velocities from 64,
            are uniform in 1 - range .. 1 + range; not in the paper.

    Raises:
        UsageError: a range is negative, or a range of factors reaches 1.
    """

    tempo: float = 0.2
    pitch: int = 5
    velocity: int = 1
    mixup: bool = True
    length: float = 0.0
    contrast: float = 0.0

    def __post_init__(self) -> None:
        factors = (self.tempo, self.length, self.contrast)
        if not all(0 <= f < 1 for f in factors) or self.pitch < 0 or self.velocity < 0:
            raise UsageError(
                f"{self}: tempo, length and contrast must lie in 0..1, pitch and velocity not"
                " below 0"
            )

    def draw(self, rng: np.random.Generator) -> Change:
        """Draw a random change."""

        def factor(width: float) -> float:
            return float(rng.uniform(1 - width, 1 + width))

        return Change(
            factor(self.tempo),
            int(rng.integers(-self.pitch, self.pitch + 1)),
            int(rng.integers(-self.velocity, self.velocity + 1)),
            # A range of 0 draws nothing: the rows of recipes without it stay the same.
            factor(self.length) if self.length else 1.0,
            factor(self.contrast) if self.contrast else 1.0,
        )


@dataclass(frozen=True)
class Change:
    """Describe one change of a piece.

    Attributes:
        tempo: factor of all times; above 1 is slower.
        pitch: transposition in semitones.
        velocity: change in steps of 10.
        length: factor of all lengths, beside that of the tempo.
        contrast: factor of the distance of velocities from ``CONTRAST_CENTRE``.
    """

    tempo: float = 1.0
    pitch: int = 0
    velocity: int = 0
    length: float = 1.0
    contrast: float = 1.0


def scaled_steps(ms: AnyIntArray, factor: float) -> IntArray:
    """Multiply times by a factor; return steps of 10 ms, halves rounded to even."""
    return np.rint(ms * factor / STEP).astype(np.int64)


def mixed_order(time: AnyIntArray, mixup: Mixup) -> IntArray | None:
    """Return the order by time; shuffle or reverse equal times, without mixup keep their order.

    None if the order does not change.
    """
    if mixup is None:
        if np.all(time[1:] >= time[:-1]):
            return None
        return np.argsort(time, kind="stable")
    if mixup == "reverse":
        return np.lexsort((-np.arange(len(time)), time))
    # One sort of time plus a random fraction below 1 sorts and shuffles.
    return np.argsort(time + mixup.random(len(time)))


def jitter_onsets(onset_ms: AnyIntArray, jitter_ms: float, rng: np.random.Generator) -> IntArray:
    """Change every inter-onset time at random and return the onsets; not in the paper.

    Args:
        onset_ms: (n,) ascending.
        jitter_ms: standard deviation of the change, which is limited to half of the inter-onset
            time: chords stay together and the order does not change.
        rng: draws the changes.

    Returns:
        (n,) ascending whole milliseconds; the first is unchanged.
    """
    gap = np.diff(onset_ms)
    change = rng.standard_normal(len(gap)) * jitter_ms
    np.minimum(change, gap / 2, out=change)
    np.maximum(change, gap / -2, out=change)
    moved = onset_ms.astype(np.int64)
    moved[1:] += np.rint(np.cumsum(change)).astype(np.int64)
    return moved


def augment_columns(notes: NoteColumns, change: Change, mixup: Mixup = None) -> NoteColumns:
    """Return changed columns on the grid of 10 ms and 10 velocities, ready for encoding.

    Args:
        notes: rows in token order; times are rounded to the grid.
        change: change to apply.
        mixup: generator that shuffles notes of one onset; None to keep their order.

    Returns:
        New columns, without notes that leave 0..127.
    """
    onset, duration, pitch, velocity = notes
    order = mixed_order(onset, mixup)
    if order is not None:
        onset, duration = onset[order], duration[order]
        pitch, velocity = pitch[order], velocity[order]
    new_duration = scaled_steps(duration, change.tempo * change.length) * STEP
    loud: IntArray = velocity.astype(np.int64)
    if change.contrast != 1:
        far = (loud - CONTRAST_CENTRE) * change.contrast
        loud = np.rint((CONTRAST_CENTRE + far) / STEP).astype(np.int64) * STEP
    columns = NoteColumns(
        scaled_steps(onset, change.tempo) * STEP,
        np.minimum(np.maximum(new_duration, STEP), MAX_DURATION_MS),
        pitch.astype(np.int64) + change.pitch,
        _moved_velocity(loud, change.velocity),
    )
    if change.pitch:
        kept = (columns.pitch >= 0) & (columns.pitch < N_PITCHES)
        if not kept.all():
            return NoteColumns(*(column[kept] for column in columns))
    return columns


def _moved_velocity(velocity: IntArray, steps: int) -> IntArray:
    return np.minimum(np.maximum(velocity + STEP * steps, STEP), MAX_VELOCITY)


# On ids


@lru_cache(maxsize=512)
def _pitch_table(name: str, semitones: int) -> Int32Array:
    vocab = vocabulary(name)
    table = np.arange(vocab.size, dtype=np.int32)
    notes = table[vocab.note_start : vocab.drum_start]
    pitch = (notes - vocab.note_start) % vocab.notes_per_class // vocab.velocities + semitones
    moved = notes + semitones * vocab.velocities
    table[vocab.note_start : vocab.drum_start] = np.where(
        (pitch >= 0) & (pitch < N_PITCHES), moved, UNK
    )
    table.setflags(write=False)
    return table


@lru_cache(maxsize=512)
def _keyboard_table(name: str, semitones: int) -> Int32Array:
    vocab = vocabulary(name)
    table = np.arange(vocab.size, dtype=np.int32)
    notes = table[vocab.note_start : vocab.drum_start]
    pitch = (notes - vocab.note_start) % vocab.notes_per_class // vocab.velocities
    higher = (on_keyboard(pitch, semitones) - pitch) * vocab.velocities
    table[vocab.note_start : vocab.drum_start] = notes + higher
    table.setflags(write=False)
    return table


@lru_cache(maxsize=512)
def _velocity_table(name: str, steps: int) -> Int32Array:
    vocab = vocabulary(name)
    table = np.arange(vocab.size, dtype=np.int32)
    notes = table[vocab.note_start : vocab.drum_start]
    old = (notes - vocab.note_start) % vocab.velocities + vocab.first_step
    new = np.minimum(np.maximum(old + steps, 1), MAX_VELOCITY_STEP)
    table[vocab.note_start : vocab.drum_start] = notes + new - old
    table.setflags(write=False)
    return table


def shift_pitch_ids(ids: npt.ArrayLike, vocab: Vocabulary, semitones: int) -> Int32Array:
    """Transpose note ids by semitones; ids that leave 0..127 become <U>. Drums stay."""
    return _pitch_table(vocab.name, semitones)[as_ids(ids)]


def transpose_ids(ids: npt.ArrayLike, vocab: Vocabulary, semitones: int) -> Int32Array:
    """Transpose note ids within the keyboard, see ``on_keyboard``. Drums stay."""
    return _keyboard_table(vocab.name, semitones)[as_ids(ids)]


def shift_velocity_ids(ids: npt.ArrayLike, vocab: Vocabulary, steps: int) -> Int32Array:
    """Change the velocity of note ids by steps of 10, within 10..120."""
    return _velocity_table(vocab.name, steps)[as_ids(ids)]


def scale_tempo_ids(
    ids: npt.ArrayLike, vocab: Vocabulary, factor: float, mixup: Mixup = None
) -> Int32Array:
    """Change the tempo of a sequence, or of a window of several glued sequences.

    Every part up to an <E> is rebuilt from its events: orphans, <U> and <P> disappear. The result
    has the length of the input, cut or padded with <P>.
    """
    array = np.asarray(ids, np.int32)
    parts = [_scale_stretch(part, vocab, factor, mixup) for part in stretches(array)]
    return _fitted(parts, len(array))


def augment_ids(
    ids: npt.ArrayLike, vocab: Vocabulary, rng: np.random.Generator, ranges: Ranges | None = None
) -> Int32Array:
    """Augment each part of a training row by random tempo with mixup, pitch and velocity."""
    ranges = ranges or Ranges()
    array = np.asarray(ids, np.int32)
    parts = []
    for part in stretches(array):
        change = ranges.draw(rng)
        part = _scale_stretch(part, vocab, change.tempo, rng if ranges.mixup else None)
        part = _pitch_table(vocab.name, change.pitch)[part]
        parts.append(_velocity_table(vocab.name, change.velocity)[part])
    return _fitted(parts, len(array))


def stretches(ids: Int32Array) -> list[Int32Array]:
    """Return the parts of a row that end in <E>, and the rest after the last <E>."""
    ends = np.flatnonzero(ids == EOS) + 1
    return [part for part in np.split(ids, ends) if len(part)]


def _fitted(parts: list[Int32Array], length: int) -> Int32Array:
    """Join parts; cut or pad them to a length."""
    out = np.full(length, PAD, np.int32)
    at = 0
    for part in parts:
        part = part[: length - at]
        out[at : at + len(part)] = part
        at += len(part)
    return out


class _Parsed(NamedTuple):
    """Hold the events of a part.

    Attributes:
        at: (n,) position of each event's first id.
        segment: (n,) number of <T> before each event.
        marks: (id, segment, onset ms) of <D> and <X>: time of the last event before them.
        ends: whether there is an <E>.
    """

    at: IntArray
    segment: IntArray
    marks: list[tuple[int, int, int]]
    ends: bool


def _parse(body: Int32Array, kind: Uint8Array, vocab: Vocabulary) -> _Parsed:
    """Return the events of a part without its header."""
    follow = np.append(kind, (Kind.PAD, Kind.PAD)).astype(np.uint8)
    is_note = kind == Kind.NOTE
    is_first = is_note | (kind == Kind.DRUM) | (kind == Kind.PEDAL)
    sound = (follow[1:-1] == Kind.ONSET) & (~is_note | (follow[2:] == Kind.DUR))
    if not sound[is_first].all():
        return _parse_damaged(body, kind, vocab)
    at = np.flatnonzero(is_first)
    clock = np.cumsum(kind == Kind.TIME)
    marks = []
    for position in np.flatnonzero((kind == Kind.DIM) | (kind == Kind.DELIMITER)).tolist():
        i = int(np.searchsorted(at, position)) - 1
        onset = (int(body[at[i] + 1]) - vocab.onset_start) * STEP
        marks.append((int(body[position]), *((int(clock[at[i]]), onset) if i >= 0 else (0, 0))))
    return _Parsed(at, clock[at], marks, bool((kind == Kind.EOS).any()))


def _parse_damaged(body: Int32Array, kind: Uint8Array, vocab: Vocabulary) -> _Parsed:
    """Parse a part with broken events: each event takes the next ids, whatever they are."""
    kinds = kind.tolist()
    at: list[int] = []
    segments: list[int] = []
    marks: list[tuple[int, int, int]] = []
    segment, last, ends, i = 0, (0, 0), False, 0
    while i < len(kinds):
        k = kinds[i]
        if k in (Kind.NOTE, Kind.DRUM, Kind.PEDAL):
            expected = [Kind.ONSET, Kind.DUR] if k == Kind.NOTE else [Kind.ONSET]
            if kinds[i + 1 : i + 1 + len(expected)] == expected:
                at.append(i)
                segments.append(segment)
                last = (segment, (int(body[i + 1]) - vocab.onset_start) * STEP)
            i += len(expected)
        elif k == Kind.TIME:
            segment += 1
        elif k in (Kind.DIM, Kind.DELIMITER):
            marks.append((int(body[i]), *last))
        elif k == Kind.EOS:
            ends = True
        i += 1
    return _Parsed(np.array(at, np.int64), np.array(segments, np.int64), marks, ends)


def _scale_stretch(
    stretch: Int32Array, vocab: Vocabulary, factor: float, mixup: Mixup
) -> Int32Array:
    """Return one part at another tempo; its length may change."""
    kind = vocab.kinds[stretch]
    is_header = (kind == Kind.BOS) | (kind == Kind.INSTRUMENT) | (kind == Kind.LABEL)
    n_header = len(kind) if is_header.all() else int(np.argmin(is_header))
    header, body, kind = stretch[:n_header], stretch[n_header:], kind[n_header:]
    at, segment, marks, ends = _parse(body, kind, vocab)
    tail = [EOS] if ends else []
    if not len(at):
        return np.concatenate((header, np.array(tail, np.int32)))
    time = segment * SEGMENT_MS + (body[at + 1] - vocab.onset_start).astype(np.int64) * STEP
    order = mixed_order(time, mixup)
    if order is not None:
        at, time = at[order], time[order]
    first = body[at]
    width = np.where(vocab.kinds[first] == Kind.NOTE, 3, 2)
    third = body[np.minimum(at + 2, len(body) - 1)]
    new = scaled_steps(time, factor)
    new_segment, new_onset = np.divmod(new, SEGMENT_MS // STEP)
    onset = (new_onset + vocab.onset_start).astype(np.int32)
    longest = MAX_DURATION_MS // STEP
    steps = np.where(width == 3, scaled_steps((third - vocab.dur_zero) * STEP, factor), 1)
    duration = (np.minimum(np.maximum(steps, 1), longest) + vocab.dur_zero).astype(np.int32)
    # The last one of each mark counts, <D> before <X>.
    for mark, mark_segment, mark_onset in sorted({m[0]: m for m in marks}.values()):
        mark_time = mark_segment * SEGMENT_MS + mark_onset
        place = int(np.searchsorted(time, mark_time, side="right"))
        if not place or time[place - 1] != mark_time:
            continue
        time = np.insert(time, place, mark_time)
        new_segment = np.insert(new_segment, place, new_segment[place - 1])
        first = np.insert(first, place, mark)
        onset = np.insert(onset, place, mark)
        duration = np.insert(duration, place, mark)
        width = np.insert(width, place, 1)
    plain = None if bool((width == 3).all()) else width
    return lay_out(new_segment, first, onset, duration, plain, header.tolist(), tail)
