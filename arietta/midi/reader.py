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
from os import PathLike, fspath

import numpy as np

from arietta.errors import InputError, MidiError
from arietta.midi.notes import (
    ExtraTable,
    MessageList,
    NoteTable,
    PedalTable,
    Piece,
    ProgramTable,
    program_table,
)
from arietta.midi.parse import RawColumns
from arietta.midi.parse import parse as parse_python
from arietta.midi.tempo import TempoMap

try:
    from arietta.midi import _fastread

    _compiled = True
except ImportError:  # built only where a compiler was at hand
    _compiled = False

__all__ = ["parse_c", "parse_python", "read", "read_bytes"]

DEFAULT_MAX_BYTES = 16 * 2**20
"""Room for well over a million notes. Reading takes up to fifty times the size of the file."""

_DEFAULT_PROGRAMS = program_table([0], [0])


def _parse_c(data: bytes) -> RawColumns:
    """``parse_python``, compiled: the same columns and the same errors."""
    try:
        division, tempos, notes, pedals, programs, extra, messages, text = _fastread.parse(data)
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
    )


parse_c: Callable[[bytes], RawColumns] | None = _parse_c if _compiled else None
_parse = _parse_c if _compiled else parse_python


def read(path: str | PathLike[str], *, max_bytes: int = DEFAULT_MAX_BYTES) -> Piece:
    """Read a standard MIDI file (.mid, or .rmi in a RIFF container).

    Raises:
        MidiError: the file is malformed, or larger than ``max_bytes``.
        InputError: it cannot be opened.
    """
    name = fspath(path)
    try:
        with open(name, "rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror or error}") from None
    if len(data) > max_bytes:
        raise MidiError(f"larger than {max_bytes} bytes", source=name)
    return read_bytes(data, source=name)


def read_bytes(data: bytes, *, source: str | None = None) -> Piece:
    """Read the bytes of a standard MIDI file.

    Where the file says nothing, the tempo is 120 quarters a minute and channel 0 plays program 0.

    Raises:
        MidiError: the file is malformed; with the reason and the byte offset.
    """
    try:
        raw = _parse(bytes(data))
    except MidiError as error:
        raise MidiError(error.reason, byte_offset=error.byte_offset, source=source) from None
    if len(raw.tempo_tick):
        tempo = TempoMap(raw.division, raw.tempo_tick, raw.tempo_us)
    else:
        tempo = TempoMap.constant(raw.division)
    programs = raw.programs if len(raw.programs) else _DEFAULT_PROGRAMS
    return Piece(tempo, raw.notes, raw.pedals, programs, raw.extra, raw.text, source=source)
