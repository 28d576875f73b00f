"""Clips for comparison by ear: any sound at one rate, of one loudness, as compact files.

Loudness is that of ITU-R BS.1770-4, by pyloudnorm.
"""

from __future__ import annotations

from io import BytesIO
from math import gcd, inf
from pathlib import Path
from typing import Literal

import numpy as np

from arietta.arrays import Float32Array
from arietta.errors import InputError, MissingExtraError
from arietta.sound.files import WRITE_FRAMES
from arietta.sound.sampler import PEAK, SAMPLE_RATE

Encoding = Literal["mp3", "flac"]
ENCODINGS: tuple[Encoding, ...] = ("mp3", "flac")
"""Both are played by every browser: MP3 at its best variable rate, 1.5 to 1.8 MB a minute, and FLAC
without loss, about 3 MB."""
MIME = {"mp3": "audio/mpeg", "flac": "audio/flac"}

REFERENCE_LUFS = -23.0
"""Loudness of clips (EBU R 128), unless the peak of one would then clip."""
SHORTEST_S = 0.4
"""A block of BS.1770; shorter sound has no loudness."""
_FADE_S = 0.05


def read_sound(path: Path, seconds: float) -> Float32Array:
    """Read the beginning of an audio file as (frames, 2) at ``SAMPLE_RATE``.

    Args:
        path: WAV, FLAC, OGG or MP3.
        seconds: how much of it.

    Raises:
        InputError: the file cannot be read or has more than two channels.
        MissingExtraError: it has another rate, and scipy is not installed.
    """
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            rate = int(file.samplerate)
            if file.channels > 2:
                raise InputError(f"{path}: has {file.channels} channels; clips are mono or stereo")
            audio = file.read(int((seconds + 1) * rate), dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise InputError(f"{path}: no audio file that can be read: {error}") from error
    if rate != SAMPLE_RATE:
        try:
            from scipy.signal import resample_poly
        except ImportError as error:
            raise MissingExtraError("another sample rate", "listen") from error
        shared = gcd(rate, SAMPLE_RATE)
        audio = resample_poly(audio, SAMPLE_RATE // shared, rate // shared, axis=0)
    if audio.shape[1] == 1:
        audio = np.repeat(audio, 2, axis=1)
    return np.ascontiguousarray(audio, np.float32)


def cut(audio: Float32Array, seconds: float) -> Float32Array:
    """Return at most so many seconds; what is cut off fades out in 50 ms."""
    frames = round(seconds * SAMPLE_RATE)
    if len(audio) <= frames:
        return audio
    audio = audio[:frames].copy()
    fade = min(round(_FADE_S * SAMPLE_RATE), frames)
    audio[frames - fade :] *= (0.5 + 0.5 * np.cos(np.linspace(0, np.pi, fade)))[:, None]
    return audio


def loudness_lufs(audio: Float32Array, name: str) -> float:
    """Return the integrated loudness of (frames, 2) audio.

    Args:
        audio: at ``SAMPLE_RATE``.
        name: what an error calls it.

    Raises:
        InputError: it is too short or silent.
        MissingExtraError: pyloudnorm is not installed.
    """
    try:
        import pyloudnorm
    except ImportError as error:
        raise MissingExtraError("matching loudness", "listen") from error
    if len(audio) < SHORTEST_S * SAMPLE_RATE:
        raise InputError(
            f"{name}: lasts {len(audio) / SAMPLE_RATE:.2f} s; loudness needs {SHORTEST_S} s"
        )
    loudness = float(pyloudnorm.Meter(SAMPLE_RATE).integrated_loudness(audio))
    if loudness == -inf:
        raise InputError(f"{name}: is silent")
    return loudness


def common_loudness(levels: list[tuple[float, float]]) -> float:
    """Return the loudness that all clips can have with their peaks below -1 dBFS.

    Args:
        levels: (loudness in LUFS, peak 0..1) of each.
    """
    room = (loudness + 20 * float(np.log10(PEAK / peak)) for loudness, peak in levels)
    return min(REFERENCE_LUFS, *room)


def encode(audio: Float32Array, gain_db: float, encoding: Encoding) -> bytes:
    """Return (frames, 2) audio as a file in memory, after a gain."""
    import soundfile

    form: dict[str, object] = {"format": "FLAC", "subtype": "PCM_16"}
    if encoding == "mp3":
        form = {
            "format": "MP3",
            "subtype": "MPEG_LAYER_III",
            "compression_level": 0.0,
            "bitrate_mode": "VARIABLE",
        }
    gain = np.float32(10 ** (gain_db / 20))
    target = BytesIO()
    with soundfile.SoundFile(target, "w", SAMPLE_RATE, 2, **form) as out:
        for begin in range(0, len(audio), WRITE_FRAMES):
            out.write(audio[begin : begin + WRITE_FRAMES] * gain)
    return target.getvalue()
