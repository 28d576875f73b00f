"""A gap in a piece -> the piece with the gap filled, in several ways.

Everything that is kept stays as it stands in the file, event for event: the notes that are replaced
are taken out of their tracks, the new ones go into a track of their own. Where something of the gap
is kept its pedal is kept too; else the pedal inside goes with the notes it held, but for the
movements that the music around needs, and the lengths of the new notes carry it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from os import PathLike
from typing import Any

import numpy as np

from arietta._version import __version__
from arietta.arrays import BoolArray, FloatArray, IntArray
from arietta.display import mimebundle
from arietta.errors import InputError
from arietta.generation.engine import Engine, GenerationProgress, Guidance, StreamedNote
from arietta.generation.fill_settings import FillRequest, bars_of, is_file, kept_keys, key_of
from arietta.generation.infill import (
    CONTEXT_MS,
    Busy,
    Columns,
    Fill,
    FillStream,
    by_seam,
)
from arietta.generation.pace import Pace
from arietta.generation.pulse import (
    GROOVE_LOOSENESS,
    GROOVE_SPREAD_MS,
    Pulse,
    bridged_pulse,
    metrical_pulse,
)
from arietta.generation.settings import Groove, SamplingSettings
from arietta.midi.events import END_OF_TRACK, Event, meta
from arietta.midi.hands import split_hands
from arietta.midi.instruments import channel_classes, sounding_programs
from arietta.midi.interpret import unended_notes
from arietta.midi.notes import DRUM_CHANNEL, KEYS, LOWEST_KEY
from arietta.midi.parse import encode_text
from arietta.midi.pedal import pedal_offsets
from arietta.midi.piece import Piece
from arietta.midi.reader import read, read_bytes
from arietta.midi.removal import without_notes, without_pedal
from arietta.midi.repedal import RESTRIKE_MS, next_strokes
from arietta.midi.seam import Track, division_factor, join_bytes, lines_on, multiplied, scaled
from arietta.midi.sequence import delayed, one_after_the_other
from arietta.midi.tempo import TempoMap
from arietta.midi.writer import write_midi
from arietta.tokenizers.controls import (
    control_id,
    density_level,
    loudness_level,
    register_level,
)
from arietta.tokenizers.gaps import GapPlace
from arietta.tokenizers.quantise import SEGMENT_MS, STEP
from arietta.tokenizers.vocabulary import Vocabulary

__all__ = [
    "FillRequest",
    "FilledPiece",
    "PieceFillStream",
    "bars_of",
    "fill_piece",
    "kept_keys",
    "key_of",
    "without_notes",
]

TRACK_NAME = "Arietta fill"
META_NAME = 0x03
_BEHIND_MS = 5_000
_AROUND_MS = 10_000
_HOLE_MS, _HOLE_TIMES = 1_000.0, 1.5
"""A hole is longer than this, and than so many times the longest rest within 10 s of the gap."""
_SAME_MS = 20.0
"""How far a note of a file of kept notes may stand from the piece's."""
_FREE_MS = -(-(RESTRIKE_MS + 4.0) // STEP) * STEP
"""From a key's release to its next stroke; onsets are rounded to steps and ticks."""
_WHOLE = (LOWEST_KEY, LOWEST_KEY + KEYS - 1)


@dataclass(frozen=True, eq=False)
class FilledPiece:
    """One way to fill the gap.

    Attributes:
        piece: with the gap filled.
        new: how many notes are new.
        replaced: how many were taken out.
        start_ms, end_ms: of the gap, from tick 0 of the piece.
        seam_bits: bits a note of the music behind the gap under the same model; None where
            nothing follows. Lower is smoother.
        replaced_bits: the same with what stood in the gap; None where nothing did.
        variation: number of the take.
        provenance: model, settings, seed; JSON values.
        notices: what the user should be told, a sentence each.
    """

    piece: Piece
    new: int
    replaced: int
    start_ms: float
    end_ms: float
    seam_bits: float | None
    replaced_bits: float | None
    variation: int
    provenance: Mapping[str, Any]
    notices: tuple[str, ...] = ()

    @property
    def extra_bits(self) -> float | None:
        """How many more bits a note the music behind costs than with what stood in the gap."""
        if self.seam_bits is None or self.replaced_bits is None:
            return None
        return self.seam_bits - self.replaced_bits

    @property
    def notes_per_second(self) -> float:
        """New notes a second of the gap."""
        return self.new / ((self.end_ms - self.start_ms) / 1000)

    def save(self, path: str | PathLike[str], *, force: bool = False) -> None:
        """Write a standard MIDI file with the provenance in the text of the new track.

        Raises:
            OutputError: the file exists, its directory does not, or the disk is full.
        """
        from arietta.midi.writer import save_midi

        text = "arietta " + json.dumps(dict(self.provenance), separators=(",", ":"))
        save_midi(self.piece, path, force=force, extra_text=[text])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """Show the piano roll and the sound in a notebook."""
        return mimebundle(self.piece, "FilledPiece")


def fill_piece(
    engine: Engine,
    piece: Piece,
    request: FillRequest,
    settings: SamplingSettings,
    *,
    guidance: Guidance | None = None,
    like: Piece | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> list[FilledPiece]:
    """Fill a gap of a piece, the ways that lead best to what follows first.

    Arguments and errors as for ``PieceFillStream``.
    """
    stream = PieceFillStream(
        engine,
        piece,
        request,
        settings,
        guidance=guidance,
        like=like,
        provenance=lambda: provenance or {},
    )
    return stream.run()


class PieceFillStream:
    """Ways to fill a gap in the making: iterate for notes, then ask for ``results``.

    ``cancel`` may be called from another thread; ``results`` then holds what was decided so far.

    Args:
        engine: of a model.
        piece: what to fill.
        request: the gap and what is wanted.
        settings: how tokens are drawn.
        guidance: music to resemble, for conditioned models.
        like: music to resemble, for models that know its density, register and loudness.
        provenance: gives what else the results should say of their origin, as JSON values.

    Raises:
        InputError: the piece has no piano notes, no bar of that number, or ends before the gap;
            or the notes to keep are not in it.
        UsageError: the request does not fit the model, or leaves no key to fill.
    """

    def __init__(
        self,
        engine: Engine,
        piece: Piece,
        request: FillRequest,
        settings: SamplingSettings,
        *,
        guidance: Guidance | None = None,
        like: Piece | None = None,
        provenance: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self.request = request
        self._origin, self._settings = provenance, settings
        self.piece, start_ms, end_ms = _with_gap(piece, request)
        self.start_ms, self.end_ms = start_ms, end_ms
        piece = self.piece
        piano = _piano(piece)
        if not piano.any():
            raise InputError(f"{piece.source or 'piece'}: no notes to fill a gap between")
        onset_ms, offset_ms = piece.onset_ms, piece.onset_ms + piece.duration_ms
        inside = piano & (onset_ms >= start_ms) & (onset_ms < end_ms)
        keys, stays, self.notices = _part(piece, request, inside)
        self._gone = gone = inside & ~stays
        # What a pedal held for notes that are gone is not heard as held by what stays.
        self._zero_ms = zero_ms = max(0.0, start_ms - CONTEXT_MS) // SEGMENT_MS * SEGMENT_MS
        near = piano & (onset_ms >= zero_ms) & (onset_ms < end_ms + CONTEXT_MS)
        low, high = keys
        place = GapPlace(
            _steps(start_ms - zero_ms),
            _steps(end_ms - zero_ms),
            None if keys == _WHOLE else (low, high),
        )
        kept = _columns(piece, near & ~gone, zero_ms)
        self._was = _columns(piece, gone, zero_ms)
        self._kept_ms = np.unique(kept.onset_ms)
        held = piano & ~gone & (offset_ms + _FREE_MS > start_ms)
        held &= onset_ms < end_ms + _BEHIND_MS
        self._strokes = (onset_ms[held], piece.notes.pitch[held].astype(np.int64))
        busy = Busy(
            piece.notes.pitch[held].astype(np.int64),
            _step_times(onset_ms[held] - zero_ms),
            _step_times(offset_ms[held] - zero_ms + _FREE_MS),
        )
        hanging = _hanging(piece) & held
        if hanging.any():
            busy = _closed(busy, np.unique(piece.notes.pitch[hanging]), place)
        banned = kept_keys(request.keep)
        if banned is not None:
            busy = _closed(busy, np.arange(banned[0], banned[1] + 1), place)
        vocab = engine.tokenizer.vocabulary
        self._rate = pace = None
        if request.density is not None:
            usual = _rate(piece, gone, piano, start_ms, end_ms)
            self._rate = request.density * usual
            pace = Pace(self._rate, usual)
        self._stream = FillStream(
            engine,
            kept,
            place,
            busy,
            prefix=[vocab.instrument_start],
            settings=settings,
            takes=max(request.takes, request.variations),
            seed=request.seed,
            controls=_controls(vocab, like, self._rate),
            guidance=guidance,
            pulse=_pulse(piece, kept, place, zero_ms, request.groove),
            pace=pace,
        )

    def __iter__(self) -> Iterator[StreamedNote]:
        """Return the notes of all takes as they are decided; onsets in ms from tick 0.

        These are the notes of the results, but that keys are let go earlier there where they are
        struck again.
        """
        while not self.done:
            yield from self.step()

    def step(self) -> list[StreamedNote]:
        """Decide the next token of every take that goes on; return the notes it completes."""
        return [
            note._replace(onset_ms=note.onset_ms + round(self._zero_ms))
            for note in self._stream.step()
        ]

    def run(self, report: Callable[[GenerationProgress], None] | None = None) -> list[FilledPiece]:
        """Go on until every take is done; ``report`` is told after every step."""
        while not self.done:
            self.step()
            if report is not None:
                report(self.progress())
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

    def results(self) -> list[FilledPiece]:
        """Return what was decided so far, as many ways as were asked for, the smoothest first.

        Ways in which the music stops come behind all others.
        With a density, of twice as many takes as variations that come closest to it.
        """
        more = [self._was] if len(self._was) else []
        fills, before = self._stream.results(more)
        if self._rate is not None:
            seconds = (self.end_ms - self.start_ms) / 1000
            wanted = np.log(self._rate * seconds + 1)
            fills.sort(key=lambda one: abs(np.log(len(one.notes) + 1) - wanted))
            fills = fills[: 2 * self.request.variations]
        chosen = self._ranked(fills)[: self.request.variations]
        origin = {
            "arietta": __version__,
            **self._origin(),
            "settings": self._settings.to_dict(),
            "fill": self.request.to_dict(),
            "seed": self.request.seed,
        }
        return [self._filled(one, before[0] if before else None, origin) for one in chosen]

    def _ranked(self, fills: Sequence[Fill]) -> list[Fill]:
        """Return the takes by their seams, those with a hole behind all others.

        A hole is a time without an onset that is much longer than any around the gap: what follows
        may well go on from it, and a listener hears that the music stopped.
        """
        start, end = self.start_ms - self._zero_ms, self.end_ms - self._zero_ms
        at = self._kept_ms
        before = at[(at >= start - _AROUND_MS) & (at < start)]
        behind = at[(at >= end) & (at < end + _AROUND_MS)]
        usual_ms = max(float(np.diff(side).max(initial=0.0)) for side in (before, behind))
        longest_ms = max(_HOLE_MS, _HOLE_TIMES * usual_ms)
        inside = at[(at >= start) & (at < end)]

        def flows(one: Fill) -> bool:
            parts = (before[-1:], inside, one.notes.onset_ms, behind[:1])
            rests = np.diff(np.unique(np.concatenate(parts)))
            return float(rests.max(initial=0.0)) <= longest_ms

        ranked = by_seam(fills)
        return sorted(ranked, key=lambda one: not flows(one))

    @cached_property
    def _rest(self) -> tuple[TempoMap, list[Track]]:
        """The tempo map and the tracks of what is kept, on ticks fine enough for a performance."""
        piece = self.piece
        tracks = without_notes(piece, self._gone)
        if self.request.keep is None and self._gone.any():
            start, end = (int(piece.tempo.tick_at(ms)) for ms in (self.start_ms, self.end_ms))
            channels = np.unique(piece.notes.channel[self._gone]).tolist()
            tracks = without_pedal(tracks, start, end, channels)
        factor = division_factor(piece, 0)
        division = multiplied(piece.tempo.division, factor)
        tempo = TempoMap(division, piece.tempo.tick * factor, piece.tempo.us_per_quarter)
        return tempo, scaled(tracks, factor)

    def _filled(
        self, one: Fill, replaced_bits: float | None, origin: Mapping[str, Any]
    ) -> FilledPiece:
        piece = self.piece
        tempo, tracks = self._rest
        if len(one.notes):
            tracks = [*tracks, self._new_track(one.notes, tempo)]
        whole = read_bytes(join_bytes(tempo.division, tracks), source=piece.source)
        notices = self.notices
        if not one.whole:
            last_ms = self._zero_ms + float(one.notes.onset_ms.max(initial=0))
            notices += (
                f"take {one.variation + 1} ends at {max(last_ms, self.start_ms) / 1000:.1f} s,"
                " before the gap does: the model's context was full",
            )
        return FilledPiece(
            replace(whole, metadata=piece.metadata),
            len(one.notes),
            int(self._gone.sum()),
            self.start_ms,
            self.end_ms,
            one.seam_bits,
            replaced_bits,
            one.variation,
            {**origin, "variation": one.variation, "seam_bits": one.seam_bits},
            notices,
        )

    def _new_track(self, new: Columns, tempo: TempoMap) -> Track:
        """Return the new notes on the channel of the piece's piano, with its program."""
        piece = self.piece
        counts = np.bincount(piece.notes.channel[_piano(piece)], minlength=16)
        channel = int(np.argmax(counts))
        stated = sounding_programs(piece)
        mine = stated.program[(stated.channel == channel) & (stated.track >= 0)]
        head: Track = [Event(0, meta(META_NAME, encode_text(TRACK_NAME)))]
        if len(mine):
            head.append(Event(0, bytes((0xC0 | channel, int(mine[-1])))))
        onset_ms = np.asarray(new.onset_ms + self._zero_ms, np.float64)
        onset = tempo.tick_at(onset_ms)
        offset = np.maximum(tempo.tick_at(self._released(new, onset_ms)), onset + 1)
        events: list[tuple[int, int, bytes]] = []
        for a, b, pitch, velocity in zip(
            onset.tolist(), offset.tolist(), new.pitch.tolist(), new.velocity.tolist(), strict=True
        ):
            events.append((a, 1, bytes((0x90 | channel, pitch, velocity))))
            events.append((b, 0, bytes((0x80 | channel, pitch, 64))))
        events.sort(key=lambda event: event[:2])
        track = [*head, *(Event(tick, message) for tick, _, message in events)]
        return [*track, Event(track[-1].tick, END_OF_TRACK)]

    def _released(self, new: Columns, onset_ms: FloatArray) -> FloatArray:
        """Return (n,) when the new keys come up: in time for the next stroke, new or kept."""
        kept_ms, kept_pitch = self._strokes
        again = next_strokes(
            np.concatenate((onset_ms, kept_ms)), np.concatenate((new.pitch, kept_pitch))
        )[: len(new)]
        free = np.maximum(again - RESTRIKE_MS, onset_ms + (again - onset_ms) * 0.5)
        return np.asarray(np.minimum(onset_ms + new.duration_ms, free), np.float64)


def _with_gap(piece: Piece, request: FillRequest) -> tuple[Piece, float, float]:
    """Return the piece that has the gap, and its span in ms from tick 0, in whole steps."""
    if request.opening is not None:
        made = delayed(piece, request.opening)
    elif request.then is not None:
        following = request.then if isinstance(request.then, Piece) else read(request.then)
        made = one_after_the_other(piece, following, request.between)
    else:
        return piece, *_span(piece, request)
    start, end = np.ceil(made.start_ms / STEP) * STEP, np.floor(made.end_ms / STEP) * STEP
    return made.piece, float(start), float(max(end, start + STEP))


def _span(piece: Piece, request: FillRequest) -> tuple[float, float]:
    """Return the span in ms from tick 0, in whole steps."""
    if request.bars is None:
        assert request.from_seconds is not None and request.to_seconds is not None
        start, end = request.from_seconds * 1000, request.to_seconds * 1000
    else:
        first, last = (lines_on(piece, 0, n) for n in (request.bars[0] - 1, request.bars[1]))
        if first >= int(piece.notes.offset_tick.max(initial=0)):
            raise InputError(f"{piece.source or 'piece'}: ends before bar {request.bars[0]} begins")
        start, end = (float(piece.tempo.ms_at(tick)) for tick in (first, last))
    start, end = float(np.floor(start / STEP) * STEP), float(np.ceil(end / STEP) * STEP)
    if start > piece.end_ms:
        raise InputError(
            f"{piece.source or 'piece'}: ends at {piece.end_ms / 1000:.1f} s, before the gap begins"
        )
    return start, end


def _steps(ms: float) -> int:
    return round(ms / STEP) * STEP


def _step_times(ms: FloatArray) -> Any:
    """Return times (n,) in whole steps."""
    return np.rint(ms / STEP).astype(np.int64) * STEP


def _piano(piece: Piece) -> BoolArray:
    """Return (n,) which notes a piano plays; without a piano, all that are no drums."""
    channel = piece.notes.channel
    classes = channel_classes(piece)
    pianos = [c for c, kind in classes.items() if kind == 0 and c != DRUM_CHANNEL]
    found = np.isin(channel, pianos)
    return np.asarray(found if found.any() else channel != DRUM_CHANNEL, np.bool_)


def _part(
    piece: Piece, request: FillRequest, inside: BoolArray
) -> tuple[tuple[int, int], BoolArray, tuple[str, ...]]:
    """Return the keys to be filled, which notes of the span stay, and what is to be told."""
    pitch = piece.notes.pitch.astype(np.int64)
    keep = request.keep
    if keep is None:
        return _WHOLE, np.zeros(len(pitch), bool), ()
    if not isinstance(keep, str) or is_file(keep):
        stays, notices = _found_again(piece, keep if isinstance(keep, Piece) else read(keep))
        return _WHOLE, inside & stays, notices
    kept = kept_keys(keep)
    if kept is not None:
        stays = inside & (pitch >= kept[0]) & (pitch <= kept[1])
        if kept[1] == _WHOLE[1]:
            return (_WHOLE[0], kept[0] - 1), stays, ()
        if kept[0] == _WHOLE[0]:
            return (kept[1] + 1, _WHOLE[1]), stays, ()
        return _WHOLE, stays, ()
    right = split_hands(piece.onset_ms, piece.onset_ms + piece.duration_ms, piece.notes.pitch)
    stays = inside & (right if keep == "right-hand" else ~right)
    other = inside & ~stays
    if other.any():
        low, high = int(pitch[other].min()), int(pitch[other].max())
        return (max(low, _WHOLE[0]), min(high, _WHOLE[1])), stays, ()
    middle = int(np.median(pitch[stays])) if stays.any() else 60
    if keep == "right-hand":
        return (_WHOLE[0], max(middle - 1, _WHOLE[0])), stays, ()
    return (min(middle + 1, _WHOLE[1]), _WHOLE[1]), stays, ()


def _found_again(piece: Piece, wanted: Piece) -> tuple[BoolArray, tuple[str, ...]]:
    """Return which notes of a piece another has at their times, and a word on the others of it.

    Raises:
        InputError: none are.
    """
    stays = np.zeros(len(piece), bool)
    rows: dict[int, list[int]] = {}
    for row, pitch in enumerate(piece.notes.pitch.tolist()):
        rows.setdefault(pitch, []).append(row)
    onset_ms = piece.onset_ms
    missing = 0
    for at, pitch in zip(wanted.onset_ms.tolist(), wanted.notes.pitch.tolist(), strict=True):
        free = [r for r in rows.get(pitch, ()) if not stays[r]]
        nearest = min(free, key=lambda r: abs(onset_ms[r] - at), default=None)
        if nearest is None or abs(onset_ms[nearest] - at) > _SAME_MS:
            missing += 1
        else:
            stays[nearest] = True
    name = wanted.source or "the piece of kept notes"
    if not stays.any():
        raise InputError(f"{name}: none of its {len(wanted)} notes is in the piece at its time")
    if missing:
        return stays, (f"{missing} of {len(wanted)} notes of {name} are not in the piece",)
    return stays, ()


def _hanging(piece: Piece) -> BoolArray:
    """Return (n,) which notes nothing ends: the release of a new note would be taken for theirs."""
    found = {
        (onset, pitch, channel)
        for onset, _, pitch, _, channel, _ in unended_notes(write_midi(piece))
    }
    notes = piece.notes
    rows = zip(notes.onset_tick.tolist(), notes.pitch.tolist(), notes.channel.tolist(), strict=True)
    return (
        np.array([row in found for row in rows], np.bool_) if found else np.zeros(len(piece), bool)
    )


def _closed(busy: Busy, keys: IntArray, place: GapPlace) -> Busy:
    """Return keys that are held, and some that are closed for the whole gap."""
    more = keys.astype(np.int64)
    return Busy(
        np.concatenate((busy.pitch, more)),
        np.concatenate((busy.down_ms, np.full(len(more), place.start_ms))),
        np.concatenate((busy.up_ms, np.full(len(more), place.end_ms + SEGMENT_MS))),
    )


def _columns(piece: Piece, chosen: BoolArray, zero_ms: float) -> Columns:
    """Return some notes on the token grid, their sounding lengths, from the start of the window."""
    notes = piece.notes
    offset_ms = piece.tempo.ms_at(pedal_offsets(piece))
    onset = np.rint((piece.onset_ms[chosen] - zero_ms) / STEP).astype(np.int64) * STEP
    length = np.rint((offset_ms[chosen] - piece.onset_ms[chosen]) / STEP).astype(np.int64) * STEP
    pitch = notes.pitch[chosen].astype(np.int64)
    order = np.lexsort((pitch, onset))
    velocity = notes.velocity[chosen].astype(np.int64)
    return Columns(onset[order], np.maximum(length, STEP)[order], pitch[order], velocity[order])


def _pulse(
    piece: Piece, kept: Columns, place: GapPlace, zero_ms: float, groove: Groove
) -> Pulse | None:
    """Return what onsets keep to: the grid of the file, else the beat on both sides of the gap."""
    spread_ms = GROOVE_SPREAD_MS[groove]
    if spread_ms is None:
        return None
    from_ms = zero_ms + place.start_ms
    found = metrical_pulse(piece, zero_ms, STEP, spread_ms / STEP, from_ms=from_ms)
    if found is not None:
        return found
    onset_ms = np.unique(kept.onset_ms).astype(float)
    before, behind = onset_ms[onset_ms < place.start_ms], onset_ms[onset_ms >= place.end_ms]
    return bridged_pulse(before, behind, STEP, GROOVE_LOOSENESS[groove])


def _rate(piece: Piece, gone: BoolArray, piano: BoolArray, start_ms: float, end_ms: float) -> float:
    """Return the notes a second that are taken out of the gap, or else of the whole piece."""
    if gone.any():
        return float(gone.sum()) / ((end_ms - start_ms) / 1000)
    seconds = float(np.ptp(piece.onset_ms[piano])) / 1000
    return float(piano.sum()) / max(seconds, 1.0)


def _controls(vocab: Vocabulary, like: Piece | None, rate: float | None) -> list[int]:
    """Return the ids that tell a model how dense, high and loud the new music is to be."""
    if not vocab.filling:
        return []
    found: list[int] = []
    if like is not None:
        piano = _piano(like)
        if not piano.any():
            raise InputError(f"{like.source or 'the example'}: no notes to resemble")
        if rate is None:
            rate = _rate(like, np.zeros(len(like), bool), piano, 0.0, 1.0)
        pitch, velocity = like.notes.pitch[piano], like.notes.velocity[piano]
        found = [
            control_id(vocab, "register", register_level(float(pitch.mean()))),
            control_id(vocab, "loudness", loudness_level(float(velocity.mean()))),
        ]
    if rate is not None:
        found.insert(0, control_id(vocab, "density", density_level(max(rate, 0.1))))
    return found
