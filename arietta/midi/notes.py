"""Tables of notes and events, the parts of a ``Piece``.

Every table is a set of equal-length one-dimensional numpy columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar, overload

import numpy as np
import numpy.typing as npt

from arietta.arrays import Int32Array, IntArray, Uint8Array

DRUM_CHANNEL = 9
LOWEST_KEY = 21
"""MIDI pitch of A0, the first of the piano's keys."""
KEYS = 88
_Kind = TypeVar("_Kind", bound=np.generic)


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
        """Return the rows that an index array, a mask or a slice selects."""
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
        """Return the rows that an index array, a mask or a slice selects."""
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
        """Return the rows that an index array, a mask or a slice selects."""
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
        """Return the same messages in packed form."""
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
        """Return the rows that an index array, a mask or a slice selects."""
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
    """Return a note table without rows."""
    return note_table([], [], [], [])


def _column(values: npt.ArrayLike, kind: type[_Kind], rows: int) -> npt.NDArray[_Kind]:
    """Return a column of its own; a scalar is repeated."""
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


PEDAL_DOWN = 64
"""The lowest controller value that holds the dampers up; half pedal is not modelled."""
