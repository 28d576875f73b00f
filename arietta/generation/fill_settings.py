"""The parameters of a filled gap: one declaration for each; see ``arietta.settings``.

This file imports nothing heavy, so that the command line can read it before it works.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from arietta.errors import UsageError
from arietta.generation.settings import (
    DEFAULT_TAKES,
    GROOVE_HELP,
    Groove,
    SamplingOptions,
)
from arietta.midi.notes import KEYS, LOWEST_KEY
from arietta.settings import check, parameter

if TYPE_CHECKING:
    from os import PathLike

    from arietta.arrays import Float32Array
    from arietta.midi.piece import Piece

DEFAULT_BETWEEN_SECONDS = 6.0
HANDS = ("right-hand", "left-hand")
_NAMES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_KEY = re.compile(r"([A-Ga-g])([#b]?)(-?\d)$")


@dataclass(frozen=True)
class FillRequest:
    """What is to be filled; checked on construction.

    The span is given as ``from_seconds`` and ``to_seconds``, as ``bars``, as an ``opening`` or as
    the time up to the piece ``then``.

    Attributes:
        from_seconds, to_seconds: the span that new notes begin in, from the start of the piece.
        bars: first and last bar instead, counted from 1.
        opening: seconds in front of the piece, which begins that much later.
        then: a piece that is to follow, or its path: what lies between is filled.
        between: seconds from the end of the piece to the beginning of ``then``.
        keep: what of the span stays: ``right-hand``, ``left-hand``, a range of keys such as
            ``C4-C8``, or a piece (or its path) that holds the notes which stay, at their times;
            None keeps nothing.
        density: notes a second, as a multiple of what stood there (of the music around it where
            nothing did).
        groove: how near new onsets keep to the beat of the music around; see ``pulse``.
        variations: how many to return.
        takes: how many to choose from.
        seed: 0..2^64-1.

    Raises:
        UsageError: a value is out of range or contradicts another.
    """

    from_seconds: float | None = parameter(None)
    to_seconds: float | None = parameter(None)
    bars: tuple[int, int] | None = parameter(None)
    opening: float | None = parameter(
        None,
        "Write this much in front of the piece, which then begins later; up to the next bar line"
        " where the piece stands on bars.",
        metavar="SECONDS",
        above=0,
    )
    then: Piece | str | PathLike[str] | None = parameter(None)
    between: float = parameter(
        DEFAULT_BETWEEN_SECONDS,
        "Time between the end of the piece and --then; up to the next bar line where the piece"
        " stands on bars. [default: {default}]",
        metavar="SECONDS",
        above=0,
    )
    keep: Piece | str | PathLike[str] | None = parameter(None)
    density: float | None = parameter(
        None,
        "{range} times as many notes a second as stood there, or else as the piece has.",
        metavar="D",
        low=0.1,
        high=10,
    )
    groove: Groove = parameter("loose", GROOVE_HELP, metavar="HOW", choices=get_args(Groove))
    variations: int = parameter(4, "How many ways.", metavar="N", low=1)
    takes: int = parameter(DEFAULT_TAKES, low=1)
    seed: int = parameter(0)

    def __post_init__(self) -> None:
        check(self)
        seconds = (self.from_seconds, self.to_seconds)
        ways = [seconds != (None, None), *(x is not None for x in _others(self))]
        if sum(ways) != 1:
            raise UsageError(
                "give the span as `from_seconds` and `to_seconds`, or else one of `bars`,"
                " `opening` and `then`"
            )
        if ways[0]:
            if None in seconds:
                raise UsageError("give both `from_seconds` and `to_seconds`")
            a, b = float(seconds[0] or 0), float(seconds[1] or 0)
            if not 0 <= a < b < float("inf"):
                raise UsageError(f"a span from {a:g} to {b:g} s holds nothing")
        if self.bars is not None and not 1 <= self.bars[0] <= self.bars[1]:
            raise UsageError(f"bars {self.bars[0]} to {self.bars[1]}: count from 1, ascending")
        if isinstance(self.keep, str):
            kept_keys(self.keep)

    def to_dict(self) -> dict[str, Any]:
        """Return the values that were set, for provenance; of pieces their names."""
        names = ("from_seconds", "to_seconds", "bars", "opening", "keep", "density")
        found = {n: getattr(self, n) for n in names if getattr(self, n) is not None}
        if self.groove != FillRequest.groove:
            found["groove"] = self.groove
        if self.then is not None:
            found |= {"then": self.then, "between": self.between}
        return {n: value if _plain(value) else _name(value) for n, value in found.items()}


def _others(request: FillRequest) -> tuple[Any, ...]:
    return request.bars, request.opening, request.then


def _plain(value: object) -> bool:
    if isinstance(value, str):
        return not is_file(value)
    return isinstance(value, int | float | tuple)


def _name(value: Any) -> str | None:
    source = getattr(value, "source", value)
    return None if source is None else Path(source).name


class FillOptions(SamplingOptions, total=False):
    """Types of the keywords of ``Model.fill`` and ``stream_fill``, for checkers.

    The declarations are ``FillRequest``, ``SamplingSettings`` and ``Steering``.
    """

    from_seconds: float | None
    to_seconds: float | None
    bars: tuple[int, int] | None
    opening: float | None
    then: Piece | str | PathLike[str] | None
    between: float
    keep: Piece | str | PathLike[str] | None
    density: float | None
    groove: Groove
    variations: int
    takes: int
    seed: int
    like: Piece | str | PathLike[str] | None
    guidance_vector: Float32Array | None
    guidance: float


def key_of(name: str) -> int:
    """Return the MIDI pitch of a key such as ``C4`` (60), ``F#3`` or ``60``.

    Raises:
        UsageError: there is no such key.
    """
    if name.isdigit():
        pitch = int(name)
    else:
        found = _KEY.match(name)
        if found is None:
            raise UsageError(f"{name!r} is no key; write C4 for middle C, F#3, Bb2, or a number")
        letter, sign, octave = found.groups()
        pitch = _NAMES[letter.upper()] + {"#": 1, "b": -1, "": 0}[sign] + 12 * (int(octave) + 1)
    if not LOWEST_KEY <= pitch < LOWEST_KEY + KEYS:
        raise UsageError(f"the key {name!r} is not on a piano, which has A0 to C8 (21..108)")
    return pitch


def is_file(keep: str) -> bool:
    """Whether a text names a MIDI file."""
    return keep.lower().endswith((".mid", ".midi"))


def kept_keys(keep: object) -> tuple[int, int] | None:
    """Return the range of keys that ``keep`` names; None for a hand, notes or nothing.

    Raises:
        UsageError: it is a text that names neither.
    """
    if not isinstance(keep, str) or keep in HANDS or is_file(keep):
        return None
    low, dash, high = keep.partition("-")
    if not dash or not high:
        raise UsageError(
            f"`keep` is {', '.join(HANDS)}, a range such as C4-C8 or a MIDI file, not {keep!r}"
        )
    found = key_of(low), key_of(high)
    if found[0] > found[1]:
        raise UsageError(f"the range {keep!r} goes down; write the lower key first")
    if found[0] == LOWEST_KEY and found[1] == LOWEST_KEY + KEYS - 1:
        raise UsageError(f"`keep` {keep} leaves no key to fill")
    return found


def bars_of(text: str) -> tuple[int, int]:
    """Return first and last bar of ``5-8`` or ``5``.

    Raises:
        UsageError: it is neither.
    """
    first, _, last = text.partition("-")
    if not first.strip().isdigit() or (last and not last.strip().isdigit()):
        raise UsageError(f"bars are written as 5-8 or 5, not {text!r}")
    return int(first), int(last or first)
