"""Where the results of a use case go: one MIDI file a variation, with its sound beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from arietta.errors import UsageError

if TYPE_CHECKING:
    from arietta.midi.piece import Piece

SoundReport = Callable[[float, float], None]
"""Called with seconds of sound that are done, and with all there will be."""


@dataclass(frozen=True)
class Target:
    """Where one variation goes.

    Attributes:
        midi: the MIDI file.
        wav: its sound; None for none.
    """

    midi: Path
    wav: Path | None


def name_targets(output: Path, variations: int, *, wav: bool) -> list[Target]:
    """Return OUT.mid alone, or OUT-1.mid to OUT-N.mid with numbers of one width."""
    if variations == 1:
        paths = [output]
    else:
        width = len(str(variations))
        paths = [
            output.with_name(f"{output.stem}-{i:0{width}d}{output.suffix}")
            for i in range(1, variations + 1)
        ]
    return [Target(path, path.with_suffix(".wav") if wav else None) for path in paths]


def checked_targets(
    output: str | PathLike[str], variations: int, *, wav: bool, force: bool
) -> list[Target]:
    """Return the targets of an output, before the work that fills them.

    Raises:
        OutputError: a file cannot be written there, or exists and ``force`` is not set.
        UsageError: the output has another suffix than a MIDI file.
    """
    from arietta.output import check_output

    output = Path(output)
    if output.suffix.lower() not in (".mid", ".midi"):
        raise UsageError(f"{output}: the output is a MIDI file; call it {output.stem}.mid")
    targets = name_targets(output, variations, wav=wav)
    for target in targets:
        check_output(target.midi, force=force)
        if target.wav is not None:
            check_output(target.wav, force=force)
    return targets


def free_output(stem: str, variations: int, *, wav: bool, force: bool) -> Path:
    """Return STEM-1.mid, or the next number whose files are all free."""
    number = 1
    while True:
        output = Path(f"{stem}-{number}.mid")
        targets = name_targets(output, variations, wav=wav)
        taken = any(t.midi.exists() or (t.wav is not None and t.wav.exists()) for t in targets)
        if force or not taken:
            return output
        number += 1


def write_sound(
    target: Target, piece: Piece, *, force: bool, report: SoundReport = lambda *_: None
) -> None:
    """Write the sound of a piece where the target wants it."""
    if target.wav is not None:
        from arietta.sound.files import write_piece

        write_piece(target.wav, piece, force=force, progress=report)
