"""A prompt piece -> continued pieces.

The prompt stays as it was played: every event of its file in front of the *seam*, where the first
new note begins, and its tempo map and signatures, so that bars stay right in a DAW. ``joining``
puts the new notes behind it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from os import PathLike
from typing import Any

import numpy as np

from arietta._version import __version__
from arietta.arrays import Int32Array
from arietta.display import mimebundle
from arietta.errors import InputError
from arietta.generation.constraints import Ending, Start
from arietta.generation.engine import (
    ENDING_GRACE_S,
    Engine,
    GenerationProgress,
    Guidance,
    Row,
    RowReport,
    Stream,
    StreamedNote,
)
from arietta.generation.joining import (
    LAST_BEFORE_END_MS,
    SeamPlace,
    end_of_bars,
    held_keys,
    is_playable,
    join,
    seam_place,
    shift_ms,
)
from arietta.generation.measures import Notes, notes_of
from arietta.generation.pace import Pace
from arietta.generation.pulse import (
    GROOVE_LOOSENESS,
    GROOVE_SPREAD_MS,
    Pulse,
    metrical_pulse,
    tracked_pulse,
)
from arietta.generation.settings import DEFAULT_SECONDS, Request, SamplingSettings, Stop
from arietta.generation.takes import Verdict, ending_of, judge, ranked, take_of
from arietta.midi.ending import notices_of_the_end
from arietta.midi.grid import estimate_kind
from arietta.midi.notes import DRUM_CHANNEL, empty_notes
from arietta.midi.piece import Piece
from arietta.midi.reader import read_bytes
from arietta.midi.seam import cut_tracks, join_bytes, metre_at, tracks_of
from arietta.midi.tempo import TempoMap
from arietta.tokenizers.aria import AriaTokenizer
from arietta.tokenizers.decoding import prefix_channels
from arietta.tokenizers.encoding import select_voices
from arietta.tokenizers.excerpts import prompt_piece
from arietta.tokenizers.quantise import SEGMENT_MS, STEP
from arietta.tokenizers.vocabulary import Kind, Vocabulary

USUAL_NOTES_PER_SECOND = 8.0
PACE_HEARD_MS = 15_000.0
"""The end of the prompt whose rate of notes ``density`` multiplies."""


def provenance_text(provenance: Mapping[str, Any]) -> str:
    """Return what a file says of its origin in a text event."""
    return "arietta " + json.dumps(provenance, separators=(",", ":"))


@dataclass(frozen=True, eq=False)
class Continuation:
    """One continued piece.

    Attributes:
        prompt: what was continued, cut to the seconds that were asked for; no notes from scratch.
        new: only the continuation, from the bar line in front of it on where the prompt has bars,
            on the prompt's tempo and metre.
        piece: prompt and continuation.
        seam_ms: where the continuation starts in ``piece``, in ms from tick 0.
        stats: notes, tokens, seconds of music, why it stopped.
        provenance: model and its hash, settings, seed, version; JSON values.
        notices: what the caller should tell the user, one sentence each.
        ids: (n,) new ids, whole events only.
        place: where ``new`` belongs: ``bar 9``, or minutes and seconds.
        place_ms: the same in ms from tick 0 of ``piece``.
        ringing: notes that ended with the last of the bars that were asked for.
        verdict: what the critic thinks of it; see ``takes``.
    """

    prompt: Piece
    new: Piece
    piece: Piece
    seam_ms: float
    stats: RowReport
    provenance: Mapping[str, Any]
    notices: tuple[str, ...]
    ids: Int32Array
    place: str = ""
    place_ms: float = 0.0
    ringing: int = 0
    verdict: Verdict | None = None

    @property
    def music_seconds(self) -> float:
        """From the first new note to the last new release."""
        if not len(self.new):
            return 0.0
        return (self.place_ms + self.new.end_ms - self.seam_ms) / 1000

    @property
    def provenance_text(self) -> str:
        """The provenance as the text event that ``save`` writes."""
        return provenance_text(self.provenance)

    def to_bytes(self, *, only_new: bool = False) -> bytes:
        """Return a standard MIDI file with the provenance in a text event."""
        from arietta.midi.writer import write_midi

        piece = self.new if only_new else self.piece
        return write_midi(piece, extra_text=[self.provenance_text])

    def save(
        self, path: str | PathLike[str], *, only_new: bool = False, force: bool = False
    ) -> None:
        """Write a standard MIDI file with the provenance in a text event.

        Args:
            path: where to.
            only_new: the continuation alone.
            force: replace an existing file.

        Raises:
            OutputError: the file exists, its directory does not, or the disk is full.
        """
        from arietta.midi.writer import save_midi

        piece = self.new if only_new else self.piece
        save_midi(piece, path, force=force, extra_text=[self.provenance_text])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """Show the piano roll and the sound in a notebook, new notes in a colour of their own."""
        return mimebundle(self.piece, "Continuation", seam_ms=self.seam_ms)


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A prompt ready for the engine.

    Attributes:
        piece: the prompt, cut.
        ids: its tokens.
        zero_tick: the tick that the tokens count time from.
    """

    piece: Piece
    ids: Int32Array
    zero_tick: int


def prepare(tokenizer: AriaTokenizer, prompt: Piece | None, request: Request) -> _Prepared:
    """Cut and tokenise a prompt.

    Raises:
        InputError: the prompt has no notes that the model could go on from.
        TokenError: a style has no prefix token.
    """
    if prompt is None:
        piece = Piece(TempoMap.constant(), empty_notes())
        prefix = tokenizer.vocabulary.ids_of_prefix(("piano", *request.style))
        return _Prepared(piece, np.array([*prefix, tokenizer.bos], np.int32), 0)
    if not len(prompt):
        raise InputError(
            f"{prompt.source or 'prompt'}: no notes to go on from;"
            " leave the prompt out to start from scratch"
        )
    # Cut after the channels are chosen: seconds count from the first note the model will hear.
    heard = select_voices(prompt, tokenizer.vocabulary).piece
    cut = prompt_piece(heard, request.prompt_seconds)
    kept = prompt if request.prompt_seconds is None else _cut(prompt, cut, request.prompt_seconds)
    place = seam_place(kept, request.seam)
    if place.mode != "now":
        # What the file loses behind the seam, the model does not get either.
        cut = replace(cut, pedals=cut.pedals.take(cut.pedals.tick < place.tick))
    zero = int(cut.notes.onset_tick[0])
    if tokenizer.vocabulary.pedal:
        pedals = cut.pedals.take(cut.pedals.channel != DRUM_CHANNEL)
        if len(pedals):
            zero = min(zero, int(pedals.tick[0]))
    ids = tokenizer.encode(cut, eos=False)
    if request.style:
        known = set(ids[: int(np.flatnonzero(ids == tokenizer.bos)[0])].tolist())
        style = tokenizer.vocabulary.ids_of_prefix(request.style)
        more = sorted(set(style) - known)
        ids = np.concatenate((np.array(more, np.int32), ids))
    return _Prepared(kept, marked(tokenizer.vocabulary, ids, kept), zero)


def marked(vocabulary: Vocabulary, ids: Int32Array, piece: Piece) -> Int32Array:
    """Return a prompt's ids with <SCORE> in the prefix, where it is music as written.

    Args:
        vocabulary: one without <SCORE> leaves the ids as they are.
        ids: prefix, <S>, events.
        piece: what they are of.
    """
    score = vocabulary.score_id
    estimate = estimate_kind(piece)
    if score is None or estimate is None or estimate.kind != "score":
        return ids
    return np.insert(ids, 1, score)


def _cut(prompt: Piece, heard: Piece, seconds: float) -> Piece:
    """Return the prompt up to where the model stops hearing, channels it cannot hear included."""
    start_ms = prompt.tempo.ms_at(heard.notes.onset_tick[0])
    end_tick = int(prompt.tempo.tick_at(start_ms + seconds * 1000))
    last = max(end_tick, int(heard.notes.onset_tick[-1]))
    compat = None if prompt.origin is None else prompt.origin.compat
    data = join_bytes(prompt.tempo.division, cut_tracks(tracks_of(prompt), last))
    piece = read_bytes(data, source=prompt.source, compat=compat)
    return replace(piece, metadata=prompt.metadata, notices=prompt.notices)


def bar_seconds(piece: Piece, tick: int, bars: float) -> float:
    """How long some bars last from a tick on, by the piece's own metre and tempo.

    Without a metrical division, or for a metre that makes no sense, 4/4 at 120 is taken.
    """
    division = piece.tempo.division
    if division <= 0:
        return bars * 2.0
    at, left = float(tick), bars
    while left > 0:
        above, below = metre_at(piece, int(at))
        step = min(left, 1.0)
        at += step * division * 4 * above / below
        left -= step
    return float(piece.tempo.distance_ms(tick, round(at))) / 1000


class ContinuationStream:
    """Continuations in the making: iterate for notes, then ask for ``results``.

    ``cancel`` may be called from another thread; ``results`` then holds what was decided so far.

    Args:
        engine: of the model.
        prompt: what to go on from; None starts from scratch.
        request, settings: what is asked for, how tokens are drawn.
        guidance: for conditioned models.
        provenance: gives what else the results should say of their origin, as JSON values.
        waits: run nothing yet; see ``Engine.stream``.

    Attributes:
        request: what was asked for.
        seed: of all takes; drawn where none was given.
        seconds: length of a take, where it is known beforehand.

    Raises:
        InputError: the prompt has no notes that the model could go on from.
        UsageError: the request contradicts itself.
    """

    def __init__(
        self,
        engine: Engine,
        prompt: Piece | None,
        request: Request,
        settings: SamplingSettings,
        *,
        guidance: Guidance | None = None,
        provenance: Callable[[], Mapping[str, Any]] = dict,
        waits: bool = False,
    ) -> None:
        self.request, self._density = request, settings.density
        self._tokenizer = tokenizer = engine.tokenizer
        self._prepared = prepared = prepare(tokenizer, prompt, request)
        self._zero_ms = float(prepared.piece.tempo.ms_at(prepared.zero_tick))
        seed = secrets.randbits(63) if request.seed is None else request.seed
        seconds = request.seconds
        self._place: SeamPlace = seam_place(prepared.piece, request.seam)
        self._shifts: dict[int, float] = {}
        start: Start | None = None
        self._shift: float | None = None
        if settings.grammar:
            start, self._shift = self._start()
        elif request.bars is not None:
            # A bar more than asked for: the new notes may have to wait for the next line.
            last = int(prepared.piece.notes.onset_tick.max(initial=0))
            seconds = bar_seconds(prepared.piece, last, request.bars + 1)
        lengths = (seconds, request.bars, request.notes, request.tokens)
        if all(length is None for length in lengths):
            seconds = DEFAULT_SECONDS
        self.seed, self.seconds = seed, seconds
        ending: Ending = "asked" if request.end else "never"
        self._stream: Stream = engine.stream(
            prepared.ids,
            settings=settings,
            stop=Stop(seconds, request.notes, request.tokens),
            ending=ending,
            variations=request.takes,
            first_variation=request.first_variation,
            seed=seed,
            guidance=guidance,
            start=start,
            waits=waits,
        )
        # Of a prompt that was cut on purpose there is nothing to say.
        whole = request.prompt_seconds is None
        self.notices = tuple(notices_of_the_end(prepared.piece)) if whole else ()
        if self._stream.dropped_segments:
            lost = self._stream.dropped_segments * SEGMENT_MS // 1000
            self.notices += (
                f"the prompt is longer than the model's context: its first {lost} s are left out",
            )
        # Asked for with the results: hashing a big model must not delay the first note.
        self._origin = provenance
        self._provenance: dict[str, Any] = {
            "settings": settings.to_dict(),
            "request": request.to_dict(),
            "seed": seed,
        }
        if guidance is not None:
            self._provenance["guidance"] = guidance.strength

    def _start(self) -> tuple[Start, float]:
        """Where new events begin in the time of the tokens, and how many ms later they stand."""
        piece, place, bars = self._prepared.piece, self._place, self.request.bars
        seam_ms = float(piece.tempo.ms_at(place.tick)) - self._zero_ms
        shift = 0.0
        if place.mode == "bar":
            # The line itself, though tokens count in steps.
            step_ms = max(round(seam_ms / STEP) * STEP, 0)
            seam_ms, shift = step_ms, seam_ms - step_ms
        zero = self._zero_ms + shift
        vocabulary, ids = self._tokenizer.vocabulary, self._prepared.ids
        prefix = ids[vocabulary.kinds[ids] == Kind.INSTRUMENT] - vocabulary.instrument_start
        held: dict[tuple[int, int], float] = {}
        if len(piece):
            for index, (channel, program) in prefix_channels(prefix.tolist(), vocabulary).items():
                for pitch, ms in held_keys(piece, channel, program).items():
                    held[index, pitch] = ms - zero

        @cache
        def end_of(first_ms: float) -> float:
            assert bars is not None
            end = end_of_bars(piece, place, first_ms + zero, bars)
            return float(piece.tempo.ms_at(end)) - zero - LAST_BEFORE_END_MS

        return (
            Start(
                0.0 if place.mode == "now" else seam_ms,
                place.mode == "bar",
                held,
                None if bars is None else end_of,
                self._pulse(zero),
                self._pace(),
            ),
            shift,
        )

    def _pace(self) -> Pace | None:
        """Return the rate of notes to hold; None leaves it to the model."""
        if self._density == 1.0:
            return None
        piece = self._prepared.piece
        last_ms = float(piece.onset_ms.max(initial=0.0))
        heard = piece.onset_ms[piece.onset_ms > last_ms - PACE_HEARD_MS]
        seconds = float(np.ptp(heard)) / 1000 if len(heard) else 0.0
        rate = len(heard) / seconds if seconds >= 1 else USUAL_NOTES_PER_SECOND
        return Pace(rate * self._density, rate)

    def _pulse(self, zero_ms: float) -> Pulse | None:
        """Return what onsets keep to: the grid of the file, else how the player keeps time."""
        spread_ms = GROOVE_SPREAD_MS[self.request.groove]
        piece = self._prepared.piece
        if spread_ms is None or not len(piece):
            return None
        found = metrical_pulse(piece, zero_ms, STEP, spread_ms / STEP)
        if found is not None:
            return found
        onset_ms = np.unique(self._tokenizer.decode(self._prepared.ids).onset_ms)
        return tracked_pulse(onset_ms, STEP, GROOVE_LOOSENESS[self.request.groove])

    def __iter__(self) -> Iterator[StreamedNote]:
        """Return the notes as they are decided; onsets in ms from tick 0 of ``Continuation.piece``.

        These are the notes of the results, but for a tight groove, which puts onsets that are near
        the grid right on it there.
        Without the grammar what depends on later notes is mended in the results only: strokes on a
        key that is down, whole bars.
        """
        while not self._stream.done:
            yield from self.step()

    @property
    def stream(self) -> Stream:
        """The engine's stream, for who runs many."""
        return self._stream

    def step(self) -> list[StreamedNote]:
        """Decide the next token of every take; the notes completed, as iterating has them."""
        return self.placed(self._stream.step())

    def placed(self, notes: Sequence[StreamedNote]) -> list[StreamedNote]:
        """Return notes of the engine as iterating gives them: playable ones, on the piece's time.

        Args:
            notes: of any takes, in the order they were decided.
        """
        found = []
        for note in notes:
            if not is_playable(note.channel, note.program, note.pitch):
                continue
            shift = self._shifts.get(note.variation)
            if shift is None:
                first = note.onset_ms + self._zero_ms
                shift = self._shift
                if shift is None:
                    shift = shift_ms(self._prepared.piece, self._place, first)
                shift = self._shifts[note.variation] = self._zero_ms + shift
            found.append(note._replace(onset_ms=round(note.onset_ms + shift)))
        return found

    @property
    def seam_ms(self) -> float:
        """Where new music may begin, in ms from tick 0; the first new note may come later."""
        return float(self._prepared.piece.tempo.ms_at(self._place.tick))

    def run(
        self,
        report: Callable[[GenerationProgress], None] | None = None,
        listen: Callable[[StreamedNote], None] | None = None,
    ) -> list[Continuation]:
        """Go on until every take is done.

        Args:
            report: called after every step with how it stands.
            listen: called with every note as soon as it is decided.
        """
        while not self._stream.done:
            for note in self.step():
                if listen is not None:
                    listen(note)
            if report is not None:
                report(self._stream.progress())
        return self.results()

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

    def results(self) -> list[Continuation]:
        """Return what has been decided so far: the best takes, the best of them first.

        Where as many takes were asked for as variations, they stay in the order of their numbers.
        """
        verdicts = self.verdicts()
        chosen = list(range(len(verdicts)))
        if self.request.takes > self.request.variations:
            chosen = ranked(verdicts)[: self.request.variations]
        return [self.result(i, verdicts[i]) for i in chosen]

    def result(self, take: int, verdict: Verdict) -> Continuation:
        """Return one take, by its place among all of them, with what the critic thinks of it."""
        self._provenance = {"arietta": __version__, **self._origin(), **self._provenance}
        report = self._stream.progress().rows[take]
        return self._result(self._stream.rows[take], report, verdict)

    def verdicts(self) -> list[Verdict]:
        """Return what the critic thinks of each take, as far as it is decided."""
        return [self._judge(row) for row in self._stream.rows]

    def _judge(self, row: Row) -> Verdict:
        new = take_of(row.notes)
        length_ms = 0.0
        if len(new):
            # To the onset that would have come next, unless the length was asked for.
            length_ms = float(new.onset_ms.max()) * (1 + 1 / len(new))
            if row.reason == "seconds" and self.seconds is not None:
                length_ms = self.seconds * 1000
        return judge(
            new,
            self._prompt_notes,
            length_ms,
            nats_per_note=row.nats / max(len(new), 1),
            density=self._density,
            ending=self.request.end,
        )

    @cached_property
    def _prompt_notes(self) -> Notes:
        """The end of the prompt as the model reads it."""
        return ending_of(notes_of(self._tokenizer.decode(self._stream.prompt_ids)))

    def _result(self, row: Row, report: RowReport, verdict: Verdict) -> Continuation:
        prompt = self._prepared.piece
        provenance = {
            **self._provenance,
            "variation": row.variation,
            "stopped": report.reason,
        }
        joined = join(
            prompt,
            self._zero_ms,
            row.notes,
            row.pedals,
            self.request,
            shift=self._shift,
            text=provenance_text(provenance),
        )
        ids = np.asarray(row.ids, np.int32)
        notices = self.notices + joined.notices
        if joined.ringing:
            notices += (
                f"{joined.ringing} notes of variation {row.variation + 1} were still sounding at"
                " the last bar line and end there",
            )
        if self.request.end and report.reason == "seconds":
            notices += (
                f"variation {row.variation + 1} found no ending within {ENDING_GRACE_S:g} s of the"
                " asked length and was cut there; another seed may",
            )
        return Continuation(
            prompt,
            joined.alone,
            joined.piece,
            joined.seam_ms,
            replace(report, notes=len(joined.alone)),
            provenance,
            notices,
            ids[: self._tokenizer.complete_length(ids)],
            joined.place,
            joined.place_ms,
            joined.ringing,
            verdict,
        )
