"""The Aria decoder on the CPU, by OpenVINO.

Shapes: B rows, T new tokens, S cache slots, D = d_model, K = width of an attention head.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from arietta.arrays import AnyIntArray, BoolArray, Float32Array, IntArray
from arietta.errors import UsageError
from arietta.models.aria.config import ROPE_BASE, AriaConfig
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
from arietta.models.aria.weights import Source
from arietta.models.kernel.packing import PRECISIONS, Packed, Precision
from arietta.models.kernel.rotary import rotary_tables
from arietta.models.kernel.threads import physical_cores

if TYPE_CHECKING:
    import openvino as ov


_DEAD = np.iinfo(np.int32).max
"""Position of a cache slot that nothing may attend to."""
_HIDDEN_SCORE = np.float32(-1e30)
"""Added to masked scores: finite, so that a row with nothing to attend to gives no NaN."""
_DEAD_SLOTS = 128
"""Dead cache slots that are not worth moving the live ones for."""
_HEAD_GRID = 256
"""Head rows are compiled in multiples of this, so that few distinct slices arise."""
_WAITS = (-1, -1)
"""Stands for the head of waits among the spans of the head."""
_PREFILL_TOKENS = 1024
"""Tokens run at once; bounds the attention mask of a long prompt."""


class OpenVinoBackend:
    """An Aria model on the CPU.

    Args:
        checkpoint: settings and tensors.
        precision: ``int8``, ``int4`` or ``f32`` (for parity).
        threads: processor threads; all physical cores by default.

    Raises:
        CheckpointError: the tensors do not fit the settings.
        UsageError: unknown precision, or fewer than one thread.
    """

    def __init__(
        self,
        checkpoint: Source,
        precision: Precision = "int8",
        threads: int | None = None,
    ) -> None:
        if precision not in PRECISIONS:
            raise UsageError(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")
        if threads is not None and threads < 1:
            raise UsageError(f"threads must be at least 1, not {threads}")
        import openvino as ov

        from arietta.models.aria.graph import decoder_graph
        from arietta.models.aria.weights import open_weights

        self._config = checkpoint.config
        self.precision: Precision = precision
        self.threads = threads or physical_cores()
        self.weights = open_weights(checkpoint, precision, "rows")
        self._core = ov.Core()
        self._options: dict[str, Any] = {
            "INFERENCE_NUM_THREADS": self.threads,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        if precision == "f32":
            self._options["KV_CACHE_PRECISION"] = "f32"
        graph = decoder_graph(self._config, self.weights.matrix, self.weights.vector)
        self._compiled = self._core.compile_model(graph, "CPU", self._options)
        del graph
        self._heads: dict[tuple[int, int], ov.InferRequest] = {}
        self._head_lock = threading.Lock()
        self.cos, self.sin = rotary_tables(
            self._config.max_seq_len, self._config.head_dim, ROPE_BASE
        )
        if self.weights.mapped:
            self._settle_weights()

    def _settle_weights(self) -> None:
        """Let the plugin copy the matrices into its own layout now, without holding both forms.

        It does so layer by layer in the first run; meanwhile what it has read is given back.
        """
        done = threading.Event()

        def give_back() -> None:
            while not done.wait(0.01):
                self.weights.release()

        helper = threading.Thread(target=give_back, daemon=True)
        helper.start()
        try:
            self.new_session().append(np.zeros((1, 1), np.int64))
        finally:
            done.set()
            helper.join()
        self.weights.release()

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

    def node_kinds(self) -> Counter[str]:
        """Kinds of nodes that the plugin made of the graph, to see what it fused."""
        nodes = self._compiled.get_runtime_model().get_ops()
        return Counter(node.get_rt_info()["layerType"].astype(str) for node in nodes)

    def new_session(self, rows: int = 1) -> Session:
        """Return an empty session of B = ``rows``."""
        session = OpenVinoSession(self, self._compiled.create_infer_request(), rows)
        return clocked(self._config, session)

    def head(self, hidden: Float32Array, ranges: Ranges | None = None) -> Float32Array:
        """Head output of hidden states (N, D) for the rows in half-open ranges only."""
        total = self.weights.head_rows
        if ranges is None:
            ranges = ((0, total),)
        spans = _head_spans(ranges, total)
        found = {
            span: self._product(span, partial(self.weights.head, *span), hidden) for span in spans
        }
        parts = []
        for low, high in ranges:
            span = next(s for s in spans if s[0] <= low and high <= s[1])
            parts.append(found[span][:, low - span[0] : high - span[0]])
        return np.concatenate(parts, axis=1)

    def wait_head(self, hidden: Float32Array) -> Float32Array:
        """Logits of waits (N, ``WAIT_ROWS``) of hidden states (N, D)."""
        return self._product(_WAITS, self.weights.wait_head, hidden)

    def _product(
        self, key: tuple[int, int], matrix: Callable[[], Packed], hidden: Float32Array
    ) -> Float32Array:
        """Hidden states times a matrix, which is compiled when it is first needed."""
        with self._head_lock:  # sessions may run in several threads, a request in one
            request = self._heads.get(key)
            if request is None:
                from arietta.models.aria.graph import head_graph

                compiled = self._core.compile_model(head_graph(matrix()), "CPU", self._options)
                request = self._heads[key] = compiled.create_infer_request()
            request.infer({"hidden": hidden}, share_inputs=True, share_outputs=True)
            return np.array(request.get_output_tensor(0).data)


def _head_spans(ranges: Ranges, total: int) -> list[tuple[int, int]]:
    """Disjoint spans on the grid that cover the ranges."""
    spans: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if not 0 <= low < high <= total:
            raise UsageError(f"head rows {low}..{high} lie outside 0..{total}")
        low = low // _HEAD_GRID * _HEAD_GRID
        high = min(total, -(-high // _HEAD_GRID) * _HEAD_GRID)
        if spans and low <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(high, spans[-1][1]))
        else:
            spans.append((low, high))
    return spans


class OpenVinoSession:
    """Rows of tokens with their key-value cache in the state of one infer request.

    The cache is a list of slots, one column for all rows. ``_slots`` says which position of its
    row a slot holds; a slot that was rewound, or was padding, is dead and masked until so many are
    dead that moving the others together pays. A token at position p attends to the slots of its row
    whose position is at most p.
    """

    def __init__(self, backend: OpenVinoBackend, request: ov.InferRequest, rows: int) -> None:
        check_rows(rows)
        self._backend = backend
        self._request = request
        self._lengths = np.zeros(rows, np.int64)
        self._slots = np.full((rows, 256), _DEAD, np.int32)
        self._used = 0
        self._beam = np.arange(rows, dtype=np.int32)

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
        """Run the next tokens of every row; see ``WaitingSession.append``."""
        ids, count = check_append(self._backend, self._lengths, ids, counts)
        tokens = ids.shape[1]
        pieces = []
        for start in range(0, tokens, _PREFILL_TOKENS):
            span = slice(start, start + _PREFILL_TOKENS)
            part = ids[:, span]
            x = self._backend.weights.embed(part, None if waits is None else waits[:, span])
            pieces.append(self._run(x, np.clip(count - start, 0, part.shape[1])))
        hidden = pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=1)
        return hidden[np.arange(self.rows), count - 1] if last else hidden

    def head(self, hidden: Float32Array, ranges: Ranges | None = None) -> Float32Array:
        """Head output of hidden states (N, D); see ``Session.head``."""
        return self._backend.head(hidden, ranges)

    def wait_head(self, hidden: Float32Array) -> Float32Array:
        """Logits of waits (N, ``WAIT_ROWS``) of hidden states (N, D)."""
        return self._backend.wait_head(hidden)

    def fork(self, index: AnyIntArray) -> None:
        """Let row b go on from what row ``index[b]`` holds now; B becomes ``len(index)``."""
        index = check_fork(self.rows, index)
        self._lengths = self._lengths[index]
        self._slots = self._slots[index]
        # An empty cache takes its rows from what is appended first.
        self._beam = self._beam[index] if self._used else np.arange(len(index), dtype=np.int32)

    def merge(self, other: Session) -> None:
        """Take the rows of another session, behind one's own; the whole cache is copied."""
        import openvino as ov

        assert isinstance(other, OpenVinoSession) and self._used and other._used
        used = max(self._used, other._used)
        theirs = {one.name: one for one in other._request.query_state()}
        for mine in self._request.query_state():
            parts = []
            for state, session in ((mine, self), (theirs[mine.name], other)):
                rows = state.state.data[session._beam]  # (B, H, S, K)
                parts.append(np.pad(rows, ((0, 0), (0, 0), (0, used - rows.shape[2]), (0, 0))))
            mine.state = ov.Tensor(np.ascontiguousarray(np.concatenate(parts)))
        width = max(self._slots.shape[1], other._slots.shape[1])
        self._slots = np.concatenate(
            [
                np.pad(s, ((0, 0), (0, width - s.shape[1])), constant_values=_DEAD)
                for s in (self._slots, other._slots)
            ]
        )
        self._lengths = np.concatenate((self._lengths, other._lengths))
        self._beam = np.arange(len(self._lengths), dtype=np.int32)
        self._used = used

    def rewind(self, lengths: AnyIntArray) -> None:
        """Forget what row b holds at positions ``lengths[b]`` and on; nothing is copied."""
        target = check_rewind(self._lengths, lengths)
        live = self._slots[:, : self._used]
        live[live >= target[:, None]] = _DEAD
        self._lengths = target

    def condition(self, vectors: Float32Array, rows: BoolArray | None = None) -> None:
        """Place an adapted condition vector at position 0 of an empty session (E.4)."""
        x = adapt_condition(self._backend.weights.adapter, vectors, self._lengths)
        self._run(x, np.ones(self.rows, np.int64))
        if rows is not None:
            self._slots[~np.asarray(rows, bool), 0] = _DEAD

    def _run(self, x: Float32Array, count: IntArray) -> Float32Array:
        """Append embedded tokens (B, T, D), of which ``count`` per row are real."""
        rows, tokens, _ = x.shape
        if self._used - int(self._lengths.max()) > max(_DEAD_SLOTS, self._used // 3):
            self._compact()
        steps = np.arange(tokens)
        positions = self._lengths[:, None] + steps  # (B, T)
        used = self._used + tokens
        if used > self._slots.shape[1]:
            more = np.full((rows, max(used, 2 * self._slots.shape[1])), _DEAD, np.int32)
            more[:, : self._used] = self._slots[:, : self._used]
            self._slots = more
        self._slots[:, self._used : used] = np.where(steps < count[:, None], positions, _DEAD)
        seen = self._slots[:, None, None, :used] <= positions[:, None, :, None]
        mask = np.where(seen, np.float32(0), _HIDDEN_SCORE)  # (B, 1, T, S)
        # Padding may stand beyond the table; its angle does not matter.
        at = np.minimum(positions, len(self._backend.cos) - 1)[:, None]
        inputs = {
            "x": x,
            "cos": self._backend.cos[at],
            "sin": self._backend.sin[at],
            "mask": mask,
            "beam": self._beam,
        }
        self._request.infer(inputs, share_inputs=True, share_outputs=True)
        self._used = used
        self._lengths = self._lengths + count
        self._beam = np.arange(rows, dtype=np.int32)
        # The tensor is the request's own and will be overwritten.
        return np.array(self._request.get_output_tensor(0).data)

    def _compact(self) -> None:
        """Move the live slots of every row together."""
        import openvino as ov

        if not np.array_equal(self._beam, np.arange(len(self._beam))):
            return  # a fork is still to be carried out; the next call will do
        live = self._slots[:, : self._used] != _DEAD
        keep = int(live.sum(axis=1).max())
        # Live slots first, in their order.
        order = np.argsort(~live, axis=1, kind="stable")[:, :keep]
        for variable in self._request.query_state():
            whole = variable.state.data  # (B, H, S, K)
            if whole.shape[0] != self.rows:
                return  # rows were dropped and nothing has run since
            moved = np.take_along_axis(whole, order[:, None, :, None], axis=2)
            variable.state = ov.Tensor(np.ascontiguousarray(moved))
        slots = np.take_along_axis(self._slots[:, : self._used], order, axis=1)
        self._slots[:, :keep] = slots
        self._slots[:, keep:] = _DEAD
        self._used = keep
