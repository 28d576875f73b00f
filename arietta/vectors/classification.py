"""Pieces -> classes: the slices of a piece vote (specification F).

A slice's vote counts as many times as it has tokens. As published it is what the slice takes for
likely, its shares; the mean of the slices' logits is the alternative: what a linear head says of
the mean of their states, which it was fitted to.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from arietta.arrays import AnyFloatArray, AnyIntArray, Float32Array, FloatArray
from arietta.errors import CheckpointError, InputError
from arietta.midi.piece import Piece
from arietta.models.aria.protocol import Backend
from arietta.vectors.embedding import CHUNK_NOTES, Embedder

if TYPE_CHECKING:
    from arietta.models.aria.checkpoint import LoadedCheckpoint
    from arietta.models.kernel.packing import Precision

Key = TypeVar("Key", bound=Hashable)

SHIPPED = "small-composers"
VOTES = ("shares", "logits")


@dataclass(frozen=True)
class Classification:
    """What a piece was taken for.

    Attributes:
        label: the class with the largest share.
        shares: class -> its share of the votes, the largest first; their sum is 1.
    """

    label: str
    shares: dict[str, float]


class Classifier:
    """A model that tells classes of pieces apart.

    Args:
        checkpoint: of kind ``classifier``, with the names of its classes.
        precision: of the weights on the CPU: ``int8``, ``int4`` or ``f32``.
        threads: processor threads; all physical cores by default.
        backend: runs the model; by default what is fastest on this processor.

    Raises:
        CheckpointError: the checkpoint is not a classifier.
    """

    def __init__(
        self,
        checkpoint: LoadedCheckpoint,
        *,
        precision: Precision = "int8",
        threads: int | None = None,
        backend: Backend | None = None,
    ) -> None:
        checkpoint.require("classifier")
        size = checkpoint.config.class_size or 0
        names = checkpoint.info.get("classes") or [f"class {i}" for i in range(size)]
        if not isinstance(names, list) or len(names) != size:
            raise CheckpointError(
                f"{checkpoint.path}: {size} classes, but its config.json names {len(names)}"
            )
        self._votes = str(checkpoint.info.get("votes", VOTES[0]))
        if self._votes not in VOTES:
            raise CheckpointError(
                f"{checkpoint.path}: its config.json lets slices vote by {self._votes!r}; this"
                f" version of arietta knows {' and '.join(VOTES)}"
            )
        self.checkpoint = checkpoint
        self.classes = tuple(map(str, names))
        self._logits = _Logits(
            checkpoint,
            precision=precision,
            threads=threads,
            chunk_notes=int(checkpoint.info.get("slice_notes", CHUNK_NOTES)),
            backend=backend,
        )

    def classify(self, piece: Piece, *, any_program: bool = False) -> Classification:
        """Return the class of one piece; see ``classify_many``.

        Raises:
            InputError: the piece has no notes, or a program that is not a piano.
        """
        ((_, found),) = self.classify_many([(None, piece)], any_program=any_program)
        if isinstance(found, InputError):
            raise found
        return found

    def classify_many(
        self,
        pieces: Iterable[tuple[Key, Piece]],
        *,
        any_program: bool = False,
        report: Callable[[int], None] = lambda tokens: None,
    ) -> Iterator[tuple[Key, Classification | InputError]]:
        """Classes of many pieces; arguments as of ``Embedder.embed_many``.

        Yields:
            Key and class, or the reason why there is none.
        """
        for key, found in self._logits.embed_many(pieces, any_program=any_program, report=report):
            if isinstance(found, InputError):
                yield key, found
                continue
            logits = found.chunks.vectors
            tokens = found.chunk_tokens
            (shares,) = vote(logits, tokens, np.zeros(len(logits), np.int64), self._votes)
            order = np.argsort(-shares, kind="stable").tolist()
            named = {self.classes[i]: float(shares[i]) for i in order}
            yield key, Classification(next(iter(named)), named)


class _Logits(Embedder):
    """What the head says of every chunk."""

    kinds = ("classifier",)

    def _pooled(self, rows: list[AnyIntArray]) -> Float32Array:
        session, states = self._states(rows, last=self.checkpoint.config.pooling == "end")
        return session.head(states)


def vote(
    logits: AnyFloatArray,
    tokens: AnyIntArray,
    pieces: AnyIntArray,
    votes: str,
) -> FloatArray:
    """Shares of the classes for each piece, in order of the pieces' numbers.

    Args:
        logits: (n, C) of slices.
        tokens: (n,) tokens of each slice, without padding; what its vote weighs.
        pieces: (n,) number of the piece that each slice is of.
        votes: ``shares``, as published, or ``logits``.

    Returns:
        (pieces, C), rows of sum 1.
    """
    if votes == "logits":
        return _softmax(means_of_pieces(logits, tokens, pieces))
    return means_of_pieces(_softmax(logits), tokens, pieces)


def means_of_pieces(
    values: AnyFloatArray,
    tokens: AnyIntArray,
    pieces: AnyIntArray,
) -> FloatArray:
    """(pieces, S) means over the slices (n, S) of each piece, by tokens; other arguments as of
    ``vote``."""
    names, at = np.unique(pieces, return_inverse=True)
    found = np.zeros((len(names), values.shape[1]))
    np.add.at(found, at, values * tokens[:, None])
    found /= np.bincount(at, tokens)[:, None]
    return found


def _softmax(logits: AnyFloatArray) -> FloatArray:
    raised = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    found: FloatArray = raised / raised.sum(axis=1, keepdims=True)
    return found
