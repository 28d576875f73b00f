"""The Aria decoder (specification D.2, arXiv 2506.23869 section 3) as an OpenVINO graph.

The graph takes embedded tokens, not ids: a row of the embedding table is looked up by numpy, so
the table stays on disk, and a condition vector enters by the same door. Rotary tables and the
attention mask enter too, so that each row may stand at its own position and slots of the cache
may be taken out without moving the others. What it gives is the hidden state after the final
norm; heads are graphs of their own, of just the rows that are wanted.

Shapes: B rows, T new tokens, S cache slots after them, D = d_model, H heads, K = D / H.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openvino as ov
from numpy import float32
from numpy.typing import NDArray
from openvino import opset15 as op

from arietta.models.aria.config import NORM_EPS, AriaConfig
from arietta.models.kernel.openvino_layers import (
    Caches,
    integers,
    layer_norm,
    linear,
    rotate,
)
from arietta.models.kernel.packing import Packed

Matrix = Callable[[str], Packed]
"""Name of a matrix of the graph -> the matrix."""
Vector = Callable[[str], NDArray[float32]]
"""Name of a norm's scale or shift -> the values."""

INPUTS = ("x", "cos", "sin", "mask", "beam")
"""x (B, T, D), cos and sin (B, 1, T, K), mask (B, 1, T, S) added to the scores, beam (B,)."""


def decoder_graph(config: AriaConfig, matrix: Matrix, vector: Vector) -> ov.Model:
    """Layers and final norm with a key-value cache held in the graph's state.

    Args:
        config: architecture settings.
        matrix: gives ``layers.{i}.qkv | proj | gate | up | down``; the rows of qkv are grouped by
            head, see ``packing.group_by_head``.
        vector: gives a norm's values under its public name.

    Returns:
        A graph of ``INPUTS`` with the result (B, T, D).
    """
    d, heads, k = config.d_model, config.n_heads, config.head_dim
    x_in = graph_input("x", [-1, -1, d], ov.Type.f32)
    cos = graph_input("cos", [-1, 1, -1, k], ov.Type.f32)
    sin = graph_input("sin", [-1, 1, -1, k], ov.Type.f32)
    mask = graph_input("mask", [-1, 1, -1, -1], ov.Type.f32)
    beam = graph_input("beam", [-1], ov.Type.i32)
    rows = op.gather(op.shape_of(x_in, "i64"), integers(0), integers(0))
    caches = Caches(rows, beam, heads, k)
    scale = op.constant(float32(k**-0.5))

    def norm(x: Any, name: str) -> Any:
        return layer_norm(x, vector(f"{name}.weight"), vector(f"{name}.bias"), NORM_EPS)

    swap = integers(0, 2, 1, 3)
    x: Any = x_in
    for i in range(config.n_layers):
        y = norm(x, f"model.encode_layers.{i}.norm1")
        qkv = op.reshape(linear(y, matrix(f"layers.{i}.qkv")), integers(0, 0, heads, 3 * k), True)

        def part(n: int, qkv: Any = qkv) -> Any:
            cut = op.slice(qkv, integers(n * k), integers((n + 1) * k), integers(1), integers(3))
            return op.transpose(cut, swap)  # (B, H, T, K)

        query = rotate(part(0), cos, sin, k)
        keys = caches.append(f"key.{i}", rotate(part(1), cos, sin, k))
        values = caches.append(f"value.{i}", part(2))
        seen = op.scaled_dot_product_attention(query, keys, values, mask, scale)
        seen = op.reshape(op.transpose(seen, swap), integers(0, 0, d), True)
        x = op.add(x, linear(seen, matrix(f"layers.{i}.proj")))
        y = norm(x, f"model.encode_layers.{i}.norm2")
        gate = op.swish(linear(y, matrix(f"layers.{i}.gate")))
        y = linear(
            op.multiply(gate, linear(y, matrix(f"layers.{i}.up"))), matrix(f"layers.{i}.down")
        )
        x = op.add(x, y)
    result = op.result(norm(x, "model.out_layer_norm"))
    inputs = [x_in, cos, sin, mask, beam]
    return ov.Model([result], caches.assigns, inputs, caches.variables, "aria")


def head_graph(packed: Packed) -> ov.Model:
    """hidden (N, D) -> hidden times the transpose of a matrix (rows, D)."""
    hidden = graph_input("hidden", [-1, packed.shape[1]], ov.Type.f32)
    return ov.Model([op.result(linear(hidden, packed))], [hidden], "head")


def graph_input(name: str, shape: list[int], kind: ov.Type) -> Any:
    """Return a named parameter of a graph; -1 for an axis of any length."""
    node = op.parameter(ov.PartialShape(shape), kind, name=name)
    node.output(0).set_names({name})
    return node
