"""Clips for listening tests: rate, length, loudness, encoding."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import soundfile

from arietta.errors import InputError
from arietta.sound.clips import (
    ENCODINGS,
    REFERENCE_LUFS,
    common_loudness,
    cut,
    encode,
    loudness_lufs,
    read_sound,
)
from arietta.sound.sampler import SAMPLE_RATE


def tone(seconds: float, level: float = 0.1, rate: int = SAMPLE_RATE) -> np.ndarray:
    t = np.arange(round(seconds * rate)) / rate
    return np.repeat((level * np.sin(2 * np.pi * 997 * t))[:, None], 2, axis=1).astype(np.float32)


def test_the_standards_own_tone() -> None:
    """BS.1770: a 997 Hz sine at 0 dBFS in one channel reads -3.01 LUFS, in both 0."""
    loud = tone(2, level=0.5)
    assert loudness_lufs(loud, "tone") == pytest.approx(-6.02, abs=0.05)
    loud[:, 1] = 0
    assert loudness_lufs(loud, "tone") == pytest.approx(-9.03, abs=0.05)
    with pytest.raises(InputError, match="tone: is silent"):
        loudness_lufs(np.zeros((SAMPLE_RATE, 2), np.float32), "tone")
    with pytest.raises(InputError, match=r"lasts 0\.10 s"):
        loudness_lufs(tone(0.1), "tone")


def test_a_peak_lowers_all() -> None:
    assert common_loudness([(-30.0, 0.3), (-18.0, 0.5)]) == REFERENCE_LUFS
    # 20 dB of room would be needed, and half a dB is there.
    found = common_loudness([(-43.0, 10 ** (-1.5 / 20)), (-18.0, 0.5)])
    assert found == pytest.approx(-42.5)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_encoded_sound_has_the_loudness(encoding: str) -> None:
    before = tone(1.5)
    data = encode(before, REFERENCE_LUFS - loudness_lufs(before, "tone"), encoding)
    audio, rate = soundfile.read(BytesIO(data), dtype="float32")
    assert rate == SAMPLE_RATE
    assert loudness_lufs(audio, "tone") == pytest.approx(REFERENCE_LUFS, abs=0.1)


def test_other_rates_and_one_channel(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(1, rate=48_000)[:, :1], 48_000)
    audio = read_sound(path, 10)
    assert audio.shape == (SAMPLE_RATE, 2) and audio.dtype == np.float32
    assert np.abs(audio[2000:-2000] - tone(1)[2000:-2000]).max() < 1e-3
    assert len(read_sound(path, 0)) <= SAMPLE_RATE
    soundfile.write(path, np.zeros((100, 3)), 44_100)
    with pytest.raises(InputError, match="3 channels"):
        read_sound(path, 1)
    path.write_bytes(b"no sound")
    with pytest.raises(InputError, match=r"a\.wav"):
        read_sound(path, 1)


def test_a_cut_fades() -> None:
    whole = np.ones((SAMPLE_RATE, 2), np.float32)
    assert cut(whole, 1) is whole
    short = cut(whole, 0.5)
    assert len(short) == SAMPLE_RATE // 2 and short[0, 0] == 1 and abs(short[-1, 0]) < 1e-6
    assert whole.min() == 1
