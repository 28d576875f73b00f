"""Pianist Transformer on the CPU, by OpenVINO: the score is encoded once, the performance decoded
id by id. What is rendered how is decided in ``arietta.rendering``.

Shapes: B rows, N notes of a score, T new ids, D = d_model, H heads, G of them a key head, K = width
of a head.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from arietta.arrays import AnyIntArray, Float32Array
from arietta.errors import UsageError
from arietta.models.kernel.packing import PRECISIONS, Precision
from arietta.models.kernel.rotary import rotary_tables
from arietta.models.kernel.threads import thread_count
from arietta.models.pianist.config import SLOTS, PianistConfig
from arietta.models.pianist.protocol import EncodedScore, cap_logits
from arietta.models.pianist.weights import PianistWeights
from arietta.tokenizers.pianist import SLOT_RANGES

if TYPE_CHECKING:
    import openvino as ov

    from arietta.models.pianist.weights import PianistSource

_HIDDEN_SCORE = np.float32(-1e30)
"""Added to masked scores."""
_PREFIX_IDS = 1024
"""Ids of a prefix run at once; bounds the attention mask of a long one."""


class ScoreEncoder:
    """The encoder on the CPU, by OpenVINO.

    Args:
        config: architecture settings.
        weights: of the model.
        precision: of the matrices.
        threads: processor threads.
    """

    def __init__(
        self, config: PianistConfig, weights: PianistWeights, precision: Precision, threads: int
    ) -> None:
        from arietta.models.pianist.graph import encoder_graph

        self._config, self._weights = config, weights
        graph = encoder_graph(config, weights.matrix, weights.vector)
        self._request = compiled(graph, precision, threads).create_infer_request()
        self._lock = threading.Lock()  # sessions may run in several threads, a request in one
        self._cos, self._sin = rotary_tables(config.max_notes, config.head_dim, config.rope_base)

    def encode(self, ids: AnyIntArray, real: int | None, seen: int | None) -> EncodedScore:
        """Read a window of a score; see ``PianistBackend.encode``."""
        notes = np.asarray(ids).reshape(-1, SLOTS)
        n = len(notes)
        real = n if real is None else real
        mask = np.where(np.arange(n) < real, np.float32(0), _HIDDEN_SCORE)
        with self._lock:
            results = self._request.infer(
                {
                    "x": self._weights.embed_notes(notes)[None],
                    "cos": self._cos[None, None, :n],
                    "sin": self._sin[None, None, :n],
                    "mask": mask[None, None, None],
                },
                share_inputs=True,
            )
            parts = tuple(
                np.array(results[f"score_{what}.{i}"])
                for i in range(self._config.decoder_layers)
                for what in ("key", "value")
            )
        return EncodedScore(parts, np.arange(n) < (real if seen is None else seen))


def compiled(graph: ov.Model, precision: Precision, threads: int) -> ov.CompiledModel:
    """Return a graph made ready for the CPU."""
    import openvino as ov

    options: dict[str, Any] = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    if precision == "f32":
        options["KV_CACHE_PRECISION"] = "f32"
    return ov.Core().compile_model(graph, "CPU", options)


class PianistOpenVino:
    """A Pianist Transformer on the CPU.

    Args:
        checkpoint: settings and tensors.
        precision: of the weights: ``int8``, ``int4`` or ``f32`` (for parity).
        threads: processor threads; all physical cores by default.

    Raises:
        UsageError: unknown precision, or fewer than one thread.
    """

    def __init__(
        self,
        checkpoint: PianistSource,
        precision: Precision = "int8",
        threads: int | None = None,
    ) -> None:
        if precision not in PRECISIONS:
            raise UsageError(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")
        from arietta.models.aria.graph import head_graph
        from arietta.models.pianist.graph import decoder_graph

        config = self._config = checkpoint.config
        self.precision: Precision = precision
        self.threads = thread_count(threads)
        self.weights = weights = PianistWeights(checkpoint, precision)
        self._encoder = ScoreEncoder(config, weights, precision, self.threads)
        graph = decoder_graph(config, weights.matrix, weights.vector)
        self._decoder = compiled(graph, precision, self.threads)
        heads = {
            span: compiled(
                head_graph(weights.head(*span)), precision, self.threads
            ).create_infer_request()
            for span in dict.fromkeys(SLOT_RANGES[1:])
        }
        self._heads = [None, *(heads[span] for span in SLOT_RANGES[1:])]  # pitch is never drawn
        self._lock = threading.Lock()  # sessions may run in several threads, a request in one
        self.cos, self.sin = rotary_tables(
            config.max_notes * SLOTS + 1, config.head_dim, config.rope_base
        )

    @property
    def config(self) -> PianistConfig:
        """Architecture settings."""
        return self._config

    def node_kinds(self) -> Counter[str]:
        """Kinds of nodes that the plugin made of the decoder, to see what it fused."""
        nodes = self._decoder.get_runtime_model().get_ops()
        return Counter(node.get_rt_info()["layerType"].astype(str) for node in nodes)

    def encode(
        self, ids: AnyIntArray, real: int | None = None, seen: int | None = None
    ) -> EncodedScore:
        """Read a window of a score; see ``PianistBackend.encode``."""
        return self._encoder.encode(ids, real, seen)

    def new_session(self, scores: Sequence[EncodedScore]) -> PianistOpenVinoSession:
        """Return a session of one row for each of ``scores``."""
        return PianistOpenVinoSession(self, self._decoder.create_infer_request(), scores)

    def logits(self, hidden: Float32Array, slot: int) -> Float32Array:
        """Logits of the ids of ``SLOT_RANGES[slot]`` for hidden states (B, D): (B, width)."""
        request = self._heads[slot]
        assert request is not None, "the pitch is given, never drawn"
        with self._lock:
            request.infer({"hidden": hidden}, share_inputs=True, share_outputs=True)
            return cap_logits(request.get_output_tensor(0).data, self._config)


class PianistOpenVinoSession:
    """Rows of a performance with their keys and values in the state of one infer request."""

    def __init__(
        self, backend: PianistOpenVino, request: ov.InferRequest, scores: Sequence[EncodedScore]
    ) -> None:
        self._backend, self._request = backend, request
        self._at = 0
        longest = max(len(score.seen) for score in scores)
        mask = np.full((len(scores), 1, 1, longest), _HIDDEN_SCORE)
        for row, score in enumerate(scores):
            mask[row, 0, 0, np.flatnonzero(score.seen)] = 0
        self._inputs: dict[str, Any] = {
            "score_mask": mask,
            "beam": np.arange(len(scores), dtype=np.int32),
        }
        for index in range(2 * backend.config.decoder_layers):
            what = "value" if index % 2 else "key"
            self._inputs[f"score_{what}.{index // 2}"] = _padded(
                [score.parts[index] for score in scores], longest
            )

    def append(self, ids: AnyIntArray) -> Float32Array:
        """Run the next ids (B, T) of every row; see ``PianistSession.append``."""
        for start in range(0, ids.shape[1], _PREFIX_IDS):
            hidden = self._run(ids[:, start : start + _PREFIX_IDS])
        return hidden

    def _run(self, ids: AnyIntArray) -> Float32Array:
        end = self._at + ids.shape[1]
        position = np.arange(self._at, end)
        seen = np.arange(end) <= position[:, None]
        mask = np.where(seen, np.float32(0), _HIDDEN_SCORE)
        self._inputs["x"] = self._backend.weights.embed(ids)
        self._inputs["cos"] = self._backend.cos[None, None, self._at : end]
        self._inputs["sin"] = self._backend.sin[None, None, self._at : end]
        self._inputs["mask"] = mask[None, None]
        self._request.infer(self._inputs, share_inputs=True, share_outputs=True)
        self._at = end
        # The tensor is the request's own and will be overwritten.
        return np.array(self._request.get_output_tensor(0).data[:, -1])

    def logits(self, hidden: Float32Array, slot: int) -> Float32Array:
        """Logits of a slot's ids; see ``PianistSession.logits``."""
        return self._backend.logits(hidden, slot)


def _padded(parts: Sequence[Float32Array], longest: int) -> Float32Array:
    """Arrays (1, H, N, K) as rows of one (B, H, longest, K)."""
    if len(parts) == 1 and parts[0].shape[2] == longest:
        return parts[0]
    _, heads, _, k = parts[0].shape
    whole = np.zeros((len(parts), heads, longest, k), np.float32)
    for row, part in enumerate(parts):
        whole[row, :, : part.shape[2]] = part[0]
    return whole
