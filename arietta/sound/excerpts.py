"""An excerpt of a piece as MP3 in memory, for players inside a page."""

from __future__ import annotations

from io import BytesIO

import numpy as np

from arietta.arrays import Float32Array
from arietta.midi.piece import Piece
from arietta.sound.files import WRITE_FRAMES
from arietta.sound.sampler import SAMPLE_RATE, render
from arietta.sound.uninterrupted import uninterrupted


def mp3_excerpt(piece: Piece, start_ms: float, seconds: float) -> bytes:
    """Sound the notes that begin within an excerpt, the pedal as it stands there.

    Args:
        piece: what to play.
        start_ms: where the excerpt begins, from tick 0.
        seconds: how long it is; the last notes ring out behind it.

    Raises:
        UsageError, InputError: see ``sampler.blocks``.
    """
    end_ms = start_ms + seconds * 1000
    here = (piece.onset_ms >= start_ms) & (piece.onset_ms < end_ms)
    times = piece.tempo.ms_at(piece.pedals.tick)
    # The last pedal movement before the excerpt still holds when it begins.
    first = max(int(np.count_nonzero(times < start_ms)) - 1, 0)
    pedals = slice(first, int(np.count_nonzero(times < end_ms)))
    excerpt = Piece.from_ms(
        piece.onset_ms[here] - start_ms,
        piece.duration_ms[here],
        piece.notes.pitch[here],
        piece.notes.velocity[here],
        pedal_time_ms=np.maximum(times[pedals] - start_ms, 0),
        pedal_value=piece.pedals.value[pedals],
    )
    audio = render(excerpt)
    return uninterrupted(lambda: _mp3(audio))


def _mp3(audio: Float32Array) -> bytes:
    import soundfile

    target = BytesIO()
    with soundfile.SoundFile(
        target, "w", SAMPLE_RATE, 2, subtype="MPEG_LAYER_III", format="MP3"
    ) as out:
        for begin in range(0, len(audio), WRITE_FRAMES):
            out.write(audio[begin : begin + WRITE_FRAMES])
    return target.getvalue()
