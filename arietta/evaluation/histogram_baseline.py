"""Compute histograms of a piece: the baseline for every learned embedding.

Definition. About a hundred shares of notes: pitch classes, pitches, times between onsets, durations
and velocities, each a histogram that sums to one, and the rate of notes. A classifier on these
numbers sees neither order nor harmony nor form. An embedding has to be better than that.

Conventions. Durations include the sustain pedal, as everywhere after the tokenizers. Times are
binned on a logarithmic scale; simultaneous notes (within 10 ms) have their own bin. An empty
histogram is all zeros.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from arietta.arrays import Float32Array
from arietta.data.token_grid import NoteColumns

_PITCH_EDGES = np.arange(21, 110, 4)  # 22 bins of a major third over the piano's 88 keys
_TIME_EDGES_MS = np.geomspace(15, 5_000, 24)
_VELOCITY_EDGES = np.arange(0, 129, 8)

NAMES = (
    *(f"pitch class {i}" for i in range(12)),
    *(f"pitch {i}" for i in _PITCH_EDGES[:-1]),
    "together",
    *(f"after {ms:.0f} ms" for ms in _TIME_EDGES_MS),
    *(f"lasts under {ms:.0f} ms" for ms in _TIME_EDGES_MS),
    "lasts longer",
    *(f"velocity {i}" for i in _VELOCITY_EDGES[:-1]),
    "log notes per second",
)
"""Name of each number."""


def histogram_features(notes: NoteColumns) -> Float32Array:
    """Return the numbers of one piece.

    Args:
        notes: columns in token order, at least one note.

    Returns:
        (F,) float32, named by ``NAMES``: shares in 0..1, last the natural logarithm of one plus
        the notes per second.
    """
    pitch = notes.pitch.astype(np.int64)
    wait = np.diff(np.sort(notes.onset_ms))
    seconds = max(float(notes.onset_ms.max() - notes.onset_ms.min()) / 1000, 1.0)
    parts = (
        np.bincount(pitch % 12, minlength=12),
        _shares(np.clip(pitch, 21, 108), _PITCH_EDGES),
        np.bincount(np.searchsorted(_TIME_EDGES_MS, wait, "right"), minlength=25),
        np.bincount(np.searchsorted(_TIME_EDGES_MS, notes.duration_ms, "right"), minlength=25),
        _shares(notes.velocity, _VELOCITY_EDGES),
    )
    shares = [part / max(int(part.sum()), 1) for part in parts]
    rate = np.log1p(len(pitch) / seconds)
    return np.concatenate([*shares, [rate]]).astype(np.float32)


def _shares(
    values: npt.NDArray[np.integer], edges: npt.NDArray[np.integer]
) -> npt.NDArray[np.intp]:
    return np.bincount(np.searchsorted(edges, values, "right") - 1, minlength=len(edges) - 1)
