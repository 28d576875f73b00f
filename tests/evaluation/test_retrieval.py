"""Search measured: ranks, works of a folder, the same figures from library and command."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import arietta
from arietta.api import evaluate
from arietta.errors import InputError, UsageError
from arietta.evaluation.intervals import interval, paired, paired_by_group, write_rows
from arietta.evaluation.retrieval import ANY_KEY, HISTOGRAM, TASKS, figures, ranks, works_of


@pytest.fixture
def takes(tmp_path: Path, prompts_dir: Path) -> Path:
    """Works with the first notes of a prompt as score, a little louder as performance."""
    for path in prompts_dir.glob("*.mid"):
        folder = tmp_path / "takes" / path.stem
        folder.mkdir(parents=True)
        piece = arietta.read(path)
        notes = piece.notes.take(np.arange(len(piece)) < 60)
        replace(piece, notes=notes, origin=None).save(folder / "score.mid")
        louder = replace(notes, velocity=np.minimum(notes.velocity + 10, 127).astype(np.uint8))
        replace(piece, notes=louder, origin=None).save(folder / "take.mid")
    return tmp_path / "takes"


def test_ties_count_against_the_system() -> None:
    right = np.array([[True, False, False], [False, True, True]])
    likeness = np.array([[0.5, 0.5, 0.1], [0.9, 0.2, 0.8]], np.float32)
    assert ranks(likeness, right).tolist() == [2, 2]
    assert ranks(np.zeros((2, 3), np.float32), right).tolist() == [3, 2]
    found = figures(np.array([1, 2, 11, 1]), np.array([1, 1, 1, 1]))
    assert (found["recall_at_1"], found["recall_at_10"], found["median_rank"]) == (0.5, 0.75, 1.5)
    assert found["recall_at_1_against_first"][0] == -0.5
    low, high = found["recall_at_10_95"]
    assert low < 0.75 < high


def test_intervals_are_of_means_and_of_pairs(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    hard = rng.normal(size=400) * 10
    mean, low, high = interval(hard)
    assert mean == pytest.approx(hard.mean(), abs=1e-4) and high - low == pytest.approx(
        2.0, rel=0.2
    )
    better, low, high = paired(hard + 0.5, hard)
    assert (better, low, high) == (0.5, 0.5, 0.5)
    # Pieces of one group are drawn together: their interval is wider than that of as many groups.
    values, zero = np.repeat([0.0, 1.0, 0.0, 1.0], 50), np.zeros(200)
    mean, low, high = paired_by_group(values, zero, [str(i // 50) for i in range(200)])
    assert (mean, low) == (0.5, 0.0) and high == 1.0
    mean, low, high = paired_by_group(values, zero, [str(i) for i in range(200)])
    assert mean == 0.5 and 0.4 < low < high < 0.6
    rows = [{"piece": "a", "bits": 1.5}, {"piece": "b", "bits": 2.0}]
    write_rows(tmp_path / "a.csv", rows, force=False)
    with (tmp_path / "a.csv").open(newline="") as file:
        assert [row["piece"] for row in csv.DictReader(file)] == ["a", "b"]
    import pyarrow.parquet as pq

    write_rows(tmp_path / "a.parquet", rows, force=False)
    assert pq.read_table(tmp_path / "a.parquet").to_pylist() == rows


def test_works_of_a_folder(takes: Path) -> None:
    (takes / "alone").mkdir()
    (takes / "alone" / "score.mid").write_bytes((takes / "waltz" / "score.mid").read_bytes())
    (takes / "waltz" / "broken.mid").write_bytes(b"no music")
    refused: list[str] = []
    works = works_of(takes, refuse=lambda name, _: refused.append(name))
    assert refused == ["waltz/broken.mid"]
    assert len(works.names) == len(works.gallery) == 5 and "alone" not in works.names
    assert np.array_equal(works.right, np.eye(5, dtype=bool))
    assert len(works_of(takes, scores=2).names) == 2
    with pytest.raises(InputError, match=r"score\.mid"):
        works_of(takes / "waltz")


def test_performances_are_found(takes: Path, tmp_path: Path) -> None:
    rows = tmp_path / "ranks.csv"
    found = evaluate.retrieval(takes, models=("small-embedding",), per_piece=rows)
    by = found.figures["by"]
    assert list(by) == [HISTOGRAM, ANY_KEY, "small-embedding"]
    assert by[HISTOGRAM]["score"]["recall_at_1"] == 1.0
    # Another key deceives the plain histogram, and not the one that knows every key.
    assert by[HISTOGRAM]["score, transposed"]["recall_at_1"] < 0.5
    assert by[ANY_KEY]["score, transposed"]["recall_at_1"] == 1.0
    assert by["small-embedding"]["score"]["recall_at_1"] == 1.0
    with rows.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 3 * len(TASKS) * 5
    ours = [int(r["rank"]) for r in lines if (r["system"], r["task"]) == (HISTOGRAM, TASKS[1])]
    assert np.mean(np.array(ours) == 1) == by[HISTOGRAM][TASKS[1]]["recall_at_1"]
    with pytest.raises(UsageError, match="`per_piece`"):
        evaluate.retrieval(takes, per_piece=tmp_path / "ranks.txt")
