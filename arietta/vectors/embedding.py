"""Pieces as vectors (specification E.7, arXiv 2506.23869 section 3.3).

A piece is cut into chunks of 300 notes (fewer where a checkpoint says so), a chunk becomes one
vector, the piece the plain mean of them. A checkpoint with an embedding head gives its output at
``<E>``; any other decoder gives the mean of its last hidden states over the chunk's tokens. Full
vectors hold more, for classifiers and conditions rather than for distances: behind the output at
``<E>`` stand the mean and the standard deviation of the hidden states. Vectors are not normalised.

Passages, windows of some seconds, get vectors in the same way, for search.

Beside each vector stand the keys that were struck, which tell a work where vectors tell a style.

Shapes: C chunks or passages, T tokens, D width of the vector.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import numpy as np

from arietta.arrays import AnyIntArray, Float32Array, FloatArray, IntArray
from arietta.errors import InputError, UsageError
from arietta.midi.notes import DRUM_CHANNEL, KEYS, LOWEST_KEY, program_table
from arietta.midi.piece import Piece
from arietta.models.aria.protocol import Backend, Session
from arietta.models.executors import cpu_backend
from arietta.tokenizers.aria import AriaTokenizer
from arietta.tokenizers.excerpts import chunks_of_notes
from arietta.tokenizers.relative import RelativeTokenizer
from arietta.tokenizers.vocabulary import EOS, RELATIVE_NAMES

if TYPE_CHECKING:
    from arietta.models.aria.checkpoint import LoadedCheckpoint
    from arietta.models.kernel.packing import Precision

Key = TypeVar("Key", bound=Hashable)

CHUNK_NOTES = 300
MAX_TOKENS = 2048
"""Tokens of a chunk; more are cut, and ``<E>`` takes the place of the last one kept."""
SHIPPED = "small-embedding"
_BATCH_TOKENS = 8_192
_BATCH_ROWS = 16
_CACHE_BYTES = 128 << 20  # of keys and values of a batch; big models have enough to do with less


@dataclass(frozen=True, eq=False)
class Stretches:
    """Vectors of parts of a piece.

    Attributes:
        vectors: (C, D) float32.
        start_ms, end_ms: (C,) float64, first key down and last key up of each, from tick 0.
        keys: (C, 88) float32, how often each key of the piano is struck; empty when read from a
            file.
    """

    vectors: Float32Array
    start_ms: FloatArray
    end_ms: FloatArray
    keys: Float32Array = field(default_factory=lambda: np.zeros((0, KEYS), np.float32))


@dataclass(frozen=True, eq=False)
class Embedding:
    """A piece as a vector.

    Attributes:
        vector: (D,) float32, the mean of the chunks' vectors.
        chunks: consecutive chunks of so many notes.
        passages: overlapping windows of so many seconds; empty unless asked for.
        chunk_tokens: (C,) int64, what the model read of each chunk; empty when read from a file.
    """

    vector: Float32Array
    chunks: Stretches
    passages: Stretches
    chunk_tokens: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass(frozen=True)
class Passages:
    """Which windows of a piece get vectors of their own.

    Attributes:
        seconds: length of a window.
        hop: from the start of one to that of the next. The last one ends with the piece.
    """

    seconds: float = 20.0
    hop: float = 10.0

    def __post_init__(self) -> None:
        if not 0 < self.hop <= self.seconds:
            raise UsageError(
                f"passages of {self.seconds} s every {self.hop} s: the hop must lie between 0 and"
                " the length"
            )

    def cut(self, piece: Piece) -> Iterator[Piece]:
        """Return notes that start within each window; windows without notes are left out."""
        onset = piece.onset_ms
        first, last = float(onset.min()), float(onset.max())
        count = max(1, math.ceil((last - first) / 1000 / self.hop - self.seconds / self.hop) + 1)
        for number in range(count):
            start = first + min(
                number * self.hop * 1000, max(0.0, last - first - self.seconds * 1000 + 1)
            )
            inside = (onset >= start) & (onset < start + self.seconds * 1000)
            if inside.any():
                yield replace(piece, notes=piece.notes.take(inside))


def keys_struck(piece: Piece) -> Float32Array:
    """(88,) float32: how often each key of the piano is struck; other pitches are left out."""
    counts = np.bincount(piece.notes.pitch, minlength=128)
    return counts[LOWEST_KEY : LOWEST_KEY + KEYS].astype(np.float32)


def default_model() -> str:
    """Name of the shipped model that embeds."""
    return SHIPPED


class Embedder:
    """A model that turns pieces into vectors.

    Args:
        checkpoint: of kind ``embedding``, or a language model.
        precision: of the weights on the CPU: ``int8``, ``int4`` or ``f32``.
        threads: processor threads; all physical cores by default.
        chunk_notes: notes of a chunk; by default what the checkpoint was trained on, else 300.
        full: give full vectors.
        backend: runs the model; by default what is fastest on this processor.

    Raises:
        CheckpointError: the checkpoint is a classifier.
        UsageError: a chunk of less than one note.
    """

    kinds: tuple[str, ...] = ("embedding", "lm", "conditioned")

    def __init__(
        self,
        checkpoint: LoadedCheckpoint,
        *,
        precision: Precision = "int8",
        threads: int | None = None,
        chunk_notes: int | None = None,
        full: bool = False,
        backend: Backend | None = None,
    ) -> None:
        checkpoint.require(*self.kinds)
        if chunk_notes is None:
            chunk_notes = int(checkpoint.info.get("chunk_notes", CHUNK_NOTES))
        if chunk_notes < 1:
            raise UsageError(f"a chunk needs at least one note, not {chunk_notes}")
        self.checkpoint = checkpoint
        self.chunk_notes = chunk_notes
        without_head = checkpoint.config.head == "lm_head"
        self.pooling = "full" if full else "mean" if without_head else "end"
        self._backend = backend or cpu_backend(checkpoint, precision, threads)
        name = checkpoint.tokenizer
        self._tokenizer = RelativeTokenizer(name) if name in RELATIVE_NAMES else AriaTokenizer(name)
        self._max_tokens = min(MAX_TOKENS, checkpoint.config.max_seq_len)

    @property
    def size(self) -> int:
        """D."""
        config = self.checkpoint.config
        if self.pooling != "full":
            return self.short_size
        # Without a head the mean of the states is the short vector already.
        return (0 if config.head == "lm_head" else self.short_size) + 2 * config.d_model

    @property
    def short_size(self) -> int:
        """Numbers of a short vector, with which a full one begins."""
        config = self.checkpoint.config
        if config.head == "lm_head":
            return config.d_model
        return config.tensor_shapes()[f"{config.head}.weight"][0]

    def embed(
        self, piece: Piece, *, any_program: bool = False, passages: Passages | None = None
    ) -> Embedding:
        """Return the vector of one piece; see ``embed_many``.

        Raises:
            InputError: the piece has no notes, or a program that is not a piano.
        """
        ((_, found),) = self.embed_many([(None, piece)], any_program=any_program, passages=passages)
        if isinstance(found, InputError):
            raise found
        return found

    def embed_many(
        self,
        pieces: Iterable[tuple[Key, Piece]],
        *,
        any_program: bool = False,
        passages: Passages | None = None,
        report: Callable[[int], None] = lambda tokens: None,
    ) -> Iterator[tuple[Key, Embedding | InputError]]:
        """Vectors of many pieces, those of some length together; each under its key.

        What a piece is and what stands beside it changes no bit on our kernel. Composer, form and
        genre of the metadata are not shown to the model: a probe would find them again.

        Args:
            pieces: read as they are needed; the order of the results may differ.
            any_program: take every instrument but drums as a piano instead of refusing it.
            passages: windows to embed as well.
            report: called with every so many tokens that have been run.

        Yields:
            Key and vector, or the reason why there is none.
        """
        waiting: list[_Waiting[Key]] = []
        tokens = 0
        for key, piece in pieces:
            try:
                one = _Waiting(key, self._rows(piece, any_program, passages), self.size)
            except InputError as error:
                yield key, error
                continue
            waiting.append(one)
            tokens += sum(map(len, one.ids))
            if tokens >= _BATCH_TOKENS:
                yield from self._run(waiting, report)
                waiting, tokens = [], 0
        yield from self._run(waiting, report)

    def _rows(self, piece: Piece, any_program: bool, passages: Passages | None) -> list[_Rows]:
        """Return what the model reads of the chunks, and of the passages."""
        piece = replace(piece, metadata={})
        if any_program:
            kept = piece.notes.channel != DRUM_CHANNEL
            piece = replace(piece, notes=piece.notes.take(kept), programs=program_table([0], [0]))
        chunks = self._read(chunks_of_notes(piece, self.chunk_notes))
        if not len(chunks.ids):
            raise InputError(f"{piece.source or 'piece'}: no notes, nothing to embed")
        return [chunks, self._read(passages.cut(piece) if passages else ())]

    def _read(self, parts: Iterable[Piece]) -> _Rows:
        found = _Rows([], [], [], [])
        for part in parts:
            ids = self._tokenizer.encode(part)[: self._max_tokens]
            ids[-1] = EOS
            found.ids.append(ids)
            found.start_ms.append(float(part.onset_ms.min()))
            found.end_ms.append(part.end_ms)
            found.keys.append(keys_struck(part))
        return found

    def _run(
        self, waiting: list[_Waiting[Key]], report: Callable[[int], None]
    ) -> Iterator[tuple[Key, Embedding]]:
        """Chunks of similar length side by side, so that little is padding."""
        todo = [(len(one.ids[i]), one, i) for one in waiting for i in range(len(one.ids))]
        todo.sort(key=lambda row: row[0])
        config = self.checkpoint.config
        row_bytes = 2 * config.d_model * config.n_layers * (todo[-1][0] if todo else 1)
        rows = max(1, min(_BATCH_ROWS, _CACHE_BYTES // row_bytes))
        for at in range(0, len(todo), rows):
            batch = todo[at : at + rows]
            found = self._pooled([one.ids[i] for _, one, i in batch])
            for vector, (_, one, i) in zip(found, batch, strict=True):
                one.vectors[i] = vector
            report(sum(length for length, _, _ in batch))
        for one in waiting:
            yield one.key, one.embedding()

    def _pooled(self, rows: list[AnyIntArray]) -> Float32Array:
        """(B, D) of B chunks."""
        if self.pooling == "end":
            session, last = self._states(rows, last=True)
            return session.head(last)
        session, states = self._states(rows)
        width = self.checkpoint.config.d_model
        if self.pooling == "mean":
            return states[:, width : 2 * width]
        if self.checkpoint.config.head == "lm_head":
            return states[:, width:]
        return np.concatenate((session.head(states[:, :width]), states[:, width:]), axis=1)

    def _states(
        self, rows: list[AnyIntArray], *, last: bool = False
    ) -> tuple[Session, Float32Array]:
        """Run B chunks: the session, and ``summaries`` of its states or the last states alone."""
        counts = np.array([len(row) for row in rows])
        ids = np.full((len(rows), int(counts.max())), EOS, np.int64)
        for row, line in zip(rows, ids, strict=True):
            line[: len(row)] = row
        session = self._backend.new_session(len(rows))
        if last:
            return session, session.append(ids, counts=counts, last=True)
        hidden = session.append(ids, counts=counts)
        # A model with a clock gives its head more than the states.
        return session, summaries(hidden[..., : self.checkpoint.config.d_model], counts)


def summaries(hidden: Float32Array, counts: IntArray) -> Float32Array:
    """(B, 3 D): the last of the hidden states (B, T, D) that count, their mean and deviation."""
    found = [
        np.concatenate((states[count - 1], states[:count].mean(axis=0), states[:count].std(axis=0)))
        for states, count in zip(hidden, counts, strict=True)
    ]
    return np.stack(found)


class _Rows(NamedTuple):
    """What a model reads of the parts of a piece."""

    ids: list[AnyIntArray]
    start_ms: list[float]
    end_ms: list[float]
    keys: list[Float32Array]


class _Waiting(Generic[Key]):
    """A piece whose parts are not all embedded yet."""

    def __init__(self, key: Key, rows: list[_Rows], size: int) -> None:
        self.key = key
        self._rows = rows
        self.ids = [ids for part in rows for ids in part.ids]
        self.vectors = np.zeros((len(self.ids), size), np.float32)

    def embedding(self) -> Embedding:
        """Return the embedding, once ``vectors`` is full."""
        parts, at = [], 0
        for part in self._rows:
            vectors = self.vectors[at : at + len(part.ids)]
            keys = np.stack(part.keys) if part.keys else np.zeros((0, KEYS), np.float32)
            parts.append(Stretches(vectors, np.array(part.start_ms), np.array(part.end_ms), keys))
            at += len(part.ids)
        mean = parts[0].vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
        tokens = np.array([len(ids) for ids in self._rows[0].ids], np.int64)
        chunks, passages = parts
        return Embedding(mean, chunks, passages, tokens)
