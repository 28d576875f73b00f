"""The events of a standard MIDI file as they stand: what splicing, mending and dumps work on.

An event is its tick and its bytes: status and data, a meta or system-exclusive event with its
length. Nothing is interpreted, so what is read here and written again is the same event.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from arietta.errors import UsageError
from arietta.midi.parse import DATA_BYTES, file_span, track_spans

LONGEST_PAUSE = 2**28 - 1
"""Ticks between two events of a track that four bytes can express, the standard's limit."""
END_OF_TRACK = b"\xff\x2f\x00"
META_TEXT, META_COPYRIGHT, META_NAME, META_INSTRUMENT = 0x01, 0x02, 0x03, 0x04
META_END, META_TEMPO, META_METRE, META_KEY = 0x2F, 0x51, 0x58, 0x59


class Event(NamedTuple):
    """One event of a track.

    Attributes:
        tick: since the start of the track.
        message: status byte and data as they stand in a file, without running status.
    """

    tick: int
    message: bytes


@dataclass(eq=False)
class Walk:
    """The events of one track.

    Attributes:
        events: in the order of the file, the end of the track among them.
        end_tick: tick of the last event, the end of the track included.
        faults: what the standard forbids and was mended: (what, byte offset).
        lost: byte offset from which nothing could be read, or None.
    """

    events: list[Event] = field(default_factory=list)
    end_tick: int = 0
    faults: list[tuple[str, int]] = field(default_factory=list)
    lost: int | None = None


FAULT_PADDING = "bytes behind the end of a track"
FAULT_LONG_DELTA = "a delta time of more than four bytes"
FAULT_RUNNING = "running status behind a system message"
FAULT_STATUS = "an undefined status byte"
FAULT_DATA = "a data byte above 127"
FAULT_TEMPO = "a tempo event of fewer than three bytes"
FAULT_CUT = "a track that is cut off"


def walk_track(data: bytes, start: int, end: int, *, stop_at_end: bool = False) -> Walk:
    """Read the events in ``data[start:end]``, mending what can be mended.

    A delta time of more than four bytes is a signed number of 32 bits, as programs that count from
    before the start of a clip write it; no event goes back behind another or before tick 0. A data
    byte above 127 becomes 127.

    Args:
        data: bytes of a file.
        start, end: where the events of the track lie.
        stop_at_end: leave out what stands behind the end of the track.
    """
    walk = Walk()
    events, faults = walk.events, walk.faults
    at, tick, latest, running, last_channel = start, 0, 0, -1, -1
    while at < end:
        first, delta = at, 0
        while at < end:
            byte = data[at]
            at += 1
            delta = delta << 7 | byte & 0x7F
            if byte < 0x80:
                break
        if at >= end:
            walk.lost = first
            break
        if at - first > 4 and delta > LONGEST_PAUSE:
            delta &= 0xFFFFFFFF
            delta -= delta >> 31 << 32
            faults.append((FAULT_LONG_DELTA, first))
        tick += delta
        latest = max(latest, tick)
        event = at
        status = data[at]
        if status < 0x80:
            status = running
            if status >= 0xF0 and (status in (0xF0, 0xF7) or DATA_BYTES[status - 128] < 1):
                status = last_channel
                faults.append((FAULT_RUNNING, event))
            if status < 0x80:
                walk.lost = first
                break
        else:
            at += 1
            if status != 0xFF:
                running = status
            if status < 0xF0:
                last_channel = status
        if status in (0xF0, 0xF7, 0xFF):
            kind = -1
            if status == 0xFF and at < end:
                kind = data[at]
                at += 1
            size, whole = 0, False
            while at < end and not whole:
                size = size << 7 | data[at] & 0x7F
                whole = data[at] < 0x80
                at += 1
            if not whole or size > end - at:
                walk.lost = first
                break
            at += size
            if kind == META_TEMPO and size < 3:
                faults.append((FAULT_TEMPO, event))
                continue
            events.append(Event(latest, data[event:at]))
            if kind == META_END and stop_at_end:
                if at < end:
                    faults.append((FAULT_PADDING, at))
                break
            continue
        size = DATA_BYTES[status - 128]
        if size < 0:
            faults.append((FAULT_STATUS, event))
            running = last_channel
            continue
        if size > end - at:
            walk.lost = first
            break
        message = data[at : at + size]
        if size and max(message) > 127:
            faults.append((FAULT_DATA, at))
            message = bytes(min(byte, 127) for byte in message)
        at += size
        events.append(Event(latest, bytes((status,)) + message))
    walk.end_tick = events[-1].tick if events else 0
    return walk


def file_events(data: bytes) -> list[list[Event]]:
    """Read the events of every track, the ends of the tracks among them.

    Raises:
        MidiError: header or chunks are malformed.
    """
    _, spans = track_spans(data)
    return [walk_track(data, start, end).events for start, end in spans]


def file_format(data: bytes) -> int:
    """Return the format that the header names: 0, 1 or 2."""
    start, _ = file_span(data)
    return int.from_bytes(data[start + 8 : start + 10], "big")


def payload(message: bytes) -> bytes:
    """Return the content of a meta event, without its type and length."""
    at = 2
    while message[at] >= 0x80:
        at += 1
    return message[at + 1 :]


def meta(kind: int, content: bytes) -> bytes:
    """Return a meta event as it stands in a file."""
    return bytes((0xFF, kind)) + variable(len(content)) + content


def variable(value: int) -> bytes:
    """Return a variable-length quantity: seven bits a byte, all but the last with the high bit."""
    if value < 0x80:
        return bytes((value,))
    out = [value & 0x7F]
    while value := value >> 7:
        out.append(value & 0x7F | 0x80)
    return bytes(reversed(out))


def file_bytes(division: int, tracks: Sequence[bytes], kind: int | None = None) -> bytes:
    """Put track chunks behind a header; format 0 for one track and 1 for several by default.

    Raises:
        UsageError: the division does not fit its field.
    """
    if not -(2**15) <= division < 2**15 or division == 0:
        raise UsageError(f"a division of {division} does not fit a MIDI file")
    if kind is None:
        kind = int(len(tracks) > 1)
    head = b"MThd" + (6).to_bytes(4, "big") + kind.to_bytes(2, "big")
    head += len(tracks).to_bytes(2, "big") + division.to_bytes(2, "big", signed=True)
    return b"".join([head, *tracks])


def track_chunk(events: Iterable[tuple[int, bytes]]) -> bytes:
    """Return one track chunk, channel messages under running status.

    An end of track is added where the last event is none.

    Raises:
        UsageError: an event lies before tick 0, or a pause exceeds 2**28 - 1 ticks.
    """
    out = bytearray()
    now, running, message = 0, 0, b""
    for tick, message in events:
        pause = tick - now
        if pause < 0:  # events are sorted, so this is the first
            raise UsageError(f"an event at tick {tick}: a MIDI file begins at tick 0")
        if pause > LONGEST_PAUSE:
            raise UsageError(f"a pause of {pause} ticks is too long for a MIDI file")
        out += variable(pause)
        status = message[0]
        out += message[1:] if status == running else message
        running = status if status < 0xF0 else 0
        now = tick
    if message != END_OF_TRACK:
        out += b"\0" + END_OF_TRACK
    return b"MTrk" + len(out).to_bytes(4, "big") + bytes(out)
