"""Piece -> ids of the absolute tokenizer, without a Python step per note (specification B.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from arietta.arrays import AnyIntArray, BoolArray, Int32Array, IntArray, Uint8Array
from arietta.errors import InputError, TokenError
from arietta.midi.instruments import CLASSES, DEFAULT_IGNORED, remove_ignored, sounding_programs
from arietta.midi.notes import DRUM_CHANNEL, PEDAL_DOWN, NoteTable
from arietta.midi.pedal import pedal_offsets
from arietta.midi.piece import Piece
from arietta.midi.tempo import Compat
from arietta.tokenizers.quantise import (
    DURATION_STEPS,
    MAX_DURATION_MS,
    ONSET_STEPS,
    SEGMENT_MS,
    VELOCITY_STEPS,
)
from arietta.tokenizers.vocabulary import (
    BOS,
    DIM,
    EOS,
    FIRST_DRUM,
    LAST_DRUM,
    TIME,
    UNK,
    Kind,
    Vocabulary,
)

N_CHANNELS = 16
# 200,000 segments are eleven days. Beyond, a file's clock is damaged, and the <T> of a single note
# at the last possible tick would fill the memory.
MAX_SEGMENT = 200_000
DIM_MIN_BODY = 150
DIM_FROM_END = 100
DIM_JITTER = 10


@dataclass(frozen=True, eq=False)
class Voices:
    """The part of a piece that a vocabulary can express.

    Attributes:
        piece: without the ignored channels; the piece itself where nothing had to go.
        has_drums: whether channel 9 has notes.
        class_index: (16,) uint8 index into the vocabulary's classes; 0 for drums.
        instruments: indices of the instrument prefixes it needs, ascending.
    """

    piece: Piece
    has_drums: bool
    class_index: Uint8Array
    instruments: list[int]


def drums_with_token(notes: NoteTable) -> BoolArray:
    """(n,) which notes are drums that the vocabularies have a token for."""
    named: BoolArray = notes.channel == DRUM_CHANNEL
    named &= (notes.pitch >= FIRST_DRUM) & (notes.pitch <= LAST_DRUM)
    return named


def select_voices(piece: Piece, vocabulary: Vocabulary, *, compat: Compat | None = None) -> Voices:
    """Return what of a piece the vocabulary can express.

    A vocabulary that merges takes every channel but drums as piano; the others need a prefix for
    each class among the channels that have notes or a program change. Programs count where notes
    sound; with ``compat="aria"`` everywhere.

    Raises:
        InputError: no note is left.
    """
    merge = vocabulary.merge_to_piano
    ignored = DEFAULT_IGNORED if merge else frozenset(CLASSES).difference(vocabulary.classes)
    kept = remove_ignored(piece, ignored, compat=compat)
    present = np.bincount(kept.notes.channel, minlength=N_CHANNELS) > 0
    has_drums = bool(present[DRUM_CHANNEL])
    if merge and has_drums:
        kept = replace(kept, notes=kept.notes.take(kept.notes.channel != DRUM_CHANNEL))
        has_drums = False
    if not len(kept):
        what = "no notes" if not len(piece) else _unused(piece)
        raise InputError(f"{piece.source or 'piece'}: {what}, nothing to tokenise")
    class_index = np.zeros(N_CHANNELS, np.uint8)
    instruments = {0}
    if not merge:
        programs = kept.programs if compat else sounding_programs(kept)
        for p, c in zip(programs.program.tolist(), programs.channel.tolist(), strict=True):
            if c != DRUM_CHANNEL:
                class_index[c] = vocabulary.classes.index(CLASSES[p // 8])
                present[c] = True
        present[DRUM_CHANNEL] = False
        instruments = set(class_index[present].tolist())
    if vocabulary.drums and has_drums:
        instruments.add(len(vocabulary.classes))
    return Voices(kept, has_drums, class_index, sorted(instruments))


def _unused(piece: Piece) -> str:
    """Why no note of a piece can be used: the first program that is not of the piano family."""
    programs = sounding_programs(piece)
    other = programs.take(np.isin(programs.channel, piece.notes.channel))
    other = other.take((other.program > 0) & (other.channel != DRUM_CHANNEL))
    if not len(other):
        return "no notes but drums"
    name = CLASSES[int(other.program[0]) // 8]
    return (
        f"no notes of an instrument in use: channel {int(other.channel[0]) + 1} has program"
        f" {int(other.program[0]) + 1} ({name}) at tick {int(other.tick[0])}"
    )


def prefix_ids(
    piece: Piece,
    voices: Voices,
    vocabulary: Vocabulary,
    prefix: str | Sequence[str],
    rng: np.random.Generator | None,
) -> list[int]:
    """Return the ids before <S>: ``"auto"`` or names; see ``AriaTokenizer.encode``.

    Raises:
        TokenError: a name has no prefix token.
    """
    if prefix != "auto":
        return vocabulary.ids_of_prefix([prefix] if isinstance(prefix, str) else prefix)
    ids = [vocabulary.instrument_start + i for i in voices.instruments]
    for kind in ("composer", "form", "genre") if piece.metadata else ():
        label = vocabulary.label_id(kind, piece.metadata.get(kind, ""))
        if label is not None:
            ids.append(label)
    return ids if rng is None else [ids[i] for i in rng.permutation(len(ids))]


def drawn_dim_offset(rng: np.random.Generator | None) -> int:
    """Where <D> goes, as training draws it; 0 without a generator."""
    return 0 if rng is None else int(rng.integers(-DIM_JITTER, DIM_JITTER + 1))


def insert_dim(ids: Int32Array, vocabulary: Vocabulary, offset: int) -> Int32Array:
    """Return the sequence with <D> at an event boundary near its end; unchanged when it is short.

    The body begins after the first <S>. The public reference adds <E> later, so it does not count.
    """
    starts = np.flatnonzero(ids == BOS)
    body = int(starts[0]) + 1 if len(starts) else 0
    end = len(ids) - int(len(ids) > 0 and ids[-1] == EOS)
    if end - body <= DIM_MIN_BODY:
        return ids
    at = end - DIM_FROM_END + offset
    kind = vocabulary.kinds[ids[at]]
    if kind == Kind.DUR:
        at -= 1 if vocabulary.relative else 2
    elif kind == Kind.ONSET and not vocabulary.relative:
        at -= 1
    return np.insert(ids, at, DIM)


def rounded_ms(
    piece: Piece, start: npt.ArrayLike, end: npt.ArrayLike, compat: Compat | None
) -> IntArray:
    """Whole milliseconds from one tick to another, rounded once, half to even."""
    return np.rint(piece.tempo.distance_ms(start, end, compat=compat)).astype(np.int64)


def onset_ids(vocabulary: Vocabulary, onset_ms: AnyIntArray) -> tuple[AnyIntArray, Int32Array]:
    """(segment, onset id) of times in milliseconds."""
    segment = onset_ms // SEGMENT_MS
    return segment, ONSET_STEPS[onset_ms - segment * SEGMENT_MS] + np.int32(vocabulary.onset_start)


def note_ids(vocabulary: Vocabulary, pitch: AnyIntArray, velocity: AnyIntArray) -> Int32Array:
    """Ids of the notes as the vocabulary's first class."""
    ids = VELOCITY_STEPS[velocity] + np.int32(vocabulary.note_start - vocabulary.first_step)
    ids += pitch.astype(np.int32) * np.int32(vocabulary.velocities)
    return ids


def duration_ids(vocabulary: Vocabulary, duration_ms: AnyIntArray) -> Int32Array:
    """Ids of durations in milliseconds; 10 at least, 5000 at most."""
    clamped = np.minimum(np.maximum(duration_ms, 0), MAX_DURATION_MS)
    return DURATION_STEPS[clamped] + np.int32(vocabulary.dur_zero)


def lay_out(
    segment: AnyIntArray,
    first: Int32Array,
    onset: Int32Array,
    duration: Int32Array,
    width: IntArray | None,
    head: Sequence[int],
    tail: Sequence[int],
) -> Int32Array:
    """Head, the events with the <T> between them, tail.

    Args:
        segment: (n,) five-second segment of each event, n >= 1.
        first, onset, duration: (n,) ids of each event.
        width: (n,) how many of them are written: 0 for an event that only moves the clock;
            None for 3 throughout.

    Raises:
        InputError: the events reach beyond any real piece.
    """
    if int(segment.max()) > MAX_SEGMENT:
        raise InputError(
            f"the notes span {int(segment.max()) * SEGMENT_MS / 3_600_000:.0f} hours, at most "
            f"{MAX_SEGMENT * SEGMENT_MS // 3_600_000} can be tokenised; is the tempo right?"
        )
    # <T> before each event; a clock that runs backwards (reference arithmetic) emits none.
    steps = np.empty(len(segment), np.int64)
    steps[0] = segment[0]
    np.subtract(segment[1:], segment[:-1], out=steps[1:])
    np.maximum(steps, 0, out=steps)
    n_head = len(head)
    if width is None:
        at = np.cumsum(steps)
        at += np.arange(n_head, n_head + 3 * len(segment), 3)
        end = int(at[-1]) + 3
    else:
        at = np.cumsum(steps + width)
        at += n_head
        end = int(at[-1])
        at -= width
    ids = np.full(end + len(tail), TIME, np.int32)
    ids[:n_head] = head
    if width is None:
        ids[at] = first
        ids[at + 1] = onset
        ids[at + 2] = duration
    else:
        for i, column in enumerate((first, onset, duration)):
            rows = width > i
            ids[at[rows] + i] = column[rows]
    ids[end:] = tail
    return ids


def encode_voices(
    voices: Voices,
    vocabulary: Vocabulary,
    head: Sequence[int],
    tail: Sequence[int],
    *,
    keep_silence: bool,
    compat: Compat | None,
) -> Int32Array:
    """Head, events, tail, as ids.

    Raises:
        InputError: no note has a token, or the piece is impossibly long.
        TokenError: the vocabulary has pedals and a channel is not piano.
    """
    piece = voices.piece
    notes, pedals = piece.notes, piece.pedals
    start = notes.onset_tick
    zero = 0 if keep_silence else int(start[0])
    n_classes = len(vocabulary.classes)
    several = any(0 < i < n_classes for i in voices.instruments)
    if vocabulary.pedal:
        if several:
            raise TokenError(
                f"{piece.source or 'piece'}: a vocabulary with pedals takes piano only; "
                "use the vocabulary 'full' or 'piano'"
            )
        if compat is None:
            pedals = pedals.take(pedals.channel != DRUM_CHANNEL)
        if not keep_silence and len(pedals):
            zero = min(zero, int(pedals.tick[0]))
    duration = duration_ids(vocabulary, rounded_ms(piece, start, pedal_offsets(piece), compat))
    segment, onset = onset_ids(vocabulary, rounded_ms(piece, zero, start, compat))
    first = note_ids(vocabulary, notes.pitch, notes.velocity)
    if several:
        offsets = voices.class_index.astype(np.int32) * vocabulary.notes_per_class
        first += offsets[notes.channel]
    width: IntArray | None = None
    if voices.has_drums:
        drum, named = notes.channel == DRUM_CHANNEL, drums_with_token(notes)
        drum_ids = notes.pitch.astype(np.int32) + (vocabulary.drum_start - FIRST_DRUM)
        first = np.where(drum, np.where(named, drum_ids, np.int32(UNK)), first)
        # A drum outside 35..81 is <U> and an onset; without drum tokens a drum still moves the
        # clock: both as in public data.
        width = np.where(drum, 2 if vocabulary.drums else 0, 3)
    if vocabulary.pedal and len(pedals):
        pedal_segment, pedal_onset = onset_ids(
            vocabulary, rounded_ms(piece, zero, pedals.tick, compat)
        )
        pedal_first = vocabulary.pedal_start + (pedals.value < PEDAL_DOWN).astype(np.int32)
        pedal_first[pedals.channel == DRUM_CHANNEL] = UNK
        if width is None:
            width = np.full(len(start), 3)
        # Notes are listed before pedals of the same tick.
        order = np.argsort(np.concatenate((start, pedals.tick)), kind="stable")
        segment = np.concatenate((segment, pedal_segment))[order]
        first = np.concatenate((first, pedal_first))[order]
        onset = np.concatenate((onset, pedal_onset))[order]
        duration = np.concatenate((duration, np.zeros(len(pedals), np.int32)))[order]
        width = np.concatenate((width, np.full(len(pedals), 2)))[order]
    if not len(segment) or (width is not None and not width.any()):
        raise InputError(f"{piece.source or 'piece'}: no notes that have a token")
    return lay_out(segment, first, onset, duration, width, head, tail)
