"""The relative tokenizer of the public system: waits between notes instead of onsets (B.7).

No released checkpoint uses it; it is here to measure what absolute onsets are worth. Differences
from the public reference: <D> can be left out, and drums without a token are dropped as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from arietta.arrays import BoolArray, Int32Array, IntArray
from arietta.errors import InputError, UsageError
from arietta.midi.notes import DRUM_CHANNEL
from arietta.midi.pedal import pedal_intervals
from arietta.midi.piece import Piece
from arietta.midi.tempo import Compat
from arietta.tokenizers import vocabulary as v
from arietta.tokenizers.base import Token
from arietta.tokenizers.decoding import (
    DRUM_MS,
    DecodedColumns,
    IdTables,
    header_length,
    id_tables,
    prefix_channels,
)
from arietta.tokenizers.encoding import (
    drawn_dim_offset,
    drums_with_token,
    duration_ids,
    insert_dim,
    note_ids,
    prefix_ids,
    rounded_ms,
    select_voices,
)
from arietta.tokenizers.quantise import MAX_DURATION_MS, STEP, WAIT_STEPS
from arietta.tokenizers.vocabulary import (
    NO_CLASS,
    RELATIVE_NAMES,
    Kind,
    Vocabulary,
    as_ids,
    vocabulary,
)

# As for the absolute tokenizer: eleven days.
MAX_WAIT_MS = 1_000_000_000


def offsets_from_key_down(piece: Piece) -> IntArray:
    """(n,) ends of the notes, moved to the end of the pedal interval that the note *starts* in."""
    notes = piece.notes
    offset = notes.offset_tick.copy()
    for channel in np.unique(piece.pedals.channel).tolist():
        if channel == DRUM_CHANNEL:
            continue
        start, end = pedal_intervals(piece, channel)
        if not len(start):
            continue
        mine = notes.channel == channel
        i = np.searchsorted(start, notes.onset_tick[mine], side="right") - 1
        held = (i >= 0) & (notes.onset_tick[mine] < end[i])
        offset[mine] = np.where(held, np.maximum(offset[mine], end[i]), offset[mine])
    return offset


class RelativeTokenizer:
    """Pieces <-> ids of a relative vocabulary.

    Args:
        vocab: ``relative``, the public list of 17733 ids, or ``relative-piano``, ours: solo piano,
            2565 ids, the twin of the absolute ``piano``.

    Raises:
        UsageError: there is no such relative vocabulary.
    """

    def __init__(self, vocab: str = "relative") -> None:
        if vocab not in RELATIVE_NAMES:
            raise UsageError(
                f"unknown relative vocabulary {vocab!r}; choose one of {', '.join(RELATIVE_NAMES)}"
            )
        self.name = vocab
        self.vocabulary: Vocabulary = vocabulary(vocab)
        self.vocab_size = self.vocabulary.size
        self.bos, self.eos, self.pad = v.BOS, v.EOS, v.PAD
        self.unk, self.dim = v.UNK, v.DIM

    def __repr__(self) -> str:
        return f"RelativeTokenizer({self.name!r})"

    @cached_property
    def tables(self) -> IdTables:
        """Per-id lookup tables; ``ms`` of a wait is its length."""
        return id_tables(self.name)

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
        """Ids of a piece; arguments as for the absolute tokenizer.

        Raises:
            InputError: no note that the vocabulary knows, or an impossibly long piece.
            TokenError: a prefix name is unknown.
        """
        vocab = self.vocabulary
        voices = select_voices(piece, vocab, compat=compat)
        kept, notes = voices.piece, voices.piece.notes
        start = notes.onset_tick
        drum, named = notes.channel == DRUM_CHANNEL, drums_with_token(notes)
        first = note_ids(vocab, notes.pitch, notes.velocity)
        first += voices.class_index[notes.channel] * np.int32(vocab.notes_per_class)
        drum_ids = notes.pitch.astype(np.int32) + (vocab.drum_start - v.FIRST_DRUM)
        first = np.where(drum, np.where(named, drum_ids, np.int32(v.UNK)), first)
        duration = duration_ids(vocab, rounded_ms(kept, start, offsets_from_key_down(kept), compat))
        previous = np.concatenate(([0 if keep_silence else start[0]], start[:-1]))
        gap = np.maximum(rounded_ms(kept, previous, start, compat), 0)
        if int(gap.sum()) > MAX_WAIT_MS:
            raise InputError("the notes span more than eleven days; is the tempo right?")
        head = [*prefix_ids(piece, voices, vocab, prefix, rng), v.BOS]
        ids = self._lay_out(first, duration, drum, gap, head, [v.EOS] if eos else [])
        return insert_dim(ids, vocab, drawn_dim_offset(rng)) if dim else ids

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
        """Ids of solo-piano columns; arguments as for the absolute tokenizer.

        The time before the first note is not told.
        """
        head = [self.vocabulary.instrument_start] if prefix_ids is None else list(prefix_ids)
        head.append(v.BOS)
        tail = [v.EOS] if eos else []
        if not len(onset_ms):
            return np.array(head + tail, np.int32)
        gap = np.maximum(np.diff(onset_ms, prepend=onset_ms[:1]), 0)
        first = note_ids(self.vocabulary, pitch, velocity)
        duration = duration_ids(self.vocabulary, duration_ms)
        ids = self._lay_out(first, duration, np.zeros(len(first), np.bool_), gap, head, tail)
        return ids if dim_offset is None else insert_dim(ids, self.vocabulary, dim_offset)

    def _lay_out(
        self,
        first: Int32Array,
        duration: Int32Array,
        drum: BoolArray,
        gap: IntArray,
        head: list[int],
        tail: list[int],
    ) -> Int32Array:
        """Head; before each event the waits of its gap; tail."""
        vocab = self.vocabulary
        full = np.maximum(-(-gap // MAX_DURATION_MS) - 1, 0)
        rest = WAIT_STEPS[gap - full * MAX_DURATION_MS]
        width = np.where(drum, 1, 2)
        at = np.cumsum(full + (rest > 0) + width) - width + len(head)
        end = int(at[-1] + width[-1])
        # Whatever no event claims below is a full wait.
        ids = np.full(end + len(tail), vocab.onset_start + MAX_DURATION_MS // STEP, np.int32)
        ids[: len(head)] = head
        waited = rest > 0
        ids[at[waited] - 1] = vocab.onset_start + rest[waited]
        ids[at] = first
        ids[at[~drum] + 1] = duration[~drum]
        ids[end:] = tail
        return ids

    def decode(self, ids: npt.ArrayLike) -> Piece:
        """Return the piece that ids stand for; every sequence of integers gives one.

        Raises:
            TokenError: ``ids`` is not a flat list of integers.
        """
        return self.decode_columns(ids).piece()

    def decode_columns(self, ids: npt.ArrayLike) -> DecodedColumns:
        """Like ``decode``, as columns in reading order, with the count of ids without effect."""
        vocab, tables = self.vocabulary, self.tables
        array = as_ids(ids)
        array = np.where((array >= 0) & (array < self.vocab_size), array, v.UNK)
        kind = tables.kind[array]
        body = header_length(kind)
        prefixes = array[:body][kind[:body] == Kind.INSTRUMENT] - vocab.instrument_start
        channels = prefix_channels(prefixes.tolist(), vocab)
        channel_of = np.full(NO_CLASS + 1, NO_CLASS, np.uint8)
        for index, (channel, _) in channels.items():
            channel_of[index] = channel
        is_wait = kind == Kind.ONSET
        is_wait[:body] = False
        clock = np.cumsum(np.where(is_wait, tables.ms[array], 0))
        second = np.append(kind[1:], np.uint8(Kind.PAD))[: len(kind)]
        is_drum = kind == Kind.DRUM
        sounding = is_drum | ((kind == Kind.NOTE) & (second == Kind.DUR))
        sounding &= channel_of[tables.owner[array]] != NO_CLASS
        sounding[:body] = False
        at = np.flatnonzero(sounding)
        first = array[at]
        short = is_drum[at]
        duration = np.where(short, DRUM_MS, tables.ms[array[np.minimum(at + 1, len(array) - 1)]])
        inert = np.isin(kind[body:], (Kind.EOS, Kind.PAD, Kind.DIM))
        used = 2 * len(at) - np.count_nonzero(short) + np.count_nonzero(is_wait)
        return DecodedColumns(
            at,
            clock[at].astype(np.int64, copy=False),
            np.maximum(duration, STEP).astype(np.int64),
            tables.pitch[first],
            np.maximum(tables.velocity[first], np.uint8(STEP)),
            channel_of[tables.owner[first]],
            np.zeros(0, np.int64),
            np.zeros(0, np.uint8),
            dict(channels.values()),
            len(array) - body - int(used) - int(np.count_nonzero(inert)),
        )

    def tokens(self, ids: npt.ArrayLike) -> list[Token]:
        """Return the token of each id; <U> for an id that does not exist."""
        return self.vocabulary.tokens_of(ids)

    def ids_of(self, tokens: Iterable[Token]) -> Int32Array:
        """Return the id of each token; <U> for one that is not in the vocabulary."""
        return self.vocabulary.ids_of(tokens)
