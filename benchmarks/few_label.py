"""How many labelled pieces does a classifier need, and is finetuning better than a probe?

    python -m benchmarks.few_label NAME --data CORPUS [--n 25 50 100 200 all] [--no-finetune]

NAME is a labelled collection of ``arietta evaluate probe`` (asap-composer, pijama30, …). One fifth
of its compositions is the test part of all systems. Of the rest n pieces **of each class** (or all
of it) are labelled; with --in-total n pieces of all classes together, spread as evenly as possible.
Smaller n are subsets of larger ones. The same pieces train:

    finetuned       the recipe classify-folder from --init: a linear head, then all weights; a fifth
                    of the labelled pieces, by composition, is held out for early stopping
    embedding       logistic regression on frozen embeddings (its regularisation selected on these
                    pieces)
    full embedding  the same with mean and deviation of the hidden states
    floor           the baseline: the same on a hundred histogram numbers

Intervals (95 %) resample the compositions of the test part. --draws repeats the choice of pieces.
Every finetuning has a folder under --runs: a stopped one resumes, a finished one is not repeated.
``unheard`` are the figures of the test pieces outside the train split of the corpus, on which the
included model was pretrained (without labels).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from arietta.arrays import IntArray
from arietta.data.shards import DESCRIPTION, PieceRecord, ShardWriter, open_dataset
from arietta.data.splits import hashed
from arietta.errors import InputError
from arietta.evaluation.labels import Example, named
from arietta.evaluation.probe import FOLDS, figures, logistic_answers, stratified_folds
from arietta.evaluation.probe_vectors import baseline_vectors, limited, model_vectors
from arietta.models.aria.checkpoint import load
from arietta.output import whole_file
from arietta.training.config import Recipe, load_recipes
from arietta.training.dry_run import epoch_tokens
from arietta.training.loop import train
from arietta.vectors.classification import Classifier
from arietta.vectors.collection import read_item
from arietta.vectors.embedding import Embedder, default_model
from benchmarks.common import RESULTS, file_result

RECIPE = "classify-folder"
_VALID_PIECES = 100  # more would cost more than the training between two validations


def labelled(
    pool: IntArray,
    labels: IntArray,
    examples: Sequence[Example],
    n: int | None,
    draw: int,
    *,
    in_total: bool = False,
) -> IntArray:
    """Select n rows of the pool, of each class or in total; None for all.

    A hash of the names gives the order inside a class; the classes take turns.
    """
    taken: dict[int, int] = {}
    order: list[tuple[int, int, int]] = []
    for i in pool.tolist():
        order.append((hashed(draw, examples[i].item.id), int(labels[i]), i))
    ranked = []
    for place, label, i in sorted(order):
        taken[label] = taken.get(label, 0) + 1
        ranked.append((taken[label], place, i))
    ranked.sort()
    if n is not None:
        ranked = ranked[:n] if in_total else [one for one in ranked if one[0] <= n]
    return np.array([i for _, _, i in ranked], np.int64)


def held_out(rows: IntArray, labels: IntArray, groups: Sequence[str]) -> set[int]:
    """Hold out rows for early stopping: whole compositions, never all pieces of a class."""
    inside = [groups[i] for i in rows]
    fold = stratified_folds(labels[rows], inside, FOLDS, np.random.default_rng(0))
    left = set(labels[rows[fold > 0]].tolist())
    return {int(i) for i in rows[fold == 0] if labels[i] in left}


class Finetuning:
    """Finetune on labelled pieces and predict others; reuse existing results.

    Args:
        folder: folder of the runs.
        examples, labels, groups: all pieces.
        init: initial model.
        epochs: largest number of epochs.
        most_tokens: largest number of tokens, padding included; None for no limit.
        changes: changes of the recipe.
        cpu: use the CPU even if there is a GPU.
    """

    def __init__(
        self,
        folder: Path,
        examples: Sequence[Example],
        labels: IntArray,
        groups: Sequence[str],
        *,
        init: str,
        epochs: float | None,
        most_tokens: float | None,
        changes: Sequence[str],
        cpu: bool,
    ) -> None:
        self.folder, self.examples, self.labels, self.groups = folder, examples, labels, groups
        self.classes = [str(name) for name in np.unique([e.label for e in examples])]
        self.init_sha256 = load(init).sha256
        self.epochs, self.most_tokens, self.cpu = epochs, most_tokens, cpu
        self.recipe = load_recipes(RECIPE, [f"init={init}", *changes])[""]

    def answers(self, name: str, rows: IntArray, test: IntArray) -> tuple[IntArray, dict[str, Any]]:
        """Predict the test rows by a model finetuned on the rows; also return facts of the run."""
        learned = [self.examples[i].item.id for i in rows]
        place = self.folder / f"{name}-{_key(learned)}"
        self._write_dataset(place / "dataset", rows)
        known = np.unique(self.labels[rows])
        recipe = self._recipe(place / "dataset", tuple(self.classes[i] for i in known))
        test_names = [self.examples[i].item.id for i in test]
        run = place / _key([recipe.to_dict(), self.init_sha256])
        kept = run / f"answers-{_key(test_names)}.json"
        if not kept.is_file():
            began = time.monotonic()
            done = train(recipe, place / "dataset", run, cpu=self.cpu)
            trained = time.monotonic()
            predictions = self._predict(done.model, test)
            content = {
                "said": predictions,
                "steps": done.steps,
                "tokens": done.tokens,
                "training_s": round(trained - began),
                "asking_s": round(time.monotonic() - trained),
            }
            with whole_file(kept, force=True) as part:
                part.write_text(json.dumps(content, ensure_ascii=False), "utf-8")
        found = json.loads(kept.read_text("utf-8"))
        predictions = found.pop("said")
        labels = [self.classes.index(predictions[name]) for name in test_names]
        return np.array(labels, np.int64), found

    def _write_dataset(self, folder: Path, rows: IntArray) -> None:
        if (folder / DESCRIPTION).is_file():
            return
        valid = held_out(rows, self.labels, self.groups)
        with ShardWriter(folder, "grid", force=True) as writer:
            # In the order of the draw: the first hundred are a random choice.
            for i in rows.tolist():
                one = self.examples[i]
                split = "valid" if i in valid else "train"
                row = PieceRecord(one.item.id, split, one.group, "few-label", {"label": one.label})
                writer.add(row, read_item(one.item)[0])

    def _recipe(self, dataset: Path, classes: tuple[str, ...]) -> Recipe:
        recipe = self.recipe
        assert recipe.classify is not None
        (stage,) = recipe.stages
        if self.epochs is not None:
            stage = replace(stage, until_epochs=self.epochs, until_tokens=None)
        recipe = replace(
            recipe,
            stages=(stage,),
            classify=replace(recipe.classify, classes=classes),
            data=replace(recipe.data, valid_rows=_VALID_PIECES),
        )
        per_epoch = epoch_tokens(open_dataset(dataset), recipe)
        if self.most_tokens and (stage.until_epochs or 0) * per_epoch > self.most_tokens:
            stage = replace(stage, until_epochs=None, until_tokens=int(self.most_tokens))
        # Twice an epoch, or as rarely as in the recipe.
        valid_every_steps = max(
            recipe.valid_every_steps, per_epoch // recipe.step_tokens(stage) // 2
        )
        return replace(recipe, stages=(stage,), valid_every_steps=valid_every_steps)

    def _predict(self, model: Path, rows: IntArray) -> dict[str, str]:
        classifier = Classifier(load(str(model)))
        items = [self.examples[i].item for i in rows]
        pieces = ((item.id, read_item(item)[0]) for item in items)
        predictions = {}
        for name, found in classifier.classify_many(pieces, any_program=True):
            if isinstance(found, InputError):
                raise found
            predictions[name] = found.label
        return predictions


def _key(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:10]


def draw_curves(path: Path, found: dict[str, Any]) -> None:
    """Draw accuracy and macro F1 against labelled pieces, with their intervals."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    systems = list(dict.fromkeys(row["system"] for row in found["rows"]))
    colours = dict(zip(systems, ("#8a8a94", "#0072b2", "#009e73", "#d55e00"), strict=False))
    for axis, key, label in zip(
        figure.subplots(1, 2, sharey=True),
        ("accuracy", "macro_f1"),
        ("accuracy", "macro F1"),
        strict=True,
    ):
        for system in systems:
            rows = [row for row in found["rows"] if row["system"] == system]
            x = [row["pieces"] for row in rows]
            low, high = np.array([row[key]["interval_95"] for row in rows]).T * 100
            axis.plot(
                x,
                [100 * row[key]["mean"] for row in rows],
                "o-",
                color=colours[system],
                markersize=4,
                label=system,
            )
            axis.fill_between(x, low, high, color=colours[system], alpha=0.13, linewidth=0)
        axis.set_xscale("log")
        # If classes are small, two n may mean nearly the same pieces: the larger one has the label.
        all_sizes = {row["pieces"]: row["n"] for row in found["rows"]}
        room = (max(all_sizes) / min(all_sizes)) ** 0.12
        sizes: dict[float, str] = {}
        for size in sorted(all_sizes, reverse=True):
            if not sizes or size * room < min(sizes):
                sizes[size] = all_sizes[size]
        axis.set_xticks(list(sizes), [f"{n}\n({x:,.0f})" for x, n in sizes.items()], fontsize=8)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.set_xlabel(f"labelled {found['n_is']} (together)", fontsize=9)
        axis.set_title(f"{label}, per cent", fontsize=10)
    axis.legend(fontsize=8, loc="lower right")
    figure.suptitle(
        f"{found['benchmark']}: {len(found['classes'])} classes,"
        f" {found['test_pieces']:,} test pieces of {found['test_groups']:,} compositions",
        fontsize=11,
    )
    figure.savefig(path, metadata={"Software": None})


def main() -> None:
    """Measure, print, file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="asap-composer, pijama30, …")
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.csv")
    parser.add_argument("--n", nargs="+", default=["25", "50", "100", "200", "all"])
    parser.add_argument("--in-total", action="store_true", help="n of all classes together")
    parser.add_argument("--draws", type=int, default=1, help="choices of pieces")
    parser.add_argument("--init", default=default_model(), help="model to finetune")
    parser.add_argument("--embedding", help="model to probe; the shipped one by default")
    parser.add_argument("--epochs", type=float, help="of finetuning; the recipe's by default")
    parser.add_argument("--most-tokens", type=float, help="of a finetuning, padding included")
    parser.add_argument("--set", nargs="*", default=[], help="changes of the recipe")
    parser.add_argument("--no-finetune", action="store_true", help="the cheap rows alone")
    parser.add_argument("--cpu", action="store_true", help="finetune on the processor")
    parser.add_argument("--runs", type=Path, default=Path("few-label-runs"))
    parser.add_argument("--cache", type=Path, help="folder to keep embeddings in")
    parser.add_argument("--limit", type=int, help="use only so many files of each class at all")
    parser.add_argument("--result", help="its name; few_label_NAME by default")
    parser.add_argument("--no-file", action="store_true", help="print, but file no result")
    given = parser.parse_args()
    examples = limited(named(given.name).gather(given.data), given.limit)
    examples, histograms, refused = baseline_vectors(examples)
    embedder = Embedder(load(given.embedding or default_model()), full=True)
    full = model_vectors(examples, embedder, given.cache)
    vectors = {
        "floor": histograms,
        "embedding": full[:, : embedder.short_size],
        "full embedding": full,
    }
    classes, labels = np.unique([e.label for e in examples], return_inverse=True)
    groups = [e.group for e in examples]
    fold = stratified_folds(labels, groups, FOLDS, np.random.default_rng(0))
    pool, test = np.flatnonzero(fold > 0), np.flatnonzero(fold == 0)
    unseen = np.array([examples[i].item.known.get("split", "train") != "train" for i in test])
    finetuning = None
    if not given.no_finetune:
        finetuning = Finetuning(
            given.runs / given.name,
            examples,
            labels,
            groups,
            init=given.init,
            epochs=given.epochs,
            most_tokens=given.most_tokens,
            changes=given.set,
            cpu=given.cpu,
        )
    found: dict[str, Any] = {
        "benchmark": given.name,
        "init": None if given.no_finetune else given.init,
        "epochs": given.epochs,
        "most_tokens": given.most_tokens,
        "changes": given.set,
        "n_is": "pieces in total" if given.in_total else "pieces of each class",
        "draws": given.draws,
        "classes": {str(n): int(c) for n, c in zip(classes, np.bincount(labels), strict=True)},
        "refused": len(refused),
        "test_pieces": len(test),
        "test_groups": len({groups[i] for i in test}),
        "test_unheard": int(unseen.sum()),
        "rows": [],
    }
    for n in given.n:
        count = None if n == "all" else int(n)
        splits = [
            (labelled(pool, labels, examples, count, d, in_total=given.in_total), test)
            for d in range(given.draws)
        ]
        predictions: dict[str, tuple[list[IntArray], dict[str, Any]]] = {
            name: (logistic_answers(x, labels, groups, splits), {}) for name, x in vectors.items()
        }
        if finetuning is not None:
            results = [
                finetuning.answers(f"{n}-{d}", rows, test) for d, (rows, _) in enumerate(splits)
            ]
            runs = {key: [about[key] for _, about in results] for key in results[0][1]}
            predictions["finetuned"] = ([answers for answers, _ in results], runs)
        for system, (answers, about) in predictions.items():
            row = {
                "system": system,
                "n": n,
                "pieces": float(np.mean([len(rows) for rows, _ in splits])),
                **figures(labels, groups, answers, splits, len(classes)),
                **about,
            }
            if unseen.any():
                parts = [(rows, test[unseen]) for rows, _ in splits]
                some = figures(labels, groups, [a[unseen] for a in answers], parts, len(classes))
                row["unheard"] = {key: some[key] for key in ("accuracy", "macro_f1")}
            found["rows"].append(row)
            cells = [f"{100 * row[key]['mean']:.1f}" for key in ("accuracy", "macro_f1")]
            print(f"{n:>4} {row['pieces']:>6.0f}  {system:<36}", *cells, flush=True)
    if not given.no_file:
        name = given.result or f"few_label_{given.name}{'_in_total' * given.in_total}"
        draw_curves(RESULTS / f"{name}.png", found)
        file_result(name, found)


if __name__ == "__main__":
    main()
