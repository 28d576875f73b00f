"""Pieces in time: one later, or one after the other, on one grid of ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from arietta.errors import InputError
from arietta.midi.events import META_KEY, META_METRE, META_TEMPO, Event, meta
from arietta.midi.notes import DRUM_CHANNEL
from arietta.midi.piece import Piece
from arietta.midi.reader import read_bytes
from arietta.midi.seam import (
    EXPRESSION,
    MODULATION,
    PEDALS,
    VOLUME,
    ChannelState,
    Track,
    channel_states,
    has_metre,
    join_bytes,
    last_release,
    lifts,
    merged,
    metre_at,
    next_line,
    restored,
    tracks_of,
    without_tail,
)
from arietta.midi.tempo import DEFAULT_TEMPO_US

_MAX_DIVISION = 2**15 - 1
_OF_ALL_TRACKS = (META_TEMPO, META_METRE, META_KEY)
_CONTROLLERS = {VOLUME: 100, EXPRESSION: 127, MODULATION: 0}


class WithGap(NamedTuple):
    """A piece with a gap made in it.

    Attributes:
        piece: the whole.
        start_ms, end_ms: of the gap, from tick 0.
    """

    piece: Piece
    start_ms: float
    end_ms: float


def delayed(piece: Piece, seconds: float) -> WithGap:
    """Return a piece with time in front of it, in its first tempo.

    Where its notes stand on bars, the time is made longer up to a bar line. Names, signatures and
    settings at tick 0 stay there; everything else comes later.

    Raises:
        InputError: the piece has no notes.
    """
    if not len(piece):
        raise InputError(f"{piece.source or 'piece'}: no notes to lead to")
    tempo = piece.tempo.from_start
    rate = tempo.ticks_per_second_smpte
    if rate is None:
        rate = tempo.division * 1e6 / max(int(tempo.us_per_quarter[0]), 1)
    shift = max(round(seconds * rate), 1)
    if has_metre(piece):
        above, below = metre_at(piece, 0)
        bar = tempo.division * 4 * above / below
        shift = round(math.ceil(shift / bar - 1e-6) * bar)
    tracks = [
        sorted(
            (e if _stays(e) else e._replace(tick=e.tick + shift) for e in track),
            key=lambda event: event.tick,
        )
        for track in tracks_of(piece)
    ]
    later = read_bytes(join_bytes(piece.tempo.division, tracks), source=piece.source)
    later = replace(later, metadata=piece.metadata)
    return WithGap(later, 0.0, float(later.onset_ms.min()))


def _stays(event: Event) -> bool:
    """Whether an event of tick 0 sets something up, rather than sounding."""
    kind, message = event.message[0] & 0xF0, event.message
    if event.tick > 0 or message[:2] == b"\xff\x2f":
        return False
    return kind not in (0x80, 0x90) and not (kind == 0xB0 and message[1] in PEDALS)


def one_after_the_other(first: Piece, second: Piece, seconds: float) -> WithGap:
    """Return two pieces as one, with time between the first's last release and the second's start.

    Where the first stands on bars, the second begins on a line of them. Each keeps its tempo, metre
    and settings; what the first leaves behind its last release is dropped.

    Raises:
        InputError: one has no notes, or counts time in frames instead of quarters.
    """
    for piece in (first, second):
        if not len(piece):
            raise InputError(f"{piece.source or 'piece'}: no notes")
        if piece.tempo.division < 0:
            raise InputError(f"{piece.source or 'piece'}: counts frames, not quarters")
    seam = last_release(first.notes)
    start_ms = float(first.tempo.ms_at(seam))
    begin = max(int(first.tempo.tick_at(start_ms + seconds * 1000)), seam + 1)
    if has_metre(first):
        begin = next_line(first, begin)
    division = math.lcm(first.tempo.division, second.tempo.division)
    if division > _MAX_DIVISION:
        division = _MAX_DIVISION // first.tempo.division * first.tempo.division
    tracks = tracks_of(first)
    states = channel_states(tracks, seam)
    tracks, _ = without_tail(tracks, seam, begin - 1, ())
    for track, event in [*lifts(states, seam), *restored(states, seam)]:
        tracks[track] = merged(tracks[track], [event])
    tracks = _times(tracks, division / first.tempo.division, 0)
    at = round(begin * division / first.tempo.division)
    more = _times(tracks_of(second), division / second.tempo.division, at)
    shared = [event for track in more for event in track if _is_shared(event)]
    own = [[event for event in track if not _is_shared(event)] for track in more]
    if not any(event.tick == at and event.message[1] == META_TEMPO for event in shared):
        shared.append(Event(at, meta(META_TEMPO, DEFAULT_TEMPO_US.to_bytes(3, "big"))))
    if not any(event.tick == at and event.message[1] == META_METRE for event in shared):
        shared.append(Event(at, meta(META_METRE, bytes((4, 2, 24, 8)))))
    shared += _defaults(first, second, states, at)
    tracks[0] = merged(tracks[0], sorted(shared, key=lambda event: event.tick))
    whole = read_bytes(join_bytes(division, [*tracks, *own]), source=first.source)
    whole = replace(whole, metadata=first.metadata)
    later = whole.onset_ms[whole.notes.onset_tick >= at]
    return WithGap(whole, start_ms, float(later.min()))


def _is_shared(event: Event) -> bool:
    return event.message[0] == 0xFF and event.message[1] in _OF_ALL_TRACKS


def _times(tracks: Sequence[Track], factor: float, shift: int) -> list[Track]:
    return [
        [event._replace(tick=shift + round(event.tick * factor)) for event in track]
        for track in tracks
    ]


def _defaults(first: Piece, second: Piece, states: dict[int, ChannelState], at: int) -> list[Event]:
    """Return what puts channels back to how a file begins, where the first piece changed them."""
    found: list[Event] = []
    for channel, state in states.items():
        values = state.values
        found += [
            Event(at, bytes((0xB0 | channel, number, value)))
            for number, value in _CONTROLLERS.items()
            if number in values
        ]
    # Tables hold a program of no track where the file states none.
    stated = set(second.programs.channel[second.programs.track >= 0].tolist())
    for channel in np.unique(second.notes.channel).tolist():
        mine = first.programs.program[first.programs.channel == channel]
        if channel != DRUM_CHANNEL and channel not in stated and len(mine) and mine[-1]:
            found.append(Event(at, bytes((0xC0 | channel, 0))))
    return found
