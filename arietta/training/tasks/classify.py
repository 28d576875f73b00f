"""Finetune a classifier with the cross entropy of slices (specification F).

A piece is classified by the votes of its slices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arietta.errors import UsageError
from arietta.models.aria.checkpoint import LoadedCheckpoint, load
from arietta.models.aria.config import AriaConfig
from arietta.models.aria.torch_module import AriaDecoder
from arietta.tokenizers.vocabulary import EOS, PAD
from arietta.training.config import Classify
from arietta.training.distributed import Processes
from arietta.training.dry_run import class_shares
from arietta.training.rows.slices import (
    LabelSettings,
    LabelStream,
    labelled_pieces,
    labelled_slices,
)
from arietta.training.rows.stream import chosen
from arietta.training.tasks.contrastive import at_end, cropped
from arietta.training.tasks.decoder import DecoderTask
from arietta.training.tasks.linear_head import linear_head, piece_scores

_VALIDATION_SLICES = 8  # of a piece; more of them change little
HEAD_SLICES = 64  # of a piece that a head is fitted to; more of them do help here
_LEAST_VARIANCE = 1e-8  # the slope of the root is infinite at 0


class SliceClass(nn.Module):
    """Predict the class of a slice.

    Args:
        decoder: with a classifier head of C classes.
        weights: (C,) weights of the classes in the loss.
        precision: ``bf16`` for autocast, ``f32`` for no autocast.
    """

    def __init__(self, decoder: AriaDecoder, weights: Tensor, precision: str) -> None:
        super().__init__()
        self.decoder = decoder
        self.autocast = precision == "bf16"
        self.weights: Tensor
        self.register_buffer("weights", weights, persistent=False)

    def logits(self, ids: Tensor) -> Tensor:
        """Return float32 logits (B, C) of slices (B, T)."""
        with torch.autocast(ids.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            hidden, _ = self.decoder.model(ids)
            states = at_end(hidden, ids)
            if self.decoder.config.pooling == "full":
                states = torch.cat((states, *mean_and_deviation(hidden, ids != PAD)), dim=1)
            found: Tensor = self.decoder.head(states)
        return found.float()

    def forward(self, rows: Tensor, predict: bool = False) -> Tensor:
        """Return the weighted mean nats of rows (B, T + 1), a slice and its class; or logits."""
        logits = self.logits(cropped(rows[:, :-1]))
        return logits if predict else F.cross_entropy(logits, rows[:, -1], self.weights)


def mean_and_deviation(hidden: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (B, D) of the selected (B, T) states (B, T, D)."""
    share = (counts / counts.sum(dim=1, keepdim=True))[..., None]
    mean = (hidden * share).sum(dim=1)
    variance = ((hidden - mean[:, None]) ** 2 * share).sum(dim=1)
    return mean, (variance + _LEAST_VARIANCE).sqrt()


class ClassifyTask(DecoderTask):
    """Train a classifier head on a decoder, pretrained or fresh."""

    measures = ("nats_per_slice", "accuracy", "macro_f1")
    stream_kind = LabelStream
    starts_from = ("lm", "embedding", "classifier")

    @property
    def _options(self) -> Classify:
        options = self.recipe.classify
        assert options is not None
        return options

    @cached_property
    def _shares(self) -> dict[str, float]:
        return class_shares(self.dataset, self._options)

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the names of the classes in the order of their numbers."""
        return tuple(self._shares)

    def _head(self, config: AriaConfig) -> AriaConfig:
        return replace(
            config,
            class_size=len(self.classes),
            embedding_size=None,
            pooling=self._options.pooling,
        )

    def _take_over(self, decoder: AriaDecoder, checkpoint: LoadedCheckpoint) -> None:
        super()._take_over(decoder, checkpoint)
        if self._options.head == "probe" and checkpoint.kind != "embedding":
            raise UsageError(
                f"{self.recipe.name}: classify.head: probe starts from an embedding model, not from"
                f" {checkpoint.name}, of kind {checkpoint.kind}"
            )
        if checkpoint.kind != "lm":
            return  # <E> already ends a piece to be classified
        # <E> meant the end of a piece; now the class is predicted there.
        generator = torch.Generator().manual_seed(self.recipe.seed)
        width = decoder.config.d_model
        with torch.no_grad():
            row = torch.randn(width, generator=generator) * 0.02
            decoder.model.tok_embeddings.weight[EOS] = row

    def _keeps(self, name: str, checkpoint: LoadedCheckpoint) -> bool:
        """Return whether to keep a tensor; the head is kept only if it has the same classes."""
        if name != "class_head.weight":
            return True
        same = list(checkpoint.info.get("classes", ())) == list(self.classes)
        return same and checkpoint.config.pooling == self._options.pooling

    def _module(self) -> nn.Module:
        pieces = labelled_pieces(self.dataset, "train", self._options.label)
        counts = np.array(
            [sum(chosen(i, share) for i in pieces[name]) for name, share in self._shares.items()]
        )
        weights = counts.sum() / counts / len(counts)
        if not self._options.weighted:
            weights[:] = 1
        of_classes = torch.tensor(weights, dtype=torch.float32)
        return SliceClass(self.decoder, of_classes, self.recipe.precision)

    def begin(self, say: Callable[[str], None]) -> None:
        """Start from the best linear head on the frozen model."""
        if self._options.head != "probe":
            return
        say("looking for the best linear head on the model as it is")
        slices, groups = labelled_slices(self.dataset, "train", self.settings(0), each=HEAD_SLICES)
        weights = linear_head(
            load(self.recipe.init or ""),
            slices,
            groups,
            pooling=self._options.pooling,
            weighted=self._options.weighted,
        )
        with torch.no_grad():
            self.decoder.get_parameter("class_head.weight").copy_(torch.from_numpy(weights))

    def settings(self, stage_index: int) -> LabelSettings:
        """Return the settings of the slices of one stage."""
        options = self._options
        return LabelSettings(
            **self._row_settings(stage_index),
            min_notes=options.min_notes,
            max_notes=options.max_notes,
            label=options.label,
            classes=self.classes,
            shares=tuple(self._shares.values()),
        )

    def validation(self) -> Tensor | None:
        """Return slices (n, seq_len + 2) of the pieces of the split ``valid``, if there is one."""
        if "valid" not in self.dataset.splits:
            return None
        settings = self.settings(len(self.recipe.stages) - 1)
        rows, _ = labelled_slices(
            self.dataset,
            "valid",
            replace(settings, shares=()),
            pieces=self.recipe.data.valid_rows,
            each=_VALIDATION_SLICES,
        )
        return torch.from_numpy(rows).long()

    def validate(self, module: nn.Module, rows: Tensor, processes: Processes) -> list[float]:
        """Return nats per slice, and accuracy and macro F1 of whole pieces."""
        logits = torch.cat(
            [
                module(part.to(processes.device), predict=True).cpu()
                for part in torch.split(rows[:, :-1], self.recipe.stages[-1].rows)
            ]
        )
        loss = float(F.cross_entropy(logits, rows[:, -2]))
        found = piece_scores(logits.numpy(), rows.numpy(), self._options.votes)
        return [loss, found["accuracy"], found["macro_f1"]]

    def merit(self, measured: list[float]) -> list[float]:
        """Rank by macro F1, then by the lowest loss."""
        return [measured[2], -measured[0]]

    @property
    def info(self) -> dict[str, Any]:
        """Return the names of the classes, the notes of a slice, and how slices vote."""
        return {
            "classes": list(self.classes),
            "slice_notes": self._options.max_notes,
            "votes": self._options.votes,
        }
