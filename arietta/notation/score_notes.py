"""The notes of a score and of its performance, row by row.

``ScoreNotes`` is what every renderer reads and ``PerformedNotes`` what it returns; row i of one is
row i of the other, from the first clean-up of the score to the exported file, so no note can be
lost, added or swapped on the way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from arietta.arrays import FloatArray, Int8Array, Int32Array, IntArray, Uint8Array
from arietta.errors import InputError, UsageError
from arietta.midi.notes import DRUM_CHANNEL, NoteTable
from arietta.midi.piece import Piece
from arietta.midi.tempo import TempoMap
from arietta.notation.sheet import NoteMarks, SheetMarks, SheetMusic

RIGHT, LEFT, NO_HAND = 0, 1, -1
"""Values of ``ScoreNotes.hand``."""

_PLAIN_DIVISION = 480  # of a score without beats of its own (SMPTE time code)
_MAX_BARS = 100_000


@dataclass(frozen=True, eq=False)
class ScoreNotes:
    """The keys a score asks for, sorted by onset, then pitch; one key stroke a row.

    Drums are not among them; a pitch that several voices ask for at one tick is struck once, as
    long and as loud as the most demanding of them; a key that is struck again while it is held is
    released there.

    Attributes:
        onset_tick: (n,) int64, ticks of the score's own grid, ascending.
        duration_tick: (n,) int64, at least 1.
        pitch: (n,) uint8, 0..127; onset and pitch together are unique.
        velocity: (n,) uint8, 1..127, as the score gives it.
        hand: (n,) int8, ``RIGHT``, ``LEFT`` or ``NO_HAND`` where the score does not say.
        part: (n,) int32, 0..parts-1, one number for every (track, channel) with notes.
        track: (n,) int32, track of the source.
        channel: (n,) uint8, channel of the source.
        source_row: (n,) int64, the row in ``piece.notes`` that the stroke came from.
        row_of_source: (m,) int64, for every row of ``piece.notes`` the stroke that plays it; -1
            where none does (drums).
        piece: where it came from: its tempo map (metrical), signatures, names, pedal marks.
        remarks: what the clean-up did, one line each, for people.
    """

    onset_tick: IntArray
    duration_tick: IntArray
    pitch: Uint8Array
    velocity: Uint8Array
    hand: Int8Array
    part: Int32Array
    track: Int32Array
    channel: Uint8Array
    source_row: IntArray
    row_of_source: IntArray
    piece: Piece
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return number of key strokes."""
        return len(self.onset_tick)

    @property
    def division(self) -> int:
        """Ticks a quarter."""
        return self.piece.tempo.division

    @property
    def offset_tick(self) -> IntArray:
        """(n,) int64, key up."""
        return self.onset_tick + self.duration_tick

    @property
    def onset_quarter(self) -> FloatArray:
        """(n,) onsets in quarters from tick 0."""
        return self.onset_tick / self.division

    @property
    def duration_quarter(self) -> FloatArray:
        """(n,) written lengths in quarters."""
        return self.duration_tick / self.division

    @cached_property
    def onset_ms(self) -> FloatArray:
        """(n,) key-down times at the tempo the score gives, from tick 0."""
        return self.piece.tempo.ms_at(self.onset_tick)

    @cached_property
    def duration_ms(self) -> FloatArray:
        """(n,) written lengths at the tempo the score gives."""
        return self.piece.tempo.distance_ms(self.onset_tick, self.offset_tick)

    @cached_property
    def chord(self) -> IntArray:
        """(n,) int64, which onset of the score a row belongs to, 0 upward."""
        if not len(self):
            return np.zeros(0, np.int64)
        return np.cumsum(np.diff(self.onset_tick, prepend=self.onset_tick[:1]) > 0)

    @cached_property
    def chord_tick(self) -> IntArray:
        """(k,) the distinct onset ticks."""
        return np.unique(self.onset_tick)

    @cached_property
    def bar_tick(self) -> IntArray:
        """(b,) tick at which each bar begins, bar 1 first; 4/4 where the score says nothing.

        A time signature always opens a bar, so an upbeat written as a short bar counts as one.
        """
        end = int(self.offset_tick.max(initial=1))
        signs = {tick: (num, den) for tick, num, den in self.piece.time_signatures if num}
        signs.setdefault(0, (4, 4))
        ticks = sorted(t for t in signs if t < end)
        starts: list[IntArray] = []
        for tick, after in zip(ticks, [*ticks[1:], end], strict=True):
            numerator, denominator = signs[tick]
            length = max(1, round(self.division * 4 * numerator / denominator))
            # A hostile signature (1/65536 over an hour) must not fill the memory.
            length = max(length, (after - tick) // _MAX_BARS)
            starts.append(np.arange(tick, after, length, dtype=np.int64))
        return np.concatenate(starts)

    @cached_property
    def bar(self) -> IntArray:
        """(n,) number of the bar a row begins in, from 1 as musicians count."""
        return np.searchsorted(self.bar_tick, self.onset_tick, side="right").astype(np.int64)

    @cached_property
    def note_marks(self) -> NoteMarks | None:
        """What is written over every row; None for a score that is not sheet music."""
        if not isinstance(self.piece, SheetMusic) or self.piece.note_marks is None:
            return None
        return self.piece.note_marks.take(self.source_row)

    @property
    def marks(self) -> SheetMarks:
        """What is written over stretches; nothing for a score that is not sheet music."""
        return self.piece.marks if isinstance(self.piece, SheetMusic) else SheetMarks()

    @property
    def part_names(self) -> tuple[str, ...]:
        """A name for every value of ``part``: the track's, or ``track 2 channel 1``."""
        names = self.piece.track_names
        out = []
        for part in range(int(self.part.max(initial=-1)) + 1):
            first = int(np.argmax(self.part == part))
            track, channel = int(self.track[first]), int(self.channel[first])
            out.append(names.get(track) or f"track {track + 1} channel {channel + 1}")
        return tuple(out)

    @classmethod
    def from_piece(cls, piece: Piece) -> ScoreNotes:
        """Clean the notes of a score.

        Raises:
            InputError: no notes, or none but drums.
        """
        name = piece.source or "the score"
        if not len(piece.notes):
            raise InputError(f"{name}: no notes to play; is it the right file?")
        piece = _metrical(piece)
        notes = piece.notes
        keys = np.flatnonzero(notes.channel != DRUM_CHANNEL)
        if not len(keys):
            raise InputError(f"{name}: only drums (channel 10); a piano score is needed")
        sheet = piece if isinstance(piece, SheetMusic) else None
        remarks = list(sheet.remarks) if sheet is not None else []
        if len(keys) < len(notes):
            remarks.append(f"{len(notes) - len(keys)} drum notes are not performed")
        programs = np.unique(piece.programs.program[piece.programs.channel != DRUM_CHANNEL])
        if len(programs) > 1:
            remarks.append(f"{len(programs)} instruments, all played on the piano")
        # One row a key stroke: onset, then pitch; the longest of a unison stands for it.
        length = np.maximum(notes.offset_tick - notes.onset_tick, 1)
        order = keys[np.lexsort((-length[keys], notes.pitch[keys], notes.onset_tick[keys]))]
        onset, pitch = notes.onset_tick[order], notes.pitch[order]
        new = np.ones(len(order), bool)
        new[1:] = (np.diff(onset) > 0) | (pitch[1:] != pitch[:-1])
        row_of_source = np.full(len(notes), -1, np.int64)
        row_of_source[order] = np.cumsum(new) - 1
        kept = order[new]
        velocity = np.maximum.reduceat(notes.velocity[order], np.flatnonzero(new))
        if len(kept) < len(order):
            remarks.append(f"{len(order) - len(kept)} unisons of several voices struck once")
        onset, pitch, duration = onset[new], pitch[new], length[kept]
        # A key is up before it goes down again.
        by_key = np.lexsort((onset, pitch))
        same = pitch[by_key][1:] == pitch[by_key][:-1]
        room = np.diff(onset[by_key])[same]
        first = by_key[:-1][same]
        held = int(np.count_nonzero(duration[first] > room))
        if held:
            remarks.append(f"{held} notes end where their key is struck again")
        duration[first] = np.minimum(duration[first], room)
        track, channel = notes.track[kept], notes.channel[kept]
        _, part = np.unique(track.astype(np.int64) * 16 + channel, return_inverse=True)
        part = part.astype(np.int32)
        hand = _hands(part, pitch, track, piece.track_names)
        if sheet is not None and sheet.note_marks is not None:
            hands = sheet.note_marks.hand[kept]
            hand = hands if np.any(hands != NO_HAND) else hand
        return cls(
            onset,
            duration,
            pitch,
            np.maximum(velocity, 1),
            hand,
            part,
            track,
            channel,
            kept.astype(np.int64),
            row_of_source,
            piece,
            tuple(remarks),
        )


@dataclass(frozen=True, eq=False)
class PerformedNotes:
    """How the rows of a ``ScoreNotes`` are played; milliseconds from the beginning of the file.

    Attributes:
        onset_ms: (n,) float64, key down, 0 or later; rows may leave the score's order.
        duration_ms: (n,) float64, key down to key up, above 0; without the pedal.
        velocity: (n,) uint8, 1..127.
        pedal_ms: (m,) float64, ascending; times of the sustain pedal's changes.
        pedal_value: (m,) uint8, 0..127.
        settings: what made it (renderer, seed, controls); short strings for provenance.
    """

    onset_ms: FloatArray
    duration_ms: FloatArray
    velocity: Uint8Array
    pedal_ms: FloatArray = field(default_factory=lambda: np.zeros(0))
    pedal_value: Uint8Array = field(default_factory=lambda: np.zeros(0, np.uint8))
    settings: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.onset_ms)

    def check(self, score: ScoreNotes) -> PerformedNotes:
        """Itself, if it can be a performance of a score.

        Raises:
            UsageError: a column of another length, or a value out of range.
        """
        n = len(score)
        if not n == len(self.onset_ms) == len(self.duration_ms) == len(self.velocity):
            raise UsageError(f"a performance of {len(self)} notes for a score of {n}")
        if len(self.pedal_ms) != len(self.pedal_value):
            raise UsageError("pedal times and pedal values differ in number")
        times = np.concatenate((self.onset_ms, self.duration_ms, self.pedal_ms))
        if not np.all(np.isfinite(times)) or np.any(times < 0):
            raise UsageError("a performance with a negative or undefined time")
        if np.any((self.velocity < 1) | (self.velocity > 127)):
            raise UsageError("a performance with a velocity outside 1 to 127")
        if np.any(np.diff(self.pedal_ms) < 0):
            raise UsageError("pedal events are not in the order of time")
        return self

    def to_piece(self, score: ScoreNotes) -> Piece:
        """Return a plain performance: 1 tick = 1 ms, notes by onset, one piano; no bars.

        ``tempo_map.editable`` keeps the score's beats instead. A key that is struck again before
        it was released is released there, for a file can hold it down only once.
        """
        self.check(score)
        onset, duration = separate(self.onset_ms, self.duration_ms, score.pitch)
        return Piece.from_ms(
            onset,
            duration,
            score.pitch,
            self.velocity,
            pedal_time_ms=self.pedal_ms,
            pedal_value=self.pedal_value,
            metadata=score.piece.metadata,
        )


def deadpan(score: ScoreNotes) -> PerformedNotes:
    """Return the score as written: its own tempo, velocities, lengths and pedal marks."""
    pedals = score.piece.pedals
    pedals = pedals.take(pedals.channel != DRUM_CHANNEL)
    return PerformedNotes(
        score.onset_ms,
        np.maximum(score.duration_ms, 1.0),
        score.velocity,
        score.piece.tempo.ms_at(pedals.tick),
        pedals.value,
    )


def separate(
    onset_ms: npt.ArrayLike, duration_ms: npt.ArrayLike, pitch: npt.ArrayLike
) -> tuple[IntArray, IntArray]:
    """Whole milliseconds under which every key is up before it goes down again.

    Args:
        onset_ms, duration_ms, pitch: (n,) columns in any order.

    Returns:
        (n,) onsets and (n,) durations of at least 1 ms, int64. Two strokes of a key in the same
        or the next millisecond are moved apart by one, so that a file holds both.
    """
    onset = np.rint(np.asarray(onset_ms, np.float64)).astype(np.int64)
    offset = onset + np.maximum(np.rint(np.asarray(duration_ms, np.float64)), 1).astype(np.int64)
    key = np.asarray(pitch)
    order = np.lexsort((np.arange(len(onset)), np.asarray(onset_ms, np.float64), key))
    before, after = order[:-1], order[1:]
    same = key[before] == key[after]
    before, after = before[same], after[same]
    if np.any(onset[after] <= onset[before]):  # rare; one push can lead to the next
        for a, b in zip(before.tolist(), after.tolist(), strict=True):
            if onset[b] <= onset[a]:
                onset[b] = onset[a] + 1
                offset[b] = max(offset[b], onset[b] + 1)
    offset[before] = np.minimum(offset[before], onset[after])
    return onset, offset - onset


def _metrical(piece: Piece) -> Piece:
    """Return the piece on a grid of quarters; time code is read as 120 quarters a minute."""
    if piece.tempo.division > 0:
        return piece
    to = TempoMap.constant(_PLAIN_DIVISION)
    ms = piece.tempo.ms_at
    notes, pedals, extra = piece.notes, piece.pedals, piece.extra
    onset = to.tick_at(ms(notes.onset_tick))
    moved = NoteTable(
        onset,
        np.maximum(to.tick_at(ms(notes.offset_tick)), onset),
        notes.pitch,
        notes.velocity,
        notes.channel,
        notes.track,
    )
    return replace(
        piece,
        tempo=to,
        notes=moved,
        pedals=replace(pedals, tick=to.tick_at(ms(pedals.tick))),
        programs=replace(piece.programs, tick=to.tick_at(ms(piece.programs.tick))),
        extra=replace(extra, tick=to.tick_at(ms(extra.tick))),
        text=tuple((int(to.tick_at(ms(tick))), text) for tick, text in piece.text),
    )


_LEFT_WORDS = {"left", "lh", "linke", "links", "gauche", "sinistra", "bass"}
_RIGHT_WORDS = {"right", "rh", "rechte", "rechts", "droite", "destra", "treble"}


def _hands(
    part: Int32Array, pitch: Uint8Array, track: Int32Array, names: dict[int, str]
) -> Int8Array:
    """Return hands by the names of the tracks; by height where there are exactly two parts."""
    hand = np.full(len(part), NO_HAND, np.int8)
    for number, name in names.items():
        words = set(re.findall(r"[a-z]+", name.lower().replace(".", "")))
        if words & _LEFT_WORDS:
            hand[track == number] = LEFT
        elif words & _RIGHT_WORDS:
            hand[track == number] = RIGHT
    if len(part) and part.max() == 1 and (np.any(hand == NO_HAND) or len(np.unique(hand)) < 2):
        means = [float(pitch[part == p].mean()) for p in (0, 1)]
        hand[:] = np.where(part == int(np.argmax(means)), RIGHT, LEFT)
    return hand
