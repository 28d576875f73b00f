"""A training run as data: YAML in, checked dataclasses out; unknown keys are refused."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from arietta.errors import InputError, UsageError
from arietta.models.config import AriaConfig


@dataclass(frozen=True)
class Stage:
    """A stretch of training at one sequence length.

    Attributes:
        until_tokens: the stage ends when the run has seen this many tokens.
        seq_len: tokens a row.
        rows: rows a step.
    """

    until_tokens: int
    seq_len: int
    rows: int


@dataclass(frozen=True)
class Recipe:
    """A language-model training run.

    Attributes:
        name: of the model that comes out.
        tokenizer: vocabulary of the token files.
        model: architecture.
        stages: in order; the last one's ``until_tokens`` ends the run.
        lr: peak learning rate, of both optimisers.
        warmup_tokens: linear warm-up.
        decay_tokens: linear decay to 0 over the last this many tokens.
        weight_decay: on matrices; norms and embeddings are left alone.
        momentum: of Muon (matrices of the layers).
        betas: of AdamW (embedding, head, norms).
        tag_share: share of rows that show composer and genre.
        seed: of weights and data order.
        valid_every_tokens: distance between validations.
        checkpoint_every_seconds: distance between saved states.
    """

    name: str
    tokenizer: str
    model: AriaConfig
    stages: tuple[Stage, ...]
    lr: float
    warmup_tokens: int
    decay_tokens: int
    weight_decay: float = 0.1
    momentum: float = 0.95
    betas: tuple[float, float] = (0.9, 0.95)
    tag_share: float = 0.5
    seed: int = 0
    valid_every_tokens: int = 1_000_000
    checkpoint_every_seconds: int = 180

    def __post_init__(self) -> None:
        ends = [s.until_tokens for s in self.stages]
        if not ends or ends != sorted(set(ends)):
            raise UsageError("recipe: stages need rising until_tokens")
        if self.lr <= 0:
            raise UsageError(f"recipe: lr must be above 0, got {self.lr}")
        longest = max(s.seq_len for s in self.stages)
        if longest > self.model.max_seq_len:
            raise UsageError(
                f"recipe: seq_len {longest} exceeds max_seq_len {self.model.max_seq_len}"
            )

    @property
    def total_tokens(self) -> int:
        """Tokens of the whole run."""
        return self.stages[-1].until_tokens

    def stage_at(self, tokens: int) -> Stage:
        """The stage that the run is in after so many tokens."""
        return next(s for s in self.stages if tokens < s.until_tokens)

    def lr_at(self, tokens: int) -> float:
        """Learning rate after so many tokens: warm-up, constant, linear decay to 0."""
        up = min(1.0, (tokens + 1) / max(1, self.warmup_tokens))
        down = min(1.0, (self.total_tokens - tokens) / max(1, self.decay_tokens))
        return self.lr * min(up, down)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as stored beside the run."""
        return asdict(self)


def load_recipe(path: Path) -> Recipe:
    """Read a YAML recipe.

    Raises:
        InputError: no such file, or it is not a mapping.
        UsageError: unknown or missing keys, or values out of range.
    """
    import yaml

    try:
        values = yaml.safe_load(path.read_text("utf8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML ({error})") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: a recipe is a mapping of keys to values")
    unknown = sorted(set(values) - {f.name for f in fields(Recipe)})
    if unknown:
        raise UsageError(f"{path}: unknown keys {unknown}")
    try:
        values["model"] = AriaConfig.from_dict(values["model"])
        values["stages"] = tuple(Stage(**s) for s in values["stages"])
        if "betas" in values:
            values["betas"] = tuple(values["betas"])
        return Recipe(**values)
    except (TypeError, KeyError) as error:
        raise UsageError(f"{path}: incomplete or misspelt ({error})") from None
