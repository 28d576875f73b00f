"""Array types, the one home of their names; a leaf.

``IntArray`` and ``FloatArray`` are numpy's own widths, 64 bits. The shape stands beside each use.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]
Int8Array = npt.NDArray[np.int8]
Uint8Array = npt.NDArray[np.uint8]
Uint16Array = npt.NDArray[np.uint16]
Int32Array = npt.NDArray[np.int32]
Uint32Array = npt.NDArray[np.uint32]
IntArray = npt.NDArray[np.int64]
Uint64Array = npt.NDArray[np.uint64]
AnyIntArray = npt.NDArray[np.integer[Any]]
"""Integers of any width, such as token ids."""
Float32Array = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]
AnyFloatArray = npt.NDArray[np.floating[Any]]
"""Numbers of either precision."""
