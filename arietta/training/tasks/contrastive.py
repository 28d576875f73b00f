"""Train embeddings: views of one piece near each other, of others apart (paper section 3.3).

N pieces a step give 2N embeddings. With gradient caching the rows of a step pass the model twice in
small batches: first for the embeddings; then, after the loss over all embeddings of all processes
has given a gradient for each, for the gradients of the weights. So the number of negatives does not
depend on memory.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arietta.models.aria.config import AriaConfig
from arietta.models.aria.torch_module import AriaDecoder
from arietta.tokenizers.vocabulary import EOS, PAD
from arietta.training.config import Contrastive
from arietta.training.distributed import Processes, random_states, set_random_states
from arietta.training.rows.slices import SlicePairSettings, SlicePairStream
from arietta.training.tasks.decoder import DecoderTask
from arietta.vectors.embedding import CHUNK_NOTES

_CROP = 128
"""Rows are cropped to the longest row of a batch, in steps of this many tokens."""


def nt_xent(embeddings: Tensor, temperature: float, negatives: str = "all") -> Tensor:
    """Return the contrastive loss of N pairs, a scalar in nats.

    Args:
        embeddings: (N, 2, E); N >= 2.
        temperature: cosine similarities are divided by it.
        negatives: ``all``: the 2N - 2 other items of both views, so 2N - 1 terms in each
            denominator (the paper's equation). ``cross-view``: the N - 1 others of the other view,
            the mean of both directions (its code).
    """
    unit = F.normalize(embeddings.float(), dim=-1)
    n = len(unit)
    target = torch.arange(n, device=unit.device)
    if negatives == "cross-view":
        similar = unit[:, 0] @ unit[:, 1].T / temperature  # (N, N)
        return (F.cross_entropy(similar, target) + F.cross_entropy(similar.T, target)) / 2
    flat = torch.cat((unit[:, 0], unit[:, 1]))  # (2N, E)
    similar = flat @ flat.T / temperature
    similar = similar.masked_fill(
        torch.eye(2 * n, dtype=torch.bool, device=unit.device), -torch.inf
    )
    return F.cross_entropy(similar, torch.cat((target + n, target)))


def at_end(hidden: Tensor, ids: Tensor) -> Tensor:
    """Return the states (B, D) at the first <E> of each row of states (B, T, D) and ids (B, T)."""
    at = (ids == EOS).int().argmax(dim=1)
    return hidden[torch.arange(len(ids), device=ids.device), at]


class EndEmbedding(nn.Module):
    """Embed views by the state at their end.

    Args:
        decoder: with an embedding head.
        settings: settings of the loss.
        precision: ``bf16`` for autocast, ``f32`` for no autocast.
    """

    def __init__(self, decoder: AriaDecoder, settings: Contrastive, precision: str) -> None:
        super().__init__()
        self.decoder = decoder
        self.settings = settings
        self.autocast = precision == "bf16"

    def forward(self, rows: Tensor) -> Tensor:
        """Return float32 embeddings (N, 2, E) of views (N, 2, T)."""
        flat = rows.flatten(0, 1)
        with torch.autocast(rows.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            hidden, _ = self.decoder.model(flat)
            found = self.decoder.head(at_end(hidden, flat))
        return found.float().view(*rows.shape[:2], -1)


class ContrastiveTask(DecoderTask):
    """Train an embedding head on a decoder, pretrained or fresh."""

    measures = ("nats_per_view",)
    stream_kind = SlicePairStream
    starts_from = ("lm", "embedding")

    def _head(self, config: AriaConfig) -> AriaConfig:
        return replace(config, embedding_size=self._options.embedding_size)

    @property
    def _options(self) -> Contrastive:
        options = self.recipe.contrastive
        assert options is not None
        return options

    def _module(self) -> nn.Module:
        return EndEmbedding(self.decoder, self._options, self.recipe.precision)

    def settings(self, stage_index: int) -> SlicePairSettings:
        """Return the settings of the views of one stage."""
        options = self._options
        return SlicePairSettings(
            **self._row_settings(stage_index),
            min_notes=options.min_notes,
            max_notes=options.max_notes,
            same_source=options.same_source,
        )

    @property
    def info(self) -> dict[str, Any]:
        """Return the notes of a chunk, the largest number that it was trained on."""
        return {"chunk_notes": min(CHUNK_NOTES, self._options.max_notes)}

    def step(self, module: nn.Module, micro: list[Tensor], processes: Processes) -> Tensor:
        """Compute the gradients of one optimiser step over all pairs of all processes."""
        if len(micro) == 1 and processes.world == 1:
            loss = self._loss(module(cropped(micro[0])))
            processes.backward(loss)
            return loss.detach()
        states: list[list[Tensor]] = []
        parts: list[Tensor] = []
        with torch.no_grad():
            for rows in micro:
                # Dropout has to repeat in the second pass.
                states.append(random_states(processes.device))
                parts.append(module(cropped(rows)))
        mine = torch.cat(parts)
        everyone = processes.gather(mine).requires_grad_()
        loss = self._loss(everyone)
        (slope,) = torch.autograd.grad(loss, everyone)
        # Gradients are averaged over processes afterwards; here they must be summed.
        slope = slope[processes.rank * len(mine) :][: len(mine)] * processes.world
        slopes = torch.split(slope, [len(part) for part in parts])
        for i, (rows, part) in enumerate(zip(micro, slopes, strict=True)):
            set_random_states(states[i], processes.device)
            if i + 1 < len(micro):
                with processes.unsynchronised(module):
                    processes.backward((module(cropped(rows)) * part).sum())
            else:
                processes.backward((module(cropped(rows)) * part).sum())
        return loss.detach()

    def _loss(self, embeddings: Tensor) -> Tensor:
        return nt_xent(embeddings, self._options.temperature, self._options.negatives)

    def validate(self, module: nn.Module, rows: Tensor, processes: Processes) -> list[float]:
        """Return the loss over all validation pairs at once."""
        parts = torch.split(rows, self.recipe.stages[-1].rows)
        found = [module(cropped(part.to(processes.device))) for part in parts]
        return [float(self._loss(torch.cat(found)))]


def cropped(rows: Tensor) -> Tensor:
    """Crop rows (..., T) by the padding that all of them end in."""
    longest = int((rows != PAD).flatten(0, -2).any(dim=0).sum())
    return rows[..., : min(-(-longest // _CROP) * _CROP, rows.shape[-1])]
