"""The marks of a score as law: whoever plays, a performance never contradicts them.

A model reads the marks as features, as far as its training had them; pairs with dynamics in the
score are few, and none had words, touch or pedal. So what a mark asks for is made sure of here, by
as much as pianists do it where velocities and tempi of scores vary (ASAP): pp is played at about
51 and ff at about 76, and what the player does beside that is kept.

================  ================================================================================
tempo             the mean is the written one, that of each stretch of one tempo within ``FREEDOM``
rit., accel.      the way is the written one; what the player adds has no slope of its own
fermata           held at least as much longer as written
dynamics          the level is the written one's; hairpins have their direction
accents, sf, fp   louder than what stands around
touch             staccato short, tenuto and slurs long, keys of rolled chords held
pedal             where pedal is marked it is played, where it is forbidden it is not
================  ================================================================================

Every key is also let go near its written end: long notes under moving ones do not ring on.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from arietta.arrays import FloatArray, IntArray, Uint8Array
from arietta.errors import UsageError
from arietta.midi.tempo import TempoMap
from arietta.notation.score_notes import PerformedNotes, ScoreNotes, deadpan
from arietta.notation.sheet import (
    PLAIN,
    PORTATO,
    STACCATISSIMO,
    STACCATO,
    TENUTO,
    NoteMarks,
    SheetMusic,
)

FREEDOM = 0.06
"""Share by which the mean tempo of a stretch may differ from the written one. That of all stretches
together does not differ."""

LEVELS = (33.0, 51.0, 112.0, 76.0)
"""Written pp and what pianists play for it, written ff and the same."""

_SLOPE = (LEVELS[3] - LEVELS[1]) / (LEVELS[2] - LEVELS[0])
_SAYS_NOTHING = (60.0, 90.0)  # a velocity throughout that programs write where no dynamic stands
_STRETCH, _MARKED_STRETCH = 8.0, 1.9
"""Quarters of one tempo that are a stretch of their own: in a MIDI file, whose changes may be a
drawn ritardando, and in sheet music, where ways are marked as such."""

_JUMP = 3.0  # velocity steps between neighbours that begin another level
_ACCENT = 0.45  # velocity steps played for one that an accent asks for
_SPAN_MS = 1.0
_TOUCH = {
    STACCATO: (0.2, 0.5),
    STACCATISSIMO: (0.1, 0.27),
    PORTATO: (0.5, 0.8),
    TENUTO: (0.95, 1.1),
}
"""Shortest and longest share of the written length."""

_RING = 1.1  # of the written length, before a key is let go at the latest
_RING_FROM_MS = 400.0
_ROLL_MS = 45.0
_PEDAL_UP_MS = 55.0
_SHORTEST_PEDAL_MS = 100.0


def at_tempo(score: ScoreNotes, bpm: float) -> ScoreNotes:
    """Return the score at another tempo: quarters a minute at its beginning, the rest in step.

    Raises:
        UsageError: no tempo that a piano can be played in.
    """
    if not 10 <= bpm <= 600:
        raise UsageError(f"`tempo` {bpm:g}: give 10 to 600 quarters a minute")
    tempo = score.piece.tempo
    first = float(tempo.distance_ms(score.onset_tick[0], score.onset_tick[0] + score.division))
    factor = 60_000 / bpm / max(first, 1e-3)
    us = np.clip(np.rint(tempo.us_per_quarter * factor), 1, 2**24 - 1).astype(np.int64)
    tick = tempo.tick
    if not len(us):
        tick, us = np.zeros(1, np.int64), np.array([round(60_000_000 / bpm)])
    piece = replace(score.piece, tempo=TempoMap(tempo.division, tick, us))
    if isinstance(piece, SheetMusic):
        piece = replace(piece, marks=replace(piece.marks, tempo_from="mark"))
    return replace(score, piece=piece)


def says_tempo(score: ScoreNotes) -> bool:
    """Return whether a score gives a tempo: sheet music may not, a MIDI file does."""
    return not isinstance(score.piece, SheetMusic) or bool(score.marks.tempo_from)


def obey(score: ScoreNotes, performed: PerformedNotes, *, keep_tempo: bool) -> PerformedNotes:
    """Return a performance without what contradicts the score.

    Args:
        score: with its marks.
        performed: how it is played.
        keep_tempo: whether the written tempo is law as well.
    """
    chord, k = score.chord, len(score.chord_tick)
    size = np.bincount(chord, minlength=k)
    played = np.maximum.accumulate(np.bincount(chord, performed.onset_ms, k) / size)
    moved = _tempo(score, played, keep_tempo)
    onset = np.maximum(moved[chord] + performed.onset_ms - played[chord], 0.0)
    marks = score.note_marks
    if marks is not None:
        onset = _rolled(score, marks, onset, moved)
    duration = performed.duration_ms * _local(played, moved)[chord]
    duration = _touched(score, marks, onset, duration, moved)
    velocity = performed.velocity.astype(np.float64)
    velocity = _loudness(score, marks, velocity)
    pedal_ms = carried(performed.pedal_ms, played, moved)
    pedal_ms, pedal_value = _pedal(score, pedal_ms, performed.pedal_value, moved)
    return replace(
        performed,
        onset_ms=onset,
        duration_ms=duration,
        velocity=np.clip(np.rint(velocity), 1, 127).astype(np.uint8),
        pedal_ms=pedal_ms,
        pedal_value=pedal_value,
    )


def carried(times: FloatArray, old: FloatArray, new: FloatArray) -> FloatArray:
    """Return times carried from one course of the chords to another."""
    if not len(times):
        return times
    found = np.interp(times, old, new)
    found += np.maximum(times - old[-1], 0.0) - np.maximum(old[0] - times, 0.0)
    return np.maximum.accumulate(np.maximum(found, 0.0))


def _local(old: FloatArray, new: FloatArray) -> FloatArray:
    """Return (k,) how much longer the span after every chord became."""
    before, after = np.diff(old), np.diff(new)
    ratio = np.where((before > _SPAN_MS) & (after > _SPAN_MS), after / np.maximum(before, 1), 1.0)
    found: FloatArray = np.append(ratio, ratio[-1:] if len(ratio) else [1.0])
    return np.clip(found, 0.05, 20.0)


# ---- tempo -------------------------------------------------------------------------------------


def _tempo(score: ScoreNotes, played: FloatArray, keep: bool) -> FloatArray:
    """Return the (k,) times of the chords under the written tempo, changes and fermatas."""
    if len(played) < 2:
        return played
    tick = score.chord_tick
    written = np.diff(score.piece.tempo.ms_at(tick))
    spans = np.diff(played)
    usable = (written > _SPAN_MS) & (spans > _SPAN_MS)
    safe_written = np.maximum(written, _SPAN_MS)
    apart = np.where(usable, np.log(np.maximum(spans, _SPAN_MS) / safe_written), 0.0)
    usual = float(np.median(apart[usable])) if usable.any() else 0.0
    changed = False
    quarter = tick[:-1] / score.division
    for start, end, _ in score.marks.changes:
        inside = (quarter >= start - 0.02) & (quarter < end - 0.02) & usable
        if np.count_nonzero(inside) > 1:
            x = quarter[inside] - start
            level = float(np.clip(apart[inside].mean() - usual, -0.05, 0.05))
            trend = np.polyval(np.polyfit(x, apart[inside], 1), x)
            apart[inside] = usual + level + 0.5 * (apart[inside] - trend)
            changed = True
    marks = score.note_marks
    if marks is not None and marks.held.any():
        for chord in np.unique(score.chord[marks.held]).tolist():
            end = int(score.offset_tick[(score.chord == chord) & marks.held].max())
            inside = (tick[:-1] >= tick[chord]) & (tick[:-1] < end)
            apart[inside] = np.maximum(apart[inside], usual)
            changed = True
    if keep:
        # A player who is slow on the whole is brought to the mark, not to the edge of what it may.
        whole = float(np.sum(safe_written * np.exp(apart))) / float(np.sum(safe_written))
        if abs(np.log(whole)) > 1e-6:
            apart -= np.log(whole)
            changed = True
        for first, last in _stretches(score):
            total = float(np.sum(safe_written[first:last] * np.exp(apart[first:last])))
            off = np.log(total / float(np.sum(safe_written[first:last])))
            limit = np.log1p(FREEDOM)
            too_much = off - float(np.clip(off, -limit, limit))
            if abs(too_much) > 1e-6:
                apart[first:last] -= too_much
                changed = True
    if not changed:
        return played
    new = np.where(usable, safe_written * np.exp(apart), spans)
    times: FloatArray = played[0] + np.concatenate(([0.0], np.cumsum(new)))
    return times


def _stretches(score: ScoreNotes) -> list[tuple[int, int]]:
    """Return stretches of one written tempo, by and large, as (first, last) spans of chords."""
    tick = score.chord_tick
    tempo = score.piece.tempo
    pace = tempo.distance_ms(tick, tick + 1)[:-1]
    quarter = tick / score.division
    least = _MARKED_STRETCH if isinstance(score.piece, SheetMusic) else _STRETCH
    starts = [0]
    for at in np.flatnonzero(np.abs(np.diff(np.log(np.maximum(pace, 1e-9)))) > 0.02).tolist():
        run = at + 1
        following = run
        while following < len(pace) and abs(np.log(pace[following] / pace[run])) < 0.02:
            following += 1
        if quarter[min(following, len(quarter) - 1)] - quarter[run] >= least:
            starts.append(run)
    return list(zip(starts, [*starts[1:], len(pace)], strict=True))


# ---- touch -------------------------------------------------------------------------------------


def _ends(score: ScoreNotes, moved: FloatArray, length: IntArray) -> FloatArray:
    """Return the (n,) when the written length of every row is over."""
    tick = score.chord_tick
    end = score.onset_tick + length
    if len(tick) > 1:
        over = (moved[-1] - moved[0]) / (tick[-1] - tick[0])
    else:
        over = float(score.piece.tempo.distance_ms(0, score.division)) / score.division
    found = np.interp(end, tick, moved)
    last = np.maximum(end - tick[-1], 0)
    beyond = score.piece.tempo.distance_ms(np.full(len(end), tick[-1]), tick[-1] + last)
    by_pace = last * over
    # Behind the last chord the written time holds, unless the tempo was far from it.
    far = abs(np.log(max(by_pace.sum(), 1e-9) / max(float(beyond.sum()), 1e-9))) > 0.3
    extended: FloatArray = found + (by_pace if far and last.any() else beyond)
    return extended


def _touched(
    score: ScoreNotes,
    marks: NoteMarks | None,
    onset: FloatArray,
    duration: FloatArray,
    moved: FloatArray,
) -> FloatArray:
    """Return (n,) durations that obey touch, slurs and rolls, and end near the written end."""
    length = score.duration_tick
    if marks is not None:
        on_page = np.rint(marks.written * score.division).astype(np.int64)
        length = np.where(marks.touch == PLAIN, length, np.maximum(on_page, 1))
    end = _ends(score, moved, length)
    room = np.maximum(end - moved[score.chord], 1.0)
    longest = np.where(room > _RING_FROM_MS, room * _RING + 60.0, np.inf)
    duration = np.minimum(duration, longest)
    if marks is None:
        return np.maximum(duration, 1.0)
    free = ~marks.exempt
    for touch, (low, high) in _TOUCH.items():
        rows = free & (marks.touch == touch)
        duration[rows] = np.clip(duration[rows], low * room[rows], high * room[rows])
    rows = free & marks.slurred & (marks.touch != PORTATO) & (marks.touch != STACCATO)
    rows &= marks.touch != STACCATISSIMO
    duration[rows] = np.maximum(duration[rows], 0.98 * room[rows])
    rows = (marks.roll >= 0) | marks.held
    rows &= (marks.touch == PLAIN) | (marks.touch == TENUTO)
    duration[rows] = np.maximum(duration[rows], end[rows] - onset[rows])
    return np.maximum(duration, 1.0)


def _rolled(
    score: ScoreNotes, marks: NoteMarks, onset: FloatArray, moved: FloatArray
) -> FloatArray:
    """Return (n,) onsets with rolled chords spread in their order."""
    rolled = marks.roll >= 0
    if not rolled.any():
        return onset
    onset = onset.copy()
    room = _ends(score, moved, score.duration_tick) - moved[score.chord]
    for number in np.unique(marks.roll[rolled]).tolist():
        rows = np.flatnonzero(marks.roll == number)
        for chord in np.unique(score.chord[rows]).tolist():
            here = rows[score.chord[rows] == chord]
            step = min(_ROLL_MS, 0.4 * float(room[here].min()) / max(len(here), 1))
            onset[here] = moved[chord] + step * marks.roll_place[here]
    return onset


# ---- loudness ----------------------------------------------------------------------------------


def _loudness(score: ScoreNotes, marks: NoteMarks | None, velocity: FloatArray) -> FloatArray:
    """Return (n,) velocities at the written levels, accents above them."""
    given = score.velocity.astype(np.float64)
    if marks is None:
        if np.ptp(given) == 0:  # one dynamic throughout
            low, high = _SAYS_NOTHING
            return velocity + 0.4 * (given - np.clip(given, low, high))
        return velocity
    known = np.isfinite(marks.level)
    if known.any():
        level = np.where(known, marks.level, np.nanmean(marks.level))
        velocity = _levelled(score, level, velocity)
    accented = marks.accent > 0
    if accented.any():
        calm = ~accented
        loud = velocity.copy()
        for row in np.flatnonzero(accented).tolist():
            near = np.abs(score.onset_tick - score.onset_tick[row]) <= 4 * score.division
            same = near & calm & (score.hand == score.hand[row])
            beside = same if same.any() else near & calm
            steps = _ACCENT * marks.accent[row]
            around = float(velocity[beside].mean()) if beside.any() else velocity[row]
            loud[row] = max(velocity[row] + steps / 2, around + steps)
        velocity = loud
    return velocity


def _levelled(score: ScoreNotes, level: FloatArray, velocity: FloatArray) -> FloatArray:
    """Return (n,) what pianists play for the levels, and the player's own nuances on top."""
    target = LEVELS[1] + _SLOPE * (level - LEVELS[0])
    out = velocity.copy()
    # One course of loudness where all staves share it, else one a staff.
    high = np.full(len(score.chord_tick), -np.inf)
    low = np.full(len(score.chord_tick), np.inf)
    np.maximum.at(high, score.chord, level)
    np.minimum.at(low, score.chord, level)
    together = bool(np.all(high - low <= 1.0))
    groups = np.zeros(len(score), np.int64) if together else score.part.astype(np.int64)
    for group in np.unique(groups).tolist():
        rows = np.flatnonzero(groups == group)
        mine = level[rows]
        for region in _regions(mine):
            here = rows[region]
            x = score.onset_quarter[here]
            slope = np.ptp(level[here]) > 1.0 and len(here) >= 4 and np.ptp(x) > 0
            fit = np.polyval(np.polyfit(x, velocity[here], 1), x) if slope else 0.0
            nuance = velocity[here] - (fit if slope else velocity[here].mean())
            if slope:  # what the player adds may not turn the way round
                half = x >= (x.min() + x.max()) / 2
                against = abs(float(nuance[half].mean() - nuance[~half].mean()))
                wanted = abs(float(target[here][half].mean() - target[here][~half].mean()))
                nuance *= min(0.5, 0.5 * wanted / max(against, 1e-6))
            out[here] = target[here] + nuance
    return out


def _regions(level: FloatArray) -> list[slice]:
    """Return rows in order, cut where the level jumps, or begins or ends to change."""
    step = np.diff(level)
    cuts = [0]
    way = 0
    for at, change in enumerate(step.tolist(), 1):
        sign = 0 if abs(change) < 1e-6 else 1 if change > 0 else -1
        if abs(change) > 12.0 or (abs(change) > _JUMP and way == 0 and sign == 0):
            cuts.append(at)
            way = 0
        elif sign != 0 and sign != way:
            if (at - 1 > cuts[-1] and way == 0) or way:
                cuts.append(at)
            way = sign
        elif sign == 0 and way and at < len(step) and np.all(np.abs(step[at - 1 : at + 7]) < 1e-6):
            cuts.append(at)
            way = 0
    return [slice(a, b) for a, b in zip(cuts, [*cuts[1:], len(level)], strict=True) if b > a]


# ---- pedal -------------------------------------------------------------------------------------


def _pedal(
    score: ScoreNotes, times: FloatArray, values: Uint8Array, moved: FloatArray
) -> tuple[FloatArray, Uint8Array]:
    """Return the pedal as marked where it is marked, the player's between."""
    marks = score.marks
    times, values = _without_dabs(times, values)
    if not marks.pedalled and not marks.dry:
        return times, values
    nominal = score.piece.tempo.ms_at(score.chord_tick)
    written = deadpan(score)
    written_ms = carried(written.pedal_ms, nominal, moved)

    def place(spans: tuple[tuple[float, float], ...]) -> list[tuple[float, float]]:
        ticks = np.array(spans, np.float64).reshape(-1, 2) * score.division
        ms = score.piece.tempo.ms_at(np.rint(ticks).astype(np.int64).ravel())
        there = carried(ms, nominal, moved).reshape(-1, 2)
        return [(float(a), float(b)) for a, b in there]

    ruled = place(marks.pedalled)
    dry = place(marks.dry)
    events = [
        (float(t), int(v))
        for t, v in zip(times, values, strict=True)
        if not any(a - 120.0 <= t <= b + 1.0 for a, b in (*ruled, *dry))
    ]
    events += [(a, 0) for a, _ in dry]
    events += [(max(a - 120.0, 0.0), 0) for a, _ in ruled if a > 120.0]
    events += [(float(t), int(v)) for t, v in zip(written_ms, written.pedal_value, strict=True)]
    events.sort(key=lambda event: event[0])
    out: list[tuple[float, int]] = []
    for at, value in events:
        if out and (value >= 64) == (out[-1][1] >= 64):
            continue
        if not out and value < 64:
            continue
        if value >= 64 and out and at - out[-1][0] < _PEDAL_UP_MS:
            at = out[-1][0] + _PEDAL_UP_MS
        out.append((max(at, out[-1][0] if out else 0.0), value))
    if out and out[-1][1] >= 64 and len(written_ms):
        out.append((max(out[-1][0] + 1.0, float(moved[-1]) + 1000.0), 0))
    return (
        np.array([at for at, _ in out], np.float64),
        np.array([value for _, value in out], np.uint8),
    )


def _without_dabs(times: FloatArray, values: Uint8Array) -> tuple[FloatArray, Uint8Array]:
    """Return the pedal without presses that are over before a foot could make them."""
    down = values >= 64
    edge = np.flatnonzero(np.diff(down, prepend=False))  # presses and releases in turn
    presses, releases = edge[: len(edge) // 2 * 2 : 2], edge[1::2]
    keep = np.ones(len(values), bool)
    for press, release in zip(presses.tolist(), releases.tolist(), strict=True):
        if times[release] - times[press] < _SHORTEST_PEDAL_MS:
            keep[press : release + 1] = False
    return times[keep], values[keep]
