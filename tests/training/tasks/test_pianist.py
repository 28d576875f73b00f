"""Training of Pianist Transformer: rows, losses, runs; the published recipes can be looked at."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from arietta.data.build import build_dataset
from arietta.data.settings import preset
from arietta.errors import InputError, UsageError
from arietta.models.pianist import checkpoint as checkpoints
from arietta.models.pianist.config import SLOTS, PianistConfig
from arietta.models.pianist.torch_module import IGNORED
from arietta.tokenizers.pianist import MASK, PAD, PEDAL, SLOT_RANGES
from arietta.training.config import Recipe, load_recipes, recipe_from
from arietta.training.loop import train
from arietta.training.tasks.pianist import DenoiseTask, PlayTask, pair_ids, windows
from tests.training.tasks.test_performer import a_pair, a_score, pairs
from tests.training.test_loop import column

__all__ = ["pairs"]

TINY = PianistConfig(
    d_model=32,
    ff_dim=48,
    n_heads=2,
    n_kv_heads=1,
    head_dim=16,
    encoder_layers=1,
    decoder_layers=1,
    attention_divisor=16.0,
    max_notes=32,
)


def recipe(task: str, **changes: Any) -> Recipe:
    return recipe_from(
        {
            "name": "tiny",
            "task": task,
            "model": TINY.to_dict(),
            "stages": [{"seq_len": 128, "rows": 4, "until_tokens": 128 * 4 * 24}],
            "optimiser": {"lr": 1e-2, "weight_decay": 0.0, "clip_norm": 1.0},
            "precision": "f32",
            "valid_every_steps": 12,
            "data": {"block_pieces": 4, "valid_rows": 6},
            task: {"where": {"pt_test": "0"}} if task == "play" else {},
            **changes,
        }
    )


@pytest.fixture(scope="module")
def whole(prompts_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of whole pieces."""
    folder = tmp_path_factory.mktemp("whole") / "set"
    settings = preset("none", fractions={"train": 0.7, "valid": 0.3}, seed=1)
    build_dataset([prompts_dir], folder, settings)
    return folder


def test_hidden_ids_are_what_is_asked_for(whole: Path) -> None:
    task = DenoiseTask(recipe("denoise", denoise={"mask_share": 0.45}), whole)
    stream = task.stream("train", 0, 0, 1)
    hidden, real = 0, 0
    for _ in range(60):
        ids, masked = next(stream)
        assert ids.shape == masked.shape == (128,)
        kept = ids != PAD
        assert kept.sum() % SLOTS == 0 and not masked[~kept].any()
        for slot, (low, high) in enumerate(SLOT_RANGES):
            here = ids[slot::SLOTS][kept[slot::SLOTS]]
            assert ((here >= low) & (here < high)).all()
        hidden, real = hidden + int(masked.sum()), real + int(kept.sum())
    assert hidden / real == pytest.approx(0.45, abs=0.03)
    assert real < 60 * 128  # some rows are cropped


def test_the_encoder_sees_no_hidden_id_and_the_decoder_sees_all(whole: Path) -> None:
    task = DenoiseTask(recipe("denoise"), whole)
    seen: dict[str, torch.Tensor] = {}

    class Spy(torch.nn.Module):
        def forward(self, ids: torch.Tensor, decoder: torch.Tensor, mask: torch.Tensor) -> Any:
            seen.update(ids=ids, decoder=decoder, mask=mask)
            return torch.zeros(*ids.shape, TINY.vocab_size)

    task.module.model = Spy()
    rows = torch.from_numpy(np.stack([next(task.stream("train", 0, 0, 1))])).long()
    loss = task.module(rows)
    assert float(loss) == pytest.approx(math.log(TINY.vocab_size), abs=1e-4)
    ids, hidden = rows[0, 0], rows[0, 1].bool()
    assert (seen["ids"][0][hidden] == MASK).all()
    assert torch.equal(seen["ids"][0][~hidden], ids[~hidden])
    assert torch.equal(seen["decoder"][0][1:], ids[:-1])


def test_runs_learn_and_go_on_to_the_same_bits(whole: Path, pairs: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    base = recipe("denoise")
    train(base, whole, tmp_path / "base", cpu=True)
    losses = column(tmp_path / "base", "nats_per_id")
    assert losses[-1] < losses[0] - 1
    train(base, whole, tmp_path / "parts", cpu=True, max_steps=7)
    train(base, whole, tmp_path / "parts", cpu=True)
    assert losses == column(tmp_path / "parts", "nats_per_id")
    tuned = recipe("play", init=str(tmp_path / "base" / "model"), model=None)
    train(tuned, pairs, tmp_path / "tuned", cpu=True)
    found = checkpoints.load(tmp_path / "tuned" / "model")
    assert found.config == TINY
    held = column(tmp_path / "tuned", "nats_per_id", "valid.csv")
    assert held[-1] < held[0]


def test_pairs_become_rows_note_by_note(pairs: Path) -> None:
    pair = a_pair("a", a_score(0), 1)
    ((x, y),) = pair_ids(pair)
    assert len(x) == len(y) == SLOTS * len(pair.score)
    assert np.array_equal(x[::SLOTS], y[::SLOTS])  # the pitches
    assert set(y.reshape(-1, SLOTS)[:, 4:].ravel().tolist()) <= {PEDAL, PEDAL + 127}
    task = PlayTask(recipe("play"), pairs)
    stream = task.stream("train", 0, 0, 1)
    for _ in range(40):
        ids, labels = next(stream)
        assert ((ids == PAD) == (labels == IGNORED)).all()
        assert stream.names[0].split("-")[0] in "012345"
    rows = task.validation()
    assert rows is not None and rows.shape[1:] == (2, 128)


def test_windows_are_the_published_ones() -> None:
    assert windows(4096, 4096) == [(0, 4096)]
    assert windows(80, 4096) == [(0, 80)]
    assert windows(5000, 4096) == [(0, 4096), (2048, 5000)]
    assert windows(8192, 4096) == [(0, 4096), (2048, 6144), (4096, 8192)]


def test_what_does_not_fit_is_refused(dataset: Path, whole: Path) -> None:
    with pytest.raises(InputError, match="has no pedal"):
        DenoiseTask(recipe("denoise"), dataset)
    with pytest.raises(UsageError, match="multiple of 8 up to 256"):
        stages = [{"seq_len": 512, "rows": 1, "until_tokens": 512}]
        DenoiseTask(recipe("denoise", stages=stages), whole)
    with pytest.raises(UsageError, match="mask_share"):
        recipe("denoise", denoise={"mask_share": 1.5})


def test_the_published_recipes() -> None:
    base = load_recipes("pianist-135m-pretrain")[""]
    assert isinstance(base.model, PianistConfig)
    assert 1.2e8 < base.model.parameter_count() < 1.4e8
    assert base.step_tokens(base.stages[0]) == 8 * 8 * 4096
    assert base.stages[0].until_tokens == 100_000 * 8 * 8 * 4096
    tuned = load_recipes("pianist-135m-sft")[""]
    assert (tuned.optimiser.lr, tuned.stages[0].until_epochs) == (5e-4, 2)
    assert set(load_recipes("pianist-small-pretrain")) == {"mask-15", "mask-30", "mask-45"}
