"""A gap in a piece -> the piece with the gap filled, in several ways.

Everything that is kept stays as it stands in the file, event for event: the notes that are replaced
are taken out of their tracks, the new ones go into a track of their own. The pedal is kept too;
inside the gap the lengths of the new notes carry it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import numpy as np

from arietta._version import __version__
from arietta.arrays import BoolArray
from arietta.errors import InputError, UsageError
from arietta.generation.engine import Engine
from arietta.generation.infill import CONTEXT_MS, Busy, Columns, Fill, fill
from arietta.generation.settings import SamplingSettings
from arietta.midi.events import END_OF_TRACK, Event, meta
from arietta.midi.hands import split_hands
from arietta.midi.instruments import channel_classes, sounding_programs
from arietta.midi.notes import DRUM_CHANNEL, KEYS, LOWEST_KEY
from arietta.midi.parse import encode_text
from arietta.midi.pedal import pedal_offsets
from arietta.midi.piece import Piece
from arietta.midi.reader import read_bytes
from arietta.midi.seam import (
    Track,
    division_factor,
    join_bytes,
    lines_on,
    multiplied,
    scaled,
    tracks_of,
)
from arietta.midi.tempo import TempoMap
from arietta.tokenizers.controls import control_id, density_level
from arietta.tokenizers.gaps import GapPlace
from arietta.tokenizers.quantise import SEGMENT_MS, STEP

TRACK_NAME = "Arietta fill"
META_NAME = 0x03
DEFAULT_TAKES = 16
HANDS = ("right-hand", "left-hand")
_NAMES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_KEY = re.compile(r"([A-Ga-g])([#b]?)(-?\d)$")


def key_of(name: str) -> int:
    """Return the MIDI pitch of a key such as ``C4`` (60), ``F#3`` or ``60``.

    Raises:
        UsageError: there is no such key.
    """
    if name.isdigit():
        pitch = int(name)
    else:
        found = _KEY.match(name)
        if found is None:
            raise UsageError(f"{name!r} is no key; write C4 for middle C, F#3, Bb2, or a number")
        letter, sign, octave = found.groups()
        pitch = _NAMES[letter.upper()] + {"#": 1, "b": -1, "": 0}[sign] + 12 * (int(octave) + 1)
    if not LOWEST_KEY <= pitch < LOWEST_KEY + KEYS:
        raise UsageError(f"the key {name!r} is not on a piano, which has A0 to C8 (21..108)")
    return pitch


@dataclass(frozen=True)
class FillRequest:
    """What is to be filled; checked on construction.

    Attributes:
        from_seconds, to_seconds: the span that new notes begin in, from the start of the piece.
        bars: first and last bar instead, counted from 1.
        keep: what of the span stays: ``right-hand``, ``left-hand``, or a range of keys such as
            ``C4-C8``; None keeps nothing.
        density: notes a second, as a multiple of what stood there (of the music around it where
            nothing did); for models that know it.
        variations: how many to return.
        takes: how many to choose from.
        seed: 0..2^64-1.
    """

    from_seconds: float | None = None
    to_seconds: float | None = None
    bars: tuple[int, int] | None = None
    keep: str | None = None
    density: float | None = None
    variations: int = 4
    takes: int = DEFAULT_TAKES
    seed: int = 0

    def __post_init__(self) -> None:
        seconds = (self.from_seconds, self.to_seconds)
        if (self.bars is None) == (seconds == (None, None)):
            raise UsageError("give the span either as `from_seconds` and `to_seconds` or as `bars`")
        if self.bars is None:
            if None in seconds:
                raise UsageError("give both `from_seconds` and `to_seconds`")
            a, b = float(seconds[0] or 0), float(seconds[1] or 0)
            if not 0 <= a < b < float("inf"):
                raise UsageError(f"a span from {a:g} to {b:g} s holds nothing")
        elif not 1 <= self.bars[0] <= self.bars[1]:
            raise UsageError(f"bars {self.bars[0]} to {self.bars[1]}: count from 1, ascending")
        if min(self.variations, self.takes) < 1:
            raise UsageError("`variations` and `takes` must be at least 1")
        if self.density is not None and not 0.1 <= self.density <= 10:
            raise UsageError(f"`density` must lie between 0.1 and 10, not {self.density:g}")
        kept_keys(self.keep)

    def to_dict(self) -> dict[str, Any]:
        """Return the values that were set, for provenance."""
        names = ("from_seconds", "to_seconds", "bars", "keep", "density")
        return {n: getattr(self, n) for n in names if getattr(self, n) is not None}


def kept_keys(keep: str | None) -> tuple[int, int] | None:
    """Return the range of keys that ``keep`` names; None for a hand or nothing.

    Raises:
        UsageError: it names neither.
    """
    if keep is None or keep in HANDS:
        return None
    low, dash, high = keep.partition("-")
    if not dash or not high:
        raise UsageError(f"`keep` is {', '.join(HANDS)} or a range such as C4-C8, not {keep!r}")
    found = key_of(low), key_of(high)
    if found[0] > found[1]:
        raise UsageError(f"the range {keep!r} goes down; write the lower key first")
    return found


@dataclass(frozen=True, eq=False)
class FilledPiece:
    """One way to fill the gap.

    Attributes:
        piece: with the gap filled.
        new: how many notes are new.
        replaced: how many were taken out.
        seam_bits: bits a note of the music behind the gap under the same model; lower is smoother.
        variation: number of the take.
        provenance: model, settings, seed; JSON values.
    """

    piece: Piece
    new: int
    replaced: int
    seam_bits: float | None
    variation: int
    provenance: Mapping[str, Any]

    def save(self, path: str | PathLike[str], *, force: bool = False) -> None:
        """Write a standard MIDI file with the provenance in the text of the new track.

        Raises:
            OutputError: the file exists, its directory does not, or the disk is full.
        """
        from arietta.midi.writer import save_midi

        text = "arietta " + json.dumps(dict(self.provenance), separators=(",", ":"))
        save_midi(self.piece, path, force=force, extra_text=[text])


def fill_piece(
    engine: Engine,
    piece: Piece,
    request: FillRequest,
    settings: SamplingSettings,
    *,
    provenance: Mapping[str, Any] | None = None,
) -> list[FilledPiece]:
    """Fill a gap of a piece, the ways that lead best to what follows first.

    Args:
        engine: of a model.
        piece: what to fill.
        request: the gap and what is wanted.
        settings: how tokens are drawn.
        provenance: what else the results should name of their origin.

    Raises:
        InputError: the piece has no piano notes, or no bar of that number.
        UsageError: the request does not fit the piece.
    """
    notes = piece.notes
    piano = notes.channel != DRUM_CHANNEL
    if not piano.any():
        raise InputError(f"{piece.source or 'piece'}: no notes to fill a gap between")
    start_ms, end_ms = _span(piece, request)
    onset_ms, offset_ms = piece.onset_ms, piece.onset_ms + piece.duration_ms
    inside = piano & (onset_ms >= start_ms) & (onset_ms < end_ms)
    keys, kept_inside = _part(piece, request, inside)
    gone = inside & ~kept_inside
    zero_ms = max(0.0, start_ms - CONTEXT_MS) // SEGMENT_MS * SEGMENT_MS
    seen = piano & ~gone & (onset_ms >= zero_ms) & (onset_ms < end_ms + CONTEXT_MS)
    place = GapPlace(_steps(start_ms - zero_ms), _steps(end_ms - zero_ms), keys)
    kept = _columns(piece, seen, zero_ms)
    held = piano & ~gone & (offset_ms > start_ms) & (onset_ms < end_ms + 5_000)
    busy = Busy(
        notes.pitch[held].astype(np.int64),
        np.rint((onset_ms[held] - zero_ms) / STEP).astype(np.int64) * STEP,
        np.rint((offset_ms[held] - zero_ms) / STEP).astype(np.int64) * STEP,
    )
    vocab = engine.tokenizer.vocabulary
    controls = []
    if request.density is not None:
        if not vocab.filling:
            raise UsageError("`density` is for models that know it; this one has no such control")
        rate = _rate(piece, inside, piano, start_ms, end_ms)
        controls = [control_id(vocab, "density", density_level(rate * request.density))]
    found = fill(
        engine,
        kept,
        place,
        busy,
        prefix=[vocab.instrument_start],
        settings=settings,
        variations=request.variations,
        takes=request.takes,
        seed=request.seed,
        controls=controls,
    )
    origin = {
        "arietta": __version__,
        **(provenance or {}),
        "settings": settings.to_dict(),
        "fill": request.to_dict(),
        "seed": request.seed,
    }
    return [_filled(piece, gone, one, zero_ms, origin) for one in found]


def _span(piece: Piece, request: FillRequest) -> tuple[float, float]:
    """Return the span in ms from tick 0, in whole steps."""
    if request.bars is None:
        assert request.from_seconds is not None and request.to_seconds is not None
        start, end = request.from_seconds * 1000, request.to_seconds * 1000
    else:
        first, last = (lines_on(piece, 0, n) for n in (request.bars[0] - 1, request.bars[1]))
        if first >= int(piece.notes.offset_tick.max()):
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


def _part(
    piece: Piece, request: FillRequest, inside: BoolArray
) -> tuple[tuple[int, int] | None, BoolArray]:
    """Return the keys to be filled, None for all; and which notes of the span stay."""
    pitch = piece.notes.pitch.astype(np.int64)
    if request.keep is None:
        return None, np.zeros(len(pitch), bool)
    whole = (LOWEST_KEY, LOWEST_KEY + KEYS - 1)
    kept = kept_keys(request.keep)
    if kept is not None:
        stays = inside & (pitch >= kept[0]) & (pitch <= kept[1])
        if kept[1] >= whole[1] or kept[1] - 1 >= int(pitch.max()):
            return (whole[0], max(whole[0], kept[0] - 1)), stays
        if kept[0] <= whole[0]:
            return (min(whole[1], kept[1] + 1), whole[1]), stays
        return None, stays
    right = split_hands(piece.onset_ms, piece.onset_ms + piece.duration_ms, piece.notes.pitch)
    stays = inside & (right if request.keep == "right-hand" else ~right)
    other = inside & ~stays
    if other.any():
        return (int(pitch[other].min()), int(pitch[other].max())), stays
    middle = int(np.median(pitch[stays])) if stays.any() else 60
    return (
        (whole[0], middle - 1) if request.keep == "right-hand" else (middle + 1, whole[1])
    ), stays


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


def _rate(
    piece: Piece, inside: BoolArray, piano: BoolArray, start_ms: float, end_ms: float
) -> float:
    """Return the notes a second that stood in the gap, or else around it."""
    if inside.any():
        return float(inside.sum()) / ((end_ms - start_ms) / 1000)
    seconds = float(np.ptp(piece.onset_ms[piano])) / 1000
    return float(piano.sum()) / max(seconds, 1.0)


def _filled(
    piece: Piece, gone: BoolArray, one: Fill, zero_ms: float, origin: Mapping[str, Any]
) -> FilledPiece:
    tracks = without_notes(piece, gone)
    factor = division_factor(piece, 0)
    division = multiplied(piece.tempo.division, factor)
    tempo = TempoMap(division, piece.tempo.tick * factor, piece.tempo.us_per_quarter)
    tracks = scaled(tracks, factor)
    if len(one.notes):
        tracks = [*tracks, _new_track(piece, one.notes, zero_ms, tempo)]
    whole = read_bytes(join_bytes(division, tracks), source=piece.source)
    provenance = {**origin, "variation": one.variation, "seam_bits": one.seam_bits}
    return FilledPiece(
        replace(whole, metadata=piece.metadata),
        len(one.notes),
        int(gone.sum()),
        one.seam_bits,
        one.variation,
        provenance,
    )


def without_notes(piece: Piece, gone: BoolArray) -> list[Track]:
    """Return the events of a piece's file without those of some notes.

    A stroke that is taken out takes the next release of its key on its track with it.
    """
    notes = piece.notes
    leaving: dict[tuple[int, int, int], int] = {}
    for tick, channel, pitch in zip(
        notes.onset_tick[gone].tolist(),
        notes.channel[gone].tolist(),
        notes.pitch[gone].tolist(),
        strict=True,
    ):
        leaving[tick, channel, pitch] = leaving.get((tick, channel, pitch), 0) + 1
    found: list[Track] = []
    for track in tracks_of(piece):
        stays: Track = []
        open_keys: dict[tuple[int, int], list[bool]] = {}  # strokes that are down: taken out?
        for event in track:
            status = event.message[0]
            if status & 0xE0 != 0x80:
                stays.append(event)
                continue
            channel, pitch = status & 0x0F, event.message[1]
            down = open_keys.setdefault((channel, pitch), [])
            if status & 0xF0 == 0x90 and event.message[2] > 0:
                left = leaving.get((event.tick, channel, pitch), 0)
                if left:
                    leaving[event.tick, channel, pitch] = left - 1
                down.append(left > 0)
                if left:
                    continue
            elif down and down.pop(0):
                continue
            stays.append(event)
        found.append(stays)
    return found


def _new_track(piece: Piece, new: Columns, zero_ms: float, tempo: TempoMap) -> Track:
    """Return the new notes on the channel of the piece's piano, with its program."""
    counts = np.bincount(piece.notes.channel, minlength=16)
    classes = channel_classes(piece)
    pianos = [c for c, k in classes.items() if k == 0 and c != DRUM_CHANNEL] or [0]
    channel = max(pianos, key=lambda c: (counts[c], -c))
    stated = sounding_programs(piece)
    mine = stated.program[(stated.channel == channel) & (stated.track >= 0)]
    head: Track = [Event(0, meta(META_NAME, encode_text(TRACK_NAME)))]
    if len(mine):
        head.append(Event(0, bytes((0xC0 | channel, int(mine[-1])))))
    onset = tempo.tick_at(new.onset_ms + zero_ms)
    offset = np.maximum(tempo.tick_at(new.onset_ms + new.duration_ms + zero_ms), onset + 1)
    events: list[tuple[int, int, bytes]] = []
    for a, b, pitch, velocity in zip(
        onset.tolist(), offset.tolist(), new.pitch.tolist(), new.velocity.tolist(), strict=True
    ):
        events.append((a, 1, bytes((0x90 | channel, pitch, velocity))))
        events.append((b, 0, bytes((0x80 | channel, pitch, 64))))
    events.sort(key=lambda event: event[:2])
    track = [*head, *(Event(tick, message) for tick, _, message in events)]
    return [*track, Event(track[-1].tick, END_OF_TRACK)]


def bars_of(text: str) -> tuple[int, int]:
    """Return first and last bar of ``5-8`` or ``5``.

    Raises:
        UsageError: it is neither.
    """
    first, _, last = text.partition("-")
    if not first.strip().isdigit() or (last and not last.strip().isdigit()):
        raise UsageError(f"bars are written as 5-8 or 5, not {text!r}")
    return int(first), int(last or first)
