"""The weights of a Pianist Transformer checkpoint in the form that its graphs take. Plain numpy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from arietta.arrays import Float32Array
from arietta.models.kernel.packing import Packed, Precision, pack
from arietta.models.pianist.config import SLOTS, PianistConfig

_PARTS = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "o": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
    "cross_q": ("cross_attn.q_proj",),
    "cross_kv": ("cross_attn.k_proj", "cross_attn.v_proj"),
    "cross_o": ("cross_attn.o_proj",),
}
_TABLE = "model.decoder.embed_tokens.weight"


class PianistSource(Protocol):
    """What is read of a checkpoint (``models.pianist.checkpoint.LoadedPianist``)."""

    @property
    def config(self) -> PianistConfig:
        """Architecture settings."""

    @property
    def tensors(self) -> Mapping[str, Float32Array]:
        """Public name -> float32 array, read when asked for."""


class PianistWeights:
    """Matrices, norms and embeddings of one checkpoint.

    Args:
        source: settings and tensors.
        precision: of the matrices and the head; the embeddings are float16 unless f32.
    """

    def __init__(self, source: PianistSource, precision: Precision) -> None:
        self.config, self.precision = source.config, precision
        self._tensors = source.tensors
        self._stored = getattr(source.tensors, "packed", lambda name: None)
        kind = np.float32 if precision == "f32" else np.float16
        d = self.config.d_model
        prefix = "model.encoder.embeddings."
        self._notes = self._tensors[f"{prefix}word_embeddings.weight"].astype(kind)
        self._ids = self._tensors[_TABLE].astype(kind)
        layers = [f"{prefix}projection_layers.{i}" for i in range(SLOTS)]
        self._narrow = np.stack([self._tensors[f"{name}.weight"].T for name in layers])
        self._shift = np.concatenate([self._tensors[f"{name}.bias"] for name in layers])
        self._gain = np.float32(d**0.5)

    def matrix(self, name: str) -> Packed:
        """``encoder.{i}.qkv | o | gate_up | down``, of the decoder ``cross_*`` too."""
        half, layer, part = name.split(".")
        place = f"model.{half}.layers.{layer}"
        return _stack([self._packed(f"{place}.{which}.weight") for which in _PARTS[part]])

    def vector(self, name: str) -> Float32Array:
        """Return a norm's weight, under its public name."""
        return np.array(self._tensors[name], np.float32)

    def head(self, low: int, high: int) -> Packed:
        """Rows low..high of the head, which is the decoder's table."""
        packed = self._packed(_TABLE)
        rows = slice(low, high)
        scale = None if packed.scale is None else np.array(packed.scale[rows])
        shape = (high - low, packed.shape[1])
        return Packed(packed.precision, shape, np.array(packed.data[rows]), scale)

    def embed_notes(self, ids: NDArray[Any]) -> Float32Array:
        """Return what the encoder takes: ids (N, 8) -> (N, D)."""
        rows = self._notes[ids].astype(np.float32).transpose(1, 0, 2)  # (8, N, D)
        parts = np.matmul(rows, self._narrow)  # (8, N, D / 8)
        whole = parts.transpose(1, 0, 2).reshape(len(ids), -1)
        return np.asarray((whole + self._shift) * self._gain, np.float32)

    def embed(self, ids: NDArray[Any]) -> Float32Array:
        """Return what the decoder takes: ids (...) -> (..., D)."""
        return np.asarray(self._ids[ids].astype(np.float32) * self._gain, np.float32)

    def matrix_bytes(self) -> int:
        """Bytes that one step of the decoder reads, the head's left out."""
        names = ("qkv", "o", "gate_up", "down", "cross_q", "cross_o")
        layers = range(self.config.decoder_layers)
        return sum(self.matrix(f"decoder.{i}.{name}").nbytes for i in layers for name in names)

    def _packed(self, name: str) -> Packed:
        pair = self._stored(name) if self.precision == "int8" else None
        if pair is None:
            return pack(np.asarray(self._tensors[name], np.float32), self.precision)
        return Packed("int8", pair[0].shape, pair[0], pair[1][:, None])


def _stack(parts: list[Packed]) -> Packed:
    """Matrices of the same inputs, one below the other."""
    if len(parts) == 1:
        return parts[0]
    data = np.concatenate([p.data for p in parts])
    scales = [p.scale for p in parts if p.scale is not None]
    shape = (sum(p.shape[0] for p in parts), parts[0].shape[1])
    return Packed(parts[0].precision, shape, data, np.concatenate(scales) if scales else None)
