"""Fill a gap: notes that begin inside a span, for what stands before, inside and after it.

Models that know the layout (``arietta.tokenizers.gaps``) read what is kept, then write what is
missing, where notes are kept inside the gap or nothing stands before it. Everywhere else, and with
any other model, they go on from what stands before, several times: the included model leads better
to what follows that way (``benchmarks/filling.py``). Every take is judged by how well what follows
goes on from it, in bits a note under the same model, and the takes come back sorted by that.

Validity is a matter of what may be drawn, not of repair: onsets lie inside [start, end) and do not
go back; only the chosen keys; a key that is kept down cannot be struck; a new note ends before the
next kept stroke of its key.

Times are in ms from the start of the window, in whole steps of 10 ms.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from arietta.arrays import BoolArray, Float32Array, FloatArray, Int32Array, IntArray
from arietta.errors import UsageError
from arietta.generation.constraints import Rules
from arietta.generation.engine import Engine, GenerationProgress, Guidance, Row, StreamedNote
from arietta.generation.forward_pass import CHUNK, cut_left, forward
from arietta.generation.pace import Pace
from arietta.generation.pulse import Pulse
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
_MOST_TOKENS_PER_SECOND = 120
"""Three for each note; nobody plays forty notes a second for long."""


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

    def where(self, chosen: BoolArray | IntArray) -> Columns:
        """Return some of the notes, by a mask or by their numbers."""
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
        pulse: what onsets keep to; None leaves them to the model.
        pace: the rate of notes that is held; None leaves it to the model.
    """

    def __init__(
        self,
        tokenizer: AriaTokenizer,
        place: GapPlace,
        busy: Busy,
        *,
        segment: int,
        open_end: bool,
        pulse: Pulse | None = None,
        pace: Pace | None = None,
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
        self._cursor = self._latest = self._first
        self._pulse, self._pace = pulse, pace
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

    @property
    def shapes(self) -> bool:
        """Whether ``shape`` changes the odds of the next token."""
        if self._key < 0:
            return self._pace is not None
        return self._onset < 0 and (self._pulse is not None or self._pace is not None)

    def shape(self, choices: Choices, probabilities: FloatArray) -> FloatArray:
        """Work in pace and pulse."""
        if self._key >= 0:
            return self._timed(choices, probabilities)
        base = self._segment * _SEGMENT_STEPS
        other = TIME if choices.index(TIME) >= 0 else EOS
        return self._paced(choices, probabilities, other, min(self._end - base, _SEGMENT_STEPS))

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
            self._met(self._onset)
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


class FillStream:
    """Ways to fill a gap in the making: iterate for notes, then ask for ``results``.

    ``cancel`` may be called from another thread; ``results`` then holds what was decided so far.

    Args:
        engine: of a model with the grammar of piano.
        kept: every note that stays, before, inside and after the gap.
        place: where new notes begin, and on which keys.
        busy: when the keys of kept notes are down.
        prefix: ids that name the instrument and whatever is known of the music.
        settings: how tokens are drawn.
        takes: how many ways.
        seed: 0..2^64-1.
        controls: ids that describe what is wanted, for models that know them.
        guidance: music to resemble, for conditioned models.
        pulse, pace: what new onsets keep to, and their rate; None leaves them to the model.

    Raises:
        UsageError: the span is empty or not in whole steps, or the context has no room for it.
    """

    def __init__(
        self,
        engine: Engine,
        kept: Columns,
        place: GapPlace,
        busy: Busy,
        *,
        prefix: Sequence[int],
        settings: SamplingSettings | None = None,
        takes: int = 4,
        seed: int = 0,
        controls: Sequence[int] = (),
        guidance: Guidance | None = None,
        pulse: Pulse | None = None,
        pace: Pace | None = None,
    ) -> None:
        if not 0 <= place.start_ms < place.end_ms or place.start_ms % STEP or place.end_ms % STEP:
            raise UsageError(
                f"a gap from {place.start_ms} to {place.end_ms} ms: give whole steps of {STEP} ms,"
                " from before to"
            )
        self._engine, self._kept, self._place, self._prefix = engine, kept, place, prefix
        tokenizer = engine.tokenizer
        vocab = tokenizer.vocabulary
        context = engine.backend.max_seq_len - (guidance is not None)
        held: dict[str, Any] = {"pulse": pulse, "pace": pace}
        before = kept.where(kept.onset_ms < place.start_ms)
        inside = (kept.onset_ms >= place.start_ms) & (kept.onset_ms < place.end_ms)
        whole = place.keys is None and not inside.any()
        reads_gaps = vocab.filling and not (whole and len(before))
        if reads_gaps:
            head = _whole_prompt(kept, place, prefix, vocab, context)
            prompt = np.concatenate((head, np.array(controls, np.int32)))
            rules = FillRules(tokenizer, place, busy, segment=place.segment, open_end=False, **held)
            base_ms = place.segment * SEGMENT_MS
        else:
            prompt = event_ids(before.as_tuple(), vocab, [*prefix, tokenizer.bos])
            prompt = _last_tokens(prompt, vocab, context * 3 // 4)
            base_ms = int(before.onset_ms[-1]) // SEGMENT_MS * SEGMENT_MS if len(before) else 0
            rules = FillRules(
                tokenizer, place, busy, segment=base_ms // SEGMENT_MS, open_end=True, **held
            )
        room = context - len(prompt) - 1
        if room < _FEWEST_TOKENS:
            raise UsageError(f"the notes around the gap leave {room} tokens of {context} for it")
        if not reads_gaps:
            # Without a header in front the oldest music can make room for more.
            gap_s = (place.end_ms - place.start_ms) / 1000
            room = max(room, int(_MOST_TOKENS_PER_SECOND * gap_s))
        self._stream = engine.stream(
            prompt,
            settings=settings,
            stop=Stop(tokens=room),
            ending="free",
            variations=takes,
            seed=seed,
            rules=rules,
            guidance=guidance,
        )
        clock = tokenizer.decoder()
        clock.extend(prompt)
        self._shift_ms = base_ms - clock.clock_ms

    def __iter__(self) -> Iterator[StreamedNote]:
        """Return the notes of all takes as they are decided; onsets from the window's start."""
        while not self.done:
            yield from self.step()

    def step(self) -> list[StreamedNote]:
        """Decide the next token of every take that goes on; return the notes it completes."""
        found = (
            note._replace(onset_ms=note.onset_ms + self._shift_ms) for note in self._stream.step()
        )
        return [note for note in found if note.onset_ms < self._place.end_ms]

    @property
    def done(self) -> bool:
        """Whether every take is done."""
        return self._stream.done

    def cancel(self) -> None:
        """Stop as soon as possible."""
        self._stream.cancel()

    def progress(self) -> GenerationProgress:
        """How it stands."""
        return self._stream.progress()

    def results(self, more: Sequence[Columns] = ()) -> tuple[list[Fill], list[float | None]]:
        """Return what was decided so far, in the order of the takes.

        Args:
            more: other ways to fill the gap, to be judged beside.

        Returns:
            A fill for each take, and the bits a note of what follows for each of ``more``.
        """
        rows = self._stream.rows
        new = [self._new(row) for row in rows]
        bits = seam_bits(self._engine, self._kept, [*new, *more], self._place, self._prefix)
        fills = [
            Fill(notes, one, row.variation, row.reason == "end")
            for row, notes, one in zip(rows, new, bits, strict=False)
        ]
        return fills, bits[len(rows) :]

    def _new(self, row: Row) -> Columns:
        """Return the new notes of a take in token order."""
        shift = self._shift_ms
        notes = sorted(
            (n.onset_ms + shift, n.pitch, n.duration_ms, n.velocity)
            for n in row.notes
            if n.onset_ms + shift < self._place.end_ms
        )
        onset, pitch, duration, velocity = np.array(notes, np.int64).reshape(-1, 4).T
        return Columns(onset, duration, pitch, velocity)


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
    guidance: Guidance | None = None,
) -> list[Fill]:
    """Fill a gap in several ways, the best first; arguments and errors as for ``FillStream``.

    Args:
        variations: how many to return.
        takes: how many to choose from; ``variations`` by default.
    """
    stream = FillStream(
        engine,
        kept,
        place,
        busy,
        prefix=prefix,
        settings=settings,
        takes=max(variations, takes or 0),
        seed=seed,
        controls=controls,
        guidance=guidance,
    )
    for _ in stream:
        pass
    return by_seam(stream.results()[0])[:variations]


def by_seam(fills: Sequence[Fill]) -> list[Fill]:
    """Return fills with the smoothest first; those with nothing behind them by their numbers."""
    return sorted(fills, key=lambda one: (one.seam_bits or 0.0, one.variation))


def seam_bits(
    engine: Engine,
    kept: Columns,
    ways: Sequence[Columns],
    place: GapPlace,
    prefix: Sequence[int],
) -> list[float | None]:
    """Return the bits a note of what follows a gap for each way to fill it; None: nothing follows.

    Args:
        engine: whose model judges.
        kept: notes around the gap.
        ways: (n) notes in it.
        place: of the gap.
        prefix: ids that name the instrument.
    """
    tokenizer = engine.tokenizer
    vocab = tokenizer.vocabulary
    kept = kept.where(
        (kept.onset_ms >= place.start_ms - CONTEXT_MS)
        & (kept.onset_ms < place.end_ms + FOLLOWING_MS)
    )
    count = int((kept.onset_ms >= place.end_ms).sum())
    if not count or not ways:
        return [None] * len(ways)
    rows: list[list[int]] = []
    judged: list[int] = []
    for new in ways:
        whole = _joined(kept, new)
        zero = int(whole.onset_ms[0]) // SEGMENT_MS * SEGMENT_MS
        moved = Columns(whole.onset_ms - zero, whole.duration_ms, whole.pitch, whole.velocity)
        follows = whole.onset_ms >= place.end_ms
        before = event_ids(moved.where(~follows).as_tuple(), vocab, [*prefix, tokenizer.bos])
        ids = event_ids(moved.as_tuple(), vocab, [*prefix, tokenizer.bos])
        heard, _ = cut_left(tokenizer, ids.tolist(), engine.backend.max_seq_len)
        rows.append(heard)
        judged.append(min(len(ids) - len(before), len(heard) - 1))
    nats = _tail_nats(engine, rows, judged)
    return [one / math.log(2) / count for one in nats]


def _tail_nats(engine: Engine, rows: list[list[int]], judged: list[int]) -> list[float]:
    """Return the nats of the last ids of each row; what the rows begin with is run once."""
    starts = [len(row) - n - 1 for row, n in zip(rows, judged, strict=True)]
    common = min(starts)
    for row in rows[1:]:
        same = np.array(row[:common]) == np.array(rows[0][:common])
        common = int(same.argmin()) if not same.all() else common
    session = engine.backend.new_session(1)
    if common:
        forward(session, [rows[0][:common]])
    session.fork(np.zeros(len(rows), np.int64))
    rests = [row[common:-1] for row in rows]
    longest = max(map(len, rests))
    ids = np.zeros((len(rows), longest), np.int32)
    for place, rest in zip(ids, rests, strict=True):
        place[: len(rest)] = rest
    nats = [0.0] * len(rows)
    counts = np.array([len(rest) for rest in rests])
    for at in range(0, longest, CHUNK):
        part = ids[:, at : at + CHUNK]
        hidden = session.append(part, counts=np.clip(counts - at, 0, part.shape[1]))
        for b, (row, start) in enumerate(zip(rows, starts, strict=True)):
            first = max(start - common - at, 0)
            last = min(len(rests[b]) - at, part.shape[1])
            if first < last:
                wanted = np.array(row[common + at + 1 + first : common + at + 1 + last])
                nats[b] += _nats(session.head(hidden[b, first:last]), wanted)
    return nats


def _nats(logits: Float32Array, wanted: IntArray) -> float:
    """Return the surprise of the ids (n,) under logits (n, V)."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    chosen = wide[np.arange(len(wanted)), wanted]
    return float((np.log(np.exp(wide).sum(axis=1)) - chosen).sum())


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
