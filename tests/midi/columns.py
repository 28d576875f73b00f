"""Comparing what two parsers made of a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from arietta.errors import MidiError
from arietta.midi.notes import NoteTable
from arietta.midi.parse import RawColumns
from arietta.midi.piece import Piece


def outcome(parser: Callable[[bytes], RawColumns], data: bytes) -> Any:
    """Everything a parser tells about a file, as plain values: its columns or its error."""
    try:
        raw = parser(data)
    except MidiError as error:
        return error.reason, error.byte_offset
    found: dict[str, Any] = {
        "division": raw.division,
        "tempo": (raw.tempo_tick.tolist(), raw.tempo_us.tolist()),
        "text": raw.text,
        "counts": (raw.unended, raw.modes, raw.early_ends),
        "extra": (raw.extra.tick.tolist(), raw.extra.track.tolist(), list(raw.extra.data)),
    }
    for name in ("notes", "pedals", "programs"):
        table = getattr(raw, name)
        for column in (getattr(table, field.name) for field in fields(table)):
            assert column.flags.writeable
            found.setdefault(name, []).append((column.dtype, column.tolist()))
    return found


def note_rows(notes: NoteTable) -> list[list[int]]:
    """[pitch, velocity, start tick, end tick, channel], as in the golden files."""
    columns = (notes.pitch, notes.velocity, notes.onset_tick, notes.offset_tick, notes.channel)
    return [list(row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def pedal_rows(piece: Piece) -> list[list[int]]:
    """[tick, channel, value]."""
    pedals = piece.pedals
    columns = (pedals.tick, pedals.channel, pedals.value)
    return [list(row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def program_rows(piece: Piece) -> list[list[int]]:
    """[tick, channel, program]."""
    programs = piece.programs
    columns = (programs.tick, programs.channel, programs.program)
    return [list(row) for row in zip(*(column.tolist() for column in columns), strict=True)]
