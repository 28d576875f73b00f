"""Audio files: WAV, FLAC, OGG and MP3 by suffix, written in blocks, whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from os import PathLike
from pathlib import Path

import numpy as np

from arietta.arrays import Float32Array
from arietta.errors import OutputError, UsageError
from arietta.midi.piece import Piece
from arietta.output import check_output, whole_file
from arietta.sound.sampler import SAMPLE_RATE, blocks, gain_for, schedule

# libsndfile crashes on a long OGG written in one call; this many frames at a time are safe.
WRITE_FRAMES = 65_536

FORMATS = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}
_MP3_RATES = (32_000, 44_100, 48_000)


def check_audio(path: str | PathLike[str], sample_rate: int = SAMPLE_RATE) -> Path:
    """Return the path, if its suffix names a format that can hold this sample rate.

    Raises:
        UsageError: an unknown suffix, or a rate MP3 has no room for.
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix not in FORMATS:
        raise UsageError(f"{target}: audio is written as {', '.join(FORMATS)}; name one of these")
    if suffix == ".mp3" and sample_rate not in _MP3_RATES:
        raise UsageError(
            f"{target}: MP3 holds no {sample_rate} Hz; choose WAV or FLAC, or 44100 Hz"
        )
    return target


def write_audio(
    path: str | PathLike[str],
    audio: Float32Array,
    sample_rate: int = SAMPLE_RATE,
    *,
    force: bool = False,
) -> None:
    """Write (frames, channels) float32 within -1..1.

    Raises:
        UsageError: see ``check_audio``.
        OutputError: see ``arietta.output.whole_file``.
    """
    check_audio(path, sample_rate)
    with whole_file(path, force=force) as part:
        _write(part, [audio], audio.shape[1], sample_rate, shown=path)


def write_piece(
    path: str | PathLike[str],
    piece: Piece,
    sample_rate: int = SAMPLE_RATE,
    *,
    force: bool = False,
    progress: Callable[[float, float], None] | None = None,
) -> float:
    """Sound a piece into a file with its peak at -1 dBFS, in memory that does not grow with length.

    The level is only known at the end, so the sound passes through a temporary file first.

    Args:
        path: its suffix chooses the format.
        piece: what to play; time 0 of the file is its tick 0.
        sample_rate: one of ``arietta.sound.sampler.SAMPLE_RATES``.
        force: replace an existing file.
        progress: called with seconds done and seconds in all.

    Returns:
        The length of the file in seconds.

    Raises:
        UsageError: see ``check_audio`` and ``sampler.blocks``.
        InputError: the piece is too long.
        OutputError: see ``arietta.output.whole_file``.
    """
    check_audio(path, sample_rate)
    check_output(path, force=force)
    total = schedule(piece, sample_rate)[1]
    peak, done = 0.0, 0
    with tempfile.TemporaryFile() as raw:
        try:
            for block in blocks(piece, sample_rate):
                peak = max(peak, float(np.abs(block).max()))
                raw.write(block.tobytes())
                done += len(block)
                if progress is not None:
                    progress(done / sample_rate, total / sample_rate)
            raw.seek(0)
        except OSError as error:
            raise OutputError(f"{path}: no room to work in: {error.strerror}") from error
        gain = gain_for(peak)

        def scaled() -> Iterator[Float32Array]:
            while data := raw.read(WRITE_FRAMES * 8):
                yield np.frombuffer(data, np.float32).reshape(-1, 2) * gain

        with whole_file(path, force=force) as part:
            _write(part, scaled(), 2, sample_rate, shown=path)
    return done / sample_rate


def _write(
    path: Path,
    parts: Iterable[Float32Array],
    channels: int,
    sample_rate: int,
    *,
    shown: str | PathLike[str],
) -> None:
    import soundfile

    container, encoding = FORMATS[path.suffix.lower()]
    try:
        with soundfile.SoundFile(
            path, "w", sample_rate, channels, subtype=encoding, format=container
        ) as out:
            for part in parts:
                for begin in range(0, len(part), WRITE_FRAMES):
                    out.write(part[begin : begin + WRITE_FRAMES])
    except soundfile.SoundFileError as error:
        # libsndfile says no more than "System error"; a full disk is the usual one.
        full = shutil.disk_usage(path.parent).free < 2**20
        reason = "no space left on the disk" if full else str(error).rstrip(".")
        raise OutputError(f"{shown}: the audio cannot be written: {reason}") from error
