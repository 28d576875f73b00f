"""How often is a classifier right about works that it has not seen?

    python -m benchmarks.classifier DATASET --model RUN/model [--label composer] [--split test]

Beside it stands the floor: logistic regression on a hundred histogram numbers of the pieces of the
train split. Intervals (95 %) resample compositions. Files a result named like the label, and what
is taken for what as a picture.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from arietta.checkpoints.store import load
from arietta.data.shards import open_dataset, read_grid
from arietta.errors import InputError
from arietta.evaluation.confusion import headline, judged
from arietta.evaluation.drawing import draw_confusion
from arietta.evaluation.floor import histogram_features
from arietta.evaluation.probe import figures, logistic_answers
from arietta.inference.classification import Classifier
from arietta.retrieval.collection import music_items, read_item
from benchmarks.common import RESULTS, file_result


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--label", default="composer", help="field of the metadata")
    arguments = parser.parse_args()
    label = arguments.label
    classifier = Classifier(load(arguments.model))
    classes = classifier.classes
    dataset = open_dataset(arguments.dataset)
    ids, labels, groups, floor = [], [], [], []
    train = 0
    for split in ("train", arguments.split):
        for row, notes in read_grid(dataset, split):
            if row.metadata.get(label) in classes:
                ids.append(row.id)
                labels.append(classes.index(row.metadata[label]))
                groups.append(row.group)
                floor.append(histogram_features(notes.columns()))
        train = train or len(ids)
    truth = np.array(labels)
    halves = (np.arange(train), np.arange(train, len(ids)))
    (by_counts,) = logistic_answers(np.stack(floor), truth, groups, [halves])
    asked = set(ids[train:])
    said = {}
    items = (item for item in music_items([arguments.dataset]) if item.id in asked)
    pieces = ((item.id, read_item(item)[0]) for item in items)
    for name, found in classifier.classify_many(pieces, any_program=True):
        if isinstance(found, InputError):
            raise found
        said[name] = classes.index(found.label)
    answers = {
        "most common class": np.full(len(asked), np.bincount(truth[:train]).argmax()),
        "floor": by_counts,
        classifier.checkpoint.name: np.array([said[name] for name in ids[train:]]),
    }
    table = {
        name: figures(truth, groups, [given], [halves], len(classes))
        for name, given in answers.items()
    }
    for name, measured in table.items():
        print(name, {key: (value["mean"], value["interval_95"]) for key, value in measured.items()})
    report = judged(
        classes,
        [classes[i] for i in truth[train:]],
        [classes[said[name]] for name in ids[train:]],
        groups[train:],
    )
    draw_confusion(
        RESULTS / f"classifier_{label}.png",
        np.array(report["confusion"]),
        list(classes),
        title=f"{classifier.checkpoint.name}, {arguments.split} split",
        caption=headline(report),
    )
    file_result(
        f"classifier_{label}",
        {"model_sha256": classifier.checkpoint.sha256, "split": arguments.split,
         "pieces": len(asked), "pieces_of_the_floor": train, "systems": table, "report": report},
    )  # fmt: skip


if __name__ == "__main__":
    main()
