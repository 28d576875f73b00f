"""A piece as training of token models sees it: solo-piano notes on the token grid.

Steps of 10 ms and of 10 velocities, the sustain pedal folded into the durations: all that the
absolute tokenizer keeps of a piece (specification B.2, B.3), in a third of the space.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from arietta.arrays import AnyIntArray, Int32Array, IntArray, Uint8Array, Uint16Array
from arietta.errors import InputError
from arietta.midi.notes import KEYS, LOWEST_KEY
from arietta.midi.pedal import pedal_offsets
from arietta.midi.piece import Piece
from arietta.tokenizers.encoding import MAX_SEGMENT, rounded_ms, select_voices
from arietta.tokenizers.quantise import (
    DURATION_STEPS,
    MAX_DURATION_MS,
    ONSET_STEPS,
    SEGMENT_MS,
    STEP,
    VELOCITY_STEPS,
)
from arietta.tokenizers.vocabulary import Vocabulary, plain_name, vocabulary

TAGS = ("composer", "form", "genre")


@dataclass(frozen=True, eq=False)
class GridNotes:
    """Notes of one solo-piano piece on the token grid, in token order.

    Attributes:
        wait: (n,) int32, onset minus the onset before, steps of 10 ms; the first is 0.
        duration: (n,) uint16, 1..500 steps of 10 ms, sustain pedal included.
        pitch: (n,) uint8, 0..127.
        velocity: (n,) uint8, 1..12 steps of 10.
        tags: composer, form and genre as far as the vocabularies know them, in their spelling.
    """

    wait: Int32Array
    duration: Uint16Array
    pitch: Uint8Array
    velocity: Uint8Array
    tags: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of notes."""
        return len(self.wait)

    def columns(self) -> NoteColumns:
        """Return the notes in ms and MIDI velocities, ready to be augmented and encoded."""
        return NoteColumns(
            np.cumsum(self.wait, dtype=np.int64) * STEP,
            self.duration.astype(np.int64) * STEP,
            self.pitch,
            self.velocity * np.uint8(STEP),
        )


@lru_cache(maxsize=1)
def _labels() -> dict[tuple[str, str], str]:
    """(kind, plain name) -> name of every label."""
    return {(kind, plain_name(name)): name for kind, name in vocabulary("piano").labels}


def tags_of(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return what metadata tells of composer, form and genre, in the vocabulary's spelling.

    ``etude`` becomes ``étude``; a name without a token is left out.
    """
    known = _labels()
    found = ((kind, known.get((kind, plain_name(metadata.get(kind, "").strip())))) for kind in TAGS)
    return {kind: label for kind, label in found if label is not None}


def prefix_of(tags: Mapping[str, str], vocab: Vocabulary) -> list[int]:
    """Prefix ids for tags: the piano, then the labels the vocabulary has, in ascending order."""
    labels = (vocab.label_id(kind, tags[kind]) for kind in TAGS if kind in tags)
    return [vocab.instrument_start, *sorted(i for i in labels if i is not None)]


def grid_of(piece: Piece) -> GridNotes:
    """Return the piece on the token grid.

    Every channel but drums is taken as piano. ``AriaTokenizer("piano").encode_columns`` of the
    result's columns with its prefix gives what ``encode`` gives for the piece.

    Raises:
        InputError: the piece has no piano note, or its notes span more than eleven days.
    """
    kept = select_voices(piece, vocabulary("piano")).piece
    start = kept.notes.onset_tick
    onset_ms = rounded_ms(kept, start[0], start, None)
    duration_ms = rounded_ms(kept, start, pedal_offsets(kept), None)
    segment, rest = np.divmod(onset_ms, SEGMENT_MS)
    if int(segment.max()) > MAX_SEGMENT:
        raise InputError(
            f"{piece.source or 'piece'}: the notes span more than "
            f"{MAX_SEGMENT * SEGMENT_MS // 86_400_000} days; is the tempo right?"
        )
    onset = segment * (SEGMENT_MS // STEP) + ONSET_STEPS[rest]
    return GridNotes(
        np.diff(onset, prepend=0).astype(np.int32),
        DURATION_STEPS[np.clip(duration_ms, 0, MAX_DURATION_MS)].astype(np.uint16),
        kept.notes.pitch.astype(np.uint8),
        VELOCITY_STEPS[kept.notes.velocity].astype(np.uint8),
        tags_of(piece.metadata),
    )


class NoteColumns(NamedTuple):
    """Notes of one instrument in token order.

    Attributes:
        onset_ms, duration_ms: (n,) integers; the sustain pedal is part of the duration.
        pitch: (n,) 0..127.
        velocity: (n,) 1..127.
    """

    onset_ms: AnyIntArray
    duration_ms: AnyIntArray
    pitch: AnyIntArray
    velocity: AnyIntArray


def on_keyboard(pitch: AnyIntArray, semitones: int) -> IntArray:
    """Pitches moved by semitones; one that would leave the keys sounds so many octaves nearer."""
    key = pitch.astype(np.int64) + semitones - LOWEST_KEY
    key -= 12 * (np.maximum(key - KEYS + 12, 0) // 12)
    key += 12 * (np.maximum(11 - key, 0) // 12) + LOWEST_KEY
    return key
