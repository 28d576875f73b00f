"""Fill a gap: notes that begin inside a span, for what stands before, inside and after it.

Models that know the layout (``arietta.tokenizers.gaps``) read what is kept, then write what is
missing, so that it leads to what follows. Any other model goes on from what stands before, several
times. In both cases every take is judged by how well what follows goes on from it, in bits a note
under the same model, and the takes come back sorted by that.

Validity is a matter of what may be drawn, not of repair: onsets lie inside [start, end) and do not
go back; only the chosen keys; a key that is kept down cannot be struck; a new note ends before the
next kept stroke of its key.

Times are in ms from the start of the window, in whole steps of 10 ms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from arietta.arrays import BoolArray, Float32Array, FloatArray, Int32Array, IntArray
from arietta.errors import UsageError
from arietta.generation.constraints import Rules
from arietta.generation.engine import Engine, Row
from arietta.generation.forward_pass import forward
from arietta.generation.sampling import Choices, Ranges
from arietta.generation.settings import SamplingSettings, Stop
from arietta.midi.notes import KEYS, LOWEST_KEY
from arietta.tokenizers.aria import AriaTokenizer
from arietta.tokenizers.gaps import GapPlace, event_ids, gap_header, kept_head
from arietta.tokenizers.quantise import MAX_DURATION_MS, SEGMENT_MS, STEP
from arietta.tokenizers.vocabulary import EOS, N_PITCHES, TIME, Kind, Vocabulary

FOLLOWING_MS = 5_000
"""What is judged of the music behind the gap."""
CONTEXT_MS = 30_000
"""Music before the gap and behind it that is looked at, where the context has room for it."""
_SEGMENT_STEPS = SEGMENT_MS // STEP
_FEWEST_TOKENS = 16


@dataclass(frozen=True, eq=False)
class Columns:
    """Notes in order of their onsets, equal onsets by pitch.

    Attributes:
        onset_ms, duration_ms: (n,) whole steps of 10 ms; the sustain pedal is part of the duration.
        pitch, velocity: (n,) 0..127.
    """

    onset_ms: IntArray
    duration_ms: IntArray
    pitch: IntArray
    velocity: IntArray

    def __len__(self) -> int:
        """Return the number of notes."""
        return len(self.onset_ms)

    def where(self, chosen: BoolArray) -> Columns:
        """Return some of the notes."""
        return Columns(
            self.onset_ms[chosen],
            self.duration_ms[chosen],
            self.pitch[chosen],
            self.velocity[chosen],
        )

    def as_tuple(self) -> tuple[IntArray, IntArray, IntArray, IntArray]:
        """Return the columns as the tokenizer takes them."""
        return self.onset_ms, self.duration_ms, self.pitch, self.velocity


@dataclass(frozen=True, eq=False)
class Fill:
    """One way to fill a gap.

    Attributes:
        notes: what is new.
        seam_bits: bits a note of what follows, given what stands before and the new notes; None
            where nothing follows. Lower is better.
        variation: number of the take.
        whole: whether the model came to an end by itself; else the context was full.
    """

    notes: Columns
    seam_bits: float | None
    variation: int
    whole: bool


@dataclass(frozen=True, eq=False)
class Busy:
    """Keys that are held by what is kept.

    Attributes:
        pitch: (n,) keys.
        down_ms, up_ms: (n,) from when to when each is down, without the pedal.
    """

    pitch: IntArray
    down_ms: IntArray
    up_ms: IntArray


class FillRules(Rules):
    """What may come next in a gap.

    Args:
        tokenizer: of the model.
        place: of the gap.
        busy: keys that are kept.
        segment: five-second segment that new onsets are counted from.
        open_end: for models that do not know gaps: they end once their time has passed the end;
            what begins there is not of the gap. Else the model itself writes the end.
    """

    def __init__(
        self,
        tokenizer: AriaTokenizer,
        place: GapPlace,
        busy: Busy,
        *,
        segment: int,
        open_end: bool,
    ) -> None:
        self._vocabulary = vocab = tokenizer.vocabulary
        self._first = place.start_ms // STEP
        self._close = place.end_ms // STEP
        whole_segments = -(-self._close // _SEGMENT_STEPS) * _SEGMENT_STEPS
        self._end = whole_segments if open_end else self._close
        self._open_end = open_end
        self._segment = segment
        low, high = place.keys or (LOWEST_KEY, LOWEST_KEY + KEYS - 1)
        # Steps of the span in which each key may be struck.
        legal = np.zeros((N_PITCHES, self._end - self._first), bool)
        legal[max(low, LOWEST_KEY) : min(high, LOWEST_KEY + KEYS - 1) + 1] = True
        down, up = busy.down_ms // STEP - self._first, -(-busy.up_ms // STEP) - self._first
        for key, a, b in zip(busy.pitch.tolist(), down.tolist(), up.tolist(), strict=True):
            legal[key, max(a, 0) : max(b, a + 1, 0)] = False
        self._legal = legal
        self._strokes = {
            int(key): np.sort(busy.down_ms[busy.pitch == key]) // STEP
            for key in np.unique(busy.pitch)
        }
        self._cursor = self._first
        self._key = -1
        self._onset = -1
        self._done = False
        self._note_start, self._width = vocab.note_start, vocab.velocities

    def copy(self) -> FillRules:
        """Return independent rules in the same state."""
        twin = object.__new__(FillRules)
        twin.__dict__.update(self.__dict__)
        twin._legal = self._legal.copy()
        return twin

    @property
    def between_events(self) -> bool:
        """Whether the last event is whole."""
        return self._key < 0

    @property
    def has_dim(self) -> bool:
        """Never: a gap has no ending."""
        return False

    @property
    def forcing(self) -> bool:
        """Never."""
        return False

    def ask(self) -> None:
        """Do nothing: a gap ends where it ends."""

    def shape(self, choices: Choices, probabilities: FloatArray) -> FloatArray:
        """Return the probabilities as they are."""
        del choices
        return probabilities

    def override(self, token: int) -> int:
        """Return the token as it is."""
        return token

    def _span(self) -> tuple[int, int]:
        """Return the steps of the segment from the cursor on, counted from the first step."""
        start = max(self._cursor, self._segment * _SEGMENT_STEPS)
        end = min((self._segment + 1) * _SEGMENT_STEPS, self._end)
        return start - self._first, max(end, start) - self._first

    def allowed(self) -> Ranges:
        """Return half-open ranges of the ids that may come next, ascending and disjoint."""
        vocab = self._vocabulary
        if self._done:
            return ((EOS + 1, EOS + 2),)
        a, b = self._span()
        if self._onset >= 0:
            return ((vocab.dur_zero + 1, vocab.dur_zero + 1 + self._longest()),)
        if self._key >= 0:
            first = vocab.onset_start + a + self._first - self._segment * _SEGMENT_STEPS
            return tuple((first + i, first + j) for i, j in _runs(self._legal[self._key, a:b]))
        if self._open_end and max(self._cursor, self._segment * _SEGMENT_STEPS) >= self._close:
            return ((EOS, EOS + 1),)
        ranges: list[tuple[int, int]] = []
        if not self._open_end:
            ranges.append((EOS, EOS + 1))
        if self._open_end or (self._segment + 1) * _SEGMENT_STEPS < self._end:
            ranges.append((TIME, TIME + 1))
        keys: BoolArray = np.asarray(self._legal[:, a:b].any(axis=1))
        ranges += [
            (self._note_start + i * self._width, self._note_start + j * self._width)
            for i, j in _runs(keys)
        ]
        return tuple(ranges)

    def _longest(self) -> int:
        """Return the longest duration of the note at hand, in steps: up to the next kept stroke."""
        longest = MAX_DURATION_MS // STEP
        strokes = self._strokes.get(self._key)
        if strokes is not None:
            behind = strokes[strokes > self._onset]
            if len(behind):
                longest = min(longest, int(behind[0]) - self._onset)
        return longest

    def advance(self, token: int) -> None:
        """Take the token that was decided."""
        vocab = self._vocabulary
        kind = vocab.kinds[token]
        if kind == Kind.NOTE:
            self._key = (token - self._note_start) // self._width
        elif kind == Kind.ONSET:
            self._onset = token - vocab.onset_start + self._segment * _SEGMENT_STEPS
            self._cursor = self._onset
            # No key is struck twice at one instant.
            self._legal[self._key, self._onset - self._first] = False
        elif kind == Kind.DUR:
            self._key = self._onset = -1
        elif token == TIME:
            self._segment += 1
        elif token == EOS:
            self._done = True


def _runs(chosen: BoolArray) -> list[tuple[int, int]]:
    """Half-open stretches of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], chosen, [False])).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def fill(
    engine: Engine,
    kept: Columns,
    place: GapPlace,
    busy: Busy,
    *,
    prefix: Sequence[int],
    settings: SamplingSettings | None = None,
    variations: int = 4,
    takes: int | None = None,
    seed: int = 0,
    controls: Sequence[int] = (),
) -> list[Fill]:
    """Fill a gap in several ways, the best first.

    Args:
        engine: of a model with the grammar of piano.
        kept: every note that stays, before, inside and after the gap.
        place: where new notes begin, and on which keys.
        busy: when the keys of kept notes are down.
        prefix: ids that name the instrument and whatever is known of the music.
        settings: how tokens are drawn.
        variations: how many to return.
        takes: how many to choose from; ``variations`` by default.
        seed: 0..2^64-1.
        controls: ids that describe what is wanted, for models that know them.

    Raises:
        UsageError: the span is empty or not in whole steps, or the context has no room for it.
    """
    if not 0 <= place.start_ms < place.end_ms or place.start_ms % STEP or place.end_ms % STEP:
        raise UsageError(
            f"a gap from {place.start_ms} to {place.end_ms} ms: give whole steps of {STEP} ms,"
            " from before to"
        )
    tokenizer = engine.tokenizer
    vocab = tokenizer.vocabulary
    context = engine.backend.max_seq_len
    if vocab.filling:
        head = _whole_prompt(kept, place, prefix, vocab, context)
        prompt = np.concatenate((head, np.array(controls, np.int32)))
        rules = FillRules(tokenizer, place, busy, segment=place.segment, open_end=False)
        base_ms = place.segment * SEGMENT_MS
    else:
        before = kept.where(kept.onset_ms < place.start_ms)
        prompt = event_ids(before.as_tuple(), vocab, [*prefix, tokenizer.bos])
        prompt = _last_tokens(prompt, vocab, context * 3 // 4)
        base_ms = int(before.onset_ms[-1]) // SEGMENT_MS * SEGMENT_MS if len(before) else 0
        rules = FillRules(tokenizer, place, busy, segment=base_ms // SEGMENT_MS, open_end=True)
    room = context - len(prompt) - 1
    if room < _FEWEST_TOKENS:
        raise UsageError(f"the notes around the gap leave {room} tokens of {context} to fill it")
    stream = engine.stream(
        prompt,
        settings=settings,
        stop=Stop(tokens=room),
        ending="free",
        variations=max(variations, takes or 0),
        seed=seed,
        rules=rules,
    )
    clock = tokenizer.decoder()
    clock.extend(prompt)
    shift_ms = base_ms - clock.clock_ms
    stream.run()
    filled = [_fill(engine, kept, place, prefix, row, shift_ms) for row in stream.rows]
    return sorted(filled, key=lambda f: (f.seam_bits or 0.0, f.variation))[:variations]


def _fill(
    engine: Engine,
    kept: Columns,
    place: GapPlace,
    prefix: Sequence[int],
    row: Row,
    shift_ms: int,
) -> Fill:
    notes = [n for n in row.notes if n.onset_ms + shift_ms < place.end_ms]
    new = Columns(
        np.array([n.onset_ms + shift_ms for n in notes], np.int64),
        np.array([n.duration_ms for n in notes], np.int64),
        np.array([n.pitch for n in notes], np.int64),
        np.array([n.velocity for n in notes], np.int64),
    )
    bits = seam_bits(engine, kept, new, place, prefix)
    return Fill(new, bits, row.variation, row.reason == "end")


def seam_bits(
    engine: Engine, kept: Columns, new: Columns, place: GapPlace, prefix: Sequence[int]
) -> float | None:
    """Return the bits a note of what follows a gap, given all before it; None: nothing follows.

    Args:
        engine: whose model judges.
        kept, new: notes around the gap and in it.
        place: of the gap.
        prefix: ids that name the instrument.
    """
    tokenizer = engine.tokenizer
    vocab = tokenizer.vocabulary
    whole = _joined(kept, new)
    whole = whole.where(
        (whole.onset_ms >= place.start_ms - CONTEXT_MS)
        & (whole.onset_ms < place.end_ms + FOLLOWING_MS)
    )
    follows = whole.onset_ms >= place.end_ms
    count = int(follows.sum())
    if not count:
        return None
    zero = int(whole.onset_ms[0]) // SEGMENT_MS * SEGMENT_MS
    moved = Columns(whole.onset_ms - zero, whole.duration_ms, whole.pitch, whole.velocity)
    before = event_ids(moved.where(~follows).as_tuple(), vocab, [*prefix, tokenizer.bos])
    ids = event_ids(moved.as_tuple(), vocab, [*prefix, tokenizer.bos])
    judged = len(ids) - len(before)
    ids = ids[-min(len(ids), engine.backend.max_seq_len - 1) :]
    session = engine.backend.new_session(1)
    start = len(ids) - judged - 1
    if start > 0:
        forward(session, [ids[:start].tolist()])
    hidden: Float32Array = session.append(ids[None, start:-1])[0]
    logits = session.head(hidden).astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    nats = -log_p[np.arange(judged), ids[start + 1 :]].sum()
    return float(nats / math.log(2) / count)


def _joined(kept: Columns, new: Columns) -> Columns:
    """Both in token order."""
    columns = [np.concatenate(pair) for pair in zip(kept.as_tuple(), new.as_tuple(), strict=True)]
    order = np.lexsort((columns[2], columns[0]))
    return Columns(*(column[order] for column in columns))


def _whole_prompt(
    kept: Columns, place: GapPlace, prefix: Sequence[int], vocab: Vocabulary, context: int
) -> Int32Array:
    """Ids up to <MID>; kept notes farthest from the gap are left out until a third is free."""
    distance = np.maximum(place.start_ms - kept.onset_ms, kept.onset_ms - place.end_ms)
    order = np.argsort(np.maximum(distance, 0), kind="stable")
    count = len(kept)
    while True:
        chosen = np.zeros(len(kept), bool)
        chosen[order[:count]] = True
        notes = kept.where(chosen)
        head = event_ids(notes.as_tuple(), vocab, kept_head(prefix, vocab))
        head = np.concatenate((head, np.array(gap_header(place, vocab), np.int32)))
        excess = len(head) - context * 2 // 3
        if excess <= 0 or count == 0:
            return head
        count = max(0, count - -(-excess // 3))


def _last_tokens(ids: Int32Array, vocab: Vocabulary, limit: int) -> Int32Array:
    """Return the prefix and the last events of a prompt that fit; time still counts on."""
    if len(ids) <= limit:
        return ids
    body = int(np.flatnonzero(ids == 0)[0]) + 1
    start = len(ids) - (limit - body)
    while vocab.kinds[ids[start]] in (Kind.ONSET, Kind.DUR):
        start += 1
    return np.concatenate((ids[:body], ids[start:]))
