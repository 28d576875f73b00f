"""Piece -> bytes of a standard MIDI file.

``write_midi`` keeps what the piece came with: division, tempo map, tracks, names, signatures,
controllers. ``write_reference`` writes exactly what the public code writes (specification A.7).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from os import PathLike

import numpy as np

from arietta.arrays import IntArray
from arietta.errors import UsageError
from arietta.midi.notes import NoteTable, Piece, write_with
from arietta.midi.pedal import PEDAL_DOWN, resolve_overlaps
from arietta.output import check_output, whole_file

LONGEST_PAUSE = 2**28 - 1
"""Ticks between two events of a track that four bytes can express, the standard's limit."""

_SUSTAIN = 64
_META_TEXT, _META_COPYRIGHT, _META_END, _META_TEMPO = 0x01, 0x02, 0x2F, 0x51
_BANK_SELECT = (0, 32)

# Order of events at one tick. Note-offs come before the pedal because a note that ends as the pedal
# goes down is not held; bank numbers come before the program change that they belong to.
_META, _TEMPO, _BANK, _PROGRAM, _NOTE_OFF, _CONTROL, _NOTE_ON = range(7)

_Event = tuple[int, int, bytes]  # tick, rank at one tick, message as it stands in the file


def write_midi(piece: Piece, *, extra_text: Sequence[str] = ()) -> bytes:
    """A piece as a standard MIDI file: format 0 for one track, 1 for several.

    At one tick come meta events, tempo, program changes, note-offs, controllers, note-ons. A note
    that its own track strikes again while it sounds ends at the second stroke, since no file can
    say which of two notes a note-off means; notes that end together stay as they are. Notes
    without length are left out.

    Args:
        piece: what to write.
        extra_text: further text events at tick 0, such as the provenance of a generated piece.

    Raises:
        UsageError: an event lies before tick 0, a pause exceeds 2**28 - 1 ticks, or a tempo or the
            division does not fit its field.
    """
    notes, pedals, programs, extra = piece.notes, piece.pedals, piece.programs, piece.extra
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
    return _file(piece.tempo.division, [[(e[0], e[2]) for e in events] for events in tracks])


def write_reference(piece: Piece) -> bytes:
    """A piece as the public code writes it: one track, notes before programs and tempo.

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
    return _file(piece.tempo.division, [[(tick, message) for tick, _, message in events]])


def save_midi(
    piece: Piece,
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


def _by_key(notes: NoteTable) -> IntArray:
    """Rows grouped by channel and pitch, keys as they first appear, by time inside a key.

    The reference's order of note-offs, which shows where several fall on one tick; its note-ons
    keep the order of the table.
    """
    key = notes.channel.astype(np.int64) * 128 + notes.pitch
    _, first, number = np.unique(key, return_index=True, return_inverse=True)
    return np.lexsort((notes.offset_tick, notes.onset_tick, first[number]))


def _texts(piece: Piece, extra_text: Sequence[str]) -> list[_Event]:
    """Text events that are not among the piece's extra events, as those of a read file are."""
    kept = Counter(
        (tick, payload)
        for kind in (_META_TEXT, _META_COPYRIGHT)
        for tick, _, payload in piece.extra.meta(kind)
    )
    events: list[_Event] = []
    for tick, text in [*piece.text, *((0, text) for text in extra_text)]:
        data = _encoded(text)
        if kept[tick, data]:
            kept[tick, data] -= 1
        else:
            events.append((tick, _META, _framed(bytes((0xFF, _META_TEXT)) + data)))
    return events


def _encoded(text: str) -> bytes:
    """Latin-1, the encoding that files are read with; UTF-8 where that cannot express the text."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def _tempos(piece: Piece) -> Iterable[tuple[int, bytes]]:
    """(tick, message) of the tempo map."""
    for tick, us in zip(
        piece.tempo.tick.tolist(), piece.tempo.us_per_quarter.tolist(), strict=True
    ):
        if not 0 <= us < 2**24:
            raise UsageError(f"a tempo of {us} microseconds a quarter does not fit a MIDI file")
        yield tick, bytes((0xFF, _META_TEMPO, 3)) + us.to_bytes(3, "big")


def _rank(data: bytes) -> int:
    """Place of an extra message at its tick."""
    if data[0] >= 0xF0:
        return _META
    if data[0] & 0xF0 == 0xB0 and data[1] in _BANK_SELECT:
        return _BANK
    return _CONTROL


def _framed(data: bytes) -> bytes:
    """A message as it stands in a file: meta and system-exclusive ones get their length."""
    if data[0] < 0xF0:
        return data
    head = 2 if data[0] == 0xFF else 1
    return data[:head] + _variable(len(data) - head) + data[head:]


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


def _variable(value: int) -> bytes:
    """A variable-length quantity: seven bits a byte, all but the last with the high bit set."""
    if value < 0x80:
        return bytes((value,))
    out = [value & 0x7F]
    while value := value >> 7:
        out.append(value & 0x7F | 0x80)
    return bytes(reversed(out))


def _file(division: int, tracks: list[list[tuple[int, bytes]]]) -> bytes:
    """Header and tracks; the events of each are in order."""
    if not -(2**15) <= division < 2**15 or division == 0:
        raise UsageError(f"a division of {division} does not fit a MIDI file")
    head = b"MThd" + (6).to_bytes(4, "big") + int(len(tracks) > 1).to_bytes(2, "big")
    head += len(tracks).to_bytes(2, "big") + division.to_bytes(2, "big", signed=True)
    return b"".join([head, *(_track(events) for events in tracks)])


def _track(events: list[tuple[int, bytes]]) -> bytes:
    """One track chunk, channel messages under running status."""
    out = bytearray()
    now, running = 0, 0
    for tick, message in events:
        pause = tick - now
        if pause < 0:  # events are sorted, so this is the first
            raise UsageError(f"an event at tick {tick}: a MIDI file begins at tick 0")
        if pause > LONGEST_PAUSE:
            raise UsageError(f"a pause of {pause} ticks is too long for a MIDI file")
        out += _variable(pause)
        status = message[0]
        out += message[1:] if status == running else message
        running = status if status < 0xF0 else 0
        now = tick
    out += bytes((0, 0xFF, _META_END, 0))
    return b"MTrk" + len(out).to_bytes(4, "big") + bytes(out)


class _Writing:
    """How ``Piece.save`` and ``Piece.to_bytes`` write."""

    def to_bytes(self, piece: Piece) -> bytes:
        return write_midi(piece)

    def save(self, piece: Piece, path: str | PathLike[str], *, force: bool) -> None:
        save_midi(piece, path, force=force)


write_with(_Writing())
