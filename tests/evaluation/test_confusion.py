"""The judgement of a classifier against scikit-learn; a matrix drawn so that it can be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import image
from sklearn import metrics

from arietta.evaluation.confusion import class_rows, headline, judged, markdown
from arietta.evaluation.pictures import draw_confusion

NAMES = ("a", "b", "c", "never")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=40))
def test_figures_are_those_of_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    truth, said = zip(*pairs, strict=True)
    found = judged(NAMES, truth, said, [str(i) for i in range(len(pairs))])
    assert found["confusion"] == metrics.confusion_matrix(truth, said, labels=NAMES).tolist()
    assert found["accuracy"]["mean"] == pytest.approx(metrics.accuracy_score(truth, said), abs=6e-5)
    macro = metrics.f1_score(truth, said, average="macro")
    assert found["macro_f1"]["mean"] == pytest.approx(macro, abs=6e-5)
    exact = metrics.precision_recall_fscore_support(truth, said, labels=NAMES, zero_division=0)
    for one, precision, recall, f1, pieces in zip(found["classes"].values(), *exact, strict=True):
        assert one["pieces"] == pieces
        for mine, theirs in (
            (one["precision"], precision),
            (one["recall"], recall),
            (one["f1"], f1),
        ):
            assert (mine or 0.0) == pytest.approx(theirs, abs=6e-5)
    assert found["classes"]["never"]["recall"] is None
    low, high = found["accuracy"]["interval_95"]
    assert 0 <= low <= found["accuracy"]["mean"] <= high <= 1


def test_pieces_of_one_work_count_as_one_in_the_interval() -> None:
    truth = ["a"] * 40 + ["b"] * 40
    said = (["a"] * 20 + ["b"] * 20) * 2

    def width(groups: list[str]) -> float:
        low, high = judged("ab", truth, said, groups)["accuracy"]["interval_95"]
        return float(high - low)

    assert width([str(i // 20) for i in range(80)]) > 2 * width([str(i) for i in range(80)])


def test_the_table_names_the_commonest_mistakes() -> None:
    truth, said = "aaaaaab", "abbccca"
    found = judged("abc", list(truth), list(said), list(truth))
    first = class_rows(found)[0]
    assert first == ["a", "6", "50.0", "16.7", "25.0", "c 3, b 2"]
    assert class_rows(found)[2][1:4] == ["0", "0.0", "–"]
    text = markdown(found, "mine", "p.png")
    assert text.startswith("# mine\n") and headline(found) in text and "(p.png)" in text


@pytest.mark.parametrize("size", [2, 30])
def test_rows_are_the_truth(tmp_path: Path, size: int) -> None:
    places = []
    for truth, said in ((0, size - 1), (size - 1, 0)):
        confusion = np.zeros((size, size), np.int64)
        confusion[truth, said] = 50
        path = tmp_path / f"{truth}.png"
        draw_confusion(path, confusion, ["a long name of a class"] * size, title="t", caption="c")
        blue = image.imread(path)[:, :, :3]
        places.append((blue[:, :, 2] > 0.3) & (blue[:, :, 0] < 0.1))
    # The colour bar is in both; what differs is the cell.
    one, two = places
    for first, other, higher in ((one, two, True), (two, one, False)):
        rows, columns = np.nonzero(first & ~other)
        away_rows, away_columns = np.nonzero(other & ~first)
        assert len(rows) > 300
        assert (rows.max() < away_rows.min()) == higher
        assert (columns.min() > away_columns.max()) == higher
