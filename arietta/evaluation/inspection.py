"""Pieces as a model reads them: tokens, their log-probabilities, hidden states, attention.

Definition. A piece becomes the tokens of the model's vocabulary: the piano prefix, ``<S>``, the
notes, ``<E>``. Metadata is not shown. The log-probability of a token is that of the raw model,
without grammar or temperature, given the tokens before it.

Conventions. Solo piano, the sustain pedal folded into the durations, on the tokens' grid. What is
longer than the context is read in windows that overlap by half: each begins with prefix and ``<S>``
and at a note, and a token counts in the first window that holds it, so that it has at least half a
window before it unless it is near the beginning.

Log-probabilities come from the executor that plays (int8 by default), states and attention from a
pass in float32 (``models.aria.trace``): states of another precision are another model's.

Shapes: n tokens, m notes, L layers, D = d_model, H heads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from arietta.arrays import Float32Array, FloatArray, Int32Array, IntArray
from arietta.data.token_grid import NoteColumns, grid_of
from arietta.errors import InputError, UsageError
from arietta.evaluation.likelihood import token_kinds
from arietta.midi.piece import Piece
from arietta.models.aria.protocol import Backend
from arietta.models.aria.trace import Tracer
from arietta.tokenizers.open import Tokenizer
from arietta.tokenizers.vocabulary import BOS, EOS, Kind

Per = Literal["note", "token"]

MIN_CONTEXT = 16
_BATCH_TOKENS = 8_192
_BATCH_ROWS = 16
_CHUNK = 256


@dataclass(frozen=True, eq=False)
class PieceTokens:
    """A piece as the tokens of a model.

    Attributes:
        ids: (n,) int32 token ids, from the prefix to ``<E>``.
        kinds: (n,) their kinds: note, onset (or wait), duration, time, end, other.
        note: (n,) int64, 0..m - 1: the note that a token belongs to; ``<T>`` and waits belong to
            the note they stand before; -1: the prefix, ``<S>`` and ``<E>``.
        notes: the m notes as the tokens tell them: ``onset_ms`` from the first note,
            ``duration_ms`` with the pedal, ``pitch``, ``velocity``.
        prompt: tokens of the prefix and ``<S>``, which no model predicts.
        tokenizer: what made them.
    """

    ids: Int32Array
    kinds: npt.NDArray[Any]
    note: IntArray
    notes: NoteColumns
    prompt: int
    tokenizer: Tokenizer

    def __len__(self) -> int:
        """Return n."""
        return len(self.ids)

    @property
    def tokens(self) -> list[Any]:
        """Return the n tokens by name."""
        return self.tokenizer.tokens(self.ids)

    @cached_property
    def last(self) -> IntArray:
        """(m,) the last token of each note, where a model has read all of it."""
        belongs = np.flatnonzero(self.note >= 0)
        place: IntArray = np.full(len(self.notes.pitch), -1)
        place[self.note[belongs]] = belongs
        return place

    def per_note(self, values: FloatArray) -> FloatArray:
        """(m,) sums over the tokens of each note of values (n,)."""
        mine = self.note >= 0
        return np.bincount(self.note[mine], values[mine], len(self.notes.pitch)).astype(np.float64)


def piece_tokens(piece: Piece, tokenizer: Tokenizer) -> PieceTokens:
    """Return a piece as tokens.

    Raises:
        InputError: the piece has no notes for a piano.
    """
    notes = grid_of(piece).columns()
    ids = tokenizer.encode_columns(*notes)
    prompt = int(np.flatnonzero(ids == BOS)[0]) + 1
    kind = tokenizer.vocabulary.kinds[ids]
    ends = np.flatnonzero(kind == Kind.DUR)
    note = np.searchsorted(ends, np.arange(len(ids)))
    note[:prompt] = note[ids == EOS] = -1
    return PieceTokens(ids, token_kinds(ids, tokenizer.vocabulary), note, notes, prompt, tokenizer)


class Window(NamedTuple):
    """Tokens ``start..stop`` of a piece, read behind its prompt; from ``first`` on they count."""

    start: int
    first: int
    stop: int


def windows(tokens: PieceTokens, length: int) -> Iterator[Window]:
    """Yield windows of at most ``length`` tokens; every token behind the prompt counts in one."""
    room = length - tokens.prompt
    begins = np.flatnonzero(tokens.kinds == "note")
    start = first = tokens.prompt
    while first < len(tokens):
        stop = min(start + room, len(tokens))
        yield Window(start, first, stop)
        first = stop
        # Hours of silence hold no note to begin with: the next window begins in them.
        wanted = stop - room // 2
        later = begins[(begins >= wanted) & (begins < stop)]
        start = int(later[0]) if len(later) else wanted


@dataclass(frozen=True, eq=False)
class LogProbs:
    """How likely a model found each token of a piece.

    Attributes:
        tokens: the piece.
        logprobs: (n,) float64, natural logarithms, 0 at most; NaN for the prompt.
        entropy: (n,) float64, nats: what the model expected -logprobs to be; NaN for the prompt.
        context: (n,) int64, how many tokens the model had read before each.
        model, model_sha256: whose expectations they are.
    """

    tokens: PieceTokens
    logprobs: FloatArray
    entropy: FloatArray
    context: IntArray
    model: str
    model_sha256: str

    @property
    def per_note(self) -> FloatArray:
        """(m,) the log-probability of each note: the sum over its tokens, nats."""
        return self.tokens.per_note(self.logprobs)


@dataclass(frozen=True, eq=False)
class States:
    """Hidden states of a piece.

    Attributes:
        tokens: the piece.
        layers: their numbers, 0 (embedded tokens) to L (behind the final norm).
        states: (len(layers), m, D) float32 at the last token of each note, or (len(layers), n, D).
        per: ``note`` or ``token``.
        model, model_sha256: whose states they are.
    """

    tokens: PieceTokens
    layers: tuple[int, ...]
    states: Float32Array
    per: Per
    model: str
    model_sha256: str


@dataclass(frozen=True, eq=False)
class Attention:
    """Where a model looked while it read a piece.

    Attributes:
        tokens: the piece.
        layers: their numbers, 1..L.
        weights: (len(layers), H, n, n) float32: the share of each query's attention (third axis)
            that goes to each key (last axis), rows sum to 1; per note (len(layers), H, m, m):
            from the last token of a note to all tokens of a note, where what is missing to 1 goes
            to the prompt.
        per: ``note`` or ``token``.
        model, model_sha256: whose attention it is.
    """

    tokens: PieceTokens
    layers: tuple[int, ...]
    weights: Float32Array
    per: Per
    model: str
    model_sha256: str


class _Row(NamedTuple):
    """A window of a piece, and the ids that a model reads of it."""

    piece: int
    window: Window
    ids: Int32Array


def log_probabilities(
    pieces: Sequence[PieceTokens], backend: Backend, context: int
) -> list[tuple[FloatArray, FloatArray, IntArray]]:
    """Log-probabilities, entropy and context (n,) of pieces; windows of all run side by side.

    Args:
        pieces: see ``piece_tokens``.
        backend: a language model.
        context: tokens of a window.
    """
    found = [
        (np.full(len(one), np.nan), np.full(len(one), np.nan), np.zeros(len(one), np.int64))
        for one in pieces
    ]
    for one, (_, _, read) in zip(pieces, found, strict=True):
        read[: one.prompt] = np.arange(one.prompt)
    rows = _rows(pieces, context)
    for batch in _batches(sorted(rows, key=lambda row: len(row.ids))):
        counts = np.array([len(row.ids) - 1 for row in batch])
        ids = np.full((len(batch), int(counts.max())), EOS, np.int64)
        for line, row in zip(ids, batch, strict=True):
            line[: len(row.ids) - 1] = row.ids[:-1]
        session = backend.new_session(len(batch))
        hidden = session.append(ids, counts=counts)  # (B, T, D)
        for states, row in zip(hidden, batch, strict=True):
            logprobs, entropy, read = found[row.piece]
            prompt, window = pieces[row.piece].prompt, row.window
            for first in range(window.first, window.stop, _CHUNK):
                place = np.arange(first, min(first + _CHUNK, window.stop))
                # The state before a token predicts it.
                before = place - window.start + prompt - 1
                log_p = _log_softmax(session.head(states[before]))
                here = row.ids[before + 1]
                logprobs[place] = log_p[np.arange(len(place)), here]
                entropy[place] = -(np.exp(log_p) * log_p).sum(axis=1)
                read[place] = before + 1
    return found


def hidden_states(
    pieces: Sequence[PieceTokens],
    tracer: Tracer,
    context: int,
    layers: Sequence[int],
    per: Per,
) -> list[Float32Array]:
    """States (len(layers), m or n, D) of pieces; see ``States``."""
    found: dict[int, Float32Array] = {}
    for batch in _batches(_rows(pieces, context)):
        traces = tracer.trace([row.ids for row in batch], layers)
        for row, trace in zip(batch, traces, strict=True):
            states = np.stack([trace.states[number] for number in layers])  # (len(layers), T, D)
            one = pieces[row.piece]
            if row.piece not in found:
                rows = len(one) if per == "token" else len(one.notes.pitch)
                found[row.piece] = np.zeros((len(layers), rows, states.shape[2]), np.float32)
            window, into = row.window, found[row.piece]
            shift = one.prompt - window.start
            if per == "note":
                chosen = np.flatnonzero((one.last >= window.first) & (one.last < window.stop))
                into[:, chosen] = states[:, one.last[chosen] + shift]
                continue
            if window.first == one.prompt:
                into[:, : one.prompt] = states[:, : one.prompt]
            into[:, window.first : window.stop] = states[:, window.first + shift :]
    return [found[number] for number in range(len(pieces))]


def attention_of(
    piece: PieceTokens, tracer: Tracer, layers: Sequence[int], per: Per
) -> Float32Array:
    """Attention (len(layers), H, m or n, m or n) of a piece, read in one go; see ``Attention``."""
    (trace,) = tracer.trace([piece.ids], attention=layers)
    if per == "token":
        return np.stack([trace.attention.pop(number) for number in layers])
    mine = np.flatnonzero(piece.note >= 0)
    starts = mine[np.flatnonzero(np.diff(piece.note[mine], prepend=-1))]
    notes = mine[-1] + 1
    return np.stack(
        [
            np.add.reduceat(trace.attention.pop(number)[:, piece.last, :notes], starts, axis=2)
            for number in layers
        ]
    )


def chosen_layers(layers: Sequence[int] | int, depth: int, first: int = 0) -> tuple[int, ...]:
    """Return layers as numbers ``first..depth``; negative ones count from the end, -1 the last.

    Raises:
        UsageError: none is given, or there is no such layer.
    """
    given = (layers,) if isinstance(layers, int) else tuple(layers)
    found = tuple(n + depth + 1 if n < 0 else n for n in given)
    if not found or not all(first <= n <= depth for n in found):
        raise UsageError(f"`layers` {given}: choose of {first}..{depth}, or -1 for the last")
    return found


def checked_per(per: str) -> Per:
    """Return ``per``.

    Raises:
        UsageError: it is neither ``note`` nor ``token``.
    """
    if per == "note":
        return "note"
    if per == "token":
        return "token"
    raise UsageError(f"`per` {per!r} is neither note nor token")


def check_fits(piece: PieceTokens, context: int) -> None:
    """Refuse a piece that does not fit into one window.

    Raises:
        InputError: it is longer.
    """
    if len(piece) > context:
        raise InputError(
            f"attention is that of one window, and {len(piece):,} tokens exceed the {context:,} of"
            " the model; give a part of the piece"
        )


def checked_context(context: int, longest: int) -> int:
    """Return the tokens of a window.

    Raises:
        UsageError: the windows are too short to overlap, or exceed the model's context.
    """
    if not MIN_CONTEXT <= context <= longest:
        raise UsageError(f"`context` must lie between {MIN_CONTEXT} and {longest}, not {context}")
    return context


def _rows(pieces: Sequence[PieceTokens], context: int) -> list[_Row]:
    rows = []
    for number, one in enumerate(pieces):
        head = one.ids[: one.prompt]
        for window in windows(one, context):
            ids = np.concatenate((head, one.ids[window.start : window.stop]))
            rows.append(_Row(number, window, ids))
    return rows


def _batches(rows: Iterable[_Row]) -> Iterator[list[_Row]]:
    """Rows in lists of limited length and number of tokens."""
    batch: list[_Row] = []
    tokens = 0
    for row in rows:
        if batch and (tokens + len(row.ids) > _BATCH_TOKENS or len(batch) == _BATCH_ROWS):
            yield batch
            batch, tokens = [], 0
        batch.append(row)
        tokens += len(row.ids)
    if batch:
        yield batch


def _log_softmax(logits: Float32Array) -> FloatArray:
    shifted = (logits - logits.max(axis=1, keepdims=True)).astype(np.float64)
    out: FloatArray = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return out
