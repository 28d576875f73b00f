"""A tiny dataset and a tiny recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arietta.data.shards import PieceRecord, ShardWriter
from arietta.data.token_grid import GridNotes
from arietta.training.config import Recipe, recipe_from


def some_notes(n: int, seed: int) -> GridNotes:
    """A piece with a little structure: a walk over the keys in uneven time."""
    rng = np.random.default_rng(seed)
    pitch = 60 + np.cumsum(rng.integers(-2, 3, n)) % 24
    wait = rng.choice([0, 20, 20, 40], n).astype(np.int32)
    wait[0] = 0
    return GridNotes(
        wait,
        rng.choice([18, 36], n).astype(np.uint16),
        pitch.astype(np.uint8),
        rng.integers(5, 9, n).astype(np.uint8),
        {"genre": "jazz"} if seed % 2 else {},
    )


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 pieces to train on, 4 to validate on."""
    folder = tmp_path_factory.mktemp("data") / "set"
    with ShardWriter(folder, "grid", rows_per_group=4) as writer:
        for i in range(28):
            split = "train" if i < 24 else "valid"
            writer.add(PieceRecord(f"piece-{i}", split, str(i), "made"), some_notes(60 + 5 * i, i))
    return folder


TINY: dict[str, Any] = {
    "name": "tiny",
    "model": {
        "d_model": 32,
        "n_heads": 2,
        "n_layers": 2,
        "ff_mult": 2,
        "vocab_size": 2565,
        "max_seq_len": 64,
    },
    "streams": 2,
    "stages": [
        {"seq_len": 32, "rows": 2, "until_tokens": 128 * 6},
        {"seq_len": 64, "rows": 2, "until_tokens": 128 * 6 + 256 * 6},
    ],
    "data": {"augment": {}, "block_pieces": 8, "valid_rows": 8},
    "optimiser": {"kind": "adamw", "lr": 1.0e-2},
    "schedule": {"warmup_steps": 2},
    "precision": "f32",
    "resid_dropout": 0.1,
    "valid_every_steps": 4,
}


def tiny(**changes: Any) -> Recipe:
    """The tiny recipe with some keys replaced."""
    return recipe_from({**TINY, **changes})
