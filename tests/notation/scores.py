"""Scores and performances for the tests: by hand and at random."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from arietta.midi.notes import ExtraTable, MessageList, note_table, pedal_table
from arietta.midi.piece import Piece
from arietta.midi.tempo import TempoMap
from arietta.notation.score_notes import PerformedNotes, ScoreNotes


def score_of(
    notes: list[tuple[int, int, int]],
    *,
    tracks: list[int] | None = None,
    division: int = 480,
    metre: tuple[int, int] | None = None,
    velocity: int = 64,
    pedals: list[tuple[int, int]] | None = None,
) -> ScoreNotes:
    """A score of (onset tick, length, pitch), one track unless told otherwise."""
    onset, length, pitch = (np.array(c) for c in zip(*notes, strict=True))
    messages = [] if metre is None else [bytes((255, 0x58, metre[0], metre[1], 24, 8))]
    piece = Piece(
        TempoMap.constant(division),
        note_table(onset, onset + length, pitch, velocity, 0, tracks or 0),
        pedal_table([p[0] for p in pedals or []], [p[1] for p in pedals or []]),
        extra=ExtraTable(
            np.zeros(len(messages), np.int64),
            np.zeros(len(messages), np.int32),
            MessageList.pack(messages),
        ),
    )
    return ScoreNotes.from_piece(piece)


@st.composite
def scores(draw: st.DrawFn) -> ScoreNotes:
    """Any score of up to forty notes: chords, unisons, overlaps, long rests, odd grids."""
    division = draw(st.sampled_from([1, 24, 96, 480, 500, 960, 32767]))
    gap = st.sampled_from([0, 0, 1, division // 3 + 1, division, 3 * division, 200 * division])
    onset, rows, tracks = 0, [], []
    for _ in range(draw(st.integers(1, 40))):
        onset += draw(gap)
        rows.append((onset, draw(st.integers(0, 4 * division)), draw(st.integers(55, 65))))
        tracks.append(draw(st.integers(0, 2)))
    metre = draw(st.sampled_from([None, (3, 2), (6, 3), (1, 3)]))
    return score_of(rows, tracks=tracks, division=division, metre=metre)


@st.composite
def performances(draw: st.DrawFn, score: ScoreNotes) -> PerformedNotes:
    """Any performance of a score: before and behind the beat, out of order, with pauses."""
    n = len(score)
    lead = draw(st.sampled_from([0.0, 3.0, 700.0, 12_345.6]))
    times = st.floats(-2_000, 2_000) if draw(st.booleans()) else st.floats(-40, 40)
    shift = np.array(draw(st.lists(times, min_size=n, max_size=n)))
    stretch = draw(st.sampled_from([0.3, 1.0, 2.5]))
    onset = score.onset_ms * stretch + shift
    onset += lead - min(0.0, float(onset.min()) + lead)
    duration = np.array(draw(st.lists(st.floats(0, 5_000), min_size=n, max_size=n)))
    velocity = np.array(draw(st.lists(st.integers(1, 127), min_size=n, max_size=n)), np.uint8)
    count = draw(st.integers(0, 6))
    pedal = np.sort(draw(st.lists(st.floats(0, 60_000), min_size=count, max_size=count)))
    return PerformedNotes(
        onset, duration, velocity, np.array(pedal), (np.arange(count) % 2 * 127).astype(np.uint8)
    )
