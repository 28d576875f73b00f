"""Train the small renderer with squared errors against the mean performance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arietta.arrays import Float32Array, IntArray
from arietta.checkpoints.registry import locate
from arietta.data.shards import open_dataset, read_grid
from arietta.errors import InputError, UsageError
from arietta.evaluation.recordings import is_dataset
from arietta.evaluation.rendering import correlation
from arietta.models.performer.checkpoint import load_folder, save
from arietta.models.performer.config import OUTPUTS, PerformerConfig
from arietta.models.performer.torch_module import (
    Ensemble,
    Performer,
    initialise,
    tensor_name,
)
from arietta.notation.features import FEATURES, HAND_COLUMNS, TEMPO_COLUMNS, VELOCITY_COLUMNS
from arietta.training.config import Perform, Recipe
from arietta.training.distributed import Processes
from arietta.training.rows.pair_split import chosen_pairs
from arietta.training.rows.stream import chosen
from arietta.training.tasks.decoder import Task
from arietta.training.tasks.performer_targets import (
    ScoreTargets,
    fit_levels,
    recording_targets,
    score_targets,
)

_FIXED = 2  # columns in front of the features: pitch, quarter
_N = len(OUTPUTS)
_ENOUGH_SCORES = 50
# Weights of the squared errors, in the order of OUTPUTS; the pedal has a cross entropy.
_WEIGHTS = (1.0, 1.0, 1.0, 0.3, 0.25, 0.25, 0.25, 0.25)


def table(score: ScoreTargets) -> Float32Array:
    """Return (n, columns) of a whole score: pitch, quarter, features, outputs, weights."""
    # The mean of many takes is more certain than one take, but takes are correlated.
    weight = np.sqrt(score.takes)
    return np.concatenate(
        (
            score.score.pitch[:, None].astype(np.float32),
            score.score.onset_quarter[:, None].astype(np.float32),
            score.features,
            score.outputs,
            weight,
        ),
        axis=1,
    )


def recordings_of(dataset: Path, split: str, recipe: Recipe) -> list[ScoreTargets]:
    """Return targets of the performances of a dataset, see ``recording_targets``."""
    found = open_dataset(dataset)
    if split not in found.splits:
        return []
    targets = (
        recording_targets(row.id, notes)
        for row, notes in read_grid(found, split)
        if chosen(row.id, recipe.data.share)
    )
    return [target for target in targets if target is not None]


class WindowStream:
    """Yield endless windows (T, columns) of scores.

    An epoch shows every score once, cut at random places.

    Args:
        tables: results of ``table``.
        names: names of the scores.
        settings: settings of the task.
        length: T, rows of a window; a shorter score is padded with rows of weight 0.
        seed: seed of all random numbers.
        stream, n_streams: number of this stream, and number of streams.
    """

    def __init__(
        self,
        tables: list[Float32Array],
        names: list[str],
        settings: Perform,
        length: int,
        seed: int,
        stream: int,
        n_streams: int,
    ) -> None:
        self.names: tuple[str, ...] = ()
        self._tables, self._all_names, self._settings = tables, names, settings
        self._length, self._seed, self._next, self._streams = length, seed, stream, n_streams
        self._counts = np.array([-(-len(rows) // length) for rows in tables])
        self._of = np.repeat(np.arange(len(tables)), self._counts)
        self._order: tuple[int, IntArray] = (-1, np.zeros(0, np.int64))

    def position(self) -> dict[str, Any]:
        """Return the position before the next window."""
        return {"next": self._next}

    def seek(self, position: dict[str, Any]) -> None:
        """Restore a saved position."""
        self._next = int(position["next"])

    def __next__(self) -> Float32Array:
        epoch, at = divmod(self._next, len(self._of))
        if self._order[0] != epoch:
            order = np.random.default_rng((self._seed, epoch)).permutation(len(self._of))
            self._order = (epoch, order)
        rng = np.random.default_rng((self._seed, epoch, 1 + at))
        which = int(self._of[self._order[1][at]])
        self._next += self._streams
        self.names = (self._all_names[which],)
        rows = self._tables[which]
        start = int(rng.integers(0, max(1, len(rows) - self._length + 1)))
        return changed(
            padded(rows[start : start + self._length], self._length), self._settings, rng
        )


def padded(rows: Float32Array, length: int) -> Float32Array:
    """Copy rows to ``length`` rows; time starts at 0."""
    found = np.zeros((length, rows.shape[1]), np.float32)
    found[: len(rows)] = rows
    found[: len(rows), 1] -= rows[0, 1]
    return found


def changed(rows: Float32Array, settings: Perform, rng: np.random.Generator) -> Float32Array:
    """Transpose a window and hide some of its features, in place."""
    there = rows[:, -_N:].any(axis=1)
    if settings.transpose:
        pitch = rows[:, 0]
        low, high = int(pitch[there].min(initial=127)), int(pitch[there].max(initial=0))
        least, most = max(-settings.transpose, -low), min(settings.transpose, 127 - high)
        if least <= most:
            shift = int(rng.integers(least, most + 1))
            rows[there, 0] += shift
            rows[there, _FIXED + FEATURES.index("pitch")] += shift / 18
    hidden = rng.random(3) < settings.hide
    if hidden[0]:
        rows[:, [_FIXED + i for i in HAND_COLUMNS]] = 0
    if hidden[1]:
        rows[:, [_FIXED + i for i in VELOCITY_COLUMNS]] = 0
    if hidden[2]:
        rows[:, [_FIXED + i for i in TEMPO_COLUMNS]] += np.float32(rng.normal(0, 0.3))
    return rows


class MeanPerformanceLoss(nn.Module):
    """Compute the weighted squared error (pedal: cross entropy) of windows."""

    def __init__(self, performer: Performer | Ensemble, precision: str) -> None:
        super().__init__()
        self.performer = performer
        self.autocast = precision == "bf16"

    def outputs(self, rows: Tensor) -> Tensor:
        """Return (B, T, len(OUTPUTS)) for windows (B, T, columns)."""
        features = rows[..., _FIXED : -2 * _N]
        mask = rows[..., -_N:].any(dim=-1) | (rows[..., 0] > 0)
        with torch.autocast(rows.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            found: Tensor = self.performer(rows[..., 0].long(), features, rows[..., 1], mask)
        return found

    def forward(self, rows: Tensor, predict: bool = False) -> Tensor:
        """Return the loss of windows, a scalar; or the outputs."""
        found = self.outputs(rows)
        if predict:
            return found
        target, weight = rows[..., -2 * _N : -_N], rows[..., -_N:]
        errors = torch.cat(
            (
                (found[..., :4] - target[..., :4]) ** 2,
                F.binary_cross_entropy_with_logits(
                    found[..., 4:], target[..., 4:], reduction="none"
                ),
            ),
            dim=-1,
        )
        total = (errors * weight).sum(dim=(0, 1)) / weight.sum(dim=(0, 1)).clamp_min(1e-6)
        return (total * total.new_tensor(_WEIGHTS)).sum()


class PerformerTask(Task):
    """Train a renderer on scores with takes, or pretrain it on performances.

    Performances without scores train velocity only.
    """

    measures = ("loss", "velocity", "tempo", "articulation")

    def __init__(self, recipe: Recipe, data: Path) -> None:
        self.recipe = recipe
        options = recipe.perform
        assert options is not None
        self._options: Perform = options
        before = None if recipe.init is None else load_folder(locate(recipe.init)[0])
        config = recipe.model if before is None else before.config
        if not isinstance(config, PerformerConfig) or recipe.model not in (None, config):
            raise UsageError(f"{recipe.name}: perform needs a model of its own kind")
        if config.members > 1 and before is None:
            raise UsageError(f"{recipe.name}: models learn one by one; join them afterwards")
        if config.n_features != len(FEATURES):
            raise UsageError(f"{recipe.name}: model.n_features has to be {len(FEATURES)}")
        self.config = config
        if is_dataset(data):
            self._train, self._valid = (
                recordings_of(data, split, recipe) for split in ("train", "valid")
            )
        else:
            learned, held = chosen_pairs(data, options)
            self._train, self._valid = score_targets(learned), score_targets(held)
        if not self._train:
            raise InputError(f"{data}: no pair to learn from")
        self._tables = [table(score) for score in self._train]
        self._before = before
        performer: Performer | Ensemble
        if before is None:
            performer = Performer(self.config, options.dropout)
            initialise(performer, recipe.seed)
        else:
            several = self.config.members > 1
            performer = (Ensemble if several else Performer)(self.config, options.dropout)
            names = performer.state_dict()
            weights = {n: torch.from_numpy(before.tensors[tensor_name(n)].copy()) for n in names}
            performer.load_state_dict(weights)
        self.module = MeanPerformanceLoss(performer, recipe.precision)

    def epoch_tokens(self) -> int:
        """Count the notes of all scores, padding included."""
        length = self.recipe.stages[0].seq_len
        return sum(-(-len(rows) // length) * length for rows in self._tables)

    def flops_per_token(self, seq_len: int) -> float:
        """Return the operations of training on one note: weights, and attention to the window."""
        return 6.0 * self.config.parameter_count() + 12.0 * (
            self.config.n_layers * self.config.d_model * seq_len
        )

    def stream(self, split: str, stage_index: int, stream: int, n_streams: int) -> WindowStream:
        """Return a stream of windows of the training scores."""
        assert split == "train"
        return WindowStream(
            self._tables,
            [score.name for score in self._train],
            self._options,
            self.recipe.stages[stage_index].seq_len,
            self.recipe.seed * 1000 + stage_index,
            stream,
            n_streams,
        )

    def validation(self) -> Tensor | None:
        """Return consecutive windows of the validation scores with the numbers of the scores."""
        length = self.recipe.stages[-1].seq_len
        windows = []
        for number, score in enumerate(self._valid):
            rows = table(score)
            for start in range(0, len(rows), length):
                window = padded(rows[start : start + length], length)
                windows.append(np.insert(window, _FIXED, number, axis=1))
        return torch.from_numpy(np.stack(windows)) if windows else None

    def validate(self, module: nn.Module, rows: Tensor, processes: Processes) -> list[float]:
        """Return the loss, and the correlation with the mean take averaged over the scores."""
        number = rows[:, 0, _FIXED].numpy()
        rows = torch.cat((rows[..., :_FIXED], rows[..., _FIXED + 1 :]), dim=-1)
        losses, outputs = [], []
        for part in torch.split(rows, self.recipe.stages[-1].rows):
            here = part.to(processes.device)
            losses.append(float(module(here)) * len(part))
            outputs.append(module(here, predict=True).cpu())
        found = torch.cat(outputs).numpy()
        target, weight = rows[..., -2 * _N : -_N].numpy(), rows[..., -_N:].numpy()
        agreed = []
        for i in range(3):
            of_scores = []
            for which in np.unique(number):
                mine = number == which
                known = weight[mine][..., i] > 0
                x, y = found[mine][..., i][known], target[mine][..., i][known]
                of_scores.append(correlation(x.astype(np.float64), y.astype(np.float64)))
            there = [r for r in of_scores if np.isfinite(r)]
            agreed.append(float(np.mean(there)) if there else float("nan"))
        return [sum(losses) / len(rows), *agreed]

    def merit(self, measured: list[float]) -> list[float]:
        """Rank by the correlation with the validation takes."""
        return [float(np.nansum(measured[1:]))]

    def export(self, folder: Path, weights: dict[str, Tensor], info: dict[str, Any]) -> None:
        """Export the weights and the table of mean velocity, tempo and articulation.

        A few scores do not tell how scores differ: then the table of the initial model stays.
        """
        few = self._before is not None and len(self._train) < _ENOUGH_SCORES
        levels = self._before.levels if self._before and few else fit_levels(self._train)
        save(
            folder,
            self.config,
            {
                tensor_name(name.removeprefix("performer.")): value.detach().float().cpu().numpy()
                for name, value in weights.items()
            },
            levels,
            name=self.recipe.name,
            info=info,
            overwrite=True,
        )
