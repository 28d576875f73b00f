"""Taking notes and pedal out of a file; everything else stays, event for event."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from arietta.arrays import BoolArray
from arietta.midi.piece import Piece
from arietta.midi.seam import SUSTAIN, Track, tracks_of

_DOWN = 64


def without_notes(piece: Piece, gone: BoolArray) -> list[Track]:
    """Return the events of a piece's file without those of some notes.

    A release goes where it ended notes that go alone. One that also ends another stroke stays, so
    that what is kept is read, and played by a synthesizer, as before.

    Args:
        piece: as it was read.
        gone: (n,) which notes go.
    """
    notes = piece.notes
    leaving: dict[tuple[int, int, int], int] = {}
    for tick, channel, pitch in zip(
        notes.onset_tick[gone].tolist(),
        notes.channel[gone].tolist(),
        notes.pitch[gone].tolist(),
        strict=True,
    ):
        leaving[tick, channel, pitch] = leaving.get((tick, channel, pitch), 0) + 1
    found: list[Track] = []
    for track in tracks_of(piece):
        stays: Track = []
        open_keys: dict[tuple[int, int], list[tuple[int, bool]]] = {}  # (tick, taken out?)
        for event in track:
            status = event.message[0]
            if status & 0xE0 != 0x80:
                stays.append(event)
                continue
            channel, pitch = status & 0x0F, event.message[1]
            down = open_keys.setdefault((channel, pitch), [])
            if status & 0xF0 == 0x90 and event.message[2] > 0:
                left = leaving.get((event.tick, channel, pitch), 0)
                down.append((event.tick, left > 0))
                if left:
                    leaving[event.tick, channel, pitch] = left - 1
                    continue
            else:
                # As the reader pairs them: a release ends all strokes of other ticks. One of its
                # own tick, a note without length, goes on needing it.
                needed = any(not taken for _, taken in down)
                some = any(tick != event.tick for tick, _ in down)
                down[:] = [stroke for stroke in down if stroke[0] == event.tick]
                if some and not needed:
                    continue
            stays.append(event)
        found.append(stays)
    return found


def without_pedal(
    tracks: Sequence[Track], start: int, end: int, channels: Collection[int]
) -> list[Track]:
    """Return tracks without the sustain pedal's movements inside a span whose notes are gone.

    What the music around it needs stays: the way up that ends the notes before, and the last way
    down if the pedal is still held where the span ends.

    Args:
        tracks: events of each track.
        start, end: ticks of the span, the end not in it.
        channels: those whose pedal is meant.
    """
    found = [list(track) for track in tracks]
    for channel in channels:
        places = sorted(
            (event.tick, number, at)
            for number, track in enumerate(found)
            for at, event in enumerate(track)
            if event.message[:2] == bytes((0xB0 | channel, SUSTAIN))
        )
        values = [found[number][at].message[2] for _, number, at in places]
        inside = [i for i, (tick, _, _) in enumerate(places) if start <= tick < end]
        if not inside:
            continue
        first, behind = inside[0], inside[-1] + 1
        kept_until = first
        if first and values[first - 1] >= _DOWN:
            kept_until = _up(values, first, behind)
        kept_from = behind
        if values[behind - 1] >= _DOWN:
            kept_from = _last_way_down(values, kept_until, behind)
        lost = {(number, at) for _, number, at in places[kept_until:kept_from]}
        found = [
            [event for at, event in enumerate(track) if (number, at) not in lost]
            for number, track in enumerate(found)
        ]
    return found


def _up(values: Sequence[int], first: int, behind: int) -> int:
    """Return where the first way up ends; a pedal of many positions goes as far as it goes."""
    at = first
    while at < behind and values[at] >= _DOWN:
        at += 1
    if at == behind:
        return behind
    at += 1
    while at < behind and values[at - 1] > 0 and values[at] <= values[at - 1]:
        at += 1
    return at


def _last_way_down(values: Sequence[int], first: int, behind: int) -> int:
    """Return where the last way down begins."""
    at = behind - 1
    while at > first and values[at - 1] >= _DOWN:
        at -= 1
    while at > first and 0 < values[at - 1] <= values[at]:
        at -= 1
    return at
