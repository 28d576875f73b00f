"""Architecture settings of the Aria decoder and the named sizes. No torch here."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from arietta.errors import CheckpointError
from arietta.models.aria.clock import WAIT_ROWS, clock_of

NORM_EPS = 1e-5
ROPE_BASE = 500_000.0


@dataclass(frozen=True)
class AriaConfig:
    """Settings of the decoder of arXiv 2506.23869 (specification D.1).

    Attributes:
        d_model: width of the residual stream; a multiple of ``2 * n_heads``.
        n_heads: attention heads.
        n_layers: decoder layers.
        ff_mult: inner width of the SwiGLU block = ff_mult * d_model.
        max_seq_len: context in tokens.
        vocab_size: rows of the embedding.
        embedding_size: width of a contrastive embedding head, and of the condition vector.
        class_size: classes of a classifier head.
        conditioned: whether an adapter for a condition vector stands before the language model.
        pooling: what a classifier head reads: ``end``, the hidden state at <E> (the paper), or
            ``full``, behind it the mean and the standard deviation of all states.
        resid_dropout: dropout of the last layer's residual branches, linear from 0 over the layers.
        waits: name of the vocabulary whose clock the model reads: it then embeds the time since the
            previous onset beside each onset, predicts onsets by that time too, and gives weight
            only to the kinds of token that may come next (see ``clock.py``). None, as in
            the published models: none of this.
    """

    d_model: int
    n_heads: int
    n_layers: int
    vocab_size: int
    ff_mult: int = 4
    max_seq_len: int = 8192
    embedding_size: int | None = None
    class_size: int | None = None
    conditioned: bool = False
    pooling: str = "end"
    resid_dropout: float = 0.0
    waits: str | None = None

    def __post_init__(self) -> None:
        for name in ("d_model", "n_heads", "n_layers", "vocab_size", "ff_mult", "max_seq_len"):
            if getattr(self, name) < 1:
                raise CheckpointError(f"model setting {name} must be at least 1")
        if self.d_model % (2 * self.n_heads):
            raise CheckpointError(
                f"model setting d_model ({self.d_model}) must be a multiple of"
                f" 2 * n_heads ({2 * self.n_heads})"
            )
        if self.pooling not in ("end", "full"):
            raise CheckpointError(f"model setting pooling is end or full, not {self.pooling!r}")
        if self.pooling == "full" and self.class_size is None:
            raise CheckpointError("model setting pooling: full is for classifiers")
        if not 0.0 <= self.resid_dropout < 1.0:
            raise CheckpointError("model setting resid_dropout must lie in [0, 1)")
        if self.waits is not None and clock_of(self.waits).size != self.vocab_size:
            raise CheckpointError(
                f"model setting waits names the vocabulary {self.waits} of"
                f" {clock_of(self.waits).size} ids, the model has {self.vocab_size}"
            )

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.d_model // self.n_heads

    @property
    def ff_dim(self) -> int:
        """Inner width of the feed-forward block."""
        return self.ff_mult * self.d_model

    @property
    def head(self) -> str:
        """Name of the output tensor: ``lm_head``, ``emb_head`` or ``class_head``."""
        if self.class_size is not None:
            return "class_head"
        if self.embedding_size is not None and not self.conditioned:
            return "emb_head"
        return "lm_head"

    @property
    def head_inputs(self) -> int:
        """Numbers that the head reads."""
        return 3 * self.d_model if self.pooling == "full" else self.d_model

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every tensor, under the public names (specification D.3)."""
        d, inner = self.d_model, self.ff_dim
        shapes: dict[str, tuple[int, ...]] = {"model.tok_embeddings.weight": (self.vocab_size, d)}
        for i in range(self.n_layers):
            layer = f"model.encode_layers.{i}."
            shapes[layer + "mixed_qkv.weight"] = (3 * d, d)
            shapes[layer + "att_proj_linear.weight"] = (d, d)
            shapes[layer + "ff_gate_proj.weight"] = (inner, d)
            shapes[layer + "ff_up_proj.weight"] = (inner, d)
            shapes[layer + "ff_down_proj.weight"] = (d, inner)
            for norm in ("norm1", "norm2"):
                shapes[f"{layer}{norm}.weight"] = (d,)
                shapes[f"{layer}{norm}.bias"] = (d,)
        shapes["model.out_layer_norm.weight"] = (d,)
        shapes["model.out_layer_norm.bias"] = (d,)
        rows = {
            "lm_head": self.vocab_size,
            "emb_head": self.embedding_size,
            "class_head": self.class_size,
        }[self.head]
        assert rows is not None
        shapes[f"{self.head}.weight"] = (rows, self.head_inputs)
        if self.waits is not None:
            shapes["model.wait_embeddings.weight"] = (WAIT_ROWS, d)
            if self.head == "lm_head":
                shapes["wait_head.weight"] = (WAIT_ROWS, d)
        if self.conditioned:
            shapes["embedding_adapter.weight"] = (d, self.embedding_size or 512)
        return shapes

    def parameter_count(self) -> int:
        """Return the number of parameters."""
        total = 0
        for shape in self.tensor_shapes().values():
            size = 1
            for n in shape:
                size *= n
            total += size
        return total

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a ``config.json``; what only newer models have is left out without."""
        values = asdict(self)
        if self.waits is None:
            del values["waits"]
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> AriaConfig:
        """Inverse of ``to_dict``.

        Raises:
            CheckpointError: a key is unknown or a needed one is missing.
        """
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise CheckpointError(f"unknown model settings {unknown}; known are {sorted(known)}")
        try:
            return cls(**values)
        except TypeError as error:
            raise CheckpointError(f"model settings are incomplete: {error}") from None


_MEDIUM = AriaConfig(d_model=1536, n_heads=24, n_layers=16, vocab_size=17_727)

PRESETS: dict[str, AriaConfig] = {
    "medium": _MEDIUM,
    "medium-emb": replace(_MEDIUM, embedding_size=512),
    "medium-conditioned": replace(_MEDIUM, embedding_size=512, conditioned=True),
    "small": AriaConfig(
        d_model=512,
        n_heads=8,
        n_layers=6,
        ff_mult=3,
        vocab_size=2_605,
        max_seq_len=2_048,
        waits="piano-fill",
    ),
    "tiny": AriaConfig(
        d_model=256, n_heads=4, n_layers=6, ff_mult=3, vocab_size=2_565, max_seq_len=2_048
    ),
    "tiny-waits": AriaConfig(
        d_model=256,
        n_heads=4,
        n_layers=6,
        ff_mult=3,
        vocab_size=2_605,
        max_seq_len=2_048,
        waits="piano-fill",
    ),
}
"""Named sizes: ``medium`` is the published one, ``small`` the one that is shipped, with a clock
(see ``clock.py``), ``tiny`` and ``tiny-waits`` one for two cores, without and with a clock."""
