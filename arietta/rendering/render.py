"""A score in, performances out.

Another kind of model needs a player of its own and a line in ``open_player``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

from arietta.display import mimebundle
from arietta.errors import UsageError
from arietta.generation.sampling import RowRandom
from arietta.midi.piece import Piece
from arietta.models.kernel.packing import Precision
from arietta.notation.score_notes import PerformedNotes, ScoreNotes, deadpan
from arietta.rendering.controls import Controls, apply_controls
from arietta.rendering.obey import at_tempo, obey, says_tempo
from arietta.rendering.pianist import PianistPlayer
from arietta.rendering.players import Player, Report, Stop, Take
from arietta.rendering.rules import RuleRenderer, Strengths
from arietta.rendering.settings import BlockSettings

RULES = "rules"
"""Name of the player that needs no model."""

SHIPPED = "performer"
"""Name of the rendering model that ships."""


@dataclass(frozen=True)
class RulePlayer:
    """Plays by the rules of ``rules``.

    Attributes:
        seed: of the hand's small deviations.
        strengths: of the rules.
    """

    seed: int = 0
    strengths: Strengths = field(default_factory=Strengths)

    def __post_init__(self) -> None:
        RowRandom(self.seed, 0)  # refuses a seed out of range

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What plays."""
        return {"model": RULES, "seed": self.seed}

    def takes(
        self,
        score: ScoreNotes,
        variations: Sequence[int] = (0,),
        *,
        report: Report | None = None,
        stop: Stop | None = None,
    ) -> list[Take]:
        """See ``Player.takes``; it takes milliseconds, so nobody need stop it."""
        seeds = [self.seed + (number << 64) for number in variations]
        players = [RuleRenderer(self.strengths, seed) for seed in seeds]
        return [Take(player.perform(score), len(score)) for player in players]


@dataclass(frozen=True, eq=False)
class Rendering:
    """A performance of a score, ready to be written.

    Attributes:
        score: what is played.
        performed: how, row by row, controls applied.
        rows: how many rows were performed before it was stopped.
        provenance: model and its hash, settings, seed, version; JSON values.
    """

    score: ScoreNotes
    performed: PerformedNotes
    rows: int
    provenance: Mapping[str, Any]

    @property
    def complete(self) -> bool:
        """Whether every row was performed."""
        return self.rows == len(self.score)

    def piece(self, *, editable: bool = False, snap: bool = False) -> Piece:
        """Return the performance: 1 tick = 1 ms, or on the beats and bars of the score.

        ``snap`` puts every note of the editable form on the grid.
        """
        if editable or snap:
            from arietta.rendering import tempo_map

            return tempo_map.editable(self.score, self.performed, snap=snap).piece
        return self.performed.to_piece(self.score)

    def to_bytes(self, *, editable: bool = False) -> bytes:
        """Return a standard MIDI file with the provenance in a text event."""
        from arietta.midi.writer import write_midi

        return write_midi(self.piece(editable=editable), extra_text=[self._text])

    def save(
        self,
        path: str | PathLike[str],
        *,
        editable: bool = False,
        snap: bool = False,
        force: bool = False,
    ) -> None:
        """Write a standard MIDI file with the provenance in a text event.

        Raises:
            OutputError: the file exists, or its directory does not, or the disk is full.
        """
        from arietta.midi.writer import save_midi

        piece = self.piece(editable=editable, snap=snap)
        save_midi(piece, path, force=force, extra_text=[self._text])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """Show the piano roll and the sound in a notebook."""
        return mimebundle(self.piece(), "Rendering")

    @property
    def _text(self) -> str:
        return "arietta " + json.dumps(self.provenance, separators=(",", ":"))


def render(
    score: ScoreNotes | Piece,
    player: Player,
    *,
    variations: Sequence[int] = (0,),
    controls: Controls | None = None,
    tempo: str | float = "written",
    report: Report | None = None,
    stop: Stop | None = None,
) -> list[Rendering]:
    """Perform a score, once for each variation.

    Args:
        score: what is played; a ``Piece`` is cleaned by ``ScoreNotes.from_piece``.
        player: who plays.
        variations: numbers of the takes wanted.
        controls: how much of the performance to take; all of it by default.
        tempo: ``written`` keeps the tempo that the score gives, ``free`` leaves it to the player,
            a number is in quarters a minute, for the beginning.
        report, stop: see ``Player.takes``.

    Raises:
        InputError: the score has no notes for a piano.
        UsageError: a control names something the score does not have, or there is no such tempo.
    """
    from arietta._version import __version__

    if not variations:
        raise UsageError("`variations` must be at least 1")
    rows = score if isinstance(score, ScoreNotes) else ScoreNotes.from_piece(score)
    controls = controls or Controls()
    if isinstance(tempo, str) and tempo not in ("written", "free"):
        raise UsageError(f"`tempo` {tempo!r}: give written, free or quarters a minute")
    if not isinstance(tempo, str):
        rows = at_tempo(rows, tempo)
    keep = tempo != "free" and says_tempo(rows)
    apply_controls(rows, deadpan(rows), controls)  # refuses what cannot be done before the work
    made = player.takes(rows, variations, report=report, stop=stop)
    asked: dict[str, Any] = {} if controls == Controls() else {"controls": _plain(controls)}
    if tempo != "written":
        asked["tempo"] = tempo
    return [
        Rendering(
            rows,
            apply_controls(rows, _obeyed(rows, take, keep), controls),
            take.rows,
            {"arietta": __version__, **player.provenance, "variation": number, **asked},
        )
        for number, take in zip(variations, made, strict=True)
    ]


def _obeyed(rows: ScoreNotes, take: Take, keep_tempo: bool) -> PerformedNotes:
    """Return a take under the marks; the end of one that was stopped is as written already."""
    whole = take.rows == len(rows)
    return obey(rows, take.performed, keep_tempo=keep_tempo) if whole else take.performed


def open_player(
    model: str | PathLike[str] = SHIPPED,
    settings: BlockSettings | None = None,
    *,
    device: str = "cpu",
    precision: Precision = "int8",
    threads: int | None = None,
    offline: bool = False,
) -> Player:
    """Return the player of a name.

    Args:
        model: ``rules``, or a rendering model: a registered name, a folder or a public file.
        settings: how a model draws; the rules take their seed from it.
        device: ``cpu``, or ``cuda`` or ``mps``, which need torch.
        precision: of a model's weights on the CPU.
        threads: processor threads; all physical cores by default.
        offline: never ask the hub.

    Raises:
        CheckpointError: there is no such model, or it renders nothing.
        MissingExtraError: the device needs torch.
        UsageError: there is no such device.
    """
    settings = settings or BlockSettings()
    if str(model) == RULES:
        return RulePlayer(settings.seed)
    from arietta.checkpoints import registry
    from arietta.models.executors import open_pianist
    from arietta.models.performer import checkpoint as performer
    from arietta.models.pianist import checkpoint as pianist

    place, _ = registry.locate(model, offline=offline)
    if performer.is_performer(place):
        from arietta.models.performer.openvino import PerformerModel
        from arietta.rendering.performer import PerformerPlayer

        if device != "cpu":
            raise UsageError(f"{model} plays on the CPU, in a moment; leave `device` out")
        found = performer.load_folder(place)
        origin = {"model": found.name, "model_sha256": found.sha256, "precision": "float32"}
        temperature = settings.temperature
        return PerformerPlayer(PerformerModel(found, threads), settings.seed, temperature, origin)
    checkpoint = pianist.load(model, offline=offline)
    backend = open_pianist(checkpoint, device, precision, threads)
    origin = {
        "model": checkpoint.name,
        "model_sha256": checkpoint.sha256,
        "device": device,
        "precision": precision if device == "cpu" else "float32",
    }
    return PianistPlayer(backend, settings, origin)


def _plain(controls: Controls) -> dict[str, Any]:
    """Return controls as JSON values, those at rest left out."""
    rest = Controls()
    found: dict[str, Any] = {}
    for name in ("dynamics", "rubato", "pedal"):
        value = getattr(controls, name)
        if value != getattr(rest, name):
            found[name] = dict(value) if isinstance(value, Mapping) else value
    if controls.steady_bars:
        found["steady_bars"] = [list(span) for span in controls.steady_bars]
    return found
