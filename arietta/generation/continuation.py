"""A prompt piece -> continued pieces.

The prompt stays as it was played: its own notes, ticks, tempo map and signatures, so that bars stay
right in a DAW. New notes are set on its tick grid from the first new onset, the *seam*, on; there
the prompt's pedal is let go.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import numpy as np

from arietta._version import __version__
from arietta.arrays import Int32Array, IntArray
from arietta.display import mimebundle
from arietta.errors import InputError, UsageError
from arietta.generation.constraints import Ending
from arietta.generation.engine import (
    ENDING_GRACE_S,
    Engine,
    GenerationProgress,
    Guidance,
    Row,
    RowReport,
    Stop,
    Stream,
    StreamedNote,
)
from arietta.generation.sampling import SamplingSettings
from arietta.midi.instruments import channel_classes
from arietta.midi.notes import (
    DRUM_CHANNEL,
    ExtraTable,
    MessageList,
    NoteTable,
    PedalTable,
    ProgramTable,
    empty_notes,
    note_table,
    pedal_table,
    program_table,
)
from arietta.midi.piece import Piece
from arietta.midi.tempo import TempoMap
from arietta.tokenizers.aria import AriaTokenizer
from arietta.tokenizers.decoding import NoteEvent
from arietta.tokenizers.encoding import select_voices
from arietta.tokenizers.excerpts import prompt_piece
from arietta.tokenizers.quantise import SEGMENT_MS

DEFAULT_SECONDS = 30.0
_SOSTENUTO, _SOFT = 66, 67
_SIGNATURES = (0x58, 0x59)
_NAMES = (0x03, 0x04)


@dataclass(frozen=True)
class Request:
    """What is asked for; checked on construction.

    Attributes:
        seconds: length of the new music; 30 when no length is given.
        bars: length in bars of the prompt's own metre and tempo, instead of seconds.
        notes, tokens: further limits, each alone or beside a length.
        prompt_seconds: how much of the prompt to go on from, counted from its first note; all of
            it by default.
        end: ask the model for an ending at about that length.
        variations: how many continuations.
        first_variation: number of the first one, to make a later one alone.
        seed: 0..2^64-1; None draws one, which the provenance then names.
        style: names for the prefix such as ``chopin`` or ``nocturne``, where the vocabulary has
            them; for a start from scratch.
    """

    seconds: float | None = None
    bars: float | None = None
    notes: int | None = None
    tokens: int | None = None
    prompt_seconds: float | None = None
    end: bool = False
    variations: int = 1
    first_variation: int = 0
    seed: int | None = 0
    style: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.seconds is not None and self.bars is not None:
            raise UsageError("--seconds and --bars both set the length; give one of them")
        for flag, value in (("--bars", self.bars), ("--prompt-seconds", self.prompt_seconds)):
            if value is not None and not 0 < value < float("inf"):
                raise UsageError(f"{flag} must be above 0, not {value}")
        if self.variations < 1:
            raise UsageError(f"--variations must be at least 1, not {self.variations}")
        Stop(self.seconds, self.notes, self.tokens)  # checks the rest

    def to_dict(self) -> dict[str, Any]:
        """The values that were set, for provenance."""
        names = ("seconds", "bars", "notes", "tokens", "prompt_seconds")
        found = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return {**found, **({"end": True} if self.end else {})}


@dataclass(frozen=True, eq=False)
class Continuation:
    """One continued piece.

    Attributes:
        prompt: what was continued, cut to the seconds that were asked for; no notes from scratch.
        new: only the continuation, time-shifted to start at 0, on the prompt's tempo and metre.
        piece: prompt and continuation.
        seam_ms: where the continuation starts in ``piece``, in ms from tick 0.
        stats: notes, tokens, seconds of music, why it stopped.
        provenance: model and its hash, settings, seed, version; JSON values.
        notices: what the caller should tell the user, one sentence each.
        ids: (n,) new ids, whole events only.
    """

    prompt: Piece
    new: Piece
    piece: Piece
    seam_ms: float
    stats: RowReport
    provenance: Mapping[str, Any]
    notices: tuple[str, ...]
    ids: Int32Array

    @property
    def provenance_text(self) -> str:
        """The provenance as the text event that ``save`` writes."""
        return "arietta " + json.dumps(self.provenance, separators=(",", ":"))

    def to_bytes(self, *, only_new: bool = False) -> bytes:
        """A standard MIDI file with the provenance in a text event."""
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
    kept = prompt if request.prompt_seconds is None else _cut(prompt, cut, request.prompt_seconds)
    return _Prepared(kept, ids, zero)


def _cut(prompt: Piece, heard: Piece, seconds: float) -> Piece:
    """The prompt up to where the model stops hearing, channels it cannot hear included."""
    start_ms = prompt.tempo.ms_at(heard.notes.onset_tick[0])
    end_tick = int(prompt.tempo.tick_at(start_ms + seconds * 1000))
    last = max(end_tick, int(heard.notes.onset_tick[-1]))
    notes, pedals = prompt.notes, prompt.pedals
    return replace(
        prompt,
        notes=notes.take(notes.onset_tick <= last),
        pedals=pedals.take(pedals.tick <= last),
        extra=_keep_extra(prompt.extra, last, signatures=True),
        text=tuple((tick, text) for tick, text in prompt.text if tick <= last),
    )


def _keep_extra(extra: ExtraTable, last_tick: int, *, signatures: bool) -> ExtraTable:
    """Messages up to a tick, and names and (where asked) signatures after it."""
    always = _NAMES + (_SIGNATURES if signatures else ())
    keep = [
        tick <= last_tick or (data[0] == 0xFF and data[1] in always)
        for tick, data in zip(extra.tick.tolist(), extra.data, strict=True)
    ]
    return extra.take(np.flatnonzero(keep))


def bar_seconds(piece: Piece, tick: int, bars: float) -> float:
    """How long some bars last from a tick on, by the piece's own metre and tempo.

    Without a metrical division, or for a metre that makes no sense, 4/4 at 120 is taken.
    """
    division = piece.tempo.division
    if division <= 0:
        return bars * 2.0
    signatures = piece.time_signatures or [(0, 4, 4)]
    at, left = float(tick), bars
    while left > 0:
        current = (4, 4)
        for start, above, below in signatures:
            if start <= at and above > 0:
                current = (above, below)
        step = min(left, 1.0)
        at += step * division * 4 * current[0] / current[1]
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
    ) -> None:
        self.request = request
        self._tokenizer = tokenizer = engine.tokenizer
        self._prepared = prepared = prepare(tokenizer, prompt, request)
        self._zero_ms = float(prepared.piece.tempo.ms_at(prepared.zero_tick))
        seed = secrets.randbits(63) if request.seed is None else request.seed
        seconds = request.seconds
        if request.bars is not None:
            last = int(prepared.piece.notes.onset_tick.max(initial=0))
            seconds = bar_seconds(prepared.piece, last, request.bars)
        if seconds is None and request.notes is None and request.tokens is None:
            seconds = DEFAULT_SECONDS
        ending: Ending = "asked" if request.end else "never"
        self._stream: Stream = engine.stream(
            prepared.ids,
            settings=settings,
            stop=Stop(seconds, request.notes, request.tokens),
            ending=ending,
            variations=request.variations,
            first_variation=request.first_variation,
            seed=seed,
            guidance=guidance,
        )
        self.notices: tuple[str, ...] = ()
        if self._stream.dropped_segments:
            lost = self._stream.dropped_segments * SEGMENT_MS // 1000
            self.notices = (
                f"the prompt is longer than the model's context: its first {lost} s are not heard",
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

    def __iter__(self) -> Iterator[StreamedNote]:
        """Notes as they are decided; onsets in ms from tick 0 of ``Continuation.piece``."""
        zero = round(self._zero_ms)
        for note in self._stream:
            yield note._replace(onset_ms=note.onset_ms + zero)

    def run(self, report: Callable[[GenerationProgress], None] | None = None) -> list[Continuation]:
        """Go on until every variation is done; ``report`` is told after every step."""
        while not self._stream.done:
            self._stream.step()
            if report is not None:
                report(self._stream.progress())
        return self.results()

    @property
    def done(self) -> bool:
        """Whether every variation is done."""
        return self._stream.done

    def cancel(self) -> None:
        """Stop as soon as possible."""
        self._stream.cancel()

    def progress(self) -> GenerationProgress:
        """How it stands."""
        return self._stream.progress()

    def results(self) -> list[Continuation]:
        """What has been decided so far, one continuation for each variation."""
        self._provenance = {"arietta": __version__, **self._origin(), **self._provenance}
        reports = self._stream.progress().rows
        return [
            self._result(row, report)
            for row, report in zip(self._stream.rows, reports, strict=True)
        ]

    def _result(self, row: Row, report: RowReport) -> Continuation:
        prompt = self._prepared.piece
        piece, new, seam_ms = assemble(prompt, self._zero_ms, row)
        ids = np.asarray(row.ids, np.int32)
        notices = self.notices
        if self.request.end and report.reason == "seconds":
            notices += (
                f"variation {row.variation + 1} found no ending within {ENDING_GRACE_S:g} s of the"
                " asked length and was cut there; another seed may",
            )
        return Continuation(
            prompt,
            new,
            piece,
            seam_ms,
            report,
            {**self._provenance, "variation": row.variation, "stopped": report.reason},
            notices,
            ids[: self._tokenizer.complete_length(ids)],
        )


def assemble(prompt: Piece, zero_ms: float, row: Row) -> tuple[Piece, Piece, float]:
    """Set a row's notes on the prompt's tick grid.

    Args:
        prompt: the prompt, cut.
        zero_ms: where the row's clock starts, in ms from tick 0.
        row: new notes and pedal movements.

    Returns:
        Prompt and continuation; the continuation alone from tick 0; the seam in ms.
    """
    tempo = prompt.tempo
    if not row.notes:
        closed = replace(prompt, pedals=_release(prompt.pedals, _last_tick(prompt.notes)))
        nothing = replace(
            prompt, notes=empty_notes(), pedals=pedal_table([], []), extra=_no_extra(), text=()
        )
        return closed, nothing, float(tempo.ms_at(_last_tick(prompt.notes)))
    voices = _Voices(prompt)
    new_notes = _new_notes(tempo, zero_ms, row.notes, voices)
    seam = int(new_notes.onset_tick.min())
    end = _last_tick(new_notes)
    before = _release(prompt.pedals, seam)
    new_pedals = _new_pedals(tempo, zero_ms, row, voices.of(0, 0), end)
    programs = _joined(ProgramTable, prompt.programs, voices.added_programs())
    whole = replace(
        prompt,
        notes=_joined(NoteTable, prompt.notes, new_notes),
        pedals=_joined(PedalTable, before, new_pedals),
        programs=programs,
        extra=_release_controllers(prompt.extra, seam),
    )
    return _trimmed(whole), _alone(whole, new_notes, new_pedals, seam), float(tempo.ms_at(seam))


class _Voices:
    """Which channel and track of the prompt goes on with which decoded voice."""

    def __init__(self, prompt: Piece) -> None:
        self._prompt = prompt
        self._classes = channel_classes(prompt)
        self._found: dict[tuple[int, int], tuple[int, int]] = {}
        self._added: list[tuple[int, int, int]] = []

    def of(self, channel: int, program: int) -> tuple[int, int]:
        """(channel, track) for a decoded channel and program."""
        key = (channel, program)
        if key not in self._found:
            self._found[key] = self._choose(channel, program)
        return self._found[key]

    def _choose(self, channel: int, program: int) -> tuple[int, int]:
        notes = self._prompt.notes
        if channel == DRUM_CHANNEL:
            same = [DRUM_CHANNEL]
        else:
            same = [c for c, k in self._classes.items() if c != DRUM_CHANNEL and k == program // 8]
        counts = np.bincount(notes.channel, minlength=16)
        if same:
            chosen = max(same, key=lambda c: (counts[c], -c))
            tracks = notes.track[notes.channel == chosen]
            return chosen, int(np.bincount(tracks).argmax()) if len(tracks) else 0
        free = [c for c in range(16) if c not in self._classes and c != DRUM_CHANNEL]
        # Sixteen busy channels: share one rather than lose the notes.
        chosen = DRUM_CHANNEL if channel == DRUM_CHANNEL else free[0] if free else 0
        self._classes[chosen] = program // 8
        track = int(notes.track[0]) if len(notes) else 0
        if chosen != DRUM_CHANNEL:
            self._added.append((program, chosen, track))
        return chosen, track

    def added_programs(self) -> ProgramTable:
        """Program changes for channels that the prompt does not have."""
        program, channel, track = zip(*self._added, strict=True) if self._added else ((), (), ())
        return program_table([0] * len(program), program, channel, track)


def _new_notes(
    tempo: TempoMap, zero_ms: float, events: Sequence[NoteEvent], voices: _Voices
) -> NoteTable:
    onset_ms = np.array([e.onset_ms for e in events], np.float64) + zero_ms
    duration_ms = np.array([e.duration_ms for e in events], np.float64)
    places = [voices.of(e.channel, e.program) for e in events]
    onset = tempo.tick_at(onset_ms)
    # A coarse grid must not make a note vanish.
    offset = np.maximum(tempo.tick_at(onset_ms + duration_ms), onset + 1)
    notes = note_table(
        onset,
        offset,
        [e.pitch for e in events],
        [e.velocity for e in events],
        [channel for channel, _ in places],
        [track for _, track in places],
    )
    return notes.take(np.argsort(onset, kind="stable"))


def _new_pedals(
    tempo: TempoMap, zero_ms: float, row: Row, place: tuple[int, int], end: int
) -> PedalTable:
    """The row's pedal movements, up at the end."""
    if not row.pedals:
        return pedal_table([], [])
    ticks = tempo.tick_at(np.array([p.time_ms for p in row.pedals], np.float64) + zero_ms)
    values = [p.value for p in row.pedals]
    if values[-1]:
        ticks = np.append(ticks, max(end, int(ticks[-1])))
        values.append(0)
    return pedal_table(ticks, values, *place)


def _last_tick(notes: NoteTable) -> int:
    return int(notes.offset_tick.max(initial=0))


def _release(pedals: PedalTable, tick: int) -> PedalTable:
    """The events with a pedal-up at a tick for every channel whose pedal is down at the end."""
    ups = []
    for channel in np.unique(pedals.channel):
        last = int(np.flatnonzero(pedals.channel == channel)[-1])
        if pedals.value[last]:
            at = max(tick, int(pedals.tick[last]))
            ups.append(pedal_table([at], [0], channel, pedals.track[last]))
    return _joined(PedalTable, pedals, *ups) if ups else pedals


def _release_controllers(extra: ExtraTable, tick: int) -> ExtraTable:
    """The messages with sostenuto and soft pedal let go at a tick where they are down."""
    last: dict[tuple[int, int], tuple[int, int, int]] = {}
    for at, track, data in zip(extra.tick.tolist(), extra.track.tolist(), extra.data, strict=True):
        if data[0] & 0xF0 == 0xB0 and data[1] in (_SOSTENUTO, _SOFT):
            last[data[0], data[1]] = (data[2], max(at, tick), track)
    ups = [
        (at, track, bytes((status, controller, 0)))
        for (status, controller), (value, at, track) in last.items()
        if value
    ]
    if not ups:
        return extra
    ticks = np.append(extra.tick, [at for at, _, _ in ups])
    tracks = np.append(extra.track, np.array([track for _, track, _ in ups], np.int32))
    messages = [*extra.data, *(message for _, _, message in ups)]
    order = np.argsort(ticks, kind="stable")
    return _extra_table(ticks[order], tracks[order], [messages[i] for i in order])


def _extra_table(tick: IntArray, track: Int32Array, data: Sequence[bytes]) -> ExtraTable:
    return ExtraTable(tick, track, MessageList.pack(data))


def _no_extra() -> ExtraTable:
    return _extra_table(np.zeros(0, np.int64), np.zeros(0, np.int32), ())


def _joined(kind: Any, *tables: Any) -> Any:
    """Rows of several tables of one kind, stably sorted by time."""
    names = list(kind.__dataclass_fields__)
    columns = {n: np.concatenate([getattr(t, n) for t in tables]) for n in names}
    whole = kind(**columns)
    return whole.take(np.argsort(columns[names[0]], kind="stable"))


def _trimmed(piece: Piece) -> Piece:
    """Without tempo changes, signatures and programs that lie behind all music."""
    ends = [_last_tick(piece.notes), int(piece.pedals.tick.max(initial=0))]
    end = max(ends)
    tempo = piece.tempo
    kept = np.maximum(np.count_nonzero(tempo.tick <= end), 1)
    return replace(
        piece,
        tempo=TempoMap(tempo.division, tempo.tick[:kept], tempo.us_per_quarter[:kept]),
        programs=piece.programs.take(piece.programs.tick <= end),
        extra=_keep_extra(piece.extra, end, signatures=False),
    )


def _alone(whole: Piece, notes: NoteTable, pedals: PedalTable, seam: int) -> Piece:
    """The continuation from tick 0, with the tempo, metre and programs in force at the seam."""

    def in_force(ticks: IntArray) -> IntArray:
        """Ticks moved to the seam; what was in force there lands on 0."""
        return np.maximum(ticks - seam, 0)

    tempo = whole.tempo
    first = max(int(np.searchsorted(tempo.tick, seam, side="right")) - 1, 0)
    new_tempo = TempoMap(tempo.division, in_force(tempo.tick[first:]), tempo.us_per_quarter[first:])
    moved = replace(notes, onset_tick=notes.onset_tick - seam, offset_tick=notes.offset_tick - seam)
    # A pedal the model pressed before its first note is down when that sounds.
    early = int(np.count_nonzero(pedals.tick < seam))
    keep = pedals.take(slice(early - 1 if early and pedals.value[early - 1] else early, None))
    used = np.unique(notes.channel)
    programs = whole.programs
    rows = [
        i
        for i in range(len(programs))
        if programs.channel[i] in used
        and (
            programs.tick[i] > seam
            or not np.any(
                (programs.channel[i + 1 :] == programs.channel[i])
                & (programs.tick[i + 1 :] <= seam)
            )
        )
    ]
    kept = programs.take(np.array(rows, np.int64))
    return _trimmed(
        Piece(
            new_tempo,
            moved,
            replace(keep, tick=in_force(keep.tick)),
            replace(kept, tick=in_force(kept.tick)),
            _extra_at(whole.extra, seam),
            (),
            whole.metadata,
        )
    )


def _extra_at(extra: ExtraTable, seam: int) -> ExtraTable:
    """Names, and the signatures in force at the seam and after it, moved to it."""
    chosen: list[int] = []
    for kind in _SIGNATURES:
        rows = [i for i, d in enumerate(extra.data) if d[0] == 0xFF and d[1] == kind]
        early = [i for i in rows if extra.tick[i] <= seam]
        chosen += early[-1:] + [i for i in rows if extra.tick[i] > seam]
    chosen += [i for i, d in enumerate(extra.data) if d[0] == 0xFF and d[1] in _NAMES]
    chosen.sort()
    part = extra.take(np.array(chosen, np.int64))
    return replace(part, tick=np.maximum(part.tick - seam, 0))
