"""Read a recipe from YAML into checked dataclasses; unknown keys are refused.

A recipe is the name of a file in ``arietta/recipes`` or a path. ``variants`` holds several runs in
one file: each variant replaces some keys of the recipe.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from arietta.errors import InputError, UsageError
from arietta.models.aria.config import PRESETS, AriaConfig
from arietta.models.performer.config import PerformerConfig
from arietta.models.pianist.config import PIANIST_PRESETS, PianistConfig
from arietta.training.rows.augment import Ranges
from arietta.training.rows.stream import Mode
from arietta.vectors.classification import VOTES

RECIPES = Path(__file__).parents[1] / "recipes"
_T = TypeVar("_T")


@dataclass(frozen=True)
class Stage:
    """Describe a part of the training at one sequence length.

    Attributes:
        seq_len: tokens a row.
        rows: rows that one stream gives to a step; a device holds as many at once.
        until_tokens: the stage ends when the run has seen this many tokens.
        until_epochs: or this many passes over the train split.
    """

    seq_len: int
    rows: int
    until_tokens: int | None = None
    until_epochs: float | None = None

    def __post_init__(self) -> None:
        if (self.until_tokens is None) == (self.until_epochs is None):
            raise UsageError("recipe: a stage needs one of until_tokens and until_epochs")
        if min(self.seq_len, self.rows) < 1:
            raise UsageError("recipe: seq_len and rows of a stage must be at least 1")


@dataclass(frozen=True)
class Data:
    """Describe the training rows.

    Attributes:
        mode: ``packed``, ``aligned`` or ``separate``; see ``arietta.training.rows.stream``.
        tag_share: share of rows that show composer, form and genre where they are known.
        augment: ranges of the random changes; None for no change.
        jitter_ms: standard deviation of the change of inter-onset times.
        gap_share, tell_share: rows with gaps and with controls; see ``LoaderSettings``.
        share: share of the pieces of the train split that is used.
        block_pieces: number of pieces that are shuffled together.
        valid_rows: number of rows of the fixed validation set.
    """

    mode: Mode = "aligned"
    tag_share: float = 0.5
    augment: Ranges | None = None
    jitter_ms: float = 0.0
    gap_share: float = 0.0
    tell_share: float = 0.0
    share: float = 1.0
    block_pieces: int = 256
    valid_rows: int = 96


@dataclass(frozen=True)
class Optimiser:
    """Describe the optimiser.

    Attributes:
        kind: ``adamw``, or ``muon`` for the matrices of the layers with AdamW for the rest.
        lr: peak learning rate.
        betas, eps: settings of AdamW.
        weight_decay: decay of AdamW: of all parameters with ``decay_all``, else of matrices only.
        decay_all: whether norms and embeddings decay too, as in the paper.
        momentum: momentum of Muon.
        clip_norm: largest norm of the gradient; None for no clipping, as in the paper.
    """

    lr: float
    kind: str = "adamw"
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-5
    weight_decay: float = 0.1
    decay_all: bool = True
    momentum: float = 0.95
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("adamw", "muon"):
            raise UsageError(f"recipe: optimiser kind is adamw or muon, not {self.kind!r}")
        if not self.lr > 0:
            raise UsageError(f"recipe: lr must be above 0, got {self.lr}")


@dataclass(frozen=True)
class Schedule:
    """Describe the learning rate over the optimiser steps of the whole run.

    With ``minutes`` in the recipe the clock takes the place of the steps.

    Attributes:
        warmup_steps: linear rise from 1e-6 of the peak.
        shape: ``linear`` or ``cosine`` down to ``end_ratio`` over the other steps; ``trapezoid``
            stays at the peak and falls linearly over the last ``decay_share``.
        end_ratio: last rate as a share of the peak.
        decay_share: share of the steps over which the rate falls; trapezoid only.
    """

    warmup_steps: int = 0
    shape: str = "linear"
    end_ratio: float = 0.1
    decay_share: float = 0.3

    def __post_init__(self) -> None:
        if self.shape not in ("linear", "cosine", "trapezoid"):
            raise UsageError(
                f"recipe: schedule shape is linear, cosine or trapezoid, not {self.shape!r}"
            )
        if not (0 <= self.end_ratio <= 1 and 0 < self.decay_share <= 1 and self.warmup_steps >= 0):
            raise UsageError(
                "recipe: end_ratio and decay_share lie in 0..1, warmup_steps not below 0"
            )

    def factor(self, step: int, total: int) -> float:
        """Return the share of the peak rate at a step from 0 on; ``end_ratio`` after the last step.

        ``linear`` is the published schedule (specification F).
        """
        if step < self.warmup_steps:
            return 1e-6 + (1 - 1e-6) * step / self.warmup_steps
        rest = total - self.warmup_steps
        if self.shape == "trapezoid":
            rest = min(rest, math.ceil(total * self.decay_share))
        progress = min(1.0, max(0.0, (step - (total - rest)) / max(1, rest)))
        if self.shape == "cosine":
            progress = 0.5 - 0.5 * math.cos(math.pi * progress)
        return 1 + (self.end_ratio - 1) * progress


@dataclass(frozen=True)
class Lora:
    """Describe low-rank adapters on all matrices of the layers (peft library).

    Attributes:
        rank: rank of the adapters.
        alpha: the scale of the adapters is alpha / rank.
        dropout: dropout before the adapters.
    """

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0


@dataclass(frozen=True)
class Contrastive:
    """Describe contrastive training: views of one piece near each other (paper section 3.3).

    Attributes:
        min_notes, max_notes: range of the notes of a view.
        temperature: temperature of the loss; 0.1 in the paper, 0.5 by default in its code.
        negatives: ``all`` as in the paper's equation, or ``cross-view`` as in its code.
        same_source: see ``arietta.training.rows.slices.SlicePairSettings``.
        embedding_size: size of the embedding head.
    """

    min_notes: int = 100
    max_notes: int = 650
    temperature: float = 0.1
    negatives: str = "all"
    same_source: int = 0
    embedding_size: int = 512

    def __post_init__(self) -> None:
        if self.negatives not in ("all", "cross-view"):
            raise UsageError(
                f"recipe: contrastive.negatives is all or cross-view, not {self.negatives!r}"
            )
        if not self.temperature > 0 or self.embedding_size < 1:
            raise UsageError("recipe: contrastive temperature and embedding_size lie above 0")


@dataclass(frozen=True)
class Classify:
    """Describe a classifier: one class for each piece (specification F).

    Attributes:
        label: field of the pieces' metadata that holds the class.
        classes: names of the classes in order; by default all classes of the train split.
        min_notes, max_notes: range of the notes of a training slice; validation uses slices of
            ``max_notes``, at most eight of each piece.
        weighted: whether rare classes have larger weights, so that all classes count the same.
        per_class: largest number of pieces of each class to train on; None for all.
        head: ``fresh`` for random weights, as in the paper; ``probe`` for the best linear head on
            a frozen embedding model.
        votes: what is averaged over the slices of a piece, weighted by their tokens: ``shares``, as
            in the paper, or ``logits``, as in the fit of a linear head.
        pooling: what the head reads: ``end``, the state at <E>, as in the paper; ``full``, this
            state followed by the mean and the standard deviation of all states.
    """

    label: str = "label"
    classes: tuple[str, ...] | None = None
    min_notes: int = 100
    max_notes: int = 300
    weighted: bool = True
    per_class: int | None = None
    head: str = "fresh"
    votes: str = "shares"
    pooling: str = "end"

    def __post_init__(self) -> None:
        if self.head not in ("fresh", "probe"):
            raise UsageError(f"recipe: classify.head is fresh or probe, not {self.head!r}")
        if self.votes not in VOTES:
            known = " or ".join(VOTES)
            raise UsageError(f"recipe: classify.votes is {known}, not {self.votes!r}")
        if self.classes is not None and len(set(self.classes)) < 2:
            raise UsageError("recipe: classify.classes names two classes at least, or is null")


@dataclass(frozen=True)
class Perform:
    """Describe the training of a renderer on aligned pairs (``arietta data pairs``).

    Attributes:
        where: metadata that every pair must have, such as ``{robust: "1"}``.
        apart: metadata of pairs whose music is kept out, also where other pairs hold it under
            another name; the published test set by default.
        valid: metadata of the validation pairs, which are not trained on. If no pair matches, a
            tenth of the pieces, one at least, chosen by a hash of their names.
        dropout: dropout of the model.
        transpose: largest random transposition up and down, in semitones.
        hide: share of the windows without hands, share of those without the velocities of the
            score, and share of those whose tempo has a random factor.
    """

    where: Mapping[str, str] = field(default_factory=dict)
    apart: Mapping[str, str] = field(default_factory=lambda: {"pt_test": "1"})
    valid: Mapping[str, str] = field(default_factory=lambda: {"split": "valid"})
    dropout: float = 0.1
    transpose: int = 6
    hide: float = 0.3


@dataclass(frozen=True)
class Denoise:
    """Describe masked denoising of performances (arXiv 2512.02652).

    Attributes:
        mask_share: share of the ids that are masked; 0.3 in the published code; the appendix of
            the paper finds 0.45 better.
    """

    mask_share: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.mask_share < 1:
            raise UsageError(f"recipe: denoise.mask_share lies in 0..1, not {self.mask_share}")


@dataclass(frozen=True)
class Play:
    """Describe the training from score ids to performance ids on aligned pairs.

    Attributes:
        where, apart, valid: see ``Perform``.
    """

    where: Mapping[str, str] = field(default_factory=dict)
    apart: Mapping[str, str] = field(default_factory=lambda: {"pt_test": "1"})
    valid: Mapping[str, str] = field(default_factory=lambda: {"split": "valid"})


@dataclass(frozen=True)
class Conditioned:
    """Describe the training of continuations that resemble an example (specification E.4).

    Attributes:
        embeddings: vectors of the pieces of the dataset, as ``arietta embed DATASET`` writes them.
        free_share: share of the rows without a vector.
        mixed_share: share of the other rows that begin with another piece than that of the vector.
    """

    embeddings: str | None = None
    free_share: float = 0.15
    mixed_share: float = 0.0

    def __post_init__(self) -> None:
        for name in ("free_share", "mixed_share"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(
                    f"recipe: conditioned.{name} lies in 0..1, not {getattr(self, name)}"
                )


_TABLES = ("contrastive", "classify", "conditioned", "perform", "denoise", "play")
"""Tasks that have their own table in a recipe."""

TASKS = ("next-token", *_TABLES)


@dataclass(frozen=True)
class Recipe:
    """Describe a training run.

    Attributes:
        name: name of the trained model.
        task: one of ``TASKS``.
        optimiser, schedule, data, lora: see their classes.
        contrastive, classify, conditioned, perform, denoise, play: settings of one task each.
        stages: in order; the last one ends the run.
        minutes: the run ends after this many minutes of its own time, if the stages do not end it
            earlier, and the learning rate follows whichever end is nearer; None for no limit.
        model: architecture; may be omitted if ``init`` names a model.
        init: model to start from; None for fresh weights.
        layers: which layers of ``init`` to start with, from 0, for a smaller model; None for all.
        teacher: model whose probabilities are learned instead of the tokens themselves; None for
            the tokens.
        tokenizer: vocabulary.
        streams: number of data streams; one step takes ``rows`` from each. The batch of a step does
            not depend on the number of processes: fewer processes accumulate gradients.
        precision: ``bf16`` autocast or ``f32``.
        compile: run the model through torch.compile.
        structured: whether tables of token vectors share feature vectors while they are trained,
            see ``arietta.training.structured``.
        grad_checkpoint: recompute activations in the backward pass to save memory.
        resid_dropout: replaces the dropout of the architecture.
        seed: seed of weights and data order.
        valid_every_steps: steps between validations; the run always ends with a validation.
        patience: the run ends after this many validations without improvement and exports the best
            model; None: the run does not end early and exports the last model.
        samples_every_steps: steps between sample continuations; 0 for no samples.
        checkpoint_every_seconds, keep: seconds between saved states, and how many are kept.
    """

    name: str
    optimiser: Optimiser
    stages: tuple[Stage, ...]
    task: str = "next-token"
    model: AriaConfig | PerformerConfig | PianistConfig | None = None
    init: str | None = None
    layers: tuple[int, ...] | None = None
    teacher: str | None = None
    tokenizer: str = "piano"
    schedule: Schedule = field(default_factory=Schedule)
    data: Data = field(default_factory=Data)
    lora: Lora | None = None
    contrastive: Contrastive | None = None
    classify: Classify | None = None
    conditioned: Conditioned | None = None
    perform: Perform | None = None
    denoise: Denoise | None = None
    play: Play | None = None
    minutes: float | None = None
    streams: int = 1
    precision: str = "bf16"
    compile: bool = False
    structured: bool = False
    grad_checkpoint: bool = False
    resid_dropout: float | None = None
    seed: int = 0
    valid_every_steps: int = 200
    patience: int | None = None
    samples_every_steps: int = 0
    checkpoint_every_seconds: float = 180.0
    keep: int = 2

    def __post_init__(self) -> None:
        if not self.stages:
            raise UsageError("recipe: stages is empty")
        if self.task not in TASKS:
            raise UsageError(f"recipe: task is one of {', '.join(TASKS)}, not {self.task!r}")
        for table in _TABLES:
            if (getattr(self, table) is not None) != (self.task == table):
                raise UsageError(f"recipe: task: {table} and a table {table} go together")
        if self.model is None and self.init is None:
            raise UsageError("recipe: give a model (its settings) or an init (a trained model)")
        if self.classify is not None and self.classify.head == "probe" and self.init is None:
            raise UsageError("recipe: classify.head: probe needs an embedding model in init")
        if self.lora is not None and self.init is None:
            raise UsageError("recipe: lora adapts a trained model; name it in init")
        if self.layers is not None and (
            not self.layers
            or len(set(self.layers)) < len(self.layers)
            or self.init is None
            or self.model is not None
        ):
            raise UsageError("recipe: layers names layers of init, each once, and replaces model")
        if self.teacher is not None and self.task != "next-token":
            raise UsageError("recipe: a teacher goes with task: next-token")
        if self.precision not in ("bf16", "f32"):
            raise UsageError(f"recipe: precision is bf16 or f32, not {self.precision!r}")
        if min(self.streams, self.keep, self.patience or 1) < 1:
            raise UsageError("recipe: streams, keep and patience must be at least 1")
        if self.minutes is not None and not self.minutes > 0:
            raise UsageError(f"recipe: minutes must be above 0, got {self.minutes}")
        longest = max(s.seq_len for s in self.stages)
        if isinstance(self.model, AriaConfig) and longest > self.model.max_seq_len:
            raise UsageError(
                f"recipe: seq_len {longest} exceeds max_seq_len {self.model.max_seq_len}"
            )

    def step_tokens(self, stage: Stage) -> int:
        """Return the tokens of an optimiser step, padding included."""
        views = 2 if self.task == "contrastive" else 1
        return self.streams * stage.rows * views * stage.seq_len

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for storage; ``recipe_from`` reads them back."""
        return asdict(self)


@dataclass(frozen=True)
class PlannedStage:
    """Describe a stage in optimiser steps, from ``first_step`` up to ``end_step``."""

    stage: Stage
    first_step: int
    end_step: int


def plan(recipe: Recipe, epoch_tokens: int) -> list[PlannedStage]:
    """Convert the stages of a recipe to optimiser steps.

    Args:
        recipe: the run.
        epoch_tokens: tokens of one pass over the train split.

    Raises:
        UsageError: a stage ends before the previous one.
    """
    planned: list[PlannedStage] = []
    step = tokens = 0
    for stage in recipe.stages:
        end = (
            stage.until_tokens
            if stage.until_tokens is not None
            else round((stage.until_epochs or 0) * epoch_tokens)
        )
        per_step = recipe.step_tokens(stage)
        # A first stage of 0 epochs exports the initial model with its head.
        least = 1 if not planned and stage.until_epochs != 0 else 0
        steps = max(least, round((end - tokens) / per_step))
        if end <= tokens and planned:
            raise UsageError(
                f"recipe: a stage ends at {end} tokens, where the one before is at {tokens}"
            )
        planned.append(PlannedStage(stage, step, step + steps))
        step, tokens = step + steps, tokens + steps * per_step
    return planned


def recipe_from(values: Mapping[str, Any], *, source: str = "recipe") -> Recipe:
    """Build a recipe from plain values.

    Raises:
        UsageError: unknown or missing keys, or values out of range.
    """
    given = dict(values)
    if isinstance(given.get("model"), Mapping):
        settings = dict(given["model"])
        if given.get("task") == "perform":
            given["model"] = PerformerConfig.from_dict(settings)
        elif given.get("task") in ("denoise", "play"):
            given["model"] = PianistConfig.from_dict(settings)
        else:
            given["model"] = AriaConfig.from_dict(settings)
    if isinstance(given.get("data"), Mapping):
        data = dict(given["data"])
        if isinstance(data.get("augment"), Mapping):
            data["augment"] = _build(Ranges, data["augment"], f"{source}: data.augment")
        given["data"] = _build(Data, data, f"{source}: data")
    for key, kind in (
        ("optimiser", Optimiser),
        ("schedule", Schedule),
        ("lora", Lora),
        ("contrastive", Contrastive),
        ("classify", Classify),
        ("conditioned", Conditioned),
        ("perform", Perform),
        ("denoise", Denoise),
        ("play", Play),
    ):
        if isinstance(given.get(key), Mapping):
            part = dict(given[key])
            for several in ("betas", "classes"):
                if part.get(several) is not None:
                    part[several] = tuple(part[several])
            given[key] = _build(kind, part, f"{source}: {key}")
    stages = given.get("stages", ())
    if not isinstance(stages, Sequence) or isinstance(stages, str):
        raise UsageError(f"{source}: stages is a list")
    given["stages"] = tuple(
        s if isinstance(s, Stage) else _build(Stage, s, f"{source}: stages") for s in stages
    )
    if given.get("layers") is not None:
        given["layers"] = tuple(given["layers"])
    return _build(Recipe, given, source)


def _build(kind: type[_T], values: Mapping[str, Any], source: str) -> _T:
    if not isinstance(values, Mapping):
        raise UsageError(f"{source}: must be a table of keys and values, not {values!r}")
    known = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    if unknown := sorted(set(values) - set(known)):
        raise UsageError(f"{source}: unknown keys {unknown}; known are {', '.join(known)}")
    for name, hint in get_type_hints(kind).items():
        if name in values and not _fits(values[name], hint):
            wanted = _described(hint)
            raise UsageError(f"{source}: {name} must be {wanted}, not {values[name]!r}")
    try:
        return kind(**values)
    except TypeError as error:
        raise UsageError(f"{source}: incomplete or misspelt ({error})") from None


def _fits(value: Any, hint: Any) -> bool:
    """Return whether a value of a recipe has the type of its field."""
    origin = get_origin(hint)
    if origin is Literal:
        return value in get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    if origin is tuple:
        return isinstance(value, list | tuple)
    if origin is not None:
        return isinstance(value, origin)
    if hint in (int, float):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and (hint is float or float(value).is_integer())
    return isinstance(value, hint)


def _described(hint: Any) -> str:
    """Return what values of a type are called in a recipe."""
    origin = get_origin(hint)
    if origin is Literal:
        return " or ".join(get_args(hint))
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(_described, get_args(hint))))
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    if hint in names:
        return names[hint]
    if hint is type(None):
        return "null"
    return "a list" if origin is tuple else "a table of keys and values"


def recipe_names() -> list[str]:
    """Return the names of the recipes that arietta includes."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def load_recipes(
    name_or_path: str | Path, changes: Sequence[str] = (), *, variant: str | None = None
) -> dict[str, Recipe]:
    """Read a recipe and its variants.

    Args:
        name_or_path: name of a recipe that arietta includes, or path of a YAML file.
        changes: ``key=value`` or ``part.key=value``; values are YAML.
        variant: name of one variant to load; None for all.

    Returns:
        Variant name -> recipe; one entry with the name "" where the file has no variants.

    Raises:
        InputError: the file does not exist or is not a mapping.
        UsageError: unknown or missing keys, values out of range, no such variant.
    """
    import yaml

    path = RECIPES / f"{name_or_path}.yaml"
    if not path.is_file():
        path = Path(name_or_path)
    if not path.is_file():
        raise InputError(
            f"{name_or_path}: no such recipe; there are {', '.join(recipe_names())},"
            " or give the path of a YAML file"
        )
    try:
        values = yaml.safe_load(path.read_text("utf8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: a recipe is a mapping of keys to values")
    _open_preset(values, str(path))
    variants = values.pop("variants", None) or {"": {}}
    if variant is not None:
        if variant not in variants:
            raise UsageError(f"{path}: no variant {variant!r}; it has {', '.join(variants)}")
        variants = {variant: variants[variant]}
    found = {}
    for name, replaced in variants.items():
        merged = copy.deepcopy(values)
        for key, value in replaced.items():
            _set(merged, key.split("."), value)
        _open_preset(merged, str(path))
        if name:
            merged["name"] = f"{merged.get('name', path.stem)}-{name}"
        for change in changes:
            key, sign, text = change.partition("=")
            if not sign:
                raise UsageError(f"`changes` {change}: write key=value, such as optimiser.lr=1e-3")
            try:
                _set(merged, key.strip().split("."), _number(yaml.safe_load(text)))
            except yaml.YAMLError:
                raise UsageError(f"`changes` {change}: the value is not YAML") from None
            _open_preset(merged, f"`changes` {change}")
        found[str(name)] = recipe_from(merged, source=str(path))
    return found


def _open_preset(values: dict[str, Any], source: str) -> None:
    """Replace the name of a model's preset by its settings.

    Raises:
        UsageError: there is no such preset.
    """
    name = values.get("model")
    if not isinstance(name, str):
        return
    presets: dict[str, AriaConfig | PianistConfig] = {**PRESETS, **PIANIST_PRESETS}
    if name not in presets:
        raise UsageError(f"{source}: model {name!r} is not one of {', '.join(presets)}")
    values["model"] = presets[name].to_dict()


def _number(value: Any) -> Any:
    """Convert text such as 1e-3, which YAML 1.1 reads as a string, to a number."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _set(values: Any, keys: Sequence[str], value: Any) -> None:
    """Set a nested key; a number picks an entry of a list."""
    for position, key in enumerate(keys):
        last = position == len(keys) - 1
        where = ".".join(keys[: position + 1])
        if isinstance(values, list):
            if not key.lstrip("-").isdigit() or not -len(values) <= int(key) < len(values):
                raise UsageError(f"`changes` {where}: give a number up to {len(values) - 1}")
            if last:
                values[int(key)] = value
            else:
                values = values[int(key)]
        elif isinstance(values, dict):
            if last:
                values[key] = value
            else:
                if values.get(key) is None:
                    values[key] = {}
                values = values[key]
        else:
            raise UsageError(
                f"`changes` {where}: {keys[position - 1]} holds one value, not a table"
            )
