"""What reading a file dropped or doubted, in sentences for its owner.

Damage that was mended so that the file could be read at all stands in ``Piece.notices``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from arietta.arrays import IntArray
from arietta.midi.events import (
    META_KEY,
    META_METRE,
    META_TEMPO,
    Event,
    file_events,
    file_format,
    payload,
)
from arietta.midi.interpret import ALL_NOTES_OFF, ALL_SOUND_OFF, ENDING_CONTROLLERS, unended_notes
from arietta.midi.piece import Piece

LONG_PAUSE_S = 600.0
"""A pause between two events from which on somebody should look at the file."""


def doubts(piece: Piece) -> list[str]:
    """List what is odd about the file that a piece was read from; nothing for other pieces."""
    if piece.origin is None:
        return list(piece.notices)
    data = piece.origin.data
    tracks = file_events(data)
    found = list(piece.notices)
    if file_format(data) == 2:
        found.append(f"format 2: its {len(tracks)} patterns are read one after the other")
    found += _note_doubts(tracks, data)
    found += _tempo_doubts(piece, tracks)
    found += [
        f"{what}: damaged, ignored and not copied into generated files"
        for what in damaged_metas(tracks)
    ]
    return found


def _note_doubts(tracks: Sequence[Sequence[Event]], data: bytes) -> list[str]:
    """Return the notes that end oddly or not at all."""
    found = []
    hanging = unended_notes(data)
    modes = _mode_ticks(tracks)
    by_mode = 0
    for onset, end, _, _, channel, _ in hanging:
        ticks = modes.get(channel, np.zeros(0, np.int64))
        first = int(np.searchsorted(ticks, onset, side="right"))
        by_mode += first < len(ticks) and bool(ticks[first] <= end)
    if by_mode:
        found.append(
            f"{by_mode} notes ended by All Sound Off or All Notes Off (controller {ALL_SOUND_OFF}"
            f" or {ALL_NOTES_OFF}): read as releases"
        )
    if len(hanging) > by_mode:
        found.append(
            f"{len(hanging) - by_mode} notes without a note-off in their track: they last to one in"
            " another track or to the end of their own"
        )
    empty = _empty_notes(tracks)
    if empty:
        found.append(f"{empty} notes of no length: left out")
    return found


def _empty_notes(tracks: Sequence[Sequence[Event]]) -> int:
    """How many notes are on and off at one tick and therefore dropped by the public pairing."""
    empty = 0
    for events in tracks:
        waiting: dict[int, list[int]] = {}
        for tick, message in events:
            kind = message[0] & 0xF0
            if kind not in (0x80, 0x90):
                continue
            key = (message[0] & 0x0F) << 7 | message[1]
            if kind == 0x90 and message[2]:
                waiting.setdefault(key, []).append(tick)
                continue
            onsets = waiting.pop(key, [])
            same = [onset for onset in onsets if onset == tick]
            if len(same) < len(onsets):
                if same:
                    waiting[key] = same
            else:
                empty += len(same)
    return empty


def _mode_ticks(tracks: Sequence[Sequence[Event]]) -> dict[int, IntArray]:
    """Channel -> ticks of the messages that end its notes, ascending."""
    found: dict[int, list[int]] = {}
    for events in tracks:
        for tick, message in events:
            if message[0] & 0xF0 == 0xB0 and message[1] in ENDING_CONTROLLERS:
                found.setdefault(message[0] & 0x0F, []).append(tick)
    return {channel: np.sort(np.array(ticks, np.int64)) for channel, ticks in found.items()}


def _tempo_doubts(piece: Piece, tracks: Sequence[Sequence[Event]]) -> list[str]:
    """Tempos of nothing or too late, and pauses that nobody waits for."""
    found = []
    first = int(piece.tempo.tick[0])
    if first > 0 and piece.tempo.division > 0:
        found.append(f"the first tempo stands at tick {first}: 120 quarters a minute up to there")
    ticks = np.unique(np.array([0] + [tick for events in tracks for tick, _ in events], np.int64))
    pause_s = np.diff(piece.tempo.ms_at(ticks)) / 1000
    if len(pause_s) and pause_s.max() >= LONG_PAUSE_S:
        at = int(np.argmax(pause_s))
        found.append(
            f"nothing happens for {pause_s[at] / 60:,.0f} minutes from tick {ticks[at]} on"
        )
    return found


def damaged_metas(tracks: Sequence[Sequence[Event]]) -> list[str]:
    """Name the signatures that other readers refuse, each once."""
    found = []
    for events in tracks:
        for tick, message in events:
            what = damaged_signature(message)
            if what is not None:
                found.append(f"{what} at tick {tick}")
    return list(dict.fromkeys(found))


def damaged_signature(message: bytes) -> str | None:
    """Name a tempo, key or time signature that no standard reader takes; None for other events."""
    if message[0] != 0xFF or message[1] not in (META_TEMPO, META_KEY, META_METRE):
        return None
    data = payload(message)
    if message[1] == META_TEMPO:
        return None if any(data[:3]) else "a tempo of 0"
    if message[1] == META_KEY:
        if len(data) != 2:
            return "a key signature of the wrong length"
        sharps = data[0] - 256 if data[0] > 127 else data[0]
        if not -7 <= sharps <= 7 or data[1] > 1:
            return f"a key signature of {sharps} sharps, mode {data[1]}"
        return None
    if len(data) != 4:
        return "a time signature of the wrong length"
    if not data[0] or data[1] > 6:
        return f"a time signature of {data[0]}/2^{data[1]}"
    return None
