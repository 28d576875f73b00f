"""The page of differences: every test that it names is there, and recipes hold what it says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from arietta.training.config import load_recipes

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "differences.md"
NOT_TESTED = "not testable against the paper"


def rows() -> list[list[str]]:
    found = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.read_text("utf-8").splitlines()
        if line.startswith("| ") and not line.startswith(("| what |", "| ---"))
    ]
    return [row for row in found if len(row) == 4]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0][:40])
def test_every_row_names_a_test_that_is_there(row: list[str]) -> None:
    assert all(row)
    if row[3] == NOT_TESTED:
        return
    path, name = re.fullmatch(r"`(tests/[\w/]+\.py)::(test_\w+)`", row[3]).groups()  # type: ignore[union-attr]
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_most_rows_are_tested() -> None:
    found = rows()
    assert len(found) > 25
    assert sum(row[3] == NOT_TESTED for row in found) <= 2


def test_recipes_hold_what_the_page_says() -> None:
    pretrain = load_recipes("aria-medium-pretrain")[""]
    assert pretrain.schedule.warmup_steps == 1_000
    assert pretrain.optimiser.kind == "adamw" and pretrain.optimiser.decay_all
    contrastive = load_recipes("aria-medium-contrastive")[""].contrastive
    assert contrastive is not None
    assert (contrastive.temperature, contrastive.negatives) == (0.1, "all")
    denoise = load_recipes("pianist-135m-pretrain")[""].denoise
    assert denoise is not None and denoise.mask_share == 0.3
    small = load_recipes("small-pretrain")[""]
    assert small.optimiser.kind == "muon" and small.schedule.shape == "trapezoid"
