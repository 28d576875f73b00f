"""Train linear probes on frozen vectors (paper section 4.2).

Definition. A linear classifier is trained on the vectors of one part of the labelled pieces and
predicts the classes of the other part. There are two classifiers:

    logistic    standardised vectors, L2-regularised logistic regression; its strength is chosen
                inside each train part, classes weigh by the inverse root of their frequency
    paper       one linear layer with bias on the bare vectors, AdamW at 3e-4 with warm-up, for 10,
                20 and 50 epochs. The paper selects the best epoch *on the test part*, which is
                optimistic; that figure is ``paper, best epoch``, the last epoch's is ``paper``

Conventions. Splits are stratified by class and never split a group: five folds, drawn four times,
twenty splits by default. The mean and the standard deviation are over splits; the interval (95 %)
resamples groups, 1,000 draws, over the predictions of all splits together, because pieces of one
group are not independent; it is shifted by the difference between the mean over splits and the
figure of all predictions together (small test parts lack classes). The splits of the source are
evaluated separately.
*Balanced accuracy* is the mean recall of the classes in the test part; the F1 of a class that is
neither there nor predicted is left out of the macro mean.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from arietta.arrays import AnyFloatArray, BoolArray, FloatArray, IntArray
from arietta.errors import InputError, MissingExtraError, UsageError
from arietta.evaluation.intervals import paired_by_group
from arietta.evaluation.labels import Benchmark, Example

Split = tuple[IntArray, IntArray]
"""Rows to train on, rows to test on."""

METRICS = ("accuracy", "macro_f1", "balanced_accuracy", "weighted_f1")
FOLDS = 5
STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Candidates of the inverse regularisation of logistic regression."""
_USUAL_STRENGTH = 0.03
EPOCHS = (10, 20, 50)
BATCH = 32
_DRAWS = 1_000


# Splits


def stratified_folds(
    labels: IntArray, groups: Sequence[str], folds: int, rng: np.random.Generator
) -> IntArray:
    """Assign a fold to every row (n,): whole groups, classes spread as evenly as possible.

    Large groups come first, in random order; each goes to the fold that keeps the classes even.
    """
    _, group = np.unique(np.asarray(groups, dtype=np.str_), return_inverse=True)
    counts = np.zeros((int(group.max()) + 1, int(labels.max()) + 1))
    np.add.at(counts, (group, labels), 1)
    share = counts / counts.sum(axis=0).clip(1)  # of its class, so that rare classes count as much
    order = rng.permutation(len(counts))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    load = np.zeros((folds, counts.shape[1]))
    size = np.zeros(folds)
    chosen = np.zeros(len(counts), np.int64)
    for g in order:
        crowded = ((load + share[g]) ** 2 - load**2).sum(axis=1)
        best = np.flatnonzero(crowded <= crowded.min() + 1e-12)
        fold = best[np.argmin(size[best])]
        load[fold] += share[g]
        size[fold] += counts[g].sum()
        chosen[g] = fold
    return chosen[group]


def group_splits(
    labels: IntArray, groups: Sequence[str], splits: int, seed: int = 0
) -> list[Split]:
    """Return at least ``splits`` splits: five folds, drawn again as often as needed."""
    found: list[Split] = []
    for deal in range(-(-splits // FOLDS)):
        fold = stratified_folds(labels, groups, FOLDS, np.random.default_rng([seed, deal]))
        found += [
            (np.flatnonzero(fold != part), np.flatnonzero(fold == part)) for part in range(FOLDS)
        ]
    return found


def own_splits(examples: Sequence[Example]) -> dict[str, list[Split]]:
    """Return the splits that the source defines by name; numbered folds take turns as test part.

    Examples that a scheme does not mention are left out of it. A valid part belongs to the train
    part, as nothing is selected on it here.
    """
    found: dict[str, list[Split]] = {}
    for name in dict.fromkeys(n for example in examples for n in example.splits):
        part = np.array([example.splits.get(name, "") for example in examples])
        if "test" in part:
            tests = ["test"]
        elif all(p.isdecimal() for p in part if p):
            tests = sorted(set(part) - {""})
        else:
            continue
        pairs = [(np.flatnonzero((part != t) & (part != "")), np.flatnonzero(part == t))
                 for t in tests]  # fmt: skip
        if all(len(train) and len(test) for train, test in pairs):
            found[name] = pairs
    return found


# Metrics


def scores(confusion: AnyFloatArray) -> dict[str, float]:
    """Compute metrics of a confusion matrix (C, C): rows are the truth, columns the predictions."""
    return {name: float(values[0]) for name, values in _metrics(confusion[None]).items()}


def _metrics(confusion: AnyFloatArray) -> dict[str, AnyFloatArray]:
    """Compute metrics (n,) of n matrices."""
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    truth, predictions = confusion.sum(axis=2), confusion.sum(axis=1)
    total = truth.sum(axis=1)
    f1 = 2 * hits / np.maximum(truth + predictions, 1e-12)
    recall = hits / np.maximum(truth, 1e-12)
    return {
        "accuracy": hits.sum(axis=1) / total,
        "macro_f1": f1.sum(axis=1) / np.maximum((truth + predictions > 0).sum(axis=1), 1),
        "balanced_accuracy": recall.sum(axis=1) / np.maximum((truth > 0).sum(axis=1), 1),
        "weighted_f1": (f1 * truth).sum(axis=1) / total,
    }


def _confusions(
    labels: IntArray, predicted: Sequence[IntArray], splits: Sequence[Split], classes: int
) -> AnyFloatArray:
    found = np.zeros((len(splits), classes, classes))
    for matrix, answer, (_, test) in zip(found, predicted, splits, strict=True):
        np.add.at(matrix, (labels[test], answer), 1)
    return found


def _interval(
    labels: IntArray,
    groups: Sequence[str],
    predicted: Sequence[IntArray],
    splits: Sequence[Split],
    classes: int,
) -> dict[str, list[float]]:
    """Return 95 % intervals by resampling groups with all their predictions."""
    _, group = np.unique(np.asarray(groups, dtype=np.str_), return_inverse=True)
    by_group = np.zeros((int(group.max()) + 1, classes * classes))
    for answer, (_, test) in zip(predicted, splits, strict=True):
        np.add.at(by_group, (group[test], labels[test] * classes + answer), 1)
    by_group = by_group[by_group.any(axis=1)]
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(len(by_group), np.full(len(by_group), 1 / len(by_group)), _DRAWS)
    table = _metrics((drawn @ by_group).reshape(_DRAWS, classes, classes))
    return {name: np.quantile(values, (0.025, 0.975)).tolist() for name, values in table.items()}


# Classifiers


def logistic_answers(
    x: AnyFloatArray, labels: IntArray, groups: Sequence[str], splits: Sequence[Split]
) -> list[IntArray]:
    """Predict the test rows of every split by logistic regression.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits  # comes with scikit-learn
    except ImportError:
        raise MissingExtraError("logistic regression", "train") from None
    predicted = []
    # Products this small are slower on several threads, much slower on a busy machine.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for number, (train, test) in enumerate(splits):
            strength = best_strength(x, labels, groups, train, number)
            model = LogisticRegression(
                C=strength,
                max_iter=1_000,
                class_weight=class_weights(labels[train]),
            )
            rows, standardise = _standardised(x, train)
            predicted.append(
                model.fit(rows, labels[train]).predict(standardise(test)).astype(np.int64)
            )
    return predicted


def best_strength(
    x: AnyFloatArray, labels: IntArray, groups: Sequence[str], train: IntArray, seed: int
) -> float:
    """Select the regularisation that is best on a fifth of the train part."""
    from sklearn.linear_model import LogisticRegression

    inside = [groups[i] for i in train]
    fold = stratified_folds(labels[train], inside, FOLDS, np.random.default_rng(seed))
    fit_part, test_part = train[fold > 0], train[fold == 0]
    if not len(test_part) or len(np.unique(labels[fit_part])) < 2:
        return _USUAL_STRENGTH
    rows, standardise = _standardised(x, fit_part)
    model = LogisticRegression(max_iter=300, warm_start=True)
    found: dict[float, float] = {}
    for strength in STRENGTHS:
        model.set_params(C=strength, class_weight=class_weights(labels[fit_part]))
        model.fit(rows, labels[fit_part])
        right = model.predict(standardise(test_part)) == labels[test_part]
        found[strength] = float(_by_class(right, labels[test_part]) + right.mean())
    return max(found, key=lambda s: found[s])


def _standardised(
    x: AnyFloatArray, rows: IntArray
) -> tuple[AnyFloatArray, Callable[[IntArray], AnyFloatArray]]:
    mean, spread = x[rows].mean(axis=0), x[rows].std(axis=0)
    spread = np.where(spread > 1e-9, spread, 1)

    def standardise(at: IntArray) -> AnyFloatArray:
        standard: AnyFloatArray = (x[at] - mean) / spread
        return standard

    return standardise(rows), standardise


def class_weights(labels: IntArray) -> dict[int, float]:
    """Weight classes between equal files and equal classes; the mean over files is 1."""
    kinds, counts = np.unique(labels, return_counts=True)
    weight = counts**-0.5 * len(labels) / (counts**0.5).sum()
    return dict(zip(kinds.tolist(), weight.tolist(), strict=True))


def _by_class(right: BoolArray, labels: IntArray) -> float:
    return float(np.mean([right[labels == c].mean() for c in np.unique(labels)]))


def paper_answers(
    x: AnyFloatArray,
    labels: IntArray,
    splits: Sequence[Split],
    epochs: Sequence[int] = EPOCHS,
    *,
    end_ratio: float = 0.0,
    weight_decay: float = 0.0,
    seed: int = 0,
) -> tuple[list[IntArray], list[IntArray]]:
    """Predict by the published probe: the last epoch of the longest run, and the best epoch.

    Args:
        x: (n, D) raw vectors.
        labels: (n,) classes.
        splits: train and test rows; the probes of all splits are trained in parallel.
        epochs: lengths of the runs.
        end_ratio, weight_decay: 0 in the paper, 0.1 in the published code.
        seed: seed of initial weights and the order of files.
    """
    classes = int(labels.max()) + 1
    last: list[IntArray] = []
    best: list[IntArray] = [np.zeros(len(test), np.int64) for _, test in splits]
    best_right = np.full(len(splits), -1.0)
    for length in epochs:
        for weights in _train_linear(
            x,
            labels,
            [train for train, _ in splits],
            classes,
            length,
            end_ratio,
            weight_decay,
            seed,
        ):
            last = []
            for number, (_, test) in enumerate(splits):
                answer = np.argmax(x[test] @ weights[number, :-1] + weights[number, -1], axis=1)
                last.append(answer.astype(np.int64))
                right = float(np.mean(answer == labels[test]))
                if right > best_right[number]:
                    best_right[number], best[number] = right, last[-1]
    return last, best


def _train_linear(
    x: AnyFloatArray,
    labels: IntArray,
    trains: Sequence[IntArray],
    classes: int,
    epochs: int,
    end_ratio: float,
    weight_decay: float,
    seed: int,
) -> Any:
    """Yield the weights (S, D + 1, C) of S probes after every epoch."""
    rng = np.random.default_rng(seed)
    probes, width = len(trains), x.shape[1]
    bound = width**-0.5
    weights = rng.uniform(-bound, bound, (probes, width + 1, classes)).astype(np.float32)
    inputs = np.concatenate([x, np.ones((len(x), 1))], axis=1).astype(np.float32)
    steps = -(-max(len(train) for train in trains) // BATCH)
    total, warmup = epochs * steps, min(100, epochs * steps // 2)
    first = np.zeros_like(weights)
    second = np.zeros_like(weights)
    identity = np.eye(classes, dtype=np.float32)
    step = 0
    for _ in range(epochs):
        # Smaller train parts repeat some files, so that all probes take the same steps.
        order = np.stack([np.resize(rng.permutation(train), steps * BATCH) for train in trains])
        for at in range(0, steps * BATCH, BATCH):
            rows = order[:, at : at + BATCH]
            batch = inputs[rows]  # (S, B, D + 1)
            logits = batch @ weights
            logits -= logits.max(axis=2, keepdims=True)
            error = np.exp(logits)
            error /= error.sum(axis=2, keepdims=True)
            error -= identity[labels[rows]]
            slope = batch.transpose(0, 2, 1) @ error / BATCH
            if step < warmup:
                rate = 3e-4 * (step + 1) / warmup
            else:
                rate = 3e-4 * (1 - (1 - end_ratio) * (step - warmup) / max(total - warmup, 1))
            step += 1
            first += 0.1 * (slope - first)
            second += 0.05 * (slope * slope - second)
            weights *= 1 - rate * weight_decay
            move = first / (1 - 0.9**step)
            weights -= rate * move / (np.sqrt(second / (1 - 0.95**step)) + 1e-5)
        yield weights


# The whole table


@dataclass(frozen=True, eq=False)
class Vectors:
    """Hold vectors of the examples under a name.

    Attributes:
        name: name of the model or baseline.
        x: (n, D), one row for each example.
        paper: whether to train the published probe on them, too.
    """

    name: str
    x: AnyFloatArray
    paper: bool = True


def baseline_alone(baseline: AnyFloatArray) -> list[Vectors]:
    """Return the vectors of the baseline (n, F)."""
    return [Vectors(f"floor: {baseline.shape[1]} histogram numbers", baseline, paper=False)]


def compared(
    name: str, full: AnyFloatArray, short_size: int, baseline: AnyFloatArray
) -> list[Vectors]:
    """Return short vectors, full vectors, and full vectors with the baseline.

    The last ones show whether model and baseline complement each other.

    Args:
        name: name of the model.
        full: (n, D) full vectors.
        short_size: size of the short vectors, the first columns of the full ones.
        baseline: (n, F) vectors of the baseline.
    """
    return [
        Vectors(name, full[:, :short_size]),
        Vectors(f"{name}, full", full),
        Vectors(f"{name}, full and floor", np.concatenate((full, baseline), axis=1), paper=False),
    ]


def evaluate(
    benchmark: Benchmark | str,
    examples: Sequence[Example],
    vectors: Sequence[Vectors],
    *,
    splits: int = 20,
    seed: int = 0,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Evaluate every kind of vectors with every probe, on our splits and those of the source.

    Args:
        benchmark: the benchmark, or a name.
        examples: examples in the order of the rows of the vectors.
        vectors: vectors to compare; the baseline first.
        splits: smallest number of our splits.
        seed: seed of the splits.
        report: callback with the name of each training.

    Returns:
        JSON values: the benchmark, its classes, and under ``rows`` figures with ``mean``, ``sd``
        over splits and ``interval_95`` of each metric; ``accuracy_over_first`` is the mean paired
        difference from the first row of its splits, the baseline, with the bounds of its interval.

    Raises:
        InputError: there are fewer than two classes, or too few groups to split.
        UsageError: fewer than one split.
    """
    if splits < 1:
        raise UsageError(f"`splits` must be at least 1, not {splits}")
    names = sorted({example.label for example in examples})
    if len(names) < 2:
        raise InputError("a probe needs files of at least two classes")
    groups = [example.group for example in examples]
    if len(set(groups)) < FOLDS:
        raise InputError(f"a probe needs at least {FOLDS} groups, here are {len(set(groups))}")
    labels = np.array([names.index(example.label) for example in examples], np.int64)
    schemes = {"": group_splits(labels, groups, splits, seed), **own_splits(examples)}
    # A class that a train part lacks can be tested, but not learned.
    schemes = {
        scheme: [s for s in pairs if len(set(labels[s[0]])) > 1]
        for scheme, pairs in schemes.items()
    }
    rows: list[dict[str, Any]] = []
    for scheme, pairs in schemes.items():
        floor: FloatArray | None = None
        for one in vectors:
            report(f"{one.name}, {scheme or f'{len(pairs)} splits'}")
            predicted = {"logistic": logistic_answers(one.x, labels, groups, pairs)}
            if one.paper:
                last, best = paper_answers(one.x, labels, pairs, seed=seed)
                predicted |= {"paper": last, "paper, best epoch": best}
            for probe, predictions in predicted.items():
                row = {
                    "vectors": one.name,
                    "probe": probe,
                    "splits": len(pairs),
                    "scheme": scheme or "grouped folds",
                    **figures(labels, groups, predictions, pairs, len(names)),
                }
                right = share_right(labels, predictions, pairs)
                if floor is None:
                    floor = right
                else:
                    tested = ~np.isnan(right)
                    row["accuracy_over_first"] = paired_by_group(
                        right[tested],
                        floor[tested],
                        [g for g, t in zip(groups, tested.tolist(), strict=True) if t],
                    )
                rows.append(row)
    known = benchmark if isinstance(benchmark, Benchmark) else None
    return {
        "benchmark": known.name if known else benchmark,
        "what": known.what if known else "",
        "files": len(examples),
        "groups": len(set(groups)),
        "classes": {name: int((labels == i).sum()) for i, name in enumerate(names)},
        "rows": rows,
        "published": [
            {"system": p.system, "accuracy": p.accuracy / 100,
             "macro_f1": None if p.macro_f1 is None else p.macro_f1 / 100, "protocol": p.protocol}
            for p in (known.published if known else ())
        ],
    }  # fmt: skip


def share_right(
    labels: IntArray, predicted: Sequence[IntArray], splits: Sequence[Split]
) -> FloatArray:
    """(n,) share of the splits in which a row was predicted rightly; NaN where it was no test."""
    right, tested = np.zeros(len(labels)), np.zeros(len(labels))
    for answers, (_, test) in zip(predicted, splits, strict=True):
        tested[test] += 1
        right[test] += answers == labels[test]
    with np.errstate(invalid="ignore"):
        return right / tested


def figures(
    labels: IntArray,
    groups: Sequence[str],
    predicted: Sequence[IntArray],
    splits: Sequence[Split],
    classes: int,
) -> dict[str, Any]:
    """Compute each metric with ``mean`` and ``sd`` over splits, and ``interval_95``.

    Args:
        labels: (n,) the truth.
        groups: (n,) groups, which the interval resamples.
        predicted: predictions of the test rows of each split, in their order.
        splits: the splits.
        classes: number of classes.
    """
    table = _metrics(_confusions(labels, predicted, splits, classes))
    between = _interval(labels, groups, predicted, splits, classes)
    together = scores(_confusions(labels, predicted, splits, classes).sum(axis=0))
    return {
        name: {
            "mean": round(float(values.mean()), 4),
            "sd": round(float(values.std(ddof=1)), 4) if len(values) > 1 else None,
            "interval_95": [
                round(min(1.0, max(0.0, q + float(values.mean()) - together[name])), 4)
                for q in between[name]
            ],
        }
        for name, values in table.items()
    }


HEAD = (
    "vectors",
    "probe",
    "split",
    "accuracy",
    "macro F1",
    "balanced acc.",
    "weighted F1",
    "accuracy over the baseline",
)


def table_rows(found: Mapping[str, Any]) -> list[list[str]]:
    """Return the rows of the table under ``HEAD``, in per cent: mean ± sd (interval)."""
    rows = []
    for row in found["rows"]:
        split = row["scheme"] if row["splits"] == 1 else f"{row['splits']} {row['scheme']}"
        cells = [_cell(row[name]) for name in METRICS]
        rows.append([row["vectors"], row["probe"], split, *cells, _more(row)])
    for row in found["published"]:
        cells = ["-" if row[n] is None else f"{100 * row[n]:.1f}" for n in METRICS[:2]]
        rows.append([f"published: {row['system']}", "", row["protocol"], *cells, "", "", ""])
    return rows


def _more(row: Mapping[str, Any]) -> str:
    if "accuracy_over_first" not in row:
        return ""
    mean, low, high = (100 * value for value in row["accuracy_over_first"])
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"


def _cell(figure: Mapping[str, Any]) -> str:
    spread = "" if figure["sd"] is None else f" ± {100 * figure['sd']:.1f}"
    low, high = figure["interval_95"]
    return f"{100 * figure['mean']:.1f}{spread} ({100 * low:.1f}–{100 * high:.1f})"


def markdown(found: Mapping[str, Any]) -> str:
    """Format the table as Markdown, with an explanation."""
    lines = [
        f"# {found['benchmark']}: {found['what']}" if found["what"] else f"# {found['benchmark']}",
        "",
        f"{found['files']:,} files in {found['groups']:,} groups, {len(found['classes'])} classes: "
        + ", ".join(f"{name} {count:,}" for name, count in found["classes"].items())
        + ".",
        "",
        "Per cent: mean ± standard deviation over splits (95 % interval, resampling groups). No"
        " group is on both sides of a split. `paper, best epoch` picks its epoch on the test part,"
        " as published.",
        "",
        "| " + " | ".join(HEAD) + " |",
        "|" + " --- |" * len(HEAD),
        *("| " + " | ".join(row) + " |" for row in table_rows(found)),
        "",
    ]
    return "\n".join(lines)
