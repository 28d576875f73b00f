"""Ids -> notes (specification B.5): all at once, and one id at a time while a model is deciding.

Differences from the public reference, undone by ``compat="aria"``: nothing raises on odd
sequences, a drum or pedal pair at the very end is kept, and the velocity 0 and duration 0 of the
public vocabulary, which no encoder produces, sound as 10 so that every note is a note.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from arietta.arrays import Int32Array, IntArray, Uint8Array
from arietta.errors import TokenError
from arietta.midi.instruments import CLASSES, WRITE_PROGRAM
from arietta.midi.notes import DRUM_CHANNEL, note_table, pedal_table, program_table
from arietta.midi.piece import Piece
from arietta.midi.tempo import Compat, TempoMap
from arietta.tokenizers.quantise import SEGMENT_MS, STEP
from arietta.tokenizers.vocabulary import FIRST_DRUM, NO_CLASS, UNK, Kind, Vocabulary, vocabulary

DRUM_MS = 10
DRUM_VELOCITY = 60
PROGRAM_OF_CLASS = {"drum": 0, **dict(zip(CLASSES, WRITE_PROGRAM, strict=True))}
_HEADER_KINDS = np.zeros(len(Kind), np.bool_)
_HEADER_KINDS[: Kind.LABEL + 1] = True


class NoteEvent(NamedTuple):
    """A decoded note; times in whole milliseconds from the start of the sequence."""

    onset_ms: int
    duration_ms: int
    pitch: int
    velocity: int
    program: int
    channel: int


class PedalEvent(NamedTuple):
    """A decoded pedal movement; value 127 or 0."""

    time_ms: int
    value: int


@dataclass(frozen=True, eq=False)
class DecodedColumns:
    """What a sequence of ids says, as columns.

    Attributes:
        at: (n,) position of each note's first id, in reading order.
        onset_ms, duration_ms: (n,) int64.
        pitch, velocity, channel: (n,) uint8.
        pedal_ms: (m,) int64; pedal_value: (m,) uint8, 127 or 0.
        programs: channel -> program, in order of the prefix.
        dropped: how many ids of the body had no effect: parts of broken events, <U>, prefixes
            after the start, notes of an instrument without a prefix.
    """

    at: IntArray
    onset_ms: IntArray
    duration_ms: IntArray
    pitch: Uint8Array
    velocity: Uint8Array
    channel: Uint8Array
    pedal_ms: IntArray
    pedal_value: Uint8Array
    programs: dict[int, int]
    dropped: int

    def piece(self) -> Piece:
        """Return the piece, notes sorted by onset; one tick is one millisecond."""
        order = np.argsort(self.onset_ms, kind="stable")
        onset = self.onset_ms[order]
        notes = note_table(
            onset,
            onset + self.duration_ms[order],
            self.pitch[order],
            self.velocity[order],
            self.channel[order],
        )
        channels = list(self.programs) or [0]
        programs = program_table(
            [0] * len(channels), [self.programs.get(c, 0) for c in channels], channels
        )
        by_time = np.argsort(self.pedal_ms, kind="stable")
        pedals = pedal_table(self.pedal_ms[by_time], self.pedal_value[by_time])
        return Piece(TempoMap.constant(), notes, pedals, programs)


@dataclass(frozen=True, eq=False)
class IdTables:
    """Per-id lookup tables of a vocabulary, each of ``size + 1`` entries.

    Attributes:
        kind: ``Kind``.
        pitch: pitch or drum number.
        velocity: of note ids.
        owner: index into the vocabulary's instruments of note and drum ids.
        ms: of onset and duration ids.
    """

    kind: Uint8Array
    pitch: Uint8Array
    velocity: Uint8Array
    owner: Uint8Array
    ms: Int32Array

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> IdTables:
        """Return the tables of a vocabulary."""
        size = vocabulary.size + 1
        pitch = np.zeros(size, np.uint8)
        velocity = np.zeros(size, np.uint8)
        owner = np.full(size, NO_CLASS, np.uint8)
        ms = np.zeros(size, np.int32)
        notes = slice(vocabulary.note_start, vocabulary.drum_start)
        offset = np.arange(vocabulary.drum_start - vocabulary.note_start)
        owner[notes] = offset // vocabulary.notes_per_class
        pitch[notes] = offset % vocabulary.notes_per_class // vocabulary.velocities
        velocity[notes] = (offset % vocabulary.velocities + vocabulary.first_step) * STEP
        drums = np.arange(vocabulary.drum_start, vocabulary.dur_start)
        owner[drums] = len(vocabulary.classes)
        pitch[drums] = drums - vocabulary.drum_start + FIRST_DRUM
        velocity[drums] = DRUM_VELOCITY
        durations = np.arange(vocabulary.dur_start, vocabulary.onset_start)
        ms[durations] = (durations - vocabulary.dur_zero) * STEP
        onsets = np.arange(vocabulary.onset_start, vocabulary.pedal_start)
        ms[onsets] = (onsets - vocabulary.onset_start) * STEP
        for table in (pitch, velocity, owner, ms):
            table.setflags(write=False)
        return cls(vocabulary.kinds, pitch, velocity, owner, ms)


@lru_cache(maxsize=16)
def id_tables(name: str) -> IdTables:
    """Return the tables of a named vocabulary, made once."""
    return IdTables.of(vocabulary(name))


def prefix_channels(instruments: list[int], vocabulary: Vocabulary) -> dict[int, tuple[int, int]]:
    """Instrument index -> (channel, program), in order of first appearance."""
    channels: dict[int, tuple[int, int]] = {}
    free = 0
    for index in instruments:
        if index in channels:
            continue
        name = vocabulary.instruments[index]
        if name == "drum":
            channels[index] = (DRUM_CHANNEL, PROGRAM_OF_CLASS[name])
            continue
        channels[index] = (free, PROGRAM_OF_CLASS[name])
        free += 2 if free == DRUM_CHANNEL - 1 else 1
    return channels


def header_length(kind: Uint8Array) -> int:
    """How many ids the header has: special and prefix tokens up to the first other one."""
    in_header = _HEADER_KINDS[kind]
    return len(kind) if in_header.all() else int(np.argmin(in_header))


def decode_columns(
    ids: IntArray,
    vocabulary: Vocabulary,
    tables: IdTables,
    compat: Compat | None = None,
) -> DecodedColumns:
    """Return notes and pedals of a sequence; any sequence of integers is accepted by default.

    Args:
        ids: (n,); one outside the vocabulary counts as <U>, except ``vocabulary.size`` itself,
            which stands for an unknown prefix token.

    Raises:
        TokenError: with ``compat="aria"``, where the public reference fails.
    """
    known = (ids >= 0) & (ids <= vocabulary.size)
    if not known.all():
        ids = np.where(known, ids, UNK)
    kind = tables.kind[ids]
    body = header_length(kind)
    if compat == "aria" and body == len(ids):
        raise TokenError("the sequence has no event (the public reference fails on it)")
    header = ids[:body]
    prefixes = header[kind[:body] == Kind.INSTRUMENT] - vocabulary.instrument_start
    channels = prefix_channels(prefixes.tolist(), vocabulary)
    channel_of = np.full(NO_CLASS + 1, NO_CLASS, np.uint8)
    for index, (channel, _) in channels.items():
        channel_of[index] = channel
    clock = np.cumsum(kind == Kind.TIME) * SEGMENT_MS
    # Two ids that no event starts or goes on with stand in for what follows the last one.
    follow = np.append(kind, (Kind.PAD, Kind.PAD)).astype(np.uint8)
    second, third = follow[1:-1], follow[2:]
    paired = second == Kind.ONSET
    if compat == "aria":
        paired[-2:] = False
    is_note = (kind == Kind.NOTE) & (second == Kind.ONSET) & (third == Kind.DUR)
    is_event = is_note | ((kind == Kind.DRUM) & paired)
    is_event[:body] = False
    sounding = is_event & (channel_of[tables.owner[ids]] != NO_CLASS)
    at = np.flatnonzero(sounding)
    first = ids[at]
    is_drum = kind[at] == Kind.DRUM
    onset_ms = (clock[at] + tables.ms[ids[at + 1]]).astype(np.int64, copy=False)
    third_ids = ids[np.minimum(at + 2, len(ids) - 1)]
    duration = np.where(is_drum, DRUM_MS, tables.ms[third_ids]).astype(np.int64)
    velocity = tables.velocity[first]
    if compat is None:
        duration = np.maximum(duration, STEP)
        velocity = np.maximum(velocity, np.uint8(STEP))
    used = 3 * int(np.count_nonzero(sounding)) - int(np.count_nonzero(is_drum))
    if vocabulary.pedal:
        is_pedal = kind == Kind.PEDAL
        is_pedal[:body] = False
        if compat == "aria":
            wrong = is_pedal & (second <= Kind.DELIMITER)
            if wrong[:-2].any():
                raise TokenError("a pedal token before a special token (the reference fails on it)")
        pedal_at = np.flatnonzero(is_pedal & paired)
        pedal_ms = (clock[pedal_at] + tables.ms[ids[pedal_at + 1]]).astype(np.int64, copy=False)
        pedal_value = np.where(ids[pedal_at] == vocabulary.pedal_start, 127, 0).astype(np.uint8)
        used += 2 * len(pedal_at)
    else:
        pedal_ms, pedal_value = np.zeros(0, np.int64), np.zeros(0, np.uint8)
    inert = _INERT_IN_BODY[kind[body:]]
    return DecodedColumns(
        at,
        onset_ms,
        duration,
        tables.pitch[first],
        velocity,
        channel_of[tables.owner[first]],
        pedal_ms,
        pedal_value,
        dict(channels.values()),
        len(ids) - body - used - int(np.count_nonzero(inert)),
    )


# Ids that may stand between events of a body without being part of one.
_INERT_IN_BODY = np.zeros(len(Kind), np.bool_)
_INERT_IN_BODY[
    [Kind.EOS, Kind.PAD, Kind.DIM, Kind.TIME, Kind.DELIMITER, Kind.FILL, Kind.CONTROL]
] = True


@dataclass
class IncrementalDecoder:
    """Turns ids into notes as they come; fed a whole sequence it equals ``decode``.

    Attributes:
        vocabulary, tables: of the tokenizer it belongs to.
        pedals: pedal movements decoded so far.
        programs: channel -> program of the prefixes seen.
        dropped: ids of the body that had no effect so far.
    """

    vocabulary: Vocabulary
    tables: IdTables
    pedals: list[PedalEvent] = field(default_factory=list)
    programs: dict[int, int] = field(default_factory=dict)
    dropped: int = 0
    _clock: int = 0
    _prefixes: list[int] = field(default_factory=list)
    _channels: dict[int, tuple[int, int]] | None = None
    _first: int = -1
    _onset: int = -1

    @property
    def clock_ms(self) -> int:
        """Start of the current five-second segment."""
        return self._clock

    def push(self, token_id: int) -> list[NoteEvent]:
        """Take one id; return the note it completes, if any."""
        token_id = int(token_id)
        if not 0 <= token_id < self.vocabulary.size:
            token_id = UNK
        kind = int(self.tables.kind[token_id])
        if self._channels is None:
            if kind == Kind.INSTRUMENT:
                self._prefixes.append(token_id - self.vocabulary.instrument_start)
            if kind == Kind.TIME:
                self._clock += SEGMENT_MS
            if kind <= Kind.LABEL:
                return []
            self._channels = prefix_channels(self._prefixes, self.vocabulary)
            self.programs = dict(self._channels.values())
        if kind == Kind.ONSET and self._first >= 0 and self._onset < 0:
            return self._take_onset(token_id)
        if kind == Kind.DUR and self._onset >= 0:
            first, onset = self._first, self._onset
            self._first = self._onset = -1
            duration = max(int(self.tables.ms[token_id]), STEP)
            return self._note(first, onset, duration, 3)
        self._forget()
        if kind in (Kind.NOTE, Kind.DRUM, Kind.PEDAL):
            self._first = token_id
        elif kind == Kind.TIME:
            self._clock += SEGMENT_MS
        elif not _INERT_IN_BODY[kind]:
            self.dropped += 1
        return []

    def extend(self, ids: npt.ArrayLike) -> list[NoteEvent]:
        """Take several ids; return the notes they complete."""
        notes: list[NoteEvent] = []
        for token_id in np.asarray(ids).tolist():
            notes += self.push(token_id)
        return notes

    def _forget(self) -> None:
        self.dropped += (self._first >= 0) + (self._onset >= 0)
        self._first = self._onset = -1

    def _take_onset(self, token_id: int) -> list[NoteEvent]:
        kind = int(self.tables.kind[self._first])
        if kind == Kind.NOTE:
            self._onset = token_id
            return []
        first, self._first = self._first, -1
        if kind == Kind.DRUM:
            return self._note(first, token_id, DRUM_MS, 2)
        time_ms = self._clock + int(self.tables.ms[token_id])
        self.pedals.append(PedalEvent(time_ms, 127 if first == self.vocabulary.pedal_start else 0))
        return []

    def _note(self, first: int, onset: int, duration_ms: int, width: int) -> list[NoteEvent]:
        assert self._channels is not None
        voice = self._channels.get(int(self.tables.owner[first]))
        if voice is None:
            self.dropped += width
            return []
        channel, program = voice
        return [
            NoteEvent(
                self._clock + int(self.tables.ms[onset]),
                duration_ms,
                int(self.tables.pitch[first]),
                max(int(self.tables.velocity[first]), STEP),
                program,
                channel,
            )
        ]
