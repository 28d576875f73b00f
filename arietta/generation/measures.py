"""What can be heard in a stretch of notes, as numbers: pulse, key, clashes, shapes that return.

Conventions. Notes that begin within 30 ms of the first of them are one *chord*. The *top line* is
the highest key of each chord. Times are in ms from the start of the stretch.

    pulse clarity     windows of 8 s; onsets on bins of 10 ms, smoothed by 20 ms; the highest
                      autocorrelation between 0.25 and 1.5 s, the median over windows
    key correlation   of the twelve pitch classes' shares with the prompt's
    clashes           share of chords of two notes or more that hold two keys a semitone apart
    returning shapes  share of the top line's six-interval shapes that occurred before
    same key          share of notes that strike the key of a note that began less than 150 ms ago
    closing           the last sound is a triad, or part of one, of the key, held for a second
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from arietta.arrays import AnyFloatArray, AnyIntArray, BoolArray, FloatArray, IntArray
from arietta.midi.key import best_key
from arietta.midi.piece import Piece

CHORD_MS = 30.0
BIN_MS, SMOOTH_MS = 10.0, 20.0
WINDOW_S = 8.0
SHORTEST_PERIOD_S, LONGEST_PERIOD_S = 0.25, 1.5
SHAPE_INTERVALS = 6
SAME_KEY_MS = 150.0
LAST_SOUND_MS = 1000.0
_FEWEST_ONSETS = 8
"""Onsets of a window whose pulse can be told."""


@dataclass(frozen=True, eq=False)
class Notes:
    """Notes in order of their onsets.

    Attributes:
        onset_ms, duration_ms: (n,) from the start of the stretch.
        pitch, velocity: (n,) 0..127.
    """

    onset_ms: FloatArray
    duration_ms: FloatArray
    pitch: IntArray
    velocity: IntArray

    def __len__(self) -> int:
        """Return the number of notes."""
        return len(self.onset_ms)

    def where(self, chosen: BoolArray) -> Notes:
        """Return some of the notes."""
        return Notes(
            self.onset_ms[chosen],
            self.duration_ms[chosen],
            self.pitch[chosen],
            self.velocity[chosen],
        )


def notes_of(piece: Piece) -> Notes:
    """Return the notes of a piece."""
    return Notes(
        np.asarray(piece.onset_ms, np.float64),
        np.asarray(piece.duration_ms, np.float64),
        piece.notes.pitch.astype(np.int64),
        piece.notes.velocity.astype(np.int64),
    )


def pulse_clarity(onset_ms: AnyFloatArray | AnyIntArray) -> float | None:
    """Return the median over windows of the highest autocorrelation of onsets; None: too few."""
    onset = np.asarray(onset_ms, np.float64)
    found = [float(window.max()) for window in _windows(onset)]
    return float(np.median(found)) if found else None


def pulse_agreement(
    onset_ms: AnyFloatArray | AnyIntArray, prompt_onset_ms: AnyFloatArray | AnyIntArray
) -> float | None:
    """Return how clearly onsets repeat after the prompt's own period; None: too few.

    The period is that of the prompt's last window with enough onsets; 4 % faster or slower is the
    same.
    """
    before = _windows(np.asarray(prompt_onset_ms, np.float64))
    after = _windows(np.asarray(onset_ms, np.float64))
    if not before or not after:
        return None
    lag = int(before[-1].argmax())
    reach = max(1, round(0.04 * (lag + SHORTEST_PERIOD_S * 1000 / BIN_MS)))
    low, high = max(0, lag - reach), lag + reach + 1
    return float(np.median([window[low:high].max() for window in after]))


def _windows(onset: FloatArray) -> list[FloatArray]:
    """Return the autocorrelation of each window that has enough onsets."""
    found = []
    window_ms = WINDOW_S * 1000
    start = float(onset[0]) if len(onset) else 0.0
    while len(onset) and start < onset[-1]:
        inside = onset[(onset >= start) & (onset < start + window_ms)] - start
        start += window_ms
        if len(inside) >= _FEWEST_ONSETS:
            found.append(_autocorrelation(inside))
    return found


def _autocorrelation(onset_ms: FloatArray) -> FloatArray:
    """Return the autocorrelation of a window of onsets from the shortest to the longest period."""
    return autocorrelation(onset_ms, SHORTEST_PERIOD_S * 1000, LONGEST_PERIOD_S * 1000)[1]


def autocorrelation(
    onset_ms: FloatArray, shortest_ms: float, longest_ms: float
) -> tuple[FloatArray, FloatArray]:
    """Return lags (k,) in ms and the autocorrelation of onsets, from 0 to ``WINDOW_S``, at them."""
    bins = int(WINDOW_S * 1000 / BIN_MS)
    train = np.bincount((onset_ms / BIN_MS).astype(np.int64), minlength=bins)[:bins] > 0
    at = np.arange(-4, 5) * BIN_MS
    kernel = np.exp(-0.5 * (at / SMOOTH_MS) ** 2)
    smooth = np.convolve(train.astype(np.float64), kernel, mode="same")
    smooth -= smooth.mean()
    lags = np.arange(int(shortest_ms / BIN_MS), int(longest_ms / BIN_MS) + 1)
    power = float(smooth @ smooth)
    # Every lag is judged by as many bins as overlap there.
    found = [float(smooth[lag:] @ smooth[:-lag]) / power * bins / (bins - lag) for lag in lags]
    return (lags * BIN_MS).astype(np.float64), np.array(found)


def key_correlation(pitch: AnyIntArray, prompt_pitch: AnyIntArray) -> float | None:
    """Return how the shares of the pitch classes go together; None where one is even or empty."""
    if not len(pitch) or not len(prompt_pitch):
        return None
    a = np.bincount(np.asarray(pitch) % 12, minlength=12).astype(np.float64)
    b = np.bincount(np.asarray(prompt_pitch) % 12, minlength=12).astype(np.float64)
    if not a.std() or not b.std():
        return None
    return float(np.corrcoef(a, b)[0, 1])


def chord_numbers(onset_ms: AnyFloatArray | AnyIntArray) -> IntArray:
    """Return the chord (n,) that each note belongs to, from 0."""
    numbers = np.zeros(len(onset_ms), np.int64)
    first, number = -np.inf, -1
    for i, onset in enumerate(np.asarray(onset_ms, np.float64).tolist()):
        if onset - first > CHORD_MS:
            first, number = onset, number + 1
        numbers[i] = number
    return numbers


def clashes(onset_ms: AnyFloatArray | AnyIntArray, pitch: AnyIntArray) -> float | None:
    """Return the share of chords that hold a minor second; None without chords."""
    numbers = chord_numbers(onset_ms)
    order = np.lexsort((pitch, numbers))
    keys, numbers = np.asarray(pitch, np.int64)[order], numbers[order]
    chords = np.bincount(numbers) >= 2 if len(numbers) else np.zeros(0, bool)
    if not chords.any():
        return None
    semitone = (np.diff(keys) == 1) & (np.diff(numbers) == 0)
    clashing = np.unique(numbers[1:][semitone])
    return float(len(clashing) / chords.sum())


def top_line(notes: Notes) -> IntArray:
    """Return the highest key of each chord."""
    numbers = chord_numbers(notes.onset_ms)
    top = np.full(int(numbers[-1]) + 1 if len(numbers) else 0, -1, np.int64)
    np.maximum.at(top, numbers, notes.pitch)
    return top


def returning_shapes(new: Notes, prompt: Notes) -> float | None:
    """Return the share of shapes of the new top line that the prompt or the new part had before.

    A shape is ``SHAPE_INTERVALS`` intervals in a row; one that does not move is no shape.
    """
    known: set[bytes] = set(_shapes(top_line(prompt)))
    found = total = 0
    for shape in _shapes(top_line(new)):
        total += 1
        found += shape in known
        known.add(shape)
    return found / total if total else None


def _shapes(line: IntArray) -> list[bytes]:
    steps = np.diff(line).astype(np.int16)
    windows = [steps[i : i + SHAPE_INTERVALS] for i in range(len(steps) - SHAPE_INTERVALS + 1)]
    return [window.tobytes() for window in windows if window.any()]


def same_key(onset_ms: AnyFloatArray | AnyIntArray, pitch: AnyIntArray) -> float:
    """Return the share of notes that strike a key again within ``SAME_KEY_MS``."""
    order = np.lexsort((onset_ms, pitch))
    onset, keys = np.asarray(onset_ms, np.float64)[order], np.asarray(pitch)[order]
    again = (np.diff(keys) == 0) & (np.diff(onset) < SAME_KEY_MS)
    return float(again.sum() / max(1, len(keys)))


def closes(new: Notes, prompt: Notes) -> bool:
    """Return whether a take comes to rest: its last sound is held, consonant and in the key.

    Held for ``LAST_SOUND_MS`` or longer; all its keys belong to one major or minor triad on a note
    of the scale of the prompt, or of the take where the prompt has no notes.
    """
    if not len(new):
        return False
    last = new.onset_ms >= new.onset_ms.max() - CHORD_MS
    release = new.onset_ms + new.duration_ms
    if float(release[last].max() - new.onset_ms.max()) < LAST_SOUND_MS:
        return False
    sounding = release > new.onset_ms.max() + CHORD_MS
    classes = set((new.pitch[last | sounding] % 12).tolist())
    scale = _scale(prompt if len(prompt) else new)
    return any(
        classes <= {root, (root + third) % 12, (root + 7) % 12}
        for root in scale
        for third in (3, 4)
        if {(root + third) % 12, (root + 7) % 12} <= scale
    )


def _scale(notes: Notes) -> set[int]:
    """Return the pitch classes of the key; of minor, with the leading note as well."""
    weight = np.minimum(notes.duration_ms, 2000.0) + 1.0
    profile = np.bincount(notes.pitch % 12, weight, 12)
    tonic, is_minor = best_key(profile.astype(np.float64))
    steps = (0, 2, 3, 5, 7, 8, 10, 11) if is_minor else (0, 2, 4, 5, 7, 9, 11)
    return {(tonic + step) % 12 for step in steps}
