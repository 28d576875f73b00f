"""A performance written on the beats of its score, for editing in a DAW.

The time between the beats of the score becomes tempo, one event a beat, so that bar lines and beats
stand where they are felt; how notes lie before or behind them stays in the notes, as small offsets
from the grid. The loop is closed: every tempo is chosen from where the file really stands, in whole
microseconds a quarter, so that no error adds up, and every note goes to the tick nearest to its own
time under the tempos as written. Where beat would follow beat too unevenly the course is smoothed,
and more of it is left to the offsets. What no tempo within ``limits`` can express beat by beat
(played out of order, pauses of minutes) is tied chord by chord instead.

Differs from the published mapping (specification of the Pianist Transformer, section 5), which
rounds to whole beats a minute, lets errors add up to seconds, begins at the second chord and loses
a silence at the beginning.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np

from arietta.arrays import BoolArray, FloatArray, IntArray
from arietta.midi.notes import (
    DRUM_CHANNEL,
    ExtraTable,
    MessageList,
    note_table,
    pedal_table,
    program_table,
)
from arietta.midi.piece import Piece
from arietta.midi.tempo import TempoMap
from arietta.notation.score_notes import PerformedNotes, ScoreNotes, separate

LIMITS_BPM = (5.0, 990.0)
"""Tempos that current DAWs take; the file format itself holds 3.6 and more."""

_TICK_MS = 2.0  # the longest tick we allow where a note lies between beats
_MIN_DIVISION, _MAX_DIVISION = 960, 32_767
_MAX_US = 2**24 - 1
_MAX_BEATS = 50_000
_UNEVEN = 1.5  # times, between neighbouring tempos
_UNEVEN_SHARE = 0.015  # of all neighbours that may differ by more
_WINDOW = 64  # chords back that an anchor looks for the one before it
_TIME_SIGNATURE, _KEY_SIGNATURE, _SMPTE_OFFSET = 0x58, 0x59, 0x54


@dataclass(frozen=True, eq=False)
class Editable:
    """A performance on the grid of its score.

    Attributes:
        piece: tempo map, tracks, signatures and notes; the rows are those of the score.
        on_grid: (n,) bool, the note stands within one tick of its written place.
        lead_in_quarters: quarters put before the first bar for the silence the performance begins
            with; negative where bars of rest were cut.
    """

    piece: Piece
    on_grid: BoolArray
    lead_in_quarters: float


def editable(
    score: ScoreNotes,
    performed: PerformedNotes,
    *,
    limits_bpm: tuple[float, float] = LIMITS_BPM,
    snap: bool = False,
) -> Editable:
    """Write a performance on the beats of its score.

    Replaying the result gives every onset and pedal change within 1 ms of ``performed`` (2 ms where
    one key is struck twice within two ticks). Tracks, channels, names, signatures, markers and
    lyrics are the score's; its tempo marks and controllers are left out. Its drums follow the
    tempo, in rows behind those of the score. The pedal stands in every part, because a DAW gives
    each track an instrument of its own.

    Args:
        score: what is played.
        performed: how, row by row.
        limits_bpm: slowest and fastest tempo, quarters a minute.
        snap: put every note on the grid, exactly where it is written; only the tempo, the lengths
            and the loudness are the performance's.

    Raises:
        UsageError: the performance does not fit the score.
    """
    performed.check(score)
    division = score.division
    tick, ms = _chords(score, performed.onset_ms)
    # Milliseconds a tick may last, fast to slow.
    bounds = (60_000 / limits_bpm[1] / division, 60_000 / limits_bpm[0] / division)
    pace = _pace(score, tick, ms, bounds)
    shift = _lead_in(score, tick[0], ms[0], pace, bounds)
    anchor_tick, anchor_ms = _anchors(score, tick + shift, ms, shift, pace, bounds)
    anchor_tick, anchor_ms = _beats(score, anchor_tick, anchor_ms, shift, bounds)
    times = np.concatenate((performed.onset_ms, performed.pedal_ms))
    factor = _refinement(division, anchor_tick, anchor_ms, pace, times)
    division *= factor
    tempo = _closed_loop(anchor_tick * factor, anchor_ms, pace / factor, division)
    onset = tempo.tick_at(performed.onset_ms)
    offset = tempo.tick_at(performed.onset_ms + performed.duration_ms)
    written = (score.onset_tick + shift) * factor
    if snap:
        onset, offset = written, written + np.maximum(offset - onset, 1)
    onset, duration = separate(onset, offset - onset, score.pitch)
    drums = score.piece.notes.take(score.piece.notes.channel == DRUM_CHANNEL)
    drums = drums.take(drums.onset_tick + shift >= 0)
    drum_onset, drum_offset = (
        (np.asarray(ticks, np.int64) + shift) * factor
        for ticks in (drums.onset_tick, drums.offset_tick)
    )
    pedal_tick = tempo.tick_at(performed.pedal_ms)
    parts = np.unique(score.part, return_index=True)[1]
    rows = np.tile(np.arange(len(pedal_tick)), len(parts))
    owner = np.repeat(parts, len(pedal_tick))
    order = np.argsort(rows, kind="stable")
    rows, owner = rows[order], owner[order]
    piece = Piece(
        tempo,
        note_table(
            np.concatenate((onset, drum_onset)),
            np.concatenate((onset + duration, drum_offset)),
            np.concatenate((score.pitch, drums.pitch)),
            np.concatenate((performed.velocity, drums.velocity)),
            np.concatenate((score.channel, drums.channel)),
            np.concatenate((score.track, drums.track)),
        ),
        pedal_table(
            pedal_tick[rows],
            performed.pedal_value[rows],
            score.channel[owner],
            score.track[owner],
        ),
        program_table(
            np.zeros(len(parts)), np.zeros(len(parts)), score.channel[parts], score.track[parts]
        ),
        _signatures(score.piece, shift, factor),
        tuple((_moved(t, shift, factor), text) for t, text in score.piece.text),
        score.piece.metadata,
        score.piece.source,
    )
    return Editable(piece, np.abs(onset - written) <= 1, shift / score.division)


def _chords(score: ScoreNotes, onset_ms: FloatArray) -> tuple[IntArray, FloatArray]:
    """Return (k,) written ticks and (k,) performed times of the chords: lower medians."""
    order = np.lexsort((onset_ms, score.chord))
    first = np.flatnonzero(np.diff(score.chord, prepend=-1))
    size = np.diff(first, append=len(score))
    return score.chord_tick, onset_ms[order[first + (size - 1) // 2]]


def _pace(score: ScoreNotes, tick: IntArray, ms: FloatArray, bounds: tuple[float, float]) -> float:
    """Return milliseconds a tick over the whole piece."""
    if len(tick) > 1 and ms[-1] > ms[0]:
        pace = float(ms[-1] - ms[0]) / float(tick[-1] - tick[0])
    else:
        pace = float(score.piece.tempo.distance_ms(0, score.division)) / score.division
    return min(max(pace, bounds[0]), bounds[1])


def _lead_in(
    score: ScoreNotes, first_tick: int, first_ms: float, pace: float, bounds: tuple[float, float]
) -> int:
    """Return ticks to move the score by, so that its first chord can stand where it is written."""
    division = score.division
    if first_ms > first_tick * bounds[1]:
        if first_ms < division * bounds[0]:
            return 0  # too short for a beat of its own
        return division * min(max(1, round((first_ms / pace - first_tick) / division)), 200)
    if first_ms < first_tick * bounds[0]:
        return -int(score.bar_tick[score.bar[0] - 1])
    return 0


def _anchors(
    score: ScoreNotes,
    tick: IntArray,
    ms: FloatArray,
    shift: int,
    pace: float,
    bounds: tuple[float, float],
) -> tuple[IntArray, FloatArray]:
    """Return ticks and times of the tempo map: as many chords as a steady hand allows.

    The best chain from (0, 0): every chord counts 1, one on a beat of the bar 4, and every octave
    that a tempo is away from the average of the piece costs a quarter.
    """
    beat = np.zeros(len(tick), bool)
    bar = score.bar_tick + shift
    inside = tick - bar[np.maximum(np.searchsorted(bar, tick, side="right") - 1, 0)]
    beat[inside % score.division == 0] = True
    gain = np.concatenate(([0.0], np.where(beat, 4.0, 1.0)))
    tick = np.concatenate(([0], tick))
    ms = np.concatenate(([0.0], ms))
    best = np.full(len(tick), -np.inf)
    before = np.zeros(len(tick), np.int64)
    best[0] = 0.0
    for i in range(1, len(tick)):
        start = max(0, i - _WINDOW)
        for low in (start, 0) if start else (0,):
            wide = tick[i] - tick[low:i]
            with np.errstate(divide="ignore", invalid="ignore"):
                slope = (ms[i] - ms[low:i]) / wide
                cost = 0.25 * np.abs(np.log2(slope / pace))
            fits = (wide > 0) & (slope >= bounds[0]) & (slope <= bounds[1])
            value = np.where(fits, best[low:i] - cost, -np.inf)
            j = int(np.argmax(value))
            if value[j] > -np.inf:
                best[i], before[i] = value[j] + gain[i], low + j
                break
    chain = [int(np.argmax(best))]
    while chain[-1]:
        chain.append(int(before[chain[-1]]))
    chain.reverse()
    return tick[chain], ms[chain]


def _beats(
    score: ScoreNotes,
    anchor_tick: IntArray,
    anchor_ms: FloatArray,
    shift: int,
    bounds: tuple[float, float],
) -> tuple[IntArray, FloatArray]:
    """Return beats and their times, from the chords that the tempo could go through.

    As smooth as ``_UNEVEN`` asks; the anchors themselves where no course of beats keeps the bounds.
    """
    if len(anchor_tick) < 2:
        return anchor_tick, anchor_ms
    first, last = int(anchor_tick[0]), int(anchor_tick[-1])
    bars = score.bar_tick + shift
    ends = np.append(bars[1:], max(last, int(bars[-1])) + score.division)
    if np.sum((ends - bars) // score.division) > _MAX_BEATS:
        return anchor_tick, anchor_ms
    beats = np.concatenate(
        [np.arange(a, b, score.division) for a, b in zip(bars, ends, strict=True)] + [[first, last]]
    )
    tick = np.unique(beats[(beats >= first) & (beats <= last)]).astype(np.int64)
    if len(tick) < 2:
        return anchor_tick, anchor_ms
    due = np.interp(tick, anchor_tick, anchor_ms)
    sure = np.where(np.isin(tick, anchor_tick), 1.0, 0.1)
    for stiffness in (0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0):
        ms = _smooth(tick, due, sure, stiffness, score.division)
        pace = np.diff(ms) / np.diff(tick)
        if pace.min() < bounds[0] or pace.max() > bounds[1]:
            continue
        uneven = np.abs(np.diff(np.log(pace))) > np.log(_UNEVEN)
        if np.count_nonzero(uneven) <= _UNEVEN_SHARE * len(uneven):
            return tick, ms
    return anchor_tick, anchor_ms


def _smooth(
    tick: IntArray, due: FloatArray, sure: FloatArray, stiffness: float, division: int
) -> FloatArray:
    """Return (m,) times near ``due`` whose course bends little: a smoothing spline on the beats.

    The ends stay. Solved as a band matrix of width 5, by Cholesky's method.
    """
    n = len(tick)
    if not stiffness or n < 4:
        return due
    step = np.diff(tick) / division
    # Second difference over uneven steps: a line costs nothing.
    a, b = 1 / step[:-1], 1 / step[1:]
    rows = np.stack((a, -(a + b), b))  # (3, n - 2)
    weight = sure.copy()
    weight[[0, -1]] = 1e6
    main, one, two = weight.copy(), np.zeros(n), np.zeros(n)
    for i, x in enumerate(rows):
        main[i : i + n - 2] += stiffness * x * x
    one[: n - 2] += stiffness * rows[0] * rows[1]
    one[1 : n - 1] += stiffness * rows[1] * rows[2]
    two[: n - 2] += stiffness * rows[0] * rows[2]
    wanted = (weight * due).tolist()
    d, l1, l2 = main.tolist(), one.tolist(), two.tolist()
    for i in range(n):  # LDL' in place
        for back, band in ((1, l1), (2, l2)):
            if i >= back:
                d[i] -= band[i - back] ** 2 * d[i - back]
        if i >= 1:
            l1[i] -= l1[i - 1] * l2[i - 1] * d[i - 1] if i < n - 1 else 0.0
        l1[i] /= d[i]
        l2[i] /= d[i]
    for i in range(n):
        wanted[i] -= (l1[i - 1] * wanted[i - 1] if i >= 1 else 0.0) + (
            l2[i - 2] * wanted[i - 2] if i >= 2 else 0.0
        )
    found = [value / pivot for value, pivot in zip(wanted, d, strict=True)]
    for i in range(n - 2, -1, -1):
        found[i] -= l1[i] * found[i + 1] + (l2[i] * found[i + 2] if i + 2 < n else 0.0)
    return np.array(found)


def _refinement(
    division: int, anchor_tick: IntArray, anchor_ms: FloatArray, pace: float, times_ms: FloatArray
) -> int:
    """Return how many ticks to make of one, so that what lies between anchors is in time."""
    if len(anchor_tick) > 1:
        pace_of = np.diff(anchor_ms) / np.diff(anchor_tick)
        pace_of = np.append(pace_of, pace_of[-1])
    else:
        pace_of = np.array([pace])
    at = np.maximum(np.searchsorted(anchor_ms, times_ms, side="right") - 1, 0)
    loose = anchor_ms[at] != times_ms
    longest = float(pace_of[at[loose]].max(initial=0.0))
    factor = max(ceil(longest / _TICK_MS), ceil(_MIN_DIVISION / division), 1)
    return max(1, min(factor, _MAX_DIVISION // division))


def _closed_loop(tick: IntArray, ms: FloatArray, pace: float, division: int) -> TempoMap:
    """Tempos in whole microseconds that are at every anchor when it is due."""
    if len(tick) < 2:
        us = min(max(round(pace * division * 1000), 1), _MAX_US)
        return TempoMap(division, np.zeros(1, np.int64), np.array([us], np.int64))
    at: list[int] = []
    now: list[int] = []
    reached = float(ms[0])
    for start, end, due in zip(tick[:-1].tolist(), tick[1:].tolist(), ms[1:].tolist(), strict=True):
        quarters = (end - start) / division
        us = min(max(round((due - reached) * 1000 / quarters), 1), _MAX_US)
        reached += us * quarters / 1000
        if not now or us != now[-1]:
            at.append(start)
            now.append(us)
    return TempoMap(division, np.array(at, np.int64), np.array(now, np.int64))


def _moved(tick: int, shift: int, factor: int) -> int:
    """Return where a mark goes; what is said before the first note stays at the beginning."""
    return max(tick + shift, 0) * factor if tick else 0


def _signatures(piece: Piece, shift: int, factor: int) -> ExtraTable:
    """Return the meta events of the score, moved; a lead-in gets a bar of its own."""
    extra = piece.extra
    rows: dict[object, tuple[int, int, bytes]] = {}
    has_metre = False
    for number, (tick, track, data) in enumerate(
        zip(extra.tick.tolist(), extra.track.tolist(), extra.data, strict=True)
    ):
        if data[0] != 0xFF or data[1] == _SMPTE_OFFSET:
            continue
        metre = data[1] == _TIME_SIGNATURE
        has_metre |= metre and tick == 0
        at = max(tick + shift, 0) * factor if metre else _moved(tick, shift, factor)
        # One signature a place, for all tracks; of several that a cut brings together the last.
        if metre or data[1] == _KEY_SIGNATURE:
            rows[at, data[1]] = (at, 0, data)
        else:
            rows[number] = (at, track, data)
    found = sorted(rows.values(), key=lambda row: row[0])
    if shift > 0:
        division = piece.tempo.division
        if not has_metre:
            found.append((shift * factor, 0, _metre(4, 2)))
        found.insert(0, (0, 0, _metre(shift // division, 2)))
        found.sort(key=lambda row: row[0])
    return ExtraTable(
        np.array([row[0] for row in found], np.int64),
        np.array([row[1] for row in found], np.int32),
        MessageList.pack(row[2] for row in found),
    )


def _metre(numerator: int, power: int) -> bytes:
    """Return a time signature of ``numerator`` over two to the ``power``."""
    return bytes((0xFF, _TIME_SIGNATURE, numerator, power, 24, 8))
