"""A checkpoint's tensors in the form that the graphs take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from arietta.errors import CheckpointError
from arietta.graphs.packing import Packed, Precision, group_by_head, pack_f32, pack_int8
from arietta.models.config import AriaConfig

Floats = NDArray[np.float32]


class Source(Protocol):
    """What is read of a checkpoint."""

    @property
    def config(self) -> AriaConfig:
        """Architecture settings."""

    @property
    def tensors(self) -> Mapping[str, Floats]:
        """Public name -> float32 array, read when asked for."""


class Weights:
    """Matrices, norms, embedding table and head of one checkpoint in one precision."""

    def __init__(self, source: Source, precision: Precision) -> None:
        self._config = source.config
        self._tensors = source.tensors
        self._pack: Callable[[Floats], Packed] = pack_f32 if precision == "f32" else pack_int8
        # What a graph reads in place has to live as long as the graph does.
        self._kept: list[Any] = []
        self._embedding = self._tensors["model.tok_embeddings.weight"]

    @property
    def head_rows(self) -> int:
        """Rows of the head."""
        return int(self._config.tensor_shapes()[f"{self._config.head}.weight"][0])

    @property
    def adapter(self) -> Floats:
        """(D, E) of a conditioned model.

        Raises:
            CheckpointError: the model takes no condition.
        """
        if not self._config.conditioned:
            raise CheckpointError("this model takes no condition vector; use a conditioned one")
        return self._tensors["embedding_adapter.weight"]

    def embed(self, ids: NDArray[Any]) -> Floats:
        """Rows of the embedding table: ids (B, T) -> (B, T, D)."""
        return np.asarray(self._embedding[ids], np.float32)

    def matrix(self, name: str) -> Packed:
        """``layers.{i}.qkv | proj | gate | up | down``, the rows of qkv grouped by head."""
        _, layer, part = name.split(".")
        public = {
            "qkv": "mixed_qkv",
            "proj": "att_proj_linear",
            "gate": "ff_gate_proj",
            "up": "ff_up_proj",
            "down": "ff_down_proj",
        }[part]
        w = self._tensors[f"model.encode_layers.{layer}.{public}.weight"]
        if part == "qkv":
            w = group_by_head(w, self._config.n_heads)
        return self._keep(self._pack(w))

    def vector(self, name: str) -> Floats:
        """Scale or shift of a norm."""
        values = np.ascontiguousarray(self._tensors[name], np.float32)
        self._kept.append(values)
        return values

    def head(self, low: int, high: int) -> Packed:
        """Rows low..high of the head."""
        return self._keep(self._pack(self._tensors[f"{self._config.head}.weight"][low:high]))

    def _keep(self, packed: Packed) -> Packed:
        self._kept.append(packed)
        return packed


def open_weights(source: Source, precision: Precision) -> Weights:
    """The weights of a checkpoint in one precision."""
    return Weights(source, precision)
