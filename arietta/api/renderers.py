"""Renderers by name, performances of scores by method.

arietta.load_renderer().render("sonata.mid").save("played.mid", editable=True)
"""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from arietta.models.executors import Device

if TYPE_CHECKING:
    from arietta.midi.piece import Piece
    from arietta.models.kernel.packing import Precision
    from arietta.rendering.controls import Controls
    from arietta.rendering.players import Player
    from arietta.rendering.players import RenderProgress as Step
    from arietta.rendering.render import Rendering
    from arietta.rendering.settings import BlockSettings

DEFAULT_RENDERER = "performer"


class Renderer:
    """A renderer, which plays scores with expression; made by ``load_renderer``.

    Attributes:
        player: the model or the rules behind it.
    """

    def __init__(self, player: Player) -> None:
        self.player = player

    def render(
        self,
        score: Piece | str | PathLike[str],
        *,
        variation: int = 0,
        controls: Controls | None = None,
        report: Callable[[Step], None] | None = None,
    ) -> Rendering:
        """Play a score; ``save`` of the result writes it, on the score's own bars if wanted.

        Args:
            score: a piece, or the path of a MIDI file, MusicXML, MXL, MEI, kern or ABC.
            variation: each is another performance.
            controls: how much of dynamics, rubato and pedal to take; bars to keep steady.
            report: called as it goes on.

        Raises:
            InputError: the score cannot be read or has no notes for a piano.
            UsageError: a control names something that the score does not have.
        """
        from arietta.notation.reader import read_score
        from arietta.rendering.render import render

        piece = read_score(Path(score)) if isinstance(score, str | PathLike) else score
        (made,) = render(
            piece, self.player, variations=(variation,), controls=controls, report=report
        )
        return made


def with_seed(renderer: Renderer, seed: int) -> Renderer:
    """Return a loaded renderer that draws with another seed."""
    from dataclasses import replace

    from arietta.rendering.performer import PerformerPlayer
    from arietta.rendering.pianist import PianistPlayer
    from arietta.rendering.render import RulePlayer

    player = renderer.player
    if isinstance(player, PianistPlayer):
        return Renderer(replace(player, settings=replace(player.settings, seed=seed)))
    assert isinstance(player, PerformerPlayer | RulePlayer)
    return Renderer(replace(player, seed=seed))


def load_renderer(
    name: str | PathLike[str] = DEFAULT_RENDERER,
    *,
    seed: int = 0,
    settings: BlockSettings | None = None,
    device: Device = "cpu",
    precision: Precision = "int8",
    threads: int | None = None,
    offline: bool = False,
) -> Renderer:
    """Load a renderer.

    Args:
        name: a rendering model: a registered name, a folder or a public file; or ``rules``.
        seed: of what is drawn at random.
        settings: how the model draws, seed included; by default its own way.
        device, precision, threads, offline: as for ``load``.

    Raises:
        CheckpointError: there is no such model, or it renders nothing.
    """
    from arietta.rendering.render import open_player
    from arietta.rendering.settings import BlockSettings

    return Renderer(
        open_player(
            name,
            settings or BlockSettings(seed=seed),
            device=device,
            precision=precision,
            threads=threads,
            offline=offline,
        )
    )
