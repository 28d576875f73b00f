"""The compiled kernel (``_vnni.c``) as Python calls it."""

from __future__ import annotations

import ctypes
import importlib.util
from functools import cache
from typing import Any

from numpy.typing import NDArray

PAGE = 64
"""Positions of a cache page."""


CHUNK = 512
"""Tokens run at once; longer prompts are cut, which changes no bit."""


class Matrix(ctypes.Structure):
    """A packed matrix as the kernel takes it."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("scale", ctypes.c_void_p),
        ("rows", ctypes.c_int32),
        ("inputs", ctypes.c_int32),
        ("group", ctypes.c_int32),
        ("bits", ctypes.c_int32),
    )


@cache
def library() -> ctypes.CDLL | None:
    """Return the compiled kernel, or None where it is missing or the processor cannot run it."""
    found = importlib.util.find_spec("arietta.models.kernel._vnni")
    if found is None or found.origin is None:
        return None
    lib = ctypes.CDLL(found.origin)
    if not lib.vnni_supported():
        return None
    pointer, integer = ctypes.c_void_p, ctypes.c_int
    lib.vnni_team.restype = pointer
    lib.vnni_team.argtypes = [integer]
    lib.vnni_disband.restype = None
    lib.vnni_disband.argtypes = [pointer]
    lib.vnni_decode.argtypes = [
        pointer, pointer, integer, pointer, pointer, pointer, pointer, pointer, ctypes.c_int64,
        pointer, integer,
    ]  # fmt: skip
    lib.vnni_decode_notes.argtypes = [
        pointer, pointer, integer, pointer, pointer, pointer,
        pointer, ctypes.c_int64, pointer, ctypes.c_int64, pointer,
    ]  # fmt: skip
    lib.vnni_remember.restype = None
    lib.vnni_remember.argtypes = [integer, integer, integer, integer, pointer, pointer, pointer]
    lib.vnni_product.argtypes = [pointer, pointer, integer, integer, integer, pointer, pointer]
    return lib


def address(array: NDArray[Any]) -> int:
    """Where an array lies; it has to be contiguous and outlive the use."""
    assert array.flags.c_contiguous
    return int(array.ctypes.data)
