"""Sounding lengths -> key lengths and pedal: how a pianist would make these notes ring.

A model of performances knows one length for each note, the time until it falls silent, whether a
finger or the pedal held it. Written as key lengths alone that is unplayable and looks wrong in an
editor. ``repedal`` finds the moments at which a pedal must have come up, notes struck one after
the other that fall silent together, and splits the lengths there. In a passage where two hands can
hold everything and notes end each for itself, no pedal is written: it was played dry.

What sounds stays the same: while the pedal is down no note may end, so it is down only between
moments at which notes end. A note that its own key strikes again ends then anyway.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from arietta.arrays import FloatArray
from arietta.midi.hands import can_hold

TOGETHER_MS = 12.0
"""Ends this close to the one before are one moment: lengths and onsets are multiples of 10 ms."""
SPREAD_MS = 25.0
"""Widest moment."""
CHANGE_MS = 60.0
"""Shortest time between two movements of the pedal."""
RESTRIKE_MS = 30.0
"""Shortest time between a key's release and its next stroke."""
LONGEST_MS = 4900.0
"""Lengths from here on may be cut by the model's longest; such a note may ring on."""
DRY_SHARE = 0.007
"""Moments a note that only a pedal explains, below which a passage is dry. Measured over 15 s to
either side: 95 % of dry performances lie below 0.006, 90 % of pedalled ones above."""
_WINDOW_MS = 15_000.0
_NEAR_MS = 3000.0
_EXPECTED = {True: 0.3, False: 3.0, None: 1.0}
_HAND = 12
_CHORD_MS = 50.0
_SHORTEST_KEY_MS = 40.0


class Repedalled(NamedTuple):
    """Keys and pedal.

    Attributes:
        offset_ms: (n,) when each key is released, in the order of the notes given.
        pedal_ms: (p,) times of pedal movements, ascending.
        pedal_value: (p,) 127 for down and 0 for up, in turn.
    """

    offset_ms: FloatArray
    pedal_ms: FloatArray
    pedal_value: npt.NDArray[np.int64]


class _Moment(NamedTuple):
    """When notes end together.

    Attributes:
        first, last: of the ends.
        at: their median.
        rows: the notes.
    """

    first: float
    last: float
    at: float
    rows: list[int]


def repedal(
    onset_ms: npt.ArrayLike,
    sounding_ms: npt.ArrayLike,
    pitch: npt.ArrayLike,
    *,
    expected: bool | None = None,
) -> Repedalled:
    """Split sounding lengths into key lengths and pedal.

    Args:
        onset_ms: (n,) key-down times.
        sounding_ms: (n,) how long each note sounds.
        pitch: (n,) MIDI pitches.
        expected: whether the music before used the pedal: if so less evidence is asked for, if not
            more.

    Returns:
        Keys and pedal under which each note ends when it should, to a few milliseconds; a key is
        free ``RESTRIKE_MS`` before it is struck again.
    """
    onset = np.asarray(onset_ms, np.float64)
    end = onset + np.asarray(sounding_ms, np.float64)
    keys = np.asarray(pitch, np.int64)
    if not len(onset):
        return Repedalled(end, np.zeros(0), np.zeros(0, np.int64))
    again = next_strokes(onset, keys)
    end = np.minimum(end, again)
    ringing = end > again - RESTRIKE_MS  # until the key is struck again
    capped = end - onset >= LONGEST_MS
    moments = _moments(end, np.flatnonzero(~ringing & ~capped))
    offset = np.minimum(end, np.maximum(again - RESTRIKE_MS, onset + (again - onset) * 0.5))
    following = _following(onset)
    order = np.argsort(onset, kind="stable")
    evidence = _evidence(order, onset, end, keys, ringing, moments, bool(expected))
    pedalled = _pedalled(onset, moments, evidence, DRY_SHARE * _EXPECTED[expected])
    downs: list[float] = []
    ups: list[float] = []
    previous = -np.inf
    for moment, known, wet in zip(moments, evidence, pedalled, strict=True):
        free = max(previous, ups[-1] + CHANGE_MS - 1.0 if ups else -np.inf)
        previous = moment.last
        if not wet or known == _NO_EVIDENCE:
            continue
        rows = _sounding(order, onset, end, free, moment)
        if not len(rows):
            continue
        first = float(onset[rows].min())
        down = max(free + 1.0, first + min(_CHORD_MS, 0.25 * (moment.at - first)))
        if moment.at - down < CHANGE_MS:
            continue
        downs.append(down)
        ups.append(moment.at)
        for row in rows.tolist():
            if end[row] < down or (offset[row] > moment.last and not ringing[row]):
                continue
            # Held to the next stroke of any key, and into the pedal.
            least = max(down + 10.0, onset[row] + _SHORTEST_KEY_MS)
            wanted = max(least, float(following[row]))
            offset[row] = min(wanted, offset[row], max(moment.at - 5.0, least))
    pedal = np.array([downs, ups]).T.ravel()
    value = np.tile([127, 0], len(downs)).astype(np.int64)
    return Repedalled(offset, pedal, value)


def next_strokes(onset_ms: FloatArray, pitch: npt.NDArray[np.int64]) -> FloatArray:
    """(n,) when the key of each note is struck again; infinity where it is not."""
    again = np.full(len(onset_ms), np.inf)
    order = np.lexsort((onset_ms, pitch))
    same = pitch[order[1:]] == pitch[order[:-1]]
    again[order[:-1][same]] = onset_ms[order[1:][same]]
    return again


def sounding_ends(
    onset_ms: FloatArray,
    offset_ms: FloatArray,
    pitch: npt.NDArray[np.int64],
    pedal_ms: FloatArray,
    pedal_value: npt.NDArray[np.int64],
) -> FloatArray:
    """(n,) when each note falls silent under a pedal; it ends where its key is struck again."""
    end = offset_ms.copy()
    down = pedal_value >= 64
    change = np.diff(down, prepend=False)
    times, state = pedal_ms[change], down[change]
    starts, stops = times[state], times[~state]
    if len(stops) < len(starts):
        stops = np.append(stops, np.inf)
    if len(starts):
        at = np.searchsorted(starts, offset_ms, side="left") - 1
        held = (at >= 0) & (offset_ms < stops[at])
        end = np.where(held, stops[np.maximum(at, 0)], offset_ms)
    return np.asarray(np.minimum(end, next_strokes(onset_ms, pitch)), np.float64)


def _moments(end: FloatArray, rows: npt.NDArray[np.int64]) -> list[_Moment]:
    """Return the moments at which these notes end, in time order."""
    found: list[_Moment] = []
    group: list[int] = []

    def close() -> None:
        ends = end[group]
        found.append(
            _Moment(float(ends.min()), float(ends.max()), float(np.median(ends)), list(group))
        )

    for row in rows[np.argsort(end[rows], kind="stable")].tolist():
        if group and (
            end[row] - end[group[-1]] > TOGETHER_MS or end[row] - end[group[0]] > SPREAD_MS
        ):
            close()
            group = []
        group.append(row)
    if group:
        close()
    return found


def _following(onset: FloatArray) -> FloatArray:
    """(n,) when the next key behind each note's chord is struck."""
    ordered = np.sort(onset)
    at = np.searchsorted(ordered, onset + _CHORD_MS, side="right")
    return np.append(ordered, np.inf)[at]


def _sounding(
    order: npt.NDArray[np.intp], onset: FloatArray, end: FloatArray, free: float, moment: _Moment
) -> npt.NDArray[np.intp]:
    """Rows of the notes that end in the pedal's reach: after ``free``, up to the moment."""
    last = int(np.searchsorted(onset[order], moment.at, side="right"))
    rows = order[:last]
    return rows[(end[rows] > free) & (end[rows] <= moment.last + 1e-6)]


_NO_EVIDENCE, _FAINT, _WEAK, _STRONG = range(4)


def _evidence(
    order: npt.NDArray[np.intp],
    onset: FloatArray,
    end: FloatArray,
    keys: npt.NDArray[np.int64],
    ringing: npt.NDArray[np.bool_],
    moments: list[_Moment],
    expected: bool,
) -> list[int]:
    """How much the notes that end at each moment tell of a pedal.

    Strong: four or more were struck one after the other, or no two hands hold them. Weak: three
    were, or a note rings until its key is struck again; strong too where a pedal is expected.
    Faint, where it is expected: two were.
    """
    found = []
    previous = -np.inf
    for moment in moments:
        rows = _sounding(order, onset, end, previous, moment)
        previous = moment.last
        strokes = np.sort(onset[moment.rows])
        distinct = 1 + int(np.count_nonzero(np.diff(strokes) > _CHORD_MS))
        rings = bool(ringing[rows].any())
        wide = (distinct >= 2 or rings) and not can_hold(keys[rows].tolist(), _HAND)
        strong = wide or distinct >= 4 or (expected and rings)
        weak = rings or distinct == 3
        faint = expected and distinct == 2
        found.append(_STRONG if strong else _WEAK if weak else _FAINT if faint else _NO_EVIDENCE)
    return found


def _pedalled(
    onset: FloatArray, moments: list[_Moment], evidence: list[int], share: float
) -> npt.NDArray[np.bool_]:
    """Whether each moment lies in a passage with enough strong evidence of a pedal.

    Where the moment's own evidence is faint, there must be strong evidence within a few seconds.
    """
    at = np.array([moment.at for moment in moments])
    known = np.array(evidence, np.int64)
    strokes = np.sort(onset)

    def around(times: FloatArray, window_ms: float = _WINDOW_MS) -> npt.NDArray[np.int64]:
        upper = np.searchsorted(times, at + window_ms, side="right")
        return np.asarray(upper - np.searchsorted(times, at - window_ms), np.int64)

    enough = around(at[known == _STRONG]) >= np.maximum(share * around(strokes), 1.0)
    near = around(at[known == _STRONG], _NEAR_MS) >= 1
    return np.asarray(enough & (near | (known != _FAINT)), np.bool_)
