"""Models by name, music by method.

model = arietta.load("small")
out = model.generate(arietta.read("a.mid"), seconds=30, seed=0)
out.save("b.mid")
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from arietta.api import inspection
from arietta.api.pieces import as_piece
from arietta.arrays import Float32Array
from arietta.errors import CheckpointError, InputError, UsageError
from arietta.generation.fill_settings import FillOptions, FillRequest
from arietta.generation.settings import (
    DEFAULT_PRESET,
    GenerateOptions,
    Request,
    SamplingSettings,
    Steering,
    changed,
    settings_from,
)
from arietta.models.executors import Device, open_backend
from arietta.settings import split_options, with_keywords

if TYPE_CHECKING:
    from arietta.api.pieces import GivenPiece
    from arietta.evaluation.inspection import Attention, LogProbs, PieceTokens, States
    from arietta.generation.continuation import Continuation, ContinuationStream
    from arietta.generation.engine import Engine, GenerationProgress
    from arietta.generation.filling import FilledPiece, PieceFillStream
    from arietta.generation.speculative import Draft
    from arietta.midi.piece import Piece
    from arietta.models.aria.checkpoint import LoadedCheckpoint
    from arietta.models.aria.protocol import Backend
    from arietta.models.kernel.packing import Precision
    from arietta.vectors.classification import Classification, Classifier
    from arietta.vectors.embedding import Embedder

DEFAULT_MODEL = "small"
CONDITIONED_MODEL = "small-conditioned"
Found = TypeVar("Found")
_PUBLIC_EMBEDDING = "loubb/aria-medium-embedding"


class Model:
    """A model ready to play; made by ``load``.

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
        """Return a vector (D,) that lies near those of similar pieces.

        From the embedding head where the checkpoint has one, else the mean of the last hidden
        states; see ``vectors.embedding``.

        Args:
            piece: or where it is.
            full: a longer vector, better for classes and worse for distances: also the mean
                and the deviation of the hidden states.

        Raises:
            InputError: the piece cannot be read, has no notes or is not for piano.
        """
        from arietta.vectors.embedding import Embedder

        embedder = (
            Embedder(self.checkpoint, full=True, backend=self.backend) if full else self.embedder
        )
        return embedder.embed(as_piece(piece)).vector

    @cached_property
    def likeness(self) -> Embedder:
        """The embedder whose vectors a conditioned model was trained with.

        Raises:
            CheckpointError: the model is not conditioned, or its embedding model has changed.
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
                f"{self.name} was trained with other vectors than {found.name} makes now (sha256"
                f" {found.sha256[:12]}…, expected {made['model_sha256'][:12]}…)"
            )
        return Embedder(
            found, chunk_notes=made.get("chunk_notes"), full=made.get("pooling") == "full"
        )

    @cached_property
    def classifier(self) -> Classifier:
        """What ``classify`` uses, for many pieces at once.

        Raises:
            CheckpointError: the model is not a classifier.
        """
        from arietta.vectors.classification import Classifier

        return Classifier(self.checkpoint, backend=self.backend)

    def classify(self, piece: Piece | str | PathLike[str]) -> Classification:
        """Return the class of a piece, and the share of the votes that each class got.

        Raises:
            CheckpointError: the model is not a classifier.
            InputError: the piece cannot be read, has no notes or is not for piano.
        """
        return self.classifier.classify(as_piece(piece))

    def tokens(self, piece: GivenPiece) -> PieceTokens:
        """Return a piece as the tokens that this model reads.

        Args:
            piece: a solo-piano piece, or the path of a MIDI file.

        Returns:
            Ids (n,), their kinds and names, the note that each belongs to, and the m notes with
            onset and duration in ms.

        Raises:
            InputError: the piece cannot be read, has no notes or is not for piano.
        """
        return _only(inspection.tokens(self, (piece,)))

    def tokens_many(self, pieces: Iterable[GivenPiece]) -> Iterator[PieceTokens | InputError]:
        """Give ``tokens`` of many pieces in order; what cannot be used gives its reason."""
        return inspection.tokens(self, pieces)

    def logprobs(self, piece: GivenPiece, *, context: int | None = None) -> LogProbs:
        """Return how likely this model finds every token of a piece, given those before it.

        It is the model alone that counts, without grammar and temperature.

        Args:
            piece: a solo-piano piece, or the path of a MIDI file.
            context: tokens that are read at once; a longer piece is read in windows that overlap
                by half. The model's own by default, 2,048 at most.

        Returns:
            Log-probabilities and entropy (n,) in nats, NaN for the prefix; ``per_note`` (m,).

        Raises:
            CheckpointError: the model does not generate.
            InputError: the piece cannot be read, has no notes or is not for piano.
            UsageError: the context is too short, or longer than the model's.
        """
        return _only(inspection.logprobs(self, (piece,), context=context))

    def logprobs_many(
        self, pieces: Iterable[GivenPiece], *, context: int | None = None
    ) -> Iterator[LogProbs | InputError]:
        """Give ``logprobs`` of many pieces in order; what cannot be used gives its reason."""
        return inspection.logprobs(self, pieces, context=context)

    def states(
        self,
        piece: GivenPiece,
        *,
        layers: Sequence[int] | int = -1,
        per: str = "note",
        context: int | None = None,
    ) -> States:
        """Return hidden states of a piece, in float32 whatever the precision that plays.

        Args:
            piece: a solo-piano piece, or the path of a MIDI file.
            layers: 0 (embedded tokens) to L (behind the final norm), or from the end, -1 the last.
            per: ``note``, the state at the last token of each, or ``token``.
            context: tokens that are read at once, as for ``logprobs``.

        Returns:
            States (layers, m, D) of m notes, or (layers, n, D) of n tokens.

        Raises:
            InputError: the piece cannot be read, has no notes or is not for piano.
            UsageError: there is no such layer, or the context does not fit the model.
        """
        return _only(inspection.states(self, (piece,), layers=layers, per=per, context=context))

    def states_many(
        self,
        pieces: Iterable[GivenPiece],
        *,
        layers: Sequence[int] | int = -1,
        per: str = "note",
        context: int | None = None,
    ) -> Iterator[States | InputError]:
        """Give ``states`` of many pieces in order; what cannot be used gives its reason."""
        return inspection.states(self, pieces, layers=layers, per=per, context=context)

    def attention(
        self, piece: GivenPiece, *, layers: Sequence[int] | int = -1, per: str = "note"
    ) -> Attention:
        """Return where each head looks while the model reads a piece, in float32.

        Args:
            piece: a solo-piano piece, or the path of a MIDI file, that fits into the context.
            layers: 1..L, or from the end, -1 the last; a layer takes 4 H n² bytes.
            per: ``note`` or ``token``.

        Returns:
            Shares (layers, H, m, m) from notes (third axis) to notes, or (layers, H, n, n).

        Raises:
            InputError: the piece cannot be read, has no notes, is not for piano or is too long.
            UsageError: there is no such layer.
        """
        return _only(inspection.attention(self, (piece,), layers=layers, per=per))

    def attention_many(
        self, pieces: Iterable[GivenPiece], *, layers: Sequence[int] | int = -1, per: str = "note"
    ) -> Iterator[Attention | InputError]:
        """Give ``attention`` of many pieces in order; what cannot be used gives its reason."""
        return inspection.attention(self, pieces, layers=layers, per=per)

    @property
    def default_takes(self) -> int:
        """How many takes ``generate`` chooses from where nothing is asked for."""
        from arietta.generation.takes import default_takes

        return default_takes(self.checkpoint.config.parameter_count())

    @property
    def provenance(self) -> dict[str, Any]:
        """Model and its hash, how it runs; JSON values. Hashing a big file takes seconds once."""
        return {
            "model": self.name,
            "model_sha256": self.checkpoint.sha256,
            **self._provenance,
        }

    @with_keywords(Request, SamplingSettings, Steering, leave_out=("variations", "first_variation"))
    def generate(
        self,
        prompt: Piece | str | PathLike[str] | None = None,
        *,
        settings: SamplingSettings | None = None,
        preset: str | None = None,
        variation: int | None = None,
        report: Callable[[GenerationProgress], None] | None = None,
        **options: Unpack[GenerateOptions],
    ) -> Continuation:
        """Continue a prompt, or improvise from nothing.

        Args:
            prompt: a piece or the path of a MIDI file; None starts from scratch.
            settings: how tokens are drawn; the default preset's way by default.
            preset: or a name for it: ``faithful``, ``balanced`` or ``adventurous``.
            variation: number of one of the seed's takes, to make it alone; the best of several
                by default.
            report: called after every step.
            options: fields of ``Request``, ``SamplingSettings`` (each changes one number of
                ``settings`` or ``preset``) and ``Steering``; see ``generation.settings``.

        Raises:
            InputError: the prompt cannot be read or has no notes.
            UsageError: an option is out of range.
        """
        if variation is not None and (options.get("of") or 1) > 1:
            raise UsageError("`variation` names one take; `of` chooses among several")
        many = self.default_takes if variation is None else 1
        stream = self._start(prompt, 1, variation or 0, settings, preset, options, many)
        return stream.run(report)[0]

    @with_keywords(Request, SamplingSettings, Steering, leave_out=("first_variation",))
    def generate_many(
        self,
        prompt: Piece | str | PathLike[str] | None = None,
        *,
        variations: int = 4,
        settings: SamplingSettings | None = None,
        preset: str | None = None,
        report: Callable[[GenerationProgress], None] | None = None,
        **options: Unpack[GenerateOptions],
    ) -> list[Continuation]:
        """Make several continuations at once, much faster than one after the other.

        The best of ``of`` takes, the best of them first. See ``generate``.
        """
        many = self.default_takes
        return self._start(prompt, variations, 0, settings, preset, options, many).run(report)

    @with_keywords(Request, SamplingSettings, Steering, leave_out=("first_variation",))
    def stream(
        self,
        prompt: Piece | str | PathLike[str] | None = None,
        *,
        variations: int = 1,
        settings: SamplingSettings | None = None,
        preset: str | None = None,
        **options: Unpack[GenerateOptions],
    ) -> ContinuationStream:
        """Give notes while later ones are still being decided: iterate over what is returned.

        The notes are those of all takes; only as many as there are variations, unless ``of`` asks
        for more. See ``generate``; ``cancel`` and ``results`` of the stream serve to stop early.
        """
        return self._start(prompt, variations, 0, settings, preset, options, takes=1)

    @with_keywords(FillRequest, SamplingSettings, Steering, leave_out=("grammar",))
    def fill(
        self,
        piece: Piece | str | PathLike[str],
        *,
        settings: SamplingSettings | None = None,
        preset: str | None = None,
        report: Callable[[GenerationProgress], None] | None = None,
        **options: Unpack[FillOptions],
    ) -> list[FilledPiece]:
        """Fill a gap in a piece in several ways, the smoothest first.

        Args:
            piece: a piece or the path of a MIDI file.
            settings, preset: how tokens are drawn, as for ``generate``.
            report: called after every step.
            options: fields of ``FillRequest`` (the gap, what of it stays), ``SamplingSettings``
                and ``Steering``.

        Raises:
            InputError: the piece cannot be read, or has nothing there.
            UsageError: an option is out of range, or the model does not know it.
        """
        return self.stream_fill(piece, settings=settings, preset=preset, **options).run(report)

    @with_keywords(FillRequest, SamplingSettings, Steering, leave_out=("grammar",))
    def stream_fill(
        self,
        piece: Piece | str | PathLike[str],
        *,
        settings: SamplingSettings | None = None,
        preset: str | None = None,
        **options: Unpack[FillOptions],
    ) -> PieceFillStream:
        """Give the new notes of a gap while later ones are still being decided.

        Iterate over what is returned: these are the notes of all takes, each with its number as
        ``variation``. ``cancel`` and ``results`` serve to stop early. See ``fill``.
        """
        wanted, drawn, steered = split_options(options, FillRequest, SamplingSettings, Steering)
        return self.start_fill(
            piece,
            FillRequest(**wanted),
            drawn,
            Steering(**steered),
            settings=settings,
            preset=preset,
        )

    def start_fill(
        self,
        piece: Piece | str | PathLike[str],
        request: FillRequest,
        changes: Mapping[str, Any],
        steering: Steering,
        *,
        settings: SamplingSettings | None = None,
        preset: str | None = None,
    ) -> PieceFillStream:
        """Start to fill a gap from whole groups of parameters; ``stream_fill`` takes single ones.

        A conditioned model is guided by what it should resemble; a model that has learned to fill
        gaps is told its density, register and loudness.

        Raises:
            CheckpointError: the model can resemble nothing.
            InputError: a piece cannot be read, or has nothing there.
            UsageError: an option is out of range.
        """
        from arietta.generation.engine import Guidance
        from arietta.generation.filling import PieceFillStream

        settings, origin = _settings_of(settings, preset, changes)
        if not settings.grammar:
            raise UsageError("a gap is filled by the grammar; do not switch `grammar` off")
        like, vector = None, steering.guidance_vector
        if steering.like is not None:
            like = as_piece(steering.like)
            origin["like"] = Path(like.source).name if like.source else None
            if not self.engine.tokenizer.vocabulary.filling:
                vector = self.likeness.embed(like).vector
        return PieceFillStream(
            self.engine,
            as_piece(piece),
            request,
            settings,
            guidance=None if vector is None else Guidance(vector, steering.guidance),
            like=like,
            provenance=lambda: {**self.provenance, **origin},
        )

    def _start(
        self,
        prompt: Piece | str | PathLike[str] | None,
        variations: int,
        first_variation: int,
        settings: SamplingSettings | None,
        preset: str | None,
        options: GenerateOptions,
        takes: int,
    ) -> ContinuationStream:
        wanted, drawn, steered = split_options(options, Request, SamplingSettings, Steering)
        if wanted.keys() & {"variations", "first_variation"}:
            raise UsageError("`variation` chooses one; `generate_many` makes several `variations`")
        request = Request(**wanted, variations=variations, first_variation=first_variation)
        return self.start(
            prompt,
            request.choosing_from(takes),
            drawn,
            Steering(**steered),
            settings=settings,
            preset=preset,
        )

    def start(
        self,
        prompt: Piece | str | PathLike[str] | None,
        request: Request,
        changes: Mapping[str, Any],
        steering: Steering,
        *,
        settings: SamplingSettings | None = None,
        preset: str | None = None,
        waits: bool = False,
    ) -> ContinuationStream:
        """Start a stream from whole groups of parameters; ``stream`` takes single ones.

        Args:
            prompt: as for ``generate``.
            request: length, prompt, seed and so on.
            changes: numbers of ``settings`` or ``preset`` to change.
            steering: music to resemble.
            settings, preset: as for ``generate``.
            waits: run nothing yet: a ``GenerationLoop`` will run the stream beside others.

        Raises:
            InputError: the prompt cannot be read or has no notes.
            UsageError: an option is out of range.
        """
        from arietta.generation.continuation import ContinuationStream
        from arietta.generation.engine import Guidance

        settings, origin = _settings_of(settings, preset, changes)
        vector = steering.guidance_vector
        if steering.like is not None:
            reference = as_piece(steering.like)
            vector = self.likeness.embed(reference).vector
            origin["like"] = Path(reference.source).name if reference.source else None
        return ContinuationStream(
            self.engine,
            None if prompt is None else as_piece(prompt),
            request,
            settings,
            guidance=None if vector is None else Guidance(vector, steering.guidance),
            provenance=lambda: {**self.provenance, **origin},
            waits=waits,
        )


def _settings_of(
    settings: SamplingSettings | None, preset: str | None, changes: Mapping[str, Any]
) -> tuple[SamplingSettings, dict[str, Any]]:
    """Return how tokens are drawn, and what to tell of it."""
    if settings is None:
        name = preset or DEFAULT_PRESET
        return settings_from(name, **changes), {"preset": name}
    if preset is not None:
        raise UsageError("give one of `settings` and `preset`, not both")
    return changed(settings, **changes), {}


def _only(found: Iterator[Found | InputError]) -> Found:
    """Return the result of a single piece, or raise the reason why there is none."""
    (one,) = found
    if isinstance(one, InputError):
        raise one
    return one


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
