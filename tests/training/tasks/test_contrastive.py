"""The contrastive loss and its gradient caching."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from arietta.data.shards import PieceRecord, ShardWriter
from arietta.errors import UsageError
from arietta.models.aria.checkpoint import load
from arietta.training.config import Recipe, load_recipes, recipe_from
from arietta.training.distributed import Processes
from arietta.training.loop import train
from arietta.training.tasks.contrastive import ContrastiveTask, cropped, nt_xent
from tests.training.conftest import TINY, some_notes
from tests.training.test_loop import column, weights


@pytest.fixture(scope="module")
def registers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 pieces, each in its own corner of the keyboard, so that views can be told apart."""
    folder = tmp_path_factory.mktemp("registers") / "set"
    with ShardWriter(folder, "grid", rows_per_group=4) as writer:
        for i in range(24):
            notes = some_notes(60, i)
            notes.pitch[:] = 24 + 3 * i + notes.pitch % 3
            writer.add(PieceRecord(f"piece-{i}", "train", str(i), "made"), notes)
    return folder


def pairs(**changes: Any) -> Recipe:
    values = {
        **TINY,
        "task": "contrastive",
        "contrastive": {"min_notes": 8, "max_notes": 18, "embedding_size": 16},
        "stages": [{"seq_len": 64, "rows": 6, "until_epochs": 3}],
        "optimiser": {"kind": "adamw", "lr": 3.0e-3},
        "resid_dropout": 0.0,
        **changes,
    }
    return recipe_from(values)


def by_hand(embeddings: torch.Tensor, temperature: float) -> float:
    """The paper's equation, term by term."""
    flat = [*embeddings[:, 0], *embeddings[:, 1]]
    n = len(embeddings)
    total = 0.0
    for i in range(2 * n):
        like = [
            math.exp(float(torch.cosine_similarity(flat[i], flat[j], dim=0)) / temperature)
            for j in range(2 * n)
        ]
        total -= math.log(like[(i + n) % (2 * n)] / (sum(like) - like[i]))
    return total / (2 * n)


def test_the_loss_is_the_papers() -> None:
    embeddings = torch.randn(5, 2, 7, generator=torch.Generator().manual_seed(1))
    assert float(nt_xent(embeddings, 0.3)) == pytest.approx(by_hand(embeddings, 0.3), abs=1e-5)
    same = torch.eye(6)[:, None].expand(-1, 2, -1)  # views alike, pieces at right angles
    assert float(nt_xent(same, 0.1)) == pytest.approx(math.log1p(10 * math.exp(-10)), abs=1e-6)
    other = nt_xent(same, 0.1, "cross-view")
    assert float(other) == pytest.approx(math.log1p(5 * math.exp(-10)), abs=1e-6)


@pytest.mark.parametrize("negatives", ["all", "cross-view"])
def test_cached_gradients_are_the_plain_ones(dataset: Path, negatives: str) -> None:
    torch.set_num_threads(1)
    options = {"min_notes": 8, "max_notes": 18, "embedding_size": 16, "negatives": negatives}
    recipe = pairs(contrastive=options, resid_dropout=0.0)
    task = ContrastiveTask(recipe, dataset)
    stream = task.stream("train", 0, 0, 1)
    rows = torch.stack([torch.from_numpy(next(stream)).long() for _ in range(12)])
    found = []
    for micro in ([rows], list(torch.split(rows, 5))):
        task.module.zero_grad()
        loss = task.step(task.module, micro, Processes(cpu=True))
        found.append((loss, [p.grad.clone() for p in task.module.parameters()]))  # type: ignore[union-attr]
    (loss, plain), (same, cached) = found
    assert float(loss) == pytest.approx(float(same), abs=1e-6)
    assert max(float(g.abs().max()) for g in plain) > 1e-4
    for a, b in zip(plain, cached, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_cropping_changes_no_embedding(dataset: Path) -> None:
    recipe = pairs(
        model={**TINY["model"], "max_seq_len": 512},
        stages=[{"seq_len": 512, "rows": 6, "until_epochs": 1}],
    )
    task = ContrastiveTask(recipe, dataset)
    rows = task.validation()
    assert cropped(rows).shape == (4, 2, 128)
    torch.testing.assert_close(task.module(rows), task.module(cropped(rows)), atol=1e-5, rtol=1e-4)


def test_a_run_learns_resumes_and_leaves_an_embedding_model(
    registers: Path, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    recipe = pairs(stages=[{"seq_len": 64, "rows": 6, "until_epochs": 12}], data={})
    done = train(recipe, registers, tmp_path / "whole", cpu=True)
    assert done.steps == 24  # of 24 pieces, 2 streams of 6
    losses = column(tmp_path / "whole", "nats_per_view")
    assert sum(losses[-6:]) < sum(losses[:6]) - 0.3
    found = load(tmp_path / "whole" / "model")
    assert (found.kind, found.config.embedding_size) == ("embedding", 16)
    train(recipe, registers, tmp_path / "parts", cpu=True, max_steps=14)
    train(recipe, registers, tmp_path / "parts", cpu=True)
    assert losses == column(tmp_path / "parts", "nats_per_view")
    for name, value in weights(tmp_path / "whole").items():
        assert torch.equal(value, weights(tmp_path / "parts")[name]), name


def test_the_body_of_a_language_model_is_taken_over(dataset: Path, tmp_path: Path) -> None:
    plain = recipe_from({**TINY, "stages": [{"seq_len": 64, "rows": 2, "until_tokens": 256}]})
    train(plain, dataset, tmp_path / "lm", cpu=True)
    body = weights(tmp_path / "lm")
    recipe = pairs(init=str(tmp_path / "lm" / "model"), model=None)
    task = ContrastiveTask(recipe, dataset)
    mine = task.decoder.state_dict()
    assert set(mine) ^ set(body) == {"lm_head.weight", "emb_head.weight"}
    for name in set(mine) & set(body):
        assert torch.equal(mine[name], body[name])


def test_recipes_say_what_is_missing() -> None:
    with pytest.raises(UsageError, match="go together"):
        recipe_from({**TINY, "task": "contrastive"})
    with pytest.raises(UsageError, match="all or cross-view"):
        pairs(contrastive={"negatives": "none"})
    with pytest.raises(UsageError, match="task is one of next-token, contrastive"):
        recipe_from({**TINY, "task": "sing"})
    assert json.dumps(pairs().to_dict())
    assert load_recipes("aria-medium-contrastive")[""].task == "contrastive"
