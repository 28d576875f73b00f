"""What happens inside the Aria decoder: the states between its layers, and its attention.

For research, in float32 with the numbers that the checkpoint holds, whatever form the executors
run. The forward pass here is plain numpy, one layer's weights in memory at a time, so that it needs
no torch and no compiled kernel; a model opened on a GPU runs the same in torch
(``torch_executor.TorchBackend.trace``).

Layer 0 is the embedded tokens, layer i the residual stream behind decoder layer i. The last one is
taken behind the final norm, as the heads read it.

Shapes: T tokens of a row, N tokens of all rows, D = d_model, H heads, K = head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from arietta.arrays import AnyIntArray, Float32Array
from arietta.errors import UsageError
from arietta.models.aria.clock import clock_of
from arietta.models.aria.config import NORM_EPS, ROPE_BASE, AriaConfig
from arietta.models.aria.weights import Source
from arietta.models.kernel.rotary import rotary_tables

_QUERIES = 512
"""Queries whose scores are held at once."""


@dataclass(frozen=True, eq=False)
class Trace:
    """What one row of tokens did.

    Attributes:
        states: layer 0..L -> (T, D) float32, those that were asked for.
        attention: layer 1..L -> (H, T, T) float32: share of each query (second axis) that goes to
            each key (third axis); rows sum to 1, later keys have 0.
    """

    states: dict[int, Float32Array]
    attention: dict[int, Float32Array]


@runtime_checkable
class Tracer(Protocol):
    """Runs rows of tokens and keeps what happens in between."""

    def trace(
        self,
        rows: Sequence[AnyIntArray],
        layers: Sequence[int] = (),
        attention: Sequence[int] = (),
    ) -> list[Trace]:
        """Run rows from their start.

        Args:
            rows: token ids (T,), at least one each, of any lengths.
            layers: 0..L, whose states to keep.
            attention: 1..L, whose attention to keep: 4 H T² bytes a layer and row.

        Raises:
            UsageError: there is no such layer, or a row exceeds the model's context.
        """


def check_trace(
    config: AriaConfig,
    rows: Sequence[AnyIntArray],
    layers: Sequence[int],
    attention: Sequence[int],
) -> None:
    """Refuse rows and layers that a model cannot have; see ``Tracer.trace``."""
    for name, wanted, first in (("layers", layers, 0), ("attention", attention, 1)):
        outside = [n for n in wanted if not first <= n <= config.n_layers]
        if outside:
            raise UsageError(f"`{name}` {outside}: this model has {first}..{config.n_layers}")
    longest = max(map(len, rows), default=1)
    if not rows or min(map(len, rows)) < 1:
        raise UsageError("a trace needs rows of at least one token")
    if longest > config.max_seq_len:
        raise UsageError(f"{longest} tokens exceed the model's context of {config.max_seq_len}")


class NumpyTracer:
    """Traces a checkpoint on the processor.

    Args:
        checkpoint: settings and tensors.
    """

    def __init__(self, checkpoint: Source) -> None:
        self._config, self._tensors = checkpoint.config, checkpoint.tensors
        self._cos, self._sin = rotary_tables(
            self._config.max_seq_len, self._config.head_dim, ROPE_BASE
        )

    def trace(
        self,
        rows: Sequence[AnyIntArray],
        layers: Sequence[int] = (),
        attention: Sequence[int] = (),
    ) -> list[Trace]:
        """Run rows from their start; see ``Tracer.trace``."""
        check_trace(self._config, rows, layers, attention)
        found = [Trace({}, {}) for _ in rows]
        ends = np.cumsum([len(row) for row in rows])
        parts = [slice(end - len(row), end) for row, end in zip(rows, ends, strict=True)]
        x = self._embedded(rows)
        for number in range(self._config.n_layers + 1):
            if number:
                x = self._layer(x, parts, number, found if number in attention else None)
            if number in layers:
                last = number == self._config.n_layers
                states = self._norm(x, "model.out_layer_norm") if last else x
                for one, part in zip(found, parts, strict=True):
                    one.states[number] = states[part].copy()
        return found

    def _tensor(self, name: str) -> Float32Array:
        return np.asarray(self._tensors[name], np.float32)

    def _embedded(self, rows: Sequence[AnyIntArray]) -> Float32Array:
        """Embedded tokens (N, D) of all rows."""
        x: Float32Array = self._tensor("model.tok_embeddings.weight")[np.concatenate(rows)]
        if self._config.waits is not None:
            clock, start = clock_of(self._config.waits), np.zeros(1, np.int64)
            waits = np.concatenate([clock.waits(np.asarray(row)[None], start)[0] for row in rows])
            timed = waits >= 0
            x[timed] += self._tensor("model.wait_embeddings.weight")[waits[timed]]
        return x

    def _norm(self, x: Float32Array, name: str) -> Float32Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = (centred * centred).mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt(variance + np.float32(NORM_EPS))
        out: Float32Array = scaled * self._tensor(f"{name}.weight") + self._tensor(f"{name}.bias")
        return out

    def _layer(
        self, x: Float32Array, parts: Sequence[slice], number: int, keep: list[Trace] | None
    ) -> Float32Array:
        """Run decoder layer ``number``, 1..L, on all rows x (N, D)."""
        c, name = self._config, f"model.encode_layers.{number - 1}."
        qkv = self._norm(x, f"{name}norm1") @ self._tensor(f"{name}mixed_qkv.weight").T
        qkv = qkv.reshape(len(x), 3, c.n_heads, c.head_dim)
        mixed = np.empty_like(x)
        for row, part in enumerate(parts):
            q, k, v = np.ascontiguousarray(qkv[part].transpose(1, 2, 0, 3))  # (H, T, K) each
            tokens = q.shape[1]
            cos, sin = self._cos[:tokens], self._sin[:tokens]
            q, k = rotated(q, cos, sin), rotated(k, cos, sin)
            if keep is not None:
                kept = np.zeros((c.n_heads, tokens, tokens), np.float32)
                keep[row].attention[number] = kept
            heads = np.empty((c.n_heads, tokens, c.head_dim), np.float32)
            for start in range(0, tokens, _QUERIES):
                end = min(start + _QUERIES, tokens)
                shares = _shares(q[:, start:end], k[:, :end], start)
                heads[:, start:end] = shares @ v[:, :end]
                if keep is not None:
                    kept[:, start:end, :end] = shares
            mixed[part] = heads.transpose(1, 0, 2).reshape(tokens, c.d_model)
        x = x + mixed @ self._tensor(f"{name}att_proj_linear.weight").T
        y = self._norm(x, f"{name}norm2")
        gate = y @ self._tensor(f"{name}ff_gate_proj.weight").T
        gate *= y @ self._tensor(f"{name}ff_up_proj.weight").T / (1 + np.exp(-gate))
        return np.asarray(x + gate @ self._tensor(f"{name}ff_down_proj.weight").T, np.float32)


def rotated(x: Float32Array, cos: Float32Array, sin: Float32Array) -> Float32Array:
    """Rotary embedding of x (H, T, K) with tables (T, K)."""
    half = x.shape[-1] // 2
    turned = np.concatenate((-x[..., half:], x[..., :half]), axis=-1)
    return x * cos + turned * sin


def _shares(q: Float32Array, k: Float32Array, first: int) -> Float32Array:
    """Attention (H, t, S) of queries (H, t, K) at positions ``first`` and on to keys (H, S, K)."""
    scores = q @ k.transpose(0, 2, 1) * np.float32(q.shape[-1] ** -0.5)
    later = np.arange(k.shape[1]) > np.arange(first, first + q.shape[1])[:, None]
    scores[:, later] = -np.inf
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    return scores
