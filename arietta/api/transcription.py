"""Transcribe a recording of a piano: the use case behind ``arietta transcribe``."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arietta.midi.piece import Piece


@dataclass(frozen=True, eq=False)
class TranscribeResult:
    """What ``transcribe`` found.

    Attributes:
        piece: notes with velocities, and pedals.
        output: the MIDI file.
        model: name and version of what transcribed it.
        seconds: of sound.
        took_seconds: how long it took.
    """

    piece: Piece = field(repr=False)
    output: Path
    model: str
    seconds: float
    took_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "output": str(self.output),
            "notes": len(self.piece),
            "pedals": int((self.piece.pedals.value >= 64).sum()),
            "model": self.model,
            "seconds": round(self.seconds, 3),
            "took_seconds": round(self.took_seconds, 3),
        }


def transcribe(
    audio: str | PathLike[str],
    output: str | PathLike[str],
    *,
    device: str = "cpu",
    force: bool = False,
    report: Callable[[float, float], None] = lambda *_: None,
) -> TranscribeResult:
    """Write the notes of a recording of a piano as MIDI.

    Args:
        audio: WAV, FLAC, OGG or MP3; other instruments are heard as a piano, badly.
        output: MIDI file.
        device: of torch: cpu, cuda, mps.
        force: replace a file that exists.
        report: called with seconds of sound that are done, and with all.

    Raises:
        CheckpointError: the package of the model cannot be used.
        InputError: the audio cannot be read.
        MissingExtraError: the extra ``transcribe`` is not installed.
        OutputError: the file exists or cannot be written.
        UsageError: the output is no MIDI file.
    """
    from dataclasses import replace

    from arietta.api.files import checked_targets
    from arietta.sound.torch_transkun import Transkun
    from arietta.sound.transcription import read_blocks, without_overtones
    from arietta.sound.transcription import transcribe as run

    (target,) = checked_targets(output, 1, wav=False, force=force)
    source = Path(audio)
    began = time.perf_counter()
    model = Transkun(device)
    seconds, blocks = read_blocks(source, model.sample_rate)
    piece = run(blocks, model, lambda done: report(min(done, seconds), seconds))
    piece = replace(
        without_overtones(piece), text=((0, f"transcribed from {source.name} by {model.name}"),)
    )
    piece.save(target.midi, force=force)
    return TranscribeResult(piece, target.midi, model.name, seconds, time.perf_counter() - began)
