"""The sustain pedal, and note clean-ups that depend on when keys and pedal are up.

Specification section A.3. Every function is pure: tables in, new tables out.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from arietta.arrays import BoolArray, IntArray
from arietta.errors import UsageError
from arietta.midi.notes import DRUM_CHANNEL, PEDAL_DOWN, PedalTable
from arietta.midi.overlaps import neighbours, resolve_overlaps
from arietta.midi.piece import Piece


def pedal_intervals(piece: Piece, channel: int) -> tuple[IntArray, IntArray]:
    """Ticks between which a channel's pedal is down: (k,) starts and (k,) ends, in time order.

    A pedal still down at the end comes up with the last note in reading order, as in the public
    reference, so the last interval may be empty or reversed. Without notes it ends where it starts.
    """
    mine = piece.pedals.channel == channel
    tick = piece.pedals.tick[mine]
    down = piece.pedals.value[mine] >= PEDAL_DOWN
    change = np.diff(down, prepend=False)
    tick, down = tick[change], down[change]
    start, end = tick[down], tick[~down]
    if len(end) < len(start):
        last = piece.notes.offset_tick[-1:] if len(piece) else start[-1:]
        end = np.concatenate((end, last))
    return start, end


def pedal_offsets(piece: Piece, *, drums: bool = False) -> IntArray:
    """(n,) offset ticks of the notes, later where the pedal holds them.

    A note lasts until the end of the interval (a, b) of its channel with a < offset < b; one
    interval at most counts. Drums are held only with ``drums``.
    """
    notes = piece.notes
    offset = notes.offset_tick
    if not len(piece.pedals) or not len(notes):
        return offset
    held = offset.copy()
    for channel in np.unique(piece.pedals.channel):
        if channel == DRUM_CHANNEL and not drums:
            continue
        start, end = pedal_intervals(piece, int(channel))
        if not len(start):
            continue
        # Intervals do not overlap, so only the last one that starts before the offset can match.
        mine = slice(None) if np.all(notes.channel == channel) else notes.channel == channel
        release = offset[mine]
        i = np.searchsorted(start, release, side="left") - 1
        inside = (i >= 0) & (release < end[i])
        held[mine] = np.where(inside, end[i], release)
    return held


def resolve_pedal(piece: Piece) -> Piece:
    """Fold the pedal into the note lengths, then cut re-struck notes; the pedal events stay.

    As in the reference a pedal on channel 9 holds drums here, though not in its tokenizer.
    """
    held = replace(piece.notes, offset_tick=pedal_offsets(piece, drums=True))
    return replace(piece, notes=resolve_overlaps(held))


def enforce_gaps(piece: Piece, min_gap_ms: int, min_length_ms: int = 0) -> Piece:
    """Leave at least ``min_gap_ms`` of silence before a pitch is struck again on its channel.

    The earlier note gives way; notes left shorter than ``min_length_ms`` are dropped. Converted
    back to ticks under the whole tempo map; the reference takes one tempo (specification H-30).
    """
    notes = piece.notes
    order = np.lexsort((notes.onset_tick, notes.pitch, notes.channel))
    before, after = neighbours(notes, order)
    onset_ms = np.rint(piece.tempo.ms_at(notes.onset_tick))
    offset_ms = np.rint(piece.tempo.ms_at(notes.offset_tick))
    close = onset_ms[after] - offset_ms[before] < min_gap_ms
    before, after = before[close], after[close]
    offset = notes.offset_tick.copy()
    offset[before] = piece.tempo.tick_at(onset_ms[after] - min_gap_ms)
    cut = replace(notes, offset_tick=offset)
    length_ms = np.rint(piece.tempo.distance_ms(cut.onset_tick, cut.offset_tick))
    return replace(piece, notes=cut.take(length_ms >= min_length_ms))


def pedal_states(
    pedals: PedalTable, threshold: int = PEDAL_DOWN, buffer: int = 0
) -> tuple[BoolArray, BoolArray]:
    """Hysteresis: (n,) whether the pedal is down after each event, (n,) whether that is a change.

    Down from ``threshold + buffer`` on, up to ``threshold - buffer`` up, unchanged in between; up
    at first, each channel on its own.

    Raises:
        UsageError: ``threshold`` +- ``buffer`` leaves 0..127.
    """
    if buffer < 0 or threshold - buffer < 0 or threshold + buffer > 127:
        raise UsageError(
            f"pedal threshold {threshold} with buffer {buffer}: both sums must lie in 0..127"
        )
    state = np.zeros(len(pedals), np.bool_)
    changed = np.zeros(len(pedals), np.bool_)
    for channel in np.unique(pedals.channel):
        rows = np.flatnonzero(pedals.channel == channel)
        value = pedals.value[rows]
        down = value >= threshold + buffer
        decided = down | (value <= threshold - buffer)
        last = np.maximum.accumulate(np.where(decided, np.arange(len(rows)), -1))
        now = (last >= 0) & down[last]
        state[rows] = now
        changed[rows] = np.diff(now, prepend=False)
    return state, changed


def apply_threshold(
    pedals: PedalTable,
    threshold: int = PEDAL_DOWN,
    buffer: int = 0,
    *,
    transitions_only: bool = False,
) -> PedalTable:
    """Return the pedal as down (127) and up (0) under ``pedal_states``; optionally only changes."""
    state, changed = pedal_states(pedals, threshold, buffer)
    switched = replace(pedals, value=np.where(state, 127, 0).astype(np.uint8))
    return switched.take(changed) if transitions_only else switched


def remove_redundant_pedals(piece: Piece) -> Piece:
    """Keep only the pedal events that something uses.

    Repeated downs and ups go; a down and its up go unless a note of the channel ends between them;
    so does a down that is the last pedal event of the whole file, and every event on a channel
    without notes.
    """
    pedals, notes = piece.pedals, piece.notes
    keep = np.zeros(len(pedals), np.bool_)
    for channel in np.unique(pedals.channel):
        rows = np.flatnonzero(pedals.channel == channel)
        ends = np.sort(notes.offset_tick[notes.channel == channel])
        if not len(ends):
            continue
        down = pedals.value[rows] >= PEDAL_DOWN
        rows = rows[np.diff(down, prepend=False)]  # alternately down and up
        pairs = len(rows) // 2
        opened, closed = rows[0 : 2 * pairs : 2], rows[1 : 2 * pairs : 2]
        used = np.searchsorted(ends, pedals.tick[opened], side="right") < np.searchsorted(
            ends, pedals.tick[closed], side="right"
        )
        keep[opened] = keep[closed] = used
        if len(rows) % 2:
            keep[rows[-1]] = rows[-1] != len(pedals) - 1
    return replace(piece, pedals=pedals.take(keep))


def reference_hash(piece: Piece) -> str:
    """MD5 of notes, pedals, tempos and programs in ticks, equal to the public reference's.

    Two files with one hash are exact duplicates; text, resolution and metadata do not count.
    """
    notes, pedals, programs, tempo = piece.notes, piece.pedals, piece.programs, piece.tempo
    instrument = ", ".join(
        f'{{"channel": {c}, "data": {p}, "tick": {t}, "type": "instrument"}}'
        for c, p, t in zip(
            programs.channel.tolist(),
            programs.program.tolist(),
            programs.tick.tolist(),
            strict=True,
        )
    )
    note = ", ".join(
        f'{{"channel": {c}, "data": {{"end": {e}, "pitch": {p}, "start": {s}, "velocity": {v}}}, '
        f'"tick": {s}, "type": "note"}}'
        for c, e, p, s, v in zip(
            notes.channel.tolist(),
            notes.offset_tick.tolist(),
            notes.pitch.tolist(),
            notes.onset_tick.tolist(),
            notes.velocity.tolist(),
            strict=True,
        )
    )
    pedal = ", ".join(
        f'{{"channel": {c}, "data": {int(v >= PEDAL_DOWN)}, "tick": {t}, "type": "pedal", '
        f'"value": {v}}}'
        for c, v, t in zip(
            pedals.channel.tolist(), pedals.value.tolist(), pedals.tick.tolist(), strict=True
        )
    )
    tempi = ", ".join(
        f'{{"data": {us}, "tick": {t}, "type": "tempo"}}'
        for us, t in zip(tempo.us_per_quarter.tolist(), tempo.tick.tolist(), strict=True)
    )
    text = (
        f'{{"instrument_msgs": [{instrument}], "note_msgs": [{note}], '
        f'"pedal_msgs": [{pedal}], "tempo_msgs": [{tempi}]}}'
    )
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
