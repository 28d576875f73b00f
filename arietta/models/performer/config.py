"""Architecture settings of the small rendering model. No torch here."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from arietta.errors import CheckpointError

OUTPUTS = (
    "velocity",
    "tempo",
    "articulation",
    "spread",
    "pedal 1",
    "pedal 2",
    "pedal 3",
    "pedal 4",
)
"""Values that the model gives for each row of a score: the first three in standard deviations of
the performance, the spread inside a chord in units of 20 ms, the pedal as log odds of being down at
four places of the time to the next chord."""

TIME_SCALE = 4.0
"""Positions of written time count in sixteenths."""


@dataclass(frozen=True)
class PerformerConfig:
    """Settings of a bidirectional transformer over the notes of a score, one position a note.

    Attributes:
        d_model: width of the residual stream.
        n_heads: attention heads; even, for half of them turn with the row, half with written time.
        n_layers: layers.
        ff_mult: inner width of the SwiGLU block = ff_mult * d_model.
        n_features: numbers that describe a row, see ``notation.features``.
        max_notes: rows of a window.
        members: models of this size whose answers are averaged.
    """

    d_model: int = 192
    n_heads: int = 6
    n_layers: int = 6
    ff_mult: int = 3
    n_features: int = 36
    max_notes: int = 512
    members: int = 1

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise CheckpointError(f"model setting {field.name} must be at least 1")
        if self.n_heads % 2 or self.d_model % (2 * self.n_heads):
            raise CheckpointError(
                f"model settings n_heads ({self.n_heads}) must be even and d_model"
                f" ({self.d_model}) a multiple of 2 * n_heads"
            )

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.d_model // self.n_heads

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every tensor; those of each member behind ``member_prefix``."""
        return {
            member_prefix(member) + name: shape
            for member in range(self.members)
            for name, shape in self._member_shapes().items()
        }

    def _member_shapes(self) -> dict[str, tuple[int, ...]]:
        d, inner = self.d_model, self.ff_mult * self.d_model
        shapes: dict[str, tuple[int, ...]] = {
            "pitch.weight": (128, d),
            "pitch_class.weight": (12, d),
            "features.weight": (d, self.n_features),
            "features.bias": (d,),
        }
        for i in range(self.n_layers):
            layer = f"layers.{i}."
            shapes[layer + "qkv.weight"] = (3 * d, d)
            shapes[layer + "out.weight"] = (d, d)
            shapes[layer + "gate.weight"] = (inner, d)
            shapes[layer + "up.weight"] = (inner, d)
            shapes[layer + "down.weight"] = (d, inner)
            for norm in ("norm1", "norm2"):
                shapes[f"{layer}{norm}.weight"] = (d,)
                shapes[f"{layer}{norm}.bias"] = (d,)
        shapes["norm.weight"] = shapes["norm.bias"] = (d,)
        shapes["head.weight"] = (len(OUTPUTS), d)
        shapes["head.bias"] = (len(OUTPUTS),)
        return shapes

    def parameter_count(self) -> int:
        """Return the number of parameters."""
        return sum(math.prod(shape) for shape in self.tensor_shapes().values())

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PerformerConfig:
        """Inverse of ``to_dict``.

        Raises:
            CheckpointError: unknown or missing settings.
        """
        values = {"members": 1, **values}  # older files have one
        known = {field.name for field in fields(cls)}
        if set(values) != known:
            raise CheckpointError(
                f"model settings {sorted(set(values) ^ known)}: unknown or missing"
            )
        return cls(**values)


def member_prefix(member: int) -> str:
    """Return what stands before the names of a member's tensors; nothing before the first one's."""
    return f"member.{member}." if member else ""


SPREAD_MS = 20.0
"""Unit of a note's distance from the mean of its chord."""


PEDAL_PLACES = (0.0, 0.25, 0.5, 0.75)
"""Places of the time to the next chord at which the pedal is decided."""
