"""Measure how surprising each note of a piece is to a model.

Definition. The surprise of a note is the number of bits of its tokens given all tokens before them:
its pitch, its velocity given the pitch, its onset, its duration, and the steps of time since the
previous note.

Conventions. Solo piano, the sustain pedal folded into the durations, on the tokens' grid. Long
pieces are read in windows that overlap, so that a note has at least half a window before it, unless
it is near the beginning of the piece.
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
"""Largest window in tokens; larger windows help a small model little and take more time."""
REMOVAL_NOTES = 8
"""Number of notes after a note on which the effect of its removal is measured."""
NEAR, OCTAVE = (-2, -1, 1, 2), (-12, 12)
"""Semitones to the keys that a finger or a transcription most often confuses."""
_CHUNK = 256
_ROWS = 32
_BITS = 1 / math.log(2)


@dataclass(frozen=True, eq=False)
class Surprise:
    """Hold the bits of every note, in token order.

    Attributes:
        pitch: (n,) bits of the pitch, and of a note at this place.
        velocity: (n,) bits of the velocity given the pitch.
        onset: (n,) bits of the onset.
        duration: (n,) bits of the duration, pedal included.
        time: (n,) bits of the steps of time before the note.
        expected_pitch, expected_velocity, expected_onset, expected_duration: (n,) bits that the
            model expected before the note (entropy).
        near: (n,) how much likelier the likeliest pitch within two semitones would have been.
        octave: (n,) the same for an octave up or down.
        removal: (n,) bits that the following notes would save without this note.
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
        """Return the number of notes."""
        return len(self.pitch)

    @property
    def total(self) -> FloatArray:
        """Return the bits (n,) of all tokens of a note."""
        return self.pitch + self.velocity + self.onset + self.duration + self.time


class Window(NamedTuple):
    """Describe a window over notes ``start..stop``; the notes from ``first`` on are scored."""

    start: int
    first: int
    stop: int


def windows(onset_ms: AnyIntArray, length: int) -> Iterator[Window]:
    """Yield overlapping windows over notes; each note is scored in one of them.

    Args:
        onset_ms: (n,) ascending, n >= 1.
        length: tokens a window of the absolute vocabulary, prefix and ``<S>`` included.
    """
    segment = onset_ms // SEGMENT_MS - int(onset_ms[0]) // SEGMENT_MS
    end = 3 * np.arange(1, len(onset_ms) + 1) + segment  # where the tokens of each note end
    room = length - 2
    start = first = 0
    while first < len(end):
        if int(end[first]) - int(end[start]) + 3 > room:
            start = first  # hours of silence fill a window
        stop = int(np.searchsorted(end, int(end[start]) - 3 + room, side="right"))
        yield Window(start, first, stop)
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
    """Compute the surprise of every note.

    Args:
        notes: n >= 1 columns in token order; times are rounded to the grid.
        backend: a language model.
        tokenizer: its tokenizer.
        removal: whether to measure the removal of each note, which takes about eight times as long
            as the rest; otherwise ``removal`` is 0.
        length: tokens a window; the model's context at most.
        report: callback with (done, all) notes.

    Raises:
        InputError: there are no notes.
    """
    if not len(notes.pitch):
        raise InputError("no piano notes, nothing to score")
    onset = np.asarray(notes.onset_ms, np.int64)
    found = Surprise(*(np.zeros(len(onset)) for _ in fields(Surprise)))
    for window in windows(onset, min(length, backend.max_seq_len)):
        part = slice(window.start, window.stop)
        segment = onset[window.start] // SEGMENT_MS * SEGMENT_MS
        ids = tokenizer.encode_columns(
            onset[part] - segment,
            notes.duration_ms[part],
            notes.pitch[part],
            notes.velocity[part],
            eos=False,
        )
        scorer = _WindowScorer(ids, window, backend.new_session(), tokenizer.vocabulary, found)
        scorer.read()
        if removal:
            for first in range(window.first, window.stop, _ROWS):
                scorer.remove(range(first, min(first + _ROWS, window.stop)))
                if report is not None:
                    report(first, len(onset))
        if report is not None:
            report(window.stop, len(onset))
    return found


class _WindowScorer:
    """Score the notes of one window and write the results into the columns."""

    def __init__(
        self,
        ids: Int32Array,
        window: Window,
        session: Session,
        vocabulary: Vocabulary,
        found: Surprise,
    ) -> None:
        self._ids = ids
        self._window = window
        self._session = session
        self._vocabulary = vocabulary
        self._found = found
        kind = vocabulary.kinds[ids]
        # The place of the pitch token and of the last token of each note.
        self._note = np.flatnonzero(kind == Kind.NOTE)
        self._last = np.flatnonzero(kind == Kind.DUR)
        self._onset = np.flatnonzero(kind == Kind.ONSET)
        self._body = int(np.flatnonzero(ids == BOS)[0]) + 1
        self._bits: FloatArray = np.zeros(len(ids))

    def read(self) -> None:
        """Compute everything but ``removal`` in one pass over the window."""
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
        out, window = self._found, self._window
        mine = slice(window.first, window.stop)
        note = self._note[window.first - window.start :]
        last = self._last[window.first - window.start :]
        out.pitch[mine], out.expected_pitch[mine], out.near[mine], out.octave[mine] = pitch[note].T
        out.velocity[mine] = self._bits[note] - pitch[note, 0]
        out.expected_velocity[mine] = expected[note] - pitch[note, 1]
        out.duration[mine] = self._bits[last]
        out.expected_duration[mine] = expected[last]
        # A relative vocabulary has waits before some notes instead of onsets and <T>.
        owner = np.searchsorted(self._last, np.arange(len(ids)))
        for name, values in (("onset", self._bits), ("expected_onset", expected)):
            sums = np.bincount(owner[self._onset], values[self._onset], len(self._last))
            getattr(out, name)[mine] = sums[window.first - window.start :]
        spent = np.bincount(owner[self._body :], self._bits[self._body :], len(self._last) + 1)
        own = out.pitch[mine] + out.velocity[mine] + out.onset[mine] + out.duration[mine]
        out.time[mine] = spent[window.first - window.start : len(self._last)] - own

    def remove(self, notes: range) -> None:
        """Compute ``removal`` of some notes: read the following tokens again without them."""
        ids, session = self._ids, self._session
        rows = [i - self._window.start for i in notes]
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
    """Return binary logarithms of the probabilities (N, V)."""
    logits = logits - logits.max(axis=1, keepdims=True)
    total = np.exp(logits).sum(axis=1, keepdims=True)
    out: Float32Array = (logits - np.log(total)) * np.float32(_BITS)
    return out


def _pitch_figures(block: Float32Array, pitch: AnyIntArray) -> FloatArray:
    """Return (m, 4): bits of the pitch, expected bits, gains of near pitches and of octaves.

    Args:
        block: (m, 128, velocities) binary logarithms of probabilities.
        pitch: (m,) the actual pitches.
    """
    log2p = np.log2(np.exp2(block).sum(axis=2, dtype=np.float64) + 1e-30)  # (m, 128)
    rows = np.arange(len(pitch))
    actual = log2p[rows, pitch]
    margin = max(OCTAVE)
    wide = np.pad(log2p, ((0, 0), (margin, margin)), constant_values=-100.0)
    others = [
        np.max([wide[rows, pitch + margin + step] for step in steps], axis=0) - actual
        for steps in (NEAR, OCTAVE)
    ]
    return np.stack((-actual, -(np.exp2(log2p) * log2p).sum(axis=1), *others), axis=1)
