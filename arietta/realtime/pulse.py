"""The pulse of what was just played: how long a beat is, without a metronome."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

USUAL_BEAT_MS = 600.0
_SLOWEST_MS, _FASTEST_MS = 1000, 375
_SAME_ONSET_MS = 40.0
_LOOK_BACK = 24
_FEWEST_ONSETS = 6
_SPREAD = 0.08
"""Width of a beat's surroundings that still count as on it, as a share of the beat."""


def beat_ms(onset_ms: npt.ArrayLike) -> float:
    """Return the length of a beat, 375..1000 ms: the pulse that most pairs of onsets agree with.

    Args:
        onset_ms: (n,) onsets in any order; the last two dozen count, chords once.

    Returns:
        The beat; 600 ms for too few onsets to tell.
    """
    onsets = np.sort(np.asarray(onset_ms, np.float64))
    onsets = onsets[np.diff(onsets, prepend=-np.inf) > _SAME_ONSET_MS][-_LOOK_BACK:]
    if len(onsets) < _FEWEST_ONSETS:
        return USUAL_BEAT_MS
    beats = np.arange(_FASTEST_MS, _SLOWEST_MS + 1, 12.5)
    apart = (onsets[None, :] - onsets[:, None])[np.triu_indices(len(onsets), 1)]
    apart = apart[apart <= 4.2 * _SLOWEST_MS]
    multiples = apart[None, :] / beats[:, None]  # (beats, pairs)
    whole = np.rint(multiples)
    close = np.exp(-0.5 * ((multiples - whole) / _SPREAD) ** 2)
    # One, two and four beats apart tell of the pulse; pairs within a beat do not.
    weight = np.isin(whole, (1.0, 2.0, 4.0)) / np.maximum(whole, 1.0)
    score = (close * weight).sum(axis=1)
    # People tap near 600 ms where several pulses fit.
    score *= np.exp(-0.5 * (np.log2(beats / USUAL_BEAT_MS) / 0.8) ** 2)
    return float(beats[int(np.argmax(score))])
