"""Report the sizes, steps and operations of a recipe without running it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from arietta.checkpoints.registry import locate
from arietta.data.shards import Dataset, GridRow, RowGroups, group_grid, open_dataset
from arietta.errors import InputError, UsageError
from arietta.models.aria.checkpoint import load as load_checkpoint
from arietta.models.aria.config import AriaConfig
from arietta.models.performer import checkpoint as performer
from arietta.models.performer.config import PerformerConfig
from arietta.models.pianist import checkpoint as pianist
from arietta.models.pianist.config import PianistConfig
from arietta.tokenizers.quantise import SEGMENT_MS, STEP
from arietta.training.config import Classify, Recipe, plan
from arietta.training.rows.slices import labelled_pieces, share_of, slices_of
from arietta.training.rows.stream import chosen

_SAMPLE_GROUPS = 32


def epoch_tokens(dataset: Dataset, recipe: Recipe) -> int:
    """Count the tokens of one pass over the train split, in padded rows of the first stage.

    Lengths are read from at most 32 row groups spread over the split, so that a large dataset is
    not read completely; a dataset of fewer groups is counted exactly.

    Raises:
        InputError: the train split is empty.
    """
    seq_len = recipe.stages[0].seq_len
    tokens = pieces = 0
    classes = {} if recipe.classify is None else class_shares(dataset, recipe.classify)
    for row in _spread(dataset):
        notes = len(row.notes)
        segments = int(row.notes.wait.sum()) * STEP // SEGMENT_MS
        length = 3 * notes + segments + 2 + 2  # instrument, <S>, <E> and one tag or <D>
        if recipe.task == "contrastive":
            length = 2 * seq_len
        elif recipe.classify is not None:
            label = row.row.metadata.get(recipe.classify.label, "")
            used = chosen(row.row.id, classes.get(label, 0.0))
            length = seq_len * slices_of(notes, recipe.classify.max_notes) * used
        elif recipe.data.mode == "separate":
            length = -(-length // seq_len) * seq_len
        tokens += length
        pieces += 1
    if not pieces:
        raise InputError(f"{dataset.path}: the train split holds no piece")
    whole = sum(shard.rows for shard in dataset.of_split("train"))
    return round(tokens / pieces * whole * recipe.data.share)


def class_shares(dataset: Dataset, options: Classify) -> dict[str, float]:
    """Return the share of the pieces of each class in the train split that is trained on.

    Raises:
        InputError: there are fewer than two classes, or a named class has no piece.
    """
    found = labelled_pieces(dataset, "train", options.label)
    classes = options.classes or tuple(found)
    missing = [name for name in classes if name not in found]
    if missing or len(classes) < 2:
        what = f"no {missing[0]!r}" if missing else f"{len(classes)} classes"
        raise InputError(
            f"{dataset.path}: the train split has {what} in the field {options.label!r};"
            " set classify.label to a field that tells the classes apart"
        )
    if options.per_class is None:
        return dict.fromkeys(classes, 1.0)
    return {name: share_of(found[name], options.per_class) for name in classes}


def _spread(dataset: Dataset) -> Iterator[GridRow]:
    """Yield the pieces of row groups that are spread evenly over the train split."""
    groups = RowGroups(dataset, "train")
    for i in range(0, len(groups), max(1, len(groups) // _SAMPLE_GROUPS)):
        yield from group_grid(dataset, groups.read(i))


def config_of(recipe: Recipe) -> AriaConfig | PerformerConfig | PianistConfig:
    """Return the architecture of a recipe; open its initial model only if necessary.

    Raises:
        CheckpointError: ``init`` cannot be found.
    """
    if recipe.model is not None:
        return recipe.model
    assert recipe.init is not None
    if recipe.task in ("denoise", "play"):
        return pianist.load(recipe.init).config
    if recipe.task == "perform":
        return performer.load_folder(locate(recipe.init)[0]).config
    config = load_checkpoint(recipe.init).config
    return config if recipe.layers is None else replace(config, n_layers=len(recipe.layers))


def dry_run(recipe: Recipe, data: Path | None) -> dict[str, Any]:
    """Return the figures of a recipe as JSON values.

    Args:
        recipe: the run.
        data: dataset, required if the recipe counts in epochs.

    Raises:
        UsageError: the recipe counts in epochs and there is no dataset.
    """
    from arietta.training.hardware import training_bytes, training_flops_per_token

    epochs = any(stage.until_epochs is not None for stage in recipe.stages)
    config = config_of(recipe)
    values: dict[str, Any] = {
        "recipe": recipe.name,
        "parameters": config.parameter_count(),
        "model": " ".join(
            f"{key}={value}" for key, value in config.to_dict().items() if value not in (None, 0)
        ),
        "tokens per step": recipe.step_tokens(recipe.stages[0]),
        "optimiser": f"{recipe.optimiser.kind}, lr {recipe.optimiser.lr:g}",
    }
    if isinstance(config, AriaConfig) and recipe.task == "next-token" and recipe.lora is None:
        needed = max(
            training_bytes(
                config,
                stage.rows,
                stage.seq_len,
                grad_checkpoint=recipe.grad_checkpoint,
                processes=recipe.streams,
            )
            for stage in recipe.stages
        )
        values["memory of a device"] = f"about {needed / 2**30:.1f} GiB"
    if recipe.init is not None:
        values["starts from"] = recipe.init
    if epochs and (data is None or recipe.task in ("perform", "play")):
        values["steps"] = ", ".join(
            f"until epoch {s.until_epochs:g}" for s in recipe.stages if s.until_epochs is not None
        )
        return values
    per_epoch = epoch_tokens(open_dataset(data), recipe) if epochs and data is not None else 0
    stages = plan(recipe, per_epoch)
    if not stages:
        raise UsageError("recipe: nothing to do")
    tokens = flops = 0.0
    for part in stages:
        seen = (part.end_step - part.first_step) * recipe.step_tokens(part.stage)
        tokens += seen
        if isinstance(config, AriaConfig):
            flops += seen * training_flops_per_token(config, part.stage.seq_len)
    if per_epoch:
        values["tokens per epoch"] = per_epoch
    values["steps"] = stages[-1].end_step
    values["tokens"] = round(tokens)
    if flops:
        values["operations"] = f"{flops:.3g}"
    return values
