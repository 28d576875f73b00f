"""Architecture settings of Pianist Transformer (arXiv 2512.02652) and its sizes. No torch here."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from arietta.errors import CheckpointError

SLOTS = 8
"""Ids of one note, which the encoder takes as one position."""


@dataclass(frozen=True)
class PianistConfig:
    """Settings of the note-compressing encoder and the decoder (specification section 2.1).

    Attributes:
        d_model: width of both residual streams; a multiple of 8, one part for each id of a note.
        ff_dim: inner width of the gated feed-forward blocks.
        n_heads: query heads.
        n_kv_heads: key and value heads; divides ``n_heads``.
        head_dim: width of one head; even. ``n_heads * head_dim`` may differ from ``d_model``.
        encoder_layers, decoder_layers: their numbers.
        vocab_size: ids.
        attention_divisor: scores are divided by its square root; the public model has 256 at
            heads of 128.
        max_notes: notes of one window; a window of the decoder has 8 times as many ids.
        rope_base: of the rotary angles.
        norm_eps: of the RMS norms.
        logit_cap: logits are ``cap * tanh(logits / cap)``.
    """

    d_model: int = 768
    ff_dim: int = 3072
    n_heads: int = 8
    n_kv_heads: int = 4
    head_dim: int = 128
    encoder_layers: int = 10
    decoder_layers: int = 2
    vocab_size: int = 5389
    attention_divisor: float = 256.0
    max_notes: int = 512
    rope_base: float = 10_000.0
    norm_eps: float = 1e-6
    logit_cap: float = 30.0

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise CheckpointError(f"model setting {field.name} must be above 0")
        if self.d_model % SLOTS:
            raise CheckpointError(
                f"model setting d_model ({self.d_model}) must be a multiple of {SLOTS}"
            )
        if self.n_heads % self.n_kv_heads:
            raise CheckpointError(
                f"model setting n_heads ({self.n_heads}) must be a multiple of n_kv_heads"
                f" ({self.n_kv_heads})"
            )
        if self.head_dim % 2:
            raise CheckpointError(f"model setting head_dim ({self.head_dim}) must be even")

    @property
    def scale(self) -> float:
        """What attention scores are multiplied by."""
        return float(self.attention_divisor**-0.5)

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every tensor that is used, under the public names (section 2.2)."""
        d, slot = self.d_model, self.d_model // SLOTS
        encoder = "model.encoder."
        shapes: dict[str, tuple[int, ...]] = {
            f"{encoder}embeddings.word_embeddings.weight": (self.vocab_size, d)
        }
        for i in range(SLOTS):
            shapes[f"{encoder}embeddings.projection_layers.{i}.weight"] = (slot, d)
            shapes[f"{encoder}embeddings.projection_layers.{i}.bias"] = (slot,)
        for i in range(self.encoder_layers):
            shapes.update(self._layer_shapes(f"{encoder}layers.{i}.", cross=False))
        shapes[f"{encoder}norm.weight"] = (d,)
        shapes["model.decoder.embed_tokens.weight"] = (self.vocab_size, d)
        for i in range(self.decoder_layers):
            shapes.update(self._layer_shapes(f"model.decoder.layers.{i}.", cross=True))
        shapes["model.decoder.norm.weight"] = (d,)
        return shapes

    def _layer_shapes(self, layer: str, *, cross: bool) -> dict[str, tuple[int, ...]]:
        d, wide, narrow = (
            self.d_model,
            self.n_heads * self.head_dim,
            self.n_kv_heads * self.head_dim,
        )
        shapes: dict[str, tuple[int, ...]] = {}
        for block in ("self_attn", "cross_attn") if cross else ("self_attn",):
            shapes[f"{layer}{block}.q_proj.weight"] = (wide, d)
            shapes[f"{layer}{block}.k_proj.weight"] = (narrow, d)
            shapes[f"{layer}{block}.v_proj.weight"] = (narrow, d)
            shapes[f"{layer}{block}.o_proj.weight"] = (d, wide)
            for side in ("pre", "post"):
                shapes[f"{layer}{side}_{block}_layernorm.weight"] = (d,)
        shapes[f"{layer}mlp.gate_proj.weight"] = (self.ff_dim, d)
        shapes[f"{layer}mlp.up_proj.weight"] = (self.ff_dim, d)
        shapes[f"{layer}mlp.down_proj.weight"] = (d, self.ff_dim)
        for side in ("pre", "post"):
            shapes[f"{layer}{side}_feedforward_layernorm.weight"] = (d,)
        return shapes

    def parameter_count(self) -> int:
        """Return the number of parameters that are used."""
        return sum(math.prod(shape) for shape in self.tensor_shapes().values())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a ``config.json``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PianistConfig:
        """Inverse of ``to_dict``.

        Raises:
            CheckpointError: a key is unknown or a value impossible.
        """
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise CheckpointError(f"unknown model settings {unknown}; known are {sorted(known)}")
        try:
            return cls(**values)
        except TypeError as error:
            raise CheckpointError(f"model settings are not numbers: {error}") from None


PIANIST_PRESETS: dict[str, PianistConfig] = {
    "pianist-135m": PianistConfig(),
    "pianist-small": PianistConfig(
        d_model=256,
        ff_dim=768,
        n_heads=4,
        n_kv_heads=2,
        head_dim=64,
        encoder_layers=6,
        decoder_layers=2,
        attention_divisor=64.0,
    ),
}
"""Named sizes: ``pianist-135m`` is the published one."""
