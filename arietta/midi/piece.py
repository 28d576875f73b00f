"""The one data model: a ``Piece`` is tables of notes and events over a tempo map.

Ticks are the truth, so that a file can be written back on its own grid; milliseconds are derived.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from arietta.arrays import FloatArray
from arietta.display import mimebundle
from arietta.midi.notes import (
    ExtraTable,
    NoteTable,
    PedalTable,
    ProgramTable,
    note_table,
    pedal_table,
    program_table,
)
from arietta.midi.parse import decode_text
from arietta.midi.tempo import TempoMap
from arietta.midi.writer import Origin, save_midi, write_midi


@dataclass(frozen=True, eq=False)
class Piece:
    """A performance or a score.

    Attributes:
        tempo: the tempo map, which also holds the tick resolution.
        notes, pedals, programs, extra: the tables above.
        text: (tick, text) of text and copyright events.
        metadata: composer, form, genre and whatever else is known; single strings.
        source: name of the file it was read from, or None.
        origin: that file itself; as long as the tables say what it says, it is what is written.
        notices: what was mended or left out in reading, for the user.
    """

    tempo: TempoMap
    notes: NoteTable
    pedals: PedalTable = field(default_factory=lambda: pedal_table([], []))
    programs: ProgramTable = field(default_factory=lambda: program_table([0], [0]))
    extra: ExtraTable = field(
        default_factory=lambda: ExtraTable(np.zeros(0, np.int64), np.zeros(0, np.int32), ())
    )
    text: tuple[tuple[int, str], ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    source: str | None = None
    origin: Origin | None = field(default=None, repr=False)
    notices: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of notes."""
        return len(self.notes)

    @classmethod
    def from_ms(
        cls,
        onset_ms: npt.ArrayLike,
        duration_ms: npt.ArrayLike,
        pitch: npt.ArrayLike,
        velocity: npt.ArrayLike,
        *,
        pedal_time_ms: npt.ArrayLike = (),
        pedal_value: npt.ArrayLike = (),
        metadata: Mapping[str, str] | None = None,
    ) -> Piece:
        """Return a solo-piano piece on a grid of one tick a millisecond; rows sorted by onset."""
        onset = np.rint(np.asarray(onset_ms, np.float64)).astype(np.int64)
        duration = np.rint(np.asarray(duration_ms, np.float64)).astype(np.int64)
        notes = note_table(onset, onset + duration, pitch, velocity)
        pedal_tick = np.rint(np.asarray(pedal_time_ms, np.float64)).astype(np.int64)
        pedals = pedal_table(pedal_tick, pedal_value)
        return cls(
            TempoMap.constant(),
            notes.take(np.argsort(onset, kind="stable")),
            pedals.take(np.argsort(pedal_tick, kind="stable")),
            metadata=dict(metadata or {}),
        )

    @cached_property
    def onset_ms(self) -> FloatArray:
        """(n,) key-down times from tick 0."""
        return self.tempo.ms_at(self.notes.onset_tick)

    @cached_property
    def duration_ms(self) -> FloatArray:
        """(n,) key-down to key-up, without the pedal."""
        return self.tempo.distance_ms(self.notes.onset_tick, self.notes.offset_tick)

    @property
    def end_ms(self) -> float:
        """Time of the latest key-up from tick 0; 0 without notes."""
        if not len(self):
            return 0.0
        return float(self.tempo.ms_at(self.notes.offset_tick.max()))

    @property
    def time_signatures(self) -> list[tuple[int, int, int]]:
        """(tick, numerator, denominator) of every time signature."""
        return [
            (tick, data[0], 1 << min(data[1], 16))
            for tick, _, data in self.extra.meta(0x58)
            if len(data) >= 2
        ]

    @property
    def key_signatures(self) -> list[tuple[int, int, bool]]:
        """(tick, sharps -7..7, is_minor) of every key signature."""
        return [
            (tick, data[0] - 256 if data[0] > 127 else data[0], bool(data[1]))
            for tick, _, data in self.extra.meta(0x59)
            if len(data) >= 2
        ]

    @property
    def track_names(self) -> dict[int, str]:
        """Track index -> its first name, or without one the name of its instrument.

        White space and NUL bytes at the end are left out.
        """
        names: dict[int, str] = {}
        for kind in (0x03, 0x04):
            for _, track, data in self.extra.meta(kind):
                text = decode_text(data).rstrip("\0 \t\r\n")
                if text:
                    names.setdefault(track, text)
        return names

    def with_metadata(self, **items: str) -> Piece:
        """Return the same piece with some metadata replaced."""
        return replace(self, metadata={**self.metadata, **items})

    def to_bytes(self) -> bytes:
        """Return the piece as a standard MIDI file."""
        return write_midi(self)

    def save(self, path: str | PathLike[str], *, force: bool = False) -> None:
        """Write a standard MIDI file; an existing one is only replaced with ``force``.

        Raises:
            OutputError: the file exists, or its directory does not, or the disk is full.
        """
        save_midi(self, path, force=force)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """Show the piano roll and the sound in a notebook."""
        name = f"Piece {Path(self.source).name}" if self.source else "Piece"
        return mimebundle(self, name)
