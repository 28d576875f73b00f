"""Performance rules: an expressive reading by formula, without a trained model.

The classic rules of the KTH group, after A. Friberg, R. Bresin and J. Sundberg, "Overview of the
KTH rule system for musical performance", Advances in Cognitive Psychology 2 (2006), as far as they
apply to a MIDI score:

=================  ===============================================================================
phrase arch        slower and softer at both ends of a phrase, most at its last (Friberg 1995)
final ritardando   the last bars slow down like a runner who stops (Friberg and Sundberg 1999)
high loud          higher is louder
melodic charge     melody notes far from their harmony on the circle of fifths are stressed
duration contrast  short notes become shorter and softer, long ones longer (Friberg 1991)
punctuation        a small breath before a new gesture: its last note longer, then let go early
repetition         a key struck again at once is let go early (Bresin 2001)
noise              small deviations of the hand; the seed decides them
=================  ===============================================================================

Phrases are not written in MIDI: they are cut at bar lines, where the melody pauses, preferably
every four bars. Beyond the rules, what is known of pianists: the melody is louder than what lies
below it, the music louder where the melody is high and where many notes sound, bars have a small
arch of their own, and the pedal is changed with the harmony, just after its first note (syncopated
pedal). The strength of each rule was fitted to performances of the ASAP training set.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from arietta.arrays import BoolArray, FloatArray, IntArray
from arietta.errors import UsageError
from arietta.notation.score_notes import PerformedNotes, ScoreNotes, deadpan

_LOUDNESS = 3.0  # velocity steps a decibel, in the middle of a piano's range
_FIFTHS = (np.arange(12) * 7) % 12  # pitch class -> place on the circle of fifths
# How charged a tone is over the root of its harmony, by steps on the circle of fifths (0..11):
# Sundberg, Friberg and Frydén 1991; towards the flat side more than towards the sharp one.
_CHARGE = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 6.5, 5.5, 4.5, 3.5, 2.5])
_BREAK_MS = 15.0  # two strokes of a key need at least this much between them
_PEDAL_UP_MS, _PEDAL_DOWN_MS = 20.0, 110.0  # after the onset that the pedal is changed for


@dataclass(frozen=True)
class Strengths:
    """How strongly each rule is applied; 0 leaves it out.

    Attributes:
        phrase_tempo, phrase_level: slowing (share) and softening (dB) at a phrase's ends.
        bar_tempo: the same slowing for single bars.
        ritardando: speed lost at the end of the piece, 0..1.
        high_loud: dB an octave.
        charge_level, charge_time: dB, and lengthening (share), of the most charged melody note.
        contrast_level: dB that the shortest notes lose.
        contrast_time: lengthening (share) of long against short notes.
        punctuation: lengthening (share) of the last melody note before a new gesture.
        repetition: share of a repeated note's length that is let go.
        melody_level: dB of the upper voice over the others.
        contour_level: dB of everything for an octave that the melody is above its mean.
        texture_level: dB of everything for twice the notes in a beat.
        marks: share of the score's own dynamics that is kept.
        legato: factor on written lengths.
        noise_time, noise_level, noise_length: standard deviations: ms within a chord, velocity
            steps, logarithm of the length.
        level: mean velocity.
        pedal: 0: no pedal; 1: changed with the harmony.
    """

    phrase_tempo: float = 0.03
    phrase_level: float = 0.5
    bar_tempo: float = 0.05
    ritardando: float = 0.75
    high_loud: float = 0.75
    charge_level: float = 2.0
    charge_time: float = 0.01
    contrast_level: float = 1.0
    contrast_time: float = 0.01
    punctuation: float = 0.03
    repetition: float = 0.5
    melody_level: float = 3.0
    contour_level: float = 1.5
    texture_level: float = 2.0
    marks: float = 0.6
    legato: float = 0.8
    noise_time: float = 12.0
    noise_level: float = 4.0
    noise_length: float = 0.2
    level: float = 62.0
    pedal: float = 1.0

    def __post_init__(self) -> None:
        for item in fields(self):
            if not np.isfinite(getattr(self, item.name)):
                raise UsageError(f"rule {item.name}: {getattr(self, item.name)} is no strength")


@dataclass(frozen=True)
class RuleRenderer:
    """Plays scores by rule.

    Attributes:
        strengths: of the rules.
        seed: of the hand's small deviations; the rest is the same every time.
    """

    strengths: Strengths = Strengths()
    seed: int = 0

    def perform(self, score: ScoreNotes) -> PerformedNotes:
        """One performance of every note of a score."""
        s = self.strengths
        rng = np.random.default_rng(self.seed)
        n = len(score)
        melody = _outer(score, 1)
        voice = _Voice(score, melody)
        phrases = _phrases(score, voice)
        charge = _melodic_charge(score, melody)
        tempo = _tempo(score, voice, phrases, charge, s)
        at = np.concatenate(
            ([score.onset_ms[0]], np.diff(score.piece.tempo.ms_at(score.chord_tick)))
        )
        times = np.cumsum(at * np.concatenate(([1.0], np.exp(tempo))))
        onset = times[score.chord] + _spread(score, rng.normal(0, s.noise_time, n))
        # The first note stays where the score has it, and nothing comes before the beginning.
        onset = np.maximum(onset, 0.0)
        decibels = (
            s.high_loud * (score.pitch - 60.0) / 12
            + s.melody_level * melody
            + s.charge_level * charge / _CHARGE.max()
            + s.contour_level
            * np.interp(score.chord, voice.chord, voice.pitch - voice.pitch.mean())
            / 12
            + s.texture_level * _texture(score)
            - s.contrast_level * _shortness(score)
            - s.phrase_level * _arch(score.onset_tick, phrases)
        )
        decibels -= decibels.mean()
        marks = score.velocity - score.velocity.mean()
        velocity = s.level + s.marks * marks + _LOUDNESS * decibels
        velocity += rng.normal(0, s.noise_level, n)
        duration = _lengths(score, times, voice, s) * np.exp(rng.normal(0, s.noise_length, n))
        duration = _let_go(score, onset, np.maximum(duration, 20.0))
        pedal_ms, pedal_value = _pedal(score, times) if s.pedal > 0 else (np.zeros(0), np.zeros(0))
        return PerformedNotes(
            onset,
            duration,
            np.clip(np.rint(velocity), 1, 127).astype(np.uint8),
            pedal_ms,
            pedal_value.astype(np.uint8),
            (("renderer", "rules"), ("seed", str(self.seed))),
        )


class _Voice:
    """The melody as one line: a note for each of its chords.

    Attributes:
        chord: (m,) the chords it has a note in.
        tick, pitch: (m,) of these notes.
        gap: (m,) ticks to the next one; its own length for the last.
        breath: (m,) how much of a pause follows: the gap against those around it, log 2, plus the
            leap to the next note in octaves.
    """

    def __init__(self, score: ScoreNotes, melody: BoolArray) -> None:
        rows = np.flatnonzero(melody)
        self.chord = score.chord[rows]
        self.tick = score.onset_tick[rows]
        self.pitch = score.pitch[rows].astype(np.float64)
        last = max(int(score.duration_tick[rows[-1]]), 1)
        self.gap = np.append(np.diff(self.tick), last).astype(np.float64)
        width = min(9, len(rows))
        around = np.convolve(self.gap, np.ones(width), "same") / np.convolve(
            np.ones(len(rows)), np.ones(width), "same"
        )
        leap = np.append(np.abs(np.diff(self.pitch)), 0.0) / 12
        self.breath = np.maximum(np.log2(self.gap / around), 0) + np.minimum(leap, 1.5) / 2

    def height(self, score: ScoreNotes) -> FloatArray:
        """Return the (n,) octaves of the melody over its mean at each row."""
        above = (self.pitch - self.pitch.mean()) / 12
        found: FloatArray = np.interp(score.chord, self.chord, above)
        return found


def _outer(score: ScoreNotes, side: int) -> BoolArray:
    """Return (n,) whether a row belongs to the highest voice (1) or the lowest (-1).

    That is the outermost note of a chord, unless one further out is still held.
    """
    inside = np.zeros(len(score), bool)
    ends = np.append(np.flatnonzero(np.diff(score.chord)), len(score) - 1)
    rows = ends if side > 0 else np.append(0, ends[:-1] + 1)
    held_until, held_pitch = -1, -side * 999
    for row in rows.tolist():
        tick, pitch = int(score.onset_tick[row]), int(score.pitch[row])
        if tick >= held_until or side * (pitch - held_pitch) >= -2:
            inside[row] = True
            held_until, held_pitch = int(tick + score.duration_tick[row]), pitch
    return inside


def _phrases(score: ScoreNotes, voice: _Voice) -> IntArray:
    """Return (p + 1,) ticks where phrases begin, and the end.

    The cheapest cut at bar lines: a phrase of four bars costs nothing, others the square of their
    octaves from it; a breath of the melody before the line pays.
    """
    bars = score.bar_tick
    end = int(score.offset_tick.max())
    lines = np.append(bars, max(end, int(bars[-1]) + 1))
    before = np.searchsorted(voice.tick, bars, side="left") - 1
    breath = np.where(before >= 0, voice.breath[np.maximum(before, 0)], 0.0)
    # Bars that nothing happens in, as in a hostile file, need no phrases of their own.
    best = np.full(len(lines), np.inf)
    best[0] = 0.0
    came = np.zeros(len(lines), np.int64)
    for j in range(1, len(lines)):
        low = max(0, j - 12)
        length = j - np.arange(low, j)
        cost = best[low:j] + np.log2(length / 4) ** 2
        i = int(np.argmin(cost))
        best[j], came[j] = cost[i] - (breath[j] if j < len(bars) else 0.0), low + i
    cuts = [len(lines) - 1]
    while cuts[-1]:
        cuts.append(int(came[cuts[-1]]))
    return lines[cuts[::-1]]


def _arch(tick: IntArray, cuts: IntArray) -> FloatArray:
    """Return (k,) 0 in the middle of a stretch, 1/2 at its beginning, 1 at its end, by squares."""
    i = np.clip(np.searchsorted(cuts, tick, side="right") - 1, 0, len(cuts) - 2)
    x = (tick - cuts[i]) / np.maximum(cuts[i + 1] - cuts[i], 1)
    ends: FloatArray = np.where(x < 0.5, 0.5, 1.0) * (2 * np.clip(x, 0, 1) - 1) ** 2
    return ends


def _shortness(score: ScoreNotes) -> FloatArray:
    """Return (n,) 1 for the shortest notes to 0 from 600 ms on (duration contrast's range)."""
    return 1 - np.clip(score.duration_ms, 30, 600) / 600


def _spread(score: ScoreNotes, noise: FloatArray) -> FloatArray:
    """Return (n,) noise without its mean in each chord: hands spread chords only."""
    mean = np.bincount(score.chord, noise) / np.bincount(score.chord)
    apart: FloatArray = noise - mean[score.chord]
    return apart


def _texture(score: ScoreNotes) -> FloatArray:
    """Return (n,) logarithms (2) of the notes a beat around each row, four beats to either side."""
    reach = 4 * score.division
    first = np.searchsorted(score.onset_tick, score.onset_tick - reach)
    last = np.searchsorted(score.onset_tick, score.onset_tick + reach, side="right")
    return np.log2((last - first) / 8)


def _melodic_charge(score: ScoreNotes, melody: BoolArray) -> FloatArray:
    """Return the (n,) charge of melody notes over the root of their half bar; 0 for others."""
    window = _half_bar(score)
    weights = np.zeros((int(window.max()) + 1, 12))
    np.add.at(weights, (window, score.pitch % 12), np.minimum(score.duration_quarter, 4.0))
    # Root by the best triad, major or minor.
    roots = np.arange(12)
    fit = (
        np.maximum(
            *(
                weights
                @ np.stack(
                    [(np.isin(np.arange(12), (r + np.array(t)) % 12)) for r in roots], axis=1
                )
                for t in ((0, 4, 7), (0, 3, 7))
            )
        )
        + 0.5 * weights
    )
    root = np.argmax(fit, axis=1)[window]
    steps = (_FIFTHS[score.pitch % 12] - _FIFTHS[root]) % 12
    return np.where(melody, _CHARGE[steps], 0.0)


def _half_bar(score: ScoreNotes) -> IntArray:
    """Return the (n,) number of the half bar a row begins in."""
    bars = score.bar_tick
    ends = np.append(bars[1:], max(int(score.offset_tick.max()), int(bars[-1]) + 1))
    i = score.bar - 1
    second = score.onset_tick >= (bars[i] + ends[i]) / 2
    numbers: IntArray = np.unique(2 * i + second, return_inverse=True)[1]
    return numbers


def _tempo(
    score: ScoreNotes, voice: _Voice, phrases: IntArray, charge: FloatArray, s: Strengths
) -> FloatArray:
    """Return the (k - 1,) logarithm of the lengthening of every span between chords."""
    tick = score.chord_tick
    slow = s.phrase_tempo * _arch(tick, phrases)
    bars = np.append(score.bar_tick, int(score.offset_tick.max()) + 1)
    slow += s.bar_tempo * _arch(tick, bars)
    local = np.zeros(len(tick))
    local[voice.chord] += s.punctuation * np.minimum(voice.breath, 2.0) / 2
    np.maximum.at(local, score.chord, s.charge_time * charge / _CHARGE.max())
    gap = voice.gap
    ratio = np.log2(gap / np.median(gap))
    local[voice.chord] += s.contrast_time * np.clip(ratio, -2, 2) / 2
    # A melody note lengthens every span until the next one.
    chords = np.arange(len(tick))
    owner = np.maximum.accumulate(np.where(np.isin(chords, voice.chord), chords, 0))
    slow += local[owner]
    slow -= np.average(slow, weights=np.append(np.diff(tick), 0) + 1e-9)
    return (slow + _ritardando(score, s.ritardando))[:-1]


def _ritardando(score: ScoreNotes, lost: float) -> FloatArray:
    """Return (k,) logarithms of the slowing over the last two bars: v³ falls linearly."""
    tick = score.chord_tick
    bars = score.bar_tick
    start = int(bars[max(len(bars) - 2, 0)])
    end = max(int(score.offset_tick.max()), start + 1)
    if start == 0 or end == start:
        return np.zeros(len(tick))
    x = np.clip((tick - start) / (end - start), 0, 1)
    final = max(1 - lost, 0.1)
    return -np.log(1 + (final**3 - 1) * x) / 3


def _lengths(score: ScoreNotes, times: FloatArray, voice: _Voice, s: Strengths) -> FloatArray:
    """Return the (n,) key-down times in the new tempo: written length, breaths and repetitions."""
    tick = score.chord_tick
    end = np.interp(score.offset_tick, tick, times)
    # Beyond the last chord the tempo of the last span holds.
    if len(tick) > 1:
        pace = (times[-1] - times[-2]) / (tick[-1] - tick[-2])
    else:
        pace = float(score.duration_ms[0] / score.duration_tick[0])
    over = np.maximum(score.offset_tick - tick[-1], 0)
    duration = (end + over * pace - times[score.chord]) * s.legato
    # The last note of a gesture is let go early.
    last = np.zeros(len(tick))
    last[voice.chord] = np.minimum(voice.breath, 2.0) / 2
    duration *= 1 - s.punctuation * last[score.chord]
    duration *= 1 - s.repetition * _repeated(score)
    longer: FloatArray = np.maximum(duration, 1.0)
    return longer


def _repeated(score: ScoreNotes) -> BoolArray:
    """Return (n,) whether the same key comes again as soon as the note ends."""
    order = np.lexsort((score.onset_tick, score.pitch))
    again = np.zeros(len(score), bool)
    here, after = order[:-1], order[1:]
    close = score.onset_tick[after] - score.offset_tick[here] <= score.division // 8
    again[here] = (score.pitch[here] == score.pitch[after]) & close
    return again


def _let_go(score: ScoreNotes, onset: FloatArray, duration: FloatArray) -> FloatArray:
    """Return (n,) durations under which a key is up before it is struck again."""
    order = np.lexsort((onset, score.pitch))
    here, after = order[:-1], order[1:]
    room = np.where(
        score.pitch[here] == score.pitch[after], onset[after] - onset[here] - _BREAK_MS, np.inf
    )
    duration[here] = np.minimum(duration[here], np.maximum(room, 1.0))
    return duration


def _pedal(score: ScoreNotes, times: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return times and values of the pedal: the score's marks, or a change with every new bass."""
    written = deadpan(score)
    if len(written.pedal_ms):
        nominal = score.piece.tempo.ms_at(score.chord_tick)
        moved = np.interp(written.pedal_ms, nominal, times)
        moved += np.maximum(written.pedal_ms - nominal[-1], 0)
        return np.maximum.accumulate(moved), written.pedal_value.astype(np.float64)
    # A new harmony: the bass has another name, or another bar begins.
    bass = np.flatnonzero(_outer(score, -1))
    name = score.pitch[bass].astype(np.int64) % 12
    new = (np.diff(name, prepend=-1) != 0) | (np.diff(score.bar[bass], prepend=0) != 0)
    change = times[score.chord[bass[new]]]
    change = change[np.append(True, np.diff(change) > _PEDAL_DOWN_MS + 20)]
    end = float(times[-1]) + float(score.duration_ms[-1])
    when = np.stack((change + _PEDAL_UP_MS, change + _PEDAL_DOWN_MS), axis=1).reshape(-1)
    value = np.tile([0.0, 127.0], len(change))
    return np.append(when[1:], max(end, float(when[-1]) + 1)), np.append(value[1:], 0.0)
