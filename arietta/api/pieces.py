"""Pieces as use cases are given them: in memory, or as paths of files."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from arietta.midi.piece import Piece

    GivenPiece = Piece | str | PathLike[str]


def as_piece(given: GivenPiece) -> Piece:
    """Return a piece, read if it is a path.

    Raises:
        InputError: the file cannot be read.
    """
    if not isinstance(given, str | PathLike):
        return given
    from arietta.midi.reader import read

    return read(given)
