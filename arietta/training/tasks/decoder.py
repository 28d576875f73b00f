"""Define the interface of a task, and the next-token task.

A task provides the rows, a module that computes the loss, and the export; the loop is the same for
all tasks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from arietta.data.shards import open_dataset
from arietta.errors import UsageError
from arietta.models.aria.checkpoint import LoadedCheckpoint
from arietta.models.aria.checkpoint import load as load_checkpoint
from arietta.models.aria.config import AriaConfig
from arietta.models.aria.torch_module import AriaDecoder, initialise
from arietta.tokenizers.open import tokenizer_named
from arietta.tokenizers.vocabulary import PAD
from arietta.training.config import Recipe
from arietta.training.distributed import Processes
from arietta.training.dry_run import epoch_tokens
from arietta.training.export import export_model
from arietta.training.hardware import training_flops_per_token
from arietta.training.lora import add_adapters, merged_state
from arietta.training.loss import NextToken
from arietta.training.rows.stream import LoaderSettings, RowStream, validation_rows
from arietta.training.structured import folded, share_features

_LAYER = "model.encode_layers."


class Rows(Protocol):
    """Stream endless rows; the position can be saved; see ``training.rows.stream``."""

    names: tuple[str, ...]

    def __next__(self) -> npt.NDArray[Any]:
        """Return the next row; all rows of a stage have one shape."""

    def position(self) -> dict[str, Any]:
        """Return the position before the next row as plain JSON values."""

    def seek(self, position: dict[str, Any]) -> None:
        """Restore a saved position."""


class Task(ABC):
    """Define what a run learns.

    Attributes:
        measures: names of the metrics of ``validate``; the first is the training loss.
        recipe: the run.
        module: ``step`` computes the loss from ``forward(rows)``, by default the mean loss, a
            float32 scalar.
        plays: whether the trained model continues music, so that samples can be written.
    """

    plays: bool = False
    measures: tuple[str, ...]
    recipe: Recipe
    module: nn.Module

    def begin(self, say: Callable[[str], None]) -> None:
        """Prepare a new run before its first step; may change the weights.

        Args:
            say: callback for messages to the user, one line each.
        """
        del say

    @abstractmethod
    def epoch_tokens(self) -> int:
        """Count the tokens of one pass over the training data, padding included."""

    @abstractmethod
    def stream(self, split: str, stage_index: int, stream: int, n_streams: int) -> Rows:
        """Return one of the endless streams of rows of a stage."""

    @abstractmethod
    def validation(self) -> Tensor | None:
        """Return fixed validation rows, the same in every process; None if there are none."""

    @abstractmethod
    def validate(self, module: nn.Module, rows: Tensor, processes: Processes) -> list[float]:
        """Return the metrics over validation rows."""

    @abstractmethod
    def flops_per_token(self, seq_len: int) -> float:
        """Return the operations of training on one token."""

    @abstractmethod
    def export(self, folder: Path, weights: dict[str, Tensor], info: dict[str, Any]) -> None:
        """Export trained weights as a model folder."""

    def merit(self, measured: list[float]) -> list[float]:
        """Convert metrics to a tuple of which the largest is the best."""
        return [-measured[0]]

    def step(self, module: nn.Module, micro: list[Tensor], processes: Processes) -> Tensor:
        """Compute the gradients of one optimiser step; return the mean loss of this process."""
        total = torch.zeros((), device=processes.device)
        for i, rows in enumerate(micro):
            if i + 1 < len(micro):
                with processes.unsynchronised(module):
                    loss = module(rows) / len(micro)
                    processes.backward(loss)
            else:
                loss = module(rows) / len(micro)
                processes.backward(loss)
            total += loss.detach()
        return total


class DecoderTask(Task):
    """Predict next tokens (specification F, pretraining and generative finetuning).

    The other tasks of the Aria decoder inherit from this class.

    Attributes:
        config: architecture of the exported model.

    Args:
        recipe: the run.
        data: folder of the dataset.

    Raises:
        InputError: there is no dataset.
        UsageError: the initial model and the recipe do not fit together.
    """

    plays = True
    measures: tuple[str, ...] = ("nats_per_token",)
    stream_kind: Callable[..., RowStream] = RowStream
    starts_from: tuple[str, ...] = ("lm",)

    def __init__(self, recipe: Recipe, data: Path) -> None:
        self.recipe, self.dataset = recipe, open_dataset(data)
        self.decoder = self._decoder()
        self.config: AriaConfig = self.decoder.config
        self.decoder.model.grad_checkpoint = recipe.grad_checkpoint
        self.module = self._module()
        if recipe.lora is not None:
            add_adapters(self.decoder, recipe.lora)

    def epoch_tokens(self) -> int:
        """Count the tokens of one pass over the train split, padding included."""
        return epoch_tokens(self.dataset, self.recipe)

    # Model

    def _module(self) -> nn.Module:
        return NextToken(self.decoder, PAD, self.recipe.precision, self._teacher())

    def _teacher(self) -> AriaDecoder | None:
        """Return the model of ``recipe.teacher``.

        Raises:
            UsageError: it reads other tokens than the recipe makes.
        """
        if self.recipe.teacher is None:
            return None
        checkpoint = load_checkpoint(self.recipe.teacher)
        checkpoint.require("lm")
        if (checkpoint.tokenizer, checkpoint.config.waits) != (
            self.recipe.tokenizer,
            self.config.waits,
        ):
            raise UsageError(
                f"{self.recipe.name}: the teacher {self.recipe.teacher} must read the tokens of"
                f" {self.recipe.tokenizer!r}, and have waits as the model has them"
            )
        teacher = AriaDecoder(checkpoint.config)
        names = teacher.state_dict()
        teacher.load_state_dict({n: torch.from_numpy(checkpoint.tensors[n].copy()) for n in names})
        return teacher

    def _head(self, config: AriaConfig) -> AriaConfig:
        """Return the architecture with the head that the task trains."""
        return config

    def _decoder(self) -> AriaDecoder:
        """Build the decoder with fresh or pretrained weights; check that the tokenizer fits."""
        recipe = self.recipe
        config = recipe.model
        checkpoint = None
        if recipe.init is not None:
            checkpoint = load_checkpoint(recipe.init)
            checkpoint.require(*self.starts_from)
            if checkpoint.tokenizer != recipe.tokenizer:
                raise UsageError(
                    f"{recipe.name}: {recipe.init} reads tokens of {checkpoint.tokenizer!r}, the"
                    f" recipe makes {recipe.tokenizer!r}"
                )
            if config is not None and config != checkpoint.config:
                raise UsageError(
                    f"{recipe.name}: {recipe.init} has another architecture than the recipe's model"
                )
            config = checkpoint.config
            if recipe.layers is not None:
                absent = [i for i in recipe.layers if not 0 <= i < config.n_layers]
                if absent:
                    raise UsageError(
                        f"{recipe.name}: {recipe.init} has layers 0 to {config.n_layers - 1},"
                        f" layers names {absent[0]}"
                    )
                config = replace(config, n_layers=len(recipe.layers))
            longest = max(s.seq_len for s in recipe.stages)
            if longest > config.max_seq_len:
                raise UsageError(
                    f"{recipe.name}: seq_len {longest} exceeds the {config.max_seq_len} tokens of"
                    f" {recipe.init}"
                )
        assert isinstance(config, AriaConfig)
        if recipe.resid_dropout is not None:
            config = replace(config, resid_dropout=recipe.resid_dropout)
        size = tokenizer_named(recipe.tokenizer).vocab_size
        if size != config.vocab_size:
            raise UsageError(
                f"{recipe.name}: tokenizer {recipe.tokenizer} has {size} ids, the model"
                f" {config.vocab_size}"
            )
        decoder = AriaDecoder(self._head(config))
        initialise(decoder, recipe.seed)
        if checkpoint is not None:
            self._take_over(decoder, checkpoint)
        if recipe.structured:
            share_features(decoder, recipe.tokenizer, fresh=checkpoint is None)
        return decoder

    def _take_over(self, decoder: AriaDecoder, checkpoint: LoadedCheckpoint) -> None:
        """Load pretrained weights for all shared tensors; a head of another kind stays fresh."""
        kept = [n for n in checkpoint.tensors if self._keeps(n, checkpoint)]
        found = {self._renamed(n): checkpoint.tensors[n] for n in kept}
        mine = decoder.state_dict()
        shared = {n: torch.from_numpy(found[n].copy()) for n in mine if n in found}
        added = ("_head.weight", "embedding_adapter.weight")
        fresh = [n for n in mine if n not in found and not n.endswith(added)]
        assert not fresh, fresh
        decoder.load_state_dict(shared, strict=False)

    def _renamed(self, name: str) -> str:
        """Return the name of a tensor of the initial model where ``layers`` chooses from it.

        Tensors of layers that are left out get a name that no model has.
        """
        layers = self.recipe.layers
        if layers is None or not name.startswith(_LAYER):
            return name
        number, rest = name.removeprefix(_LAYER).split(".", 1)
        place = layers.index(int(number)) if int(number) in layers else "out"
        return f"{_LAYER}{place}.{rest}"

    def _keeps(self, name: str, checkpoint: LoadedCheckpoint) -> bool:
        """Return whether to keep a tensor of the initial model."""
        del name, checkpoint
        return True

    # Data

    def settings(self, stage_index: int) -> LoaderSettings:
        """Return the settings of the rows of one stage."""
        return LoaderSettings(**self._row_settings(stage_index))

    def _row_settings(self, stage_index: int) -> dict[str, Any]:
        recipe, data = self.recipe, self.recipe.data
        return {
            "tokenizer": recipe.tokenizer,
            "seq_len": recipe.stages[stage_index].seq_len,
            "mode": data.mode,
            "tag_share": data.tag_share,
            "augment": data.augment,
            "jitter_ms": data.jitter_ms,
            "gap_share": data.gap_share,
            "tell_share": data.tell_share,
            "share": data.share,
            "block_pieces": data.block_pieces,
            # The order differs between stages.
            "seed": recipe.seed * 1000 + stage_index,
        }

    def stream(self, split: str, stage_index: int, stream: int, n_streams: int) -> RowStream:
        """Return one of the endless streams of rows of a stage."""
        settings = self.settings(stage_index)
        return self.stream_kind(self.dataset, split, settings, stream, n_streams)

    def validation(self) -> Tensor | None:
        """Return fixed rows of the split ``valid``, if there is one."""
        if "valid" not in self.dataset.splits:
            return None
        settings = self.settings(len(self.recipe.stages) - 1)
        count = self.recipe.data.valid_rows
        rows = validation_rows(self.dataset, "valid", settings, count, self.stream_kind)
        return torch.from_numpy(np.asarray(rows)).long()

    def flops_per_token(self, seq_len: int) -> float:
        """Return the operations of training on one token."""
        return training_flops_per_token(self.config, seq_len)

    def validate(self, module: nn.Module, rows: Tensor, processes: Processes) -> list[float]:
        """Return the metrics over validation rows; the processes share the rows."""
        return [self._mean_loss(module, rows, processes)]

    def _mean_loss(self, module: nn.Module, rows: Tensor, processes: Processes) -> float:
        """Return the mean of the module's row losses over all tokens of rows (B, 1 + T or more)."""
        sums = torch.zeros(2, dtype=torch.float64)
        for batch, counts in processes.share(rows, self.recipe.stages[-1].rows):
            count = self._predicted(batch) * counts
            loss = float(module(batch.to(processes.device)))
            sums += torch.tensor([loss * count, count], dtype=torch.float64)
        if processes.world > 1:
            sums = processes.total(sums.to(processes.device)).cpu()
        return float(sums[0] / sums[1])

    def _predicted(self, rows: Tensor) -> int:
        """Return the number of targets of rows (B, 1 + T or more)."""
        return int((rows[:, 1 : 1 + self.recipe.stages[-1].seq_len] != PAD).sum())

    def export(self, folder: Path, weights: dict[str, Tensor], info: dict[str, Any]) -> None:
        """Export trained weights as a model folder."""
        weights = {
            k.removeprefix("decoder."): v for k, v in weights.items() if k.startswith("decoder.")
        }
        if self.recipe.structured:
            weights = folded(self.decoder, weights)
        if self.recipe.lora is not None:
            weights = merged_state(weights, self.recipe.lora)
        export_model(folder, self.config, weights, self.recipe, info | self.info)

    @property
    def info(self) -> dict[str, Any]:
        """Return additional values for the ``config.json`` of the model."""
        return {}
