"""A piece with its tracks merged: notes and pedal of one piano in whole milliseconds.

The form that ``PianistTokenizer`` reads (arXiv 2512.02652, specification of the representation,
sections 1.1 and 1.2). ``merge_tracks`` takes a ``Piece``. ``read_merged`` takes the bytes of a file
and repeats the public reference in everything, for parity with its token files: a note-off ends the
oldest note-on of its key, tempo changes count in the order of the tracks, and the pedal of a track
or channel without notes is lost.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from arietta.arrays import FloatArray, IntArray
from arietta.errors import InputError
from arietta.midi.notes import DRUM_CHANNEL
from arietta.midi.parse import track_spans
from arietta.midi.piece import Piece
from arietta.midi.reader import read_bytes

_SUSTAIN = 64
_MAX_REFERENCE_TICKS = 1 << 27
"""The reference keeps a float for every tick; beyond this many its memory would not be enough."""


@dataclass(frozen=True, eq=False)
class MergedNotes:
    """Columns of one piano.

    Attributes:
        onset_ms, offset_ms: (n,) int64 from the file's start, key down and key up.
        pitch, velocity: (n,) int64, 0..127.
        pedal_ms: (p,) int64, ascending.
        pedal_value: (p,) int64, 0..127.
    """

    onset_ms: IntArray
    offset_ms: IntArray
    pitch: IntArray
    velocity: IntArray
    pedal_ms: IntArray
    pedal_value: IntArray

    def __len__(self) -> int:
        return len(self.onset_ms)

    def take(self, index: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> MergedNotes:
        """Return the notes that an index array or a mask selects, with all of the pedal."""
        return replace(
            self,
            onset_ms=self.onset_ms[index],
            offset_ms=self.offset_ms[index],
            pitch=self.pitch[index],
            velocity=self.velocity[index],
        )


def merge_tracks(piece: Piece) -> MergedNotes:
    """Return the piano of a piece: all but drums, struck notes cut, in order of onset and pitch.

    The pedal of every track and channel counts, drums excepted; where several are pressed at once
    the deepest does. The reference loses the pedal of a track or channel that has no notes.
    """
    keep = piece.notes.channel != DRUM_CHANNEL
    notes = MergedNotes(
        np.rint(piece.onset_ms[keep]).astype(np.int64),
        np.rint(piece.tempo.ms_at(piece.notes.offset_tick[keep])).astype(np.int64),
        piece.notes.pitch[keep].astype(np.int64),
        piece.notes.velocity[keep].astype(np.int64),
        *pedal_of(piece),
    )
    return tidy(notes)


def tidy(notes: MergedNotes) -> MergedNotes:
    """Return notes of at least 1 ms, ended where their pitch is struck again, by onset, then pitch.

    Of several notes of one pitch and onset the last stays (specification 1.2).
    """
    notes = replace(notes, offset_ms=np.maximum(notes.offset_ms, notes.onset_ms + 1))
    notes = notes.take(np.lexsort((notes.onset_ms, notes.pitch)))
    offset = notes.offset_ms.copy()
    same = notes.pitch[1:] == notes.pitch[:-1]
    offset[:-1][same] = np.minimum(offset[:-1], notes.onset_ms[1:])[same]
    cut = replace(notes, offset_ms=offset)
    cut = cut.take(cut.onset_ms < cut.offset_ms)
    return cut.take(np.lexsort((cut.pitch, cut.onset_ms)))


def pedal_of(piece: Piece) -> tuple[IntArray, IntArray]:
    """Return times (p,) in ms and values (p,) of the deepest pedal of all channels but drums."""
    pedals = piece.pedals.take(piece.pedals.channel != DRUM_CHANNEL)
    value = pedals.value.astype(np.int64)
    key = pedals.track.astype(np.int64) * 16 + pedals.channel
    deepest = np.zeros(len(value), np.int64)
    for source in np.unique(key):
        rows = np.flatnonzero(key == source)
        # What this pedal stands at, at every event of any.
        last = np.searchsorted(rows, np.arange(len(value)), side="right") - 1
        deepest = np.maximum(deepest, np.where(last >= 0, value[rows[np.maximum(last, 0)]], 0))
    return np.rint(piece.tempo.ms_at(pedals.tick)).astype(np.int64), deepest


# ---- as the reference reads ------------------------------------------------------------------


def read_merged(data: bytes, *, source: str | None = None) -> MergedNotes:
    """Return the piano of a MIDI file, note for note as the public reference reads it.

    Raises:
        MidiError: the file is malformed.
        InputError: the reference fails on it: SMPTE time, a tempo of zero, or too long.
    """
    division = read_bytes(data, source=source).tempo.division  # refuses malformed files
    if division < 0:
        raise InputError(f"{source or 'MIDI data'}: SMPTE time, which the reference cannot read")
    tempos: list[tuple[int, float]] = [(0, 120.0)]
    notes: dict[tuple[int, int, int], list[tuple[int, int, int, int]]] = {}
    pedals: dict[tuple[int, int, int], list[tuple[int, int]]] = {}
    last_tick = 0
    for track, events in enumerate(track_events(data)):
        program = [0] * 16
        waiting: dict[int, list[tuple[int, int]]] = {}  # pedal of a channel without instrument
        open_notes: dict[tuple[int, int], deque[tuple[int, int]]] = defaultdict(deque)
        for tick, status, first, second in events:
            last_tick = max(last_tick, tick)
            channel, kind = status & 0x0F, status & 0xF0
            voice = (program[channel], channel, track)
            if status == 0xFF:
                if first == 0:
                    raise InputError(f"{source or 'MIDI data'}: a tempo of zero")
                bpm = 60e6 / first
                if tick == 0:
                    tempos = [(0, bpm)]
                elif bpm != tempos[-1][1]:
                    tempos.append((tick, bpm))
            elif kind == 0xC0:
                program[channel] = first
            elif kind == 0x90 and second > 0:
                open_notes[channel, first].append((tick, second))
            elif kind in (0x80, 0x90):
                if open_notes[channel, first]:
                    start, velocity = open_notes[channel, first].popleft()
                    if voice not in notes:
                        notes[voice] = []
                        # Shared, not copied: two programs of a channel hold the same events.
                        pedals[voice] = waiting.get(channel, [])
                    notes[voice].append((start, tick, first, velocity))
            elif kind == 0xB0 and first == _SUSTAIN:
                held = pedals[voice] if voice in pedals else waiting.setdefault(channel, [])
                held.append((tick, second))
    if last_tick >= _MAX_REFERENCE_TICKS:
        raise InputError(f"{source or 'MIDI data'}: {last_tick} ticks, too long for the reference")
    seconds = _reference_seconds(tempos, last_tick + 1, division)
    table = _columns([row for voice in notes if voice[1] != DRUM_CHANNEL for row in notes[voice]])
    pedal = _columns([row for voice in notes if voice[1] != DRUM_CHANNEL for row in pedals[voice]])
    pedal_ms = _ms(seconds, pedal[0])
    order = np.argsort(pedal_ms, kind="stable")
    onset, offset = _ms(seconds, table[0]), _ms(seconds, table[1])
    return tidy(MergedNotes(onset, offset, table[2], table[3], pedal_ms[order], pedal[1][order]))


def _columns(rows: Sequence[tuple[int, ...]]) -> IntArray:
    """(columns, n) of rows; four empty columns without any."""
    return np.array(rows, np.int64).T if len(rows) else np.zeros((4, 0), np.int64)


def _ms(seconds: FloatArray, tick: IntArray) -> IntArray:
    return np.rint(seconds[tick] * 1000.0).astype(np.int64)


def _reference_seconds(
    tempos: list[tuple[int, float]], last_tick: int, ticks_per_quarter: int
) -> FloatArray:
    """(last_tick + 1,) seconds of every tick, in the reference's order of operations."""
    seconds = np.zeros(last_tick + 1)
    elapsed = 0.0
    ends = [tick for tick, _ in tempos[1:]] + [last_tick]
    for (start, bpm), end in zip(tempos, ends, strict=True):
        steps = np.arange(max(end - start + 1, 0))
        seconds[start : end + 1] = elapsed + 60 / bpm / ticks_per_quarter * steps
        elapsed = float(seconds[end])
    return seconds


def track_events(data: bytes) -> Iterator[list[tuple[int, int, int, int]]]:
    """Per track (tick, status, data 1, data 2); a tempo is (tick, 0xFF, µs, 0).

    For files that ``read_bytes`` accepts.

    Every event is there, since the last one's tick counts; uninteresting ones have status 0.
    """
    _, spans = track_spans(data)
    for start, end in spans:
        yield _events(data[start:end])


def _events(data: bytes) -> list[tuple[int, int, int, int]]:
    events = []
    at = tick = status = 0

    def variable() -> int:
        nonlocal at
        value = 0
        while True:
            byte = data[at]
            at += 1
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value

    while at < len(data):
        tick += variable()
        if data[at] == 0xFF:
            kind = data[at + 1]
            at += 2
            size = variable()
            us = int.from_bytes(data[at : at + 3], "big")
            events.append((tick, 0xFF, us, 0) if kind == 0x51 else (tick, 0, 0, 0))
            at += size
            continue
        if data[at] >= 0x80:
            status = data[at]
            at += 1
        if status in (0xF0, 0xF7):
            size = variable()  # moves on past itself first
            at += size
            events.append((tick, 0, 0, 0))
            continue
        count = 1 if 0xC0 <= status < 0xE0 or status in (0xF1, 0xF3) else 2
        if status >= 0xF4:
            count = 0
        first = data[at] if count else 0
        second = data[at + 1] if count == 2 else 0
        at += count
        events.append((tick, status, first, second) if status < 0xF0 else (tick, 0, 0, 0))
    return events
