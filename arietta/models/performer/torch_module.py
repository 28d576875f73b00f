"""The small rendering model: a bidirectional transformer over the notes of a score.

One position a note, all of a window read at once, and every output at once: what a pianist does
with a note depends on what is written around it, before and behind. Pianist Transformer (arXiv
2512.02652) compresses a note to one position in its encoder as well; this model leaves out the
decoder that draws one performance id by id, and gives the mean of what pianists do instead.
Shapes: B windows, T notes, D = d_model, H heads, K = D / H.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arietta.models.aria.config import NORM_EPS
from arietta.models.aria.torch_module import rotary_table, rotate
from arietta.models.performer.config import (
    OUTPUTS,
    TIME_SCALE,
    PerformerConfig,
    member_prefix,
)


class PerformerLayer(nn.Module):
    """One pre-norm layer: attention over all notes, then SwiGLU."""

    def __init__(self, config: PerformerConfig, dropout: float) -> None:
        super().__init__()
        d, inner = config.d_model, config.ff_mult * config.d_model
        self.n_heads, self.dropout = config.n_heads, dropout
        self.qkv = nn.Linear(d, 3 * d, bias=False)
        self.out = nn.Linear(d, d, bias=False)
        self.gate = nn.Linear(d, inner, bias=False)
        self.up = nn.Linear(d, inner, bias=False)
        self.down = nn.Linear(inner, d, bias=False)
        self.norm1 = nn.LayerNorm(d, eps=NORM_EPS)
        self.norm2 = nn.LayerNorm(d, eps=NORM_EPS)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> Tensor:
        """x (B, T, D) one layer further; tables (B, H, T, K/2); mask (B, 1, 1, T) True = seen."""
        b, t, d = x.shape
        qkv = self.qkv(self.norm1(x)).view(b, t, 3, self.n_heads, d // self.n_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, H, T, K)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        attended = attended.transpose(1, 2).reshape(b, t, d)
        x = x + F.dropout(self.out(attended), self.dropout, self.training)
        y = self.norm2(x)
        y = self.down(F.silu(self.gate(y)) * self.up(y))
        return x + F.dropout(y, self.dropout, self.training)


class Performer(nn.Module):
    """Notes of a score -> what pianists do with them, on average."""

    def __init__(self, config: PerformerConfig, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        d = config.d_model
        self.pitch = nn.Embedding(128, d)
        self.pitch_class = nn.Embedding(12, d)
        self.features = nn.Linear(config.n_features, d)
        self.layers = nn.ModuleList(PerformerLayer(config, dropout) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(d, eps=NORM_EPS)
        self.head = nn.Linear(d, len(OUTPUTS))

    def forward(
        self, pitch: Tensor, features: Tensor, quarter: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """Return outputs (B, T, len(OUTPUTS)), float32.

        Args:
            pitch: (B, T) int64, 0..127.
            features: (B, T, n_features).
            quarter: (B, T) written onsets in quarters from the window's first note.
            mask: (B, T) bool, False for padding.
        """
        config = self.config
        rows = torch.arange(pitch.shape[1], device=pitch.device).expand_as(pitch)
        places = torch.stack((rows.float(), quarter.float() * TIME_SCALE), dim=1)  # (B, 2, T)
        cos, sin = rotary_table(places, config.head_dim)
        half = config.n_heads // 2
        cos, sin = cos.repeat_interleave(half, dim=1), sin.repeat_interleave(half, dim=1)
        x = self.pitch(pitch) + self.pitch_class(pitch % 12) + self.features(features)
        seen = None if mask is None else mask[:, None, None, :]
        for layer in self.layers:
            x = layer(x, cos, sin, seen)
        found: Tensor = self.head(self.norm(x)).float()
        return found


class Ensemble(nn.Module):
    """Several performers that answer with the mean of their answers."""

    def __init__(self, config: PerformerConfig, dropout: float = 0.0) -> None:
        super().__init__()
        one = replace(config, members=1)
        self.members = nn.ModuleList(Performer(one, dropout) for _ in range(config.members))

    def forward(
        self, pitch: Tensor, features: Tensor, quarter: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """Return outputs as ``Performer.forward``."""
        answers = [member(pitch, features, quarter, mask) for member in self.members]
        return torch.stack(answers).mean(dim=0)


def tensor_name(name: str) -> str:
    """Return the name that a parameter of a ``Performer`` or an ``Ensemble`` has on disk."""
    if not name.startswith("members."):
        return name
    _, member, inner = name.split(".", 2)
    return member_prefix(int(member)) + inner


def initialise(model: Performer, seed: int) -> None:
    """Fresh weights: N(0, 0.02), residual outputs scaled down by depth."""
    generator = torch.Generator().manual_seed(seed)
    residual = (2 * model.config.n_layers) ** -0.5
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
                continue
            std = 0.02 * (residual if name.endswith(("out.weight", "down.weight")) else 1.0)
            if name == "features.weight":
                std = model.config.n_features**-0.5 * 0.2
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
