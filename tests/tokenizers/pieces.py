"""Random pieces for property tests."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from arietta.midi.notes import note_table, pedal_table, program_table
from arietta.midi.piece import Piece
from arietta.midi.tempo import TempoMap

CHANNELS = st.sampled_from([0, 0, 0, 1, 2, 9])
# Piano, organ, strings, bass and two ignored classes.
PROGRAMS = st.sampled_from([0, 0, 0, 0, 1, 19, 42, 33, 11, 90])


@st.composite
def pieces(draw: st.DrawFn, *, piano_only: bool = False, tempos: int = 4) -> Piece:
    """A piece with a few channels, programs, pedals and tempo changes, on ticks up to 30,000."""
    channels = st.just(0) if piano_only else CHANNELS
    tick = st.integers(0, 30_000)
    note = st.tuples(
        tick, st.integers(1, 9_000), st.integers(0, 127), st.integers(1, 127), channels
    )
    rows = sorted(draw(st.lists(note, min_size=1, max_size=25)), key=lambda row: row[0])
    pedals = sorted(
        draw(st.lists(st.tuples(tick, st.integers(0, 127), channels), max_size=12)),
        key=lambda row: row[0],
    )
    program_rows = [(0, 0, 0)]
    if not piano_only:
        program_rows += draw(st.lists(st.tuples(tick, PROGRAMS, channels), max_size=3))
        program_rows.sort(key=lambda row: row[0])
    tempo_rows = draw(
        st.lists(st.tuples(tick, st.integers(1, 1_500_000)), min_size=1, max_size=tempos)
    )
    tempo_rows.sort(key=lambda row: row[0])
    return Piece(
        TempoMap(
            draw(st.sampled_from([1, 24, 96, 120, 384, 480, 500, 960, 1000, 32_767])),
            np.array([row[0] for row in tempo_rows], np.int64),
            np.array([row[1] for row in tempo_rows], np.int64),
        ),
        note_table(
            [r[0] for r in rows],
            [r[0] + r[1] for r in rows],
            [r[2] for r in rows],
            [r[3] for r in rows],
            [r[4] for r in rows],
        ),
        pedal_table([r[0] for r in pedals], [r[1] for r in pedals], [r[2] for r in pedals]),
        program_table(
            [r[0] for r in program_rows],
            [r[1] for r in program_rows],
            [r[2] for r in program_rows],
        ),
    )
