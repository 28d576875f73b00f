"""Piece -> ids of the absolute tokenizer, without a Python step per note (specification B.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from arietta.errors import InputError, TokenError
from arietta.midi.notes import DRUM_CHANNEL, Int32Array, NoteTable, PedalTable, Piece, ProgramTable
from arietta.midi.tempo import Compat, IntArray
from arietta.tokenizers.quantise import (
    DURATION_STEPS,
    MAX_DURATION_MS,
    ONSET_STEPS,
    SEGMENT_MS,
    VELOCITY_STEPS,
)
from arietta.tokenizers.vocabulary import (
    CLASSES_IN_USE,
    FIRST_DRUM,
    LAST_DRUM,
    NO_CLASS,
    TIME,
    UNK,
    Vocabulary,
)

Mask = npt.NDArray[np.bool_]
N_CHANNELS = 16
CLASS_TABLE = (
    "piano", "chromatic", "organ", "guitar", "bass", "strings", "ensemble", "brass", "reed",
    "pipe", "synth_lead", "synth_pad", "synth_effect", "ethnic", "percussive", "sfx",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Voices:
    """The part of a piece that a vocabulary can express.

    Attributes:
        notes, pedals: rows of the piece, without the ignored channels.
        offset_tick: (n,) ends of the notes with the sustain pedal.
        class_index: (16,) uint8 index into the vocabulary's classes, 255 for drums.
        instruments: indices into the vocabulary's instruments that need a prefix, ascending.
    """

    notes: NoteTable
    pedals: PedalTable
    offset_tick: IntArray
    class_index: npt.NDArray[np.uint8]
    instruments: list[int]


def ignored_channels(programs: ProgramTable, classes: tuple[str, ...]) -> list[int]:
    """Channels silenced because any of their programs belongs to a class not in ``classes``.

    Program 0 is never tested, and channel 9 is always drums (specification A.5).
    """
    return sorted(
        {
            c
            for p, c in zip(programs.program.tolist(), programs.channel.tolist(), strict=True)
            if p and c != DRUM_CHANNEL and CLASS_TABLE[p >> 3] not in classes
        }
    )


def without_channels(
    notes: NoteTable, pedals: PedalTable, silenced: list[int]
) -> tuple[NoteTable, PedalTable]:
    """The rows whose channel is not in ``silenced``; the tables themselves when nothing falls."""
    if not silenced:
        return notes, pedals
    gone = np.zeros(256, np.bool_)
    gone[silenced] = True
    if gone[notes.channel].any():
        notes = notes.take(~gone[notes.channel])
    if gone[pedals.channel].any():
        pedals = pedals.take(~gone[pedals.channel])
    return notes, pedals


def sustained_offsets(notes: NoteTable, pedals: PedalTable) -> IntArray:
    """(n,) note ends moved to the end of the pedal interval that strictly contains them (A.3)."""
    offset = notes.offset_tick
    if not len(pedals) or not len(notes):
        return offset
    last = int(offset[-1])
    pedal_channels = np.bincount(pedals.channel, minlength=N_CHANNELS)
    note_channels = np.bincount(notes.channel, minlength=N_CHANNELS)
    for channel in np.flatnonzero((pedal_channels > 0) & (note_channels > 0)).tolist():
        if channel == DRUM_CHANNEL:
            continue
        all_pedals = pedal_channels[channel] == len(pedals)
        mine = slice(None) if all_pedals else pedals.channel == channel
        down = pedals.value[mine] >= 64
        tick = pedals.tick[mine]
        change = np.empty(len(down), np.bool_)
        change[0] = down[0]
        np.not_equal(down[1:], down[:-1], out=change[1:])
        edges = tick[change]
        if not len(edges):
            continue
        if len(edges) % 2:
            edges = np.append(edges, last)
        starts, ends = edges[0::2], edges[1::2]
        # Intervals do not overlap: only the last one that starts before the end can hold it.
        rows = None if note_channels[channel] == len(notes) else notes.channel == channel
        own = offset if rows is None else offset[rows]
        i = np.searchsorted(starts, own, side="left") - 1
        end = ends[i]
        moved = np.where((i >= 0) & (own < end), end, own)
        if rows is None:
            offset = moved
        else:
            offset = offset.copy()
            offset[rows] = moved
    return offset


def select_voices(piece: Piece, vocabulary: Vocabulary, *, merge_to_piano: bool) -> Voices:
    """What of a piece the vocabulary can express.

    Raises:
        InputError: no note is left.
    """
    programs = piece.programs
    known = CLASSES_IN_USE if merge_to_piano else vocabulary.classes
    silenced = ignored_channels(programs, known)
    notes, pedals = without_channels(piece.notes, piece.pedals, silenced)
    if merge_to_piano:
        drums = notes.channel == DRUM_CHANNEL
        if drums.any():
            notes = notes.take(~drums)
    if not len(notes):
        what = "no notes" if not len(piece) else "no notes for the instruments in use"
        raise InputError(f"{piece.source or 'piece'}: {what}, nothing to tokenise")
    class_index = np.zeros(N_CHANNELS, np.uint8)
    present = np.bincount(notes.channel, minlength=N_CHANNELS) > 0
    has_drums = bool(present[DRUM_CHANNEL])
    if not merge_to_piano:
        for p, c in zip(programs.program.tolist(), programs.channel.tolist(), strict=True):
            if c not in silenced:
                class_index[c] = known.index(CLASS_TABLE[p >> 3]) if c != DRUM_CHANNEL else 0
                present[c] = True
    present[DRUM_CHANNEL] = False
    instruments = {0} if merge_to_piano else set(class_index[present].tolist())
    class_index[DRUM_CHANNEL] = NO_CLASS
    if vocabulary.drums and has_drums:
        instruments.add(len(vocabulary.classes))
    return Voices(notes, pedals, sustained_offsets(notes, pedals), class_index, sorted(instruments))


def rounded_ms(
    piece: Piece, start: npt.ArrayLike, end: npt.ArrayLike, compat: Compat | None
) -> IntArray:
    """Whole milliseconds from one tick to another, rounded once, half to even."""
    return np.rint(piece.tempo.distance_ms(start, end, compat=compat)).astype(np.int64)


def body_of_notes(
    vocabulary: Vocabulary,
    onset_ms: npt.NDArray[Any],
    duration_ms: npt.NDArray[Any],
    pitch: npt.NDArray[Any],
    velocity: npt.NDArray[Any],
    head: list[int],
    tail: list[int],
    class_index: npt.NDArray[Any] | int = 0,
) -> Int32Array:
    """Head, three ids a note with the <T> between them, tail, in one array.

    Arguments are (n,) integer columns in token order, onsets counted from time zero.
    """
    n = len(onset_ms)
    segment = onset_ms // SEGMENT_MS
    first = VELOCITY_STEPS[velocity] + (vocabulary.note_start - vocabulary.first_step)
    first += pitch.astype(np.int32) * vocabulary.velocities
    if not isinstance(class_index, int):
        first += class_index.astype(np.int32) * vocabulary.notes_per_class
    onset = ONSET_STEPS[onset_ms - segment * SEGMENT_MS] + vocabulary.onset_start
    duration = DURATION_STEPS[np.minimum(np.maximum(duration_ms, 0), MAX_DURATION_MS)]
    duration = duration + vocabulary.dur_zero
    steps = np.diff(segment, prepend=0)
    np.maximum(steps, 0, out=steps)
    at = np.cumsum(steps)
    at += np.arange(len(head), len(head) + 3 * n, 3)
    total = int(at[-1]) + 3 + len(tail)
    ids = np.full(total, TIME, np.int32)
    ids[: len(head)] = head
    ids[at] = first
    ids[at + 1] = onset
    ids[at + 2] = duration
    ids[total - len(tail) :] = tail
    return ids


def encode_events(
    piece: Piece,
    voices: Voices,
    vocabulary: Vocabulary,
    head: list[int],
    tail: list[int],
    *,
    keep_silence: bool,
    compat: Compat | None,
) -> Int32Array:
    """Head, events, tail, as ids.

    Raises:
        TokenError: the vocabulary has pedals and a channel is not piano.
    """
    notes = voices.notes
    start = notes.onset_tick
    with_drums = bool((notes.channel == DRUM_CHANNEL).any())
    zero = 0 if keep_silence else int(start[0])
    pedals = voices.pedals
    if vocabulary.pedal:
        if any(i != 0 for i in voices.instruments if i < len(vocabulary.classes)):
            raise TokenError(
                f"{piece.source or 'piece'}: the pedal vocabulary takes piano only; "
                "use the vocabulary 'full' or 'piano'"
            )
        if compat is None:
            pedals = pedals.take(pedals.channel != DRUM_CHANNEL)
        if not keep_silence and len(pedals):
            zero = min(zero, int(pedals.tick[0]))
    onset_ms = rounded_ms(piece, zero, start, compat)
    duration_ms = rounded_ms(piece, start, voices.offset_tick, compat)
    several = any(i not in (0, len(vocabulary.classes)) for i in voices.instruments)
    class_index: Any = voices.class_index[notes.channel] if several or with_drums else 0
    if not with_drums and not (vocabulary.pedal and len(pedals)):
        return body_of_notes(
            vocabulary, onset_ms, duration_ms, notes.pitch, notes.velocity, head, tail, class_index
        )
    # Mixed events: each has a first id, an onset id, and a duration id where width is 3.
    segment = onset_ms // SEGMENT_MS
    velocity = VELOCITY_STEPS[notes.velocity] + (vocabulary.note_start - vocabulary.first_step)
    pitch = notes.pitch.astype(np.int32)
    first = velocity + pitch * vocabulary.velocities
    onset = ONSET_STEPS[onset_ms - segment * SEGMENT_MS] + vocabulary.onset_start
    duration = DURATION_STEPS[np.minimum(np.maximum(duration_ms, 0), MAX_DURATION_MS)]
    duration = duration + vocabulary.dur_zero
    width = np.full(len(notes), 3)
    if with_drums:
        drum = notes.channel == DRUM_CHANNEL
        first += np.where(drum, 0, class_index.astype(np.int32)) * vocabulary.notes_per_class
        width[drum] = 2 if vocabulary.drums else 0
        in_range = (pitch >= FIRST_DRUM) & (pitch <= LAST_DRUM)
        first[drum] = np.where(in_range, vocabulary.drum_start + pitch - FIRST_DRUM, UNK)[drum]
        if compat is None:
            width[drum & ~in_range] = -1
    if vocabulary.pedal and len(pedals):
        at_ms = rounded_ms(piece, zero, pedals.tick, compat)
        pedal_segment = at_ms // SEGMENT_MS
        pedal_first = np.where(pedals.value >= 64, 0, 1) + vocabulary.pedal_start
        pedal_first[pedals.channel == DRUM_CHANNEL] = UNK
        pedal_onset = ONSET_STEPS[at_ms - pedal_segment * SEGMENT_MS] + vocabulary.onset_start
        # Notes are listed before pedals of the same tick.
        order = np.argsort(np.concatenate((start, pedals.tick)), kind="stable")
        first = np.concatenate((first, pedal_first))[order]
        onset = np.concatenate((onset, pedal_onset))[order]
        segment = np.concatenate((segment, pedal_segment))[order]
        duration = np.concatenate((duration, np.zeros(len(pedals), np.int32)))[order]
        width = np.concatenate((width, np.full(len(pedals), 2)))[order]
    if (width < 0).any():
        kept = width >= 0
        first, onset, duration = first[kept], onset[kept], duration[kept]
        segment, width = segment[kept], width[kept]
        if not len(width):
            raise InputError(f"{piece.source or 'piece'}: no notes that have a token")
    steps = np.maximum(np.diff(segment, prepend=0), 0)
    # A drum of a vocabulary without drums has width 0 but still moves the clock, as in public data.
    at = np.cumsum(steps + width) - width + len(head)
    total = int(at[-1] + width[-1]) + len(tail)
    ids = np.full(total, TIME, np.int32)
    ids[: len(head)] = head
    sounding = width > 0
    ids[at[sounding]] = first[sounding]
    ids[at[sounding] + 1] = onset[sounding]
    long = width == 3
    ids[at[long] + 2] = duration[long]
    ids[total - len(tail) :] = tail
    return ids
