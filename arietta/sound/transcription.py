"""Transcription: a recording of a piano -> notes, velocities and pedals.

A model reads overlapping segments and reports events; events that a segment cut are completed by
the next one, as in Yan and Duan 2024, "Scoring time intervals using non-hierarchical transformer
for automatic piano transcription", whose public code this follows. Sound is read and resampled
block by block, so that memory does not grow with the length of a recording.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from arietta.arrays import Float32Array
from arietta.errors import InputError, MissingExtraError
from arietta.midi.notes import ExtraTable, MessageList
from arietta.midi.piece import Piece

SUSTAIN, SOFT = 64, 67
"""Controllers whose events have them as negative pitches."""
_BLOCK_S = 2.0
_OVERTONE_MS, _TOGETHER_MS = 80.0, 25.0
_SOFT_MESSAGE = (0xB0, SOFT)


@dataclass(frozen=True)
class Event:
    """A note or a pressed pedal.

    Attributes:
        start_s, end_s: from the start of the segment, later of the recording.
        pitch: 21..108, or the negative number of a pedal's controller.
        velocity: 0..127.
        has_onset, has_offset: false where the segment cuts it.
    """

    start_s: float
    end_s: float
    pitch: int
    velocity: int
    has_onset: bool = True
    has_offset: bool = True


class Transcriber(Protocol):
    """A model that reads one segment at a time."""

    @property
    def name(self) -> str:
        """Name and version."""

    @property
    def sample_rate(self) -> int:
        """Frames a second of its segments."""

    @property
    def segment_frames(self) -> int:
        """Length of a segment."""

    @property
    def step_frames(self) -> int:
        """From the start of a segment to that of the next."""

    @property
    def pad_frames(self) -> int:
        """Silence in front of a recording and behind it."""

    def read(self, segment: Float32Array) -> list[Event]:
        """Return the events of the next segment, (frames, channels), in order of their starts."""


def transcribe(
    blocks: Iterable[Float32Array],
    model: Transcriber,
    progress: Callable[[float], None] = lambda _: None,
) -> Piece:
    """Transcribe sound.

    Args:
        blocks: (frames, channels) float32 at the rate of the model, of any lengths.
        model: a fresh one, or one that has read no segment yet.
        progress: called with seconds done after each segment.
    """
    pad = model.pad_frames
    rows: dict[int, list[Event]] = defaultdict(list)
    for number, segment in enumerate(
        _segments(blocks, pad, model.segment_frames, model.step_frames)
    ):
        begin_s = (number * model.step_frames - pad) / model.sample_rate
        for event in model.read(segment):
            start = max(event.start_s + begin_s, 0.0)
            end = max(event.end_s + begin_s, start)
            _join(rows[event.pitch], replace(event, start_s=start, end_s=end))
        progress(max(begin_s + model.step_frames / model.sample_rate, 0.0))
    return _piece(_finished(rows))


def _segments(
    blocks: Iterable[Float32Array], pad: int, length: int, step: int
) -> Iterator[Float32Array]:
    """Yield overlapping segments of sound with silence of ``pad`` frames at both ends."""
    held: list[Float32Array] = []
    channels = 0
    for block in blocks:
        if not channels:
            channels = block.shape[1]
            held = [np.zeros((pad, channels), np.float32)]
        held.append(block)
        while sum(map(len, held)) >= length:
            joined = np.concatenate(held)
            yield joined[:length]
            held = [joined[step:]]
    if not channels:
        return
    rest = np.concatenate([*held, np.zeros((pad, channels), np.float32)])
    for begin in range(0, len(rest), step):
        last = rest[begin : begin + length]
        yield np.pad(last, ((0, length - len(last)), (0, 0)))


def _join(row: list[Event], event: Event) -> None:
    """Add an event to those of its pitch, or complete the last one with it."""
    if row and event.start_s < row[-1].end_s:
        if event.has_onset:
            row[-1] = event
        else:
            end = max(event.end_s, row[-1].end_s)
            row[-1] = replace(row[-1], end_s=end, has_offset=event.has_offset)
    elif event.has_onset:
        row.append(event)


def _finished(rows: dict[int, list[Event]]) -> list[Event]:
    """Return whole events in order; of two on one pitch the second ends the first."""
    whole = []
    for row in rows.values():
        if not row:
            continue
        row[-1] = replace(row[-1], has_offset=True)
        kept = sorted(
            (one for one in row if one.has_offset), key=lambda one: (one.start_s, one.end_s)
        )
        for at, one in enumerate(kept):
            end = min([one.end_s, *(other.start_s for other in kept[at + 1 : at + 2])])
            if end > one.start_s:
                whole.append(replace(one, end_s=end))
    return sorted(whole, key=lambda one: (one.start_s, one.end_s, one.pitch))


def _piece(events: Sequence[Event]) -> Piece:
    """Return events as a piece on a grid of one tick a millisecond."""
    notes = [one for one in events if one.pitch > 0]
    sustain = _movements(events, SUSTAIN)
    soft = _movements(events, SOFT)
    piece = Piece.from_ms(
        [one.start_s * 1000 for one in notes],
        # The grid of a file leaves no note shorter than a tick.
        [max((one.end_s - one.start_s) * 1000, 1.0) for one in notes],
        [one.pitch for one in notes],
        [min(max(one.velocity, 1), 127) for one in notes],
        pedal_time_ms=[time for time, _ in sustain],
        pedal_value=[value for _, value in sustain],
    )
    if not soft:
        return piece
    ticks = np.rint([time for time, _ in soft]).astype(np.int64)
    messages = MessageList.pack(bytes((*_SOFT_MESSAGE, value)) for _, value in soft)
    return replace(piece, extra=ExtraTable(ticks, np.zeros(len(soft), np.int32), messages))


def _movements(events: Sequence[Event], controller: int) -> list[tuple[float, int]]:
    """Return (ms, value) of a pedal: 127 where it goes down and 0 where it goes up."""
    found: list[tuple[float, int]] = []
    for one in events:
        if one.pitch == -controller:
            found += [(one.start_s * 1000, 127), (one.end_s * 1000, 0)]
    return found


def without_overtones(piece: Piece) -> Piece:
    """Leave out notes that a model heard in the overtones of another.

    Those are shorter than 80 ms, begin with a note an octave below that lasts three times as long,
    and are what a bright key leaves behind in Transkun. Of 13,625 notes that people played, 31 are
    of that kind and would be lost.
    """
    onset, duration, pitch = piece.onset_ms, piece.duration_ms, piece.notes.pitch
    keep = np.ones(len(piece), bool)
    for at in np.flatnonzero(duration < _OVERTONE_MS):
        first, last = np.searchsorted(onset, onset[at] + np.array([-_TOGETHER_MS, _TOGETHER_MS]))
        near = slice(int(first), int(last))
        below = (pitch[near] == pitch[at] - 12) & (duration[near] > 3 * duration[at])
        keep[at] = not below.any()
    return replace(piece, notes=piece.notes.take(keep))


def read_blocks(path: Path, sample_rate: int) -> tuple[float, Iterator[Float32Array]]:
    """Open an audio file.

    Args:
        path: WAV, FLAC, OGG or MP3.
        sample_rate: of the blocks.

    Returns:
        Seconds in all, and (frames, channels) blocks.

    Raises:
        InputError: the file cannot be read or has no sound.
        MissingExtraError: it has another rate, and soxr is not installed.
    """
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            frames, rate, channels = len(file), int(file.samplerate), int(file.channels)
    except (soundfile.SoundFileError, OSError) as error:
        raise InputError(
            f"{path}: no audio file that can be read ({error}); WAV, FLAC, OGG and MP3 can"
        ) from error
    if not frames:
        raise InputError(f"{path}: holds no sound")
    return frames / rate, _resampled(path, rate, channels, sample_rate)


def _resampled(path: Path, rate: int, channels: int, wanted: int) -> Iterator[Float32Array]:
    import soundfile

    stream = None
    if rate != wanted:
        try:
            import soxr
        except ImportError as error:
            raise MissingExtraError("another sample rate", "transcribe") from error
        stream = soxr.ResampleStream(rate, wanted, channels, dtype="float32")
    try:
        with soundfile.SoundFile(path) as file:
            while True:
                block = file.read(int(_BLOCK_S * rate), dtype="float32", always_2d=True)
                if stream is None:
                    if len(block):
                        yield block
                else:
                    yield np.asarray(stream.resample_chunk(block, last=not len(block)))
                if not len(block):
                    return
    except soundfile.SoundFileError as error:
        raise InputError(f"{path}: its sound cannot be read on: {error}") from error
