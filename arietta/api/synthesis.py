"""Sound a piece on the bundled piano: the use case behind ``arietta synth``."""

from __future__ import annotations

import time
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arietta.api.files import SoundReport
from arietta.api.pieces import as_piece

if TYPE_CHECKING:
    from arietta.midi.piece import Piece


@dataclass(frozen=True)
class SynthResult:
    """What ``synth`` wrote.

    Attributes:
        output: the audio file.
        notes: of the piece.
        seconds: of sound.
        sample_rate: frames a second.
        took_seconds: how long it took.
    """

    output: Path
    notes: int
    seconds: float
    sample_rate: int
    took_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "output": str(self.output),
            "notes": self.notes,
            "seconds": round(self.seconds, 3),
            "sample_rate": self.sample_rate,
            "took_seconds": round(self.took_seconds, 3),
        }


def synth(
    piece: Piece | str | PathLike[str],
    output: str | PathLike[str],
    *,
    sample_rate: int = 44_100,
    force: bool = False,
    report: SoundReport = lambda *_: None,
) -> SynthResult:
    """Write the sound of a piece.

    Args:
        piece: a piece, or the path of a MIDI file.
        output: audio file; its suffix chooses the format.
        sample_rate: frames a second.
        force: replace a file that exists.
        report: called with seconds of sound that are done, and with all.

    Raises:
        InputError: the piece cannot be read.
        OutputError: the file exists or cannot be written.
        UsageError: the format or its rate is unknown.
    """
    from arietta.sound.files import write_piece

    piece, target = as_piece(piece), Path(output)
    began = time.perf_counter()
    seconds = write_piece(target, piece, sample_rate, force=force, progress=report)
    return SynthResult(target, len(piece), seconds, sample_rate, time.perf_counter() - began)
