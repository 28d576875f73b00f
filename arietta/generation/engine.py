"""The engine: a model that has heard a prompt goes on from it, in several variations at once.

It knows ids and the clock they tell; it prints nothing, opens no file and takes its model as an
argument. Front ends (files, studio, duet) differ in what they do with the notes a ``Stream`` gives.

Prefill runs the prompt once; every variation is a row that forks from it. A row's notes depend on
the prompt, the settings, the seed and the row's number, not on how many rows run beside it.
"""

from __future__ import annotations

import copy
import math
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from arietta.arrays import Float32Array, Int32Array
from arietta.errors import UsageError
from arietta.generation.constraints import ENDING_TOKENS, Ending, Rules, Start
from arietta.generation.forward_pass import Cancelled, cut_left, forward, logits_for
from arietta.generation.sampling import Choices, Ranges, RowRandom, Sampler, pick
from arietta.generation.settings import SamplingSettings, Stop
from arietta.generation.speculative import Draft, Drafter, Proposal, accept
from arietta.models.aria.protocol import Backend, Session
from arietta.tokenizers.aria import AriaTokenizer
from arietta.tokenizers.decoding import NoteEvent, PedalEvent
from arietta.tokenizers.encoding import DIM_FROM_END
from arietta.tokenizers.vocabulary import EOS, Kind

KEEP_PROMPT = 0.75
"""Share of the context that a prompt too long for it keeps."""

KEEP_SLIDING = 0.5
"""Share of the context kept when a row has filled it: one token of prefill for each new one."""

ENDING_GRACE_S = 20.0
"""Music allowed beyond the asked length for coming to an end."""

GUIDANCE_WARMUP = 250
"""Tokens over which guidance sets in (E.4)."""

_USUAL_TOKENS_PER_SECOND = 30.0
_TRUST_RATE_AFTER_MS = 5_000


class StreamedNote(NamedTuple):
    """A note that has been decided; times in ms from the first event of the prompt.

    Attributes:
        variation: which row it belongs to.
        onset_ms, duration_ms, pitch, velocity, program, channel: as in ``NoteEvent``.
    """

    variation: int
    onset_ms: int
    duration_ms: int
    pitch: int
    velocity: int
    program: int
    channel: int


@dataclass(frozen=True, eq=False)
class Guidance:
    """Classifier-free guidance by an embedding (E.4), for conditioned models.

    Attributes:
        vector: (E,) embedding of the music to resemble.
        strength: 0..10; 0 ignores the vector, 1 follows it, more exaggerates it. It sets in
            linearly over the first tokens.
    """

    vector: Float32Array
    strength: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.strength <= 10.0:
            raise UsageError(f"`guidance` must lie between 0 and 10, not {self.strength}")


@dataclass(frozen=True)
class RowReport:
    """How a row stands.

    Attributes:
        variation: its number.
        notes, tokens: decided so far.
        music_seconds: from the first new note to the latest end of one.
        reason: why it is done: ``end``, ``seconds``, ``notes``, ``tokens``, ``cancelled``; None
            while it goes on.
    """

    variation: int
    notes: int
    tokens: int
    music_seconds: float
    reason: str | None


@dataclass(frozen=True)
class GenerationProgress:
    """How a stream stands.

    Attributes:
        notes, tokens: of all rows.
        music_seconds: of the row that is furthest behind among those that go on, else the longest.
        total_music_seconds: of all rows together.
        prefill_seconds: wall clock spent on the prompt.
        first_note_seconds: wall clock from the start, prompt included, to the first note.
        wall_seconds: wall clock from the start, prompt included.
        realtime_factor: total_music_seconds per wall second of generating.
        acceptance: share of drafted tokens that were kept; None without a draft.
        rows: one report each.
    """

    notes: int
    tokens: int
    music_seconds: float
    total_music_seconds: float
    prefill_seconds: float
    first_note_seconds: float | None
    wall_seconds: float
    realtime_factor: float
    acceptance: float | None
    rows: tuple[RowReport, ...]

    @property
    def notes_per_second(self) -> float:
        """Notes of all rows per wall second of generating."""
        return self.notes / max(self.wall_seconds - self.prefill_seconds, 1e-9)


class Engine:
    """A model ready to play: an immutable factory of streams, safe to share between threads.

    Every stream owns a session of its own, which is freed when the stream is done; streams that run
    side by side give the notes that each gives alone.

    Args:
        backend: runs the model.
        tokenizer: its vocabulary.
        draft: a small model to draft for it, or None.

    Raises:
        UsageError: the tokenizer is not the model's, or a model has no language-model head.
    """

    def __init__(
        self, backend: Backend, tokenizer: AriaTokenizer, *, draft: Draft | None = None
    ) -> None:
        pairs = [(backend, tokenizer)]
        if draft is not None:
            pairs.append((draft.backend, draft.tokenizer))
        for model, vocabulary in pairs:
            if model.vocab_size != vocabulary.vocab_size:
                raise UsageError(
                    f"a model of {model.vocab_size} ids cannot use the vocabulary"
                    f" {vocabulary.name} of {vocabulary.vocab_size}"
                )
            if model.config.head != "lm_head":
                raise UsageError(f"a model with the head {model.config.head} cannot generate")
        self.backend = backend
        self.tokenizer = tokenizer
        self.draft = draft

    def live(self) -> LiveSession:
        """Return an empty session that keeps what it has been fed from one stream to the next."""
        return LiveSession(self)

    def stream(
        self,
        ids: Sequence[int] | npt.NDArray[np.integer],
        *,
        settings: SamplingSettings | None = None,
        stop: Stop | None = None,
        ending: Ending = "never",
        variations: int = 1,
        first_variation: int = 0,
        seed: int = 0,
        guidance: Guidance | None = None,
        start: Start | None = None,
        rules: Rules | None = None,
        waits: bool = False,
    ) -> Stream:
        """Go on from a prompt, in a session of its own.

        Args:
            ids: the whole prompt, of any length; what does not fit the context is cut from the
                left, see ``Stream.dropped_segments``.
            settings: how tokens are drawn.
            stop: when a row is done; without any limit a row is done when its music ends.
            ending: whether rows may end by themselves, or are asked to.
            variations: rows.
            first_variation: number of the first row, to make a later one alone.
            seed: 0..2^64-1.
            guidance: needs a conditioned model; works without a draft only.
            start: where new events begin; needs the grammar.
            rules: what may be drawn; by default the grammar of a continuation.
            waits: run nothing yet: a ``Batch`` will run the stream beside others. With a draft
                this does nothing, as a draft needs a session of its own.

        Raises:
            UsageError: the request contradicts itself.
        """
        request = _Request(
            settings or SamplingSettings(),
            stop or Stop(),
            ending,
            variations,
            first_variation,
            seed,
            guidance,
            start,
            rules,
        )
        request.check(self)
        started = time.monotonic()
        prompt = self._fit(ids, request)
        if waits and self.draft is None:
            return Stream(self, None, None, request, prompt, started)
        session = self.new_session(guidance)
        hidden = forward(session, [prompt.context] * session.rows)
        return Stream(self, session, hidden, request, prompt, started)

    def new_session(self, guidance: Guidance | None = None) -> Session:
        """Return a session for one row; with guidance the condition stands in it already."""
        if guidance is None:
            return self.backend.new_session(1)
        # Twice: behind the condition, and with the condition masked out.
        session = self.backend.new_session(2)
        session.condition(guidance.vector, np.array([True, False]))
        return session

    def _fit(self, ids: Sequence[int] | npt.NDArray[np.integer], request: _Request) -> _Prompt:
        """Return the prompt, and the part of it that the context has room for."""
        whole = [int(i) for i in ids]
        if not whole:
            raise UsageError("a prompt needs at least a prefix and <S>")
        limit = self.backend.max_seq_len - (0 if request.guidance is None else 1)
        if len(whole) + 4 <= limit:
            return _Prompt(whole, whole, 0)
        return _Prompt(whole, *cut_left(self.tokenizer, whole, int(limit * KEEP_PROMPT)))


class LiveSession:
    """A session that keeps its prefix, for playing live: what it has been fed is not run again.

    One stream at a time goes on from it. Feeding it more, or starting its next stream, cancels the
    one before. Not to be used by two threads at once, unlike the engine. Its notes may differ from
    those of ``Engine.stream`` by rounding, since the prefix was run in other parts.

    Args:
        engine: whose model it runs.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._session: Session | None = None
        self._prefix: list[int] = []
        self._hidden: Float32Array | None = None
        self._stream: Stream | None = None

    @property
    def prefix(self) -> tuple[int, ...]:
        """The ids in the cache that a stream goes on from."""
        return tuple(self._prefix)

    def prefill(self, ids: Sequence[int] | npt.NDArray[np.integer]) -> int:
        """Bring the cache up to date with a prompt; what it begins with already is kept.

        Args:
            ids: prefix, <S>, events; fewer than the context holds.

        Returns:
            How many ids had to be run.

        Raises:
            UsageError: there are none, or more than the context holds.
        """
        self._take_back()
        prompt = [int(i) for i in ids]
        room = self._engine.backend.max_seq_len
        if not prompt:
            raise UsageError("a prompt needs at least a prefix and <S>")
        if len(prompt) >= room:
            raise UsageError(
                f"a prompt of {len(prompt)} tokens leaves no room in a context of {room}"
            )
        common = 0
        if self._session is not None:
            common = _common_prefix(self._prefix, prompt)
            if common == len(prompt) == len(self._prefix):
                return 0
            common = min(common, len(prompt) - 1)
        if self._session is None or common == 0:
            self._session = self._engine.backend.new_session(1)
        else:
            self._session.rewind(np.array([common]))
        self._prefix = prompt
        self._hidden = forward(self._session, [prompt[common:]])
        return len(prompt) - common

    def stream(
        self,
        ids: Sequence[int] | npt.NDArray[np.integer],
        *,
        settings: SamplingSettings | None = None,
        stop: Stop | None = None,
        ending: Ending = "never",
        variations: int = 1,
        first_variation: int = 0,
        seed: int = 0,
        start: Start | None = None,
    ) -> Stream:
        """Go on from a prompt; arguments and errors as for ``Engine.stream``."""
        request = _Request(
            settings or SamplingSettings(),
            stop or Stop(),
            ending,
            variations,
            first_variation,
            seed,
            None,
            start,
        )
        request.check(self._engine)
        started = time.monotonic()
        prompt = self._engine._fit(ids, request)
        self.prefill(prompt.context)
        assert self._session is not None and self._hidden is not None
        self._stream = Stream(self._engine, self._session, self._hidden, request, prompt, started)
        return self._stream

    def draw(self, sampler: Sampler, allowed: Ranges, uniform: float) -> int:
        """Draw the token that follows the prefix from some ranges of ids, without keeping it.

        Args:
            sampler: how it is drawn.
            allowed: half-open ranges, ascending.
            uniform: the random number, 0..1.

        Raises:
            UsageError: there is no prefix yet.
        """
        self._take_back()
        if self._session is None or self._hidden is None:
            raise UsageError("a token is drawn behind a prefix; call `prefill` first")
        choices = sampler.choices(allowed)
        logits = logits_for(self._session, self._hidden, [choices])[0]
        return int(choices.ids[pick(sampler.probabilities(choices, logits), uniform)])

    def _take_back(self) -> None:
        """Take the session back from the stream that uses it, cut back to the prefix."""
        stream, self._stream = self._stream, None
        if stream is None:
            return
        stream.cancel()
        assert self._session is not None
        if stream.slid:
            # The prefix was cut to make room: nothing of it is left to go on from.
            self._session, self._prefix, self._hidden = None, [], None
        else:
            self._session.fork(np.zeros(1, np.int64))
            self._session.rewind(np.array([len(self._prefix)]))


def _common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    n = min(len(a), len(b))
    same = np.asarray(a[:n]) == np.asarray(b[:n])
    return n if same.all() else int(np.argmin(same))


@dataclass(frozen=True, eq=False)
class _Request:
    settings: SamplingSettings
    stop: Stop
    ending: Ending
    variations: int
    first_variation: int
    seed: int
    guidance: Guidance | None
    start: Start | None = None
    rules: Rules | None = None

    def check(self, engine: Engine) -> None:
        """Raise ``UsageError`` where the request contradicts itself or the engine."""
        if self.variations < 1:
            raise UsageError(f"`variations` must be at least 1, not {self.variations}")
        fixed = self.start is not None and self.start.end_of is not None
        if self.stop == Stop() and self.ending == "never" and not fixed:
            raise UsageError("without a length (`seconds`, `notes`, `tokens`) an end must be free")
        if self.guidance is not None:
            if not engine.backend.config.conditioned:
                raise UsageError("`guidance` needs a conditioned model such as aria-medium-demo")
            if engine.draft is not None:
                raise UsageError("`guidance` and `draft` cannot be combined")


class _Prompt(NamedTuple):
    """Ids of a prompt.

    Attributes:
        ids: all of them.
        context: those that the context has room for.
        dropped: five-second segments that it has no room for.
    """

    ids: list[int]
    context: list[int]
    dropped: int


@dataclass(eq=False)
class Row:
    """One variation.

    Attributes:
        variation: its number.
        ids: new ids, the incomplete event at the end included while the row goes on.
        notes: new notes, times as in ``StreamedNote``.
        pedals: new pedal movements.
        start_ms: onset of the first new note, None before it.
        reason: why it is done, None while it goes on.
        nats: surprise of the tokens that were drawn, under the distribution they were drawn from.
    """

    variation: int
    rules: Rules
    random: RowRandom
    context: list[int]
    pending: list[int] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    notes: list[NoteEvent] = field(default_factory=list)
    pedals: list[PedalEvent] = field(default_factory=list)
    start_ms: int | None = None
    end_ms: int = 0
    reason: str | None = None
    nats: float = 0.0

    @property
    def music_seconds(self) -> float:
        """From the first new note to the latest end of one."""
        return 0.0 if self.start_ms is None else (self.end_ms - self.start_ms) / 1000


class Stream:
    """Variations in the making. Iterate over it for notes, or call ``step``.

    Made by ``Engine.stream``. ``cancel`` may be called from another thread; what was decided until
    then stays in ``rows``.

    Attributes:
        rows: one per variation, in order.
        prompt_ids: the whole prompt.
        dropped_segments: five-second segments of the prompt that the context had no room for.
    """

    def __init__(
        self,
        engine: Engine,
        session: Session | None,
        hidden: Float32Array | None,
        request: _Request,
        prompt: _Prompt,
        started: float,
    ) -> None:
        self._engine = engine
        self._held = session
        self._request = request
        self._tokenizer = tokenizer = engine.tokenizer
        self._kinds = tokenizer.vocabulary.kinds.tobytes()
        self.sampler = Sampler(request.settings, tokenizer.vocabulary)
        self.prompt_ids = np.asarray(prompt.ids, np.int32)
        self.dropped_segments = prompt.dropped
        # With guidance each row is a pair of session rows: with and without the condition.
        self.per_row = 1 if request.guidance is None else 2
        self._prompt_rate = _tokens_per_second(tokenizer, self.prompt_ids)
        heard = tokenizer.decoder()
        heard.extend(self.prompt_ids)
        rules = request.rules or Rules(
            tokenizer,
            self.prompt_ids,
            grammar=request.settings.grammar,
            ending=request.ending,
            ban_dim=request.guidance is not None,
            start=request.start,
        )
        self.rows = [
            Row(
                request.first_variation + i,
                rules.copy(),
                RowRandom(request.seed, request.first_variation + i),
                list(prompt.context),
            )
            for i in range(request.variations)
        ]
        self._decoders = {}
        for row in self.rows:
            decoder = copy.copy(heard)
            decoder.pedals = row.pedals
            self._decoders[row.variation] = decoder
        self._live = list(self.rows)
        if session is not None and hidden is not None:
            pairs = np.tile(np.arange(self.per_row), request.variations)
            session.fork(pairs)
            self._hidden = hidden[pairs]
        self._drafter: Drafter | None = None
        if engine.draft is not None:
            self._drafter = Drafter(
                engine.draft,
                tokenizer,
                engine.backend.config.parameter_count(),
                self.sampler,
                prompt.ids,
                request.variations,
            )
        for row in self.rows:
            self._ask_for_ending(row)
        self._drafted = self._kept = 0
        self._cancel = threading.Event()
        self.slid = False
        self._started = started
        self._ready = time.monotonic()
        self._first_note: float | None = None
        self._finished: float | None = None

    @property
    def _session(self) -> Session:
        assert self._held is not None, "the stream is done, or waits for a batch"
        return self._held

    # What front ends use

    @property
    def waits(self) -> bool:
        """Whether a batch has to run it."""
        return self._held is None and self._finished is None

    @property
    def guidance(self) -> Guidance | None:
        """What it resembles."""
        return self._request.guidance

    @property
    def engine(self) -> Engine:
        """Whose stream it is."""
        return self._engine

    @property
    def cancelled(self) -> bool:
        """Whether it was asked to stop."""
        return self._cancel.is_set()

    @property
    def done(self) -> bool:
        """Whether every row is done."""
        return not self._live

    def cancel(self) -> None:
        """Stop as soon as possible; rows that go on end with the reason ``cancelled``."""
        self._cancel.set()

    def __iter__(self) -> Iterator[StreamedNote]:
        while self._live:
            yield from self.step()

    def run(self) -> list[Row]:
        """Go on until every row is done."""
        while self._live:
            self.step()
        return self.rows

    def step(self) -> list[StreamedNote]:
        """Decide the next token of every row that goes on; with a draft, the next few.

        Returns:
            The notes that were completed.
        """
        if not self._live:
            return []
        try:
            if self._cancel.is_set():
                raise Cancelled
            notes = self._step_drafted() if self._drafter is not None else self._step_plain()
        except Cancelled:
            for row in self._live:
                row.reason = "cancelled"
            notes = []
        if notes and self._first_note is None:
            self._first_note = time.monotonic()
        self._drop_finished()
        return notes

    def progress(self) -> GenerationProgress:
        """How it stands; cheap."""
        now = self._finished or time.monotonic()
        music = [row.music_seconds for row in self.rows]
        going = [row.music_seconds for row in self._live]
        total = sum(music)
        return GenerationProgress(
            notes=sum(len(row.notes) for row in self.rows),
            tokens=sum(len(row.ids) for row in self.rows),
            music_seconds=min(going) if going else max(music),
            total_music_seconds=total,
            prefill_seconds=self._ready - self._started,
            first_note_seconds=(
                None if self._first_note is None else self._first_note - self._started
            ),
            wall_seconds=now - self._started,
            realtime_factor=total / max(now - self._ready, 1e-9),
            acceptance=self._kept / self._drafted if self._drafted else None,
            rows=tuple(
                RowReport(
                    row.variation, len(row.notes), len(row.ids), row.music_seconds, row.reason
                )
                for row in self.rows
            ),
        )

    # What draws tokens for it, here or in a batch

    @property
    def base(self) -> int:
        """Positions of each row in front of its tokens: the condition's."""
        return self.per_row - 1

    @property
    def kind_of_draw(self) -> int:
        """Rows with one number are drawn alike: by one sampler; with guidance each stream alone."""
        return id(self.sampler) if self.per_row == 1 else id(self)

    def choices_of(self, row: Row) -> Choices:
        """Return the tokens that may come next in a row."""
        return self.sampler.choices(row.rules.allowed())

    def guided(self, rows: Sequence[Row], logits: Float32Array) -> Float32Array:
        """Return the logits (N, W) of rows out of those (2 N, W) with and without the condition."""
        guidance = self._request.guidance
        assert guidance is not None
        tokens = self._request.stop.tokens
        warmup = GUIDANCE_WARMUP if tokens is None else min(GUIDANCE_WARMUP, tokens)
        steps = np.array([[len(row.ids) + 1] for row in rows])
        g = np.minimum(guidance.strength, guidance.strength * steps / warmup).astype(np.float32)
        return np.asarray(g * logits[::2] + (1 - g) * logits[1::2], np.float32)

    def shaped(
        self, row: Row, choice: Choices, logits: Float32Array, uniform: float
    ) -> tuple[int, float]:
        """Return the token of a row whose rules shape the odds, and the probability that it had."""
        p = self.sampler.probabilities(choice, logits[choice.columns])
        p = row.rules.shape(choice, p)
        index = pick(p, uniform)
        return int(choice.ids[index]), float(p[index])

    def take(self, row: Row, token: int, probability: float) -> list[StreamedNote]:
        """Take a token that was drawn into a row; the notes that it completes."""
        row.nats -= math.log(probability)
        return self._decide(row, token)

    def begin(self) -> list[Row]:
        """Take notice that the prompt has been run by a batch; the rows that go on from it."""
        self._ready = time.monotonic()
        return list(self._live)

    def leave(self, row: Row, reason: str | None = None) -> None:
        """Take a row that is done out of those that go on.

        Args:
            row: of this stream, run by a batch.
            reason: why it is done, if it does not say so itself.
        """
        row.reason = row.reason or reason
        self._trim(row)
        self._live = [one for one in self._live if one is not row]
        if not self._live:
            self._finished = time.monotonic()

    def lead_seconds(self, now: float) -> float:
        """Return how far the first row is ahead of who listens to it while it is decided.

        Args:
            now: of the clock ``time.monotonic``.
        """
        row = self.rows[0]
        if self._first_note is None or row.start_ms is None:
            return -math.inf
        return (row.notes[-1].onset_ms - row.start_ms) / 1000 - (now - self._first_note)

    def heard(self) -> None:
        """Take notice that notes of it were given to who listens."""
        if self._first_note is None:
            self._first_note = time.monotonic()

    # Steps

    def _step_plain(self) -> list[StreamedNote]:
        if self._live[0].pending:
            self._make_room(1)
            self._hidden = self._feed([row.pending for row in self._live])
            for row in self._live:
                row.context += row.pending
                row.pending = []
        places = [Place(self, row) for row in self._live]
        return [note for _, note in draw_tokens(self._session, self._hidden, places)]

    def _step_drafted(self) -> list[StreamedNote]:
        drafter = self._drafter
        assert drafter is not None
        live = self._live
        room = [self._tokens_left(row) - 1 for row in live]
        depths = drafter.depths(room)
        proposals = drafter.propose(
            [row.rules for row in live], [row.random for row in live], depths
        )
        hidden, places = self._verify(proposals)
        flat = [proposals[b].choices[i] for b, i in places]
        found: list[list[npt.NDArray[np.floating]]] = [[] for _ in live]
        for (b, _), logits in zip(places, logits_for(self._session, hidden, flat), strict=True):
            found[b].append(logits)
        notes: list[StreamedNote] = []
        kept: list[int] = []
        decided: list[list[int]] = []
        lengths = self._session.lengths
        for b, row in enumerate(live):
            row.context += row.pending
            known, tokens = self._judge(row, proposals[b], found[b], notes)
            kept.append(known)
            decided.append(tokens)
            # The last token decided is pending; what the cache holds from its place on is wrong.
            row.context += tokens[:-1]
            lengths[b] -= len(proposals[b].ids) - (len(tokens) - 1)
        self._session.rewind(lengths)
        drafter.commit(proposals, kept, decided)
        return notes

    def _verify(self, proposals: Sequence[Proposal]) -> tuple[Float32Array, list[tuple[int, int]]]:
        """Run pending and drafted tokens: hidden states (N, D) of N places (row, draft step)."""
        live = self._live
        places = [(b, i) for b, p in enumerate(proposals) for i in range(len(p.ids) + 1)]
        if not live[0].pending:
            # The very first round: the prompt's last hidden state decides the first token.
            fed = [p.ids for p in proposals]
            before = self._hidden
        else:
            self._make_room(1 + max(len(p.ids) for p in proposals))
            fed = [[*row.pending, *p.ids] for row, p in zip(live, proposals, strict=True)]
            before = None
        longest = max(len(ids) for ids in fed)
        if longest == 0:
            assert before is not None
            return before, places
        ids = np.zeros((len(fed), longest), np.int32)
        counts = np.array([len(row) for row in fed])
        for b, row_ids in enumerate(fed):
            ids[b, : len(row_ids)] = row_ids
        hidden = self._session.append(ids, counts=counts)
        if before is not None:
            hidden = np.concatenate((before[:, None], hidden), axis=1)
        return hidden[tuple(np.array(places).T)], places

    def _judge(
        self,
        row: Row,
        proposal: Proposal,
        logits: Sequence[npt.NDArray[np.floating]],
        notes: list[StreamedNote],
    ) -> tuple[int, list[int]]:
        """Accept drafted tokens until one is refused; the number kept and all tokens decided."""
        decided: list[int] = []
        kept = 0
        for i, choice in enumerate(proposal.choices):
            # An ending asked for since the draft was made changes what may come.
            stale = (
                row.rules.forcing != proposal.forcing[i]
                or self.sampler.choices(row.rules.allowed()) is not choice
            )
            if row.reason is not None or (stale and decided):
                break
            p = row.rules.shape(choice, self.sampler.probabilities(choice, logits[i]))
            if i < len(proposal.ids):
                drafted = choice.index(proposal.ids[i])
                index, good = accept(p, proposal.drafted_from[i], drafted, row.random)
            else:
                index, good = pick(p, row.random.uniform()), False
            row.nats -= math.log(p[index])
            notes += self._decide(row, int(choice.ids[index]))
            # Without the grammar a forced <D> takes the place of what was drawn.
            decided.append(row.ids[-1])
            good = good and row.ids[-1] == proposal.ids[i]
            self._drafted += i < len(proposal.ids)
            self._kept += good
            kept += good
            if not good:
                break
        return kept, decided

    def _feed(self, rows: Sequence[Sequence[int]]) -> Float32Array:
        """Append tokens to live rows, to both halves of a pair."""
        return forward(
            self._session,
            [row for row in rows for _ in range(self.per_row)],
            cancelled=self._cancel.is_set,
        )

    def _make_room(self, tokens: int) -> None:
        """Slide rows whose context is full: drop their oldest segments, run the rest again."""
        limit = self._engine.backend.max_seq_len - self.base
        full = [b for b, row in enumerate(self._live) if len(row.context) + tokens > limit]
        if not full:
            return
        self.slid = True
        rows: list[list[int]] = [[] for _ in self._live]
        lengths = self._session.lengths
        for b in full:
            row = self._live[b]
            row.context, _ = cut_left(self._tokenizer, row.context, int(limit * KEEP_SLIDING))
            rows[b] = row.context
            for k in range(self.per_row):
                lengths[b * self.per_row + k] = self.base
        self._session.rewind(lengths)
        self._feed(rows)

    def _drop_finished(self) -> None:
        """Take rows that are done out of the session."""
        going = [b for b, row in enumerate(self._live) if row.reason is None]
        if len(going) == len(self._live):
            return
        for row in self._live:
            if row.reason is not None:
                self._trim(row)
        self._live = [self._live[b] for b in going]
        if not going:
            self._finished = time.monotonic()
            # The cache is the memory of a stream: it goes as soon as nothing comes any more.
            self._held = self._drafter = None
            return
        index = np.array([b * self.per_row + k for b in going for k in range(self.per_row)])
        self._session.fork(index)
        if self._drafter is not None:
            self._drafter.fork(going)

    def _trim(self, row: Row) -> None:
        """Drop the incomplete event at the end of a row that is done."""
        if not self._request.settings.grammar:
            return
        whole = self._tokenizer.complete_length(np.asarray(row.ids, np.int64))
        del row.ids[whole:]

    # One decided token

    def _tokens_left(self, row: Row) -> int:
        tokens = self._request.stop.tokens
        return 1 << 30 if tokens is None else tokens - len(row.ids)

    def _decide(self, row: Row, drawn: int) -> list[StreamedNote]:
        """Take a drawn token into a row: rules, notes, limits."""
        token = row.rules.override(drawn)
        row.rules.advance(token)
        row.ids.append(token)
        row.pending = [token]
        if token == EOS:
            row.reason = "end"
            return []
        decoder = self._decoders[row.variation]
        kind = self._kinds[token]
        if kind == Kind.ONSET and self._is_late(row, decoder.clock_ms + self._onset_ms(token)):
            row.reason = "seconds"
            return []
        found = decoder.push(token)
        if kind == Kind.TIME and self._is_late(row, decoder.clock_ms):
            row.reason = "seconds"
        stop = self._request.stop
        for note in found:
            row.notes.append(note)
            if row.start_ms is None:
                row.start_ms = note.onset_ms
            row.end_ms = max(row.end_ms, note.onset_ms + note.duration_ms)
        if found and stop.notes is not None and len(row.notes) >= stop.notes:
            row.reason = "notes"
        if row.reason is None and self._tokens_left(row) <= 0:
            row.reason = "tokens"
        if row.reason is None:
            self._ask_for_ending(row)
        return [StreamedNote(row.variation, *note) for note in found]

    def _onset_ms(self, token: int) -> int:
        return int(self._tokenizer.tables.ms[token])

    def _is_late(self, row: Row, time_ms: int) -> bool:
        """Whether an event at that time lies beyond the length that was asked for."""
        start, first_ms = self._request.start, row.start_ms
        end_of = None if start is None else start.end_of
        if end_of is not None and time_ms >= end_of(time_ms if first_ms is None else first_ms):
            return True
        seconds = self._request.stop.seconds
        if seconds is None or first_ms is None:
            return False
        if self._request.ending == "asked":
            seconds += ENDING_GRACE_S
        return time_ms - first_ms >= seconds * 1000

    def _ask_for_ending(self, row: Row) -> None:
        """Ask for <D> when about as much is left as music takes from there to its end."""
        if self._request.ending != "asked" or row.rules.has_dim:
            return
        stop = self._request.stop
        if stop.tokens is not None:
            # The public sampler counts from the step about to be taken.
            near = stop.tokens - len(row.ids) <= ENDING_TOKENS
        elif stop.notes is not None:
            near = 3 * (stop.notes - len(row.notes)) <= DIM_FROM_END
        elif stop.seconds is not None:
            now_ms = self._decoders[row.variation].clock_ms
            if row.notes:
                now_ms = max(now_ms, row.notes[-1].onset_ms)
            passed_ms = 0 if row.start_ms is None else now_ms - row.start_ms
            rate = self._prompt_rate
            if passed_ms >= _TRUST_RATE_AFTER_MS:
                rate = len(row.ids) / passed_ms * 1000
            near = (stop.seconds - passed_ms / 1000) * rate <= DIM_FROM_END
        else:
            near = True
        if near:
            row.rules.ask()


class Place(NamedTuple):
    """A row of a stream whose next token is to be drawn."""

    stream: Stream
    row: Row


def draw_tokens(
    session: Session, hidden: Float32Array, places: Sequence[Place]
) -> list[tuple[Stream, StreamedNote]]:
    """Draw the next token of rows of any streams of one model, many at once.

    Args:
        session: whose head is used.
        hidden: (N, D) hidden states of the rows' last tokens; a row with guidance has two, with
            and without its condition.
        places: the rows, in that order.

    Returns:
        The notes that were completed.
    """
    groups: dict[tuple[Ranges, int], list[int]] = {}
    choices = [one.stream.choices_of(one.row) for one in places]
    for i, (one, choice) in enumerate(zip(places, choices, strict=True)):
        groups.setdefault((choice.head, one.stream.kind_of_draw), []).append(i)
    first = np.cumsum([0, *(one.stream.per_row for one in places)])
    found: dict[int, list[StreamedNote]] = {}
    for (head, _), members in groups.items():
        stream = places[members[0]].stream
        index = [first[i] + k for i in members for k in range(stream.per_row)]
        whole = len(index) == len(hidden)
        logits = session.head(hidden if whole else hidden[index], head)
        if stream.per_row == 2:
            logits = stream.guided([places[i].row for i in members], logits)
        chosen = [choices[i] for i in members]
        rows = [places[i].row for i in members]
        # Greedy needs no random number, so that it is the same for every seed.
        uniforms = [row.random.uniform() for row in rows]
        # Where rules shape the odds, and where it is alone, a row is drawn by itself.
        plain = [n for n, row in enumerate(rows) if not row.rules.shapes and len(rows) > 1]
        drawn: dict[int, tuple[int, float]] = {}
        if plain:
            tokens, p = stream.sampler.draw(
                [chosen[n] for n in plain],
                logits if len(plain) == len(rows) else logits[plain],
                [uniforms[n] for n in plain],
            )
            drawn = dict(zip(plain, zip(tokens.tolist(), p.tolist(), strict=True), strict=True))
        for n, i in enumerate(members):
            if n in drawn:
                token, share = drawn[n]
            else:
                token, share = stream.shaped(rows[n], chosen[n], logits[n], uniforms[n])
            found[i] = places[i].stream.take(rows[n], token, share)
    return [(places[i].stream, note) for i in sorted(found) for note in found[i]]


def _tokens_per_second(tokenizer: AriaTokenizer, ids: Int32Array) -> float:
    """How fast a prompt uses up tokens; the usual rate for one too short to tell."""
    length_ms = tokenizer.length_ms(ids)
    if length_ms < _TRUST_RATE_AFTER_MS:
        return _USUAL_TOKENS_PER_SECOND
    return len(ids) / length_ms * 1000
