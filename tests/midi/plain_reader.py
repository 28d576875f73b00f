"""The reading rules of specification section A.1 written down as plainly as possible.

Slow: one step a byte, one tuple an event. Tests hold both parsers of ``arietta.midi`` to it.
"""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from arietta.errors import MidiError
from arietta.midi.notes import ExtraTable, NoteTable, PedalTable, ProgramTable
from arietta.midi.parse import RawColumns, decode_text

MAX_TICK = 2**40


def _fail(reason: str, offset: int) -> NoReturn:
    raise MidiError(reason, byte_offset=offset)


def _smf_span(data: bytes) -> tuple[int, int]:
    """Where the standard MIDI file lies: the whole, or the data chunk of a RIFF RMID container."""
    n = len(data)
    if n == 0:
        _fail("the file is empty", 0)
    if data[:4] != b"RIFF" or data[8:12] != b"RMID":
        return 0, n
    at = 12
    while at + 8 <= n:
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"data":
            return at + 8, min(n, at + 8 + size)
        at += 8 + size + (size & 1)
    _fail("a RIFF container without a MIDI data chunk", n)


def _tracks(data: bytes) -> tuple[int, list[tuple[int, int]]]:
    """Division word and the (start, end) of every track's events."""
    at, n = _smf_span(data)
    if data[at : min(at + 4, n)] != b"MThd":
        _fail("not a MIDI file: it does not start with MThd", at)
    if n - at < 14:
        _fail("the header is cut off", n)
    header_size = int.from_bytes(data[at + 4 : at + 8], "big")
    if header_size < 6:
        _fail("the header is shorter than six bytes", at + 4)
    count = int.from_bytes(data[at + 10 : at + 12], "big")
    division = int.from_bytes(data[at + 12 : at + 14], "big", signed=True)
    if division == 0 or (division < 0 and division & 0xFF == 0):
        _fail("the header gives no ticks per quarter or frame", at + 12)
    spans: list[tuple[int, int]] = []
    at += 8 + header_size
    while len(spans) < count:
        if n - at < 8:
            _fail(f"the header promises {count} tracks, the file holds {len(spans)}", n)
        size = int.from_bytes(data[at + 4 : at + 8], "big")
        if size > n - at - 8:
            _fail(f"a chunk claims {size} bytes, {n - at - 8} are left", at)
        if data[at : at + 4] == b"MTrk":
            spans.append((at + 8, at + 8 + size))
        at += 8 + size
    return division, spans


# Number of data bytes of a status byte; -1 is undefined, system-exclusive and meta are apart.
_DATA_BYTES = [2] * 64 + [1] * 32 + [2] * 16 + [0, 1, 2, 1, -1, -1, 0, 0, 0, -1, 0, 0, 0, -1, 0, 0]


def parse_plainly(data: bytes) -> RawColumns:
    """The columns of a standard MIDI file."""
    division, spans = _tracks(data)
    tempos: list[tuple[int, int]] = []
    notes: list[tuple[int, int, int, int, int, int]] = []
    pedals: list[tuple[int, int, int, int]] = []
    programs: list[tuple[int, int, int, int]] = []
    extras: list[tuple[int, int, bytes]] = []
    text: list[tuple[int, str]] = []
    too_long: int | None = None
    unended = modes = early_ends = 0
    for track, (start, end) in enumerate(spans):
        p, tick, running = start, 0, -1
        pending: dict[int, list[tuple[int, int]]] = {}
        while p < end:
            delta = 0
            while True:
                if p >= end:
                    _fail("an event runs past the end of its track", end)
                byte = data[p]
                p += 1
                delta = min(delta << 7 | byte & 0x7F, MAX_TICK + 1)
                if byte < 0x80:
                    break
            tick = min(tick + delta, MAX_TICK + 1)
            if p >= end:
                _fail("an event runs past the end of its track", end)
            event = p
            status = data[p]
            if status < 0x80:
                if running < 0:
                    _fail("a data byte without a status byte before it", p)
                status = running
                if status >= 0xF0 and (status in (0xF0, 0xF7) or not _DATA_BYTES[status - 128]):
                    _fail("running status after a system message", p)
            else:
                p += 1
                if status != 0xFF:
                    running = status
            if status in (0xFF, 0xF0, 0xF7):
                kind = -1
                if status == 0xFF:
                    if p >= end:
                        _fail("an event runs past the end of its track", end)
                    kind = data[p]
                    p += 1
                size = 0
                while True:
                    if p >= end:
                        _fail("an event runs past the end of its track", end)
                    byte = data[p]
                    p += 1
                    size = min(size << 7 | byte & 0x7F, MAX_TICK)
                    if byte < 0x80:
                        break
                if size > end - p:
                    _fail("an event runs past the end of its track", end)
                payload = data[p : p + size]
                p += size
                if kind == 0x51:
                    if size < 3:
                        _fail("a tempo of fewer than three bytes", event)
                    tempos.append((tick, int.from_bytes(payload[:3], "big")))
                elif kind == 0x2F:
                    early_ends += p < end
                else:
                    if kind in (1, 2):
                        text.append((tick, decode_text(payload)))
                    head = bytes((status, kind)) if kind >= 0 else bytes((status,))
                    extras.append((tick, track, head + payload))
                continue
            size = _DATA_BYTES[status - 128]
            if size < 0:
                _fail(f"undefined status byte 0x{status:02X}", event)
            if size > end - p:
                _fail("an event runs past the end of its track", end)
            for i in range(p, p + size):
                if data[i] > 127:
                    _fail(f"data byte 0x{data[i]:02X} is above 127", i)
            first = data[p] if size else 0
            second = data[p + 1] if size > 1 else 0
            message = bytes((status,)) + data[p : p + size]
            p += size
            kind, channel = status >> 4, status & 15
            if kind == 9 and second:
                pending.setdefault(channel << 7 | first, []).append((tick, second))
            elif kind in (8, 9):
                waiting = pending.pop(channel << 7 | first, None)
                if waiting:
                    same = [one for one in waiting if one[0] == tick]
                    for onset, velocity in waiting:
                        if onset != tick:
                            notes.append((onset, tick, first, velocity, channel, track))
                    if same and len(same) < len(waiting):
                        pending[channel << 7 | first] = same
            elif kind == 11 and first == 64:
                pedals.append((tick, second, channel, track))
            elif kind == 12:
                programs.append((tick, first, channel, track))
            elif kind < 15:
                modes += kind == 11 and first >= 120
                extras.append((tick, track, message))
        unended += sum(map(len, pending.values()))
        if tick > MAX_TICK and too_long is None:
            too_long = start
    if too_long is not None:
        _fail("a track lasts longer than 2**40 ticks", too_long)

    def columns(rows: list[Any], kinds: tuple[type, ...]) -> list[npt.NDArray[Any]]:
        rows.sort(key=lambda row: row[0])
        if not rows:
            return [np.zeros(0, kind) for kind in kinds]
        return [
            np.array(col, kind) for col, kind in zip(zip(*rows, strict=True), kinds, strict=True)
        ]

    long, small, index = np.int64, np.uint8, np.int32
    tempo_tick, tempo_us = columns(tempos, (long, long))
    extras.sort(key=lambda row: row[0])
    text.sort(key=lambda row: row[0])
    return RawColumns(
        division,
        tempo_tick,
        tempo_us,
        NoteTable(*columns(notes, (long, long, small, small, small, index))),
        PedalTable(*columns(pedals, (long, small, small, index))),
        ProgramTable(*columns(programs, (long, small, small, index))),
        ExtraTable(
            np.array([row[0] for row in extras], long),
            np.array([row[1] for row in extras], index),
            tuple(row[2] for row in extras),
        ),
        tuple(text),
        unended,
        modes,
        early_ends,
    )
