"""Bytes of a standard MIDI file -> Piece, with the public reference's note pairing.

Specification section A.1. Notes are paired per track and keyed by (channel, pitch): a note off ends
*every* pending note on of its key that started at another tick. Malformed files are refused with
the reason and the byte it was noticed at. Where the reference's byte reader merely crashes on a
readable file (odd key signatures, high bytes in system-exclusive messages, chunks between the
tracks), the file is read. One difference in time: the reference forgets the delta times of meta
events of types it does not know; here they count.

The bytes are parsed by ``_fastread`` where it was compiled, else by ``parse``; the results are the
same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike, fspath

import numpy as np

from arietta.errors import InputError, MidiError
from arietta.midi.events import LONGEST_PAUSE
from arietta.midi.interpret import in_sequence, interpret, is_sequence
from arietta.midi.mend import foreign_format, mend_chunks, mend_events
from arietta.midi.notes import (
    ExtraTable,
    MessageList,
    NoteTable,
    PedalTable,
    ProgramTable,
    program_table,
)
from arietta.midi.parse import RawColumns
from arietta.midi.parse import parse as parse_python
from arietta.midi.piece import Piece
from arietta.midi.tempo import Compat, TempoMap
from arietta.midi.writer import Writable

try:
    from arietta.midi import _fastread

    _compiled = True
except ImportError:  # built only where a compiler was at hand
    _compiled = False

__all__ = ["file_data", "parse_c", "parse_python", "read", "read_bytes", "same_events"]

DEFAULT_MAX_BYTES = 16 * 2**20
"""Room for well over a million notes. Reading takes up to fifty times the size of the file."""

_DEFAULT_PROGRAMS = program_table([0], [0], 0, -1)
"""What holds where a file states no program; on no track, so that it is never written."""


def _parse_c(data: bytes) -> RawColumns:
    """``parse_python``, compiled: the same columns and the same errors."""
    try:
        division, tempos, notes, pedals, programs, extra, messages, text, *counts = _fastread.parse(
            data
        )
    except ValueError as error:
        reason, offset = error.args
        raise MidiError(reason, byte_offset=offset) from None
    # The layout of each buffer stands beside its writer in _fastread.c.
    t = len(tempos) // 16
    n = len(notes) // 23
    p = len(pedals) // 14
    q = len(programs) // 14
    e = len(extra) // 20
    column = np.frombuffer
    return RawColumns(
        division,
        column(tempos, np.int64, t),
        column(tempos, np.int64, t, 8 * t),
        NoteTable(
            column(notes, np.int64, n),
            column(notes, np.int64, n, 8 * n),
            column(notes, np.uint8, n, 20 * n),
            column(notes, np.uint8, n, 21 * n),
            column(notes, np.uint8, n, 22 * n),
            column(notes, np.int32, n, 16 * n),
        ),
        PedalTable(
            column(pedals, np.int64, p),
            column(pedals, np.uint8, p, 12 * p),
            column(pedals, np.uint8, p, 13 * p),
            column(pedals, np.int32, p, 8 * p),
        ),
        ProgramTable(
            column(programs, np.int64, q),
            column(programs, np.uint8, q, 12 * q),
            column(programs, np.uint8, q, 13 * q),
            column(programs, np.int32, q, 8 * q),
        ),
        ExtraTable(
            column(extra, np.int64, e),
            column(extra, np.int32, e, 16 * e + 8),
            MessageList(messages, column(extra, np.int64, e + 1, 8 * e)),
        ),
        text,
        *counts,
    )


parse_c: Callable[[bytes], RawColumns] | None = _parse_c if _compiled else None
_parse = _parse_c if _compiled else parse_python


def read(
    path: str | PathLike[str],
    *,
    max_bytes: int = DEFAULT_MAX_BYTES,
    strict: bool = False,
    compat: Compat | None = None,
) -> Piece:
    """Read a standard MIDI file (.mid, or .rmi in a RIFF container).

    Args:
        path: where it is.
        max_bytes: larger files are refused.
        strict, compat: see ``read_bytes``; a file given by hand is mended.

    Raises:
        MidiError: the file is malformed, or larger than ``max_bytes``.
        InputError: it cannot be opened.
    """
    name = fspath(path)
    return read_bytes(file_data(name, max_bytes), source=name, strict=strict, compat=compat)


def file_data(name: str, max_bytes: int = DEFAULT_MAX_BYTES) -> bytes:
    """Return the bytes of a file.

    Raises:
        MidiError: it is larger than ``max_bytes``.
        InputError: it cannot be opened.
    """
    try:
        with open(name, "rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror or error}") from None
    if len(data) > max_bytes:
        raise MidiError(f"larger than {max_bytes} bytes", source=name)
    return data


def read_bytes(
    data: bytes,
    *,
    source: str | None = None,
    strict: bool = True,
    compat: Compat | None = None,
) -> Piece:
    """Read the bytes of a standard MIDI file.

    Where the file says nothing, the tempo is 120 quarters a minute and channel 0 plays program 0.

    Args:
        data: the file.
        source: its name, for messages.
        strict: refuse what the standard forbids; else what players open is mended, and the
            piece's ``notices`` say what.
        compat: ``"aria"`` reads as the public code does, which knows nothing of controllers that
            end notes or lift the pedal; see ``interpret``.

    Raises:
        MidiError: the file is malformed; with the reason and the byte offset.
    """
    try:
        data, raw, notices = (
            (bytes(data), _meaning(bytes(data), compat), ()) if strict else _mended(data, compat)
        )
    except MidiError as error:
        reason = foreign_format(data) or error.reason
        offset = error.byte_offset if reason == error.reason else None
        raise MidiError(reason, byte_offset=offset, source=source) from None
    if len(raw.tempo_tick):
        tempo = TempoMap(raw.division, raw.tempo_tick, raw.tempo_us)
    else:
        tempo = TempoMap.constant(raw.division)
    programs = raw.programs if len(raw.programs) else _DEFAULT_PROGRAMS
    return Piece(
        tempo,
        raw.notes,
        raw.pedals,
        programs,
        raw.extra,
        raw.text,
        source=source,
        origin=FileOrigin(data, compat),
        notices=notices,
    )


def _meaning(data: bytes, compat: Compat | None) -> RawColumns:
    """Return the columns of a file as the standard means them, or as the public code does."""
    raw = _parse(data)
    if compat is not None:
        return raw
    if is_sequence(data):
        data = in_sequence(data)
        raw = _parse(data)
    return interpret(raw, data)


def _mended(data: bytes, compat: Compat | None) -> tuple[bytes, RawColumns, tuple[str, ...]]:
    """Return a file's bytes after mending, its columns, and what was mended."""
    data, notices = mend_chunks(bytes(data))
    try:
        raw = _meaning(data, compat)
    except MidiError as error:
        data, more = mend_events(data, error)
        return data, _meaning(data, compat), notices + more
    ticks = (raw.pedals.tick, raw.extra.tick, raw.tempo_tick)
    latest = max(raw.notes.offset_tick.max(initial=0), *(int(t[-1]) for t in ticks if len(t)), 0)
    # Later than a player can keep: a count from before the start, taken for a huge number.
    if raw.early_ends or latest > LONGEST_PAUSE:
        try:
            data, more = mend_events(data)
        except MidiError:
            return data, raw, notices
        return data, _meaning(data, compat), notices + more
    return data, raw, notices


@dataclass(frozen=True)
class FileOrigin:
    """The file that a piece was read from.

    Attributes:
        data: its bytes, mended where they were damaged.
        compat: how it was read.
    """

    data: bytes
    compat: Compat | None = None

    def says(self, piece: Writable) -> bool:
        """Whether a piece still holds the events of the file and no others."""
        return same_events(piece, read_bytes(self.data, compat=self.compat))


def same_events(piece: Writable, other: Writable) -> bool:
    """Whether two pieces hold the same notes, events, tempos and texts."""
    if piece.tempo.division != other.tempo.division or piece.text != other.text:
        return False
    tables = ("notes", "pedals", "programs", "extra", "tempo")
    for mine, theirs in ((getattr(piece, name), getattr(other, name)) for name in tables):
        for name in mine.__dataclass_fields__:
            a, b = getattr(mine, name), getattr(theirs, name)
            if isinstance(a, np.ndarray):
                if not np.array_equal(a, b):
                    return False
            elif isinstance(a, MessageList) and isinstance(b, MessageList):
                if a.blob != b.blob or not np.array_equal(a.bounds, b.bounds):
                    return False
            elif a != b:
                return False
    return True
