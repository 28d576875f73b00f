"""Reading a file key stroke by key stroke: every note-on is one note, whatever its note-off does.

The reader of ``arietta.midi.reader`` pairs as the public Aria code does, where a note-off ends all
notes of its key and one without length is lost with the next. A score must not lose notes, and the
note alignments of ASAP count every stroke, so here the first note-off ends the first note-on.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from os import PathLike, fspath

import numpy as np

from arietta.midi.interpret import in_sequence, is_sequence
from arietta.midi.merged import track_events
from arietta.midi.notes import note_table
from arietta.midi.piece import Piece
from arietta.midi.reader import DEFAULT_MAX_BYTES, file_data, read_bytes


def read_note_ons(
    data: bytes | str | PathLike[str],
    *,
    source: str | None = None,
    max_bytes: int = DEFAULT_MAX_BYTES,
    strict: bool = True,
) -> Piece:
    """Return a standard MIDI file with one note for every note-on.

    Notes without length are kept as such; one that is never released lasts to the end of its
    track. Everything but the notes is as ``reader.read_bytes`` gives it. Rows are stable by onset,
    then track, then the order in the file.

    Args:
        data: the bytes of a file, or its path.
        source: its name for messages, of bytes.
        max_bytes: of a path: a larger file is refused.
        strict: as ``reader.read_bytes`` has it.

    Raises:
        MidiError: the file is malformed, or larger than ``max_bytes``.
        InputError: it cannot be opened.
    """
    if not isinstance(data, bytes):
        source = fspath(data)
        data = file_data(source, max_bytes)
    piece = read_bytes(data, source=source, strict=strict)
    assert piece.origin is not None
    data = piece.origin.data
    if is_sequence(data):
        data = in_sequence(data)
    rows: list[list[int]] = []  # onset, offset, pitch, velocity, channel, track
    for track, events in enumerate(track_events(data)):
        open_rows: dict[tuple[int, int], deque[int]] = {}
        for tick, status, pitch, velocity in events:
            kind, channel = status & 0xF0, status & 0x0F
            if kind == 0x90 and velocity:
                open_rows.setdefault((channel, pitch), deque()).append(len(rows))
                rows.append([tick, -1, pitch, velocity, channel, track])
            elif kind in (0x80, 0x90):
                waiting = open_rows.get((channel, pitch))
                if waiting:
                    rows[waiting.popleft()][1] = tick
        end = events[-1][0] if events else 0
        for waiting in open_rows.values():
            for row in waiting:
                rows[row][1] = end
    table = np.array(rows, np.int64).reshape(-1, 6).T
    table = table[:, np.argsort(table[0], kind="stable")]
    return replace(piece, notes=note_table(*table))
