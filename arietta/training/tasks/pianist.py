"""Train the Pianist Transformer (arXiv 2512.02652, specification section 3).

Masked denoising of performances first, then score -> performance on aligned pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from arietta.arrays import IntArray
from arietta.data.pairs import Pair, label_of
from arietta.data.shards import open_dataset
from arietta.data.tables import table_pieces
from arietta.errors import InputError, UsageError
from arietta.midi.merged import MergedNotes, merge_tracks
from arietta.midi.piece import Piece
from arietta.models.pianist import checkpoint as checkpoints
from arietta.models.pianist.config import SLOTS, PianistConfig
from arietta.models.pianist.torch_module import (
    IGNORED,
    PianistTransformer,
    initialise,
    sequence_loss,
    shift_right,
)
from arietta.tokenizers.pianist import MASK, PAD, PEDAL, columns_of, ids_of_columns
from arietta.training.config import Recipe
from arietta.training.distributed import Processes
from arietta.training.rows.pair_split import chosen_pairs
from arietta.training.rows.stream import Block, Chunk, LoaderSettings, RowStream, glue
from arietta.training.tasks.decoder import Task

_CROPPED_SHARE = 0.1  # of the blocks of pretraining, to a random part (section 3.1, cutting)
_DOWN = 64  # pedal values of at least this are down


class PianistLoss(nn.Module):
    """Compute the mean cross entropy of rows (B, 2, T): encoder ids, decoder labels."""

    def __init__(self, model: PianistTransformer, precision: str) -> None:
        super().__init__()
        self.model = model
        self.autocast = precision == "bf16"

    def forward(self, rows: Tensor) -> Tensor:
        """Return the loss in nats per label, a float32 scalar."""
        return self.loss(rows[:, 0], rows[:, 1], rows[:, 1])

    def loss(self, ids: Tensor, labels: Tensor, decoder_ids: Tensor) -> Tensor:
        """Return the loss of encoder ids, labels and decoder inputs, each (B, T).

        The decoder reads all inputs before each label.
        """
        with torch.autocast(ids.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            logits = self.model(ids, shift_right(decoder_ids), ids != PAD)
        return sequence_loss(logits, labels)


class MaskedLoss(PianistLoss):
    """Compute the mean cross entropy of rows (B, 2, T): ids, and 1 where the encoder sees a mask.

    The decoder reads the true ids before each label (section 3.2).
    """

    def forward(self, rows: Tensor) -> Tensor:
        """Return the loss in nats per masked id."""
        ids, hidden = rows[:, 0], rows[:, 1].bool()
        return self.loss(ids.masked_fill(hidden, MASK), ids.masked_fill(~hidden, IGNORED), ids)


class PianistTask(Task):
    """Share the code of both stages.

    Raises:
        UsageError: the recipe's model is not of this architecture.
        CheckpointError: ``init`` is not of this architecture, or is missing.
    """

    measures: tuple[str, ...] = ("nats_per_id",)

    def _model(self) -> PianistTransformer:
        recipe = self.recipe
        config, checkpoint = recipe.model, None
        if recipe.init is not None:
            checkpoint = checkpoints.load(recipe.init)
            config = checkpoint.config
        if not isinstance(config, PianistConfig):
            raise UsageError(f"{recipe.name}: {recipe.task} trains a pianist model")
        longest = max(stage.seq_len for stage in recipe.stages)
        if longest % SLOTS or longest > config.max_notes * SLOTS:
            raise UsageError(
                f"{recipe.name}: seq_len is a multiple of {SLOTS} up to {config.max_notes * SLOTS}"
            )
        self.config = config
        model = PianistTransformer(config)
        initialise(model, recipe.seed)
        if checkpoint is not None:
            found = checkpoint.tensors
            model.load_state_dict({n: torch.from_numpy(found[n].copy()) for n in found})
        model.model.encoder.grad_checkpoint = recipe.grad_checkpoint
        return model

    def flops_per_token(self, seq_len: int) -> float:
        """Return the operations of training on one id; an encoder position reads eight ids."""
        config = self.config
        shapes = config.tensor_shapes()
        encoder = sum(int(np.prod(s)) for n, s in shapes.items() if "encoder.layers" in n)
        decoder = sum(int(np.prod(s)) for n, s in shapes.items() if "decoder.layers" in n)
        weights = encoder / SLOTS + decoder + config.vocab_size * config.d_model
        wide = config.n_heads * config.head_dim
        attention = (
            wide
            * seq_len
            * (2 * config.encoder_layers / SLOTS**2 + config.decoder_layers * (1 + 2 / SLOTS))
        )
        return 6.0 * (weights + attention)

    def validate(self, module: nn.Module, rows: Tensor, processes: Processes) -> list[float]:
        """Return nats per id over validation rows; the processes share the rows."""
        sums = torch.zeros(2, dtype=torch.float64)
        for batch, counts in processes.share(rows, self.recipe.stages[-1].rows):
            count = self.counted(batch) * counts
            loss = float(module(batch.to(processes.device)))
            if count:  # the mean over no labels is not a number
                sums += torch.tensor([loss * count, count], dtype=torch.float64)
        if processes.world > 1:
            sums = processes.total(sums.to(processes.device)).cpu()
        return [float(sums[0] / sums[1])]

    def counted(self, rows: Tensor) -> int:
        """Return the number of labels of rows."""
        return int((rows[:, 1] != IGNORED).sum())

    def export(self, folder: Path, weights: dict[str, Tensor], info: dict[str, Any]) -> None:
        """Export a checkpoint of the rendering system."""
        wanted = self.config.tensor_shapes()
        tensors = {
            name.removeprefix("model."): value.detach().float().cpu().numpy()
            for name, value in weights.items()
        }
        checkpoints.save(
            folder,
            self.config,
            {name: tensors[name] for name in wanted},
            name=self.recipe.name,
            info=info,
            overwrite=True,
        )


class DenoiseStream(RowStream):
    """Yield endless rows (2, T) of glued performances: ids, and 1 where they are masked.

    Settings: ``seq_len`` is T, ``share`` the share of the pieces; the rest is not used.
    """

    mask_share = 0.3

    def _build(self, number: int, carry: list[Chunk]) -> Block:
        settings = self.settings
        epoch, block = divmod(number, self.blocks_per_epoch)
        rng = np.random.default_rng((settings.seed, epoch, 1 + block))
        chunks = list(carry)
        stored = list(self._whole(epoch, block))
        for i in rng.permutation(len(stored)).tolist():
            name, piece = stored[i]
            ids = ids_of_columns(columns_of(merge_tracks(piece)))
            if len(ids):
                chunks.append(Chunk(name, ids))
        ids_rows, names, left = glue(chunks, settings.seq_len)
        rows = np.zeros((len(ids_rows), 2, settings.seq_len), np.uint16)
        order = rng.permutation(len(rows)).tolist()
        for place, ids in zip(order, ids_rows, strict=True):
            if rng.random() < _CROPPED_SHARE:
                notes = settings.seq_len // SLOTS
                length = int(rng.integers(1, notes + 1)) * SLOTS
                start = int(rng.integers(0, (settings.seq_len - length) // SLOTS + 1)) * SLOTS
                ids = ids[start : start + length]
            rows[place, 0, : len(ids)] = ids
            rows[place, 1, : len(ids)] = rng.random(len(ids)) < self.mask_share
        named: list[tuple[str, ...]] = [()] * len(rows)
        for place, of_row in zip(order, names, strict=True):
            named[place] = of_row
        return Block(rows, named, [Chunk(c.name, c.ids.copy()) for c in left])

    def _whole(self, epoch: int, block: int) -> Iterator[tuple[str, Piece]]:
        order = np.random.default_rng((self.settings.seed, epoch, 0)).permutation(len(self._groups))
        first = block * self._groups_per_block
        for i in order[first : first + self._groups_per_block].tolist():
            for row, piece in table_pieces(self._groups.read(i)):
                if len(piece.notes):
                    yield row.id, piece


class DenoiseTask(PianistTask):
    """Pretrain by masked denoising on a dataset of whole pieces (section 3.2)."""

    def __init__(self, recipe: Recipe, data: Path) -> None:
        self.recipe = recipe
        self.dataset = open_dataset(data)
        if self.dataset.form != "pieces":
            raise InputError(
                f"{data}: a dataset of the form {self.dataset.form} has no pedal;"
                " arietta data build … --form pieces"
            )
        self.module = MaskedLoss(self._model(), recipe.precision)

    def _settings(self, stage_index: int) -> LoaderSettings:
        recipe = self.recipe
        return LoaderSettings(
            seq_len=recipe.stages[stage_index].seq_len,
            augment=None,
            share=recipe.data.share,
            block_pieces=recipe.data.block_pieces,
            seed=recipe.seed * 1000 + stage_index,
        )

    def epoch_tokens(self) -> int:
        """Count the ids of one pass."""
        return SLOTS * sum(shard.notes for shard in self.dataset.of_split("train"))

    def stream(self, split: str, stage_index: int, stream: int, n_streams: int) -> DenoiseStream:
        """Return one of the endless streams of rows of a stage."""
        options = self.recipe.denoise
        assert options is not None
        found = DenoiseStream(self.dataset, split, self._settings(stage_index), stream, n_streams)
        found.mask_share = options.mask_share
        return found

    def validation(self) -> Tensor | None:
        """Return the first rows of the split ``valid``, if there is one."""
        if "valid" not in self.dataset.splits:
            return None
        stream = self.stream("valid", len(self.recipe.stages) - 1, 0, 1)
        rows: list[npt.NDArray[Any]] = []
        while len(rows) < self.recipe.data.valid_rows and (stream.epoch <= 1 or not rows):
            rows.append(next(stream))
        return torch.from_numpy(np.stack(rows)).long()

    def counted(self, rows: Tensor) -> int:
        """Return the number of masked ids."""
        return int(rows[:, 1].sum())


def pair_ids(pair: Pair) -> list[tuple[IntArray, IntArray]]:
    """Return score ids and labels of every segment of a pair (section 3.3).

    The pedal of the labels is up or down, never between; the pedal of the score is unchanged.
    """
    made = label_of(pair)
    score, onset = pair.score, np.rint(pair.score.onset_ms).astype(np.int64)
    pedal = merge_tracks(pair.score.piece)
    offset = np.rint(pair.score.onset_ms + pair.score.duration_ms).astype(np.int64)
    pitch = score.pitch.astype(np.int64)
    written = MergedNotes(
        onset,
        np.maximum(offset, onset + 1),
        pitch,
        score.velocity.astype(np.int64),
        pedal.pedal_ms,
        pedal.pedal_value,
    )
    played = MergedNotes(
        made.onset_ms,
        made.onset_ms + made.duration_ms,
        pitch,
        made.velocity,
        made.pedal_ms,
        np.where(made.pedal_value >= _DOWN, 127, 0),
    )
    x = ids_of_columns(columns_of(written)).astype(np.int64)
    y = ids_of_columns(columns_of(played)).astype(np.int64)
    assert (y.reshape(-1, SLOTS)[:, 4:] >= PEDAL).all()
    return [(x[a * SLOTS : b * SLOTS], y[a * SLOTS : b * SLOTS]) for a, b in made.segments]


def windows(length: int, size: int) -> list[tuple[int, int]]:
    """Return half overlapping windows over ``length`` ids, and one at the end."""
    step = size // 2 // SLOTS * SLOTS
    found, start = [], 0
    while start + size <= length:
        found.append((start, start + size))
        start += step
    if not found or found[-1][1] != length:
        found.append((start, length))
    return found


class PlayStream:
    """Yield endless rows (2, T) of windows.

    Each epoch shows every window completely, and a random part of it.
    """

    def __init__(
        self,
        items: list[tuple[str, IntArray, IntArray]],
        size: int,
        seed: int,
        stream: int,
        n_streams: int,
    ) -> None:
        self.names: tuple[str, ...] = ()
        self._items, self._size, self._seed = items, size, seed
        self._next, self._streams = stream, n_streams
        self._order: tuple[int, IntArray] = (-1, np.zeros(0, np.int64))

    def position(self) -> dict[str, Any]:
        """Return the position before the next row."""
        return {"next": self._next}

    def seek(self, position: dict[str, Any]) -> None:
        """Restore a saved position."""
        self._next = int(position["next"])

    def __next__(self) -> IntArray:
        epoch, at = divmod(self._next, 2 * len(self._items))
        if self._order[0] != epoch:
            rng = np.random.default_rng((self._seed, epoch))
            self._order = (epoch, rng.permutation(2 * len(self._items)))
        part, which = divmod(int(self._order[1][at]), len(self._items))
        self._next += self._streams
        name, x, y = self._items[which]
        self.names = (name,)
        if part:
            rng = np.random.default_rng((self._seed, epoch, 1 + at))
            length = int(rng.integers(1, len(x) // SLOTS + 1)) * SLOTS
            start = int(rng.integers(0, (len(x) - length) // SLOTS + 1)) * SLOTS
            x, y = x[start : start + length], y[start : start + length]
        return row_of(x, y, self._size)


def row_of(x: IntArray, y: IntArray, size: int) -> IntArray:
    """Return a padded row (2, size): ids and labels."""
    row = np.empty((2, size), np.int64)
    row[0], row[1] = PAD, IGNORED
    row[0, : len(x)], row[1, : len(y)] = x, y
    return row


class PlayTask(PianistTask):
    """Finetune from scores to performances (section 3.3)."""

    def __init__(self, recipe: Recipe, data: Path) -> None:
        self.recipe = recipe
        options = recipe.play
        assert options is not None
        self.module = PianistLoss(self._model(), recipe.precision)
        size = recipe.stages[-1].seq_len
        learned, held = chosen_pairs(data, options)
        self._train, self._valid = (
            [
                (pair.id, x[a:b], y[a:b])
                for pair in part
                for x, y in pair_ids(pair)
                for a, b in windows(len(x), size)
            ]
            for part in (learned, held)
        )
        if not self._train:
            raise InputError(f"{data}: no pair to learn from")

    def epoch_tokens(self) -> int:
        """Count the ids of all windows and their parts, padding included."""
        return 2 * len(self._train) * self.recipe.stages[0].seq_len

    def stream(self, split: str, stage_index: int, stream: int, n_streams: int) -> PlayStream:
        """Return one of the endless streams of rows of a stage."""
        assert split == "train"
        seed = self.recipe.seed * 1000 + stage_index
        size = self.recipe.stages[stage_index].seq_len
        return PlayStream(self._train, size, seed, stream, n_streams)

    def validation(self) -> Tensor | None:
        """Return windows of the validation pairs."""
        size = self.recipe.stages[-1].seq_len
        rows = [row_of(x, y, size) for _, x, y in self._valid[: self.recipe.data.valid_rows]]
        return torch.from_numpy(np.stack(rows)) if rows else None
