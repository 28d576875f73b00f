"""The absolute tokenizer of Aria: onsets in five-second segments, <T> between segments.

One class for every vocabulary of the public system and for ours:

    full                  the official list of 17727 ids (public base, generative, embedding models)
    full-pedal, full-delimiter, full-pedal-delimiter, no-drums      its configured variants
    piano-demo            2675 ids, the public real-time demo
    piano                 ours: solo piano, 2565 ids, no id that is never produced
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from arietta.arrays import Int32Array, IntArray, Uint8Array
from arietta.errors import InputError, UsageError
from arietta.midi.piece import Piece
from arietta.midi.tempo import Compat
from arietta.tokenizers import vocabulary as v
from arietta.tokenizers.base import IdRange, Token
from arietta.tokenizers.decoding import (
    DecodedColumns,
    IdTables,
    IncrementalDecoder,
    decode_columns,
    id_tables,
)
from arietta.tokenizers.encoding import (
    drawn_dim_offset,
    duration_ids,
    encode_voices,
    insert_dim,
    lay_out,
    note_ids,
    onset_ids,
    prefix_ids,
    select_voices,
)
from arietta.tokenizers.excerpts import chunks_of_notes, prompt_piece
from arietta.tokenizers.grammar import MAX_TIME_RUN, AriaGrammar
from arietta.tokenizers.quantise import SEGMENT_MS
from arietta.tokenizers.vocabulary import (
    VARIANT_NAMES,
    Kind,
    Vocabulary,
    as_ids,
    id_map,
    vocabulary,
)


class AriaTokenizer:
    """Pieces <-> ids. Instances are cheap; two of one vocabulary share their tables.

    Args:
        vocab: name of the vocabulary, see the module.

    Raises:
        UsageError: there is no such vocabulary.
    """

    def __init__(self, vocab: str = "full") -> None:
        if vocab not in VARIANT_NAMES:
            raise UsageError(
                f"unknown vocabulary {vocab!r}; choose one of {', '.join(VARIANT_NAMES)}"
            )
        self.vocabulary: Vocabulary = vocabulary(vocab)
        self.name = vocab
        self.vocab_size = self.vocabulary.size
        self.bos, self.eos, self.pad = v.BOS, v.EOS, v.PAD
        self.unk, self.dim, self.time = v.UNK, v.DIM, v.TIME
        start = self.vocabulary.pedal_start
        self.ped_on: int | None = start if self.vocabulary.pedal else None
        self.ped_off: int | None = start + 1 if self.vocabulary.pedal else None
        self.delimiter: int | None = self.vocabulary.delimiter_id

    def __repr__(self) -> str:
        return f"AriaTokenizer({self.name!r})"

    @cached_property
    def tables(self) -> IdTables:
        """Per-id lookup tables."""
        return id_tables(self.name)

    # Piece -> ids

    def encode(
        self,
        piece: Piece,
        *,
        eos: bool = True,
        dim: bool = False,
        rng: np.random.Generator | None = None,
        keep_silence: bool = False,
        compat: Compat | None = None,
        prefix: str | Sequence[str] = "auto",
    ) -> Int32Array:
        """Ids of a piece: prefix, <S>, events, <E>. The piece is not changed.

        Args:
            eos: end with <E>.
            dim: place <D> about 100 tokens before the end of a long body.
            rng: where given, the order of the prefix and the place of <D> are drawn from it, as in
                training; else the prefix is in ascending id order and <D> 100 tokens from the end.
            keep_silence: count time from tick 0 instead of from the first event.
            compat: ``"aria"`` repeats the public reference where it is wrong: tempo arithmetic,
                drum-channel pedals as <U>.
            prefix: ``"auto"`` for the instruments and what metadata tells of composer, form and
                genre, or the names to use, in order.

        Returns:
            (n,) int32.

        Raises:
            InputError: the piece has no note that the vocabulary knows.
            TokenError: a prefix name is unknown, or a pedal vocabulary meets another instrument.
        """
        voices = select_voices(piece, self.vocabulary, compat=compat)
        head = prefix_ids(piece, voices, self.vocabulary, prefix, rng)
        head.append(v.BOS)
        tail = [v.EOS] if eos else []
        ids = encode_voices(
            voices, self.vocabulary, head, tail, keep_silence=keep_silence, compat=compat
        )
        if dim:
            ids = self.insert_dim(ids, drawn_dim_offset(rng))
        return ids

    def prompt(
        self, piece: Piece, seconds: float | None = None, *, compat: Compat | None = None
    ) -> Int32Array:
        """Ids that a continuation of the first ``seconds`` of a piece starts from.

        Without notes in that time: the piano prefix and <S>.
        """
        cut = prompt_piece(piece, seconds, compat=compat)
        if not len(cut):
            return np.array([self.vocabulary.instrument_start, v.BOS], np.int32)
        return self.encode(cut, eos=False, compat=compat)

    def embedding_chunks(
        self,
        piece: Piece,
        n_notes: int = 300,
        max_length: int = 2048,
        *,
        compat: Compat | None = None,
    ) -> list[Int32Array]:
        """Sequences whose <E> an embedding model reads, for each stretch of ``n_notes`` notes.

        Each ends with <E>, which takes the place of the last id of one that is cut.

        Raises:
            InputError: the piece has no notes, or a program that is not a piano.
        """
        rows = []
        for chunk in chunks_of_notes(piece, n_notes):
            ids = self.encode(chunk, compat=compat)[:max_length]
            ids[-1] = v.EOS
            rows.append(ids)
        if not rows:
            raise InputError(f"{piece.source or 'piece'}: no notes, nothing to embed")
        return rows

    def encode_columns(
        self,
        onset_ms: npt.NDArray[np.integer],
        duration_ms: npt.NDArray[np.integer],
        pitch: npt.NDArray[np.integer],
        velocity: npt.NDArray[np.integer],
        *,
        prefix_ids: Sequence[int] | None = None,
        eos: bool = True,
        dim_offset: int | None = None,
    ) -> Int32Array:
        """Ids of solo-piano columns: what training calls for every row.

        Args:
            onset_ms: (n,) whole milliseconds from time zero, in token order.
            duration_ms: (n,) whole milliseconds, sustain pedal included.
            pitch, velocity: (n,) 0..127 and 1..127.
            prefix_ids: ids before <S>; the piano prefix alone when None.
            eos: end with <E>.
            dim_offset: -10..10 to place <D>, None for none.
        """
        head = [self.vocabulary.instrument_start] if prefix_ids is None else list(prefix_ids)
        head.append(v.BOS)
        tail = [v.EOS] if eos else []
        if not len(onset_ms):
            return np.array(head + tail, np.int32)
        segment, onset = onset_ids(self.vocabulary, onset_ms)
        ids = lay_out(
            segment,
            note_ids(self.vocabulary, pitch, velocity),
            onset,
            duration_ids(self.vocabulary, duration_ms),
            None,
            head,
            tail,
        )
        return ids if dim_offset is None else self.insert_dim(ids, dim_offset)

    def insert_dim(self, ids: npt.ArrayLike, offset: int = 0) -> Int32Array:
        """Return the sequence with <D> about 100 - ``offset`` tokens before its body ends (B.4).

        A body of up to 150 tokens stays as it is. <E> at the end is not counted.
        """
        return insert_dim(np.asarray(ids, np.int32), self.vocabulary, offset)

    # ids -> piece

    def decode(self, ids: npt.ArrayLike, *, compat: Compat | None = None) -> Piece:
        """Return the piece that ids stand for; every sequence of integers gives one.

        Raises:
            TokenError: ``ids`` is not a flat list of integers, or, with ``compat="aria"``, the
                public reference fails on it.
        """
        return self.decode_columns(ids, compat=compat).piece()

    def decode_columns(self, ids: npt.ArrayLike, *, compat: Compat | None = None) -> DecodedColumns:
        """Like ``decode``, as columns in reading order, with the count of ids without effect."""
        return decode_columns(as_ids(ids), self.vocabulary, self.tables, compat)

    def decode_tokens(self, tokens: Iterable[Token], *, compat: Compat | None = None) -> Piece:
        """Like ``decode`` for tokens, where an unknown prefix token ends the header."""
        known = self.vocabulary.token_ids
        ids = []
        for token in tokens:
            key = token if isinstance(token, str) else tuple(token)
            foreign = not isinstance(key, str) and key[:1] == ("prefix",)
            ids.append(known.get(key, self.vocab_size if foreign else v.UNK))
        columns = decode_columns(np.array(ids, np.int64), self.vocabulary, self.tables, compat)
        return columns.piece()

    def decoder(self) -> IncrementalDecoder:
        """Return a decoder to push ids into one at a time."""
        return IncrementalDecoder(self.vocabulary, self.tables)

    def tokens(self, ids: npt.ArrayLike) -> list[Token]:
        """Return the token of each id; <U> for an id that does not exist."""
        return self.vocabulary.tokens_of(ids)

    def ids_of(self, tokens: Iterable[Token]) -> Int32Array:
        """Return the id of each token; <U> for one that is not in the vocabulary."""
        return self.vocabulary.ids_of(tokens)

    def map_to(self, other: AriaTokenizer) -> Int32Array:
        """(vocab_size,) the id of each of our ids in another vocabulary, -1 where it has none."""
        return id_map(self.name, other.name)

    # Grammar

    def grammar(
        self,
        ids: npt.ArrayLike = (),
        *,
        allow_end: bool = True,
        allow_dim: bool = False,
        allow_delimiter: bool = False,
        allow_pedal: bool = True,
        max_time_run: int = MAX_TIME_RUN,
    ) -> AriaGrammar:
        """Return the grammar after a sequence so far; feed it ids, ask it what may follow.

        Args:
            ids: the prompt.
            allow_end, allow_dim: whether <E> and <D> may come between events.
            allow_delimiter, allow_pedal: whether <X> and pedal events may, where they exist.
            max_time_run: how many <T> may follow each other: six are at least 25 s of silence.
        """
        grammar = AriaGrammar(
            self.name,
            allow_end=allow_end,
            allow_dim=allow_dim,
            allow_delimiter=allow_delimiter,
            allow_pedal=allow_pedal,
            max_time_run=max_time_run,
        )
        for token_id in as_ids(ids).tolist():
            grammar.advance(token_id)
        return grammar

    def allowed_next(self, ids: npt.ArrayLike) -> tuple[IdRange, ...]:
        """Half-open ranges of the ids that may follow a sequence."""
        return self.grammar(ids).allowed()

    def complete_length(self, ids: npt.ArrayLike) -> int:
        """How many ids to keep so that no event is cut in half at the end."""
        array = as_ids(ids)
        kind = self._kinds(array[-2:])
        if len(kind) and kind[-1] in (Kind.NOTE, Kind.DRUM, Kind.PEDAL):
            return len(array) - 1
        if len(kind) == 2 and kind[0] == Kind.NOTE and kind[1] == Kind.ONSET:
            return len(array) - 2
        return len(array)

    # Length

    def length_ms(self, ids: npt.ArrayLike) -> int:
        """End of the latest note in ms, 0 without notes; drums and pedals do not count."""
        onset_ms, duration_ms = self._timed_notes(as_ids(ids))
        return int((onset_ms + duration_ms).max(initial=0))

    def last_onset_ms(self, ids: npt.ArrayLike) -> int:
        """Onset of the note that comes last in the sequence, 0 without notes."""
        onset_ms, _ = self._timed_notes(as_ids(ids))
        return int(onset_ms[-1]) if len(onset_ms) else 0

    def truncate_ms(self, ids: npt.ArrayLike, ms: float) -> Int32Array:
        """Return the sequence up to, not including, the first event that starts after ``ms``."""
        array = as_ids(ids)
        kind = self._kinds(array)
        onsets = np.flatnonzero(kind == Kind.ONSET)
        clock = np.cumsum(kind == Kind.TIME)[onsets] * SEGMENT_MS
        late = onsets[clock + self.tables.ms[array[onsets]] > ms]
        end = max(int(late[0]) - 1, 0) if len(late) else len(array)
        return array[:end].astype(np.int32)

    def _kinds(self, ids: IntArray) -> Uint8Array:
        known = (ids >= 0) & (ids < self.vocab_size)
        return self.vocabulary.kinds[np.where(known, ids, v.UNK)]

    def _timed_notes(self, ids: IntArray) -> tuple[IntArray, IntArray]:
        """Onset and duration of every onset followed by a duration."""
        kind = self._kinds(ids)
        at = np.flatnonzero((kind[:-1] == Kind.ONSET) & (kind[1:] == Kind.DUR))
        clock = np.cumsum(kind == Kind.TIME)[at] * SEGMENT_MS
        onset_ms = (clock + self.tables.ms[ids[at]]).astype(np.int64, copy=False)
        return onset_ms, self.tables.ms[ids[at + 1]].astype(np.int64)
