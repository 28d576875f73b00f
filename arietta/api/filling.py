"""Fill a gap in a piece: the use case behind ``arietta fill``."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

from arietta.api.files import SoundReport, Target, checked_targets, write_sound
from arietta.api.models import CONDITIONED_MODEL, DEFAULT_MODEL, Model, load
from arietta.api.pieces import as_piece
from arietta.errors import UsageError
from arietta.generation.settings import SamplingSettings, Steering

if TYPE_CHECKING:
    from arietta.generation.engine import GenerationProgress
    from arietta.generation.fill_settings import FillRequest
    from arietta.generation.filling import FilledPiece, PieceFillStream
    from arietta.midi.piece import Piece


@dataclass(frozen=True, eq=False)
class FillResult:
    """What ``fill`` made.

    Attributes:
        pieces: the piece with the gap filled, the smoothest way first.
        targets: where each was written; none where nothing was.
        wall_seconds: how long it took, without loading the model.
        interrupted: whether the stream was cancelled before its end.
    """

    pieces: tuple[FilledPiece, ...]
    targets: tuple[Target, ...]
    wall_seconds: float
    interrupted: bool = False

    @property
    def notices(self) -> list[str]:
        """What the user should know, each sentence once."""
        return list(dict.fromkeys(line for one in self.pieces for line in one.notices))

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values: a row for each variation, and the figures of all."""
        rows: list[dict[str, Any]] = [
            {
                "notes": one.new,
                "replaced": one.replaced,
                "seam_bits_per_note": one.seam_bits,
                "extra_bits_per_note": one.extra_bits,
                "notes_per_second": round(one.notes_per_second, 3),
                "take": one.variation,
            }
            for one in self.pieces
        ]
        for row, target in zip(rows, self.targets, strict=False):
            row["midi"] = str(target.midi)
            row["wav"] = None if target.wav is None else str(target.wav)
        return {
            "variations": rows,
            "from_seconds": self.pieces[0].start_ms / 1000,
            "to_seconds": self.pieces[0].end_ms / 1000,
            "wall_seconds": round(self.wall_seconds, 3),
            "interrupted": self.interrupted,
            "notices": self.notices,
            "provenance": dict(self.pieces[0].provenance),
        }


def fill(
    piece: Piece | str | PathLike[str],
    request: FillRequest,
    *,
    model: Model | str | PathLike[str] | None = None,
    settings: SamplingSettings | None = None,
    preset: str | None = None,
    like: Piece | str | PathLike[str] | None = None,
    guidance: float = Steering.guidance,
    output: str | PathLike[str] | None = None,
    wav: bool = False,
    force: bool = False,
    report: Callable[[GenerationProgress], None] | None = None,
    sound_report: SoundReport = lambda *_: None,
    watch: Callable[[PieceFillStream], AbstractContextManager[object]] = nullcontext,
) -> FillResult:
    """Fill a gap of a piece in several ways; write files if an output is given.

    Args:
        piece: a piece or the path of a MIDI file.
        request: the gap, what of it stays, how many ways.
        model: a loaded model, a name or a path; the shipped one by default, the conditioned one
            with ``like``.
        settings, preset: how tokens are drawn.
        like, guidance: music to resemble, and how much.
        output: MIDI file to write; with several variations OUT-1.mid, OUT-2.mid, ...
        wav: write the sound beside each file.
        force: replace files that exist.
        report: called after every step.
        sound_report: called while sound is written.
        watch: gives the context that the stream runs in, such as one that cancels it.

    Raises:
        CheckpointError: there is no such model, or it does not generate.
        InputError: the piece cannot be read, or has nothing there.
        OutputError: a file cannot be written there, or exists.
        UsageError: the request does not fit the piece or the model.
    """
    if settings is not None and preset is not None:
        raise UsageError("give one of `settings` and `preset`, not both")
    steering = Steering(like=like, guidance=guidance)
    targets: list[Target] = []
    if output is not None:
        targets = checked_targets(output, request.variations, wav=wav, force=force)
    elif wav:
        raise UsageError("`wav` needs an `output` to stand beside")
    given = as_piece(piece)
    if not isinstance(model, Model):
        model = load(model or (DEFAULT_MODEL if like is None else CONDITIONED_MODEL))
    began = time.perf_counter()
    stream = model.start_fill(given, request, {}, steering, settings=settings, preset=preset)
    with watch(stream):
        made = stream.run(report)
    interrupted = any(row.reason == "cancelled" for row in stream.progress().rows)
    wall_seconds = time.perf_counter() - began
    for one, target in zip(made, targets, strict=False):
        one.save(target.midi, force=force)
        write_sound(target, one.piece, force=force, report=sound_report)
    return FillResult(tuple(made), tuple(targets), wall_seconds, interrupted)
