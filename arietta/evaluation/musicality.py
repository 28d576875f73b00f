"""Measure whether generated music keeps time, key and texture.

Definition. Each figure describes one stretch of notes, alone or compared with its prompt; the
baseline of the pulse is the same notes with their inter-onset times in random order. Most figures
are those of ``arietta.generation.measures``; in addition:

    on the grid       share of onsets within 30 ms of a multiple of a period (an eighth)
    short             share of notes shorter than 80 ms
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from arietta.arrays import AnyFloatArray, AnyIntArray
from arietta.generation.measures import (
    Notes,
    clashes,
    key_correlation,
    pulse_clarity,
    returning_shapes,
    same_key,
)
from arietta.midi.notes import ExtraTable, MessageList, note_table
from arietta.midi.piece import Piece
from arietta.midi.tempo import TempoMap

TOLERANCE_MS = 30.0
SHORT_MS = 80.0
_DIVISION = 480
_SCALE = (60, 62, 64, 65, 67, 65, 64, 62)


@dataclass(frozen=True)
class Figures:
    """Hold the result of ``measure``; a figure is None if the stretch is too short.

    Attributes:
        notes_per_second: onsets per second.
        pulse_clarity: -1..1.
        shuffled_pulse_clarity: pulse clarity of the same inter-onset times in random order.
        key_correlation: -1..1, correlation with the prompt.
        clashes, returning_shapes, short, same_key: shares, 0..1.
    """

    notes_per_second: float
    pulse_clarity: float | None
    shuffled_pulse_clarity: float | None
    key_correlation: float | None
    clashes: float | None
    returning_shapes: float | None
    short: float
    same_key: float


def measure(new: Notes, prompt: Notes, length_ms: float, seed: int = 0) -> Figures | None:
    """Measure a continuation beside its prompt; return None for one without notes.

    Args:
        new: the continuation; its time counts from its own start.
        prompt: the prompt.
        length_ms: length of the stretch, including silence at its end.
        seed: seed of the shuffled order.
    """
    if not len(new):
        return None
    shuffled = np.random.default_rng(seed).permutation(np.diff(new.onset_ms))
    return Figures(
        notes_per_second=len(new) / (length_ms / 1000),
        pulse_clarity=pulse_clarity(new.onset_ms),
        shuffled_pulse_clarity=pulse_clarity(np.cumsum(shuffled)),
        key_correlation=key_correlation(new.pitch, prompt.pitch),
        clashes=clashes(new.onset_ms, new.pitch),
        returning_shapes=returning_shapes(new, prompt),
        short=float((new.duration_ms < SHORT_MS).mean()),
        same_key=same_key(new.onset_ms, new.pitch),
    )


def on_grid(
    onset_ms: AnyFloatArray | AnyIntArray, period_ms: float, phase_ms: float = 0.0
) -> float:
    """Return the share of onsets within ``TOLERANCE_MS`` of a grid; chance is 60 / period."""
    away = (np.asarray(onset_ms, np.float64) - phase_ms + period_ms / 2) % period_ms
    return float((np.abs(away - period_ms / 2) <= TOLERANCE_MS).mean())


@dataclass(frozen=True)
class Metronome:
    """Test whether a continuation of eight bars of even quarters keeps to their eighths.

    Attributes:
        bpm: quarters a minute.
        beats: quarters a bar.
        bars: number of bars.
    """

    bpm: float
    beats: int
    bars: int = 8

    @property
    def eighth_ms(self) -> float:
        """Return half a quarter."""
        return 30_000 / self.bpm

    @property
    def prompt_ms(self) -> float:
        """Return the end of the last bar."""
        return self.bars * self.beats * 60_000 / self.bpm

    def prompt(self) -> Piece:
        """Return the prompt: a scale up and down in quarters, in its own tempo and metre."""
        count = self.bars * self.beats
        onset = np.arange(count) * _DIVISION
        downbeat = np.arange(count) % self.beats == 0
        return Piece(
            TempoMap(_DIVISION, np.array([0]), np.array([round(60e6 / self.bpm)])),
            note_table(
                onset,
                onset + round(0.9 * _DIVISION),
                np.resize(_SCALE, count),
                np.where(downbeat, 75, 60),
                0,
                0,
            ),
            extra=ExtraTable(
                np.zeros(1, np.int64),
                np.zeros(1, np.int32),
                MessageList.pack([bytes((0xFF, 0x58, self.beats, 2, 24, 8))]),
            ),
        )

    def share(self, onset_ms: AnyFloatArray, first_ms: float | None = None) -> float | None:
        """Return the share of new onsets within 30 ms of an eighth; None without onsets.

        Args:
            onset_ms: (n,) onsets after the prompt, counted from the start of the prompt.
            first_ms: only onsets within this time after the prompt; all by default.
        """
        onset = np.asarray(onset_ms, np.float64)
        if first_ms is not None:
            onset = onset[onset < self.prompt_ms + first_ms]
        return on_grid(onset, self.eighth_ms) if len(onset) else None


METRONOMES = (Metronome(90.0, 3), Metronome(120.0, 4))
"""The two tests whose results are filed."""
