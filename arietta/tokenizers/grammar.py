"""Which id may follow, so that every sequence a model can generate is a valid piece.

    event      = note onset dur | drum onset | pedal onset
    body       = (event | <T> | <D> | <X>)* <E>

Inside a segment onsets do not decrease. Only instruments announced in the prefix play; velocity 0
of the public vocabularies is allowed, as cutting it out would leave 128 small ranges a class, and
is decoded as 10. Called for every token of every row, so each state's answer is made only once.
"""

from __future__ import annotations

import copy
from functools import lru_cache

from arietta.tokenizers.base import IdRange
from arietta.tokenizers.vocabulary import BOS, DIM, EOS, PAD, TIME, Kind, Vocabulary, vocabulary

Ranges = tuple[IdRange, ...]
MAX_TIME_RUN = 6

# Plain integers: looking an enum member up costs more than the rest of a step.
_UNK, _NOTE, _PEDAL, _ONSET = int(Kind.UNK), int(Kind.NOTE), int(Kind.PEDAL), int(Kind.ONSET)
_BOUNDARY, _AFTER_NOTE, _AFTER_SHORT, _AFTER_ONSET, _HEADER, _DONE = range(6)


def merged(ranges: list[IdRange]) -> Ranges:
    """Ascending disjoint ranges that cover the same ids; touching ones become one."""
    out: list[IdRange] = []
    for low, high in sorted(ranges):
        if out and low <= out[-1][1]:
            out[-1] = (out[-1][0], max(high, out[-1][1]))
        elif high > low:
            out.append((low, high))
    return tuple(out)


class _Tables:
    """Precomputed answers of one vocabulary."""

    def __init__(self, name: str) -> None:
        vocab = self.vocabulary = vocabulary(name)
        self.kinds = vocab.kinds.tobytes()
        self.size = vocab.size
        self.onset_start = vocab.onset_start
        start, end = vocab.onset_start, vocab.pedal_start
        # Index = onset step of the last event of the segment.
        self.onsets: tuple[Ranges, ...] = tuple(((i, end),) for i in range(start, end))
        first_duration = vocab.dur_zero + 1
        self.durations: Ranges = ((first_duration, start),)
        self.done: Ranges = ((PAD, PAD + 1),)

    def between_events(
        self,
        instruments: tuple[int, ...],
        *,
        pedal: bool,
        time: bool,
        end: bool,
        dim: bool,
        delimiter: bool,
    ) -> Ranges:
        """Return what may come where no event is incomplete."""
        vocab = self.vocabulary
        ranges = [vocab.class_range(i) for i in instruments if i < len(vocab.classes)]
        if len(vocab.classes) in instruments:
            ranges.append((vocab.drum_start, vocab.dur_start))
        if pedal and vocab.pedal:
            ranges.append((vocab.pedal_start, vocab.pedal_start + 2))
        if end or not ranges:
            ranges.append((EOS, EOS + 1))
        if dim:
            ranges.append((DIM, DIM + 1))
        if time:
            ranges.append((TIME, TIME + 1))
        if delimiter and vocab.delimiter_id is not None:
            ranges.append((vocab.delimiter_id, vocab.delimiter_id + 1))
        return merged(ranges)


@lru_cache(maxsize=16)
def _tables(name: str) -> _Tables:
    return _Tables(name)


class AriaGrammar:
    """The state of one sequence. Small; ``copy`` it to branch or to be able to go back.

    Any id may be fed, also one that was not allowed (a prompt from elsewhere): the state then is
    what a decoder would make of the sequence.

    Attributes:
        allow_end: whether <E> may come between events; may be switched at any time.
        allow_dim: whether <D> may come, once; may be switched at any time.
    """

    __slots__ = (
        "_delimiter",
        "_header_open",
        "_instruments",
        "_max_time_run",
        "_onset",
        "_pedal",
        "_ranges",
        "_ranges_key",
        "_seen_dim",
        "_state",
        "_tables",
        "_time_run",
        "allow_dim",
        "allow_end",
    )

    def __init__(
        self,
        name: str,
        *,
        allow_end: bool = True,
        allow_dim: bool = False,
        allow_delimiter: bool = False,
        allow_pedal: bool = True,
        max_time_run: int = MAX_TIME_RUN,
    ) -> None:
        self._tables = _tables(name)
        self.allow_end = allow_end
        self.allow_dim = allow_dim
        self._delimiter = allow_delimiter
        self._pedal = allow_pedal
        self._max_time_run = max_time_run
        self._state = _HEADER
        self._header_open = True
        self._instruments: tuple[int, ...] = ()
        self._onset = 0
        self._time_run = 0
        self._seen_dim = False
        self._ranges: Ranges = ()
        self._ranges_key = -1

    def copy(self) -> AriaGrammar:
        """Return an independent grammar in the same state."""
        return copy.copy(self)

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary it speaks of."""
        return self._tables.vocabulary

    @property
    def complete(self) -> bool:
        """Whether the sequence may stop here: no event is incomplete."""
        return self._state in (_BOUNDARY, _DONE)

    @property
    def finished(self) -> bool:
        """Whether <E> has come; only padding follows."""
        return self._state == _DONE

    @property
    def onset_step(self) -> int:
        """Lowest onset that may come in this segment, in steps of 10 ms."""
        return self._onset

    def advance(self, token_id: int) -> None:
        """Take the next id of the sequence."""
        tables = self._tables
        kind = tables.kinds[token_id] if 0 <= token_id < tables.size else _UNK
        if kind >= _NOTE:
            self._advance_event(kind, token_id)
            return
        if self._header_open:
            self._advance_header(kind, token_id)
        elif self._state != _DONE:
            self._state = _BOUNDARY
        if kind == TIME:
            self._time_run += 1
            self._onset = 0
        elif kind == DIM:
            self._seen_dim = True
        elif kind == EOS and self._state != _HEADER:
            self._state = _DONE

    def _advance_event(self, kind: int, token_id: int) -> None:
        self._header_open = False
        state = self._state
        if kind == _ONSET and (state in (_AFTER_NOTE, _AFTER_SHORT)):
            self._onset = token_id - self._tables.onset_start
            self._state = _AFTER_ONSET if state == _AFTER_NOTE else _BOUNDARY
        elif kind <= _PEDAL:
            self._time_run = 0
            self._state = _AFTER_NOTE if kind == _NOTE else _AFTER_SHORT
        else:
            self._state = _BOUNDARY

    def _advance_header(self, kind: int, token_id: int) -> None:
        if kind == Kind.INSTRUMENT:
            index = token_id - self.vocabulary.instrument_start
            self._instruments = tuple(sorted({*self._instruments, index}))
            self._ranges_key = -1
        elif kind == Kind.BOS:
            self._state = _BOUNDARY

    def allowed(self) -> Ranges:
        """Half-open id ranges that may come next, ascending and disjoint; never empty."""
        state = self._state
        if state in (_AFTER_NOTE, _AFTER_SHORT):
            return self._tables.onsets[self._onset]
        if state == _AFTER_ONSET:
            return self._tables.durations
        if state == _BOUNDARY:
            time = self._time_run < self._max_time_run
            dim = self.allow_dim and not self._seen_dim
            key = time + 2 * dim + 4 * self.allow_end
            if key != self._ranges_key:
                self._ranges_key = key
                self._ranges = self._tables.between_events(
                    self._instruments,
                    pedal=self._pedal,
                    time=time,
                    end=self.allow_end,
                    dim=dim,
                    delimiter=self._delimiter,
                )
            return self._ranges
        return self._tables.done if state == _DONE else self._header_ranges()

    def _header_ranges(self) -> Ranges:
        vocab = self.vocabulary
        start = vocab.instrument_start
        ranges = [
            (start + i, start + i + 1)
            for i in range(len(vocab.instruments))
            if i not in self._instruments
        ]
        if self._instruments:
            ranges.append((BOS, BOS + 1))
        return merged(ranges)
