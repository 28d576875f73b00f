"""What a file means beyond the pairing of its notes: messages that end notes or lift the pedal.

``parse`` gives the columns as the public code reads them. Here the rest of the standard is applied:
All Sound Off and All Notes Off (controllers 120 and 123 to 127) end the notes of their channel; a
note without a note-off in its track lasts to one in another track, or to the end of its own; Reset
All Controllers (121) lifts the pedal (RP-015); a tempo of 0 is damage and does not count; the
tracks of a format 2 file are patterns that follow one another.
"""

from __future__ import annotations

import numpy as np

from arietta.arrays import IntArray
from arietta.midi.events import Event, file_events, file_format, track_chunk
from arietta.midi.notes import ExtraTable, MessageList, NoteTable, PedalTable, note_table
from arietta.midi.parse import RawColumns, file_span, track_spans

ALL_SOUND_OFF, RESET_CONTROLLERS, ALL_NOTES_OFF = 120, 121, 123
ENDING_CONTROLLERS = (ALL_SOUND_OFF, *range(ALL_NOTES_OFF, 128))
"""Mode changes (124 to 127) end all notes too (MIDI 1.0)."""

_SEVERAL_AT_ONCE = (b"\0\0", b"\0\1")

Open = tuple[int, int, int, int, int, int]
"""Onset and end tick, pitch, velocity, channel and track of a note without a note-off."""


def interpret(raw: RawColumns, data: bytes) -> RawColumns:
    """Apply the rest of the standard to the columns of a file.

    Args:
        raw: what ``parse`` made of the file.
        data: the file.
    """
    if raw.unended:
        raw = raw._replace(notes=_with_unended(raw.notes, data))
    if raw.modes:
        rows, numbers = controller_rows(raw.extra)
        ends = rows[np.isin(numbers, ENDING_CONTROLLERS)]
        if len(ends):
            raw = raw._replace(notes=_ended(raw.notes, raw.extra, ends))
        resets = rows[numbers == RESET_CONTROLLERS]
        if len(resets):
            raw = raw._replace(pedals=_lifted(raw.pedals, raw.extra, resets))
    if np.count_nonzero(raw.tempo_us) < len(raw.tempo_us):
        real = raw.tempo_us > 0
        raw = raw._replace(tempo_tick=raw.tempo_tick[real], tempo_us=raw.tempo_us[real])
    return raw


def controller_rows(extra: ExtraTable) -> tuple[IntArray, IntArray]:
    """Return the rows of an extra table that hold controllers 120 to 127, and their numbers."""
    none = np.zeros(0, np.int64)
    packed = extra.data
    if not len(extra):
        return none, none
    if not isinstance(packed, MessageList):
        packed = MessageList.pack(packed)
    blob = np.frombuffer(packed.blob, np.uint8)
    start = packed.bounds[:-1]
    rows = np.flatnonzero((blob[start] & 0xF0) == 0xB0)
    numbers = blob[start[rows] + 1].astype(np.int64)
    modes = numbers >= ALL_SOUND_OFF
    return rows[modes], numbers[modes]


def channels_of(extra: ExtraTable, rows: IntArray) -> IntArray:
    """Return the channel of each channel message among the rows of an extra table."""
    return np.array([extra.data[row][0] & 0x0F for row in rows.tolist()], np.int64)


def _ended(notes: NoteTable, extra: ExtraTable, rows: IntArray) -> NoteTable:
    """Return the notes, ended by the first of these controllers on their channel."""
    offset = notes.offset_tick.copy()
    channels = channels_of(extra, rows)
    for channel in np.unique(channels):
        ticks = extra.tick[rows[channels == channel]]
        mine = np.flatnonzero(notes.channel == channel)
        first = np.searchsorted(ticks, notes.onset_tick[mine], side="right")
        some = first < len(ticks)
        mine, at = mine[some], ticks[first[some]]
        offset[mine] = np.minimum(offset[mine], at)
    return NoteTable(
        notes.onset_tick, offset, notes.pitch, notes.velocity, notes.channel, notes.track
    )


def _lifted(pedals: PedalTable, extra: ExtraTable, rows: IntArray) -> PedalTable:
    """Return the pedal events with an up for every reset that meets a pressed pedal."""
    tick, value = list(pedals.tick), list(pedals.value)
    channel, track = list(pedals.channel), list(pedals.track)
    added = 0
    for row, number in zip(rows.tolist(), channels_of(extra, rows).tolist(), strict=True):
        mine = pedals.channel == number
        # A pedal event of the reset's own tick comes behind it.
        before = np.flatnonzero(mine & (pedals.tick < extra.tick[row]))
        if len(before) and pedals.value[before[-1]]:
            tick.append(extra.tick[row])
            value.append(np.uint8(0))
            channel.append(np.uint8(number))
            track.append(extra.track[row])
            added += 1
    if not added:
        return pedals
    # Ups stand in front of what the file has at their tick.
    old = np.arange(len(tick)) < len(pedals)
    order = np.lexsort((old, np.array(tick, np.int64)))
    return PedalTable(
        np.array(tick, np.int64)[order],
        np.array(value, np.uint8)[order],
        np.array(channel, np.uint8)[order],
        np.array(track, np.int32)[order],
    )


def _with_unended(notes: NoteTable, data: bytes) -> NoteTable:
    """Return the notes and those that nothing ends, in the order of a note table."""
    found = [row for row in unended_notes(data) if row[1] > row[0]]
    if not found:
        return notes
    more = note_table(*np.array(found, np.int64).T)
    names = list(NoteTable.__dataclass_fields__)
    whole = NoteTable(*(np.concatenate([getattr(notes, n), getattr(more, n)]) for n in names))
    # Ties keep their order: the file's, then the unended.
    return whole.take(np.lexsort((whole.track, whole.onset_tick)))


def unended_notes(data: bytes) -> list[Open]:
    """List the note-ons that no note-off of their track follows.

    They end at the first note-off of their key in another track, else with their track.
    """
    tracks = file_events(data)
    found: list[Open] = []
    for track, events in enumerate(tracks):
        waiting: dict[int, list[tuple[int, int]]] = {}
        for tick, message in events:
            kind = message[0] & 0xF0
            if kind not in (0x80, 0x90):
                continue
            key = (message[0] & 0x0F) << 7 | message[1]
            if kind == 0x90 and message[2]:
                waiting.setdefault(key, []).append((tick, message[2]))
            else:
                waiting.pop(key, None)
        end = events[-1].tick if events else 0
        for key, notes in waiting.items():
            found += [(onset, end, key & 127, v, key >> 7, track) for onset, v in notes]
    keys = {(channel, pitch) for _, _, pitch, _, channel, _ in found}
    releases: dict[tuple[int, int], list[int]] = {key: [] for key in keys}
    for events in tracks:
        for tick, message in events:
            kind = message[0] & 0xF0
            if kind == 0x80 or (kind == 0x90 and not message[2]):
                ticks = releases.get((message[0] & 0x0F, message[1]))
                if ticks is not None:
                    ticks.append(tick)
    ended = []
    for onset, end, pitch, velocity, channel, track in found:
        later = [tick for tick in releases[channel, pitch] if tick > onset]
        ended.append((onset, min(later, default=end), pitch, velocity, channel, track))
    return sorted(ended)


def is_sequence(data: bytes) -> bool:
    """Whether a file holds patterns that follow one another: several tracks of format 2."""
    if data[8:10] in _SEVERAL_AT_ONCE:  # nearly every file, looked at without a walk
        return False
    return file_format(data) == 2 and len(track_spans(data)[1]) > 1


def in_sequence(data: bytes) -> bytes:
    """Return a format 2 file as one whose tracks begin where the one before ends."""
    start, _ = file_span(data)
    tracks, offset = [], 0
    for events in file_events(data):
        tracks.append(track_chunk(Event(tick + offset, message) for tick, message in events))
        offset = events[-1].tick + offset if events else offset
    head = data[start : start + 8] + (1).to_bytes(2, "big") + data[start + 10 : start + 14]
    return head[:4] + (6).to_bytes(4, "big") + head[8:14] + b"".join(tracks)
