"""Parts of a piece that models are given: prompts and chunks for embedding (E.2, E.7)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from arietta.errors import InputError
from arietta.midi.notes import DRUM_CHANNEL, PEDAL_DOWN, PedalTable
from arietta.midi.piece import Piece
from arietta.midi.tempo import Compat


def prompt_piece(piece: Piece, seconds: float | None, *, compat: Compat | None = None) -> Piece:
    """Return the start of a piece: notes that begin within ``seconds``, at their full length.

    A pedal that is still down where the prompt ends is taken away from there on, or it would hold
    notes to the end of a phrase that is not there. With ``compat="aria"`` time is counted from tick
    0 instead of from the first note, and only one trailing pedal-down is taken away.

    Args:
        piece: any piece.
        seconds: length of the prompt, None for all of the piece.
        compat: see above.
    """
    if not len(piece):
        return piece
    notes, pedals = piece.notes, piece.pedals
    if seconds is not None:
        zero = 0 if compat == "aria" else int(notes.onset_tick[0])
        onset_ms = np.rint(piece.tempo.distance_ms(zero, notes.onset_tick, compat=compat))
        notes = notes.take(onset_ms <= seconds * 1000)
        pedal_ms = np.rint(piece.tempo.distance_ms(zero, pedals.tick, compat=compat))
        pedals = pedals.take(pedal_ms <= seconds * 1000)
        if compat == "aria":
            if len(pedals) and pedals.value[-1] >= PEDAL_DOWN:
                pedals = pedals.take(slice(0, -1))
        elif len(pedals) < len(piece.pedals):
            pedals = _closed(pedals)
    return replace(piece, notes=notes, pedals=pedals)


def _closed(pedals: PedalTable) -> PedalTable:
    """Return the events without the downs after the last up of each channel."""
    keep = np.ones(len(pedals), np.bool_)
    for channel in np.unique(pedals.channel):
        rows = np.flatnonzero(pedals.channel == channel)
        ups = np.flatnonzero(pedals.value[rows] < PEDAL_DOWN)
        keep[rows[ups[-1] + 1 if len(ups) else 0 :]] = False
    return pedals.take(keep)


def chunks_of_notes(piece: Piece, n_notes: int) -> Iterator[Piece]:
    """Consecutive stretches of ``n_notes`` notes, the last one shorter, for embedding.

    Tempo, pedal and programs stay whole; a pedal that never comes up ends with the chunk.

    Raises:
        InputError: the piece has a program that is not a piano.
    """
    programs = piece.programs.program[piece.programs.channel != DRUM_CHANNEL]
    if (programs >= 8).any():
        raise InputError(
            f"{piece.source or 'piece'}: embeddings are of solo piano, "
            f"this has program {int(programs.max())}"
        )
    for start in range(0, len(piece), n_notes):
        yield replace(piece, notes=piece.notes.take(slice(start, start + n_notes)))
