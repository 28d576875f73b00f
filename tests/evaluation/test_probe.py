"""Splits that tear no group, metrics as defined, probes that learn what can be learned."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from arietta.data.sources import Item
from arietta.data.token_grid import NoteColumns
from arietta.errors import InputError, UsageError
from arietta.evaluation import labels as labelled
from arietta.evaluation.histogram_baseline import NAMES, histogram_features
from arietta.evaluation.labels import Example, gather_table, named
from arietta.evaluation.probe import (
    Vectors,
    evaluate,
    group_splits,
    logistic_answers,
    markdown,
    own_splits,
    paper_answers,
    scores,
    stratified_folds,
    table_rows,
)


def example(name: str, label: str, group: str, **splits: str) -> Example:
    return Example(Item(name, "", name), label, group, splits)


# Splits


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), min_size=10, max_size=120),
    st.integers(0, 5),
)
def test_no_group_is_on_both_sides(rows: list[tuple[int, int]], seed: int) -> None:
    labels = np.array([label for label, _ in rows])
    groups = [str(group) for _, group in rows]
    splits = group_splits(labels, groups, 10, seed)
    assert len(splits) == 10
    asked = np.zeros(len(rows), int)
    for train, test in splits:
        assert not {groups[i] for i in train} & {groups[i] for i in test}
        assert len(train) + len(test) == len(rows)
        asked[test] += 1
    assert (asked == 2).all()


def test_folds_are_stratified() -> None:
    labels = np.repeat([0, 1, 2], [300, 60, 30])
    groups = [f"{label}-{i // 3}" for i, label in enumerate(labels)]
    fold = stratified_folds(labels, groups, 5, np.random.default_rng(0))
    for label, count in ((0, 60), (1, 12), (2, 6)):
        found = np.bincount(fold[labels == label], minlength=5)
        assert abs(found - count).max() <= 3
    other = stratified_folds(labels, groups, 5, np.random.default_rng(1))
    assert (fold != other).any()


def test_the_sources_own_splits() -> None:
    rows = [
        example("a", "x", "1", own="train", fold="0"),
        example("b", "y", "2", own="valid", fold="1"),
        example("c", "x", "3", own="test", fold="1"),
        example("d", "y", "4", fold="0"),
    ]
    found = own_splits(rows)
    ((train, test),) = found["own"]
    assert train.tolist() == [0, 1] and test.tolist() == [2]
    assert [t.tolist() for _, t in found["fold"]] == [[0, 3], [1, 2]]
    assert "half" not in own_splits([example("a", "x", "1", half="train")])


# Metrics


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60))
def test_metrics_are_the_usual_ones(pairs: list[tuple[int, int]]) -> None:
    truth, said = np.array(pairs).T
    confusion = np.zeros((4, 4))
    np.add.at(confusion, (truth, said), 1)
    found = scores(confusion)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(truth, said))
    present = np.unique(np.concatenate([truth, said]))
    expected = metrics.f1_score(truth, said, average="macro", labels=present, zero_division=0)
    assert found["macro_f1"] == pytest.approx(expected)
    expected = metrics.f1_score(truth, said, average="weighted", zero_division=0)
    assert found["weighted_f1"] == pytest.approx(expected)
    recalls = [(said[truth == c] == c).mean() for c in np.unique(truth)]
    assert found["balanced_accuracy"] == pytest.approx(np.mean(recalls))


# Probes


def cloud(seed: int = 0, apart: float = 2.0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1, 2], [60, 40, 20])
    x = rng.standard_normal((120, 8)) + apart * np.eye(3, 8)[labels]
    return x.astype(np.float32), labels, [f"g{i}" for i in range(120)]


def test_both_probes_learn_and_neither_peeks() -> None:
    x, labels, groups = cloud(apart=4.0)
    splits = group_splits(labels, groups, 5)

    def right(answers: list[np.ndarray]) -> float:
        pairs = zip(answers, splits, strict=True)
        return float(np.mean([(a == labels[test]).mean() for a, (_, test) in pairs]))

    assert right(logistic_answers(x, labels, groups, splits)) > 0.9
    last, best = paper_answers(np.tile(x, 32), labels, splits, epochs=(50,))
    assert right(last) > 0.85 and right(best) >= right(last)
    # Labels that mean nothing cannot be learned, unless the test part is looked at.
    shuffled = np.random.default_rng(1).permutation(labels)
    splits = group_splits(shuffled, groups, 5)
    answers = logistic_answers(x, shuffled, groups, splits)
    pairs = zip(answers, splits, strict=True)
    assert np.mean([(a == shuffled[t]).mean() for a, (_, t) in pairs]) < 0.6


def test_the_published_probe_is_the_published_one() -> None:
    """Against torch: one linear layer, AdamW, warm-up, the same batches."""
    torch = pytest.importorskip("torch")
    from arietta.evaluation.probe import BATCH, _train_linear

    x, labels, _ = cloud()
    train, epochs, seed = np.arange(96), 3, 5
    (*_, ours) = _train_linear(x, labels, [train], 3, epochs, 0.1, 0.1, seed)
    rng = np.random.default_rng(seed)
    start = rng.uniform(-(8**-0.5), 8**-0.5, (1, 9, 3)).astype(np.float32)[0]
    layer = torch.nn.Linear(8, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(start[:-1].T))
        layer.bias.copy_(torch.from_numpy(start[-1]))
    optimiser = torch.optim.AdamW(
        layer.parameters(), lr=3e-4, betas=(0.9, 0.95), eps=1e-5, weight_decay=0.1
    )
    total, warmup = epochs * 3, 4
    step = 0
    for _ in range(epochs):
        order = rng.permutation(train)
        for at in range(0, 96, BATCH):
            rows = order[at : at + BATCH]
            rate = (
                (step + 1) / warmup
                if step < warmup
                else 1 - 0.9 * (step - warmup) / (total - warmup)
            )
            optimiser.param_groups[0]["lr"] = 3e-4 * rate
            loss = torch.nn.functional.cross_entropy(
                layer(torch.from_numpy(x[rows])), torch.from_numpy(labels[rows])
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            step += 1
    np.testing.assert_allclose(ours[0, :-1], layer.weight.detach().numpy().T, atol=1e-6)
    np.testing.assert_allclose(ours[0, -1], layer.bias.detach().numpy(), atol=1e-6)


def test_the_table(tmp_path: Path) -> None:
    x, labels, groups = cloud(apart=3.0)
    rows = [
        example(g, "abc"[label], g, own="test" if i % 4 == 0 else "train")
        for i, (g, label) in enumerate(zip(groups, labels, strict=True))
    ]
    noise = np.random.default_rng(3).standard_normal(x.shape).astype(np.float32)
    found = evaluate(
        named("asap-composer"), rows, [Vectors("noise", noise, False), Vectors("x", x)], splits=10
    )
    assert json.loads(json.dumps(found)) == found
    by = {(r["vectors"], r["probe"], r["scheme"]): r for r in found["rows"]}
    good, bad = by["x", "logistic", "grouped folds"], by["noise", "logistic", "grouped folds"]
    assert good["splits"] == 10 and good["accuracy"]["sd"] > 0
    low, high = good["accuracy"]["interval_95"]
    assert low < good["accuracy"]["mean"] < high and bad["accuracy"]["interval_95"][1] < low
    assert by["x", "paper", "own"]["accuracy"]["sd"] is None
    assert ("noise", "paper", "own") not in by
    assert found["classes"] == {"a": 60, "b": 40, "c": 20}
    text = markdown(found)
    assert all(len(row) == 8 for row in table_rows(found)) and text.count("| x |") == 6
    # The first row of its splits is what the others differ from, work by work.
    mean, low, high = good["accuracy_over_first"]
    assert mean == pytest.approx(good["accuracy"]["mean"] - bad["accuracy"]["mean"], abs=1e-3)
    assert 0 < low < mean < high and "accuracy_over_first" not in bad
    again = evaluate("mine", rows, [Vectors("x", x, False)], splits=10)
    del good["accuracy_over_first"]
    assert again["rows"][0] == good and again["published"] == []
    with pytest.raises(InputError, match="two classes"):
        evaluate("mine", rows[:10], [Vectors("x", x[:10], False)])
    with pytest.raises(InputError, match="5 groups"):
        evaluate("mine", [example(str(i), "ab"[i % 2], "one") for i in range(9)], [])
    with pytest.raises(UsageError, match="`splits`"):
        evaluate("mine", rows, [], splits=0)


# The floor


def test_the_floor_counts() -> None:
    notes = NoteColumns(
        np.array([0, 0, 500, 1500]),
        np.array([100, 400, 400, 6000]),
        np.array([60, 64, 60, 20]),
        np.array([10, 70, 70, 127]),
    )
    found = dict(zip(NAMES, histogram_features(notes), strict=True))
    assert found["pitch class 0"] == 0.5 and found["pitch class 8"] == 0.25
    assert found["pitch 21"] == 0.25  # below the keyboard counts as its lowest
    assert found["together"] == pytest.approx(1 / 3) and found["lasts longer"] == 0.25
    assert found["velocity 120"] == 0.25 and found["velocity 64"] == 0.5
    assert found["log notes per second"] == pytest.approx(np.log1p(4 / 1.5))
    parts = np.cumsum([12, 22, 25, 25, 16])
    for part in np.split(histogram_features(notes), parts)[:-1]:
        assert part.sum() == pytest.approx(1)
    one = NoteColumns(*(np.array([n]) for n in (0, 100, 60, 70)))
    assert np.isfinite(histogram_features(one)).all()


# Collections


def midi(path: Path, pitch: int) -> bytes:
    from arietta.midi.piece import Piece

    path.parent.mkdir(parents=True, exist_ok=True)
    Piece.from_ms([0, 500], [400, 400], [pitch, pitch + 4], [70, 70]).save(path)
    return path.read_bytes()


def test_files_are_known_by_content_and_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = midi(tmp_path / "music" / "x" / "whatever.mid", 60)
    midi(tmp_path / "music" / "Bethel_Gravity.mid", 61)  # not the published bytes
    midi(tmp_path / "music" / "stranger.mid", 62)
    table = tmp_path / "assets" / "labels"
    table.mkdir(parents=True)
    start = hashlib.sha256(data).hexdigest()[:16]
    (table / "pianist8.csv").write_text(
        "sha256_start,file,label,group,midibert,clean\n"
        f"{start},Hancock_One.mid,hancock,g1,test,drop\n"
        "0000000000000000,Bethel_Gravity.mid,bethel,,train,train\n"
        "1111111111111111,Yiruma_Gone.mid,yiruma,,train,train\n"
    )
    monkeypatch.setattr(labelled, "assets_dir", lambda: tmp_path / "assets")
    found = named("pianist8").gather(tmp_path / "music")
    assert [(e.label, e.group) for e in found] == [
        ("hancock", "g1"),
        ("bethel", "Bethel_Gravity.mid"),
    ]
    assert found[0].splits == {"midibert": "test"}
    assert found[1].splits == {"midibert": "train", "clean": "train"}
    nothing = "sha256_start,file,label,group,fold\n2222222222222222,z.mid,sad,Z,0\n"
    (table / "vgmidi.csv").write_text(nothing)
    with pytest.raises(InputError, match="none of the"):
        named("vgmidi").gather(tmp_path / "music")


def test_the_shipped_tables() -> None:
    for name, count, classes in (("pianist8", 411, 8), ("vgmidi", 204, 4)):
        with (labelled.assets_dir() / "labels" / f"{name}.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == len({row["sha256_start"] for row in rows}) == count
        assert len({row["label"] for row in rows}) == classes


def test_the_official_splits_of_aria_midi(tmp_path: Path) -> None:
    midi(tmp_path / "data" / "12_0.mid", 60)
    midi(tmp_path / "data" / "7_1.mid", 62)
    content = {
        "music_period": {"train": {"data/12_0.mid": "baroque"}, "test": {"7_1.mid": "romantic"}}
    }
    (tmp_path / "metadata.json").write_text(json.dumps(content))
    train, test = named("aria-period").gather(tmp_path)
    assert (train.label, train.group, train.splits) == ("baroque", "12", {"official": "train"})
    assert test.item.file == tmp_path / "data" / "7_1.mid" and test.splits == {"official": "test"}
    with pytest.raises(InputError, match="music_period"):
        named("aria-genre").gather(tmp_path)


def corpus(folder: Path, rows: list[dict[str, str]]) -> None:
    import tarfile

    with tarfile.open(folder / "a.tar", "w") as tar:
        for i, row in enumerate(rows):
            midi(folder / "files" / row["path"], 50 + i)
            tar.add(folder / "files" / row["path"], row["path"])
    names = dict.fromkeys(["id", "shard", "path", *(k for row in rows for k in row)])
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows({"id": f"x:{r['path']}", "shard": "a.tar", **r} for r in rows)


def test_composers_of_a_corpus_and_of_the_sources_own_tables(tmp_path: Path) -> None:
    rows = [
        {"path": f"{i}.mid", "source": "asap", "kind": "performance", "piece_id": f"p{i}",
         "composer": "A" if i < 6 else "B", "source_split": "validation"}
        for i in range(11)
    ]  # fmt: skip
    rows += [
        {**rows[0], "path": "score.mid", "kind": "score"},
        {**rows[0], "path": "rare.mid", "composer": "C"},
        {**rows[0], "path": "both.mid", "composer": "A / B"},
        {**rows[0], "path": "other.mid", "source": "maestro"},
    ]
    (tmp_path / "corpus").mkdir()
    corpus(tmp_path / "corpus", rows)
    found = named("asap-composer").gather(tmp_path / "corpus")
    assert sorted({e.item.path for e in found}) == sorted(f"{i}.mid" for i in range(11))
    assert {e.splits["own"] for e in found} == {"valid"} and found[0].group == "p0"
    plain = tmp_path / "plain"
    lines = ["composer,title,midi_performance"]
    for i in range(10):
        midi(plain / f"{i}.mid", 40 + i)
        lines.append(f"{'Bach' if i < 5 else 'Liszt'},T{i},{i}.mid")
    (plain / "metadata.csv").write_text("\n".join(lines))
    found = named("asap-composer").gather(plain)
    assert len(found) == 10 and {e.label for e in found} == {"Bach", "Liszt"}
    with pytest.raises(InputError, match="two classes"):
        named("maestro-composer").gather(tmp_path / "corpus")


def test_pianists_of_pijama(tmp_path: Path) -> None:
    for i in range(40):
        for j in range(3 if i < 30 else 2):
            midi(
                tmp_path / "live" / f"Player {i:02}" / f"Album {j}" / f"Tune {j} (Live).mid", 40 + i
            )
    found = named("pijama30").gather(tmp_path)
    assert {e.label for e in found} == {f"Player {i:02}" for i in range(30)}
    assert {e.group for e in found} == {"tune 0", "tune 1", "tune 2"}
    albums = named("pijama30-albums").gather(tmp_path)
    assert len({e.group for e in albums}) == 90


def test_labels_of_a_table(tmp_path: Path) -> None:
    midi(tmp_path / "a.mid", 60)
    table = tmp_path / "l.csv"
    table.write_text("path,label,group,split\na.mid,x,g,test\na.mid,,g,\n")
    (found,) = gather_table(table)
    assert (found.label, found.group, found.splits) == ("x", "g", {"own": "test"})
    table.write_text("path,label\nb.mid,x\n")
    with pytest.raises(InputError, match=r"b\.mid, which is not there"):
        gather_table(table)
    table.write_text("file,label\nb.mid,x\n")
    with pytest.raises(InputError, match="columns path and label"):
        gather_table(table)
    with pytest.raises(UsageError, match="no benchmark"):
        named("nothing")
