"""What two hands reach: which chords can be held, and which hand plays a note.

Reach is in semitones between the outer fingers of one hand.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

REACH = 16
"""A tenth: most pianists' widest grip, and what the editions of the repertoire rarely exceed."""
FINGERS = 6
"""Notes of one hand at once; the thumb takes two now and then."""
_COMFORT = 6
_REST_PITCH = (48.0, 67.0)
"""Where left and right hand lie before they have played."""
_FORGET_MS = 2000.0
_FOLLOW = 0.3
"""How much of the way to its last chord the place of a hand moves."""
_CROSSING = 1.0
"""Cost of a semitone by which the hands cross."""


def can_hold(pitches: Sequence[int], reach: int = REACH) -> bool:
    """Whether two hands can hold these keys at once.

    Args:
        pitches: in any order.
        reach: of one hand.
    """
    ordered = sorted(set(pitches))
    if len(ordered) <= 1:
        return True
    for split in range(len(ordered) + 1):
        low, high = ordered[:split], ordered[split:]
        if all(
            not hand or (len(hand) <= FINGERS and hand[-1] - hand[0] <= reach)
            for hand in (low, high)
        ):
            return True
    return False


def split_hands(
    onset_ms: npt.ArrayLike,
    offset_ms: npt.ArrayLike,
    pitch: npt.ArrayLike,
    *,
    reach: int = REACH,
    chord_ms: float = 35.0,
) -> npt.NDArray[np.bool_]:
    """Divide notes between the hands by reach.

    Notes struck within ``chord_ms`` of the first of them are one chord. Each chord is cut between
    two of its notes, or given to one hand as a whole, wherever it costs least: how far each hand
    moves from where it lies, keys beyond its reach together with those it still holds, and crossed
    hands. One pass in time; where two cuts cost the same the right hand takes more.

    Args:
        onset_ms, offset_ms: (n,) keys down and up, by onset.
        pitch: (n,) MIDI pitches.
        reach: of one hand in semitones.
        chord_ms: how far apart the notes of a chord are struck at most.

    Returns:
        (n,) whether the right hand plays the note.
    """
    onset = np.asarray(onset_ms, np.float64)
    offset = np.asarray(offset_ms, np.float64)
    pitches = np.asarray(pitch, np.int64)
    right = np.zeros(len(onset), np.bool_)
    place = list(_REST_PITCH)
    last = [-_FORGET_MS, -_FORGET_MS]
    held: list[list[tuple[float, int]]] = [[], []]  # (until, pitch) of each hand
    at = 0
    while at < len(onset):
        end = at + 1
        while end < len(onset) and onset[end] - onset[at] <= chord_ms:
            end += 1
        now = float(onset[at])
        for hand in (0, 1):
            held[hand] = [(until, p) for until, p in held[hand] if until > now + chord_ms]
            if now - last[hand] > _FORGET_MS:
                share = min((now - last[hand]) / _FORGET_MS - 1, 1.0)
                place[hand] += (_REST_PITCH[hand] - place[hand]) * share * 0.5
        order = at + np.argsort(pitches[at:end], kind="stable")
        chord = pitches[order].tolist()
        costs = [
            _cost(chord[:cut], place[0], [p for _, p in held[0]], reach)
            + _cost(chord[cut:], place[1], [p for _, p in held[1]], reach)
            + _crossed(chord[:cut], chord[cut:], held)
            for cut in range(len(chord) + 1)
        ]
        cut = int(np.argmin(costs))
        right[order[cut:]] = True
        for hand, rows in ((0, order[:cut]), (1, order[cut:])):
            if len(rows):
                place[hand] += (float(pitches[rows].mean()) - place[hand]) * _FOLLOW
                last[hand] = now
                held[hand] += [(float(offset[row]), int(pitches[row])) for row in rows]
        at = end
    return right


def _cost(chord: list[int], place: float, held: list[int], reach: int) -> float:
    """Return what it costs a hand to strike a chord beside what it holds."""
    if not chord:
        return 0.0
    grip = chord + held
    span = max(grip) - min(grip)
    cost = abs(float(np.mean(chord)) - place)
    cost += 40.0 * max(span - reach, 0) + 1.0 * max(span - _COMFORT, 0)
    return cost + 60.0 * max(len(grip) - FINGERS, 0)


def _crossed(low: list[int], high: list[int], held: list[list[tuple[float, int]]]) -> float:
    """Return what it costs that the left hand plays above the right."""
    bottom = min((*high, *(p for _, p in held[1])), default=128)
    top = max((*low, *(p for _, p in held[0])), default=-1)
    return _CROSSING * max(top - bottom, 0)
