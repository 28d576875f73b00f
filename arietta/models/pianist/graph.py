"""Pianist Transformer as two OpenVINO graphs (specification section 2, arXiv 2512.02652).

The encoder reads a window of the score once and gives what the decoder's layers attend to: keys
and values of every note. The decoder takes the ids that come next and keeps its own keys and
values in the graph's state. Both take embedded ids, which numpy looks up, and rotary tables and
masks. The head is a graph of just the rows that a slot allows.

Grouped heads: G query heads share a key head. Where every query sees the same keys the groups are
folded into the query axis, (B, H, T, K) -> (B, H / G, G T, K), and no key is copied. The decoder's
own attention repeats its keys instead, in the one form that the plugin knows and does not carry
out.

Shapes: B rows, N notes of the score, T new ids, S cache slots after them, D = d_model, H heads,
K = width of a head.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino as ov
from openvino import opset15 as op

from arietta.models.aria.graph import Matrix, Vector, graph_input
from arietta.models.kernel.openvino_layers import Caches, Value, integers, linear, rms_norm, rotate
from arietta.models.pianist.config import PianistConfig

_SWAP = (0, 2, 1, 3)


class _Parts:
    """What both graphs are made of.

    ``matrix`` gives ``{encoder,decoder}.{i}.qkv | o | gate_up | down`` and
    ``decoder.{i}.cross_q | cross_kv | cross_o``; ``vector`` a norm's weight under its public name.
    """

    def __init__(self, config: PianistConfig, matrix: Matrix, vector: Vector) -> None:
        self.config, self.matrix, self.vector = config, matrix, vector
        self.scale = op.constant(np.float32(config.scale))

    def norm(self, x: Value, name: str) -> Value:
        """RMS norm of the public name."""
        weight = 1 + self.vector(f"model.{name}.weight")
        return rms_norm(x, weight.astype(np.float32), self.config.norm_eps)

    def split(self, x: Value, *heads: int) -> list[Value]:
        """Parts (B, heads, T, K) of x (B, T, sum of heads * K)."""
        k = self.config.head_dim
        cut = op.variadic_split(x, integers(2), integers(*(n * k for n in heads)))
        return [
            op.transpose(op.reshape(cut.output(i), integers(0, 0, n, k), True), integers(*_SWAP))
            for i, n in enumerate(heads)
        ]

    def attend(self, query: Value, keys: Value, values: Value, mask: Value) -> Value:
        """(B, T, H K) of query (B, H, T, K) with keys and values (B, H / G, S, K).

        The mask (B, 1, 1, S) is the same for every query.
        """
        kv_heads, k = self.config.n_kv_heads, self.config.head_dim
        folded = op.reshape(query, integers(0, kv_heads, -1, k), True)
        seen = op.scaled_dot_product_attention(folded, keys, values, mask, self.scale)
        return self._joined(op.reshape(seen, op.shape_of(query, "i64"), False))

    def attend_cached(self, query: Value, keys: Value, values: Value, mask: Value) -> Value:
        """Attend to keys and values from the state; mask (1, 1, T, S)."""
        heads, kv_heads, k = self.config.n_heads, self.config.n_kv_heads, self.config.head_dim
        groups = heads // kv_heads
        if groups > 1:

            def repeated(x: Value) -> Value:
                apart = op.unsqueeze(x, integers(2))
                apart = op.broadcast(apart, integers(1, 1, groups, 1, 1), None, "BIDIRECTIONAL")
                return op.reshape(apart, integers(0, heads, -1, k), True)

            keys, values = repeated(keys), repeated(values)
        return self._joined(op.scaled_dot_product_attention(query, keys, values, mask, self.scale))

    def _joined(self, seen: Value) -> Value:
        wide = self.config.n_heads * self.config.head_dim
        return op.reshape(op.transpose(seen, integers(*_SWAP)), integers(0, 0, wide), True)

    def feed_forward(self, x: Value, layer: str, name: str) -> Value:
        """x plus its gated feed-forward block, norms on both sides."""
        y = self.norm(x, f"{layer}.pre_feedforward_layernorm")
        ff = self.config.ff_dim
        both = op.variadic_split(
            linear(y, self.matrix(f"{name}.gate_up")), integers(2), integers(ff, ff)
        )
        y = op.multiply(op.gelu(both.output(0), "tanh"), both.output(1))
        y = linear(y, self.matrix(f"{name}.down"))
        return op.add(x, self.norm(y, f"{layer}.post_feedforward_layernorm"))


def encoder_graph(config: PianistConfig, matrix: Matrix, vector: Vector) -> ov.Model:
    """Build the encoder, and the keys and values that the decoder's layers make of its states.

    Args:
        config: architecture settings.
        matrix, vector: see ``_Parts``.

    Returns:
        A graph of ``x`` (B, N, D), ``cos`` and ``sin`` (1, 1, N, K) and ``mask`` (B, 1, 1, N),
        added to the scores; its results are ``score_key.{i}`` and ``score_value.{i}``, each
        (B, H / G, N, K), of every decoder layer.
    """
    parts = _Parts(config, matrix, vector)
    k, heads, kv_heads = config.head_dim, config.n_heads, config.n_kv_heads
    x_in = graph_input("x", [-1, -1, config.d_model], ov.Type.f32)
    cos = graph_input("cos", [1, 1, -1, k], ov.Type.f32)
    sin = graph_input("sin", [1, 1, -1, k], ov.Type.f32)
    mask = graph_input("mask", [-1, 1, 1, -1], ov.Type.f32)
    x: Any = x_in
    for i in range(config.encoder_layers):
        layer, name = f"encoder.layers.{i}", f"encoder.{i}"
        y = parts.norm(x, f"{layer}.pre_self_attn_layernorm")
        q, key, value = parts.split(linear(y, matrix(f"{name}.qkv")), heads, kv_heads, kv_heads)
        y = parts.attend(rotate(q, cos, sin, k), rotate(key, cos, sin, k), value, mask)
        y = linear(y, matrix(f"{name}.o"))
        x = op.add(x, parts.norm(y, f"{layer}.post_self_attn_layernorm"))
        x = parts.feed_forward(x, layer, name)
    states = parts.norm(x, "encoder.norm")
    results = []
    for i in range(config.decoder_layers):
        pair = parts.split(linear(states, matrix(f"decoder.{i}.cross_kv")), kv_heads, kv_heads)
        for what, part in zip(("key", "value"), pair, strict=True):
            result = op.result(part)
            result.output(0).set_names({f"score_{what}.{i}"})
            results.append(result)
    return ov.Model(results, [x_in, cos, sin, mask], "pianist_encoder")


def decoder_graph(config: PianistConfig, matrix: Matrix, vector: Vector) -> ov.Model:
    """Build the decoder's layers and final norm, its keys and values in the graph's state.

    Args:
        config: architecture settings.
        matrix, vector: see ``_Parts``.

    Returns:
        A graph of ``x`` (B, T, D), ``cos`` and ``sin`` (1, 1, T, K), ``mask`` (1, 1, T, S),
        ``score_mask`` (B, 1, 1, N), ``beam`` (B,) and what the encoder gave, with the result
        (B, T, D).
    """
    parts = _Parts(config, matrix, vector)
    k, heads, kv_heads = config.head_dim, config.n_heads, config.n_kv_heads
    x_in = graph_input("x", [-1, -1, config.d_model], ov.Type.f32)
    cos = graph_input("cos", [1, 1, -1, k], ov.Type.f32)
    sin = graph_input("sin", [1, 1, -1, k], ov.Type.f32)
    mask = graph_input("mask", [1, 1, -1, -1], ov.Type.f32)
    score_mask = graph_input("score_mask", [-1, 1, 1, -1], ov.Type.f32)
    beam = graph_input("beam", [-1], ov.Type.i32)
    inputs = [x_in, cos, sin, mask, score_mask, beam]
    rows = op.gather(op.shape_of(x_in, "i64"), integers(0), integers(0))
    caches = Caches(rows, beam, kv_heads, k)
    x: Any = x_in
    for i in range(config.decoder_layers):
        layer, name = f"decoder.layers.{i}", f"decoder.{i}"
        y = parts.norm(x, f"{layer}.pre_self_attn_layernorm")
        q, key, value = parts.split(linear(y, matrix(f"{name}.qkv")), heads, kv_heads, kv_heads)
        keys = caches.append(f"key.{i}", rotate(key, cos, sin, k))
        values = caches.append(f"value.{i}", value)
        y = parts.attend_cached(rotate(q, cos, sin, k), keys, values, mask)
        y = linear(y, matrix(f"{name}.o"))
        x = op.add(x, parts.norm(y, f"{layer}.post_self_attn_layernorm"))
        y = parts.norm(x, f"{layer}.pre_cross_attn_layernorm")
        (q,) = parts.split(linear(y, matrix(f"{name}.cross_q")), heads)
        pair = [
            graph_input(f"score_{what}.{i}", [-1, kv_heads, -1, k], ov.Type.f32)
            for what in ("key", "value")
        ]
        inputs += pair
        y = linear(parts.attend(q, pair[0], pair[1], score_mask), matrix(f"{name}.cross_o"))
        x = op.add(x, parts.norm(y, f"{layer}.post_cross_attn_layernorm"))
        x = parts.feed_forward(x, layer, name)
    result = op.result(parts.norm(x, "decoder.norm"))
    return ov.Model([result], caches.assigns, inputs, caches.variables, "pianist_decoder")
