"""The tokenizer of Pianist Transformer: eight ids for every note (arXiv 2512.02652, section 3).

    slot   0 pitch   1 IOI in ms from the note before   2 velocity   3 duration in ms
           4..7 sustain pedal a quarter, half and three quarters of the way to the next onset,
                and at this one

One mapping for scores and performances; a piece is 8 ids a note and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike, fspath
from typing import Literal

import numpy as np
import numpy.typing as npt

from arietta.arrays import Int32Array, IntArray
from arietta.errors import InputError, TokenError
from arietta.midi.merged import MergedNotes, merge_tracks, read_merged
from arietta.midi.piece import Piece
from arietta.tokenizers.base import IdRange, Token
from arietta.tokenizers.vocabulary import as_ids

PianistCompat = Literal["pianist"]
"""Repeat the public reference where it errs."""

SLOTS = 8
PAD, MASK, BOS, EOS, PLAY = range(5)
PITCH, VELOCITY, TIMING, PEDAL = 5, 133, 261, 5261
VOCAB_SIZE = 5389
MAX_IOI_MS, MAX_DURATION_MS = 4990, 4999
MIN_IOI_MS = 5
"""Shortest performed gap where the score has one."""

SLOT_RANGES: tuple[IdRange, ...] = (
    (PITCH, VELOCITY),
    (TIMING, TIMING + MAX_IOI_MS + 1),
    (VELOCITY, TIMING),
    (TIMING, TIMING + MAX_DURATION_MS + 1),
    *((PEDAL, VOCAB_SIZE),) * 4,
)
"""Half-open id range of each slot."""

_SLOT_START = np.array([low for low, _ in SLOT_RANGES], np.int64)
_SLOT_LAST = np.array([high - 1 for _, high in SLOT_RANGES], np.int64)
_SPECIALS = ("<pad>", "<mask>", "<bos>", "<eos>", "<play>")
_BLOCKS = (("pitch", PITCH), ("velocity", VELOCITY), ("ms", TIMING), ("pedal", PEDAL))


@dataclass(frozen=True, eq=False)
class PianistColumns:
    """What ids say, one row a note; the columns that models predict.

    Attributes:
        pitch: (n,) 0..127.
        ioi_ms: (n,) from the note before, or from time 0; 0..4990.
        velocity: (n,) 0..127.
        duration_ms: (n,) 0..4999.
        pedal: (n, 4) 0..127, at this onset and a quarter, half, three quarters on to the next.
    """

    pitch: IntArray
    ioi_ms: IntArray
    velocity: IntArray
    duration_ms: IntArray
    pedal: IntArray

    def __len__(self) -> int:
        return len(self.pitch)

    def table(self) -> IntArray:
        """(n, 8) in the order of the slots."""
        four = np.stack((self.pitch, self.ioi_ms, self.velocity, self.duration_ms), axis=1)
        return np.concatenate((four, self.pedal), axis=1)


def columns_of(notes: MergedNotes) -> PianistColumns:
    """Return notes in their order as columns, not clipped."""
    onset = notes.onset_ms
    ioi = np.diff(onset, prepend=0)
    after = np.append(ioi[1:], MAX_IOI_MS) if len(onset) else ioi
    times = onset[:, None] + after[:, None] * (np.arange(4) / 4)
    last = np.searchsorted(notes.pedal_ms, times, side="right") - 1
    pedal = np.zeros(times.shape, np.int64)
    if len(notes.pedal_ms):
        pedal = np.where(last >= 0, notes.pedal_value[np.maximum(last, 0)], 0)
    return PianistColumns(notes.pitch, ioi, notes.velocity, notes.offset_ms - onset, pedal)


def ids_of_columns(columns: PianistColumns) -> Int32Array:
    """(8 n,) ids; values outside a slot's range are clipped into it."""
    ids: Int32Array = np.clip(columns.table() + _SLOT_START, _SLOT_START, _SLOT_LAST).astype(
        np.int32
    )
    return ids.reshape(-1)


def columns_of_ids(ids: npt.ArrayLike) -> PianistColumns:
    """Inverse of ``ids_of_columns``.

    Raises:
        TokenError: not eight ids a note, or an id outside its slot's range.
    """
    array = as_ids(ids)
    if len(array) % SLOTS:
        raise TokenError(f"{len(array)} ids: notes have eight each")
    table = array.reshape(-1, SLOTS)
    wrong = np.argwhere((table < _SLOT_START) | (table > _SLOT_LAST))
    if len(wrong):
        row, slot = wrong[0].tolist()
        low, high = SLOT_RANGES[slot]
        raise TokenError(
            f"id {table[row, slot]} in slot {slot} of note {row}; it must lie in {low}..{high - 1}"
        )
    value = (table - _SLOT_START).astype(np.int64)
    return PianistColumns(value[:, 0], value[:, 1], value[:, 2], value[:, 3], value[:, 4:])


def notes_of(columns: PianistColumns, *, compat: PianistCompat | None = None) -> MergedNotes:
    """Return notes and pedal that columns stand for (specification 1.4).

    Notes get a velocity and a length of at least 1, without which they would be lost; with
    ``compat`` they stay as they are. A pedal event that changes nothing is left out.
    """
    onset = np.cumsum(columns.ioi_ms)
    after = np.append(columns.ioi_ms[1:], MAX_IOI_MS) if len(onset) else columns.ioi_ms
    quarter = after / 4
    times = np.stack((onset, onset + quarter, onset + after - 2 * quarter, onset + after - quarter))
    time, value = np.rint(times.T.reshape(-1)).astype(np.int64), columns.pedal.reshape(-1)
    changed = np.diff(value, prepend=0) != 0
    floor = 0 if compat else 1
    return MergedNotes(
        onset,
        onset + np.maximum(columns.duration_ms, floor),
        columns.pitch,
        np.maximum(columns.velocity, floor),
        time[changed],
        value[changed],
    )


class PianistTokenizer:
    """Pieces <-> ids of Pianist Transformer."""

    name = "pianist"
    vocab_size = VOCAB_SIZE
    pad, mask, bos, eos, play = PAD, MASK, BOS, EOS, PLAY
    unk = MASK
    """Never produced for a sound piece: the vocabulary has no token of its own for it."""

    def __repr__(self) -> str:
        return "PianistTokenizer()"

    def encode(self, piece: Piece) -> Int32Array:
        """(8 n,) ids of a piece: its piano in whole milliseconds, see ``midi.merged.merge_tracks``.

        Raises:
            InputError: the piece has no notes but drums.
        """
        return self.encode_notes(merge_tracks(piece), source=piece.source)

    def encode_file(self, path: str | PathLike[str], *, compat: PianistCompat) -> Int32Array:
        """Ids exactly as the public reference makes them of a MIDI file.

        Raises:
            InputError: it cannot be read, or has no notes but drums.
        """
        name = fspath(path)
        try:
            with open(name, "rb") as file:
                data = file.read()
        except OSError as error:
            raise InputError(f"{name}: cannot be read: {error.strerror or error}") from None
        return self.encode_notes(read_merged(data, source=name), source=name)

    def encode_notes(self, notes: MergedNotes, *, source: str | None = None) -> Int32Array:
        """Ids of notes in their order, by onset then pitch.

        Raises:
            InputError: there are none.
        """
        if not len(notes):
            raise InputError(f"{source or 'piece'}: no notes for a piano in it")
        return ids_of_columns(columns_of(notes))

    def decode(
        self,
        ids: npt.ArrayLike,
        reference: npt.ArrayLike | None = None,
        *,
        compat: PianistCompat | None = None,
    ) -> Piece:
        """Return the piece that ids stand for, one tick a millisecond.

        Args:
            ids: eight a note.
            reference: ids of the score that they perform, of the same length: notes that the score
                sets apart stay at least 5 ms apart.
            compat: keep velocities and lengths of zero, as the reference does.

        Raises:
            TokenError: not eight ids a note, an id outside its slot, or another length than the
                reference's.
        """
        notes = self.decode_notes(ids, reference, compat=compat)
        return Piece.from_ms(
            notes.onset_ms,
            notes.offset_ms - notes.onset_ms,
            notes.pitch,
            notes.velocity,
            pedal_time_ms=notes.pedal_ms,
            pedal_value=notes.pedal_value,
        )

    def decode_notes(
        self,
        ids: npt.ArrayLike,
        reference: npt.ArrayLike | None = None,
        *,
        compat: PianistCompat | None = None,
    ) -> MergedNotes:
        """Like ``decode``, as columns in the order of the ids."""
        columns = columns_of_ids(ids)
        if reference is not None:
            score = columns_of_ids(reference)
            if len(score) != len(columns):
                raise TokenError(f"{len(columns)} notes perform a score of {len(score)}")
            columns = with_floor(columns, score.ioi_ms)
        return notes_of(columns, compat=compat)

    def tokens(self, ids: npt.ArrayLike) -> list[Token]:
        """Return a readable token for each id; ``<mask>`` for one that does not exist.

        Durations and gaps share their ids, so both read ``("ms", n)``.
        """
        found: list[Token] = []
        for token_id in as_ids(ids).tolist():
            if not PITCH <= token_id < VOCAB_SIZE:
                found.append(_SPECIALS[token_id] if 0 <= token_id < PITCH else _SPECIALS[MASK])
                continue
            name, start = next(block for block in reversed(_BLOCKS) if token_id >= block[1])
            found.append((name, token_id - start))
        return found

    def ids_of(self, tokens: Iterable[Token]) -> Int32Array:
        """Return the id of each token; that of ``<mask>`` for one that does not exist."""
        starts = dict(_BLOCKS)
        ends = {"pitch": VELOCITY, "velocity": TIMING, "ms": PEDAL, "pedal": VOCAB_SIZE}
        found = []
        for token in tokens:
            token_id = MASK
            if isinstance(token, str):
                token_id = _SPECIALS.index(token) if token in _SPECIALS else MASK
            elif len(token) == 2 and token[0] in starts and isinstance(token[1], int):
                inside = 0 <= token[1] < ends[token[0]] - starts[token[0]]
                token_id = starts[token[0]] + token[1] if inside else MASK
            found.append(token_id)
        return np.array(found, np.int32)

    def allowed_next(self, ids: npt.ArrayLike) -> tuple[IdRange, ...]:
        """Half-open range of the ids that may follow a sequence without <bos>."""
        return (SLOT_RANGES[len(as_ids(ids)) % SLOTS],)


def with_floor(columns: PianistColumns, score_ioi_ms: IntArray) -> PianistColumns:
    """Return notes that the score sets apart at least 5 ms apart."""
    ioi = np.where(score_ioi_ms > 0, np.maximum(columns.ioi_ms, MIN_IOI_MS), columns.ioi_ms)
    return PianistColumns(columns.pitch, ioi, columns.velocity, columns.duration_ms, columns.pedal)
