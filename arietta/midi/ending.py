"""How a piece ends: where its last notes are, what silence follows, whether it slows down."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from arietta.midi.piece import Piece
from arietta.midi.seam import last_release, tracks_of

SILENCE_MS = 2_000.0
"""Silence behind the last release that is worth a word."""
ALONE_MS = 4_000.0
"""Silence in front of the last notes that makes them stand alone."""
_SLOW = 0.85
"""A tempo below this share of the piece's usual one is slower."""
_LONGEST_RITARD_MS = 20_000.0


class Ritard(NamedTuple):
    """A written slowing down that a piece ends with.

    Attributes:
        start_ms: of the first slower tempo, from tick 0.
        usual, last: quarters a minute before it and at the last onset.
    """

    start_ms: float
    usual: float
    last: float


def silence_behind_ms(piece: Piece) -> float:
    """Return how long the file goes on behind its last release."""
    end = max((event.tick for track in tracks_of(piece) for event in track), default=0)
    return max(float(piece.tempo.ms_at(end)) - piece.end_ms, 0.0)


def alone_from_ms(piece: Piece) -> float | None:
    """Return when the last notes begin, if a silence parts them from the others; else None."""
    order = np.argsort(piece.onset_ms, kind="stable")
    onset = piece.onset_ms[order]
    if len(onset) < 2:
        return None
    released = np.maximum.accumulate(onset + piece.duration_ms[order])
    gap = onset[1:] - released[:-1]
    late = np.flatnonzero((gap >= ALONE_MS) & (onset[1:] >= 0.75 * onset[-1]))
    return float(onset[late[-1] + 1]) if len(late) else None


def ritard(piece: Piece) -> Ritard | None:
    """Return the written slowing down at the end of a piece; None where there is none."""
    tempo = piece.tempo.from_start
    if tempo.division < 0 or len(tempo.tick) < 2 or not len(piece):
        return None
    last = int(piece.notes.onset_tick.max())
    known = tempo.tick <= last
    tick, rate = tempo.tick[known], 60e6 / np.maximum(tempo.us_per_quarter[known], 1)
    length = np.diff(np.append(tick, max(last_release(piece.notes), last)))
    order = np.argsort(rate, kind="stable")
    share = np.cumsum(length[order]) / max(int(length.sum()), 1)
    usual = float(rate[order][int(np.searchsorted(share, 0.5))])
    slower = rate < _SLOW * usual
    if not slower[-1]:
        return None
    first = len(slower) - int(np.argmin(slower[::-1])) if not slower.all() else 0
    start_ms = float(piece.tempo.ms_at(tick[first]))
    if float(piece.tempo.ms_at(last)) - start_ms > _LONGEST_RITARD_MS:
        return None  # a slow part, not an end
    return Ritard(start_ms, usual, float(rate[-1]))


def notices_of_the_end(piece: Piece) -> list[str]:
    """Return what to tell of the end of a prompt, a sentence each; nothing where it just ends."""
    if not len(piece):
        return []
    found = []
    first_ms = float(piece.onset_ms.min())
    silence = silence_behind_ms(piece)
    if silence >= SILENCE_MS:
        found.append(
            f"the file goes on silently for {silence / 1000:.1f} s; its last release, at"
            f" {piece.end_ms / 1000:.1f} s, was taken as the prompt's end"
        )
    slow = ritard(piece)
    if slow is not None and slow.start_ms > first_ms:
        found.append(
            f"the prompt slows down from {slow.usual:.0f} to {slow.last:.0f} quarters a minute at"
            " its end, and the music goes on from there; to go on from before, set"
            f" `prompt_seconds` to {(slow.start_ms - first_ms) / 1000:.1f}"
        )
    alone = alone_from_ms(piece)
    if alone is not None and alone > first_ms:
        at = piece.onset_ms < alone
        before = float((piece.onset_ms[at] + piece.duration_ms[at]).max())
        count = int((~at).sum())
        found.append(
            f"the prompt's last {'note comes' if count == 1 else f'{count} notes come'}"
            f" {(alone - before) / 1000:.1f} s behind the others; to go on from"
            f" before, set `prompt_seconds` to {(before - first_ms) / 1000:.1f}"
        )
    return found
