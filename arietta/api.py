"""Models by name, music by method: what programs and the command line call.

model = arietta.load("small")
out = model.generate(arietta.read("a.mid"), seconds=30, seed=0)
out.save("b.mid")

arietta.load_renderer().render("sonata.mid").save("played.mid", editable=True)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from arietta.arrays import Float32Array
from arietta.errors import CheckpointError, UsageError
from arietta.models.executors import Device, open_backend

if TYPE_CHECKING:
    from arietta.generation.continuation import Continuation, ContinuationStream
    from arietta.generation.engine import Engine, GenerationProgress
    from arietta.generation.joining import Groove
    from arietta.generation.speculative import Draft
    from arietta.midi.piece import Piece
    from arietta.midi.seam import SeamMode
    from arietta.models.aria.checkpoint import LoadedCheckpoint
    from arietta.models.aria.protocol import Backend
    from arietta.models.kernel.packing import Precision
    from arietta.rendering.controls import Controls
    from arietta.rendering.players import Player
    from arietta.rendering.players import RenderProgress as Step
    from arietta.rendering.render import Rendering
    from arietta.vectors.classification import Classification, Classifier
    from arietta.vectors.embedding import Embedder

DEFAULT_MODEL = "small"
DEFAULT_RENDERER = "performer"
CONDITIONED_MODEL = "small-conditioned"
DEFAULT_GUIDANCE = 2.5
_PUBLIC_EMBEDDING = "loubb/aria-medium-embedding"


class GenerateOptions(TypedDict, total=False):
    """Keywords of ``Model.generate``, ``generate_many`` and ``stream``; all may be left out.

    Attributes:
        seconds, bars, notes, tokens: length of the new music; 30 seconds by default.
        prompt_seconds: how much of the prompt to go on from.
        end: ask for an ending at about that length.
        seed: 0..2^64-1, 0 by default; None draws one.
        seam: where the new notes begin: ``now``, behind the prompt's last ``release`` or on a
            ``bar`` line; None chooses by what the prompt is.
        pedal: make keys and pedal of the lengths (default), or leave them.
        groove: ``tight``, ``loose`` or ``off``: how far onsets move to a prompt's own sixteenths.
        into: name or number of the prompt's track that takes the new notes.
        style: prefix names such as ``chopin``, where the vocabulary has them.
        preset: ``faithful``, ``balanced`` or ``adventurous``.
        temperature, min_p, top_p, density, grammar: single numbers of the preset to change.
        like: piece (or its path) to resemble; conditioned models only.
        guidance_vector: or its embedding.
        guidance: how much, 0..10; see ``engine.Guidance``.
    """

    seconds: float | None
    bars: float | None
    notes: int | None
    tokens: int | None
    prompt_seconds: float | None
    end: bool
    seed: int | None
    seam: SeamMode | None
    pedal: bool
    groove: Groove
    into: str | None
    style: tuple[str, ...]
    preset: str
    temperature: float | None
    min_p: float | None
    top_p: float | None
    density: float | None
    grammar: bool | None
    like: Piece | str | PathLike[str] | None
    guidance_vector: Float32Array | None
    guidance: float


class Model:
    """A model ready to play; made by ``load``.

    One generation runs at a time: starting another ends the one before.

    Attributes:
        name: of the checkpoint.
        checkpoint: settings, tensors, hash, card.
        backend: what runs it.
    """

    def __init__(
        self,
        checkpoint: LoadedCheckpoint,
        backend: Backend,
        provenance: dict[str, Any],
        draft: Draft | None = None,
    ) -> None:
        self.name = checkpoint.name
        self.checkpoint = checkpoint
        self.backend = backend
        self._provenance = provenance
        self._draft = draft

    def __repr__(self) -> str:
        return f"<arietta.Model {self.name}: {self.checkpoint.config.parameter_count():,} weights>"

    @cached_property
    def engine(self) -> Engine:
        """The engine underneath, for front ends that work with tokens.

        Raises:
            CheckpointError: the model does not generate.
        """
        from arietta.generation.engine import Engine
        from arietta.tokenizers.aria import AriaTokenizer

        self.checkpoint.require("lm", "conditioned")
        tokenizer = AriaTokenizer(self.checkpoint.tokenizer)
        return Engine(self.backend, tokenizer, draft=self._draft)

    @cached_property
    def embedder(self) -> Embedder:
        """What ``embed`` uses, for many pieces at once or for passages.

        Raises:
            CheckpointError: the model is a classifier.
        """
        from arietta.vectors.embedding import Embedder

        return Embedder(self.checkpoint, backend=self.backend)

    def embed(self, piece: Piece | str | PathLike[str], *, full: bool = False) -> Float32Array:
        """A vector (D,) that lies near those of similar pieces.

        From the embedding head where the checkpoint has one, else the mean of the last hidden
        states; see ``vectors.embedding``.

        Args:
            piece: or where it is.
            full: a longer vector, which tells classes better and distances worse: also the mean
                and the deviation of the hidden states.

        Raises:
            InputError: the piece cannot be read, has no notes or is not for piano.
        """
        from arietta.vectors.embedding import Embedder

        embedder = (
            Embedder(self.checkpoint, full=True, backend=self.backend) if full else self.embedder
        )
        return embedder.embed(_piece(piece)).vector

    @cached_property
    def likeness(self) -> Embedder:
        """What makes the vectors that a conditioned model was taught with.

        Raises:
            CheckpointError: the model is not conditioned, or its embedding model is another by now.
        """
        from arietta.models.aria.checkpoint import load as load_checkpoint
        from arietta.vectors.embedding import Embedder

        if not self.checkpoint.config.conditioned:
            raise CheckpointError(
                f"{self.name} has not learned to resemble an example; a conditioned model has:"
                f" {CONDITIONED_MODEL} or loubb/aria-medium-demo"
            )
        made = self.checkpoint.info.get("embeddings", {})
        found = load_checkpoint(made.get("model", _PUBLIC_EMBEDDING))
        if made.get("model_sha256") not in (None, found.sha256):
            raise CheckpointError(
                f"{self.name} was taught with other vectors than {found.name} makes now (sha256"
                f" {found.sha256[:12]}…, expected {made['model_sha256'][:12]}…)"
            )
        return Embedder(
            found, chunk_notes=made.get("chunk_notes"), full=made.get("pooling") == "full"
        )

    @cached_property
    def classifier(self) -> Classifier:
        """What ``classify`` uses, for many pieces at once.

        Raises:
            CheckpointError: the model is none of a classifier.
        """
        from arietta.vectors.classification import Classifier

        return Classifier(self.checkpoint, backend=self.backend)

    def classify(self, piece: Piece | str | PathLike[str]) -> Classification:
        """The class of a piece, and the share of the votes that each class got.

        Raises:
            CheckpointError: the model is none of a classifier.
            InputError: the piece cannot be read, has no notes or is not for piano.
        """
        return self.classifier.classify(_piece(piece))

    @property
    def provenance(self) -> dict[str, Any]:
        """Model and its hash, how it runs; JSON values. Hashing a big file takes seconds once."""
        return {
            "model": self.name,
            "model_sha256": self.checkpoint.sha256,
            **self._provenance,
        }

    def generate(
        self,
        prompt: Piece | str | PathLike[str] | None = None,
        *,
        variation: int = 0,
        report: Callable[[GenerationProgress], None] | None = None,
        **options: Unpack[GenerateOptions],
    ) -> Continuation:
        """Continue a prompt, or improvise from nothing.

        Args:
            prompt: a piece or the path of a MIDI file; None starts from scratch.
            variation: which of the seed's variations; ``generate_many`` gives the same ones.
            report: called after every step.
            options: see ``GenerateOptions``.

        Raises:
            InputError: the prompt cannot be read or has no notes.
            UsageError: an option is out of range.
        """
        return self._start(prompt, 1, variation, options).run(report)[0]

    def generate_many(
        self,
        prompt: Piece | str | PathLike[str] | None = None,
        *,
        variations: int = 4,
        report: Callable[[GenerationProgress], None] | None = None,
        **options: Unpack[GenerateOptions],
    ) -> list[Continuation]:
        """Several continuations at once; much faster than one after the other.

        See ``generate``.
        """
        return self._start(prompt, variations, 0, options).run(report)

    def stream(
        self,
        prompt: Piece | str | PathLike[str] | None = None,
        *,
        variations: int = 1,
        **options: Unpack[GenerateOptions],
    ) -> ContinuationStream:
        """Notes while later ones are still being decided: iterate over what is returned.

        See ``generate``; ``cancel`` and ``results`` of the stream serve to stop early.
        """
        return self._start(prompt, variations, 0, options)

    def _start(
        self,
        prompt: Piece | str | PathLike[str] | None,
        variations: int,
        first_variation: int,
        options: GenerateOptions,
    ) -> ContinuationStream:
        from arietta.generation.continuation import ContinuationStream, Request
        from arietta.generation.engine import Guidance
        from arietta.generation.sampling import DEFAULT_PRESET, settings_from

        given: dict[str, Any] = {**options}
        if unknown := given.keys() - GenerateOptions.__annotations__.keys():
            raise UsageError(f"unknown options: {', '.join(sorted(unknown))}")
        preset = given.pop("preset", DEFAULT_PRESET)
        names = ("temperature", "min_p", "top_p", "density", "grammar")
        settings = settings_from(preset, **{name: given.pop(name, None) for name in names})
        vector = given.pop("guidance_vector", None)
        strength = given.pop("guidance", DEFAULT_GUIDANCE)
        like = given.pop("like", None)
        origin: dict[str, Any] = {"preset": preset}
        if like is not None:
            if vector is not None:
                raise UsageError("give one of like and guidance_vector, not both")
            reference = _piece(like)
            vector = self.likeness.embed(reference).vector
            origin["like"] = Path(reference.source).name if reference.source else None
        guidance = None if vector is None else Guidance(vector, strength)
        allowed = {f.name for f in fields(Request)}
        assert given.keys() <= allowed
        request = Request(**given, variations=variations, first_variation=first_variation)
        return ContinuationStream(
            self.engine,
            None if prompt is None else _piece(prompt),
            request,
            settings,
            guidance=guidance,
            provenance=lambda: {**self.provenance, **origin},
        )


class Renderer:
    """Somebody who plays scores with expression; made by ``load_renderer``.

    Attributes:
        player: who plays.
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
            report: told as it goes on.

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


def load_renderer(
    name: str | PathLike[str] = DEFAULT_RENDERER,
    *,
    seed: int = 0,
    device: Device = "cpu",
    precision: Precision = "int8",
    threads: int | None = None,
    offline: bool = False,
) -> Renderer:
    """Load somebody who plays scores.

    Args:
        name: a rendering model: a registered name, a folder or a public file; or ``rules``.
        seed: of what is drawn at random.
        device, precision, threads, offline: as for ``load``.

    Raises:
        CheckpointError: there is no such model, or it renders nothing.
    """
    from arietta.rendering.blocks import BlockSettings
    from arietta.rendering.render import open_player

    return Renderer(
        open_player(
            name,
            BlockSettings(seed=seed),
            device=device,
            precision=precision,
            threads=threads,
            offline=offline,
        )
    )


def _piece(given: Piece | str | PathLike[str]) -> Piece:
    """A piece, read if it is a path."""
    if not isinstance(given, str | PathLike):
        return given
    from arietta.midi.reader import read

    return read(given)


def load(
    name: str | PathLike[str] = DEFAULT_MODEL,
    *,
    device: Device = "cpu",
    precision: Precision = "int8",
    threads: int | None = None,
    draft: str | PathLike[str] | None = None,
    offline: bool = False,
) -> Model:
    """Load a model: one that continues performances, or one that embeds them.

    Args:
        name: a registered name, a hub id, a checkpoint folder or a public ``.safetensors`` file.
        device: ``cpu`` runs our kernel or OpenVINO; ``cuda`` and ``mps`` need torch.
        precision: of the weights on the CPU: ``int8``, ``int4`` or ``f32``.
        threads: processor threads; all physical cores by default.
        draft: a smaller model that drafts for this one; the output's distribution stays.
        offline: never ask the hub.

    Raises:
        CheckpointError: there is no such model, or it is damaged or of another kind.
        MissingExtraError: the device needs torch.
    """
    from arietta.generation.speculative import Draft
    from arietta.models.aria.checkpoint import load as load_checkpoint
    from arietta.models.load import renders
    from arietta.tokenizers.aria import AriaTokenizer

    if renders(name, offline=offline):
        raise CheckpointError(f"{name} plays scores: arietta.load_renderer, arietta render --model")
    checkpoint = load_checkpoint(name, offline=offline)
    provenance: dict[str, Any] = {
        "device": device,
        "precision": precision if device == "cpu" else "float32",
    }
    small = None
    if draft is not None:
        found = load_checkpoint(draft, offline=offline)
        found.require("lm", "conditioned")
        small = Draft(
            open_backend(found, device, precision, threads), AriaTokenizer(found.tokenizer)
        )
        provenance["draft"] = found.name
        provenance["draft_sha256"] = found.sha256
    backend = open_backend(checkpoint, device, precision, threads)
    provenance["runner"] = type(backend).__name__.removesuffix("Backend").lower()
    return Model(checkpoint, backend, provenance, small)
