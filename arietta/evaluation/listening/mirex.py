"""Prompts and continuations in the form of MIREX's yearly task, Symbolic Music Generation.

Definition (2025, https://www.music-ir.org/mirex/wiki/2025:Symbolic_Music_Generation): notes on a
grid of sixteenths in 4/4, each with ``start``, ``pitch`` and ``duration``. Sixteenths 0 to 15 are a
pickup measure, 16 to 79 the four measures of the prompt, 80 to 271 the twelve of the continuation.

Conventions. Tick 0 of a file is the first full measure, so the pickup measure stays empty. Onsets
go to the nearest sixteenth, durations likewise and to one at least; a note ends with the last
measure. Velocity and pedal have no place in the form.
"""

from __future__ import annotations

import numpy as np

from arietta.errors import InputError
from arietta.midi.notes import DRUM_CHANNEL
from arietta.midi.piece import Piece

MEASURE = 16
PROMPT = (MEASURE, 5 * MEASURE)
CONTINUATION = (5 * MEASURE, 17 * MEASURE)

Note = dict[str, int]


def notes_of(piece: Piece, span: tuple[int, int]) -> list[Note]:
    """Return the notes that begin in a span, by start and pitch.

    Args:
        piece: its ticks count as they are written.
        span: first sixteenth, and the one behind the last.

    Raises:
        InputError: the piece is not in 4/4, or has no note there.
    """
    name = piece.source or "the piece"
    other = next((s for s in piece.time_signatures if s[1:] != (4, 4)), None)
    if other is not None:
        raise InputError(f"{name}: is in {other[1]}/{other[2]}; MIREX's form holds 4/4 alone")
    per_sixteenth = piece.tempo.division / 4
    onset = piece.notes.onset_tick / per_sixteenth
    start = np.rint(onset).astype(np.int64) + MEASURE
    lasting = np.rint(piece.notes.offset_tick / per_sixteenth - onset).astype(np.int64)
    lasting = np.minimum(np.maximum(lasting, 1), CONTINUATION[1] - start)
    keep = (start >= span[0]) & (start < span[1]) & (piece.notes.channel != DRUM_CHANNEL)
    pitch = piece.notes.pitch.astype(np.int64)
    rows = sorted(zip(start[keep], pitch[keep], lasting[keep], strict=True))
    if not rows:
        raise InputError(
            f"{name}: no note begins in measures {span[0] // MEASURE} to {span[1] // MEASURE - 1}"
        )
    return [{"start": int(a), "pitch": int(b), "duration": int(c)} for a, b, c in rows]
