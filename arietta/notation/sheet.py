"""Sheet music as it is played: a ``Piece`` whose rows know what is written over them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt

from arietta.arrays import BoolArray, FloatArray, Int8Array, IntArray
from arietta.midi.piece import Piece

PLAIN, STACCATO, STACCATISSIMO, PORTATO, TENUTO = 0, 1, 2, 3, 4
"""Values of ``NoteMarks.touch``."""

TOUCH_SHARE = (1.0, 0.5, 0.25, 0.75, 1.0)
"""How much of its written length a note is held, by touch."""


@dataclass(frozen=True, eq=False)
class NoteMarks:
    """What is written over each note.

    Attributes:
        level: (n,) float64, velocity of the dynamics that hold, hairpins included, accents not;
            NaN where nothing is written.
        accent: (n,) float64, velocity steps that the note stands out: accents, sf, fp.
        touch: (n,) int8, ``PLAIN`` to ``TENUTO``.
        slurred: (n,) bool, a slur leads from the note to the next.
        roll: (n,) int64, which rolled chord it belongs to; -1 for none.
        roll_place: (n,) int64, its place in the order of the roll, 0 first.
        held: (n,) bool, under a fermata.
        written: (n,) float64, the length on the page in quarters, whatever the touch.
        hand: (n,) int8, as ``ScoreNotes.hand``.
        exempt: (n,) bool, part of an ornament that was played out, or a grace note.
    """

    level: FloatArray
    accent: FloatArray
    touch: Int8Array
    slurred: BoolArray
    roll: IntArray
    roll_place: IntArray
    held: BoolArray
    written: FloatArray
    hand: Int8Array
    exempt: BoolArray

    def __len__(self) -> int:
        return len(self.touch)

    def take(self, rows: npt.ArrayLike) -> NoteMarks:
        """Return some of the rows."""
        index = np.asarray(rows)
        return NoteMarks(*(getattr(self, item.name)[index] for item in fields(self)))


@dataclass(frozen=True)
class SheetMarks:
    """What is written over stretches of a score; quarters from the beginning, as played.

    Attributes:
        tempo_from: ``mark`` where a number gives the tempo, ``words`` where it was guessed from
            words, empty where the score says nothing.
        changes: (start, end, direction) of every gradual change of tempo; 1 is faster.
        pedalled: (start, end) of the stretches in which pedal marks hold.
        dry: (start, end) of what is marked to be played without pedal.
    """

    tempo_from: str = ""
    changes: tuple[tuple[float, float, int], ...] = ()
    pedalled: tuple[tuple[float, float], ...] = ()
    dry: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, eq=False)
class SheetMusic(Piece):
    """A score that was read from notation.

    Attributes:
        note_marks: one row for every row of ``notes``.
        marks: over stretches.
        remarks: what the reader did or left out, one line each, for people.
    """

    note_marks: NoteMarks | None = None
    marks: SheetMarks = field(default_factory=SheetMarks)
    remarks: tuple[str, ...] = ()
