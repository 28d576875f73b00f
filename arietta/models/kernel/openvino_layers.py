"""The pieces of a decoder graph, written so that the CPU plugin fuses each into few nodes.

Shapes: B rows, T new tokens, S cache slots, D = d_model, H heads, K = D / H.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset15 as op
from openvino.op.util import Variable, VariableInfo

from arietta.arrays import Float32Array
from arietta.models.kernel.packing import Packed

Value = Any
"""An output of a graph node; openvino ships no type for it that operators accept."""


def constant(x: NDArray[Any]) -> Value:
    """Return a constant that reads x in place, if it can; x must outlive the compiled model."""
    # A mapped, read-only array cannot be shared with a graph; it is copied.
    return op.constant(x, shared_memory=bool(x.flags.writeable))


def integers(*values: int) -> Value:
    """Return a constant int64 vector."""
    return op.constant(np.array(values, np.int64))


def number(value: float) -> Value:
    """Return a constant float32 scalar."""
    return op.constant(np.float32(value))


def weight(packed: Packed) -> Value:
    """Return an f32 view of a packed matrix (N, K).

    The plugin recognises Convert and Multiply over a narrow constant as decompression and keeps
    the constant narrow; the arithmetic is done while a tile of it is multiplied.
    """
    if packed.precision == "f32":
        return constant(packed.data)
    assert packed.scale is not None
    n, k = packed.shape
    if packed.precision == "int8":
        return op.multiply(op.convert(constant(packed.data), ov.Type.f32), constant(packed.scale))
    groups = packed.scale.shape[1]
    shape = ov.Shape([n, groups, k // groups])
    flat = np.require(packed.data.reshape(-1), requirements="W")
    narrow = op.constant(ov.Tensor(flat, shape, ov.Type.i4), shared_memory=False)
    scale = op.constant(packed.scale.reshape(n, groups, 1).astype(np.float32))
    scaled = op.multiply(op.convert(narrow, ov.Type.f32), scale)
    return op.reshape(scaled, integers(n, k), False)


def linear(x: Value, packed: Packed) -> Value:
    """x (..., K) times the transpose of a matrix (N, K)."""
    return op.matmul(x, weight(packed), False, True)


def layer_norm(x: Value, scale: Float32Array, shift: Float32Array, epsilon: float) -> Value:
    """LayerNorm over the last axis of x (B, T, D), biased variance."""
    normal = op.mvn(x, integers(2), True, epsilon, "INSIDE_SQRT")
    return op.add(op.multiply(normal, constant(scale)), constant(shift))


def rms_norm(x: Value, scale: Float32Array, epsilon: float) -> Value:
    """x / rms(x) * scale over the last axis of x (B, T, D).

    In this exact form the plugin makes one node of it.
    """
    mean = op.reduce_mean(op.power(x, number(2.0)), integers(-1), True)
    inverse = op.divide(number(1.0), op.sqrt(op.add(mean, number(epsilon))))
    return op.multiply(op.multiply(x, inverse), constant(scale))


def rotate(x: Value, cos: Value, sin: Value, head_dim: int) -> Value:
    """Half-split rotary embedding of x (B, H, T, K); cos, sin (B, 1, T, K).

    In this exact form the plugin makes one node of it.
    """
    halves = op.variadic_split(x, integers(3), integers(head_dim // 2, head_dim // 2))
    turned = op.concat([op.multiply(halves.output(1), number(-1.0)), halves.output(0)], -1)
    return op.add(op.multiply(x, cos), op.multiply(turned, sin))


@dataclass
class Caches:
    """The key and value states of a graph under construction.

    Attributes:
        rows: (1,) int64, B as a graph value.
        beam: (B,) int32, which row of the state each row goes on from.
        heads: H.
        head_dim: K.
    """

    rows: Value
    beam: Value
    heads: int
    head_dim: int
    assigns: list[Any] = field(default_factory=list)
    variables: list[Any] = field(default_factory=list)

    def append(self, name: str, new: Value) -> Value:
        """Return the state followed by new (B, H, T, K); the result becomes the state.

        ReadValue, Gather, Concat and Assign in this order are what the plugin turns into one
        attention node that appends in place and follows row changes by a table.
        """
        info = VariableInfo()
        info.data_shape = ov.PartialShape([-1, self.heads, -1, self.head_dim])
        info.data_type = ov.Type.f32
        info.variable_id = name
        variable = Variable(info)
        empty_shape = op.concat(
            [self.rows, integers(self.heads), integers(0), integers(self.head_dim)], 0
        )
        past = op.read_value(op.broadcast(number(0.0), empty_shape), variable)
        past = op.gather(past, self.beam, op.constant(np.int64(0)))
        whole = op.concat([past, new], 2)
        self.assigns.append(op.assign(whole, variable))
        self.variables.append(variable)
        return whole
