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
def _compiled() -> ctypes.CDLL | None:
    """Return the compiled file, whether it holds the kernel or not; None without one."""
    found = importlib.util.find_spec("arietta.models.kernel._vnni")
    if found is None or found.origin is None:
        return None
    lib = ctypes.CDLL(found.origin)
    lib.vnni_compiler.restype = ctypes.c_char_p
    if lib.vnni_built():
        lib.vnni_lacks.restype = ctypes.c_char_p
    return lib


def _unfit(lib: ctypes.CDLL) -> str:
    """Why the kernel of a compiled file cannot run here; empty where it can."""
    compiler = lib.vnni_compiler().decode()
    if not lib.vnni_built():
        return f"left out by {compiler}: GCC on x86-64 builds it"
    lacks = lib.vnni_lacks()
    return f"built by {compiler}; this processor lacks {lacks.decode()}" if lacks else ""


def state() -> str:
    """Whether the kernel runs on this machine, and why where it does not."""
    lib = _compiled()
    if lib is None:
        return "not built: the install found no C compiler"
    return _unfit(lib) or f"runs, built by {lib.vnni_compiler().decode()}"


@cache
def library() -> ctypes.CDLL | None:
    """Return the compiled kernel, or None where it is missing or the processor cannot run it."""
    lib = _compiled()
    if lib is None or _unfit(lib):
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
