"""How surprising each note of a piece is to a model.

Definition. The surprise of a note is the number of bits that its tokens cost given all that stands
before them: its pitch, its velocity given the pitch, its onset, its duration, and the steps of time
since the note before.

Conventions. Solo piano, the sustain pedal folded into the durations, on the tokens' grid. Long
pieces are read through windows that overlap, so that a note has at least half a window before it,
as far as the piece reaches back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from arietta.arrays import AnyIntArray, Float32Array, FloatArray, Int32Array
from arietta.data.token_grid import NoteColumns
from arietta.errors import InputError
from arietta.models.aria.protocol import Backend, Session
from arietta.tokenizers.open import Tokenizer
from arietta.tokenizers.quantise import SEGMENT_MS
from arietta.tokenizers.vocabulary import BOS, N_PITCHES, Kind, Vocabulary

MAX_WINDOW = 2048
"""Tokens; more of them tell a small model little, and cost."""
REMOVAL_NOTES = 8
"""How many notes behind a note are looked at for what its removal changes."""
NEAR, OCTAVE = (-2, -1, 1, 2), (-12, 12)
"""Semitones to the keys that a finger or a transcription most often hits instead."""
_CHUNK = 256
_ROWS = 32
_BITS = 1 / math.log(2)


@dataclass(frozen=True, eq=False)
class Surprise:
    """What a model says of every note, in bits, in token order.

    Attributes:
        pitch: (n,) of the pitch, and of there being a note.
        velocity: (n,) of the velocity, the pitch known.
        onset: (n,) of when it starts.
        duration: (n,) of how long it sounds, pedal included.
        time: (n,) of the steps of time before it.
        expected_pitch, expected_velocity, expected_onset, expected_duration: (n,) how many bits
            the model expected, before it saw the note.
        near: (n,) how much likelier the likeliest pitch within two semitones would have been.
        octave: (n,) the same for an octave up or down.
        removal: (n,) bits that the following notes would save if this one were not there.
    """

    pitch: FloatArray
    velocity: FloatArray
    onset: FloatArray
    duration: FloatArray
    time: FloatArray
    expected_pitch: FloatArray
    expected_velocity: FloatArray
    expected_onset: FloatArray
    expected_duration: FloatArray
    near: FloatArray
    octave: FloatArray
    removal: FloatArray

    def __len__(self) -> int:
        """Number of notes."""
        return len(self.pitch)

    @property
    def total(self) -> FloatArray:
        """(n,) bits of all of a note's tokens."""
        return self.pitch + self.velocity + self.onset + self.duration + self.time


class View(NamedTuple):
    """A window over notes ``start..stop`` of which those from ``first`` on are scored."""

    start: int
    first: int
    stop: int


def views(onset_ms: AnyIntArray, length: int) -> Iterator[View]:
    """Overlapping windows over notes; each note is scored in one of them.

    Args:
        onset_ms: (n,) ascending, n >= 1.
        length: tokens a window of the absolute vocabulary, prefix and ``<S>`` included.
    """
    segment = onset_ms // SEGMENT_MS - int(onset_ms[0]) // SEGMENT_MS
    end = 3 * np.arange(1, len(onset_ms) + 1) + segment  # where each note's tokens end
    room = length - 2
    start = first = 0
    while first < len(end):
        if int(end[first]) - int(end[start]) + 3 > room:
            start = first  # hours of silence, which fill a window
        stop = int(np.searchsorted(end, int(end[start]) - 3 + room, side="right"))
        yield View(start, first, stop)
        first = stop
        start = int(np.searchsorted(end, int(end[first - 1]) - room // 2, side="left"))


def surprise(
    notes: NoteColumns,
    backend: Backend,
    tokenizer: Tokenizer,
    *,
    removal: bool = True,
    length: int = MAX_WINDOW,
    report: Callable[[int, int], None] | None = None,
) -> Surprise:
    """What a model says of every note.

    Args:
        notes: n >= 1 columns in token order; times off the grid are rounded to it.
        backend: a language model.
        tokenizer: its tokenizer.
        removal: whether to find out what removing a note changes, which takes about eight times as
            long as the rest; else ``removal`` is 0.
        length: tokens a window; the model's context at most.
        report: called with (done, all) notes now and then.

    Raises:
        InputError: there are no notes.
    """
    if not len(notes.pitch):
        raise InputError("no piano notes, nothing to score")
    onset = np.asarray(notes.onset_ms, np.int64)
    found = Surprise(*(np.zeros(len(onset)) for _ in fields(Surprise)))
    for view in views(onset, min(length, backend.max_seq_len)):
        part = slice(view.start, view.stop)
        segment = onset[view.start] // SEGMENT_MS * SEGMENT_MS
        ids = tokenizer.encode_columns(
            onset[part] - segment,
            notes.duration_ms[part],
            notes.pitch[part],
            notes.velocity[part],
            eos=False,
        )
        window = _Window(ids, view, backend.new_session(), tokenizer.vocabulary, found)
        window.read()
        if removal:
            for first in range(view.first, view.stop, _ROWS):
                window.remove(range(first, min(first + _ROWS, view.stop)))
                if report is not None:
                    report(first, len(onset))
        if report is not None:
            report(view.stop, len(onset))
    return found


class _Window:
    """A window that a session has read; fills its part of the columns."""

    def __init__(
        self, ids: Int32Array, view: View, session: Session, vocabulary: Vocabulary, found: Surprise
    ) -> None:
        self._ids = ids
        self._view = view
        self._session = session
        self._vocabulary = vocabulary
        self._found = found
        kind = vocabulary.kinds[ids]
        # The place of each note's pitch and of its last token.
        self._note = np.flatnonzero(kind == Kind.NOTE)
        self._last = np.flatnonzero(kind == Kind.DUR)
        self._onset = np.flatnonzero(kind == Kind.ONSET)
        self._body = int(np.flatnonzero(ids == BOS)[0]) + 1
        self._bits: FloatArray = np.zeros(len(ids))

    def read(self) -> None:
        """One pass over the window: everything but ``removal``."""
        v, ids = self._vocabulary, self._ids
        hidden = self._session.append(ids[None, :-1])[0]
        expected = np.zeros(len(ids))
        pitch = np.zeros((len(ids), 4))  # bits, expected bits, near, octave
        for at in range(0, len(hidden), _CHUNK):
            log2p = _log2p(self._session.head(hidden[at : at + _CHUNK]))  # (m, V)
            place = np.arange(at + 1, at + 1 + len(log2p))
            self._bits[place] = -log2p[np.arange(len(log2p)), ids[place]]
            expected[place] = -(np.exp2(log2p) * log2p).sum(axis=1)
            here = np.isin(place, self._note)
            low, high = v.class_range(0)
            block = log2p[here, low:high].reshape(-1, N_PITCHES, v.velocities)
            pitch[place[here]] = _pitch_figures(block, (ids[place[here]] - low) // v.velocities)
        out, view = self._found, self._view
        mine = slice(view.first, view.stop)
        note = self._note[view.first - view.start :]
        last = self._last[view.first - view.start :]
        out.pitch[mine], out.expected_pitch[mine], out.near[mine], out.octave[mine] = pitch[note].T
        out.velocity[mine] = self._bits[note] - pitch[note, 0]
        out.expected_velocity[mine] = expected[note] - pitch[note, 1]
        out.duration[mine] = self._bits[last]
        out.expected_duration[mine] = expected[last]
        # A relative vocabulary has waits before some notes in the place of onsets and of <T>.
        owner = np.searchsorted(self._last, np.arange(len(ids)))
        for name, values in (("onset", self._bits), ("expected_onset", expected)):
            sums = np.bincount(owner[self._onset], values[self._onset], len(self._last))
            getattr(out, name)[mine] = sums[view.first - view.start :]
        spent = np.bincount(owner[self._body :], self._bits[self._body :], len(self._last) + 1)
        told = out.pitch[mine] + out.velocity[mine] + out.onset[mine] + out.duration[mine]
        out.time[mine] = spent[view.first - view.start : len(self._last)] - told

    def remove(self, notes: range) -> None:
        """``removal`` of some notes: what stands behind them is read once more without them."""
        ids, session = self._ids, self._session
        rows = [i - self._view.start for i in notes]
        begin = self._note[rows]
        # <T> and waits before a note stay, as time goes on without it.
        behind = self._last[rows] + 1
        until = self._last[np.minimum(np.array(rows) + REMOVAL_NOTES, len(self._last) - 1)] + 1
        count = until - behind
        longest = int(count.max())
        if longest == 0:
            return
        # Row 0 keeps the whole window for the next call; the others go back to before their note,
        # whose predecessor's hidden state is needed again.
        session.fork(np.zeros(len(rows) + 1, np.int64))
        session.rewind(np.concatenate((session.lengths[:1], begin - 1)))
        fed = np.zeros((len(rows) + 1, longest), np.int64)
        for row, (a, b, n) in enumerate(zip(begin, behind, count, strict=True), start=1):
            if n:
                fed[row, :n] = np.concatenate((ids[a - 1 : a], ids[b : b + n - 1]))
        hidden = session.append(fed, counts=np.concatenate(([0], count)))[1:]
        real = np.arange(longest) < count[:, None]  # (rows, longest)
        place = (behind[:, None] + np.arange(longest))[real]
        log2p = _log2p(session.head(hidden[real]))
        saved = self._bits[place] + log2p[np.arange(len(place)), ids[place]]
        whose = np.repeat(np.arange(len(rows)), count)
        self._found.removal[list(notes)] = np.bincount(whose, saved, len(rows))


def _log2p(logits: Float32Array) -> Float32Array:
    """Binary logarithms of the probabilities (N, V)."""
    logits = logits - logits.max(axis=1, keepdims=True)
    total = np.exp(logits).sum(axis=1, keepdims=True)
    out: Float32Array = (logits - np.log(total)) * np.float32(_BITS)
    return out


def _pitch_figures(block: Float32Array, pitch: AnyIntArray) -> FloatArray:
    """(m, 4) bits of the pitch, expected bits, what near pitches and octaves gain on it.

    Args:
        block: (m, 128, velocities) binary logarithms of probabilities.
        pitch: (m,) the pitches that came.
    """
    log2p = np.log2(np.exp2(block).sum(axis=2, dtype=np.float64) + 1e-30)  # (m, 128)
    rows = np.arange(len(pitch))
    came = log2p[rows, pitch]
    margin = max(OCTAVE)
    wide = np.pad(log2p, ((0, 0), (margin, margin)), constant_values=-100.0)
    others = [
        np.max([wide[rows, pitch + margin + step] for step in steps], axis=0) - came
        for steps in (NEAR, OCTAVE)
    ]
    return np.stack((-came, -(np.exp2(log2p) * log2p).sum(axis=1), *others), axis=1)
