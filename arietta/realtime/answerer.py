"""What was heard -> an answer, by a model: the cache kept up to date, a ready answer in it.

The ids of what was heard are appended at every note. What changes later, such as the length of a
note whose key comes up, takes the cache back to the first id that changed. A note that still sounds
has a provisional length, which the model draws behind its onset among those that are still
possible; it stays until the key comes up or the note outlasts it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence

from arietta.generation.constraints import Start
from arietta.generation.engine import Engine
from arietta.generation.sampling import RowRandom, Sampler
from arietta.generation.settings import SamplingSettings, Stop
from arietta.realtime.plans import Ask, Go, HeardNote, Offer, PlannedNote, PlannedPedal
from arietta.tokenizers.quantise import MAX_DURATION_MS, STEP
from arietta.tokenizers.vocabulary import BOS

READY_MS = 2_500.0
"""How much of an answer is made before it is the model's turn."""

QUICK_PARAMETERS = 60_000_000
"""Models above this size are too slow to keep a ready answer; they only read along."""

_WINDOW_IDS = 1_400
_IDS_PER_NOTE = 3.2
_SEED_STEP = 1_000_003

Notes = tuple[tuple[PlannedNote, ...], tuple[PlannedPedal, ...]]


def answer_seed(seed: int, notes: Sequence[HeardNote]) -> int:
    """Return the seed of an answer: that of the duet and how many notes were heard."""
    heard = max((note.serial for note in notes), default=-1) + 1
    return (seed * _SEED_STEP + heard) % 2**63


class Answerer:
    """Answers requests one after the other; not to be used by two threads at once.

    Args:
        engine: of the model.
        settings: how tokens are drawn.
        keeps_ready: whether answers are begun before it is the model's turn; by default where the
            model is small.
    """

    def __init__(
        self,
        engine: Engine,
        settings: SamplingSettings | None = None,
        *,
        keeps_ready: bool | None = None,
    ) -> None:
        self._live = engine.live()
        self._tokenizer = engine.tokenizer
        self._settings = settings or SamplingSettings()
        self._sampler = Sampler(self._settings, engine.tokenizer.vocabulary)
        small = engine.backend.config.parameter_count() <= QUICK_PARAMETERS
        self.keeps_ready = small if keeps_ready is None else keeps_ready
        room = min(_WINDOW_IDS, int(0.7 * engine.backend.max_seq_len))
        self._most_notes = max(int(room / _IDS_PER_NOTE), 2)
        self._from_ms = -math.inf
        self._lengths: dict[int, float] = {}
        vocabulary = engine.tokenizer.vocabulary
        self._piano = vocabulary.instruments.index("piano")

    @property
    def prefix(self) -> tuple[int, ...]:
        """The ids in the model's cache."""
        return self._live.prefix

    def read(self, ask: Ask, now_ms: float | None = None) -> int:
        """Bring the cache up to date with what was heard.

        Args:
            ask: what was heard.
            now_ms: the time, where it is later than that of the request.

        Returns:
            How many ids had to be run.
        """
        ids, _, run = self._context(ask, ask.now_ms if now_ms is None else now_ms)
        return run + self._live.prefill(ids)

    def notes(self, ask: Ask, earliest_ms: float) -> Iterator[Notes]:
        """Make the answer to a request: notes and pedal movements, as they are decided.

        Args:
            ask: the request.
            earliest_ms: no note begins before it, in the time of the music.
        """
        now_ms = max(ask.now_ms, earliest_ms if ask.go else ask.now_ms)
        ids, zero_ms, _ = self._context(ask, min(now_ms, earliest_ms))
        held = {
            (self._piano, note.pitch): self._end_ms(note) - zero_ms
            for note in ask.notes
            if self._end_ms(note) > earliest_ms
        }
        stream = self._live.stream(
            ids,
            settings=self._settings,
            stop=Stop(seconds=ask.length_ms / 1000),
            seed=answer_seed(ask.seed, ask.notes),
            start=Start(max(earliest_ms - zero_ms, 0.0), held=held),
        )
        row = stream.rows[0]
        told = 0
        while not stream.done:
            found = stream.step()
            moves = row.pedals[told:]
            told = len(row.pedals)
            if found or moves:
                yield (
                    tuple(
                        PlannedNote(
                            note.onset_ms + zero_ms,
                            note.onset_ms + note.duration_ms + zero_ms,
                            note.pitch,
                            note.velocity,
                        )
                        for note in found
                    ),
                    tuple(PlannedPedal(p.time_ms + zero_ms, p.value >= 64) for p in moves),
                )

    def _end_ms(self, note: HeardNote) -> float:
        if note.end_ms is not None:
            return note.end_ms
        return note.onset_ms + self._lengths.get(note.serial, 0.0)

    def _window(self, notes: Sequence[HeardNote]) -> list[HeardNote]:
        """Return the notes that the model hears: the last ones, cut seldom, so that it can keep."""
        kept = [note for note in notes if note.onset_ms >= self._from_ms]
        if len(kept) > self._most_notes:
            kept = kept[-(self._most_notes // 2) :]
            self._from_ms = kept[0].onset_ms
        return kept

    def _context(self, ask: Ask, now_ms: float) -> tuple[list[int], float, int]:
        """Return the ids of what was heard, their zero in the time of the music, and ids run."""
        notes = self._window(ask.notes)
        still = {note.serial for note in notes if note.end_ms is None}
        self._lengths = {s: length for s, length in self._lengths.items() if s in still}
        if not notes:
            start = self._tokenizer.vocabulary.instrument_start + self._piano
            return [start, BOS], round(ask.earliest_ms), 0
        zero_ms = float(round(notes[0].onset_ms))
        run = 0
        for i, note in enumerate(notes):
            if note.end_ms is not None:
                continue
            elapsed = max(now_ms - note.onset_ms, 0.0)
            if self._lengths.get(note.serial, -1.0) <= elapsed:
                length, ran = self._draw_length(notes[: i + 1], zero_ms, elapsed, ask.seed)
                self._lengths[note.serial] = length
                run += ran
        return self._encode(notes, zero_ms), zero_ms, run

    def _encode(self, notes: Sequence[HeardNote], zero_ms: float) -> list[int]:
        import numpy as np

        onset = np.rint([note.onset_ms - zero_ms for note in notes]).astype(np.int64)
        end = np.rint([self._end_ms(note) - zero_ms for note in notes]).astype(np.int64)
        ids = self._tokenizer.encode_columns(
            np.maximum(onset, 0),
            np.maximum(end - onset, STEP),
            np.array([note.pitch for note in notes]),
            np.array([max(note.velocity, 1) for note in notes]),
            eos=False,
        )
        return [int(i) for i in ids]

    def _draw_length(
        self, notes: Sequence[HeardNote], zero_ms: float, elapsed_ms: float, seed: int
    ) -> tuple[float, int]:
        """Return a length for the last of some notes, longer than it sounds already."""
        if elapsed_ms >= MAX_DURATION_MS:
            return elapsed_ms + MAX_DURATION_MS, 0
        ids = self._encode(notes, zero_ms)[:-1]
        run = self._live.prefill(ids)
        vocabulary = self._tokenizer.vocabulary
        least = vocabulary.dur_zero + max(math.floor(elapsed_ms / STEP) + 1, 1)
        least = min(least, vocabulary.onset_start - 1)
        random = RowRandom(seed % 2**63, notes[-1].serial + 1)
        drawn = self._live.draw(self._sampler, ((least, vocabulary.onset_start),), random.uniform())
        length = float((drawn - vocabulary.dur_zero) * STEP)
        return max(length, elapsed_ms + STEP), run


class AnswerWorker:
    """Runs an answerer in a thread of its own; a new request ends the work on the one before.

    It never dies silently: an error is told through ``failed``, once, and ``alive`` is false then.

    Args:
        answerer: makes the notes.
        deliver: takes offers; called from the worker's thread.
        failed: takes what went wrong; called from the worker's thread.
    """

    def __init__(
        self,
        answerer: Answerer,
        deliver: Callable[[Offer], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._answerer = answerer
        self._deliver = deliver
        self._failed = failed
        self._changed = threading.Condition()
        self._newest: Ask | None = None
        self._gone: Go | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="arietta-answers", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it takes requests."""
        return self._thread.is_alive() and not self._closed

    def ask(self, ask: Ask) -> None:
        """Take a request in the place of the one before."""
        with self._changed:
            self._newest, self._gone = ask, None
            self._changed.notify_all()

    def go(self, go: Go) -> None:
        """Make the rest of an answer."""
        with self._changed:
            self._gone = go
            self._changed.notify_all()

    def drop(self) -> None:
        """End the work on the request."""
        with self._changed:
            self._newest = self._gone = None
            self._changed.notify_all()

    def close(self, timeout_s: float = 5.0) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        done: Ask | None = None
        try:
            while True:
                with self._changed:
                    while not self._closed and (self._newest is None or self._newest is done):
                        self._changed.wait()
                    if self._closed:
                        return
                    done = self._newest
                assert done is not None
                self._serve(done)
        except BaseException as error:
            self._failed(error)

    def _serve(self, ask: Ask) -> None:
        self._answerer.read(ask)
        if not self._answerer.keeps_ready and not self._wait_for_go(ask):
            return
        go = self._go_of(ask)
        earliest = ask.earliest_ms if go is None else go.earliest_ms
        first: float | None = None
        for notes, pedals in self._answerer.notes(ask, earliest):
            if self._stale(ask):
                return
            self._deliver(Offer(ask.number, notes, False, pedals))
            if notes and first is None:
                first = notes[0].onset_ms
            far = first is not None and notes and notes[-1].onset_ms - first > READY_MS
            if far and not self._wait_for_go(ask):
                return
        if not self._stale(ask):
            self._deliver(Offer(ask.number, (), True))

    def _stale(self, ask: Ask) -> bool:
        return self._closed or self._newest is not ask

    def _go_of(self, ask: Ask) -> Go | None:
        gone = self._gone
        return gone if gone is not None and gone.number == ask.number else None

    def _wait_for_go(self, ask: Ask) -> bool:
        """Wait until it is the model's turn; return False where the request is no more."""
        with self._changed:
            while not self._stale(ask) and not ask.go and self._go_of(ask) is None:
                self._changed.wait()
            return not self._stale(ask)
