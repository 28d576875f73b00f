"""Which key is a piece in? Estimated from how long each pitch class sounds.

The 24 correlations of Krumhansl's key finding (Cognitive Foundations of Musical Pitch, 1990) with
Temperley's profiles (Music and Probability, 2007), which tell major from minor better.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from arietta.arrays import FloatArray
from arietta.midi.notes import DRUM_CHANNEL
from arietta.midi.piece import Piece

_MAJOR = (0.748, 0.060, 0.488, 0.082, 0.670, 0.460, 0.096, 0.715, 0.104, 0.366, 0.057, 0.400)
_MINOR = (0.712, 0.084, 0.474, 0.618, 0.049, 0.460, 0.105, 0.747, 0.404, 0.067, 0.133, 0.330)
_SHARPS = (0, 7, 2, -3, 4, -1, 6, 1, -4, 3, -2, 5)
"""Signature of the major key on each pitch class, the usual one of two."""
_MAJOR_NAMES = ("C♭", "G♭", "D♭", "A♭", "E♭", "B♭", "F", "C", "G", "D", "A", "E", "B", "F♯", "C♯")
_MINOR_NAMES = ("A♭", "E♭", "B♭", "F", "C", "G", "D", "A", "E", "B", "F♯", "C♯", "G♯", "D♯", "A♯")
_SHARPNESS = 20.0
"""Turns differences of correlation into odds; chosen so that the confidence is about how often the
signature is right, on the scores of the shared corpora."""
_LONGEST_MS = 2000.0


class KeyEstimate(NamedTuple):
    """An estimated key.

    Attributes:
        sharps: of the signature, -7..7.
        is_minor: its mode.
        confidence: 0..1.
    """

    sharps: int
    is_minor: bool
    confidence: float


def estimate_key(piece: Piece) -> KeyEstimate | None:
    """Estimate the key of a whole piece; None without notes other than drums."""
    notes = piece.notes
    pitched = notes.channel != DRUM_CHANNEL
    if not pitched.any():
        return None
    weight = np.minimum(piece.duration_ms[pitched], _LONGEST_MS) + 1.0
    profile = np.bincount(notes.pitch[pitched] % 12, weight, 12).astype(np.float64)
    correlation = _correlations(profile)
    odds = np.exp(_SHARPNESS * (correlation - correlation.max()))
    best = int(np.argmax(correlation))
    tonic, is_minor = best % 12, best >= 12
    sharps = _SHARPS[(tonic + 3) % 12 if is_minor else tonic]
    return KeyEstimate(sharps, is_minor, round(float(odds[best] / odds.sum()), 2))


def best_key(profile: FloatArray) -> tuple[int, bool]:
    """Return the tonic 0..11 and whether the key is minor; profile (12,): weight of each class."""
    best = int(np.argmax(_correlations(profile)))
    return best % 12, best >= 12


def _correlations(profile: FloatArray) -> FloatArray:
    """(24,) correlation with the major keys on each pitch class, then the minor keys."""
    found = []
    for shape in (_MAJOR, _MINOR):
        for tonic in range(12):
            key = np.roll(np.array(shape), tonic)
            a, b = profile - profile.mean(), key - key.mean()
            scale = float(np.sqrt((a @ a) * (b @ b)))
            found.append(float(a @ b) / scale if scale else 0.0)
    return np.array(found)


def key_name(sharps: int, minor: bool) -> str:
    """Return the name of the key of a signature, such as ``E♭ major``."""
    if not -7 <= sharps <= 7:
        return f"{sharps} sharps"
    return f"{_MINOR_NAMES[sharps + 7]} minor" if minor else f"{_MAJOR_NAMES[sharps + 7]} major"
