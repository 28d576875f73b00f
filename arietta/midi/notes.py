"""The one data model: a ``Piece`` is columns of notes and events over a tempo map.

Ticks are the truth, so that a file can be written back on its own grid; milliseconds are derived.
Every table is a set of equal-length one-dimensional numpy columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from os import PathLike
from typing import Any, TypeVar, overload

import numpy as np
import numpy.typing as npt

from arietta.midi.tempo import Compat, FloatArray, IntArray, TempoMap

DRUM_CHANNEL = 9
LOWEST_KEY = 21
"""MIDI pitch of A0, the first of the piano's keys."""
KEYS = 88
_Kind = TypeVar("_Kind", bound=np.generic)
Uint8Array = npt.NDArray[np.uint8]
Int32Array = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class NoteTable:
    """Notes in reading order: stable by onset, then track, then the order of completion.

    Attributes:
        onset_tick, offset_tick: (n,) int64, key down and key up.
        pitch: (n,) uint8, 0..127.
        velocity: (n,) uint8, 1..127.
        channel: (n,) uint8, 0..15; channel 9 is drums.
        track: (n,) int32, index of the track the note came from.
    """

    onset_tick: IntArray
    offset_tick: IntArray
    pitch: Uint8Array
    velocity: Uint8Array
    channel: Uint8Array
    track: Int32Array

    def __len__(self) -> int:
        return len(self.onset_tick)

    def take(self, index: npt.NDArray[Any] | slice) -> NoteTable:
        """The rows that an index array, a mask or a slice selects."""
        return NoteTable(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


@dataclass(frozen=True, eq=False)
class PedalTable:
    """Sustain-pedal events (controller 64), stable by tick.

    Attributes:
        tick: (n,) int64.
        value: (n,) uint8, 0..127; 64 and above is down.
        channel: (n,) uint8.
        track: (n,) int32.
    """

    tick: IntArray
    value: Uint8Array
    channel: Uint8Array
    track: Int32Array

    def __len__(self) -> int:
        return len(self.tick)

    def take(self, index: npt.NDArray[Any] | slice) -> PedalTable:
        """The rows that an index array, a mask or a slice selects."""
        return PedalTable(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


@dataclass(frozen=True, eq=False)
class ProgramTable:
    """Program changes, stable by tick.

    Attributes:
        tick: (n,) int64.
        program: (n,) uint8, 0..127.
        channel: (n,) uint8.
        track: (n,) int32; -1 where no file states the program and it is assumed.
    """

    tick: IntArray
    program: Uint8Array
    channel: Uint8Array
    track: Int32Array

    def __len__(self) -> int:
        return len(self.tick)

    def take(self, index: npt.NDArray[Any] | slice) -> ProgramTable:
        """The rows that an index array, a mask or a slice selects."""
        return ProgramTable(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


class MessageList(Sequence[bytes]):
    """Byte strings packed end to end, so that a file with many costs two objects to read.

    Attributes:
        blob: all messages, one after the other.
        bounds: (n + 1,) int64; message i is ``blob[bounds[i]:bounds[i + 1]]``.
    """

    __slots__ = ("blob", "bounds")

    def __init__(self, blob: bytes | bytearray, bounds: IntArray) -> None:
        self.blob = blob
        self.bounds = bounds

    @classmethod
    def pack(cls, messages: Iterable[bytes]) -> MessageList:
        """The same messages in packed form."""
        listed = list(messages)
        bounds = np.zeros(len(listed) + 1, np.int64)
        np.cumsum([len(message) for message in listed], out=bounds[1:])
        return cls(b"".join(listed), bounds)

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[bytes, ...]: ...

    def __getitem__(self, index: int | slice) -> bytes | tuple[bytes, ...]:
        if isinstance(index, slice):
            return tuple(self)[index]
        i = range(len(self))[index]
        return bytes(self.blob[self.bounds[i] : self.bounds[i + 1]])

    def __iter__(self) -> Iterator[bytes]:
        blob, bounds = bytes(self.blob), self.bounds.tolist()
        return (blob[a:b] for a, b in pairwise(bounds))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"MessageList({list(self)!r})"


@dataclass(frozen=True, eq=False)
class ExtraTable:
    """Everything else a DAW user wants back, kept as the bytes of each message.

    Other controllers, pitch bend, aftertouch, system-exclusive messages (without the length) and
    the meta events (0xFF type data, without the length): text, names, lyrics, markers, time and key
    signatures. Stable by tick.

    Attributes:
        tick: (n,) int64.
        track: (n,) int32.
        data: n messages; a channel message starts with its status byte, a meta event with 0xFF.
    """

    tick: IntArray
    track: Int32Array
    data: Sequence[bytes]

    def __len__(self) -> int:
        return len(self.tick)

    def take(self, index: npt.NDArray[Any] | slice) -> ExtraTable:
        """The rows that an index array, a mask or a slice selects."""
        rows = np.arange(len(self))[index].tolist()
        listed = tuple(self.data)
        return ExtraTable(
            self.tick[index], self.track[index], MessageList.pack(listed[i] for i in rows)
        )

    def meta(self, kind: int) -> list[tuple[int, int, bytes]]:
        """(tick, track, payload) of every meta event of one type."""
        head = bytes((0xFF, kind))
        return [
            (int(t), int(k), d[2:])
            for t, k, d in zip(self.tick, self.track, self.data, strict=True)
            if d[:2] == head
        ]


def empty_notes() -> NoteTable:
    """A note table without rows."""
    return note_table([], [], [], [])


def _column(values: npt.ArrayLike, kind: type[_Kind], rows: int) -> npt.NDArray[_Kind]:
    """A column of its own; a scalar is repeated."""
    column = np.asarray(values, kind)
    return np.full(rows, column, kind) if column.ndim == 0 else column


def note_table(
    onset_tick: npt.ArrayLike,
    offset_tick: npt.ArrayLike,
    pitch: npt.ArrayLike,
    velocity: npt.ArrayLike,
    channel: npt.ArrayLike = 0,
    track: npt.ArrayLike = 0,
) -> NoteTable:
    """Build a note table; scalars are repeated, the row order is kept."""
    onset = np.asarray(onset_tick, np.int64)
    n = len(onset)
    return NoteTable(
        onset,
        _column(offset_tick, np.int64, n),
        _column(pitch, np.uint8, n),
        _column(velocity, np.uint8, n),
        _column(channel, np.uint8, n),
        _column(track, np.int32, n),
    )


def pedal_table(
    tick: npt.ArrayLike,
    value: npt.ArrayLike,
    channel: npt.ArrayLike = 0,
    track: npt.ArrayLike = 0,
) -> PedalTable:
    """Build a pedal table; scalars are repeated, the row order is kept."""
    t = np.asarray(tick, np.int64)
    n = len(t)
    return PedalTable(
        t,
        _column(value, np.uint8, n),
        _column(channel, np.uint8, n),
        _column(track, np.int32, n),
    )


def program_table(
    tick: npt.ArrayLike,
    program: npt.ArrayLike,
    channel: npt.ArrayLike = 0,
    track: npt.ArrayLike = 0,
) -> ProgramTable:
    """Build a program table; scalars are repeated, the row order is kept."""
    t = np.asarray(tick, np.int64)
    n = len(t)
    return ProgramTable(
        t,
        _column(program, np.uint8, n),
        _column(channel, np.uint8, n),
        _column(track, np.int32, n),
    )


@dataclass(frozen=True, eq=False)
class Origin:
    """The file that a piece was read from.

    Attributes:
        data: its bytes, mended where they were damaged.
        compat: how it was read.
    """

    data: bytes
    compat: Compat | None = None


@dataclass(frozen=True, eq=False)
class Piece:
    """A performance or a score.

    Attributes:
        tempo: the tempo map, which also holds the tick resolution.
        notes, pedals, programs, extra: the tables above.
        text: (tick, text) of text and copyright events.
        metadata: composer, form, genre and whatever else is known; single strings.
        source: name of the file it was read from, or None.
        origin: that file itself; as long as the tables say what it says, it is what is written.
        notices: what was mended or left out in reading, for the user.
    """

    tempo: TempoMap
    notes: NoteTable
    pedals: PedalTable = field(default_factory=lambda: pedal_table([], []))
    programs: ProgramTable = field(default_factory=lambda: program_table([0], [0]))
    extra: ExtraTable = field(
        default_factory=lambda: ExtraTable(np.zeros(0, np.int64), np.zeros(0, np.int32), ())
    )
    text: tuple[tuple[int, str], ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    source: str | None = None
    origin: Origin | None = field(default=None, repr=False)
    notices: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of notes."""
        return len(self.notes)

    @classmethod
    def from_ms(
        cls,
        onset_ms: npt.ArrayLike,
        duration_ms: npt.ArrayLike,
        pitch: npt.ArrayLike,
        velocity: npt.ArrayLike,
        *,
        pedal_time_ms: npt.ArrayLike = (),
        pedal_value: npt.ArrayLike = (),
        metadata: Mapping[str, str] | None = None,
    ) -> Piece:
        """A solo-piano piece on a grid of one tick = one millisecond; rows are sorted by onset."""
        onset = np.rint(np.asarray(onset_ms, np.float64)).astype(np.int64)
        duration = np.rint(np.asarray(duration_ms, np.float64)).astype(np.int64)
        notes = note_table(onset, onset + duration, pitch, velocity)
        pedal_tick = np.rint(np.asarray(pedal_time_ms, np.float64)).astype(np.int64)
        pedals = pedal_table(pedal_tick, pedal_value)
        return cls(
            TempoMap.constant(),
            notes.take(np.argsort(onset, kind="stable")),
            pedals.take(np.argsort(pedal_tick, kind="stable")),
            metadata=dict(metadata or {}),
        )

    @cached_property
    def onset_ms(self) -> FloatArray:
        """(n,) key-down times from tick 0."""
        return self.tempo.ms_at(self.notes.onset_tick)

    @cached_property
    def duration_ms(self) -> FloatArray:
        """(n,) key-down to key-up, without the pedal."""
        return self.tempo.distance_ms(self.notes.onset_tick, self.notes.offset_tick)

    @property
    def end_ms(self) -> float:
        """Time of the latest key-up from tick 0; 0 without notes."""
        if not len(self):
            return 0.0
        return float(self.tempo.ms_at(self.notes.offset_tick.max()))

    @property
    def time_signatures(self) -> list[tuple[int, int, int]]:
        """(tick, numerator, denominator) of every time signature."""
        return [
            (tick, data[0], 1 << min(data[1], 16))
            for tick, _, data in self.extra.meta(0x58)
            if len(data) >= 2
        ]

    @property
    def key_signatures(self) -> list[tuple[int, int, bool]]:
        """(tick, sharps -7..7, is_minor) of every key signature."""
        return [
            (tick, data[0] - 256 if data[0] > 127 else data[0], bool(data[1]))
            for tick, _, data in self.extra.meta(0x59)
            if len(data) >= 2
        ]

    @property
    def track_names(self) -> dict[int, str]:
        """Track index -> its first name, or without one the name of its instrument.

        White space and NUL bytes at the end are left out.
        """
        from arietta.midi.parse import decode_text

        names: dict[int, str] = {}
        for kind in (0x03, 0x04):
            for _, track, data in self.extra.meta(kind):
                text = decode_text(data).rstrip("\0 \t\r\n")
                if text:
                    names.setdefault(track, text)
        return names

    def with_metadata(self, **items: str) -> Piece:
        """The same piece with some metadata replaced."""
        return replace(self, metadata={**self.metadata, **items})

    def to_bytes(self) -> bytes:
        """The piece as a standard MIDI file."""
        from arietta.midi.writer import write_midi

        return write_midi(self)

    def save(self, path: str | PathLike[str], *, force: bool = False) -> None:
        """Write a standard MIDI file; an existing one is only replaced with ``force``.

        Raises:
            OutputError: the file exists, or its directory does not, or the disk is full.
        """
        from arietta.midi.writer import save_midi

        save_midi(self, path, force=force)
