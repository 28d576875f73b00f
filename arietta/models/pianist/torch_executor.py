"""Pianist Transformer by torch, for GPUs; the same protocol as ``openvino.PianistOpenVino``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from arietta.arrays import AnyIntArray, Float32Array
from arietta.errors import MissingExtraError, UsageError
from arietta.models.pianist.config import SLOTS, PianistConfig
from arietta.models.pianist.protocol import EncodedScore
from arietta.tokenizers.pianist import SLOT_RANGES

if TYPE_CHECKING:
    import torch

    from arietta.models.aria.torch_module import KeyValue
    from arietta.models.pianist.torch_module import Memory, PianistTransformer
    from arietta.models.pianist.weights import PianistSource


def open_torch(checkpoint: PianistSource, device: str) -> PianistTorch:
    """Return the model of a checkpoint on a device.

    Raises:
        MissingExtraError: torch is not installed.
        UsageError: the device is not there.
    """
    try:
        import torch
    except ImportError:
        raise MissingExtraError(f"`device` {device}", "gpu") from None
    from arietta.models.pianist.torch_module import PianistTransformer

    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(device, False):
        have = ", ".join(name for name, here in there.items() if here)
        raise UsageError(f"`device` {device}: not on this machine, which has {have}")
    model = PianistTransformer(checkpoint.config)
    tensors = checkpoint.tensors
    model.load_state_dict({n: torch.tensor(np.array(tensors[n])) for n in tensors})
    return PianistTorch(model.to(device).eval())


class PianistTorch:
    """A Pianist Transformer as a torch module, wherever it lies."""

    def __init__(self, model: PianistTransformer) -> None:
        self.model = model
        self.device = next(model.parameters()).device

    @property
    def config(self) -> PianistConfig:
        """Architecture settings."""
        return self.model.config

    def encode(
        self, ids: AnyIntArray, real: int | None = None, seen: int | None = None
    ) -> EncodedScore:
        """Read a window of a score; see ``protocol.PianistBackend.encode``."""
        import torch

        row = torch.as_tensor(np.asarray(ids, np.int64), device=self.device)[None]
        notes = row.shape[1] // SLOTS
        real = notes if real is None else real
        mask = None
        if real < notes:
            mask = torch.arange(notes, device=self.device)[None] < real
        with torch.inference_mode():
            states = self.model.model.encoder(row, mask)
            memory = self.model.model.decoder.memory(states, None)
        parts = tuple(part for pair in memory.past for part in pair)
        return EncodedScore(parts, np.arange(notes) < (real if seen is None else seen))

    def new_session(self, scores: Sequence[EncodedScore]) -> PianistTorchSession:
        """Return a session of one row for each of ``scores``."""
        return PianistTorchSession(self, scores)


class PianistTorchSession:
    """Rows of a performance with their keys and values."""

    def __init__(self, backend: PianistTorch, scores: Sequence[EncodedScore]) -> None:
        import torch
        from torch.nn.functional import pad

        from arietta.models.pianist.torch_module import Memory

        self._backend = backend
        longest = max(len(score.seen) for score in scores)
        mask = torch.zeros((len(scores), 1, 1, longest), dtype=torch.bool)
        for row, score in enumerate(scores):
            mask[row, 0, 0, np.flatnonzero(score.seen)] = True
        parts = [
            torch.cat([pad(s.parts[i], (0, 0, 0, longest - len(s.seen))) for s in scores])
            for i in range(2 * backend.config.decoder_layers)
        ]
        pairs = list(zip(parts[::2], parts[1::2], strict=True))
        self._memory: Memory = Memory(pairs, None if mask.all() else mask.to(backend.device))
        self._past: list[KeyValue] | None = None

    def append(self, ids: AnyIntArray) -> Float32Array:
        """Run the next ids (B, T) of every row; see ``protocol.PianistSession.append``."""
        import torch

        with torch.inference_mode():
            row = torch.as_tensor(np.asarray(ids, np.int64), device=self._backend.device)
            hidden, self._past = self._backend.model.model.decoder(row, self._memory, self._past)
            return _array(hidden[:, -1])

    def logits(self, hidden: Float32Array, slot: int) -> Float32Array:
        """Logits of a slot's ids; see ``protocol.PianistSession.logits``."""
        import torch

        with torch.inference_mode():
            states = torch.as_tensor(hidden, device=self._backend.device)
            return _array(self._backend.model.head(states, *SLOT_RANGES[slot]))


def _array(x: torch.Tensor) -> Float32Array:
    return np.asarray(x.float().cpu().numpy(), np.float32)
