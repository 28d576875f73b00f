"""Train continuations that resemble an example (specification E.4, arXiv 2506.23869 section 3.3).

The decoder reads an embedding of the whole piece.

The vector takes position 0, adapted to the width of the model; tokens start at position 1. Rows
without a vector mask position 0, so that one model predicts both terms of classifier-free guidance.

The adapter is trained on standardised vectors (``arietta.training.standardise``); the exported
adapter reads raw vectors.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arietta.errors import UsageError
from arietta.models.aria.checkpoint import LoadedCheckpoint
from arietta.models.aria.config import AriaConfig
from arietta.models.aria.torch_module import AriaDecoder
from arietta.tokenizers.vocabulary import PAD
from arietta.training.config import Conditioned, Recipe
from arietta.training.distributed import Processes
from arietta.training.rows.conditions import ConditionSettings, ConditionStream
from arietta.training.rows.stream import validation_rows
from arietta.training.standardise import standardise_keeping_mean
from arietta.training.tasks.decoder import DecoderTask
from arietta.vectors.collection import TRANSPOSED, TRANSPOSED_OF, Collection


class ConditionedNextToken(nn.Module):
    """Compute the mean next-token cross entropy of rows after the vectors of their pieces.

    Args:
        decoder: a conditioned language model.
        vectors: (n, E) float32.
        precision: ``bf16`` for autocast, ``f32`` for no autocast.
    """

    vectors: Tensor

    def __init__(self, decoder: AriaDecoder, vectors: Tensor, precision: str) -> None:
        super().__init__()
        self.decoder = decoder
        self.register_buffer("vectors", vectors, persistent=False)
        self.autocast = precision == "bf16"

    def forward(self, rows: Tensor) -> Tensor:
        """Return the loss in nats per token, a float32 scalar.

        Args:
            rows: (B, T + 3): ids, the number of ids that are not targets, then the number of the
                vector counted from 1, or 0.
        """
        ids, prompt_length, number = rows[:, :-2], rows[:, -2], rows[:, -1]
        length = ids.shape[1]
        shown = number > 0
        condition = self.decoder.embedding_adapter(self.vectors[(number - 1).clamp_min(0)])
        seen = torch.ones(length, length, dtype=torch.bool, device=ids.device).tril()
        mask = seen & (shown[:, None, None] | (torch.arange(length, device=ids.device) > 0))
        mask[:, 0, 0] = True  # position 0 attends to itself; no other position reads the result
        with torch.autocast(rows.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            hidden, _ = self.decoder.model(ids[:, :-1], first=condition, mask=mask[:, None])
            logits = self.decoder.head(hidden[:, 1:])
        at = torch.arange(1, length, device=ids.device)
        wanted = ids[:, 1:].masked_fill(at < prompt_length[:, None], PAD)
        return F.cross_entropy(logits.float().flatten(0, 1), wanted.flatten(), ignore_index=PAD)


class ConditionedTask(DecoderTask):
    """Predict next tokens after an embedding of their piece."""

    measures = ("nats_per_token", "nats_per_token_free")
    starts_from = ("lm", "conditioned")

    def __init__(self, recipe: Recipe, data: Path) -> None:
        options = recipe.conditioned
        assert options is not None
        self._options: Conditioned = options
        if recipe.lora is not None:
            raise UsageError(f"{recipe.name}: a condition is learned by the whole model, not lora")
        if options.embeddings is None:
            raise UsageError(
                f"{recipe.name}: conditioned.embeddings names the vectors of the dataset's pieces;"
                " make them with `arietta embed DATASET -o FILE.npz`"
            )
        path = Path(options.embeddings)
        collection = Collection.load(path)
        self._about = collection.about
        self._vectors = torch.from_numpy(collection.vectors)
        self._standardising = standardise_keeping_mean(collection.vectors)
        numbers: dict[str, list[tuple[int, int]]] = {}
        for i, (name, entry) in enumerate(collection.entries.items()):
            of = entry.metadata.get(TRANSPOSED_OF)
            version = i, int(entry.metadata[TRANSPOSED]) if of else 0
            numbers.setdefault(of or name, []).append(version)
        self._digest = hashlib.blake2b(collection.vectors.tobytes(), digest_size=8).hexdigest()
        self.stream_kind = partial(ConditionStream, numbers=numbers)
        super().__init__(recipe, data)
        rows = validation_rows(self.dataset, "train", self.settings(0), 64, self.stream_kind)
        if not rows[:, -1].any():
            raise UsageError(
                f"{path}: has no vector of the pieces of {data}; make them with"
                f" `arietta embed {data} -o FILE.npz`"
            )

    def _head(self, config: AriaConfig) -> AriaConfig:
        return replace(config, conditioned=True, embedding_size=self._vectors.shape[1])

    def _take_over(self, decoder: AriaDecoder, checkpoint: LoadedCheckpoint) -> None:
        super()._take_over(decoder, checkpoint)
        if checkpoint.config.conditioned:  # its adapter reads raw vectors
            weight = decoder.embedding_adapter.weight
            standardised = weight.detach().double().numpy() @ np.linalg.inv(self._standardising)
            weight.data.copy_(torch.from_numpy(standardised))

    def _module(self) -> nn.Module:
        vectors = self._vectors @ torch.from_numpy(self._standardising.T).float()
        return ConditionedNextToken(self.decoder, vectors, self.recipe.precision)

    def export(self, folder: Path, weights: dict[str, Tensor], info: dict[str, Any]) -> None:
        """Export trained weights as a model folder; the adapter reads raw vectors."""
        name = "decoder.embedding_adapter.weight"
        adapter = weights[name].cpu().double() @ torch.from_numpy(self._standardising)
        super().export(folder, weights | {name: adapter.float()}, info)

    def settings(self, stage_index: int) -> ConditionSettings:
        """Return the settings of the rows of one stage."""
        return ConditionSettings(
            **self._row_settings(stage_index),
            free_share=self._options.free_share,
            mixed_share=self._options.mixed_share,
            vectors=self._digest,
        )

    def validate(self, module: nn.Module, rows: Tensor, processes: Processes) -> list[float]:
        """Return nats per token of the rows with a vector: with it, and without."""
        rows = rows[rows[:, -1] > 0]
        free = rows.clone()
        free[:, -1] = 0
        return [self._mean_loss(module, part, processes) for part in (rows, free)]

    def _predicted(self, rows: Tensor) -> int:
        return super()._predicted(rows) - int((rows[:, -2] - 1).clamp_min(0).sum())

    @property
    def info(self) -> dict[str, Any]:
        """Return the description of the vectors."""
        return {"embeddings": self._about}
