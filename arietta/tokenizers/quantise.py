"""Rounding to the 10 ms and 10-velocity grids, as complete lookup tables.

Ties (a value midway between two grid points) follow the visiting order of a binary search, neither
half-up nor half-even (specification B.3), so the tables are made by that search.
"""

from __future__ import annotations

import numpy as np

from arietta.arrays import Int32Array

SEGMENT_MS = 5000
MAX_DURATION_MS = 5000
STEP = 10


def _nearest_steps(values: int, steps: int) -> Int32Array:
    """For each integer 0..values-1 the nearest of ``steps`` grid indices (grid = 10 * index)."""
    x = np.arange(values)
    low = np.zeros(values, np.int64)
    high = np.full(values, steps - 1)
    best = np.zeros(values, np.int64)
    searching = low <= high
    while searching.any():
        middle = (low + high) // 2
        closer = searching & (np.abs(middle * STEP - x) < np.abs(best * STEP - x))
        best[closer] = middle[closer]
        right = middle * STEP < x
        low = np.where(searching & right, middle + 1, low)
        high = np.where(searching & ~right, middle - 1, high)
        searching = low <= high
    table = best.astype(np.int32)
    table.setflags(write=False)
    return table


# Index = milliseconds into the segment; 4995..4999 stay in the segment as 4990.
ONSET_STEPS = _nearest_steps(SEGMENT_MS, SEGMENT_MS // STEP)
# Index = milliseconds, longer ones clamp; without the "0 becomes 10" of note durations.
WAIT_STEPS = _nearest_steps(MAX_DURATION_MS + 1, MAX_DURATION_MS // STEP + 1)
DURATION_STEPS = np.maximum(WAIT_STEPS, 1)
# A velocity of 0 stays 0; every other one is at least 10.
VELOCITY_STEPS = np.minimum(np.maximum(_nearest_steps(128, 13), 1), np.arange(128, dtype=np.int32))
for _table in (DURATION_STEPS, VELOCITY_STEPS):
    _table.setflags(write=False)
