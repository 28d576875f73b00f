"""How many labelled pieces a classifier needs: the use case behind ``evaluate few-label``.

Definition. One fifth of the compositions of a labelled collection is the test part of all systems.
Of the rest n pieces of each class (or all of it) are labelled; in total: n pieces of all classes
together, spread as evenly as possible. Smaller n are subsets of larger ones. The same pieces
train::

    finetuned       the recipe classify-folder from a model: a linear head, then all weights; a
                    fifth of the labelled pieces, by composition, is held out for early stopping
    embedding       logistic regression on frozen embeddings (its regularisation selected on these
                    pieces)
    full embedding  the same with mean and deviation of the hidden states
    floor           the baseline: the same on a hundred histogram numbers

Conventions. Intervals (95 %) resample the compositions of the test part. Every finetuning has a
folder: a stopped one resumes, a finished one is not repeated. ``unheard`` are the figures of the
test pieces outside the train split of their corpus, on which the shipped model was pretrained
(without labels). Finetuning alone needs torch.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from arietta.arrays import Float32Array, IntArray
from arietta.data.shards import DESCRIPTION, PieceRecord, ShardWriter, open_dataset
from arietta.data.splits import hashed
from arietta.errors import InputError, MissingExtraError
from arietta.evaluation.labels import Example
from arietta.evaluation.probe import FOLDS, figures, logistic_answers, stratified_folds
from arietta.models.aria.checkpoint import load
from arietta.output import whole_file
from arietta.vectors.classification import Classifier
from arietta.vectors.collection import read_item

if TYPE_CHECKING:
    from arietta.training.config import Recipe

RECIPE = "classify-folder"
SYSTEMS = ("floor", "embedding", "full embedding", "finetuned")
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
        from arietta.training.config import load_recipes

        self.recipe = load_recipes(RECIPE, [f"init={init}", *changes])[""]

    def answers(self, name: str, rows: IntArray, test: IntArray) -> tuple[IntArray, dict[str, Any]]:
        """Predict the test rows by a model finetuned on the rows; also return facts of the run.

        Raises:
            MissingExtraError: training is not installed.
        """
        try:
            from arietta.training import loop
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] not in ("torch", "pyarrow"):
                raise
            raise MissingExtraError("finetuning", "train") from None
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
            done = loop.train(recipe, place / "dataset", run, cpu=self.cpu)
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
        from arietta.training.dry_run import epoch_tokens

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


def compare(
    examples: Sequence[Example],
    vectors: dict[str, Float32Array],
    sizes: Sequence[int | None],
    *,
    draws: int = 1,
    in_total: bool = False,
    finetuning: Callable[[Sequence[Example], IntArray, Sequence[str]], Finetuning] | None = None,
    found_row: Callable[[dict[str, Any]], None] = lambda _: None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Compare systems by the number of labelled pieces.

    Args:
        examples: labelled pieces.
        vectors: name of a system -> (n, D), what its logistic regression sees of each example.
        sizes: numbers of labelled pieces; None for all.
        draws: choices of pieces for each size.
        in_total: count the pieces of all classes together.
        finetuning: makes the finetuning of the examples, their labels and groups; None for none.
        found_row: called with each row of the table.

    Returns:
        Figures, and one row for each test piece, size, draw and system.

    Raises:
        MissingExtraError: scikit-learn, or what training needs, is not installed.
    """
    classes, labels = np.unique([e.label for e in examples], return_inverse=True)
    groups = [e.group for e in examples]
    fold = stratified_folds(labels, groups, FOLDS, np.random.default_rng(0))
    pool, test = np.flatnonzero(fold > 0), np.flatnonzero(fold == 0)
    unseen = np.array(
        [examples[i].item.known.get("split", "train") != "train" for i in test.tolist()]
    )
    tuned = None if finetuning is None else finetuning(examples, labels, groups)
    table: list[dict[str, Any]] = []
    single: list[dict[str, Any]] = []
    for size in sizes:
        n = "all" if size is None else str(size)
        splits = [
            (labelled(pool, labels, examples, size, d, in_total=in_total), test)
            for d in range(draws)
        ]
        predictions: dict[str, tuple[list[IntArray], dict[str, Any]]] = {
            name: (logistic_answers(x, labels, groups, splits), {}) for name, x in vectors.items()
        }
        if tuned is not None:
            results = [tuned.answers(f"{n}-{d}", rows, test) for d, (rows, _) in enumerate(splits)]
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
            table.append(row)
            found_row(row)
            for draw, said in enumerate(answers):
                single += [
                    {
                        "system": system,
                        "n": n,
                        "draw": draw,
                        "piece": examples[i].item.id,
                        "group": groups[i],
                        "label": str(classes[labels[i]]),
                        "predicted": str(classes[answer]),
                    }
                    for i, answer in zip(test.tolist(), said.tolist(), strict=True)
                ]
    described = {
        "n_is": "pieces in total" if in_total else "pieces of each class",
        "draws": draws,
        "classes": {str(n): int(c) for n, c in zip(classes, np.bincount(labels), strict=True)},
        "test_pieces": len(test),
        "test_groups": len({groups[i] for i in test}),
        "test_unheard": int(unseen.sum()),
        "rows": table,
    }
    return described, single
