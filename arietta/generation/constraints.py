"""What one row may say next: the token grammar and the control of endings.

Endings (specification B.4, E.3): in training <D> stands about 100 tokens before <E>, so writing <D>
into a row asks the model to come to an end. Differences from the public sampler, undone by
``grammar=False``: tokens that make no valid piece cannot come; <D> cannot come unless an ending is
asked for; where <D> is forced, an <E> the model wants at that very place is let through instead of
being replaced; and no key is struck twice at one instant, which no pianist can do and no MIDI file
can say.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from arietta.arrays import FloatArray, Int32Array
from arietta.generation.sampling import Choices, Ranges
from arietta.tokenizers.aria import AriaTokenizer
from arietta.tokenizers.quantise import SEGMENT_MS, STEP
from arietta.tokenizers.vocabulary import DIM, EOS, TIME, Kind, Vocabulary

Ending = Literal["never", "free", "asked"]
"""``never``: no <E>, the row goes on until it is stopped. ``free``: the model may end. ``asked``:
no <E> before <D> has been written, which ``ask`` brings about."""

ENDING_TOKENS = 130
"""Tokens before the end of a row of fixed length at which <D> is written (E.3)."""

# Plain integers: looking an enum member up costs more than the rest of a step.
_NOTE, _DRUM, _ONSET = int(Kind.NOTE), int(Kind.DRUM), int(Kind.ONSET)
_LAST_STEP = SEGMENT_MS // STEP - 1


class Rules:
    """The constraints of one row.

    Args:
        tokenizer: of the model.
        ids: the whole prompt.
        grammar: enforce the token grammar. Off, everything is possible and ``override`` repeats
            the public sampler's forced ending.
        ending: see ``Ending``; without the grammar only ``asked`` matters.
        ban_dim: without the grammar, never draw <D> (E.4 does so).
    """

    def __init__(
        self,
        tokenizer: AriaTokenizer,
        ids: Int32Array,
        *,
        grammar: bool = True,
        ending: Ending = "never",
        ban_dim: bool = False,
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
        # Keys struck at the latest onset, as first id of the key's velocities; -1: none is said.
        self._struck: frozenset[int] = frozenset()
        self._struck_step = 0
        self._key = -1
        times = np.flatnonzero(np.asarray(ids) == TIME)
        for token in ids[int(times[-1]) if len(times) else 0 :]:
            self._track(int(token))

    def copy(self) -> Rules:
        """Independent rules in the same state, to look ahead with."""
        twin = object.__new__(Rules)
        twin.__dict__.update(self.__dict__)
        twin._grammar = None if self._grammar is None else self._grammar.copy()
        return twin

    @property
    def between_events(self) -> bool:
        """Whether no event is half said (always, without the grammar)."""
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

    def ask(self) -> None:
        """Ask for an ending: <D> comes at the next event boundary."""
        self._asked = True
        if self._grammar is not None:
            self._grammar.allow_dim = self._grammar.allow_end = True

    def allowed(self) -> Ranges:
        """Half-open ranges of the ids that may come next."""
        grammar = self._grammar
        if grammar is None:
            return self._everything
        ranges = grammar.allowed()
        if self._key >= 0:
            if self._key in self._struck:
                low, high = ranges[0]
                if low - self._vocabulary.onset_start == self._struck_step and low + 1 < high:
                    return ((low + 1, high),)
            return ranges
        if self._struck and self._struck_step == _LAST_STEP and grammar.complete:
            # No later onset is left in this segment for these keys.
            return _without(ranges, self._struck, self._vocabulary)
        return ranges

    def _track(self, token: int) -> None:
        """Keep account of the keys struck at the latest onset."""
        kind = self._kinds[token]
        if kind == _NOTE:
            offset = token - self._vocabulary.note_start
            self._key = token - offset % self._vocabulary.velocities
        elif kind == _DRUM:
            self._key = token
        elif kind == _ONSET:
            step = token - self._vocabulary.onset_start
            if step != self._struck_step:
                self._struck, self._struck_step = frozenset(), step
            if self._key >= 0:
                self._struck |= {self._key}
            self._key = -1
        else:
            self._key = -1
            if kind == TIME:
                self._struck, self._struck_step = frozenset(), 0

    def shape(self, choices: Choices, probabilities: FloatArray) -> FloatArray:
        """With a forced ending worked in: <E> keeps its share, <D> has the rest."""
        if not self.forcing:
            return probabilities
        out = np.zeros_like(probabilities)
        end = choices.index(EOS)
        share = float(probabilities[end]) if end >= 0 else 0.0
        if end >= 0:
            out[end] = share
        out[choices.index(DIM)] = 1.0 - share
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


def _without(ranges: Ranges, keys: frozenset[int], vocabulary: Vocabulary) -> Ranges:
    """Ranges with all velocities of some keys taken out."""
    out: list[tuple[int, int]] = []
    width = vocabulary.velocities
    for low, high in ranges:
        for key in sorted(keys):
            if low <= key < high:
                if key > low:
                    out.append((low, key))
                low = key + (1 if key >= vocabulary.drum_start else width)
        if low < high:
            out.append((low, high))
    return tuple(out)
