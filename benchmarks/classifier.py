"""How often is the head of a classifier right about works outside its training data?

    python -m benchmarks.classifier DATASET --all WORK [--label composer_name] [--splits 10]

The labelled pieces of all splits of DATASET, of classes large enough, are written to WORK as one
dataset. A head like that of the recipe classify-folder (``classify.head: probe``) is fitted to four
fifths of the works and predicts the others, in turn, and so is the baseline (``floor``): logistic
regression on a hundred histogram numbers. The included model was trained on all of WORK:

    arietta train classify-folder WORK -o run --set classify.label=composer_name \\
        --set stages.0.until_epochs=0

Intervals (95 %) resample works. ``unheard`` are the figures of the pieces outside the train split
of DATASET, on which the embedding model was pretrained (without labels). The result is named after
the label; it includes the calibration of the heads and a picture of the confusion matrix: each
piece once, by the first five folds. WORK caches the states of the model.
"""

from __future__ import annotations

import argparse
import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from arietta.arrays import AnyFloatArray, Float32Array, Int32Array, IntArray
from arietta.data.shards import DESCRIPTION, ShardWriter, open_dataset, read_grid
from arietta.evaluation.confusion import headline, judged
from arietta.evaluation.histogram_baseline import histogram_features
from arietta.evaluation.pictures import draw_confusion
from arietta.evaluation.probe import FOLDS, Split, figures, group_splits, logistic_answers
from arietta.models.aria.checkpoint import LoadedCheckpoint, load
from arietta.models.executors import cpu_backend
from arietta.training.config import load_recipes
from arietta.training.rows.slices import LabelSettings, labelled_slices
from arietta.training.tasks.classify import HEAD_SLICES
from arietta.training.tasks.linear_head import fitted_head, pieces_of, states_of
from benchmarks.common import RESULTS, file_result

RECIPE = "classify-folder"


def write_all(source: Path, target: Path, label: str, least_pieces: int, least_works: int) -> None:
    """Write the labelled pieces of large enough classes as one train split.

    The field ``was`` keeps their original split.
    """
    dataset = open_dataset(source)
    rows = [row for row, _ in read_grid(dataset) if row.metadata.get(label)]
    pieces = Counter(row.metadata[label] for row in rows)
    works = Counter(name for name, _ in {(row.metadata[label], row.group) for row in rows})
    with ShardWriter(target, "grid") as writer:
        for row, notes in read_grid(dataset):
            name = row.metadata.get(label, "")
            if pieces[name] >= least_pieces and works[name] >= least_works:
                kept = {label: name, "was": row.split}
                writer.add(replace(row, split="train", metadata=kept), notes)


def head_shares(
    x: AnyFloatArray, labels: IntArray, groups: list[str], splits: list[Split]
) -> list[AnyFloatArray]:
    """Predict the test pieces of every split by heads on the states of all pieces."""
    found = []
    for train, test in splits:
        head = fitted_head(x[train], labels[train], [groups[i] for i in train], weighted=True)
        logits = x[test] @ head.T
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        found.append(shares / shares.sum(axis=1, keepdims=True))
    return found


def calibration(
    shares: list[AnyFloatArray], labels: IntArray, splits: list[Split]
) -> dict[str, float]:
    """Measure the calibration of heads: mean share of the predicted class, accuracy, and error.

    The error is the mean distance of share and accuracy over ten bins of the share (expected
    calibration error).
    """
    confidence = np.concatenate([s.max(axis=1) for s in shares])
    predicted = zip(shares, splits, strict=True)
    right = np.concatenate([s.argmax(axis=1) == labels[test] for s, (_, test) in predicted])
    bins = np.minimum((confidence * 10).astype(np.int64), 9)
    apart = sum(abs((confidence - right)[bins == b].sum()) for b in range(10)) / len(confidence)
    return {
        "mean_share": float(confidence.mean()),
        "right": float(right.mean()),
        "error": float(apart),
    }


def cached_states(model: LoadedCheckpoint, slices: Int32Array, file: Path) -> Float32Array:
    """Return states (n, 3 D) of the slices, cached in ``file`` for this model and these slices."""
    digest = hashlib.sha256(slices.tobytes()).hexdigest()
    if file.is_file():
        with np.load(file) as old:
            if (str(old["model"]), str(old["slices"])) == (model.sha256, digest):
                kept: Float32Array = old["states"]
                return kept
    states = states_of(cpu_backend(model), slices)
    np.savez(file, states=states, model=model.sha256, slices=digest)
    return states


def main() -> None:
    """Measure, print, file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--all", type=Path, required=True, help="folder to write")
    parser.add_argument("--label", default="composer_name", help="field of the metadata")
    parser.add_argument("--least-pieces", type=int, default=30, help="of a class")
    parser.add_argument("--least-works", type=int, default=10, help="of a class")
    parser.add_argument("--splits", type=int, default=10)
    given = parser.parse_args()
    if not (given.all / DESCRIPTION).is_file():
        write_all(given.dataset, given.all, given.label, given.least_pieces, given.least_works)
    recipe = load_recipes(RECIPE)[""]
    assert recipe.classify is not None and recipe.init is not None
    dataset = open_dataset(given.all)
    histograms, labels_of, groups, pretrained_on = [], [], [], []
    for row, notes in read_grid(dataset):
        histograms.append(histogram_features(notes.columns()))
        labels_of.append(row.metadata[given.label])
        groups.append(row.group)
        pretrained_on.append(row.metadata["was"] == "train")
    classes = sorted(set(labels_of))
    labels = np.array([classes.index(name) for name in labels_of], np.int64)
    settings = LabelSettings(
        tokenizer=recipe.tokenizer,
        seq_len=recipe.stages[0].seq_len,
        augment=None,
        min_notes=recipe.classify.min_notes,
        max_notes=recipe.classify.max_notes,
        label=given.label,
        classes=tuple(classes),
    )
    slices, of_pieces = labelled_slices(dataset, "train", settings, each=HEAD_SLICES)
    assert of_pieces == groups
    model = load(recipe.init)
    x = pieces_of(cached_states(model, slices, given.all / "states.npz"), slices)
    splits = group_splits(labels, groups, given.splits)
    shares = head_shares(x, labels, groups, splits)
    systems = {
        "most common class": [
            np.full(len(test), np.bincount(labels[train]).argmax()) for train, test in splits
        ],
        "floor": logistic_answers(np.stack(histograms), labels, groups, splits),
        "head": [s.argmax(axis=1) for s in shares],
    }
    new = ~np.array(pretrained_on)
    table = {}
    for name, answers in systems.items():
        table[name] = figures(labels, groups, answers, splits, len(classes))
        some = [a[new[test]] for a, (_, test) in zip(answers, splits, strict=True)]
        parts = [(train, test[new[test]]) for train, test in splits]
        table[name]["unheard"] = figures(labels, groups, some, parts, len(classes))
        print(name, {key: value.get("mean") for key, value in table[name].items()}, flush=True)
    calibrated = calibration(shares, labels, splits)
    print(calibrated)
    predicted = np.zeros(len(labels), np.int64)
    for answer, (_, test) in zip(systems["head"][:FOLDS], splits[:FOLDS], strict=True):
        predicted[test] = answer
    report = judged(classes, labels_of, [classes[i] for i in predicted], groups)
    draw_confusion(
        RESULTS / f"classifier_{given.label}.png",
        np.array(report["confusion"]),
        classes,
        title="works that the head has not learned from",
        caption=headline(report),
    )
    file_result(
        f"classifier_{given.label}",
        {"init_sha256": model.sha256, "splits": len(splits), "unheard": int(new.sum()),
         "systems": table, "sureness": calibrated, "report": report},
    )  # fmt: skip


if __name__ == "__main__":
    main()
