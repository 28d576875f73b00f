"""Pianist Transformer with its decoder on our own kernel (``_vnni.c``), where that can run.

Same protocol as ``openvino.PianistOpenVino``, whose encoder it uses. A row's numbers depend on its
own ids and score alone, bit for bit, whatever stands beside it.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from arietta.arrays import AnyIntArray, Float32Array, Int8Array, Int32Array
from arietta.errors import UsageError
from arietta.models.kernel.bindings import CHUNK, PAGE, Matrix, address, library
from arietta.models.kernel.packing import BLOCK_ROWS, Packed, Precision, alternate, int4_group, tile
from arietta.models.kernel.rotary import rotary_tables
from arietta.models.kernel.threads import thread_count
from arietta.models.pianist.config import SLOTS, PianistConfig
from arietta.models.pianist.openvino import ScoreEncoder
from arietta.models.pianist.protocol import EncodedScore, cap_logits
from arietta.models.pianist.weights import PianistWeights
from arietta.tokenizers.pianist import SLOT_RANGES

if TYPE_CHECKING:
    from arietta.models.pianist.weights import PianistSource

_MATRICES = ("qkv", "o", "cross_q", "cross_o", "gate_up", "down")
_NORMS = tuple(
    f"{side}_{block}_layernorm"
    for block in ("self_attn", "cross_attn", "feedforward")
    for side in ("pre", "post")
)


class _Layer(ctypes.Structure):
    _fields_ = (*((name, Matrix) for name in _MATRICES), ("norm", ctypes.c_void_p * 6))


class _Model(ctypes.Structure):
    _fields_ = (
        *(
            (name, ctypes.c_int32)
            for name in ("width", "heads", "key_heads", "head_width", "layers", "inner")
        ),
        ("epsilon", ctypes.c_float),
        ("scale", ctypes.c_float),
        ("layer", ctypes.POINTER(_Layer)),
        ("norm", ctypes.c_void_p),
        ("cos", ctypes.c_void_p),
        ("sin", ctypes.c_void_p),
    )


def supports(config: PianistConfig, precision: Precision) -> bool:
    """Whether the kernel can run a model of these settings in this precision here."""
    return (
        library() is not None
        and precision in ("int8", "int4")
        and config.head_dim in (16, 32, 64, 128)
        and config.n_heads // config.n_kv_heads in (1, 2, 4)
        and (config.n_kv_heads * config.head_dim) % BLOCK_ROWS == 0
        and config.d_model % BLOCK_ROWS == 0
        and config.ff_dim % 16 == 0
    )


class PianistNative:
    """A Pianist Transformer on the kernel; arguments as for ``pianist.PianistOpenVino``.

    Raises:
        UsageError: the kernel cannot run this (see ``supports``), or fewer than one thread.
    """

    def __init__(
        self, checkpoint: PianistSource, precision: Precision = "int8", threads: int | None = None
    ) -> None:
        config = self._config = checkpoint.config
        self.threads = thread_count(threads)
        if not supports(config, precision):
            raise UsageError(f"the compiled kernel cannot run this model in {precision} here")
        lib = library()
        assert lib is not None
        self._lib = lib
        self.precision: Precision = precision
        self.weights = PianistWeights(checkpoint, precision)
        self._encoder = ScoreEncoder(config, self.weights, precision, self.threads)
        self._held: list[NDArray[Any]] = []  # what the kernel reads where it lies
        cos, sin = rotary_tables(config.max_notes * SLOTS + 1, config.head_dim, config.rope_base)
        half = config.head_dim // 2
        self._layers = (_Layer * config.decoder_layers)()
        for i in range(config.decoder_layers):
            for name in _MATRICES:
                packed = self.weights.matrix(f"decoder.{i}.{name}")
                if name == "gate_up":
                    packed = _alternated(packed)
                setattr(self._layers[i], name, self._matrix(packed))
            for j, name in enumerate(_NORMS):
                self._layers[i].norm[j] = self._vector(f"model.decoder.layers.{i}.{name}.weight")
        self._head = self._matrix(self.weights.head(0, config.vocab_size))
        self._model = _Model(
            config.d_model,
            config.n_heads,
            config.n_kv_heads,
            config.head_dim,
            config.decoder_layers,
            config.ff_dim,
            config.norm_eps,
            config.scale,
            self._layers,
            self._vector("model.decoder.norm.weight"),
            self._hold(np.ascontiguousarray(cos[:, :half])),
            self._hold(np.ascontiguousarray(sin[:, :half])),
        )
        self._team = lib.vnni_team(self.threads)
        if not self._team:
            raise MemoryError("no memory for the decoder's threads")
        weakref.finalize(self, lib.vnni_disband, self._team)

    def _hold(self, array: NDArray[Any]) -> int:
        self._held.append(array)
        return address(array)

    def _vector(self, name: str) -> int:
        return self._hold((1 + self.weights.vector(name)).astype(np.float32))

    def _matrix(self, packed: Packed) -> Matrix:
        rows, inputs = packed.shape
        codes, scales = tile(packed)
        four = packed.precision == "int4"
        group = (
            int4_group(inputs) if four else next(g for g in (128, 64, 32, 16) if inputs % g == 0)
        )
        padded = -(-rows // BLOCK_ROWS) * BLOCK_ROWS
        places = self._hold(codes), self._hold(scales)
        return Matrix(*places, padded, inputs, group, 4 if four else 8)

    @property
    def config(self) -> PianistConfig:
        """Architecture settings."""
        return self._config

    def encode(
        self, ids: AnyIntArray, real: int | None = None, seen: int | None = None
    ) -> EncodedScore:
        """Read a window of a score; see ``pianist.PianistBackend.encode``."""
        encoded = self._encoder.encode(ids, real, seen)
        notes = len(encoded.seen)
        pages = [self.new_page() for _ in range(-(-notes // PAGE))]
        table = np.array([address(page) for page in pages], np.uintp)
        for layer in range(self._config.decoder_layers):
            key, value = encoded.parts[2 * layer : 2 * layer + 2]
            self._lib.vnni_remember(
                layer,
                self._config.n_kv_heads,
                self._config.head_dim,
                notes,
                address(key),
                address(value),
                address(table),
            )
        return EncodedScore(tuple(pages), encoded.seen)

    def new_page(self) -> Int8Array:
        """Return an empty cache page; zeros, since unwritten slots have to hold finite numbers."""
        c = self._config
        # A key and a value of K bytes, each with a float32 scale.
        return np.zeros(2 * PAGE * (c.head_dim + 4) * c.n_kv_heads * c.decoder_layers, np.int8)

    def new_session(self, scores: Sequence[EncodedScore]) -> PianistNativeSession:
        """Return a session of one row for each of ``scores``."""
        return PianistNativeSession(self, scores)

    def logits(self, hidden: Float32Array, slot: int) -> Float32Array:
        """Logits of the ids of ``SLOT_RANGES[slot]`` for hidden states (B, D): (B, width)."""
        low, high = SLOT_RANGES[slot]
        first, last = low // BLOCK_ROWS, -(-high // BLOCK_ROWS)
        hidden = np.ascontiguousarray(hidden, np.float32)
        out = np.empty((len(hidden), (last - first) * BLOCK_ROWS), np.float32)
        self._check(
            self._lib.vnni_product(
                self._team,
                ctypes.byref(self._head),
                first,
                last,
                len(hidden),
                address(hidden),
                address(out),
            )
        )
        wanted = out[:, low - first * BLOCK_ROWS : high - first * BLOCK_ROWS]
        return cap_logits(wanted, self._config)

    def decode(
        self,
        x: Float32Array,
        rows: Int32Array,
        positions: Int32Array,
        pages: NDArray[np.uintp],
        score_pages: NDArray[np.uintp],
        seen: Int32Array,
    ) -> None:
        """Run ids through all layers; x (N, D) becomes their hidden states in place.

        Args:
            x: embedded ids, those of one row together and in order, at most ``CHUNK``.
            rows, positions: (N,) row and position of each.
            pages: (B, P) addresses of each row's cache pages.
            score_pages: (B, Q) of each row's score.
            seen: (B,) how many notes of the score each row attends to.
        """
        self._check(
            self._lib.vnni_decode_notes(
                self._team,
                ctypes.byref(self._model),
                len(x),
                address(x),
                address(rows),
                address(positions),
                address(pages),
                pages.shape[1],
                address(score_pages),
                score_pages.shape[1],
                address(seen),
            )
        )

    @staticmethod
    def _check(result: int) -> None:
        if result:
            raise MemoryError("no memory for the decoder's activations")


class PianistNativeSession:
    """Rows of a performance, each with cache pages of its own and the pages of its score."""

    def __init__(self, backend: PianistNative, scores: Sequence[EncodedScore]) -> None:
        self._backend = backend
        self._scores = list(scores)  # their pages are read where they lie
        self._at = 0
        rows = len(scores)
        self._pages: list[list[Int8Array]] = [[] for _ in range(rows)]
        most = backend.config.max_notes * SLOTS + 1
        self._table = np.zeros((rows, -(-most // PAGE)), np.uintp)
        self._score_table = np.zeros((rows, max(len(s.parts) for s in scores)), np.uintp)
        for row, score in enumerate(scores):
            self._score_table[row, : len(score.parts)] = [address(page) for page in score.parts]
        # Always the first so many.
        self._seen = np.array([int(score.seen.sum()) for score in scores], np.int32)

    def append(self, ids: AnyIntArray) -> Float32Array:
        """Run the next ids (B, T) of every row; see ``pianist.PianistSession.append``."""
        rows, tokens = ids.shape
        end = self._at + tokens
        for row, pages in enumerate(self._pages):
            while len(pages) * PAGE < end:
                pages.append(self._backend.new_page())
                self._table[row, len(pages) - 1] = address(pages[-1])
        x = self._backend.weights.embed(ids)
        step = max(1, CHUNK // rows)
        for start in range(0, tokens, step):
            part = np.ascontiguousarray(x[:, start : start + step])
            count = part.shape[1]
            positions = np.arange(self._at + start, self._at + start + count, dtype=np.int32)
            self._backend.decode(
                part.reshape(rows * count, -1),
                np.repeat(np.arange(rows, dtype=np.int32), count),
                np.tile(positions, rows),
                self._table,
                self._score_table,
                self._seen,
            )
        self._at = end
        return part[:, -1]

    def logits(self, hidden: Float32Array, slot: int) -> Float32Array:
        """Logits of a slot's ids; see ``pianist.PianistSession.logits``."""
        return self._backend.logits(hidden, slot)


def _alternated(packed: Packed) -> Packed:
    """gate above up -> 16 rows of each in turn, as the kernel takes them."""
    half = packed.shape[0] // 2
    assert packed.scale is not None
    data = alternate(packed.data[:half], packed.data[half:])
    scale = alternate(packed.scale[:half], packed.scale[half:])
    return Packed(packed.precision, packed.shape, data, scale)
