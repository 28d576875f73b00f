"""The small rendering model as an OpenVINO graph; ``torch_module`` says what it computes.

Shapes: B windows, T notes, D = d_model, H heads, K = D / H.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset15 as op

from arietta.arrays import AnyFloatArray, Float32Array
from arietta.models.aria.config import NORM_EPS, ROPE_BASE
from arietta.models.aria.graph import graph_input
from arietta.models.kernel.openvino_layers import constant, integers, layer_norm, linear, rotate
from arietta.models.kernel.packing import Packed
from arietta.models.performer.config import TIME_SCALE, PerformerConfig, member_prefix

Vector = Callable[[str], Float32Array]


def performer_graph(config: PerformerConfig, tensor: Vector) -> ov.Model:
    """Return the whole model in float32.

    Args:
        config: architecture settings.
        tensor: name -> float32 array.

    Returns:
        A graph of ``pitch`` (B, T) int64, ``features`` (B, T, F), ``cos`` and ``sin`` (B, H, T, K)
        and ``mask`` (B, 1, 1, T), added to the scores; its result is (B, T, len(OUTPUTS)).
    """
    heads, k = config.n_heads, config.head_dim
    pitch = graph_input("pitch", [-1, -1], ov.Type.i64)
    features = graph_input("features", [-1, -1, config.n_features], ov.Type.f32)
    cos = graph_input("cos", [-1, heads, -1, k], ov.Type.f32)
    sin = graph_input("sin", [-1, heads, -1, k], ov.Type.f32)
    mask = graph_input("mask", [-1, 1, 1, -1], ov.Type.f32)
    inputs = (pitch, features, cos, sin, mask)
    found = [
        _member(config, _behind(tensor, member_prefix(member)), *inputs)
        for member in range(config.members)
    ]
    out = found[0]
    for other in found[1:]:
        out = op.add(out, other)
    out = op.multiply(out, op.constant(np.float32(1 / config.members)))
    return ov.Model([op.result(out)], list(inputs), "performer")


def _behind(tensor: Vector, prefix: str) -> Vector:
    return lambda name: tensor(prefix + name)


def _member(
    config: PerformerConfig,
    tensor: Vector,
    pitch: Any,
    features: Any,
    cos: Any,
    sin: Any,
    mask: Any,
) -> Any:
    """Predict by one member, (B, T, len(OUTPUTS))."""
    d, heads, k = config.d_model, config.n_heads, config.head_dim
    scale = op.constant(np.float32(k**-0.5))

    def times(x: Any, name: str) -> Any:
        matrix = np.ascontiguousarray(tensor(f"{name}.weight"))
        return linear(x, Packed("f32", matrix.shape, matrix, None))

    def norm(x: Any, name: str) -> Any:
        return layer_norm(x, tensor(f"{name}.weight"), tensor(f"{name}.bias"), NORM_EPS)

    table = tensor("pitch.weight") + np.resize(tensor("pitch_class.weight"), (128, d))
    x: Any = op.gather(constant(np.ascontiguousarray(table)), pitch, integers(0))
    x = op.add(x, op.add(times(features, "features"), constant(tensor("features.bias"))))
    swap = integers(0, 2, 1, 3)
    for i in range(config.n_layers):
        layer = f"layers.{i}"
        y = times(norm(x, f"{layer}.norm1"), f"{layer}.qkv")
        y = op.reshape(y, integers(0, 0, 3, heads, k), True)
        parts = op.split(y, op.constant(np.int64(2)), 3)
        q, key, value = (
            op.transpose(op.squeeze(parts.output(j), integers(2)), swap) for j in range(3)
        )
        seen = op.scaled_dot_product_attention(
            rotate(q, cos, sin, k), rotate(key, cos, sin, k), value, mask, scale
        )
        y = op.reshape(op.transpose(seen, swap), integers(0, 0, d), True)
        x = op.add(x, times(y, f"{layer}.out"))
        y = norm(x, f"{layer}.norm2")
        y = op.multiply(op.swish(times(y, f"{layer}.gate")), times(y, f"{layer}.up"))
        x = op.add(x, times(y, f"{layer}.down"))
    out = op.add(times(norm(x, "norm"), "head"), constant(tensor("head.bias")))
    return out


def rotary_tables(
    quarter: AnyFloatArray, config: PerformerConfig
) -> tuple[Float32Array, Float32Array]:
    """cos and sin (B, H, T, K) for windows whose notes are due at ``quarter`` (B, T)."""
    k, half = config.head_dim, config.n_heads // 2
    rows = np.broadcast_to(np.arange(quarter.shape[1]), quarter.shape)
    places = np.stack((rows, quarter * TIME_SCALE), axis=1)  # (B, 2, T)
    angle = places[..., None] * ROPE_BASE ** (-np.arange(0, k, 2) / k)
    angle = np.repeat(np.concatenate((angle, angle), axis=-1), half, axis=1)
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
