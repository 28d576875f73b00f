"""The Aria decoder and its heads as torch modules (specification D.2, arXiv 2506.23869 section 3).

Tensor names are the public ones, so that a state dict is a public checkpoint.
Shapes: B rows, T tokens, D = d_model, H heads, K = D / H.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from arietta.models.aria.clock import (
    BEFORE,
    IMPOSSIBLE,
    MAX_WAIT,
    SEGMENT_STEPS,
    WAIT_ROWS,
    Clock,
    clock_of,
)
from arietta.models.aria.config import NORM_EPS, ROPE_BASE, AriaConfig
from arietta.tokenizers.vocabulary import BOS, TIME

KeyValue = tuple[Tensor, Tensor]
_LEAST_ROOM = 256
"""Positions that a cache grows by at least."""
QUERY_BLOCK = 128
"""Queries of one block of causal attention on a CPU."""


def rotary_table(
    positions: Tensor, head_dim: int, base: float = ROPE_BASE
) -> tuple[Tensor, Tensor]:
    """cos and sin of the rotary angles, float32.

    Args:
        positions: (..., T) integer positions.
        head_dim: K.
        base: of the geometric row of frequencies.

    Returns:
        cos, sin: (..., T, K/2). The table stays float32 whatever the compute type is: in bf16 the
        angles of late positions would be wrong by whole turns.
    """
    index = torch.arange(0, head_dim, 2, dtype=torch.float32, device=positions.device)
    frequency = base ** (-index / head_dim)
    angle = positions[..., None].float() * frequency
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Half-split rotary embedding of x (B, H, T, K) with tables (T, K/2) or (B, 1, T, K/2)."""
    a, b = x.float().chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).to(x.dtype)


def cursors(ids: Tensor, clock: Clock) -> Tensor:
    """Cursor (B, T) after each of ids (B, T) from the start of a sequence; see ``clock.py``."""
    onset = (ids >= clock.onset_start) & (ids < clock.onset_end)
    steps = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    marked = onset | (ids == BOS) | (ids == clock.fill)
    last = torch.where(marked, steps, -1).cummax(dim=1).values
    segments = (ids == TIME).long().cumsum(dim=1)
    at = last.clamp(min=0)
    place = torch.where(onset, ids - clock.onset_start, 0).gather(1, at)
    since = segments - segments.gather(1, at)
    return torch.where(last < 0, -SEGMENT_STEPS * segments, place - SEGMENT_STEPS * since)


def wait_rows(steps: Tensor, cursor: Tensor) -> Tensor:
    """Rows of the wait table for onsets at steps behind cursors."""
    wait = (steps - cursor).clamp(max=MAX_WAIT)
    return torch.where(wait < 0, BEFORE, wait)


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of each query (B, H, T, K) to the keys up to its own place.

    On a CPU a block of queries at a time against its prefix: compiled, the whole training step is
    1.3 times as fast so as with the fused kernel.
    """
    tokens = q.shape[2]
    if q.device.type != "cpu" or tokens <= QUERY_BLOCK:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    scale = q.shape[3] ** -0.5
    found = []
    for start in range(0, tokens, QUERY_BLOCK):
        end = min(start + QUERY_BLOCK, tokens)
        scores = (q[:, :, start:end] * scale) @ k[:, :, :end].transpose(2, 3)
        hidden = torch.ones(end - start, end, dtype=torch.bool, device=q.device).triu(start + 1)
        scores = scores.masked_fill(hidden, float("-inf"))
        found.append(scores.softmax(dim=-1).to(v.dtype) @ v[:, :, :end])
    return torch.cat(found, dim=2)


class LayerCache:
    """Hold the keys and values of a layer in buffers that grow by half, not with every token.

    Args:
        kept: keys and values (B, H, S, K) to begin with.
    """

    def __init__(self, kept: KeyValue | None = None) -> None:
        self._buffers = kept
        self._used = 0 if kept is None else kept[0].shape[2]

    @property
    def used(self) -> KeyValue:
        """Return views (B, H, S, K) of what is held."""
        assert self._buffers is not None
        k, v = self._buffers
        return k[:, :, : self._used], v[:, :, : self._used]

    def extend(self, k: Tensor, v: Tensor) -> KeyValue:
        """Append keys and values (B, H, T, K); return views of all that is held."""
        if self._buffers is None:
            self._buffers, self._used = (k, v), k.shape[2]
            return self.used
        start, self._used = self._used, self._used + k.shape[2]
        if self._used > self._buffers[0].shape[2]:
            room = self._used + max(_LEAST_ROOM, self._used // 2)
            grown = [x.new_empty((*x.shape[:2], room, x.shape[3])) for x in self._buffers]
            for new, old in zip(grown, self._buffers, strict=True):
                new[:, :, :start] = old[:, :, :start]
            self._buffers = (grown[0], grown[1])
        for buffer, x in zip(self._buffers, (k, v), strict=True):
            buffer[:, :, start : self._used] = x
        return self.used


class EncodeLayer(nn.Module):
    """One pre-norm decoder layer: attention, then SwiGLU."""

    def __init__(self, config: AriaConfig, dropout: float) -> None:
        super().__init__()
        d, inner = config.d_model, config.ff_dim
        self.n_heads, self.dropout = config.n_heads, dropout
        self.mixed_qkv = nn.Linear(d, 3 * d, bias=False)
        self.att_proj_linear = nn.Linear(d, d, bias=False)
        self.ff_gate_proj = nn.Linear(d, inner, bias=False)
        self.ff_up_proj = nn.Linear(d, inner, bias=False)
        self.ff_down_proj = nn.Linear(inner, d, bias=False)
        self.norm1 = nn.LayerNorm(d, eps=NORM_EPS)
        self.norm2 = nn.LayerNorm(d, eps=NORM_EPS)

    def forward(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        mask: Tensor | None,
        past: LayerCache | None,
    ) -> tuple[Tensor, KeyValue]:
        """x (B, T, D) one layer further, and the keys and values up to here (B, H, S, K)."""
        b, t, d = x.shape
        q, k, v = self.queries_keys_values(x, cos, sin)
        if past is not None:
            k, v = past.extend(k, v)
        if mask is None and past is None:
            attended = causal_attention(q, k, v)
        else:
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        attended = attended.transpose(1, 2).reshape(b, t, d)
        x = x + F.dropout(self.att_proj_linear(attended), self.dropout, self.training)
        y = self.norm2(x)
        y = self.ff_down_proj(F.silu(self.ff_gate_proj(y)) * self.ff_up_proj(y))
        return x + F.dropout(y, self.dropout, self.training), (k, v)

    def queries_keys_values(
        self, x: Tensor, cos: Tensor, sin: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values (B, H, T, K) of x (B, T, D), the first two rotated."""
        b, t, d = x.shape
        qkv = self.mixed_qkv(self.norm1(x)).view(b, t, 3, self.n_heads, d // self.n_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        return rotate(q, cos, sin), rotate(k, cos, sin), v


class AriaTrunk(nn.Module):
    """Token embedding, decoder layers and the final norm."""

    def __init__(self, config: AriaConfig) -> None:
        super().__init__()
        self.config = config
        self.grad_checkpoint = False
        self.tok_embeddings = nn.Embedding(config.vocab_size, config.d_model)
        self.clock = None if config.waits is None else clock_of(config.waits)
        if self.clock is not None:
            self.wait_embeddings = nn.Embedding(WAIT_ROWS, config.d_model)
        last = max(1, config.n_layers - 1)
        self.encode_layers = nn.ModuleList(
            EncodeLayer(config, config.resid_dropout * i / last) for i in range(config.n_layers)
        )
        self.out_layer_norm = nn.LayerNorm(config.d_model, eps=NORM_EPS)

    def forward(
        self,
        ids: Tensor,
        *,
        first: Tensor | None = None,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        past: Sequence[LayerCache] | None = None,
        waits: Tensor | None = None,
    ) -> tuple[Tensor, list[KeyValue]]:
        """Hidden states after the final norm, and the keys and values of every layer.

        Args:
            ids: (B, T) token ids; T may be 0 when ``first`` is given.
            first: (B, D) vector placed in front of the tokens (conditioning, E.4).
            positions: (T,) or (B, T) positions; 0..T-1 by default.
            mask: (B, 1, T, S) bool, True where attended, needed whenever ``past`` is given and
                T > 1; causal by default.
            past: keys and values (B, H, S - T, K) of every layer; those of the tokens are
                appended.
            waits: (B, T) rows of the wait table, -1 where there is no onset; made of the ids by
                default, as at the start of a sequence.

        Returns:
            hidden (B, T, D), one longer with ``first``; keys and values.
        """
        x = self.embedded(ids, waits)
        if first is not None:
            x = torch.cat((first[:, None].to(x.dtype), x), dim=1)
        if positions is None:
            positions = torch.arange(x.shape[1], device=ids.device)
        cos, sin = rotary_table(positions, self.config.head_dim)
        if positions.dim() == 2:
            cos, sin = cos[:, None], sin[:, None]
        present: list[KeyValue] = []
        for i, layer in enumerate(self.encode_layers):
            before = None if past is None else past[i]
            if self.grad_checkpoint and self.training:
                x, kv = checkpoint(layer, x, cos, sin, mask, before, use_reentrant=False)
            else:
                x, kv = layer(x, cos, sin, mask, before)
            present.append(kv)
        return self.out_layer_norm(x), present

    def embedded(self, ids: Tensor, waits: Tensor | None = None) -> Tensor:
        """Embedded tokens (B, T, D); arguments as for ``forward``."""
        x: Tensor = self.tok_embeddings(ids)
        if self.clock is not None and ids.shape[1]:
            waits = self.waits(ids) if waits is None else waits
            shown = self.wait_embeddings(waits.clamp(min=0))
            x = x + torch.where((waits >= 0)[..., None], shown, 0.0)
        return x

    def waits(self, ids: Tensor) -> Tensor:
        """Rows (B, T) of the wait table for ids from the start of a sequence; -1: no onset."""
        clock = self.clock
        assert clock is not None
        onset = (ids >= clock.onset_start) & (ids < clock.onset_end)
        cursor = F.pad(cursors(ids, clock)[:, :-1], (1, 0))
        return torch.where(onset, wait_rows(ids - clock.onset_start, cursor), -1)


class AriaDecoder(nn.Module):
    """The trunk with the head that its configuration names."""

    def __init__(self, config: AriaConfig) -> None:
        super().__init__()
        self.config = config
        self.model = AriaTrunk(config)
        rows = config.tensor_shapes()[f"{config.head}.weight"][0]
        setattr(self, config.head, nn.Linear(config.head_inputs, rows, bias=False))
        if config.waits is not None and config.head == "lm_head":
            self.wait_head = nn.Linear(config.d_model, WAIT_ROWS, bias=False)
        if config.conditioned:
            self.embedding_adapter = nn.Linear(
                config.embedding_size or 512, config.d_model, bias=False
            )

    def head(self, hidden: Tensor) -> Tensor:
        """Logits or embeddings (..., rows) of hidden states (..., D)."""
        layer: nn.Linear = getattr(self, self.config.head)
        out: Tensor = layer(hidden)
        return out

    def table(self, name: str) -> Tensor:
        """Return the weights (rows, D) of one of the heads."""
        layer: nn.Linear = getattr(self, name)
        return layer.weight

    def logits(self, hidden: Tensor, ids: Tensor) -> Tensor:
        """Language-model logits (B, T, V), with the clock of ``config.waits`` worked in.

        Args:
            hidden: (B, T, D) states.
            ids: (B, T) the ids they are of, from the start of a sequence.
        """
        logits = self.head(hidden)
        clock = self.model.clock
        if clock is None:
            return logits
        steps = torch.arange(SEGMENT_STEPS, device=ids.device)
        rows = wait_rows(steps, cursors(ids, clock)[..., None])  # (B, T, 500)
        shifted = self.wait_head(hidden).gather(2, rows)
        onset = slice(clock.onset_start, clock.onset_end)
        note = (ids >= clock.note_start) & (ids < clock.dur_start)
        begun = note | ((ids >= clock.onset_start) & (ids < clock.onset_end))
        place = torch.arange(clock.size, device=ids.device)
        is_onset = (place >= clock.onset_start) & (place < clock.onset_end)
        is_duration = (place >= clock.dur_start) & (place < clock.onset_start)
        possible = torch.where(
            note[..., None],
            is_onset,
            torch.where(begun[..., None], is_duration, ~(is_onset | is_duration)),
        )
        logits = torch.cat(
            (logits[..., : onset.start], logits[..., onset] + shifted, logits[..., onset.stop :]),
            dim=-1,
        )
        return logits.masked_fill(~possible, float(IMPOSSIBLE))

    def forward(self, ids: Tensor, condition: Tensor | None = None) -> Tensor:
        """Head output at every position.

        Args:
            ids: (B, T) token ids.
            condition: (B, embedding_size) vectors. The vector takes position 0, the last token is
                dropped and so is the first output: output j of T - 1 predicts token j + 1.

        Returns:
            (B, T, rows), or (B, T - 1, rows) with a condition.
        """
        language = self.config.head == "lm_head"
        if condition is None:
            hidden = self.model(ids)[0]
            return self.logits(hidden, ids) if language else self.head(hidden)
        hidden, _ = self.model(ids[:, :-1], first=self.embedding_adapter(condition))
        return self.logits(hidden[:, 1:], ids[:, :-1])


def initialise(model: AriaDecoder, seed: int) -> None:
    """Fresh weights: N(0, 0.02), residual outputs scaled down by depth (GPT-2 convention).

    The paper does not state its initialisation; this one is ours.
    """
    generator = torch.Generator().manual_seed(seed)
    residual = (2 * model.config.n_layers) ** -0.5
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
                continue
            narrow = name.endswith(("att_proj_linear.weight", "ff_down_proj.weight"))
            std = 0.02 * residual if narrow else 0.02
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
