"""Ids of music with a gap: what is kept, then where the gap lies, then what fills it.

    prefix <GAPS> <S> kept notes <FILL> end <FILL> start [low high] <MID> [controls]
    missing notes <E>

All times count from the start of the window. ``end`` and ``start`` of the span that the missing
notes begin in are onsets, each behind as many <T> as segments lie before it; ``low`` and ``high``
are the lowest and the highest key to be filled, as notes of the lowest velocity, where it is a part
of the keys. The missing notes go on from the segment of ``start``, so that a clock of the ids (see
``arietta.models.aria.clock``) goes on from the beginning of the gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from arietta.arrays import AnyIntArray, Int32Array
from arietta.tokenizers.encoding import duration_ids, lay_out, note_ids, onset_ids
from arietta.tokenizers.quantise import SEGMENT_MS
from arietta.tokenizers.vocabulary import BOS, TIME, Vocabulary


class GapPlace(NamedTuple):
    """Where a gap lies.

    Attributes:
        start_ms, end_ms: of the span that its notes begin in, from the start of the window; whole
            steps of 10 ms, start < end.
        keys: lowest and highest key to be filled; None for all.
    """

    start_ms: int
    end_ms: int
    keys: tuple[int, int] | None = None

    @property
    def segment(self) -> int:
        """The five-second segment that the missing notes are counted from."""
        return self.start_ms // SEGMENT_MS


def gap_header(place: GapPlace, vocab: Vocabulary) -> list[int]:
    """Return the ids from <FILL> to <MID>.

    Args:
        place: of the gap.
        vocab: with ``filling``.
    """
    fill, mid = vocab.fill_start + 1, vocab.fill_start + 2
    return [
        fill,
        *_time(place.end_ms, vocab),
        fill,
        *_time(place.start_ms, vocab),
        *(vocab.note_start + key * vocab.velocities for key in place.keys or ()),
        mid,
    ]


def _time(ms: int, vocab: Vocabulary) -> list[int]:
    segment, onset = onset_ids(vocab, np.array([ms]))
    return [TIME] * int(segment[0]) + [int(onset[0])]


def event_ids(
    notes: Sequence[AnyIntArray], vocab: Vocabulary, head: Sequence[int], segment: int = 0
) -> Int32Array:
    """Return head and notes in token order, their segments counted from one of them.

    Args:
        notes: onset_ms, duration_ms, pitch and velocity, each (n,); none is allowed.
        vocab: of the ids.
        head: ids in front.
        segment: the first five-second segment; no note begins before it.
    """
    onset_ms, duration_ms, pitch, velocity = notes
    if not len(onset_ms):
        return np.array(head, np.int32)
    segments, onset = onset_ids(vocab, onset_ms)
    return lay_out(
        segments - segment,
        note_ids(vocab, pitch, velocity),
        onset,
        duration_ids(vocab, duration_ms),
        None,
        head,
        (),
    )


def kept_head(prefix: Sequence[int], vocab: Vocabulary) -> list[int]:
    """Return the ids in front of the kept notes: prefix, <GAPS>, <S>."""
    return [*prefix, vocab.fill_start, BOS]
