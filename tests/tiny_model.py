"""A stand-in for the real executors: plain numpy in double precision, one row at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arietta.errors import UsageError
from arietta.generation.engine import Engine
from arietta.generation.speculative import Draft
from arietta.models.aria.config import NORM_EPS, ROPE_BASE, AriaConfig
from arietta.tokenizers.aria import AriaTokenizer


def _norm(x, weight, bias):
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + NORM_EPS) * weight + bias


def _rotate(x, positions, k):
    angle = positions[:, None] * ROPE_BASE ** (-np.arange(0, k, 2) / k)
    cos, sin = np.cos(angle), np.sin(angle)  # (T, K/2)
    a, b = x[..., : k // 2], x[..., k // 2 :]
    return np.concatenate((a * cos - b * sin, b * cos + a * sin), axis=-1)


class NumpyBackend:
    """The specification's D.2, read literally."""

    def __init__(self, config: AriaConfig, tensors: Mapping[str, Any]) -> None:
        self.config = config
        self.tensors = {name: np.asarray(tensors[name], np.float64) for name in tensors}
        self.vocab_size, self.max_seq_len = config.vocab_size, config.max_seq_len
        self.tokens_run = 0

    def new_session(self, rows: int = 1) -> NumpySession:
        return NumpySession(self, rows)


@dataclass
class _Cache:
    keys: list[Any]  # per layer (H, S, K)
    values: list[Any]
    hidden_from: int = 0  # positions before this one are masked out

    def copy(self):
        return _Cache(list(self.keys), list(self.values), self.hidden_from)


class NumpySession:
    def __init__(self, backend: NumpyBackend, rows: int) -> None:
        c = backend.config
        empty = np.zeros((c.n_heads, 0, c.head_dim))
        self._backend = backend
        self._rows = [_Cache([empty] * c.n_layers, [empty] * c.n_layers) for _ in range(rows)]

    @property
    def rows(self) -> int:
        return len(self._rows)

    @property
    def lengths(self):
        return np.array([row.keys[0].shape[1] for row in self._rows], np.int64)

    def append(self, ids, *, last: bool = False, counts=None):
        ids = np.asarray(ids)
        assert ids.ndim == 2 and len(ids) == self.rows
        counts = np.full(self.rows, ids.shape[1]) if counts is None else np.asarray(counts)
        table = self._backend.tensors["model.tok_embeddings.weight"]
        out = np.zeros((*ids.shape, self._backend.config.d_model))
        for row, cache in enumerate(self._rows):
            n = int(counts[row])
            if n:
                out[row, :n] = self._run(cache, table[ids[row, :n]])
        return out[np.arange(self.rows), counts - 1] if last else out

    def _run(self, cache: _Cache, x):
        c, t = self._backend.config, self._backend.tensors
        k, start = c.head_dim, cache.keys[0].shape[1]
        n = len(x)
        if start + n > c.max_seq_len:
            raise UsageError("context overflow")
        self._backend.tokens_run += n
        positions = np.arange(start, start + n)
        seen = np.arange(start + n)[None] <= positions[:, None]
        seen &= (np.arange(start + n) >= cache.hidden_from)[None] | np.eye(
            n, start + n, start, bool
        )
        for i in range(c.n_layers):
            name = f"model.encode_layers.{i}."
            y = _norm(x, t[name + "norm1.weight"], t[name + "norm1.bias"])
            qkv = (y @ t[name + "mixed_qkv.weight"].T).reshape(n, 3, c.n_heads, k)
            q, key, value = qkv.transpose(1, 2, 0, 3)
            cache.keys[i] = np.concatenate((cache.keys[i], _rotate(key, positions, k)), axis=1)
            cache.values[i] = np.concatenate((cache.values[i], value), axis=1)
            scores = _rotate(q, positions, k) @ cache.keys[i].swapaxes(1, 2) * k**-0.5
            scores = np.where(seen, scores, -np.inf)
            scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
            scores /= scores.sum(axis=-1, keepdims=True)
            attended = (scores @ cache.values[i]).transpose(1, 0, 2).reshape(n, c.d_model)
            x = x + attended @ t[name + "att_proj_linear.weight"].T
            y = _norm(x, t[name + "norm2.weight"], t[name + "norm2.bias"])
            gate = y @ t[name + "ff_gate_proj.weight"].T
            gate = gate / (1 + np.exp(-gate)) * (y @ t[name + "ff_up_proj.weight"].T)
            x = x + gate @ t[name + "ff_down_proj.weight"].T
        return _norm(x, t["model.out_layer_norm.weight"], t["model.out_layer_norm.bias"])

    def head(self, hidden, ranges=None):
        weight = self._backend.tensors[f"{self._backend.config.head}.weight"]
        if ranges is not None:
            weight = np.concatenate([weight[lo:hi] for lo, hi in ranges])
        # One row at a time, so that a row's logits do not depend on its neighbours' at all.
        return np.array([h @ weight.T for h in hidden])

    def fork(self, index) -> None:
        self._rows = [self._rows[int(i)].copy() for i in index]

    def merge(self, other) -> None:
        self._rows += other._rows

    def rewind(self, lengths) -> None:
        for row, n in zip(self._rows, lengths, strict=True):
            assert 0 <= n <= row.keys[0].shape[1]
            row.keys = [x[:, : int(n)] for x in row.keys]
            row.values = [x[:, : int(n)] for x in row.values]

    def condition(self, vectors, rows=None) -> None:
        assert not self.lengths.any()
        adapter = self._backend.tensors["embedding_adapter.weight"]
        for b, cache in enumerate(self._rows):
            vector = np.atleast_2d(vectors)[b % len(np.atleast_2d(vectors))]
            self._run(cache, (adapter @ vector)[None])
            if rows is not None and not rows[b]:
                cache.hidden_from = 1


def random_tensors(config: AriaConfig, seed: int, scale: float = 0.5) -> dict[str, Any]:
    """Weights large enough that every token has its say."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in config.tensor_shapes().items():
        if len(shape) == 1:
            centre = 1.0 if name.endswith("weight") else 0.0
            tensors[name] = (centre + 0.1 * rng.standard_normal(shape)).astype(np.float32)
        else:
            tensors[name] = (scale * rng.standard_normal(shape)).astype(np.float32)
    return tensors


class Tiny:
    """Makes tiny models and engines."""

    def config(self, vocab: str = "piano", **changes: Any) -> AriaConfig:
        values: dict[str, Any] = {
            "d_model": 16, "n_heads": 2, "n_layers": 2, "ff_mult": 2, "max_seq_len": 2048,
        }  # fmt: skip
        return AriaConfig(vocab_size=AriaTokenizer(vocab).vocab_size, **{**values, **changes})

    def backend(
        self, vocab: str = "piano", *, seed: int = 0, scale: float = 0.5, **changes: Any
    ) -> NumpyBackend:
        config = self.config(vocab, **changes)
        return NumpyBackend(config, random_tensors(config, seed, scale))

    def engine(
        self,
        vocab: str = "piano",
        *,
        draft: tuple[str, int] | None = None,
        depth: int | None = 3,
        draft_changes: dict[str, Any] | None = None,
        **changes: Any,
    ) -> Engine:
        small = None
        if draft is not None:
            name, seed = draft
            small = Draft(
                self.backend(name, seed=seed, **(draft_changes or {})),
                AriaTokenizer(name),
                depth,
            )
        return Engine(self.backend(vocab, **changes), AriaTokenizer(vocab), draft=small)

    def prompt(self, vocab: str = "piano", notes: int = 8) -> list[int]:
        tokenizer = AriaTokenizer(vocab)
        at = np.arange(notes) * 310
        ids = tokenizer.encode_columns(
            at, np.full(notes, 400), 60 + np.arange(notes) % 12, np.full(notes, 70), eos=False
        )
        return [int(i) for i in ids]


@pytest.fixture(scope="session")
def tiny() -> Tiny:
    return Tiny()


@pytest.fixture(scope="session")
def numpy_backend() -> type[NumpyBackend]:
    return NumpyBackend


@pytest.fixture(scope="session")
def aria_model_dir(golden_dir: Path) -> Path:
    """Random checkpoints in the public form with what the public code makes of them."""
    return golden_dir / "aria" / "model"
