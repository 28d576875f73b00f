"""Every event of a MIDI file as plain values, read without any code of ``arietta``."""

from __future__ import annotations

from typing import NamedTuple


class Dump(NamedTuple):
    """What a file holds.

    Attributes:
        format, division: of the header.
        tracks: for each the (tick, message) of every event; a message has its status byte, meta and
            system-exclusive messages are without their length.
    """

    format: int
    division: int
    tracks: list[list[tuple[int, bytes]]]


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A variable-length quantity and where it ends."""
    value = 0
    while True:
        value = value * 128 + data[at] % 128
        at += 1
        if data[at - 1] < 128:
            return value, at


def dump(data: bytes) -> Dump:
    """The events of a well-formed file."""
    at = data.index(b"MThd")
    size = int.from_bytes(data[at + 4 : at + 8], "big")
    kind, division = data[at + 9], int.from_bytes(data[at + 12 : at + 14], "big", signed=True)
    at += 8 + size
    tracks = []
    while data[at : at + 4]:
        size = int.from_bytes(data[at + 4 : at + 8], "big")
        if data[at : at + 4] == b"MTrk":
            tracks.append(_track(data[at + 8 : at + 8 + size]))
        at += 8 + size
    return Dump(kind, division, tracks)


def _track(data: bytes) -> list[tuple[int, bytes]]:
    events, at, tick, status = [], 0, 0, 0
    while at < len(data):
        delta, at = _number(data, at)
        tick += delta
        if data[at] == 0xFF:
            size, start = _number(data, at + 2)
            events.append((tick, data[at : at + 2] + data[start : start + size]))
            at = start + size
            continue
        if data[at] in (0xF0, 0xF7):
            size, start = _number(data, at + 1)
            events.append((tick, data[at : at + 1] + data[start : start + size]))
            at = start + size
            continue
        if data[at] >= 0x80:
            status = data[at]
            at += 1
        width = {0xC: 1, 0xD: 1}.get(status >> 4, 2)
        if status >= 0xF0:
            width = {0xF1: 1, 0xF2: 2, 0xF3: 1}.get(status, 0)
        events.append((tick, bytes([status]) + data[at : at + width]))
        at += width
    return events
