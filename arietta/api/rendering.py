"""Play a score with expression: the use case behind ``arietta render``."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from arietta.api.files import SoundReport, Target, checked_targets, write_sound
from arietta.api.renderers import DEFAULT_RENDERER, Renderer, load_renderer
from arietta.errors import UsageError
from arietta.rendering.settings import BlockSettings, DrawingOptions

if TYPE_CHECKING:
    from arietta.midi.piece import Piece
    from arietta.models.executors import Device
    from arietta.models.kernel.packing import Precision
    from arietta.rendering.controls import Controls
    from arietta.rendering.players import RenderProgress
    from arietta.rendering.render import Rendering

_SURE = 0.8
"""Confidence from which on a performance is taken for one."""


@dataclass(frozen=True, eq=False)
class RenderResult:
    """What ``render`` made.

    Attributes:
        renderings: one for each variation.
        targets: where each was written; None where it was not.
        remarks: what the user should know of the score.
        seconds: how long it took.
        interrupted: whether it was stopped before its end.
    """

    renderings: tuple[Rendering, ...]
    targets: tuple[Target | None, ...]
    remarks: tuple[str, ...]
    seconds: float
    interrupted: bool

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values: a row for each file, and the figures of all."""
        rows = sum(made.rows for made in self.renderings)
        return {
            "outputs": [
                {
                    "midi": str(target.midi),
                    "wav": None if target.wav is None else str(target.wav),
                    "variation": made.provenance["variation"],
                    "notes": len(made.score),
                    "performed": made.rows,
                    "music_seconds": round(made.piece().end_ms / 1000, 3),
                }
                for target, made in zip(self.targets, self.renderings, strict=True)
                if target is not None
            ],
            "notes": len(self.renderings[0].score),
            "wall_seconds": round(self.seconds, 3),
            "notes_per_second": round(rows / max(self.seconds, 1e-9), 1),
            "interrupted": self.interrupted,
            "remarks": list(self.remarks),
            "provenance": dict(self.renderings[0].provenance),
        }


def render(
    score: Piece | str | PathLike[str],
    output: str | PathLike[str] | None = None,
    *,
    model: Renderer | str | PathLike[str] = DEFAULT_RENDERER,
    editable: bool = True,
    snap: bool = False,
    tempo: str | float = "written",
    movement: int | None = None,
    wav: bool = False,
    variations: int = 1,
    seed: int = 0,
    controls: Controls | None = None,
    device: Device = "cpu",
    precision: Precision = "int8",
    threads: int | None = None,
    force: bool = False,
    report: Callable[[RenderProgress], None] | None = None,
    sound_report: SoundReport = lambda *_: None,
    stop: Callable[[], bool] = lambda: False,
    **drawing: Unpack[DrawingOptions],
) -> RenderResult:
    """Play a score with expression; write files if an output is given.

    Args:
        score: a piece, or the path of a MIDI file, MusicXML, MXL, MEI, kern or ABC.
        output: MIDI file to write; with several variations OUT-1.mid, OUT-2.mid, ...
        model: a loaded renderer, or the name or path of one.
        editable: keep bars, beats, signatures, tracks and drums of the score.
        snap: put every note on the grid of the score; needs ``editable``.
        tempo: ``written`` keeps the score's, ``free`` leaves it to the player; or quarters a
            minute.
        movement: which movement of a score, or tune of a book; the first by default.
        wav: write the sound beside each file.
        variations: how many performances.
        seed: of what is drawn at random; not for a loaded renderer.
        controls: how much of dynamics, rubato and pedal to take; bars to keep steady.
        device, precision, threads: as for ``load``; not for a loaded renderer.
        force: replace files that exist.
        report: called as it goes on.
        sound_report: called while sound is written.
        stop: called now and then; once it gives True, the other notes stay as written, and nothing
            is saved where no note was performed.
        drawing: ``temperature``, ``top_p``, ``top_k`` of ``BlockSettings``: how a model draws. Not
            for a loaded renderer, and the last two for a Pianist Transformer alone.

    Raises:
        CheckpointError: there is no such model, or it renders nothing.
        InputError: the score cannot be read or has no notes for a piano.
        OutputError: a file cannot be written there, or exists.
        UsageError: a control names something that the score does not have, or arguments contradict
            each other.
    """
    from arietta.notation.reader import read_score
    from arietta.notation.score_notes import ScoreNotes
    from arietta.rendering.performer import PerformerPlayer
    from arietta.rendering.render import RULES
    from arietta.rendering.render import render as render_score

    if variations < 1:
        raise UsageError(f"`variations` must be at least 1, not {variations}")
    given: dict[str, Any] = {k: v for k, v in drawing.items() if v is not None}
    if model == RULES and given:
        raise UsageError("`temperature`, `top_p` and `top_k` are a model's; rules have none")
    if isinstance(model, Renderer) and given:
        raise UsageError("`temperature`, `top_p` and `top_k` are set when a renderer is loaded")
    if snap and not editable:
        raise UsageError("`snap` needs the bars of the score, which a plain rendering has not")
    settings = BlockSettings(seed=seed, **given)
    targets: list[Target] = []
    if output is not None:
        targets = checked_targets(output, variations, wav=wav, force=force)
    elif wav:
        raise UsageError("`wav` needs an `output` to stand beside")
    piece = read_score(Path(score), movement) if isinstance(score, str | PathLike) else score
    rows = ScoreNotes.from_piece(piece)
    if not isinstance(model, Renderer):
        name = model
        model = load_renderer(
            name, settings=settings, device=device, precision=precision, threads=threads
        )
        if isinstance(model.player, PerformerPlayer) and {"top_p", "top_k"} & given.keys():
            raise UsageError(f"`top_p` and `top_k` do nothing to {name}; it takes `temperature`")
    stopped = False

    def should_stop() -> bool:
        nonlocal stopped
        stopped = stopped or stop()
        return stopped

    began = time.perf_counter()
    made = render_score(
        rows,
        model.player,
        variations=range(variations),
        controls=controls,
        tempo=tempo,
        report=report,
        stop=should_stop,
    )
    seconds = time.perf_counter() - began
    written: list[Target | None] = [None] * len(made)
    if not stopped or any(one.rows for one in made):
        for number, target in enumerate(targets):
            made[number].save(target.midi, editable=editable, snap=snap, force=force)
            write_sound(target, made[number].piece(), force=force, report=sound_report)
            written[number] = target
    remarks = (*piece.notices, *_doubts(piece), *rows.remarks)
    return RenderResult(tuple(made), tuple(written), remarks, seconds, stopped)


def _doubts(piece: Piece) -> list[str]:
    """Say so where a piece looks like no score."""
    from arietta.midi.grid import estimate_kind
    from arietta.notation.reader import NOTATION

    if Path(piece.source or "").suffix.lower() in NOTATION:
        return []
    kind = estimate_kind(piece)
    if kind is None or kind.kind != "performance" or kind.confidence < _SURE:
        return []
    return [
        "looks like a performance, not a score: its notes stand on no grid of its tempo; it is"
        " played as if every length and loudness were written so"
    ]
