"""The small rendering model on the CPU, by OpenVINO."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from arietta.arrays import Float32Array, FloatArray
from arietta.models.performer.checkpoint import LoadedPerformer
from arietta.models.performer.config import OUTPUTS
from arietta.notation.score_notes import ScoreNotes

_BATCH = 8


def window_starts(rows: int, length: int) -> list[int]:
    """Return the starts of windows that overlap by half, from the first row to the last."""
    if rows <= length:
        return [0]
    starts = list(range(0, rows - length, length // 2))
    return [*starts, rows - length]


@dataclass(frozen=True, eq=False)
class PerformerModel:
    """The model, ready to be asked about scores.

    Attributes:
        checkpoint: its weights.
        threads: processor threads; all physical cores by default.
    """

    checkpoint: LoadedPerformer
    threads: int | None = None

    @cached_property
    def _compiled(self) -> Any:
        import openvino as ov

        from arietta.models.performer.graph import performer_graph

        graph = performer_graph(self.checkpoint.config, self.checkpoint.tensors.__getitem__)
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if self.threads is not None:
            options["INFERENCE_NUM_THREADS"] = str(self.threads)
        return ov.Core().compile_model(graph, "CPU", options).create_infer_request()

    def outputs(
        self,
        score: ScoreNotes,
        features: Float32Array,
        report: Callable[[int], None] = lambda _: None,
    ) -> FloatArray:
        """Predict every row, (n, len(OUTPUTS)); overlapping windows are blended.

        Args:
            score: its notes.
            features: of ``score_features``.
            report: told the rows that are done.
        """
        from arietta.models.performer.graph import rotary_tables

        config = self.checkpoint.config
        n, length = len(score), min(config.max_notes, len(score))
        starts = window_starts(n, config.max_notes)
        # The middle of a window knows most.
        ramp = np.minimum(np.arange(length) + 1, np.arange(length, 0, -1)).astype(np.float64)
        total, weight = np.zeros((n, len(OUTPUTS))), np.zeros((n, 1))
        for first in range(0, len(starts), _BATCH):
            batch = starts[first : first + _BATCH]
            spans = np.array(batch)[:, None] + np.arange(length)
            quarter = score.onset_quarter[spans]
            quarter = quarter - quarter[:, :1]
            cos, sin = rotary_tables(quarter, config)
            found = self._compiled.infer(
                {
                    "pitch": score.pitch[spans].astype(np.int64),
                    "features": features[spans],
                    "cos": cos,
                    "sin": sin,
                    "mask": np.zeros((len(batch), 1, 1, length), np.float32),
                }
            )
            for start, values in zip(batch, next(iter(found.values())), strict=True):
                total[start : start + length] += values * ramp[:, None]
                weight[start : start + length] += ramp[:, None]
            report(batch[-1] + length)
        done: FloatArray = total / weight
        return done
