"""The torch executor: CUDA, MPS, or the CPU for parity. Same protocol as the OpenVINO one.

Shapes: B rows, T new tokens, S cache slots, D = d_model, H heads, K = D / H.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from arietta.arrays import AnyIntArray, BoolArray, Float32Array, IntArray
from arietta.errors import CheckpointError, UsageError
from arietta.models.aria.config import AriaConfig
from arietta.models.aria.protocol import (
    Ranges,
    Session,
    adapt_condition,
    check_append,
    check_fork,
    check_rewind,
    check_rows,
)
from arietta.models.aria.torch_module import (
    AriaDecoder,
    EncodeLayer,
    KeyValue,
    LayerCache,
    rotary_table,
)
from arietta.models.aria.trace import Trace, check_trace
from arietta.models.aria.waits import clocked
from arietta.models.aria.weights import Source

_DEAD = 1 << 30
"""Position of a cache slot that nothing may attend to."""
_COMPACT_SLOTS = 256
"""Dead slots in every row before the cache is packed again."""


class TorchBackend:
    """An Aria model on a torch device.

    Args:
        checkpoint: settings and tensors.
        device: ``cuda``, ``mps`` or ``cpu``.
        dtype: of the weights and the cache; float32 by default, bfloat16 halves the memory.
            Rotary tables and logits are float32 either way.

    Raises:
        CheckpointError: the tensors do not fit the settings.
        UsageError: the device is not there.
    """

    def __init__(
        self, checkpoint: Source, device: str = "cuda", dtype: torch.dtype = torch.float32
    ) -> None:
        there: dict[str, Callable[[], bool]] = {
            "cuda": torch.cuda.is_available,
            "mps": torch.backends.mps.is_available,
            "cpu": lambda: True,
        }
        kind = device.split(":")[0]
        if kind not in there or not there[kind]():
            here = ", ".join(name for name, check in there.items() if check())
            raise UsageError(f"torch has no device {device!r} here; it has {here}")
        self._config = checkpoint.config
        self.device = torch.device(device)
        self.dtype = dtype
        with torch.device("meta"):
            model = AriaDecoder(checkpoint.config)
        tensors = {
            name: torch.tensor(checkpoint.tensors[name], dtype=dtype, device=self.device)
            for name in checkpoint.config.tensor_shapes()
        }
        try:
            model.load_state_dict(tensors, strict=True, assign=True)
        except RuntimeError as error:
            raise CheckpointError(f"the tensors do not fit the model: {error}") from None
        self.model = model.eval().requires_grad_(False)
        self._heads: dict[tuple[tuple[int, int], ...], Tensor] = {}

    @property
    def config(self) -> AriaConfig:
        """Architecture settings."""
        return self._config

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding."""
        return self._config.vocab_size

    @property
    def max_seq_len(self) -> int:
        """Positions that a row may hold."""
        return self._config.max_seq_len

    def new_session(self, rows: int = 1) -> Session:
        """Return an empty session of B = ``rows``."""
        return clocked(self._config, TorchSession(self, rows))

    def wait_head(self, hidden: Float32Array) -> Float32Array:
        """Logits of waits (N, ``WAIT_ROWS``) of hidden states (N, D)."""
        x = torch.as_tensor(hidden, dtype=self.dtype, device=self.device)
        with torch.inference_mode():
            return _to_numpy(x @ self.model.table("wait_head").T)

    def head(self, hidden: Float32Array, ranges: Ranges | None = None) -> Float32Array:
        """Head output of hidden states (N, D) for the rows in half-open ranges only."""
        weight: Tensor = getattr(self.model, self._config.head).weight
        if ranges is not None:
            key = tuple((int(lo), int(hi)) for lo, hi in ranges)
            if any(not 0 <= lo < hi <= len(weight) for lo, hi in key):
                raise UsageError(f"head rows {key} lie outside 0..{len(weight)}")
            # Few sets of ranges occur; a copy of the rows is cheaper than gathering each time.
            if key not in self._heads:
                self._heads[key] = torch.cat([weight[lo:hi] for lo, hi in key])
            weight = self._heads[key]
        x = torch.as_tensor(hidden, dtype=self.dtype, device=self.device)
        with torch.inference_mode():
            return _to_numpy(x @ weight.T)

    def trace(
        self,
        rows: Sequence[AnyIntArray],
        layers: Sequence[int] = (),
        attention: Sequence[int] = (),
    ) -> list[Trace]:
        """Run rows from their start, one after the other; see ``trace.Tracer.trace``."""
        check_trace(self._config, rows, layers, attention)
        with torch.inference_mode():
            return [self._trace(np.asarray(row, np.int64), layers, attention) for row in rows]

    def _trace(self, row: IntArray, layers: Sequence[int], attention: Sequence[int]) -> Trace:
        trunk, found = self.model.model, Trace({}, {})
        ids = torch.as_tensor(row, device=self.device)[None]
        x = trunk.embedded(ids)
        cos, sin = rotary_table(torch.arange(len(row), device=self.device), self._config.head_dim)
        for number in range(self._config.n_layers + 1):
            if number:
                layer = trunk.encode_layers[number - 1]
                assert isinstance(layer, EncodeLayer)
                if number in attention:
                    found.attention[number] = _to_numpy(_attention(layer, x, cos, sin)[0])
                x, _ = layer(x, cos, sin, None, None)
            if number in layers:
                last = number == self._config.n_layers
                found.states[number] = _to_numpy((trunk.out_layer_norm(x) if last else x)[0])
        return found


def light_backend(checkpoint: Source, device: str) -> TorchBackend:
    """Open a model in float32 on the CPU, else with weights and cache in bfloat16."""
    return TorchBackend(checkpoint, device, torch.float32 if device == "cpu" else torch.bfloat16)


def _attention(layer: EncodeLayer, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Attention (B, H, T, T) of a layer to its input (B, T, D), which no fused kernel gives."""
    q, k, _ = layer.queries_keys_values(x, cos, sin)
    scores = (q @ k.transpose(2, 3)).float() * q.shape[3] ** -0.5
    later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=x.device).triu(1)
    shares: Tensor = scores.masked_fill(later, float("-inf")).softmax(dim=-1)
    return shares


class TorchSession:
    """Rows of tokens with their key-value cache.

    The cache is one column of slots for all rows that only grows; ``_slots`` says which position
    of its row a slot holds. Rewinding marks slots dead; they are packed away once there are many.
    """

    def __init__(self, backend: TorchBackend, rows: int) -> None:
        check_rows(rows)
        self._backend = backend
        self._past: list[LayerCache] | None = None
        self._lengths = np.zeros(rows, np.int64)
        self._slots = np.zeros((rows, 0), np.int64)

    @property
    def rows(self) -> int:
        """B."""
        return len(self._lengths)

    @property
    def lengths(self) -> IntArray:
        """(B,) positions that each row holds, the condition's included."""
        return self._lengths.copy()

    def append(
        self,
        ids: AnyIntArray,
        *,
        last: bool = False,
        counts: AnyIntArray | None = None,
        waits: IntArray | None = None,
    ) -> Float32Array:
        """Run the next tokens of every row; see ``waits.WaitingSession``."""
        ids, count = check_append(self._backend, self._lengths, ids, counts)
        rows = torch.as_tensor(ids.astype(np.int64), device=self._backend.device)
        hidden = self._run(rows, None, count, waits)
        if not last:
            return _to_numpy(hidden)
        final = torch.as_tensor(np.maximum(count - 1, 0), device=self._backend.device)
        return _to_numpy(hidden[torch.arange(self.rows, device=self._backend.device), final])

    def head(self, hidden: Float32Array, ranges: Ranges | None = None) -> Float32Array:
        """Head output of hidden states (N, D); see ``protocol.Session``."""
        return self._backend.head(hidden, ranges)

    def wait_head(self, hidden: Float32Array) -> Float32Array:
        """Logits of waits (N, ``WAIT_ROWS``) of hidden states (N, D)."""
        return self._backend.wait_head(hidden)

    def fork(self, index: AnyIntArray) -> None:
        """Let row b go on from what row ``index[b]`` holds now; B becomes ``len(index)``."""
        index = check_fork(self.rows, index)
        self._lengths, self._slots = self._lengths[index], self._slots[index]
        if self._past is not None:
            rows = torch.as_tensor(index, device=self._backend.device)
            self._past = [LayerCache((k[rows], v[rows])) for k, v in self._used()]

    def merge(self, other: Session) -> None:
        """Take the rows of another session, behind one's own; the whole cache is copied."""
        assert isinstance(other, TorchSession)
        used = max(self._slots.shape[1], other._slots.shape[1])

        def joined(mine: Tensor, theirs: Tensor) -> Tensor:  # (B, H, S, K)
            pad = torch.nn.functional.pad
            parts = [pad(x, (0, 0, 0, used - x.shape[2])) for x in (mine, theirs)]
            return torch.cat(parts)

        self._past = [
            LayerCache((joined(a, c), joined(b, d)))
            for (a, b), (c, d) in zip(self._used(), other._used(), strict=True)
        ]
        self._slots = np.concatenate(
            [
                np.pad(s, ((0, 0), (0, used - s.shape[1])), constant_values=_DEAD)
                for s in (self._slots, other._slots)
            ]
        )
        self._lengths = np.concatenate((self._lengths, other._lengths))

    def rewind(self, lengths: AnyIntArray) -> None:
        """Forget what row b holds at positions ``lengths[b]`` and on."""
        target = check_rewind(self._lengths, lengths)
        self._slots[self._slots >= target[:, None]] = _DEAD
        self._lengths = target
        self._compact()

    def condition(self, vectors: Float32Array, rows: BoolArray | None = None) -> None:
        """Place an adapted condition vector at position 0 of an empty session (E.4)."""
        if not self._backend.config.conditioned:
            raise UsageError("this model takes no condition")
        adapter = self._backend.model.embedding_adapter
        x = adapt_condition(_to_numpy(adapter.weight), vectors, self._lengths)[:, 0]
        first = torch.as_tensor(x, dtype=self._backend.dtype, device=self._backend.device)
        none = torch.zeros((self.rows, 0), dtype=torch.int64, device=self._backend.device)
        self._run(none, first, np.ones(self.rows, np.int64))
        if rows is not None:
            self._slots[~np.asarray(rows, bool), 0] = _DEAD

    def _run(
        self,
        ids: Tensor,
        first: Tensor | None,
        count: IntArray,
        waits: IntArray | None = None,
    ) -> Tensor:
        """Append tokens (B, T), of which ``count`` per row are real; hidden states (B, T, D)."""
        tokens = ids.shape[1] + (first is not None)
        steps = np.arange(tokens)
        positions = self._lengths[:, None] + steps  # (B, T)
        new = np.where(steps < count[:, None], positions, _DEAD)
        slots = np.concatenate((self._slots, new), axis=1)
        seen = slots[:, None, :] <= positions[:, :, None]
        # A padding token sees at least itself: attention over nothing gives NaN.
        own = np.arange(slots.shape[1])[None] == (self._slots.shape[1] + steps)[:, None]
        mask = torch.as_tensor(seen | own, device=self._backend.device)[:, None]  # (B, 1, T, S)
        at = torch.as_tensor(positions, device=self._backend.device)
        with torch.inference_mode():
            hidden: Tensor
            if self._past is None:
                self._past = [LayerCache() for _ in range(self._backend.config.n_layers)]
            hidden, _ = self._backend.model.model(
                ids,
                first=first,
                positions=at,
                mask=mask,
                past=self._past,
                waits=None if waits is None else torch.as_tensor(waits, device=ids.device),
            )
        self._slots = slots
        self._lengths = self._lengths + count
        self._compact()
        return hidden

    def _used(self) -> list[KeyValue]:
        """Return the keys and values (B, H, S, K) of every layer."""
        assert self._past is not None
        return [cache.used for cache in self._past]

    def _compact(self) -> None:
        """Take slots that are dead in every row out of the cache, when there are many."""
        live = (self._slots != _DEAD).any(axis=0)
        dead = len(live) - int(np.count_nonzero(live))
        if self._past is None or dead < _COMPACT_SLOTS or 4 * dead < len(live):
            return
        keep = torch.as_tensor(np.flatnonzero(live), device=self._backend.device)
        self._past = [LayerCache((k[:, :, keep], v[:, :, keep])) for k, v in self._used()]
        self._slots = self._slots[:, live]


def _to_numpy(x: Tensor) -> Float32Array:
    found: Float32Array = x.to(torch.float32).cpu().numpy()
    return found
