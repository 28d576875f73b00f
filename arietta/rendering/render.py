"""A score in, performances out.

A ``Player`` turns the rows of a score into takes: by rule, or with a model. Whatever it does, row i
of the take is row i of the score, so every note of the score is played exactly once. Another kind
of model needs a player of its own and a line in ``open_player``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any, NamedTuple, Protocol

import numpy as np

from arietta.errors import UsageError
from arietta.generation.sampling import RowRandom
from arietta.midi.merged import FlatNotes, pedal_of
from arietta.midi.notes import Int32Array, Piece
from arietta.midi.tempo import IntArray
from arietta.models.kernel.packing import Precision
from arietta.models.pianist.openvino import PianistBackend
from arietta.notation.score_notes import PerformedNotes, ScoreNotes, deadpan
from arietta.rendering.blocks import BlockRender, BlockSettings, Progress
from arietta.rendering.controls import Controls, apply_controls
from arietta.rendering.rules import RuleRenderer, Strengths
from arietta.tokenizers.pianist import (
    MAX_DURATION_MS,
    MAX_IOI_MS,
    SLOTS,
    columns_of,
    columns_of_ids,
    ids_of_columns,
    notes_of,
    with_floor,
)

RULES = "rules"
"""Name of the player that needs no model."""

SHIPPED = "performer"
"""Name of the rendering model that ships."""

Report = Callable[[Progress], None]
Stop = Callable[[], bool]


class Take(NamedTuple):
    """One performance of a score.

    Attributes:
        performed: every row of the score.
        rows: how many of them, from the first, were performed before it was stopped; the others
            are as the score has them, in the order of time.
    """

    performed: PerformedNotes
    rows: int


class Player(Protocol):
    """Something that performs scores."""

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What plays, with which settings; JSON values."""

    def takes(
        self,
        score: ScoreNotes,
        variations: Sequence[int] = (0,),
        *,
        report: Report | None = None,
        stop: Stop | None = None,
    ) -> list[Take]:
        """One take for each number of ``variations``; each take is the same whatever the others.

        Args:
            score: what is played.
            variations: 0, 1, ...: each chooses random numbers of its own.
            report: called as it goes on.
            stop: asked now and then; when true, what is done so far comes back.
        """


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


@dataclass(frozen=True)
class PianistPlayer:
    """Plays with a Pianist Transformer.

    Attributes:
        backend: the model.
        settings: how ids are drawn.
        origin: what else provenance says: the model's name and hash.
    """

    backend: PianistBackend
    settings: BlockSettings = field(default_factory=BlockSettings)
    origin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What plays, with which settings."""
        settings = self.settings
        return {
            **self.origin,
            "settings": {
                "temperature": settings.temperature,
                "top_p": settings.top_p,
                "top_k": settings.top_k,
            },
            "seed": settings.seed,
        }

    def perform(self, score: ScoreNotes) -> PerformedNotes:
        """One performance, as ``Renderer`` has it."""
        return self.takes(score)[0].performed

    def takes(
        self,
        score: ScoreNotes,
        variations: Sequence[int] = (0,),
        *,
        report: Report | None = None,
        stop: Stop | None = None,
    ) -> list[Take]:
        """See ``Player.takes``."""
        ids, order = score_ids(score)
        render = BlockRender(
            self.backend, [ids] * len(variations), self.settings, variations=variations
        )
        for now in render:
            if report is not None:
                report(now)
            if stop is not None and stop():
                render.cancel()
        return [
            Take(performed_notes(score, ids, found, order), len(found) // SLOTS)
            for found in render.results()
        ]


def score_ids(score: ScoreNotes) -> tuple[Int32Array, IntArray]:
    """Ids of a score for ``PianistTokenizer``, and (n,) the row behind each note of them.

    Notes stand by millisecond, then pitch, which differs from the score's order where two onsets
    fall into one millisecond.
    """
    onset = np.rint(score.onset_ms).astype(np.int64)
    order = np.lexsort((score.pitch, onset))
    offset = np.rint(score.onset_ms + score.duration_ms).astype(np.int64)
    pedal_ms, pedal_value = pedal_of(score.piece)
    notes = FlatNotes(
        onset[order],
        np.maximum(offset, onset + 1)[order],
        score.pitch[order].astype(np.int64),
        score.velocity[order].astype(np.int64),
        pedal_ms,
        pedal_value,
    )
    return ids_of_columns(columns_of(notes)), order


def performed_notes(
    score: ScoreNotes, score_ids: Int32Array, ids: Int32Array, order: IntArray
) -> PerformedNotes:
    """The performance that ids stand for, in the rows of the score.

    Differs from the public reading in what a musician would miss: the first note stays where the
    score has it, what the score has beyond the 5 s of a gap or note is kept, and no note is silent.

    Args:
        score: what is played.
        score_ids: its ids.
        ids: of the performance, as many whole notes as there are; the rest plays as written.
        order: the row behind each note.
    """
    whole = score_ids.copy()
    whole[: len(ids)] = ids
    written = columns_of_ids(score_ids)
    columns = with_floor(columns_of_ids(whole), written.ioi_ms)
    onset = np.rint(score.onset_ms).astype(np.int64)[order]
    gap = np.diff(onset, prepend=0)
    excess = np.maximum(gap - MAX_IOI_MS, 0)
    length = np.rint(score.duration_ms).astype(np.int64)[order]
    ioi = columns.ioi_ms + excess
    ioi[:1] = gap[:1]
    # The pedal's samples stand between onsets; a restored pause stretches the last of them.
    notes = notes_of(replace(columns, ioi_ms=ioi))
    duration = notes.offset_ms - notes.onset_ms + np.maximum(length - MAX_DURATION_MS, 0)
    back = np.argsort(order)
    return PerformedNotes(
        notes.onset_ms[back].astype(np.float64),
        duration[back].astype(np.float64),
        notes.velocity[back].astype(np.uint8),
        notes.pedal_ms.astype(np.float64),
        notes.pedal_value.astype(np.uint8),
    )


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

    def piece(self, *, editable: bool = False) -> Piece:
        """The performance: 1 tick = 1 ms, or on the beats and bars of the score."""
        if editable:
            from arietta.rendering import tempo_map

            return tempo_map.editable(self.score, self.performed).piece
        return self.performed.to_piece(self.score)

    def to_bytes(self, *, editable: bool = False) -> bytes:
        """A standard MIDI file with the provenance in a text event."""
        from arietta.midi.writer import write_midi

        return write_midi(self.piece(editable=editable), extra_text=[self._text])

    def save(
        self, path: str | PathLike[str], *, editable: bool = False, force: bool = False
    ) -> None:
        """Write a standard MIDI file with the provenance in a text event.

        Raises:
            OutputError: the file exists, or its directory does not, or the disk is full.
        """
        from arietta.midi.writer import save_midi

        save_midi(self.piece(editable=editable), path, force=force, extra_text=[self._text])

    @property
    def _text(self) -> str:
        return "arietta " + json.dumps(self.provenance, separators=(",", ":"))


def render(
    score: ScoreNotes | Piece,
    player: Player,
    *,
    variations: Sequence[int] = (0,),
    controls: Controls | None = None,
    report: Report | None = None,
    stop: Stop | None = None,
) -> list[Rendering]:
    """Perform a score, once for each variation.

    Args:
        score: what is played; a ``Piece`` is cleaned by ``ScoreNotes.from_piece``.
        player: who plays.
        variations: numbers of the takes wanted.
        controls: how much of the performance to take; all of it by default.
        report, stop: see ``Player.takes``.

    Raises:
        InputError: the score has no notes for a piano.
        UsageError: a control names something the score does not have.
    """
    from arietta import __version__

    if not variations:
        raise UsageError("--variations must be at least 1")
    rows = score if isinstance(score, ScoreNotes) else ScoreNotes.from_piece(score)
    controls = controls or Controls()
    apply_controls(rows, deadpan(rows), controls)  # refuses what cannot be done before the work
    made = player.takes(rows, variations, report=report, stop=stop)
    asked = {} if controls == Controls() else {"controls": _plain(controls)}
    return [
        Rendering(
            rows,
            apply_controls(rows, take.performed, controls),
            take.rows,
            {"arietta": __version__, **player.provenance, "variation": number, **asked},
        )
        for number, take in zip(variations, made, strict=True)
    ]


def open_player(
    model: str | PathLike[str] = SHIPPED,
    settings: BlockSettings | None = None,
    *,
    device: str = "cpu",
    precision: Precision = "int8",
    threads: int | None = None,
    offline: bool = False,
) -> Player:
    """The player of a name.

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
    from arietta.models.performer import checkpoint as performer
    from arietta.models.pianist import checkpoint as pianist

    place, _ = registry.locate(model, offline=offline)
    if performer.is_performer(place):
        from arietta.rendering.performer import PerformerModel, PerformerPlayer

        if device != "cpu":
            raise UsageError(f"{model} plays on the CPU, in a moment; leave --device out")
        found = performer.load_folder(place)
        origin = {"model": found.name, "model_sha256": found.sha256, "precision": "float32"}
        temperature = settings.temperature
        return PerformerPlayer(PerformerModel(found, threads), settings.seed, temperature, origin)
    checkpoint = pianist.load(model, offline=offline)
    backend: PianistBackend
    if device == "cpu":
        from arietta.models.pianist.openvino import cpu_backend

        backend = cpu_backend(checkpoint, precision, threads)
    else:
        from arietta.models.pianist.torch_executor import open_torch

        backend = open_torch(checkpoint, device)
    origin = {
        "model": checkpoint.name,
        "model_sha256": checkpoint.sha256,
        "device": device,
        "precision": precision if device == "cpu" else "float32",
    }
    return PianistPlayer(backend, settings, origin)


def _plain(controls: Controls) -> dict[str, Any]:
    """Controls as JSON values, those at rest left out."""
    rest = Controls()
    found: dict[str, Any] = {}
    for name in ("dynamics", "rubato", "pedal"):
        value = getattr(controls, name)
        if value != getattr(rest, name):
            found[name] = dict(value) if isinstance(value, Mapping) else value
    if controls.steady_bars:
        found["steady_bars"] = [list(span) for span in controls.steady_bars]
    return found
