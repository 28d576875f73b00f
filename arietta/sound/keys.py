"""Some keys of the bundled piano as one short audio file, for a page that plays by itself."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np

from arietta.arrays import Float32Array
from arietta.midi.piece import Piece
from arietta.sound.sampler import PEAK, blocks
from arietta.sound.uninterrupted import uninterrupted

KEYS = tuple(range(24, 107, 6))
"""Others are at most three semitones away from one of these."""
SLOT_S = 4.5
LEAD_S = 0.1
"""Silence in front of each key: decoders move a file by some milliseconds."""
RATE = 32_000
_SOUNDING_S, _VELOCITY = 4.0, 80
_FADE_S = 1.5


def sprite() -> Float32Array:
    """Return (frames,) of all keys one after the other, each in a slot of its own."""
    frames = round(SLOT_S * RATE)
    lead, sounding = round(LEAD_S * RATE), round(_SOUNDING_S * RATE)
    fade = np.ones(sounding, np.float32)
    fade[-round(_FADE_S * RATE) :] = np.linspace(1, 0, round(_FADE_S * RATE), dtype=np.float32)
    whole = np.zeros(len(KEYS) * frames, np.float32)
    for number, key in enumerate(KEYS):
        piece = Piece.from_ms([0], [1000 * _SOUNDING_S], [key], [_VELOCITY])
        heard = np.concatenate(list(blocks(piece, RATE))).mean(axis=1)[:sounding] * fade
        start = number * frames + lead
        whole[start : start + sounding] = heard
    return whole * np.float32(PEAK / np.abs(whole).max())


def for_a_page() -> dict[str, Any]:
    """Return what a page needs to play them: JSON values.

    Returns:
        ``keys``: MIDI pitches; ``slot`` and ``lead`` in seconds; ``velocity`` of all;
        ``audio``: an MP3 as base64.
    """
    audio = sprite()
    packed = base64.b64encode(uninterrupted(lambda: _mp3(audio))).decode()
    about = {"keys": list(KEYS), "slot": SLOT_S, "lead": LEAD_S, "velocity": _VELOCITY}
    return {**about, "audio": packed}


def _mp3(audio: Float32Array) -> bytes:
    import soundfile

    packed = io.BytesIO()
    soundfile.write(
        packed, audio, RATE, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.75
    )
    return packed.getvalue()
