"""What every tokenizer offers, so that engines and data loaders need not know which it is."""

from __future__ import annotations

from typing import Any, Protocol

import numpy.typing as npt

from arietta.arrays import Int32Array
from arietta.midi.piece import Piece

IdRange = tuple[int, int]
Token = str | tuple[str | int, ...]


class Tokenizer(Protocol):
    """Pieces <-> ids.

    Attributes:
        name: the vocabulary, as checkpoints record it.
        vocab_size: number of ids.
        bos, eos, pad, unk: ids of the special tokens.
    """

    name: str
    vocab_size: int
    bos: int
    eos: int
    pad: int
    unk: int

    def encode(self, piece: Piece) -> Int32Array:
        """(n,) ids of a piece, which is not changed."""
        ...

    def decode(self, ids: npt.ArrayLike) -> Piece:
        """The piece that ids stand for."""
        ...

    def tokens(self, ids: npt.ArrayLike) -> list[Token]:
        """A readable token for each id."""
        ...

    def ids_of(self, tokens: Any) -> Int32Array:
        """The id of each token, <U> for one that does not exist."""
        ...


class Grammar(Protocol):
    """Which ids may come next, kept up to date one id at a time."""

    @property
    def complete(self) -> bool:
        """Whether the sequence may stop here without a broken event."""
        ...

    def advance(self, token_id: int) -> None:
        """Take the next id of the sequence."""
        ...

    def allowed(self) -> tuple[IdRange, ...]:
        """Half-open ranges of the ids that may come next, ascending and disjoint."""
        ...
