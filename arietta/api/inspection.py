"""Look into a model: tokens, log-probabilities, hidden states and attention of pieces.

One use case each, for many pieces; ``Model.tokens``, ``logprobs``, ``states`` and ``attention`` are
the same for one. Pieces are read as they are needed and run side by side; results come in the order
of the pieces, and a piece that cannot be used gives its reason in place of a result.

None of it needs torch on the processor. A model that was loaded with ``device="cuda"`` or ``"mps"``
runs everything there, by torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from arietta.api.pieces import as_piece
from arietta.errors import InputError

if TYPE_CHECKING:
    from arietta.api.pieces import GivenPiece
    from arietta.evaluation.inspection import Attention, LogProbs, PieceTokens, States
    from arietta.models.aria.checkpoint import LoadedCheckpoint
    from arietta.models.aria.protocol import Backend

__all__ = ["attention", "logprobs", "states", "tokens"]

MAX_CONTEXT = 2048
"""Tokens of a window where nothing is said; see ``evaluation.surprise.MAX_WINDOW``."""
_TOGETHER = 8_192
Found = TypeVar("Found")


class Inspected(Protocol):
    """What is looked into: a ``Model``."""

    name: str
    checkpoint: LoadedCheckpoint
    backend: Backend


def tokens(model: Inspected, pieces: Iterable[GivenPiece]) -> Iterator[PieceTokens | InputError]:
    """Give each piece as the tokens that the model reads.

    Args:
        model: any model of ``arietta.load``; its vocabulary counts.
        pieces: solo-piano pieces or paths of files.

    Yields:
        ``PieceTokens``: ids (n,), their kinds and names, the note that each belongs to, and the
        notes (onset and duration in ms); or why there are none.
    """
    from arietta.evaluation.inspection import piece_tokens
    from arietta.tokenizers.open import tokenizer_named

    tokenizer = tokenizer_named(model.checkpoint.tokenizer)
    for given in pieces:
        try:
            yield piece_tokens(as_piece(given), tokenizer)
        except InputError as error:
            yield error


def logprobs(
    model: Inspected, pieces: Iterable[GivenPiece], *, context: int | None = None
) -> Iterator[LogProbs | InputError]:
    """Give the log-probability of every token of each piece.

    By the executor and the precision that the model was loaded with.

    Args:
        model: a model that generates.
        pieces: solo-piano pieces or paths of files.
        context: tokens of a window, for pieces that are longer; the model's own by default, 2,048
            at most.

    Yields:
        ``LogProbs``: logprobs and entropy (n,) in nats, sums for each note (m,) as ``per_note``;
        or why there are none.

    Raises:
        CheckpointError: the model does not generate.
        UsageError: the context is too short, or longer than the model's.
    """
    from arietta.evaluation.inspection import LogProbs, log_probabilities

    model.checkpoint.require("lm", "conditioned")
    length = _context(model, context)

    def run(batch: Sequence[PieceTokens]) -> list[LogProbs]:
        found = log_probabilities(batch, model.backend, length)
        return [
            LogProbs(one, *columns, model.name, model.checkpoint.sha256)
            for one, columns in zip(batch, found, strict=True)
        ]

    return _together(model, pieces, run)


def states(
    model: Inspected,
    pieces: Iterable[GivenPiece],
    *,
    layers: Sequence[int] | int = -1,
    per: str = "note",
    context: int | None = None,
) -> Iterator[States | InputError]:
    """Give hidden states of every note or token of each piece, in float32.

    Args:
        model: any model of ``arietta.load``.
        pieces: solo-piano pieces or paths of files.
        layers: 0 (embedded tokens) to L (behind the final norm), or from the end, -1 the last.
        per: ``note``, the state at the last token of each, or ``token``.
        context: tokens of a window, as for ``logprobs``.

    Yields:
        ``States``: (layers, m or n, D) float32; or why there are none.

    Raises:
        UsageError: there is no such layer, or the context does not fit the model.
    """
    from arietta.evaluation.inspection import States, checked_per, chosen_layers, hidden_states
    from arietta.models.executors import open_tracer

    wanted, each = chosen_layers(layers, model.checkpoint.config.n_layers), checked_per(per)
    length, tracer = _context(model, context), open_tracer(model.checkpoint, model.backend)

    def run(batch: Sequence[PieceTokens]) -> list[States]:
        found = hidden_states(batch, tracer, length, wanted, each)
        return [
            States(one, wanted, values, each, model.name, model.checkpoint.sha256)
            for one, values in zip(batch, found, strict=True)
        ]

    return _together(model, pieces, run)


def attention(
    model: Inspected,
    pieces: Iterable[GivenPiece],
    *,
    layers: Sequence[int] | int = -1,
    per: str = "note",
) -> Iterator[Attention | InputError]:
    """Give the attention of every head while the model reads each piece, in float32.

    Args:
        model: any model of ``arietta.load``.
        pieces: solo-piano pieces or paths of files that fit into the model's context.
        layers: 1..L, or from the end, -1 the last. A layer of n tokens and H heads takes 4 H n²
            bytes while it is made, and per note a ninth of it afterwards.
        per: ``note`` or ``token``.

    Yields:
        ``Attention``: (layers, H, m, m) or (layers, H, n, n), shares of 1; or why there is none: a
        piece is too long.

    Raises:
        UsageError: there is no such layer.
    """
    from arietta.evaluation.inspection import (
        Attention,
        attention_of,
        check_fits,
        checked_per,
        chosen_layers,
    )
    from arietta.models.executors import open_tracer

    config = model.checkpoint.config
    wanted, each = chosen_layers(layers, config.n_layers, first=1), checked_per(per)
    tracer = open_tracer(model.checkpoint, model.backend)

    def found() -> Iterator[Attention | InputError]:
        for one in tokens(model, pieces):
            try:
                if isinstance(one, InputError):
                    raise one
                check_fits(one, config.max_seq_len)
            except InputError as error:
                yield error
                continue
            weights = attention_of(one, tracer, wanted, each)
            yield Attention(one, wanted, weights, each, model.name, model.checkpoint.sha256)

    return found()


def _context(model: Inspected, context: int | None) -> int:
    from arietta.evaluation.inspection import checked_context

    longest = model.checkpoint.config.max_seq_len
    return checked_context(min(longest, MAX_CONTEXT) if context is None else context, longest)


def _together(
    model: Inspected,
    pieces: Iterable[GivenPiece],
    run: Callable[[Sequence[PieceTokens]], list[Found]],
) -> Iterator[Found | InputError]:
    """Run pieces of some thousand tokens at once; results and reasons in the pieces' order."""
    waiting: list[PieceTokens | InputError] = []
    for one in tokens(model, pieces):
        waiting.append(one)
        if sum(len(each) for each in waiting if not isinstance(each, InputError)) >= _TOGETHER:
            yield from _ordered(waiting, run)
            waiting = []
    yield from _ordered(waiting, run)


def _ordered(
    waiting: Sequence[PieceTokens | InputError],
    run: Callable[[Sequence[PieceTokens]], list[Found]],
) -> Iterator[Found | InputError]:
    good = [one for one in waiting if not isinstance(one, InputError)]
    results = iter(run(good) if good else ())
    for one in waiting:
        yield one if isinstance(one, InputError) else next(results)
