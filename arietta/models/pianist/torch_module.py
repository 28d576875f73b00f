"""Pianist Transformer as torch modules (arXiv 2512.02652, specification sections 2.1 to 2.4).

An encoder that takes one position a note and a decoder that takes one an id, both Gemma-2 style.
Tensor names are the public ones, so that a state dict is a public checkpoint without its unused
leftovers.

Shapes: B rows, N notes, T ids of the decoder, S keys, D = d_model, H heads, G of them a key head,
K = width of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from arietta.models.aria.torch_module import KeyValue, rotary_table, rotate
from arietta.models.pianist.config import SLOTS, PianistConfig

BOS, PAD, IGNORED = 2, 0, -100

Compat = Literal["pianist"]


class Memory(NamedTuple):
    """What the decoder knows of the score.

    Attributes:
        past: cross-attention keys and values (B, H / G, N, K) of every decoder layer.
        mask: (B, 1, 1, N) bool, True where attended, or None for everywhere.
    """

    past: Sequence[KeyValue]
    mask: Tensor | None


class RmsNorm(nn.Module):
    """x / rms(x) * (1 + weight), computed in float32."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        y = x.float()
        y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + self.epsilon)
        return (y * (1.0 + self.weight.float())).type_as(x)


class Attention(nn.Module):
    """Attention of grouped heads; the caller brings rotary tables, masks and caches."""

    def __init__(self, config: PianistConfig) -> None:
        super().__init__()
        d, k = config.d_model, config.head_dim
        self.config = config
        self.q_proj = nn.Linear(d, config.n_heads * k, bias=False)
        self.k_proj = nn.Linear(d, config.n_kv_heads * k, bias=False)
        self.v_proj = nn.Linear(d, config.n_kv_heads * k, bias=False)
        self.o_proj = nn.Linear(config.n_heads * k, d, bias=False)

    def _heads(self, x: Tensor) -> Tensor:
        """(B, T, heads * K) -> (B, heads, T, K)."""
        return x.view(*x.shape[:2], -1, self.config.head_dim).transpose(1, 2)

    def key_value(self, x: Tensor, turn: KeyValue | None) -> KeyValue:
        """Keys and values (B, H / G, T, K) of x (B, T, D)."""
        k, v = self._heads(self.k_proj(x)), self._heads(self.v_proj(x))
        return (k if turn is None else rotate(k, *turn)), v

    def forward(
        self,
        x: Tensor,
        kv: KeyValue,
        turn: KeyValue | None,
        *,
        mask: Tensor | None,
        causal: bool = False,
    ) -> Tensor:
        """Attend from x (B, T, D) to keys and values (B, H / G, S, K).

        Args:
            x: normed hidden states.
            kv: see ``key_value``.
            turn: rotary tables for the queries, None for no rotation.
            mask: (B, 1, 1 or T, S) bool, True where attended.
            causal: query t sees keys 0..t.
        """
        q = self._heads(self.q_proj(x))
        if turn is not None:
            q = rotate(q, *turn)
        groups = self.config.n_heads // self.config.n_kv_heads
        k, v = (part.repeat_interleave(groups, dim=1) for part in kv)
        # No soft cap on the scores: the public code trains and renders without (section 2.4).
        seen = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=causal, scale=self.config.scale
        )
        out: Tensor = self.o_proj(seen.transpose(1, 2).flatten(2))
        return out


class Mlp(nn.Module):
    """Gated feed-forward block: down(gelu(gate x) * up x)."""

    def __init__(self, config: PianistConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.d_model, config.ff_dim, bias=False)
        self.up_proj = nn.Linear(config.d_model, config.ff_dim, bias=False)
        self.down_proj = nn.Linear(config.ff_dim, config.d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        out: Tensor = self.down_proj(
            F.gelu(self.gate_proj(x), approximate="tanh") * self.up_proj(x)
        )
        return out


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each with a norm before and after."""

    def __init__(self, config: PianistConfig) -> None:
        super().__init__()

        def norm() -> RmsNorm:
            return RmsNorm(config.d_model, config.norm_eps)

        self.self_attn = Attention(config)
        self.pre_self_attn_layernorm, self.post_self_attn_layernorm = norm(), norm()
        self.mlp = Mlp(config)
        self.pre_feedforward_layernorm, self.post_feedforward_layernorm = norm(), norm()

    def forward(self, x: Tensor, turn: KeyValue, mask: Tensor | None) -> Tensor:
        """x (B, N, D) one layer further."""
        y = self.pre_self_attn_layernorm(x)
        y = self.self_attn(y, self.self_attn.key_value(y, turn), turn, mask=mask)
        x = x + self.post_self_attn_layernorm(y)
        y = self.mlp(self.pre_feedforward_layernorm(x))
        out: Tensor = x + self.post_feedforward_layernorm(y)
        return out


class DecoderLayer(EncoderLayer):
    """The same with causal attention, and attention to the score in between."""

    def __init__(self, config: PianistConfig) -> None:
        super().__init__(config)
        self.cross_attn = Attention(config)
        self.pre_cross_attn_layernorm = RmsNorm(config.d_model, config.norm_eps)
        self.post_cross_attn_layernorm = RmsNorm(config.d_model, config.norm_eps)

    def step(
        self,
        x: Tensor,
        turn: KeyValue,
        mask: Tensor | None,
        score: KeyValue,
        score_mask: Tensor | None,
        past: KeyValue | None,
    ) -> tuple[Tensor, KeyValue]:
        """x (B, T, D) one layer further, and its keys and values up to here."""
        y = self.pre_self_attn_layernorm(x)
        k, v = self.self_attn.key_value(y, turn)
        if past is not None:
            k, v = torch.cat((past[0], k), dim=2), torch.cat((past[1], v), dim=2)
        causal = mask is None and x.shape[1] > 1
        y = self.self_attn(y, (k, v), turn, mask=mask, causal=causal)
        x = x + self.post_self_attn_layernorm(y)
        y = self.cross_attn(self.pre_cross_attn_layernorm(x), score, None, mask=score_mask)
        x = x + self.post_cross_attn_layernorm(y)
        y = self.mlp(self.pre_feedforward_layernorm(x))
        return x + self.post_feedforward_layernorm(y), (k, v)


class NoteEmbedding(nn.Module):
    """Eight ids of a note -> one vector: each id's row narrowed by its slot's own projection."""

    def __init__(self, config: PianistConfig) -> None:
        super().__init__()
        d = config.d_model
        self.word_embeddings = nn.Embedding(config.vocab_size, d, padding_idx=PAD)
        self.projection_layers = nn.ModuleList(nn.Linear(d, d // SLOTS) for _ in range(SLOTS))

    def forward(self, ids: Tensor) -> Tensor:
        """(B, 8 N) -> (B, N, D)."""
        rows = self.word_embeddings(ids.reshape(len(ids), -1, SLOTS))  # (B, N, 8, D)
        parts = [layer(rows[:, :, i]) for i, layer in enumerate(self.projection_layers)]
        return torch.cat(parts, dim=-1)


class Encoder(nn.Module):
    """The score, one position a note, every note seeing every other."""

    def __init__(self, config: PianistConfig) -> None:
        super().__init__()
        self.config = config
        self.grad_checkpoint = False
        self.embeddings = NoteEmbedding(config)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.encoder_layers))
        self.norm = RmsNorm(config.d_model, config.norm_eps)

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Hidden states (B, N, D) of ids (B, 8 N); mask (B, N) bool, True where a note is."""
        x = self.embeddings(ids)
        # The factor in the width of the weights, as the reference has it: 27.75 in bf16.
        x = x * torch.tensor(self.config.d_model**0.5, dtype=x.dtype, device=x.device)
        turn = rotary_table(
            torch.arange(x.shape[1], device=x.device), self.config.head_dim, self.config.rope_base
        )
        seen = None if mask is None else mask[:, None, None]
        for layer in self.layers:
            if self.grad_checkpoint and self.training:
                x = checkpoint(layer, x, turn, seen, use_reentrant=False)
            else:
                x = layer(x, turn, seen)
        out: Tensor = self.norm(x)
        return out


class Decoder(nn.Module):
    """The performance, one position an id, causal."""

    def __init__(self, config: PianistConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.d_model, padding_idx=PAD)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_layers))
        self.norm = RmsNorm(config.d_model, config.norm_eps)

    def memory(self, states: Tensor, mask: Tensor | None) -> Memory:
        """Return what the layers attend to, of encoder states (B, N, D) and a mask (B, N)."""
        layers: list[DecoderLayer] = list(self.layers)  # type: ignore[arg-type]
        past = [layer.cross_attn.key_value(states, None) for layer in layers]
        return Memory(past, None if mask is None else mask[:, None, None])

    def forward(
        self, ids: Tensor, memory: Memory, past: Sequence[KeyValue] | None = None
    ) -> tuple[Tensor, list[KeyValue]]:
        """Hidden states (B, T, D) of ids (B, T), and keys and values up to here.

        ``past`` holds keys and values (B, H / G, S - T, K) of every layer.
        """
        before = 0 if past is None else past[0][0].shape[2]
        x = self.embed_tokens(ids)
        x = x * torch.tensor(self.config.d_model**0.5, dtype=x.dtype, device=x.device)
        position = torch.arange(before, before + ids.shape[1], device=ids.device)
        turn = rotary_table(position, self.config.head_dim, self.config.rope_base)
        mask = None
        if before and ids.shape[1] > 1:
            keys = torch.arange(before + ids.shape[1], device=ids.device)
            mask = (keys <= position[:, None])[None, None]
        present = []
        for i, layer in enumerate(self.layers):
            x, kv = layer.step(  # type: ignore[operator]
                x, turn, mask, memory.past[i], memory.mask, None if past is None else past[i]
            )
            present.append(kv)
        return self.norm(x), present


class _Halves(nn.Module):
    """Encoder and decoder under the name that the public checkpoints give them."""

    def __init__(self, config: PianistConfig) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)


class PianistTransformer(nn.Module):
    """Score ids in, logits of the performance out; the head is the decoder's own table."""

    def __init__(self, config: PianistConfig) -> None:
        super().__init__()
        self.config = config
        self.model = _Halves(config)

    def forward(
        self,
        ids: Tensor,
        decoder_ids: Tensor,
        mask: Tensor | None = None,
        *,
        compat: Compat | None = None,
    ) -> Tensor:
        """Logits at every place of the decoder.

        Args:
            ids: (B, 8 N) of the score, or of a masked performance in pretraining.
            decoder_ids: (B, T), <bos> first; see ``shift_right``.
            mask: (B, 8 N), true where an id is not padding; padding stands at the end.
            compat: let the decoder attend to padded notes as the public code does (section 2.4).

        Returns:
            (B, T, V).
        """
        memory = self.encode(ids, mask, compat=compat)
        return self.head(self.model.decoder(decoder_ids, memory)[0])

    def encode(
        self, ids: Tensor, mask: Tensor | None = None, *, compat: Compat | None = None
    ) -> Memory:
        """Return what the decoder attends to; arguments as for ``forward``."""
        notes = None if mask is None else mask.bool().view(len(mask), -1, SLOTS).any(-1)
        states = self.model.encoder(ids, notes)
        if compat and mask is not None:
            # The reference takes the first N of the 8 N token bits for the notes'.
            notes = mask.bool()[:, : states.shape[1]]
        return self.model.decoder.memory(states, notes)

    def head(self, hidden: Tensor, low: int = 0, high: int | None = None) -> Tensor:
        """Logits (..., high - low) of hidden states (..., D) for ids low..high."""
        logits = F.linear(hidden, self.model.decoder.embed_tokens.weight[low:high])
        cap = self.config.logit_cap
        return cap * torch.tanh(logits / cap)


def shift_right(labels: Tensor) -> Tensor:
    """Return decoder ids of labels (B, T): <bos>, then all but the last; ignored ones padded."""
    start = torch.full_like(labels[:, :1], BOS)
    shifted = torch.cat((start, labels[:, :-1]), dim=1)
    return shifted.masked_fill(shifted == IGNORED, PAD)


def sequence_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy in nats, in float32, over the labels (B, T) that are not ignored."""
    return F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED)


def initialise(model: PianistTransformer, seed: int) -> None:
    """Fresh weights as published: N(0, 0.02), norms and biases 0, padding rows 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.zero_()
            else:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.02)
        model.model.encoder.embeddings.word_embeddings.weight[PAD].zero_()
        model.model.decoder.embed_tokens.weight[PAD].zero_()
