"""Fill a gap in a piece: the use case behind ``arietta fill``."""

from __future__ import annotations

import time
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

from arietta.api.files import Target, checked_targets, write_sound
from arietta.api.models import DEFAULT_MODEL, Model, as_piece, load
from arietta.errors import UsageError
from arietta.generation.settings import DEFAULT_PRESET, SamplingSettings, settings_from

if TYPE_CHECKING:
    from arietta.generation.filling import FilledPiece, FillRequest
    from arietta.midi.piece import Piece


@dataclass(frozen=True, eq=False)
class FillResult:
    """What ``fill`` made.

    Attributes:
        pieces: the piece with the gap filled, the smoothest way first.
        targets: where each was written; none where nothing was.
        wall_seconds: how long it took, without loading the model.
    """

    pieces: tuple[FilledPiece, ...]
    targets: tuple[Target, ...]
    wall_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values: a row for each variation, and the figures of all."""
        rows: list[dict[str, Any]] = [
            {
                "notes": one.new,
                "replaced": one.replaced,
                "seam_bits_per_note": one.seam_bits,
                "take": one.variation,
            }
            for one in self.pieces
        ]
        for row, target in zip(rows, self.targets, strict=False):
            row["midi"] = str(target.midi)
            row["wav"] = None if target.wav is None else str(target.wav)
        return {
            "variations": rows,
            "wall_seconds": round(self.wall_seconds, 3),
            "provenance": dict(self.pieces[0].provenance),
        }


def fill(
    piece: Piece | str | PathLike[str],
    request: FillRequest,
    *,
    model: Model | str | PathLike[str] | None = None,
    settings: SamplingSettings | None = None,
    preset: str | None = None,
    output: str | PathLike[str] | None = None,
    wav: bool = False,
    force: bool = False,
) -> FillResult:
    """Fill a gap of a piece in several ways; write files if asked to.

    Args:
        piece: a piece or the path of a MIDI file.
        request: the gap, what of it stays, how many ways.
        model: a loaded model, a name or a path; the shipped one by default.
        settings, preset: how tokens are drawn.
        output: MIDI file to write; with several variations OUT-1.mid, OUT-2.mid, ...
        wav: write the sound beside each file.
        force: replace files that exist.

    Raises:
        CheckpointError: there is no such model, or it does not generate.
        InputError: the piece cannot be read, or has nothing there.
        OutputError: a file cannot be written there, or exists.
        UsageError: the request does not fit the piece or the model.
    """
    from arietta.generation.filling import fill_piece

    if settings is not None and preset is not None:
        raise UsageError("give one of `settings` and `preset`, not both")
    targets: list[Target] = []
    if output is not None:
        targets = checked_targets(output, request.variations, wav=wav, force=force)
    elif wav:
        raise UsageError("`wav` needs an `output` to stand beside")
    given = as_piece(piece)
    if not isinstance(model, Model):
        model = load(model or DEFAULT_MODEL)
    began = time.perf_counter()
    made = fill_piece(
        model.engine,
        given,
        request,
        settings or settings_from(preset or DEFAULT_PRESET),
        provenance=model.provenance,
    )
    wall_seconds = time.perf_counter() - began
    for one, target in zip(made, targets, strict=False):
        one.save(target.midi, force=force)
        write_sound(target, one.piece, force=force)
    return FillResult(tuple(made), tuple(targets), wall_seconds)
