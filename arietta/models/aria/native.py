"""The decoder on our own kernel (``_vnni.c``), where it was compiled and the processor can run it.

Same protocol as ``openvino.OpenVinoBackend``. What it adds: it reads weights at the speed of the
memory, starts without a framework, lets variations share the pages of their prompt, and gives a
token the same bits however the tokens before it were cut, batched or spread over threads.

Shapes: B rows, T new tokens, N tokens of one call, D = d_model, H heads, K = head width.
"""

from __future__ import annotations

import ctypes
import weakref

import numpy as np
from numpy.typing import NDArray

from arietta.arrays import AnyIntArray as Ids
from arietta.arrays import Float32Array as Floats
from arietta.errors import UsageError
from arietta.models.aria.clock import WAIT_ROWS
from arietta.models.aria.config import NORM_EPS, ROPE_BASE, AriaConfig
from arietta.models.aria.protocol import (
    Ranges,
    Session,
    adapt_condition,
    check_append,
    check_fork,
    check_rewind,
    check_rows,
)
from arietta.models.aria.waits import clocked
from arietta.models.aria.weights import Source, open_weights
from arietta.models.kernel.bindings import CHUNK, PAGE, Matrix, address, library
from arietta.models.kernel.packing import BLOCK_ROWS, Precision, int4_group
from arietta.models.kernel.rotary import rotary_tables
from arietta.models.kernel.threads import physical_cores


class _Layer(ctypes.Structure):
    _fields_ = (
        *((name, Matrix) for name in ("qkv", "proj", "gate_up", "down")),
        *(
            (name, ctypes.c_void_p)
            for name in ("norm1_weight", "norm1_bias", "norm2_weight", "norm2_bias")
        ),
    )


class _Model(ctypes.Structure):
    _fields_ = (
        ("width", ctypes.c_int32),
        ("heads", ctypes.c_int32),
        ("layers", ctypes.c_int32),
        ("inner", ctypes.c_int32),
        ("epsilon", ctypes.c_float),
        ("layer", ctypes.POINTER(_Layer)),
        ("norm_weight", ctypes.c_void_p),
        ("norm_bias", ctypes.c_void_p),
        ("cos", ctypes.c_void_p),
        ("sin", ctypes.c_void_p),
    )


def supports(config: AriaConfig, precision: Precision) -> bool:
    """Whether the kernel can run a model of these settings in this precision here."""
    return (
        library() is not None
        and precision in ("int8", "int4")
        and config.head_dim in (16, 32, 64, 128)
        and config.d_model % BLOCK_ROWS == 0
        and config.ff_dim % 16 == 0
    )


class NativeBackend:
    """An Aria model on the kernel.

    Args:
        checkpoint: settings and tensors.
        precision: ``int8`` or ``int4``.
        threads: processor threads; all physical cores by default.

    Raises:
        UsageError: the kernel cannot run this (see ``supports``), or fewer than one thread.
    """

    def __init__(
        self, checkpoint: Source, precision: Precision = "int8", threads: int | None = None
    ) -> None:
        if threads is not None and threads < 1:
            raise UsageError(f"threads must be at least 1, not {threads}")
        config = checkpoint.config
        if not supports(config, precision):
            raise UsageError(f"the compiled kernel cannot run this model in {precision} here")
        lib = library()
        assert lib is not None
        self._lib = lib
        self._config = config
        self.precision: Precision = precision
        self.threads = threads or physical_cores()
        self.weights = open_weights(checkpoint, precision, "tiles")
        cos, sin = rotary_tables(config.max_seq_len, config.head_dim, ROPE_BASE)
        half = config.head_dim // 2
        self._tables = np.ascontiguousarray(cos[:, :half]), np.ascontiguousarray(sin[:, :half])
        d, inner = config.d_model, config.ff_dim
        self._layers = (_Layer * config.n_layers)()
        for i in range(config.n_layers):
            layer = self._layers[i]
            for part, rows, inputs in (
                ("qkv", 3 * d, d),
                ("proj", d, d),
                ("gate_up", 2 * inner, d),
                ("down", d, inner),
            ):
                setattr(layer, part, self._matrix(f"layers.{i}.{part}", rows, inputs))
            for norm in ("norm1", "norm2"):
                for kind in ("weight", "bias"):
                    values = self.weights.vector(f"model.encode_layers.{i}.{norm}.{kind}")
                    setattr(layer, f"{norm}_{kind}", address(values))
        self._head = self._matrix("head", self.weights.head_rows, config.head_inputs)
        self._wait_head: Matrix | None = None
        if "wait_head" in self.weights.arrays:
            self._wait_head = self._matrix("wait_head", WAIT_ROWS, d)
        self._model = _Model(
            d,
            config.n_heads,
            config.n_layers,
            inner,
            NORM_EPS,
            self._layers,
            address(self.weights.vector("model.out_layer_norm.weight")),
            address(self.weights.vector("model.out_layer_norm.bias")),
            address(self._tables[0]),
            address(self._tables[1]),
        )
        self._team = lib.vnni_team(self.threads)
        if not self._team:
            raise MemoryError("no memory for the decoder's threads")
        weakref.finalize(self, lib.vnni_disband, self._team)

    def _matrix(self, name: str, rows: int, inputs: int) -> Matrix:
        if self.precision == "int4":
            group = int4_group(inputs)
        else:
            group = next(g for g in (128, 64, 32, 16) if inputs % g == 0)
        return Matrix(
            address(self.weights.arrays[name]),
            address(self.weights.arrays[f"{name}.scale"]),
            -(-rows // BLOCK_ROWS) * BLOCK_ROWS,
            inputs,
            group,
            4 if self.precision == "int4" else 8,
        )

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
        return clocked(self._config, NativeSession(self, rows))

    def head(self, hidden: Floats, ranges: Ranges | None = None) -> Floats:
        """Head output of hidden states (N, D) for the rows in half-open ranges only."""
        total = self.weights.head_rows
        return self._products(self._head, total, hidden, ranges or ((0, total),))

    def wait_head(self, hidden: Floats) -> Floats:
        """Logits of waits (N, ``WAIT_ROWS``) of hidden states (N, D)."""
        assert self._wait_head is not None
        return self._products(self._wait_head, WAIT_ROWS, hidden, ((0, WAIT_ROWS),))

    def _products(self, matrix: Matrix, total: int, hidden: Floats, ranges: Ranges) -> Floats:
        hidden = np.ascontiguousarray(hidden, np.float32)
        parts = []
        for low, high in ranges:
            if not 0 <= low < high <= total:
                raise UsageError(f"head rows {low}..{high} lie outside 0..{total}")
            first, last = low // BLOCK_ROWS, -(-high // BLOCK_ROWS)
            out = np.empty((len(hidden), (last - first) * BLOCK_ROWS), np.float32)
            self._check(
                self._lib.vnni_product(
                    self._team,
                    ctypes.byref(matrix),
                    first,
                    last,
                    len(hidden),
                    address(hidden),
                    address(out),
                )
            )
            parts.append(out[:, low - first * BLOCK_ROWS : high - first * BLOCK_ROWS])
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def decode(
        self,
        x: Floats,
        rows: NDArray[np.int32],
        positions: NDArray[np.int32],
        starts: NDArray[np.int32],
        pages: NDArray[np.uintp],
        wanted: NDArray[np.int32] | None = None,
    ) -> None:
        """Run tokens through all layers; x (N, D) becomes their hidden states in place.

        Args:
            x: embedded tokens, those of one row together and in order, at most ``CHUNK``.
            rows: (N,) row of each token.
            positions: (N,) position of each token.
            starts: (B,) first position of each row that may be attended to.
            pages: (B, P) addresses of each row's cache pages.
            wanted: (W,) ascending numbers of the tokens whose hidden states are asked for; they
                stand in the first rows of x then, and the last layer is spared the others.
        """
        self._check(
            self._lib.vnni_decode(
                self._team,
                ctypes.byref(self._model),
                len(x),
                address(x),
                address(rows),
                address(positions),
                address(starts),
                address(pages),
                pages.shape[1],
                None if wanted is None else address(wanted),
                0 if wanted is None else len(wanted),
            )
        )

    def new_page(self) -> NDArray[np.int8]:
        """Return an empty cache page; zeros, since unwritten slots have to hold finite numbers."""
        c = self._config
        # A key and a value of K bytes, each with a float32 scale.
        return np.zeros(2 * PAGE * (c.head_dim + 4) * c.n_heads * c.n_layers, np.int8)

    @staticmethod
    def _check(result: int) -> None:
        if result:
            raise MemoryError("no memory for the decoder's activations")


class NativeSession:
    """Rows of tokens, each with a list of cache pages; rows with one past share them."""

    def __init__(self, backend: NativeBackend, rows: int) -> None:
        check_rows(rows)
        self._backend = backend
        self._lengths = np.zeros(rows, np.int64)
        self._starts = np.zeros(rows, np.int32)
        self._pages: list[list[NDArray[np.int8]]] = [[] for _ in range(rows)]
        self._shared: dict[int, int] = {}  # id of a page -> rows that hold it, if more than one
        self._table = np.zeros((rows, 4), np.uintp)

    @property
    def rows(self) -> int:
        """B."""
        return len(self._lengths)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(B,) positions that each row holds, the condition's included."""
        return self._lengths.copy()

    def append(
        self,
        ids: Ids,
        *,
        last: bool = False,
        counts: Ids | None = None,
        waits: NDArray[np.int64] | None = None,
    ) -> Floats:
        """Run the next tokens of every row; see ``waits.WaitingSession.append``."""
        ids, count = check_append(self._backend, self._lengths, ids, counts)
        x = self._backend.weights.embed(ids, waits)
        if last and ids.shape[1] > 1:
            return self._run_last(x, count)
        if len(ids) == 1 or ids.shape[1] == 1 or int(count.max()) * len(ids) <= CHUNK:
            hidden = self._run(x, count)
        else:
            parts = []
            step = max(1, CHUNK // len(ids))
            for start in range(0, ids.shape[1], step):
                part = np.ascontiguousarray(x[:, start : start + step])
                parts.append(self._run(part, np.clip(count - start, 0, part.shape[1])))
            hidden = np.concatenate(parts, axis=1)
        return hidden[np.arange(self.rows), count - 1] if last else hidden

    def head(self, hidden: Floats, ranges: Ranges | None = None) -> Floats:
        """Head output of hidden states (N, D); see ``protocol.Session.head``."""
        return self._backend.head(hidden, ranges)

    def wait_head(self, hidden: Floats) -> Floats:
        """Logits of waits (N, ``WAIT_ROWS``) of hidden states (N, D)."""
        return self._backend.wait_head(hidden)

    def fork(self, index: Ids) -> None:
        """Let row b go on from what row ``index[b]`` holds now; B becomes ``len(index)``."""
        index = check_fork(self.rows, index)
        self._lengths = self._lengths[index]
        self._starts = self._starts[index]
        self._table = self._table[index]
        self._pages = [list(self._pages[i]) for i in index]
        counts: dict[int, int] = {}
        for row in self._pages:
            for page in row:
                counts[id(page)] = counts.get(id(page), 0) + 1
        self._shared = {page: n for page, n in counts.items() if n > 1}

    def merge(self, other: Session) -> None:
        """Take the rows of another session, behind one's own; no page is copied."""
        assert isinstance(other, NativeSession)
        width = max(self._table.shape[1], other._table.shape[1])
        self._table = np.concatenate(
            [np.pad(t, ((0, 0), (0, width - t.shape[1]))) for t in (self._table, other._table)]
        )
        self._lengths = np.concatenate((self._lengths, other._lengths))
        self._starts = np.concatenate((self._starts, other._starts))
        self._pages += other._pages
        self._shared |= other._shared

    def rewind(self, lengths: Ids) -> None:
        """Forget what row b holds at positions ``lengths[b]`` and on; nothing is copied."""
        self._lengths = check_rewind(self._lengths, lengths)

    def condition(self, vectors: Floats, rows: NDArray[np.bool_] | None = None) -> None:
        """Place an adapted condition vector at position 0 of an empty session (E.4)."""
        x = adapt_condition(self._backend.weights.adapter, vectors, self._lengths)
        self._run(x, np.ones(self.rows, np.int64))
        if rows is not None:
            self._starts[~np.asarray(rows, bool)] = 1

    def _run(self, x: Floats, count: NDArray[np.int64]) -> Floats:
        """Append embedded tokens (B, T, D), of which ``count`` per row are real."""
        rows, tokens, width = x.shape
        after = self._lengths + count
        for b in range(rows):
            self._make_room(b, int(self._lengths[b]), int(after[b]))
        positions = (self._lengths[:, None] + np.arange(tokens)).astype(np.int32)
        numbers = np.repeat(np.arange(rows, dtype=np.int32), tokens)
        if int(count.min()) == tokens:
            self._call(x.reshape(-1, width), numbers, positions.reshape(-1))
        else:
            real = (np.arange(tokens) < count[:, None]).reshape(-1)
            if real.any():
                flat = x.reshape(-1, width)
                part = flat[real]
                self._call(part, numbers[real], positions.reshape(-1)[real])
                flat[real] = part
        self._lengths = after
        return x

    def _run_last(self, x: Floats, count: NDArray[np.int64]) -> Floats:
        """Append embedded tokens (B, T, D); hidden states (B, D) of each row's last real one."""
        rows, tokens, width = x.shape
        found = np.zeros((rows, width), np.float32)
        # Rows that reach as far side by side: their attention is of one length then.
        step = max(1, CHUNK // rows)
        for start in range(0, tokens, step):
            steps = np.arange(start, min(start + step, tokens))
            real = steps < count[:, None]  # (B, t)
            if not real.any():
                break
            after = self._lengths + real.sum(axis=1)
            for b in range(rows):
                self._make_room(b, int(self._lengths[b]), int(after[b]))
            number, at = np.nonzero(real)
            positions = (self._lengths[number] + at).astype(np.int32)
            part = x[number, steps[at]]
            last = np.flatnonzero(steps[at] == count[number] - 1)
            found[number[last]] = self._call(part, number.astype(np.int32), positions, last)
            self._lengths = after
        return found

    def _call(
        self,
        x: Floats,
        rows: NDArray[np.int32],
        positions: NDArray[np.int32],
        wanted: NDArray[np.intp] | None = None,
    ) -> Floats:
        """x (N, D) becomes hidden states; those of wanted tokens alone are given back."""
        found = []
        for start in range(0, len(x), CHUNK):
            part = slice(start, start + CHUNK)
            chosen = None
            if wanted is not None:
                inside = wanted[(wanted >= start) & (wanted < start + CHUNK)]
                chosen = (inside - start).astype(np.int32)
            self._backend.decode(
                x[part],
                np.ascontiguousarray(rows[part]),
                np.ascontiguousarray(positions[part]),
                self._starts,
                self._table,
                chosen,
            )
            if chosen is not None:
                found.append(x[part][: len(chosen)])
        return np.concatenate(found) if found else x

    def _make_room(self, row: int, length: int, after: int) -> None:
        """Give a row its own pages for positions ``length``..``after``."""
        if after == length:
            return
        pages = self._pages[row]
        first, needed = length // PAGE, -(-after // PAGE)
        for number in range(first, min(needed, len(pages))):
            page = pages[number]
            holders = self._shared.get(id(page), 1)
            if holders > 1:
                # The first to write takes a copy; the last holder keeps the page itself.
                self._shared[id(page)] = holders - 1
                started = number == first and length % PAGE
                pages[number] = page.copy() if started else self._backend.new_page()
                self._table[row, number] = address(pages[number])
        if needed > len(pages):
            if needed > self._table.shape[1]:
                wider = np.zeros((self.rows, max(needed, 2 * self._table.shape[1])), np.uintp)
                wider[:, : self._table.shape[1]] = self._table
                self._table = wider
            while len(pages) < needed:
                pages.append(self._backend.new_page())
                self._table[row, len(pages) - 1] = address(pages[-1])
