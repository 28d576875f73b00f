"""Piece -> bytes of a standard MIDI file.

``write_midi`` gives a piece that was read and not edited back as the bytes it was read from, and
builds the file of any other piece from its tables: division, tempo map, tracks, names, signatures,
controllers. ``write_reference`` writes exactly what the public code writes (specification A.7).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from os import PathLike
from typing import Protocol

import numpy as np

from arietta.arrays import IntArray
from arietta.errors import UsageError
from arietta.midi.events import (
    META_COPYRIGHT,
    META_TEMPO,
    META_TEXT,
    file_bytes,
    meta,
    track_chunk,
    variable,
)
from arietta.midi.notes import PEDAL_DOWN, ExtraTable, NoteTable, PedalTable, ProgramTable
from arietta.midi.overlaps import resolve_overlaps
from arietta.midi.parse import decode_text, encode_text, file_span, track_spans
from arietta.midi.tempo import Compat, TempoMap
from arietta.output import check_output, whole_file

_SUSTAIN = 64
_BANK_SELECT = (0, 32)

# Order of events at one tick. Note-offs come before the pedal because a note that ends as the pedal
# goes down is not held; bank numbers come before the program change that they belong to.
_META, _TEMPO, _BANK, _PROGRAM, _NOTE_OFF, _CONTROL, _NOTE_ON = range(7)


class Origin(Protocol):
    """The file that a piece was read from."""

    @property
    def data(self) -> bytes:
        """Its bytes, mended where they were damaged."""

    @property
    def compat(self) -> Compat | None:
        """How it was read."""

    def says(self, piece: Writable) -> bool:
        """Whether a piece still holds the events of the file and no others."""


class Writable(Protocol):
    """What of a ``Piece`` is written."""

    @property
    def tempo(self) -> TempoMap:
        """The tempo map."""

    @property
    def notes(self) -> NoteTable:
        """The notes."""

    @property
    def pedals(self) -> PedalTable:
        """The pedal events."""

    @property
    def programs(self) -> ProgramTable:
        """The program changes."""

    @property
    def extra(self) -> ExtraTable:
        """All other messages."""

    @property
    def text(self) -> tuple[tuple[int, str], ...]:
        """Ticks and texts."""

    @property
    def origin(self) -> Origin | None:
        """The file that it was read from."""


_Event = tuple[int, int, bytes]  # tick, rank at one tick, message as it stands in the file


def write_midi(piece: Writable, *, extra_text: Sequence[str] = ()) -> bytes:
    """Return a piece as a standard MIDI file.

    A piece whose events are those of the file it was read from is written as that file: every event
    and its order, release velocities, the ends of the tracks, the format. A piece that was edited
    or made is built from its tables, in format 0 for one track and 1 for several. Then at one tick
    come meta events, tempo, program changes, note-offs, controllers, note-ons; a note that its own
    track strikes again while it sounds ends at the second stroke, since no file can say which of
    two notes a note-off means; notes that end together stay as they are. Notes without length and
    programs that no file states (track -1) are left out.

    Args:
        piece: what to write.
        extra_text: further text events at tick 0, such as the provenance of a generated piece.

    Raises:
        UsageError: an event lies before tick 0, a pause exceeds 2**28 - 1 ticks, or a tempo or the
            division does not fit its field.
    """
    untouched = _untouched(piece, extra_text)
    if untouched is not None:
        return untouched
    notes, pedals, extra = piece.notes, piece.pedals, piece.extra
    programs = piece.programs.take(piece.programs.track >= 0)
    used = [int(table.track.max(initial=0)) for table in (notes, pedals, programs, extra)]
    tracks: list[list[_Event]] = [[] for _ in range(max(used) + 1)]
    tracks[0] += _texts(piece, extra_text)
    for tick, track, data in zip(
        extra.tick.tolist(), extra.track.tolist(), extra.data, strict=True
    ):
        tracks[track].append((tick, _rank(data), _framed(data)))
    tracks[0] += [(tick, _TEMPO, message) for tick, message in _tempos(piece)]
    for tick, program, channel, track in zip(
        programs.tick.tolist(),
        programs.program.tolist(),
        programs.channel.tolist(),
        programs.track.tolist(),
        strict=True,
    ):
        tracks[track].append((tick, _PROGRAM, bytes((0xC0 | channel, program))))
    for tick, value, channel, track in zip(
        pedals.tick.tolist(),
        pedals.value.tolist(),
        pedals.channel.tolist(),
        pedals.track.tolist(),
        strict=True,
    ):
        tracks[track].append((tick, _CONTROL, bytes((0xB0 | channel, _SUSTAIN, value))))
    for onset, offset, pitch, velocity, channel, track in zip(
        notes.onset_tick.tolist(),
        _writable_offsets(notes).tolist(),
        notes.pitch.tolist(),
        notes.velocity.tolist(),
        notes.channel.tolist(),
        notes.track.tolist(),
        strict=True,
    ):
        if offset > onset:
            status = 0x90 | channel
            tracks[track].append((onset, _NOTE_ON, bytes((status, pitch, velocity))))
            tracks[track].append((offset, _NOTE_OFF, bytes((status, pitch, 0))))
    for events in tracks:
        events.sort(key=lambda event: event[:2])
    return file_bytes(
        piece.tempo.division, [track_chunk([(e[0], e[2]) for e in events]) for events in tracks]
    )


def write_reference(piece: Writable) -> bytes:
    """Return a piece as the public code writes it: one track, notes before programs and tempo.

    Specification A.7, byte for byte. Overlaps are cut, the pedal becomes 127 or 0, and text, extra
    events and track numbers are left out.

    Raises:
        UsageError: as ``write_midi``.
    """
    other = 1000  # sorts behind every velocity
    pedals, programs, notes = piece.pedals, piece.programs, resolve_overlaps(piece.notes)
    events = [(tick, other, message) for tick, message in _tempos(piece)]
    events += [
        (tick, other, bytes((0xB0 | channel, _SUSTAIN, 127 if value >= PEDAL_DOWN else 0)))
        for tick, channel, value in zip(
            pedals.tick.tolist(), pedals.channel.tolist(), pedals.value.tolist(), strict=True
        )
    ]
    events += [
        (tick, other, bytes((0xC0 | channel, program)))
        for tick, channel, program in zip(
            programs.tick.tolist(),
            programs.channel.tolist(),
            programs.program.tolist(),
            strict=True,
        )
    ]
    # The reference leaves a note-off out where a longer note of its key began meanwhile; after the
    # cut there is no such note.
    for tick, velocity, channel, pitch in zip(
        notes.onset_tick.tolist(),
        notes.velocity.tolist(),
        notes.channel.tolist(),
        notes.pitch.tolist(),
        strict=True,
    ):
        events.append((tick, velocity, bytes((0x90 | channel, pitch, velocity))))
    ended = notes.take(_by_key(notes))
    for tick, channel, pitch in zip(
        ended.offset_tick.tolist(), ended.channel.tolist(), ended.pitch.tolist(), strict=True
    ):
        events.append((tick, 0, bytes((0x90 | channel, pitch, 0))))
    events.sort(key=lambda event: event[:2])
    chunk = track_chunk((tick, message) for tick, _, message in events)
    return file_bytes(piece.tempo.division, [chunk])


def save_midi(
    piece: Writable,
    path: str | PathLike[str],
    force: bool = False,
    *,
    extra_text: Sequence[str] = (),
) -> None:
    """Write a standard MIDI file, whole or not at all; an existing one only with ``force``.

    Raises:
        OutputError: the file exists, its directory does not, or the disk is full.
        UsageError: as ``write_midi``.
    """
    check_output(path, force=force)
    data = write_midi(piece, extra_text=extra_text)
    with whole_file(path, force=force) as temporary, temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())  # a full disk may only show here


def _untouched(piece: Writable, extra_text: Sequence[str]) -> bytes | None:
    """Return the file a piece was read from with further texts; None where events were edited."""
    origin = piece.origin
    if origin is None or not origin.says(piece):
        return None
    start, end = file_span(origin.data)
    _, spans = track_spans(origin.data)
    known = Counter(text for tick, text in piece.text if tick == 0)
    added = b"".join(
        b"\0" + meta(META_TEXT, encode_text(text)) for text in extra_text if not known[text]
    )
    if not added:
        return origin.data[start:end]
    if not spans:
        return None
    first, last = spans[0]
    size = (last - first + len(added)).to_bytes(4, "big")
    head = origin.data[start : first - 4]
    return b"".join([head, size, added, origin.data[first:end]])


def _by_key(notes: NoteTable) -> IntArray:
    """Rows grouped by channel and pitch, keys as they first appear, by time inside a key.

    The reference's order of note-offs, which shows where several fall on one tick; its note-ons
    keep the order of the table.
    """
    key = notes.channel.astype(np.int64) * 128 + notes.pitch
    _, first, number = np.unique(key, return_index=True, return_inverse=True)
    return np.lexsort((notes.offset_tick, notes.onset_tick, first[number]))


def _texts(piece: Writable, extra_text: Sequence[str]) -> list[_Event]:
    """Text events that are not among the piece's extra events, as those of a read file are."""
    kept = Counter(
        (tick, decode_text(payload))
        for kind in (META_TEXT, META_COPYRIGHT)
        for tick, _, payload in piece.extra.meta(kind)
    )
    events: list[_Event] = []
    for tick, text in [*piece.text, *((0, text) for text in extra_text)]:
        if kept[tick, text]:
            kept[tick, text] -= 1
        else:
            events.append((tick, _META, meta(META_TEXT, encode_text(text))))
    return events


def _tempos(piece: Writable) -> Iterable[tuple[int, bytes]]:
    """(tick, message) of the tempo map."""
    for tick, us in zip(
        piece.tempo.tick.tolist(), piece.tempo.us_per_quarter.tolist(), strict=True
    ):
        if not 0 <= us < 2**24:
            raise UsageError(f"a tempo of {us} microseconds a quarter does not fit a MIDI file")
        yield tick, bytes((0xFF, META_TEMPO, 3)) + us.to_bytes(3, "big")


def _rank(data: bytes) -> int:
    """Place of an extra message at its tick."""
    if data[0] >= 0xF0:
        return _META
    if data[0] & 0xF0 == 0xB0 and data[1] in _BANK_SELECT:
        return _BANK
    return _CONTROL


def _framed(data: bytes) -> bytes:
    """Return a message as it stands in a file: meta and system-exclusive ones get their length."""
    if data[0] < 0xF0:
        return data
    head = 2 if data[0] == 0xFF else 1
    return data[:head] + variable(len(data) - head) + data[head:]


def _writable_offsets(notes: NoteTable) -> IntArray:
    """Offsets under which every note-off means the notes it should.

    A note-off ends all notes of its track, channel and pitch. So a note either ends before the next
    one of its key begins, or together with it.
    """
    onset = notes.onset_tick
    order = np.lexsort((notes.offset_tick, onset, notes.pitch, notes.channel, notes.track))
    before, after = order[:-1], order[1:]
    clash = (
        (notes.track[before] == notes.track[after])
        & (notes.channel[before] == notes.channel[after])
        & (notes.pitch[before] == notes.pitch[after])
        & (notes.offset_tick[before] > onset[after])
    )
    offset = notes.offset_tick.copy()
    # From the last to the first, because a note that is cut no longer ends with the one before it.
    for i in np.flatnonzero(clash)[::-1].tolist():
        if offset[before[i]] != offset[after[i]]:
            offset[before[i]] = onset[after[i]]
    return offset
