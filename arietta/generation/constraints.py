"""What one row may say next: the token grammar, playable keys, and the control of endings.

Differences from the public sampler, undone by ``grammar=False``: tokens that make no valid piece
cannot come; a piano plays only the keys that it has; no key is struck while the prompt holds it or
within 60 ms of its last stroke, so that it can come up and go down again; nothing new begins before
the seam (``Start``).

Endings (specification B.4, E.3): in training <D> stands about 100 tokens before <E>, so writing <D>
into a row asks the model to come to an end. With the grammar <D> cannot come unless an ending is
asked for, and where it is forced, an <E> the model wants at that very place is let through.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from arietta.arrays import FloatArray, Int32Array
from arietta.generation.pace import Pace
from arietta.generation.pulse import Pulse
from arietta.generation.sampling import Choices, Ranges
from arietta.midi.notes import KEYS, LOWEST_KEY
from arietta.tokenizers.aria import AriaTokenizer
from arietta.tokenizers.grammar import merged
from arietta.tokenizers.quantise import SEGMENT_MS, STEP
from arietta.tokenizers.vocabulary import DIM, EOS, FIRST_DRUM, TIME, Kind, Vocabulary

Ending = Literal["never", "free", "asked"]
"""``never``: no <E>, the row goes on until it is stopped. ``free``: the model may end. ``asked``:
no <E> before <D> has been written, which ``ask`` brings about."""

ENDING_TOKENS = 130
"""Tokens before the end of a row of fixed length at which <D> is written (E.3)."""

RESTRIKE_STEPS = 6
"""From one stroke of a key to the next, in steps of 10 ms: half for the key to come up."""

# Plain integers: looking an enum member up costs more than the rest of a step.
_NOTE, _DRUM, _PEDAL, _ONSET = int(Kind.NOTE), int(Kind.DRUM), int(Kind.PEDAL), int(Kind.ONSET)
_SEGMENT_STEPS = SEGMENT_MS // STEP
_NOTHING, _A_PEDAL = -1, -2


@dataclass(frozen=True, eq=False)
class Start:
    """Where new events begin, in the time of the tokens: ms from the start of the sequence.

    Attributes:
        earliest_ms: nothing new begins before it.
        exact: the first new note begins there, if any key is free then.
        held: (index among the vocabulary's instruments, MIDI key or drum) -> when a key that the
            prompt plays may be struck again.
        end_of: onset of the first new note -> where music of a fixed place in time ends.
        pulse: what onsets keep to; None leaves them to the model.
        pace: the rate of notes that is held; None leaves it to the model.
    """

    earliest_ms: float = 0.0
    exact: bool = False
    held: Mapping[tuple[int, int], float] = field(default_factory=dict)
    end_of: Callable[[float], float] | None = None
    pulse: Pulse | None = None
    pace: Pace | None = None


class Rules:
    """The constraints of one row.

    Args:
        tokenizer: of the model.
        ids: the whole prompt.
        grammar: enforce the token grammar. Off, everything is possible and ``override`` repeats
            the public sampler's forced ending.
        ending: see ``Ending``; without the grammar only ``asked`` matters.
        ban_dim: without the grammar, never draw <D> (E.4 does so).
        start: where new events begin; by default anywhere behind the prompt's last event.
    """

    def __init__(
        self,
        tokenizer: AriaTokenizer,
        ids: Int32Array,
        *,
        grammar: bool = True,
        ending: Ending = "never",
        ban_dim: bool = False,
        start: Start | None = None,
    ) -> None:
        self._grammar = tokenizer.grammar(ids, allow_end=ending == "free") if grammar else None
        self._everything: Ranges = ((0, tokenizer.vocab_size),)
        if ban_dim:
            self._everything = ((0, DIM), (DIM + 1, tokenizer.vocab_size))
        self._vocabulary = tokenizer.vocabulary
        self._kinds = tokenizer.vocabulary.kinds.tobytes()
        self._ending = ending
        self._asked = False
        self._has_dim = bool((np.asarray(ids) == DIM).any())
        if self._has_dim and self._grammar is not None and ending == "asked":
            self._grammar.allow_end = True
        vocabulary = self._vocabulary
        piano = vocabulary.classes.index("piano") if "piano" in vocabulary.classes else None
        self._off_the_keys: tuple[tuple[int, int], ...] = ()
        if piano is not None:
            low, high = vocabulary.class_range(piano)
            first = low + LOWEST_KEY * vocabulary.velocities
            self._off_the_keys = ((low, first), (first + KEYS * vocabulary.velocities, high))
        self._playable: dict[Ranges, Ranges] = {}
        self._dur_start = vocabulary.dur_start
        # Where a key may be struck again: first id of its velocities -> step of the sequence.
        self._free: dict[int, int] = {}
        self._key = _NOTHING
        array = np.asarray(ids)
        times = np.flatnonzero(array == TIME)
        near = int(times[-2]) if len(times) > 1 else 0
        self._segment = int(np.count_nonzero(times < near))
        self._first_step, self._exact = 0, False
        self._pulse: Pulse | None = None
        self._pace: Pace | None = None
        self._latest = 0
        for token in array[near:].tolist():
            self._track(token)
        if start is not None:
            self._pulse, self._pace = start.pulse, start.pace
            self._first_step = math.ceil(start.earliest_ms / STEP - 1e-6)
            self._exact = start.exact
            for (index, pitch), ms in start.held.items():
                key = _key_id(vocabulary, index, pitch)
                if key is not None:
                    step = math.ceil(ms / STEP - 1e-6)
                    self._free[key] = max(self._free.get(key, step), step)

    def copy(self) -> Rules:
        """Independent rules in the same state, to look ahead with."""
        twin = object.__new__(Rules)
        twin.__dict__.update(self.__dict__)
        twin._grammar = None if self._grammar is None else self._grammar.copy()
        twin._free = dict(self._free)
        return twin

    @property
    def between_events(self) -> bool:
        """Whether no event is incomplete (always, without the grammar)."""
        return self._grammar is None or self._grammar.complete

    @property
    def has_dim(self) -> bool:
        """Whether <D> is in the row."""
        return self._has_dim

    @property
    def forcing(self) -> bool:
        """Whether <D> (or <E>) must come next."""
        return (
            self._asked
            and not self._has_dim
            and self._grammar is not None
            and self._grammar.complete
        )

    @property
    def shapes(self) -> bool:
        """Whether ``shape`` changes the odds of the next token."""
        if self._key != _NOTHING:
            return self._pulse is not None or self._pace is not None
        return self.forcing or (self._pace is not None and self.between_events)

    def ask(self) -> None:
        """Ask for an ending: <D> comes at the next event boundary."""
        self._asked = True
        if self._grammar is not None:
            self._grammar.allow_dim = self._grammar.allow_end = True

    def allowed(self) -> Ranges:
        """Half-open ranges of the ids that may come next, ascending and disjoint; never empty."""
        grammar = self._grammar
        if grammar is None:
            return self._everything
        ranges = grammar.allowed()
        if self._key != _NOTHING:
            return self._onsets(ranges)
        if not grammar.complete or grammar.finished:
            return ranges
        base = self._segment * _SEGMENT_STEPS
        if self._first_step >= base + _SEGMENT_STEPS:
            # Time has to pass; an ending that is asked for may be written meanwhile.
            return _with_time(_only_specials(ranges) if self.forcing else ())
        playable = self._playable.get(ranges)
        if playable is None:
            playable = self._playable[ranges] = _without(ranges, self._off_the_keys)
        exact = self._must_be_exact()
        last = self._first_step if exact else base + _SEGMENT_STEPS - 1
        held = [key for key, step in self._free.items() if step > last]
        left = self._without_keys(playable, held)
        has_keys = any(self._vocabulary.note_start <= low < self._dur_start for low, _ in left)
        if exact and has_keys:
            if self.forcing:
                return left
            return tuple((low, high) for low, high in left if low >= self._vocabulary.note_start)
        if exact:
            self._exact = False  # every key is down there
            return self.allowed()
        if has_keys:
            return left
        return _with_time(left)  # no key is free in what is left of this segment

    def _onsets(self, ranges: Ranges) -> Ranges:
        """Return when the incomplete event may begin."""
        base = self._segment * _SEGMENT_STEPS
        start, end = self._vocabulary.onset_start, ranges[-1][1]
        if self._must_be_exact():
            at = start + self._first_step - base
            return ((at, at + 1),)
        least = max(self._first_step, self._free.get(self._key, 0)) - base + start
        low = max(ranges[0][0], min(least, end - 1))
        return ranges if low == ranges[0][0] else ((low, end),)

    def _must_be_exact(self) -> bool:
        """Whether the next event has to begin right at the seam."""
        if not self._exact:
            return False
        assert self._grammar is not None
        at = self._first_step - self._segment * _SEGMENT_STEPS
        return self._grammar.onset_step <= at < _SEGMENT_STEPS

    def _without_keys(self, ranges: Ranges, keys: list[int]) -> Ranges:
        """Ranges with all velocities of some keys taken out."""
        if not keys:
            return ranges
        width, drums = self._vocabulary.velocities, self._vocabulary.drum_start
        return _without(ranges, [(k, k + (1 if k >= drums else width)) for k in sorted(keys)])

    def _track(self, token: int) -> None:
        """Keep account of the time and of the keys that were struck."""
        kind = self._kinds[token] if 0 <= token < len(self._kinds) else int(Kind.UNK)
        if kind == _NOTE:
            offset = token - self._vocabulary.note_start
            self._key = token - offset % self._vocabulary.velocities
        elif kind == _DRUM:
            self._key = token
        elif kind == _PEDAL:
            self._key = _A_PEDAL
        else:
            if kind == _ONSET and self._key >= 0:
                step = token - self._vocabulary.onset_start + self._segment * _SEGMENT_STEPS
                self._free[self._key] = max(self._free.get(self._key, 0), step + RESTRIKE_STEPS)
                self._exact = False
                self._met(step)
            elif kind == TIME:
                self._segment += 1
                base = self._segment * _SEGMENT_STEPS
                self._free = {key: step for key, step in self._free.items() if step > base}
            self._key = _NOTHING

    def shape(self, choices: Choices, probabilities: FloatArray) -> FloatArray:
        """Work in pace, pulse and a forced ending: <E> keeps its share, <D> has the rest."""
        if self._key != _NOTHING:
            return self._timed(choices, probabilities)
        if not self.forcing:
            return self._paced(choices, probabilities, TIME, _SEGMENT_STEPS)
        out = np.zeros_like(probabilities)
        end = choices.index(EOS)
        share = float(probabilities[end]) if end >= 0 else 0.0
        if end >= 0:
            out[end] = share
        out[choices.index(DIM)] = 1.0 - share
        return out

    def _timed(self, choices: Choices, probabilities: FloatArray) -> FloatArray:
        """Work pace and pulse into the choice of an onset."""
        steps = choices.ids + (self._segment * _SEGMENT_STEPS - self._vocabulary.onset_start)
        if self._pace is not None:
            probabilities = self._pace.of_waits(steps, probabilities, self._latest)
        if self._pulse is not None:
            probabilities = self._pulse.gather(steps, probabilities, self._latest)
        return probabilities

    def _met(self, step: int) -> None:
        """Let pulse and pace follow an onset."""
        self._latest = step
        if self._pulse is not None:
            self._pulse = self._pulse.follow(step)
        if self._pace is not None:
            self._pace = self._pace.after(step)

    def _paced(
        self, choices: Choices, probabilities: FloatArray, other: int, end: int
    ) -> FloatArray:
        """Work the pace into the choice between another note in this segment and none.

        Args:
            choices, probabilities: as for ``shape``.
            other: the id that says that there is none.
            end: step of the segment after which no note can come.
        """
        if self._pace is None:
            return probabilities
        time = choices.index(other)
        notes = [(a, b) for kind, a, b in choices.groups if kind == _NOTE]
        if time < 0 or not notes:
            return probabilities
        first, last = notes[0][0], notes[-1][1]
        both = float(probabilities[first:last].sum() + probabilities[time])
        if not 0 < probabilities[time] < both:
            return probabilities
        place = max(self._latest - self._segment * _SEGMENT_STEPS, 0)
        left_s = (end - place) * STEP / 1000
        share = float(probabilities[time]) / both
        tilted = self._pace.of_waiting(share, left_s)
        out = probabilities.copy()
        out[time] = both * tilted
        out[first:last] *= (1 - tilted) / (1 - share)
        return out

    def override(self, token: int) -> int:
        """Without the grammar: the drawn token, or <D> in its place (E.3)."""
        if (
            self._asked
            and self._grammar is None
            and not self._has_dim
            and self._kinds[token] not in (Kind.ONSET, Kind.DUR)
        ):
            return DIM
        return token

    def advance(self, token: int) -> None:
        """Take the token that was decided."""
        if token == DIM:
            self._has_dim = True
        if self._grammar is not None:
            self._track(token)
            self._grammar.advance(token)
            if token == DIM:
                self._grammar.allow_end = self._ending != "never"


def _key_id(vocabulary: Vocabulary, index: int, pitch: int) -> int | None:
    """Return the first id of a key or drum of an instrument; None where it has none."""
    if index < len(vocabulary.classes):
        return vocabulary.class_range(index)[0] + pitch * vocabulary.velocities
    drum = vocabulary.drum_start + pitch - FIRST_DRUM
    return drum if vocabulary.drum_start <= drum < vocabulary.dur_start else None


def _without(ranges: Ranges, taken: Sequence[tuple[int, int]]) -> Ranges:
    """Ranges without others, which are ascending and disjoint."""
    out: list[tuple[int, int]] = []
    for low, high in ranges:
        for first, end in taken:
            if end <= low or first >= high:
                continue
            if first > low:
                out.append((low, first))
            low = end
        if low < high:
            out.append((low, high))
    return tuple(out)


def _only_specials(ranges: Ranges) -> Ranges:
    """Return the part of some ranges that is <E> and <D>."""
    return tuple((max(low, EOS), min(high, TIME)) for low, high in ranges if EOS <= low < TIME)


def _with_time(ranges: Ranges) -> Ranges:
    """Return some ranges of special tokens and <T>."""
    return merged([*ranges, (TIME, TIME + 1)])
