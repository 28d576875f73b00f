"""Where a piece ends and other music can begin: bar lines, releases, and what the last events left.

Everything here works on the events of the file as they stand; nothing in front of the seam moves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from arietta.midi.doubts import damaged_signature
from arietta.midi.events import (
    END_OF_TRACK,
    Event,
    file_bytes,
    file_events,
    track_chunk,
)
from arietta.midi.grid import has_grid
from arietta.midi.interpret import RESET_CONTROLLERS, in_sequence, is_sequence
from arietta.midi.notes import NoteTable
from arietta.midi.piece import Piece
from arietta.midi.writer import write_midi

SeamMode = Literal["now", "release", "bar"]
Track = list[Event]

SUSTAIN, SOSTENUTO, SOFT = 64, 66, 67
PEDALS = (SUSTAIN, SOSTENUTO, SOFT)
VOLUME, PAN, EXPRESSION, MODULATION = 7, 10, 11, 1
BEND = 128
"""Stands for pitch bend among controller numbers; its value has 14 bits."""
_RESTORED = (VOLUME, EXPRESSION, MODULATION, BEND)
_DEFAULT = {VOLUME: 100, PAN: 64, EXPRESSION: 127, MODULATION: 0, BEND: 8192}
_FINEST_MS = 2.0
_MAX_DIVISION = 2**15 - 1

_NAMES = {
    0x00: "bank (CC0)",
    0x20: "bank (CC32)",
    1: "modulation (CC1)",
    VOLUME: "volume (CC7)",
    PAN: "pan (CC10)",
    EXPRESSION: "expression (CC11)",
    SUSTAIN: "sustain pedal (CC64)",
    SOSTENUTO: "sostenuto pedal (CC66)",
    SOFT: "soft pedal (CC67)",
    120: "all sound off (CC120)",
    121: "reset controllers (CC121)",
    123: "all notes off (CC123)",
}


# ---- bars --------------------------------------------------------------------------------------


def metre_changes(piece: Piece) -> list[tuple[int, int, int]]:
    """(tick, numerator, denominator) of the time signatures that make sense; 4/4 from tick 0 on."""
    found = [(0, 4, 4)]
    for tick, above, below in piece.time_signatures:
        if above > 0 and below <= 64:
            if found[-1][0] == tick:
                found.pop()
            found.append((tick, above, below))
    return found


def metre_at(piece: Piece, tick: int) -> tuple[int, int]:
    """Return numerator and denominator of the metre at a tick."""
    found = (4, 4)
    for start, above, below in metre_changes(piece):
        if start <= tick:
            found = (above, below)
    return found


def has_metre(piece: Piece) -> bool:
    """Whether the file states a metre that makes sense and its notes stand on it."""
    stated = any(above > 0 and below <= 64 for _, above, below in piece.time_signatures)
    return stated and piece.tempo.division > 0 and has_grid(piece)


class Bar(NamedTuple):
    """A bar.

    Attributes:
        number: from 1 on.
        start, end: ticks of its lines.
    """

    number: int
    start: int
    end: int


def bar_at(piece: Piece, tick: int) -> Bar:
    """Return the bar that a tick lies in; a change of metre begins a new bar."""
    changes = metre_changes(piece)
    number = 1
    for i, (start, above, below) in enumerate(changes):
        length = piece.tempo.division * 4 * above / below
        stop = changes[i + 1][0] if i + 1 < len(changes) else None
        if stop is not None and stop <= tick:
            number += -int(-(stop - start) // length)
            continue
        whole = int((tick - start) // length)
        first, last = start + round(whole * length), start + round((whole + 1) * length)
        if last <= tick:  # a line that rounding moved
            whole, first, last = whole + 1, last, start + round((whole + 2) * length)
        return Bar(number + whole, first, last if stop is None else min(last, stop))
    raise AssertionError("the first metre begins at tick 0")


def next_line(piece: Piece, tick: int) -> int:
    """Return the first bar line at a tick or behind it."""
    bar = bar_at(piece, tick)
    return bar.start if bar.start == tick else bar.end


def lines_on(piece: Piece, tick: int, bars: float) -> int:
    """Return the tick some bars behind a bar line; a part of a bar counts by its length."""
    at, left = tick, bars
    while left > 0:
        bar = bar_at(piece, at)
        at = at + round((bar.end - at) * min(left, 1.0))
        left -= 1.0
    return at


def last_release(notes: NoteTable) -> int:
    """Return the tick at which the last key comes up; 0 without notes."""
    return int(notes.offset_tick.max(initial=0))


def seam_mode(piece: Piece) -> SeamMode:
    """Return how other music should join a piece: on a bar line where it has any, else at once."""
    return "bar" if has_metre(piece) else "release"


# ---- events ------------------------------------------------------------------------------------


def tracks_of(piece: Piece) -> list[Track]:
    """Return the events of the file that a piece would be saved as; patterns in sequence."""
    data = write_midi(piece)
    return file_events(in_sequence(data) if is_sequence(data) else data)


def cut_tracks(tracks: Sequence[Track], last: int) -> list[Track]:
    """Return the events up to a tick; keys that are down there keep their release.

    Tempo and time signatures behind it stay, so that bars stay right.
    """
    return [_cut(track, last) for track in tracks]


def _cut(track: Track, last: int) -> Track:
    kept: Track = []
    down: Counter[tuple[int, int]] = Counter()
    for event in track:
        tick, message = event
        kind = message[0] & 0xF0
        if message[0] == 0xFF and message[1] == 0x2F:
            continue
        if kind in (0x80, 0x90):
            key = (message[0] & 0x0F, message[1])
            if kind == 0x90 and message[2]:
                if tick > last:
                    continue
                down[key] += 1
            elif tick > last and not down[key]:
                continue
            else:
                down[key] = max(down[key] - 1, 0)
        elif kind == 0xB0 and message[1] in (120, 123):
            held = [key for key in down if key[0] == message[0] & 0x0F and down[key]]
            if tick > last and not held:
                continue
            for key in held:
                del down[key]
        elif tick > last and not (message[0] == 0xFF and message[1] in (3, 4, 0x51, 0x58, 0x59)):
            continue
        kept.append(event)
    end = max((tick for tick, _ in kept), default=0)
    return [*kept, Event(end, END_OF_TRACK)]


@dataclass
class ChannelState:
    """What a channel's controllers say at the seam.

    Attributes:
        values: controller (or ``BEND``) -> value.
        tracks: controller -> track that set it last.
        at_notes: controller -> its value at every note of the channel.
    """

    values: dict[int, int] = field(default_factory=dict)
    tracks: dict[int, int] = field(default_factory=dict)
    at_notes: dict[int, list[int]] = field(default_factory=dict)

    def music_had(self, number: int) -> int | None:
        """Return the value that a controller had while music was played; None if never set.

        Of volume and expression the upper quartile at the notes, which a fade does not reach; of
        others the median.
        """
        if number not in self.values:
            return None
        seen = self.at_notes.get(number, [])
        if not seen:
            return _DEFAULT.get(number)
        share = 0.75 if number in (VOLUME, EXPRESSION) else 0.5
        return int(np.quantile(seen, share, method="higher"))


def channel_states(tracks: Sequence[Track], seam: int) -> dict[int, ChannelState]:
    """Return the state of every channel that the events up to a tick leave."""
    merged = sorted(
        (tick, number, at, message)
        for number, track in enumerate(tracks)
        for at, (tick, message) in enumerate(track)
        if message[0] < 0xF0 and tick <= seam
    )
    states: dict[int, ChannelState] = {}
    for _, track, _, message in merged:
        state = states.setdefault(message[0] & 0x0F, ChannelState())
        kind = message[0] & 0xF0
        if kind == 0x90 and message[2]:
            for number in _RESTORED:
                default = _DEFAULT[number]
                state.at_notes.setdefault(number, []).append(state.values.get(number, default))
        elif kind == 0xE0:
            state.values[BEND] = message[1] | message[2] << 7
            state.tracks[BEND] = track
        elif kind == 0xB0 and message[1] == RESET_CONTROLLERS:
            for number in (*PEDALS, EXPRESSION, MODULATION, BEND):
                if number in state.values:
                    state.values[number] = _DEFAULT.get(number, 0)
                    state.tracks[number] = track
        elif kind == 0xB0:
            state.values[message[1]] = message[2]
            state.tracks[message[1]] = track
    return states


def lifts(states: dict[int, ChannelState], seam: int) -> list[tuple[int, Event]]:
    """List (track, event) that let every pressed pedal of every channel go at a tick."""
    return [
        (state.tracks[number], Event(seam, bytes((0xB0 | channel, number, 0))))
        for channel, state in sorted(states.items())
        for number in PEDALS
        if state.values.get(number)
    ]


def setting(state: ChannelState | None, channel: int, tick: int) -> list[Event]:
    """List what a new track needs so that a channel sounds as it did while music was played."""
    if state is None:
        return []
    found = []
    for number in (VOLUME, PAN, EXPRESSION, MODULATION, BEND):
        value = state.values.get(PAN) if number == PAN else state.music_had(number)
        if value is None or (number in (MODULATION, BEND) and state.values[number] == value):
            continue
        if number == BEND:
            message = bytes((0xE0 | channel, value & 0x7F, value >> 7))
        else:
            message = bytes((0xB0 | channel, number, value))
        found.append(Event(tick, message))
    return found


def restored(states: dict[int, ChannelState], tick: int) -> list[tuple[int, Event]]:
    """List (track, event) that put faded or bent channels back to what the music had."""
    found = []
    for channel, state in sorted(states.items()):
        for number in _RESTORED:
            value = state.music_had(number)
            if value is None or value == state.values[number]:
                continue
            if number == BEND:
                message = bytes((0xE0 | channel, value & 0x7F, value >> 7))
            else:
                message = bytes((0xB0 | channel, number, value))
            found.append((state.tracks[number], Event(tick, message)))
    return found


def without_tail(
    tracks: Sequence[Track], seam: int, end: int, playing: Collection[int]
) -> tuple[list[Track], list[str]]:
    """Drop what would disturb other music behind a seam.

    Channel messages behind it go, but releases of keys and everything of channels that still have
    notes; so do damaged signatures anywhere, system-exclusive messages behind it, and meta events
    behind the end of the music.

    Args:
        tracks: events of each track.
        seam: tick up to which everything stays.
        end: tick at which the new music ends.
        playing: channels whose notes go on behind the seam.

    Returns:
        The tracks, and what was dropped in words.
    """
    dropped: Counter[str] = Counter()
    kept = [
        [event for event in track if _stays(event, seam, end, playing, dropped)] for track in tracks
    ]
    kept = [_ended(new, old, max(seam, end)) for new, old in zip(kept, tracks, strict=True)]
    return kept, [f"{name}{f' ({n} times)' if n > 1 else ''}" for name, n in dropped.items()]


def _ended(track: Track, before: Sequence[Event], last: int) -> Track:
    """Return a track that no longer lasts to an event that was dropped from its end."""
    if not track or track[-1].message != END_OF_TRACK:
        return track
    *body, (end, _) = track
    left = {tick for tick, _ in body}
    if end in left or end not in {tick for tick, _ in before[:-1]}:
        return track
    return [*body, Event(max(left | {min(last, end)}), END_OF_TRACK)]


def _stays(
    event: Event, seam: int, end: int, playing: Collection[int], dropped: Counter[str]
) -> bool:
    tick, message = event
    damage = damaged_signature(message)
    if damage is not None:
        dropped[damage] += 1
        return False
    if message[0] == 0xFF:
        return tick <= max(seam, end) or message[1] in (0x03, 0x04, 0x2F)
    if tick <= seam:
        return True
    if message[0] >= 0xF0:
        dropped["system-exclusive messages"] += 1
        return False
    kind = message[0] & 0xF0
    if message[0] & 0x0F in playing or kind == 0x80 or (kind == 0x90 and not message[2]):
        return True
    if kind == 0x90:
        return True
    if kind == 0xB0:
        dropped[_NAMES.get(message[1], f"controller {message[1]}")] += 1
    else:
        dropped[{0xC0: "program change", 0xE0: "pitch bend"}.get(kind, "aftertouch")] += 1
    return False


def channels_with_notes_behind(tracks: Sequence[Track], seam: int) -> set[int]:
    """Return the channels that strike notes behind a tick."""
    return {
        message[0] & 0x0F
        for track in tracks
        for tick, message in track
        if tick > seam and message[0] & 0xF0 == 0x90 and message[2]
    }


def merged(track: Sequence[Event], more: Sequence[Event]) -> Track:
    """Return a track with further events, each behind what the track has at its tick."""
    last = max((tick for tick, _ in (*track, *more)), default=0)
    body = [event for event in track if event.message != END_OF_TRACK]
    ends = [event for event in track if event.message == END_OF_TRACK]
    whole = sorted([*body, *more], key=lambda event: event.tick)
    end = max([last, *(event.tick for event in ends)])
    return [*whole, Event(end, END_OF_TRACK)]


def scaled(tracks: Sequence[Track], factor: int) -> list[Track]:
    """Return the events with all ticks multiplied."""
    if factor == 1:
        return [list(track) for track in tracks]
    return [[Event(tick * factor, message) for tick, message in track] for track in tracks]


def division_factor(piece: Piece, from_tick: int) -> int:
    """Return what to multiply the division with so that a tick is 2 ms or less from a tick on."""
    tempo = piece.tempo.from_start
    if piece.tempo.division < 0:
        rate = piece.tempo.ticks_per_second_smpte
        assert rate is not None
        factor = int(np.ceil(1000.0 / rate / _FINEST_MS))
        return max(min(factor, 255 // (piece.tempo.division & 0xFF)), 1)
    first = max(int(np.searchsorted(tempo.tick, from_tick, side="right")) - 1, 0)
    slowest_ms = float(tempo.us_per_quarter[first:].max()) / 1000 / tempo.division
    factor = int(np.ceil(slowest_ms / _FINEST_MS - 1e-9))
    return max(min(factor, _MAX_DIVISION // tempo.division), 1)


def multiplied(division: int, factor: int) -> int:
    """Return a division word with its ticks multiplied; of SMPTE time the ticks of a frame."""
    if division > 0:
        return division * factor
    return (division >> 8 << 8) | (division & 0xFF) * factor


def join_bytes(division: int, tracks: Sequence[Track]) -> bytes:
    """Return a file of tracks."""
    return file_bytes(division, [track_chunk(track) for track in tracks])
