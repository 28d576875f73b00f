"""A prompt's file and new notes -> one file: the player's events as they are, new tracks beside.

The prompt's events in front of the seam stand in the output as they stand in its file. The new
notes get tracks of their own, a right and a left hand, with keys and pedal made of the lengths that
the model gave; or they are merged into a track of the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from arietta.arrays import FloatArray, IntArray
from arietta.errors import UsageError
from arietta.generation.settings import JoinOptions
from arietta.midi.events import (
    END_OF_TRACK,
    META_KEY,
    META_METRE,
    META_NAME,
    META_TEMPO,
    META_TEXT,
    Event,
    meta,
)
from arietta.midi.grid import TWELFTHS, has_grid
from arietta.midi.hands import can_hold, split_hands
from arietta.midi.instruments import CLASSES, channel_classes, sounding_programs
from arietta.midi.notes import DRUM_CHANNEL, KEYS, LOWEST_KEY
from arietta.midi.parse import encode_text
from arietta.midi.piece import Piece
from arietta.midi.reader import read_bytes
from arietta.midi.repedal import RESTRIKE_MS, repedal
from arietta.midi.seam import (
    ChannelState,
    SeamMode,
    Track,
    bar_at,
    channel_states,
    channels_with_notes_behind,
    division_factor,
    has_metre,
    join_bytes,
    last_release,
    lifts,
    lines_on,
    merged,
    metre_at,
    multiplied,
    next_line,
    restored,
    scaled,
    seam_mode,
    setting,
    tracks_of,
    without_tail,
)
from arietta.midi.tempo import TempoMap
from arietta.tokenizers.decoding import NoteEvent, PedalEvent

_NEAR_GRID_MS = 12.0
"""A tight groove puts onsets this near to the grid right on it; tokens count in steps of 10 ms."""
_SHORTEST_MS = 20.0
_SAFE_RESTRIKE_MS = RESTRIKE_MS + 4.0
"""Onsets and releases are rounded to ticks of up to 2 ms afterwards."""
_LATEST_MS = 60.0
LAST_BEFORE_END_MS = 5.0
"""No new note begins this close to the last bar line."""
_CHORD_MS = 35.0
RIGHT, LEFT = "Arietta right", "Arietta left"


@dataclass(frozen=True, eq=False)
class Joined:
    """What came of it.

    Attributes:
        piece: prompt and new part.
        alone: the new part from the bar line in front of it on.
        seam_ms: where the new part begins, from tick 0 of ``piece``.
        place: where ``alone`` belongs, such as ``bar 9``.
        place_ms: the same from tick 0 of ``piece``.
        ringing: notes that were still sounding at the last bar line and end there.
        notices: what the user should be told.
    """

    piece: Piece
    alone: Piece
    seam_ms: float
    place: str
    place_ms: float
    ringing: int
    notices: tuple[str, ...]


@dataclass(eq=False)
class _Part:
    """Notes for one channel; (n,) columns by onset.

    Attributes:
        channel, program: the program is None where none has to be written.
        names: of its tracks, one or (right, left).
        onset_ms, offset_ms, pitch, velocity: from tick 0 of the piece.
        pedal_ms, pedal_value: movements.
    """

    channel: int
    program: int | None
    names: tuple[str, ...]
    onset_ms: FloatArray
    offset_ms: FloatArray
    pitch: IntArray
    velocity: IntArray
    pedal_ms: FloatArray
    pedal_value: IntArray

    def take(self, index: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> _Part:
        """Return the notes that an index selects, with all of the pedal."""
        return replace(
            self,
            onset_ms=self.onset_ms[index],
            offset_ms=self.offset_ms[index],
            pitch=self.pitch[index],
            velocity=self.velocity[index],
        )


class SeamPlace(NamedTuple):
    """Where new notes may begin.

    Attributes:
        mode: how it was chosen.
        tick: the earliest of them, in the prompt's ticks.
    """

    mode: SeamMode
    tick: int


def is_playable(channel: int, program: int, pitch: int) -> bool:
    """Whether there is a key for a note; only pianos have ends."""
    is_piano = channel != DRUM_CHANNEL and program // 8 == 0
    return not is_piano or LOWEST_KEY <= pitch < LOWEST_KEY + KEYS


def seam_place(prompt: Piece, mode: SeamMode | None = None) -> SeamPlace:
    """Return where new notes may begin behind a prompt."""
    chosen = mode or seam_mode(prompt)
    if chosen == "now" or not len(prompt):
        return SeamPlace("now", 0)
    tick = last_release(prompt.notes)
    if chosen == "bar" and prompt.tempo.division > 0:
        return SeamPlace("bar", next_line(prompt, tick))
    return SeamPlace("release", tick)


def shift_ms(prompt: Piece, place: SeamPlace, first_ms: float) -> float:
    """Return how much later the new notes must begin than the model has them.

    On a bar line the first of them stands on the line nearest to where the model has it.
    """
    if place.mode == "now" or not len(prompt):
        return 0.0
    earliest = float(prompt.tempo.ms_at(place.tick))
    if place.mode == "release":
        return max(earliest - first_ms, 0.0)
    bar = bar_at(prompt, max(int(prompt.tempo.tick_at(first_ms)), place.tick))
    lines = [float(prompt.tempo.ms_at(tick)) for tick in (bar.start, bar.end)]
    wanted = min((ms for ms in lines if ms >= earliest - 0.5), key=lambda ms: abs(ms - first_ms))
    return wanted - first_ms


def end_of_bars(prompt: Piece, place: SeamPlace, first_ms: float, bars: float) -> int:
    """Return the tick of the line some whole bars behind the first line at or behind the seam.

    Args:
        prompt: whose metre counts.
        place: where new notes may begin; on a bar line, bars count from there.
        first_ms: where the first of them begins, from tick 0.
        bars: how many.
    """
    tick = place.tick if place.mode == "bar" else int(prompt.tempo.tick_at(first_ms))
    return lines_on(prompt, next_line(prompt, tick), bars)


def held_keys(prompt: Piece, channel: int, program: int) -> dict[int, float]:
    """Return when the keys of a prompt's channel may be struck again, in ms from tick 0.

    Args:
        prompt: whose notes go on sounding.
        channel, program: of new notes as they are decoded; the prompt's channel that they join is
            meant.
    """
    chosen, _ = _channel_for(prompt, dict(channel_classes(prompt)), channel, program)
    notes = prompt.notes.take(prompt.notes.channel == chosen)
    free = np.zeros(128)
    np.maximum.at(free, notes.pitch, prompt.tempo.ms_at(notes.offset_tick) + _SAFE_RESTRIKE_MS)
    return {int(pitch): float(free[pitch]) for pitch in np.flatnonzero(free)}


def join(
    prompt: Piece,
    zero_ms: float,
    notes: Sequence[NoteEvent],
    pedals: Sequence[PedalEvent],
    options: JoinOptions,
    *,
    shift: float | None = None,
    text: str | None = None,
) -> Joined:
    """Put new notes behind a prompt.

    Args:
        prompt: what they go on from, cut.
        zero_ms: where the clock of the new notes starts, in ms from tick 0.
        notes: as the model gave them; lengths include the pedal unless ``pedals`` are given.
        pedals: of models that say the pedal themselves.
        options: see there.
        shift: how many ms later the notes stand than they are given; by default as far as the
            seam asks.
        text: for a text event in the first of the new tracks.

    Raises:
        UsageError: there is no track to put them into.
    """
    tracks = tracks_of(prompt)
    into = None if options.into is None else _track_number(prompt, tracks, options.into)
    notes = [note for note in notes if is_playable(note.channel, note.program, note.pitch)]
    if not notes:
        return _closed(prompt, tracks)
    notices: list[str] = []
    place = seam_place(prompt, options.seam)
    if shift is None:
        shift = shift_ms(prompt, place, min(note.onset_ms for note in notes) + zero_ms)
    parts = _parts(prompt, notes, pedals, zero_ms + shift)
    first_ms = min(float(part.onset_ms.min()) for part in parts)
    end_ms, ringing = np.inf, 0
    if options.bars is not None:
        end = end_of_bars(prompt, place, first_ms, options.bars)
        end_ms = float(prompt.tempo.ms_at(end))
        if not has_metre(prompt):
            above, below = metre_at(prompt, int(prompt.tempo.tick_at(first_ms)))
            notices.append(
                "the prompt states no metre that its notes stand on: bars are counted as"
                f" {above}/{below} at the tempo of the file from its start"
            )
    if options.groove == "tight" and has_grid(prompt):
        for part in parts:
            _to_grid(part, prompt, place, end_ms)
    finished: list[_Part] = []
    for part in parts:
        part, rang = _ended(part, end_ms)
        ringing += rang
        if len(part.onset_ms):
            part = _playable(part, prompt)
        if len(part.onset_ms):
            finished.append(_pedalled(part, prompt, options, bool(pedals), end_ms))
    if not finished:
        return _closed(prompt, tracks)
    seam_ms = min(float(part.onset_ms.min()) for part in finished)
    seam = int(prompt.tempo.tick_at(seam_ms))
    last_ms = max(float(part.offset_ms.max(initial=0.0)) for part in finished)
    last_ms = max([last_ms, *(float(p.pedal_ms.max(initial=0.0)) for p in finished)])
    if np.isfinite(end_ms):
        last_ms = end_ms
    states = channel_states(tracks, seam)
    playing = channels_with_notes_behind(tracks, seam)
    tracks, dropped = without_tail(tracks, seam, int(prompt.tempo.tick_at(last_ms)), playing)
    if dropped:
        notices.append(f"not taken over from the prompt: {', '.join(dropped)}")
    for track, event in [*lifts(states, seam), *restored(_only(states, playing), seam)]:
        tracks[track] = merged(tracks[track], [event])
    factor = division_factor(prompt, seam)
    tempo = _scaled_tempo(prompt.tempo, factor)
    tracks = scaled(tracks, factor)
    new = _new_tracks(finished, tempo, states, round(seam * factor), split=into is None)
    end_tick = int(tempo.tick_at(last_ms)) if np.isfinite(end_ms) else 0
    if text is not None and into is None:
        new[0].insert(1, Event(0, meta(META_TEXT, encode_text(text))))
    if into is not None:
        tracks[into] = merged(tracks[into], [event for track in new for event in track])
        if end_tick:
            tracks[into] = merged(tracks[into][:-1], [Event(end_tick, END_OF_TRACK)])
    else:
        new = [_with_end(track, end_tick) for track in new]
        tracks = [*tracks, *new]
    division = multiplied(prompt.tempo.division, factor)
    whole = read_bytes(join_bytes(division, tracks), source=prompt.source)
    whole = replace(whole, metadata=prompt.metadata)
    start, place_name = _start_of_alone(prompt, seam)
    alone = _alone(tracks, new, tempo, division, start * factor, prompt)
    return Joined(
        whole,
        alone,
        float(tempo.ms_at(seam * factor)),
        place_name,
        float(prompt.tempo.ms_at(start)),
        ringing,
        tuple(notices),
    )


def _closed(prompt: Piece, tracks: list[Track]) -> Joined:
    """Return the prompt with its pedals let go, and nothing."""
    end = last_release(prompt.notes)
    for track, event in lifts(channel_states(tracks, 2**62), end):
        last = max(event.tick, *(e.tick for e in tracks[track]))
        tracks[track] = merged(tracks[track], [event._replace(tick=last)])
    closed = prompt
    if tracks and len(prompt):
        closed = read_bytes(join_bytes(prompt.tempo.division, tracks), source=prompt.source)
        closed = replace(closed, metadata=prompt.metadata)
    empty = Piece(
        prompt.tempo, prompt.notes.take(slice(0)), programs=prompt.programs.take(slice(0))
    )
    seam_ms = float(prompt.tempo.ms_at(end))
    return Joined(closed, empty, seam_ms, "", seam_ms, 0, ())


def _only(states: dict[int, ChannelState], playing: set[int]) -> dict[int, ChannelState]:
    """Return the states of channels whose own notes have ended."""
    return {channel: state for channel, state in states.items() if channel not in playing}


def _track_number(prompt: Piece, tracks: Sequence[Track], wanted: str) -> int:
    """Return the track of a number or a name, whatever its case.

    Raises:
        UsageError: there is none.
    """
    names = prompt.track_names
    if wanted.isdigit() and int(wanted) < len(tracks):
        return int(wanted)
    for number, name in names.items():
        if name.casefold() == wanted.casefold():
            return number
    known = ", ".join(f"{i} ({names[i]})" if i in names else str(i) for i in range(len(tracks)))
    raise UsageError(f"`into` {wanted}: the prompt has no such track; it has {known or 'none'}")


# ---- voices ------------------------------------------------------------------------------------


def _parts(
    prompt: Piece, notes: Sequence[NoteEvent], pedals: Sequence[PedalEvent], shift: float
) -> list[_Part]:
    """Return the notes by channel, in ms from tick 0 of the piece."""
    voices: dict[tuple[int, int], list[NoteEvent]] = {}
    for note in notes:
        voices.setdefault((note.channel, note.program), []).append(note)
    classes = channel_classes(prompt)
    parts = []
    for (channel, program), rows in voices.items():
        chosen, written = _channel_for(prompt, classes, channel, program)
        is_piano = channel != DRUM_CHANNEL and program // 8 == 0
        rows.sort(key=lambda row: row.onset_ms)
        onset = np.array([row.onset_ms for row in rows], np.float64) + shift
        label = "drums" if channel == DRUM_CHANNEL else CLASSES[program // 8]
        mine = pedals if is_piano else ()
        parts.append(
            _Part(
                chosen,
                written,
                (RIGHT, LEFT) if is_piano else (f"Arietta {label}",),
                onset,
                onset + np.array([row.duration_ms for row in rows], np.float64),
                np.array([row.pitch for row in rows], np.int64),
                np.array([row.velocity for row in rows], np.int64),
                np.array([p.time_ms for p in mine], np.float64) + shift,
                np.array([p.value for p in mine], np.int64),
            )
        )
    return parts


def _channel_for(
    prompt: Piece, classes: dict[int, int], channel: int, program: int
) -> tuple[int, int | None]:
    """Return the prompt's channel that goes on with a decoded voice, and the program to write."""
    notes = prompt.notes
    if channel == DRUM_CHANNEL:
        return DRUM_CHANNEL, None
    counts = np.bincount(notes.channel, minlength=16)
    same = [c for c, k in classes.items() if c != DRUM_CHANNEL and k == program // 8]
    if same:
        chosen = max(same, key=lambda c: (counts[c], -c))
        stated = sounding_programs(prompt)
        mine = stated.program[(stated.channel == chosen) & (stated.track >= 0)]
        return chosen, int(mine[-1]) if len(mine) else None
    free = [c for c in range(16) if c not in classes and c != DRUM_CHANNEL]
    # Sixteen busy channels: share one rather than lose the notes.
    chosen = free[0] if free else 0
    classes[chosen] = program // 8
    return chosen, program


def _to_grid(part: _Part, prompt: Piece, place: SeamPlace, end_ms: float) -> None:
    """Put onsets near the prompt's grid right on it; lengths stay, and nothing leaves seam or end.

    A note stays where it was where its key could not be struck again in time otherwise.
    """
    ticks = prompt.tempo.tick_at(part.onset_ms)
    step = prompt.tempo.division / TWELFTHS
    wanted = prompt.tempo.ms_at(np.rint(np.rint(ticks / step) * step).astype(np.int64))
    before = part.onset_ms
    moved = np.where(np.abs(wanted - before) <= _NEAR_GRID_MS, wanted, before)
    if place.mode != "now":
        moved = np.maximum(moved, float(prompt.tempo.ms_at(place.tick)))
    moved = np.where(moved < end_ms - LAST_BEFORE_END_MS, moved, before)
    busy = _prompt_keys(prompt, part.channel, float(before.min()))
    for row, pitch in enumerate(part.pitch.tolist()):
        ups = [up + _SAFE_RESTRIKE_MS for _, up in busy.get(pitch, ())]
        if any(moved[row] < up <= before[row] for up in ups):
            moved[row] = before[row]
    order = np.lexsort((before, part.pitch))
    same = part.pitch[order[1:]] == part.pitch[order[:-1]]
    apart = _SAFE_RESTRIKE_MS + _SHORTEST_MS
    while True:
        close = same & (np.diff(moved[order]) < apart)
        rows = np.unique(np.concatenate((order[:-1][close], order[1:][close])))
        if not np.any(moved[rows] != before[rows]):
            break
        moved[rows] = before[rows]
    part.offset_ms = part.offset_ms + (moved - before)
    part.onset_ms = moved


def _ended(part: _Part, end_ms: float) -> tuple[_Part, int]:
    """Only what begins before the end, ended there; and how many notes were sounding then."""
    if not np.isfinite(end_ms):
        return part, 0
    part = part.take(part.onset_ms < end_ms - LAST_BEFORE_END_MS)
    ringing = int(np.count_nonzero(part.offset_ms > end_ms))
    keep = part.pedal_ms < end_ms
    return (
        replace(
            part,
            offset_ms=np.minimum(part.offset_ms, end_ms),
            pedal_ms=part.pedal_ms[keep],
            pedal_value=part.pedal_value[keep],
        ),
        ringing,
    )


# ---- playing -----------------------------------------------------------------------------------


def _playable(part: _Part, prompt: Piece) -> _Part:
    """Without strokes that no key can follow: each key is up 30 ms before it is struck again.

    Of two strokes closer than a key can move the later is left out. A stroke on a key that the
    prompt still holds waits for its release where that is near, and is left out where it is not.
    """
    order = np.lexsort((-part.velocity, part.onset_ms))
    part = part.take(order)
    busy = _prompt_keys(prompt, part.channel, float(part.onset_ms.min()))
    keep = np.ones(len(part.onset_ms), np.bool_)
    latest: dict[int, float] = {}
    onset = part.onset_ms.copy()
    for row, pitch in enumerate(part.pitch.tolist()):
        for down, up in busy.get(pitch, ()):
            if down - _SAFE_RESTRIKE_MS < onset[row] < up + _SAFE_RESTRIKE_MS:
                late = up + _SAFE_RESTRIKE_MS
                if (
                    late - part.onset_ms[row] > _LATEST_MS
                    or late + _SHORTEST_MS > part.offset_ms[row]
                ):
                    keep[row] = False
                else:
                    onset[row] = late
        before = latest.get(pitch)
        if before is not None and onset[row] - before < _SAFE_RESTRIKE_MS + _SHORTEST_MS:
            keep[row] = False
        if keep[row]:
            latest[pitch] = float(onset[row])
    part.onset_ms = onset
    part = part.take(keep)
    part = part.take(np.argsort(part.onset_ms, kind="stable"))
    part.offset_ms = np.maximum(part.offset_ms, part.onset_ms + _SHORTEST_MS)
    return part


def _prompt_keys(
    prompt: Piece, channel: int, from_ms: float
) -> dict[int, list[tuple[float, float]]]:
    """Pitch -> (down, up) of the prompt's keys on a channel that are down at a time or later."""
    notes = prompt.notes.take(prompt.notes.channel == channel)
    up = prompt.tempo.ms_at(notes.offset_tick)
    late = up > from_ms - 2 * _SAFE_RESTRIKE_MS
    found: dict[int, list[tuple[float, float]]] = {}
    down = prompt.tempo.ms_at(notes.onset_tick[late])
    for pitch, a, b in zip(
        notes.pitch[late].tolist(), down.tolist(), up[late].tolist(), strict=True
    ):
        found.setdefault(pitch, []).append((a, b))
    return found


def _pedalled(
    part: _Part, prompt: Piece, options: JoinOptions, has_pedals: bool, end_ms: float
) -> _Part:
    """Return the part with keys that hands can hold, and their pedal."""
    if options.pedal and not has_pedals and part.names == (RIGHT, LEFT):
        used = _uses_pedal(prompt)
        made = repedal(part.onset_ms, part.offset_ms - part.onset_ms, part.pitch, expected=used)
        part.offset_ms = made.offset_ms
        part.pedal_ms, part.pedal_value = made.pedal_ms, made.pedal_value
        _release_what_hands_cannot_hold(part)
    elif len(part.pedal_value) and part.pedal_value[-1]:
        last = max(float(part.offset_ms.max()), float(part.pedal_ms[-1]))
        part.pedal_ms = np.append(part.pedal_ms, min(last, end_ms))
        part.pedal_value = np.append(part.pedal_value, 0)
    again: dict[int, float] = {}
    for row in range(len(part.onset_ms) - 1, -1, -1):
        pitch = int(part.pitch[row])
        limit = again.get(pitch, np.inf) - _SAFE_RESTRIKE_MS
        part.offset_ms[row] = max(
            min(float(part.offset_ms[row]), limit), float(part.onset_ms[row]) + _SHORTEST_MS
        )
        again[pitch] = float(part.onset_ms[row])
    return part


def _uses_pedal(prompt: Piece) -> bool | None:
    """Whether the prompt uses the pedal; None without a prompt."""
    if not len(prompt):
        return None
    pedals = prompt.pedals.take(prompt.pedals.channel != DRUM_CHANNEL)
    return int(np.count_nonzero(np.diff(pedals.value >= 64, prepend=False))) >= 2


def _release_what_hands_cannot_hold(part: _Part) -> None:
    """Let keys under the pedal go where a chord would need a third hand."""
    down = list(zip(part.pedal_ms[::2].tolist(), part.pedal_ms[1::2].tolist(), strict=True))
    starts = np.array([a for a, _ in down])
    held: list[int] = []
    onset, offset, pitch = part.onset_ms, part.offset_ms, part.pitch
    for row in range(len(onset)):
        now = float(onset[row])
        held = [other for other in held if offset[other] > now]
        held.append(row)
        at = int(np.searchsorted(starts, now - 1.0)) - 1
        if at < 0 or now >= down[at][1]:
            continue
        older = [other for other in held if now - onset[other] > _CHORD_MS]
        while older and not can_hold([int(pitch[other]) for other in held]):
            # The key that has been down longest; the pedal holds its sound.
            first = older.pop(0)
            if offset[first] >= down[at][1]:
                continue  # it sounds beyond the pedal and must stay down
            offset[first] = max(starts[at] + 5.0, onset[first] + _SHORTEST_MS)
            if offset[first] <= now:
                held.remove(first)


# ---- tracks ------------------------------------------------------------------------------------


def _new_tracks(
    parts: Sequence[_Part],
    tempo: TempoMap,
    states: dict[int, ChannelState],
    seam_tick: int,
    *,
    split: bool,
) -> list[Track]:
    """Events of the new notes, a track for each hand or, unsplit, for each part."""
    tracks: list[Track] = []
    for part in parts:
        hands = [np.arange(len(part.onset_ms))]
        names = part.names[:1]
        if split and len(part.names) == 2:
            right = split_hands(part.onset_ms, part.offset_ms, part.pitch)
            hands, names = [np.flatnonzero(right), np.flatnonzero(~right)], part.names
        for name, rows in zip(names, hands, strict=True):
            if not len(rows):
                continue
            head: Track = []
            if split:
                head = [Event(0, meta(META_NAME, encode_text(name)))]
                if part.program is not None:
                    program = bytes((0xC0 | part.channel, part.program))
                    head.append(Event(min(seam_tick, _first(part, tempo)), program))
                head += setting(states.get(part.channel), part.channel, head[-1].tick or seam_tick)
            tracks.append([*head, *_note_events(part, rows, tempo)])
    return tracks


def _first(part: _Part, tempo: TempoMap) -> int:
    """Return the tick of the first event of a part."""
    first = [float(part.onset_ms.min()), *part.pedal_ms[:1].tolist()]
    return max(int(tempo.tick_at(min(first))), 0)


def _note_events(part: _Part, rows: npt.NDArray[np.intp], tempo: TempoMap) -> Track:
    """Return the notes and pedal of a part as events: releases, pedal, strokes at one tick."""
    onset = tempo.tick_at(part.onset_ms[rows])
    offset = np.maximum(tempo.tick_at(part.offset_ms[rows]), onset + 1)
    events: list[tuple[int, int, bytes]] = []
    on, off, control = 0x90 | part.channel, 0x80 | part.channel, 0xB0 | part.channel
    for a, b, pitch, velocity in zip(
        onset.tolist(),
        offset.tolist(),
        part.pitch[rows].tolist(),
        part.velocity[rows].tolist(),
        strict=True,
    ):
        events.append((a, 2, bytes((on, pitch, velocity))))
        events.append((b, 0, bytes((off, pitch, 64))))
    for tick, value in zip(
        np.maximum(tempo.tick_at(part.pedal_ms), 0).tolist(), part.pedal_value.tolist(), strict=True
    ):
        events.append((tick, 1, bytes((control, 64, value))))
    events.sort(key=lambda event: event[:2])
    return [Event(tick, message) for tick, _, message in events]


def _with_end(track: Track, end_tick: int) -> Track:
    """Return the track with its end, at the last event or behind it."""
    return [*track, Event(max(end_tick, track[-1].tick), END_OF_TRACK)]


def _scaled_tempo(tempo: TempoMap, factor: int) -> TempoMap:
    """Return the same tempos on a finer grid."""
    return TempoMap(multiplied(tempo.division, factor), tempo.tick * factor, tempo.us_per_quarter)


def _start_of_alone(prompt: Piece, seam: int) -> tuple[int, str]:
    """Return the tick that a file of the new part alone begins at, and its place in words."""
    if not len(prompt):
        return seam, ""
    if prompt.tempo.division > 0 and has_metre(prompt):
        bar = bar_at(prompt, seam)
        return bar.start, f"bar {bar.number}"
    seconds = float(prompt.tempo.ms_at(seam)) / 1000
    return seam, f"{int(seconds // 60)}:{seconds % 60:06.3f}"


def _alone(
    tracks: Sequence[Track],
    new: Sequence[Track],
    tempo: TempoMap,
    division: int,
    start: int,
    prompt: Piece,
) -> Piece:
    """Return the new part as a file of its own, with tempo, metre and key at its start."""
    conductor: Track = []
    found: dict[int, Event] = {}
    later: Track = []
    merged_metas = sorted(
        (event for track in tracks for event in track if event.message[0] == 0xFF),
        key=lambda event: event.tick,
    )
    for event in merged_metas:
        if event.message[1] not in (META_TEMPO, META_METRE, META_KEY):
            continue
        if event.tick <= start:
            found[event.message[1]] = Event(0, event.message)
        else:
            later.append(Event(event.tick - start, event.message))
    if META_TEMPO not in found and len(tempo.tick) and tempo.tick[0] > start:
        found[META_TEMPO] = Event(0, meta(META_TEMPO, (500_000).to_bytes(3, "big")))
    conductor = [*found.values(), *later]
    moved = [[Event(max(tick - start, 0), message) for tick, message in track] for track in new]
    last = max((track[-1].tick for track in moved if track), default=0)
    conductor = [event for event in conductor if event.tick <= last]
    files = [_with_end(conductor, 0) if conductor else [Event(0, END_OF_TRACK)]]
    files += [
        track if track[-1].message == END_OF_TRACK else _with_end(track, 0) for track in moved
    ]
    piece = read_bytes(join_bytes(division, files))
    return replace(piece, metadata=prompt.metadata)
