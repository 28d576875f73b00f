"""How performances of scores compare with those of people.

Two families. *Distributions*: the public measures of the Pianist Transformer (arXiv 2512.02652,
specification, section 6), exactly: histograms of four features, pooled over all pairs of a
rendering and a human take. They know nothing of notes, so that a person who plays another piece
beats every model; they serve to compare with published figures. *Aligned*: how well single notes
agree with a person's, beside how well other people's do, which is the ceiling.

A ``Take`` is a performance with what either family needs of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from arietta.arrays import FloatArray, IntArray
from arietta.data.pairs import Played
from arietta.midi.merged import MergedNotes
from arietta.midi.piece import Piece
from arietta.notation.score_notes import PerformedNotes, ScoreNotes, deadpan
from arietta.tokenizers.pianist import PEDAL, SLOTS, columns_of, ids_of_columns

FEATURES = ("velocity", "duration", "ioi", "pedal")
ALIGNED = ("velocity", "tempo", "articulation")

_MAX_DURATION_MS, _MAX_IOI_MS = 500, 200
_EPSILON = 1e-10

MIN_GAP_MS = 5.0
"""Chords that are played closer together say nothing about the tempo."""

_SWING_QUARTERS = 4.0
_CONSTANT = 1e-6
_MIN_NOTES = 10  # a correlation of fewer means nothing
_MAX_HUMAN_PAIRS = 25  # of one piece, so that the piece with sixteen takes is not half the sum


# ---- distributions -----------------------------------------------------------------------------

Histograms = Mapping[str, IntArray]
"""Feature -> counts: velocity (128,), duration (250,) of 2 ms, ioi (200,) of 1 ms, pedal (16,)."""


def histograms(notes: MergedNotes) -> dict[str, IntArray]:
    """Return the counts of one file; durations from 500 ms and gaps from 200 ms on are left out.

    Pedal: the four samples of a note, down or up, read as a number; the first is worth 8.
    """
    duration = notes.offset_ms - notes.onset_ms
    ioi = np.diff(notes.onset_ms)
    samples = ids_of_columns(columns_of(notes)).reshape(-1, SLOTS)[:, 4:] - PEDAL
    pattern = (samples >= 64) @ np.array([8, 4, 2, 1])
    counts = (
        np.bincount(notes.velocity, minlength=128),
        np.bincount(duration[duration < _MAX_DURATION_MS] // 2, minlength=_MAX_DURATION_MS // 2),
        np.bincount(ioi[ioi < _MAX_IOI_MS], minlength=_MAX_IOI_MS),
        np.bincount(pattern, minlength=16),
    )
    return dict(zip(FEATURES, counts, strict=True))


class Distance(NamedTuple):
    """How far two distributions are apart.

    Attributes:
        distance: Jensen-Shannon distance, base 2, 0..1; published as "JS divergence".
        divergence: its square, the divergence.
        intersection: common share, 0..1.
    """

    distance: float
    divergence: float
    intersection: float


def distance(p: npt.ArrayLike, q: npt.ArrayLike) -> Distance:
    """Two histograms compared, with the public script's smoothing."""
    a, b = (np.asarray(h, np.float64) / max(np.sum(h), 1) + _EPSILON for h in (p, q))
    common = float(np.minimum(a, b).sum())
    a, b = a / a.sum(), b / b.sum()
    middle = (a + b) / 2
    divergence = float((a * np.log2(a / middle) + b * np.log2(b / middle)).sum() / 2)
    return Distance(max(divergence, 0.0) ** 0.5, max(divergence, 0.0), common)


def distribution_table(pairs: Iterable[tuple[Histograms, Histograms]]) -> dict[str, Distance]:
    """Distances by feature and ``overall`` (their mean) of (prediction, human take) pairs.

    The counts of all pairs are pooled, so that a prediction counts once for every take of it.
    """
    sums: dict[str, list[IntArray]] = {}
    for predicted, human in pairs:
        for name in FEATURES:
            both = sums.setdefault(name, [np.zeros_like(predicted[name])] * 2)
            sums[name] = [both[0] + predicted[name], both[1] + human[name]]
    table = {name: distance(*both) for name, both in sums.items()}
    table["overall"] = Distance(*(float(x) for x in np.mean(list(table.values()), axis=0)))
    return table


# ---- aligned -----------------------------------------------------------------------------------


class Agreement(NamedTuple):
    """Pearson correlations of two performances of the same rows.

    Where only the first never varies it is 0: it agrees with nobody. NaN where the other does not
    vary either, or there are too few notes.

    Attributes:
        velocity: of the notes' velocities.
        tempo: of the logarithm of time per written span between successive chords.
        articulation: of the logarithm of key-down time per time to the next chord.
    """

    velocity: float
    tempo: float
    articulation: float


def agreement(onset_tick: npt.ArrayLike, one: Played, other: Played) -> Agreement:
    """How alike two performances of a score are, over the rows both play.

    A chord is the rows of one written onset, played at the mean of theirs; gaps of no more than
    ``MIN_GAP_MS`` are left out.

    Args:
        onset_tick: (n,) written onsets, any unit.
        one, other: what is played of these rows.
    """
    both = np.isfinite(one.onset_ms) & np.isfinite(other.onset_ms)
    chord_tick, chord = np.unique(np.asarray(onset_tick)[both], return_inverse=True)
    tempos, articulations = [], []
    for played in (one, other):
        if len(chord_tick) < 2:
            return Agreement(np.nan, np.nan, np.nan)
        onset = np.bincount(chord, played.onset_ms[both]) / np.bincount(chord)
        gap = np.diff(onset)
        gap[gap <= MIN_GAP_MS] = np.nan
        tempos.append(np.log(gap / np.diff(chord_tick)))
        length = np.maximum(played.duration_ms[both], 1.0)
        articulations.append(np.log(length / np.append(gap, np.nan)[chord]))
    return Agreement(
        correlation(one.velocity[both], other.velocity[both]),
        correlation(*tempos),
        correlation(*articulations),
    )


def correlation(x: FloatArray, y: FloatArray) -> float:
    """Pearson's r over the places where both are known; 0 or NaN as ``Agreement`` says."""
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    # A steady tempo is not quite constant in floating point.
    if len(x) < _MIN_NOTES or y.std() < _CONSTANT:
        return float("nan")
    if x.std() < _CONSTANT:
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])


class Size(NamedTuple):
    """How large the liberties of a performance are; NaN where there is nothing to measure.

    Attributes:
        tempo: standard deviation of the logarithm of local tempo around its mean.
        swing: the same of its means over four quarters.
        voicing: velocity steps of the top key over the mean of the other keys of a chord.
    """

    tempo: float
    swing: float
    voicing: float


def size(score: ScoreNotes, played: Played) -> Size:
    """Return the liberties of one performance."""
    tempo = local_tempo(score.onset_tick, played)
    quarter = score.chord_tick[:-1] / score.division
    known = np.isfinite(tempo)
    if np.count_nonzero(known) < _MIN_NOTES:
        return Size(np.nan, np.nan, np.nan)
    window = (quarter[known] // _SWING_QUARTERS).astype(np.int64)
    length = np.diff(score.chord_tick)[known].astype(np.float64)
    weight = np.bincount(window, length)
    means = np.bincount(window, tempo[known] * length)[weight > 0] / weight[weight > 0]
    return Size(float(tempo[known].std()), float(means.std()), _voicing(score, played))


def local_tempo(onset_tick: npt.ArrayLike, played: Played) -> FloatArray:
    """(k - 1,) logarithm of time per tick between the chords of a score, NaN where not known."""
    chord_tick, chord = np.unique(np.asarray(onset_tick), return_inverse=True)
    there = np.isfinite(played.onset_ms)
    k = len(chord_tick)
    with np.errstate(invalid="ignore", divide="ignore"):
        total: FloatArray = np.bincount(chord[there], played.onset_ms[there], k).astype(np.float64)
        onset = total / np.bincount(chord[there], minlength=k)
        gap = np.diff(onset)
        gap[~(gap > MIN_GAP_MS)] = np.nan
        found: FloatArray = np.log(gap / np.diff(chord_tick))
    return found


def tempo_error(score: ScoreNotes, one: Played, other: Played) -> tuple[float, float]:
    """Root mean square difference of log tempo around its mean, and that of a metronome."""
    a, b = (local_tempo(score.onset_tick, played) for played in (one, other))
    known = np.isfinite(a) & np.isfinite(b)
    if np.count_nonzero(known) < _MIN_NOTES:
        return np.nan, np.nan
    a, b = a[known] - a[known].mean(), b[known] - b[known].mean()
    return float(np.sqrt(np.mean((a - b) ** 2))), float(b.std())


def _voicing(score: ScoreNotes, played: Played) -> float:
    known = np.flatnonzero(np.isfinite(played.velocity))
    chord, velocity = score.chord[known], played.velocity[known]
    if not len(known):
        return float("nan")
    last = np.append(np.flatnonzero(np.diff(chord)), len(chord) - 1)
    count = np.bincount(chord)[chord[last]]
    total = np.bincount(chord, velocity)[chord[last]]
    several = count > 1
    top = velocity[last][several]
    rest = (total[several] - top) / (count[several] - 1)
    return float(np.mean(top - rest)) if several.any() else float("nan")


def short_pedals(performed: PerformedNotes) -> float:
    """Share of the times that the pedal is down that last under a tenth of a second."""
    down = performed.pedal_value >= 64
    change = np.flatnonzero(np.diff(down, prepend=False))
    times = performed.pedal_ms[change]
    lasts = np.diff(times)[down[change][:-1]] if len(times) > 1 else np.zeros(0)
    return float(np.mean(lasts < 100.0)) if len(lasts) else float("nan")


def played_rows(score: ScoreNotes, performed: PerformedNotes) -> Played:
    """Return a performance that has a row for every row of the score."""
    performed.check(score)
    return Played(performed.onset_ms, performed.duration_ms, performed.velocity.astype(np.float64))


def match_rendering(score: ScoreNotes, piece: Piece) -> Played:
    """Which row of the score each note of a rendering is, where the file does not say.

    A rendering plays the notes of a score in their order, so the strokes of a key are those of its
    rows one by one. Where their numbers differ (some programs drop a note), the pairing with the
    least difference in time is taken and the rest left open.

    Args:
        score: what is rendered.
        piece: the rendering, as read.

    Raises:
        InputError: it has no notes.
    """
    heard = ScoreNotes.from_piece(piece)  # unisons once, keys up before they go down again
    rows, strokes = [], []
    for pitch in np.unique(score.pitch):
        mine, theirs = np.flatnonzero(score.pitch == pitch), np.flatnonzero(heard.pitch == pitch)
        if len(mine) == len(theirs):
            rows.append(mine)
            strokes.append(theirs)
    due = score.onset_ms
    if rows:
        at = np.concatenate(rows)
        order = np.argsort(at)
        times = heard.onset_ms[np.concatenate(strokes)][order]
        due = np.interp(np.arange(len(score)), at[order], times)
    for pitch in np.unique(score.pitch):
        mine, theirs = np.flatnonzero(score.pitch == pitch), np.flatnonzero(heard.pitch == pitch)
        if len(mine) != len(theirs):
            mine, theirs = _pair_up(mine, theirs, due[mine], heard.onset_ms[theirs])
            rows.append(mine)
            strokes.append(theirs)
    row, stroke = np.concatenate(rows), np.concatenate(strokes)
    columns = np.full((3, len(score)), np.nan)
    columns[:, row] = [
        values[stroke] for values in (heard.onset_ms, heard.duration_ms, heard.velocity)
    ]
    return Played(*columns)


def _pair_up(
    rows: IntArray, strokes: IntArray, due: FloatArray, heard: FloatArray
) -> tuple[IntArray, IntArray]:
    """Return the cheapest pairing of two sequences in order, all of the shorter one used."""
    if len(rows) > len(strokes):
        strokes, rows = _pair_up(strokes, rows, heard, due)
        return rows, strokes
    few, many = len(rows), len(strokes)
    cost = np.full((few + 1, many + 1), np.inf)
    cost[0] = 0.0
    for i in range(1, few + 1):
        for j in range(i, many + 1):
            cost[i, j] = min(cost[i, j - 1], cost[i - 1, j - 1] + abs(due[i - 1] - heard[j - 1]))
    taken, j = [], many
    for i in range(few, 0, -1):
        while j > i and cost[i, j] == cost[i, j - 1]:
            j -= 1
        taken.append(j - 1)
        j -= 1
    return rows, strokes[taken[::-1]]


# ---- a test set --------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class HumanTake:
    """One person's performance.

    Attributes:
        name: of its file.
        key: equal for byte-identical files.
        counts: see ``histograms``.
        played: in the rows of the score; None where no alignment, or no good one, is known.
    """

    name: str
    key: str
    counts: Histograms
    played: Played | None = None


@dataclass(frozen=True, eq=False)
class TestPiece:
    """A score of a test set with its human takes.

    Attributes:
        name: of the piece.
        score: its notes.
        written: ``histograms`` of the score as it stands in its file.
        takes: all of them, copies included.
    """

    __test__ = False  # a class for pytest otherwise

    name: str
    score: ScoreNotes
    written: Histograms
    takes: tuple[HumanTake, ...]

    def as_written(self) -> Rendering:
        """Return the score as if somebody played it just so."""
        return Rendering(self.written, played_rows(self.score, deadpan(self.score)))

    def distinct(self) -> list[HumanTake]:
        """Return the takes without copies of one file."""
        return list({take.key: take for take in reversed(self.takes)}.values())[::-1]


class Rendering(NamedTuple):
    """A performance to be judged: its distributions, and its rows where they are known."""

    counts: Histograms
    played: Played | None


def evaluate(
    pieces: Sequence[TestPiece], rendered: Mapping[str, Sequence[Rendering]]
) -> dict[str, Any]:
    """Figures of one system on a test set.

    Args:
        pieces: the test set.
        rendered: by name of piece; several renderings of one are averaged in the aligned measures
            and pooled in the distributions.

    Returns:
        ``files`` and ``distinct``: feature -> distance, divergence, intersection, over all takes
        and without copies; ``aligned``: measure -> mean over takes, then pieces, with ``pieces``
        and ``takes`` counted; ``by_piece`` of the aligned ones.
    """
    here = [piece for piece in pieces if rendered.get(piece.name)]
    figures: dict[str, Any] = {"pieces": len(here)}
    for weight, takes_of in _WEIGHTS.items():
        figures[weight] = {
            name: row._asdict()
            for name, row in distribution_table(
                (one.counts, take.counts)
                for piece in here
                for one in rendered[piece.name]
                for take in takes_of(piece)
            ).items()
        }
    by_piece = {
        piece.name: [
            agreement(piece.score.onset_tick, one.played, take.played)
            for one in rendered[piece.name]
            for take in piece.distinct()
            if one.played is not None and take.played is not None
        ]
        for piece in here
    }
    figures["aligned"], figures["by_piece"] = _mean_by_piece(by_piece)
    figures["sizes"] = sizes(here, rendered)
    figures["between_takes"] = between_takes(here, rendered)
    return figures


def sizes(
    pieces: Sequence[TestPiece], rendered: Mapping[str, Sequence[Rendering]]
) -> dict[str, float | None]:
    """How large a system's liberties are beside people's: medians over pieces.

    Returns:
        ``tempo_error`` and ``metronome_error``: see ``tempo_error``, mean over takes;
        ``tempo_ratio`` and ``swing_ratio``: spread over the mean of people's; ``voicing`` and
        ``human_voicing`` in velocity steps.
    """
    rows: list[list[float]] = []
    for piece in pieces:
        ours = [one.played for one in rendered[piece.name] if one.played is not None]
        people = [take.played for take in piece.distinct() if take.played is not None]
        if not ours or not people:
            continue
        errors = [tempo_error(piece.score, one, take) for one in ours for take in people]
        mine = np.array([size(piece.score, one) for one in ours])
        theirs = np.array([size(piece.score, take) for take in people])
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = mine.mean(axis=0) / theirs.mean(axis=0)
        rows.append(
            [
                *np.mean(errors, axis=0).tolist(),
                float(ratio[0]),
                float(ratio[1]),
                float(mine[:, 2].mean()),
                float(theirs[:, 2].mean()),
            ]
        )
    names = ("tempo_error", "metronome_error", "tempo_ratio", "swing_ratio", "voicing")
    columns = zip((*names, "human_voicing"), np.array(rows).reshape(-1, 6).T, strict=True)
    return {
        name: _or_none(float(np.nanmedian(column))) if np.isfinite(column).any() else None
        for name, column in columns
    }


def between_takes(
    pieces: Sequence[TestPiece], rendered: Mapping[str, Sequence[Rendering]]
) -> dict[str, Any]:
    """How alike two takes of one system are, as ``aligned`` of ``evaluate``."""
    by_piece = {
        piece.name: [
            agreement(piece.score.onset_tick, a, b)
            for a, b in combinations([r.played for r in rendered[piece.name] if r.played], 2)
        ]
        for piece in pieces
    }
    return _mean_by_piece(by_piece)[0]


_WEIGHTS: dict[str, Callable[[TestPiece], Sequence[HumanTake]]] = {
    "files": lambda piece: piece.takes,
    "distinct": TestPiece.distinct,
}


def evaluate_humans(
    pieces: Sequence[TestPiece], *, draws: int = 200, seed: int = 0
) -> dict[str, Any]:
    """Return the ceiling: one person judged by the others, and what a wrong piece gets.

    Args:
        pieces: the test set; those with one distinct take count in ``other_piece`` alone.
        draws: how often a take of each piece is drawn as the prediction.
        seed: of the draws.

    Returns:
        ``distinct``: mean over draws of the distributions; ``other_piece``: the same where the
        takes of another piece play the prediction, over all shifts of the pieces; ``aligned`` and
        ``by_piece`` as in ``evaluate``, over pairs of takes; ``leave_one_out``: the mean of all
        other takes of a piece as the prediction, which is what no single person reaches.
    """
    rng = np.random.default_rng(seed)
    several = [piece for piece in pieces if len(piece.distinct()) > 1]
    drawn: list[dict[str, Distance]] = []
    for _ in range(draws if several else 0):
        pairs: list[tuple[Histograms, Histograms]] = []
        for piece in several:
            takes = piece.distinct()
            one = int(rng.integers(len(takes)))
            pairs += [(takes[one].counts, t.counts) for t in takes[:one] + takes[one + 1 :]]
        drawn.append(distribution_table(pairs))
    shifted = [
        distribution_table(
            (pieces[(number + shift) % len(pieces)].distinct()[0].counts, take.counts)
            for number, piece in enumerate(pieces)
            for take in piece.distinct()
        )
        for shift in range(1, len(pieces))
    ]
    by_piece = {
        piece.name: [
            agreement(piece.score.onset_tick, a, b)
            for a, b in islice(
                combinations([t.played for t in piece.distinct() if t.played], 2), _MAX_HUMAN_PAIRS
            )
        ]
        for piece in pieces
    }
    left_out = {piece.name: _against_the_rest(piece) for piece in pieces}
    aligned, rows = _mean_by_piece(by_piece)
    return {
        "pieces": len(several),
        "distinct": _mean_tables(drawn),
        "other_piece": _mean_tables(shifted),
        "aligned": aligned,
        "leave_one_out": _mean_by_piece(left_out)[0],
        "by_piece": rows,
    }


def _against_the_rest(piece: TestPiece) -> list[Agreement]:
    """Every take judged by what the others do on average; at least two others are needed."""
    takes = [take.played for take in piece.distinct() if take.played is not None]
    if len(takes) < 3:
        return []
    steady = []  # everybody at the same tempo, so that nobody's rubato counts double
    for take in takes:
        length = np.nanmax(take.onset_ms) - np.nanmin(take.onset_ms)
        scale = 60_000.0 / max(length, 1.0)
        onset = (take.onset_ms - np.nanmin(take.onset_ms)) * scale
        steady.append(np.stack((onset, take.duration_ms * scale, take.velocity)))
    total = np.sum(steady, axis=0)  # NaN where one of them does not play
    return [
        agreement(piece.score.onset_tick, Played(*((total - one) / (len(takes) - 1))), take)
        for one, take in zip(steady, takes, strict=True)
    ]


def _mean_tables(tables: Sequence[Mapping[str, Distance]]) -> dict[str, dict[str, float]]:
    if not tables:
        return {}
    return {
        name: Distance(*(float(x) for x in np.mean([t[name] for t in tables], axis=0)))._asdict()
        for name in tables[0]
    }


def _mean_by_piece(
    by_piece: Mapping[str, Sequence[Agreement]],
) -> tuple[dict[str, Any], dict[str, dict[str, float | None]]]:
    """Means over takes, then pieces; a measure that says nothing for a piece is left out there."""
    means = {
        name: [_mean([row[i] for row in rows]) for i in range(len(ALIGNED))]
        for name, rows in by_piece.items()
        if rows
    }
    summary: dict[str, Any] = {
        measure: _or_none(_mean([row[i] for row in means.values()]))
        for i, measure in enumerate(ALIGNED)
    }
    summary["pieces"] = len(means)
    summary["takes"] = sum(map(len, by_piece.values()))
    rows = {
        name: dict(zip(ALIGNED, map(_or_none, row), strict=True)) for name, row in means.items()
    }
    return summary, rows


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def _or_none(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None
