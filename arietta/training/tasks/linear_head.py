"""Fit the best linear head on a frozen model: the start of finetuning, or a whole classifier.

Finetuning from a random head first damages the pretrained features; finetuning from the best linear
head does not (Kumar et al. 2022, arXiv 2202.10054). On a CPU the fit takes seconds while finetuning
takes hours, because the model reads each slice once.

Shapes: n slices, T ids a slice, D width of the model, S numbers that the head reads, C classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from arietta.arrays import AnyFloatArray, AnyIntArray, BoolArray, Float32Array, FloatArray, IntArray
from arietta.errors import MissingExtraError
from arietta.evaluation.probe import FOLDS, best_strength, class_weights, scores, stratified_folds
from arietta.models.aria.protocol import Backend
from arietta.models.executors import cpu_backend
from arietta.tokenizers.vocabulary import PAD
from arietta.training.standardise import standardise
from arietta.vectors.classification import means_of_pieces, vote
from arietta.vectors.embedding import summaries

if TYPE_CHECKING:
    from arietta.models.aria.checkpoint import LoadedCheckpoint


_BATCH_ROWS = 16
_TEMPERATURES = [0.1 * 1.05**i for i in range(109)]  # to 19


def linear_head(
    checkpoint: LoadedCheckpoint,
    slices: AnyIntArray,
    groups: Sequence[str],
    *,
    pooling: str,
    weighted: bool,
) -> Float32Array:
    """Fit a linear head (C, S) on a frozen model; see ``fitted_head``.

    Args:
        checkpoint: the model; its own head is not used.
        slices: (n, T + 2) slices padded with <P>, their classes, the numbers of their pieces; with
            ``groups`` as from ``arietta.training.rows.slices.labelled_slices``. Every class occurs.
        groups: groups of the pieces, by their numbers.
        pooling: what the head reads, as in ``AriaConfig``: S = D for ``end``, 3 D for ``full``.
        weighted: whether rare classes have larger weights.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    backend = cpu_backend(checkpoint)
    x = pieces_of(states_of(backend, slices), slices)
    x = x if pooling == "full" else x[:, : backend.config.d_model]
    numbers, first = np.unique(slices[:, -1], return_index=True)
    labels = slices[first, -2].astype(np.int64)
    return fitted_head(x, labels, [groups[i] for i in numbers], weighted=weighted)


def fitted_head(
    x: AnyFloatArray,
    labels: IntArray,
    groups: Sequence[str],
    *,
    weighted: bool,
) -> Float32Array:
    """Fit logistic regression; return its weights (C, S) with the bias folded in.

    Cross-validation chooses the regularisation and calibrates the confidence on held-out pieces by
    one temperature for all logits (Guo et al. 2017, arXiv 1706.04599); without it a head of many
    weights and few pieces is overconfident. If no group can be held out, the temperature is 1.

    Args:
        x: (n, S) states of pieces.
        labels: (n,) classes; each of 0 to C - 1 occurs.
        groups: (n,) groups that cross-validation does not split.
        weighted: whether rare classes have larger weights.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits  # comes with scikit-learn
    except ImportError:
        raise MissingExtraError("fitting a head", "train") from None
    matrix, shared = standardise(x)
    standardised = x @ matrix.T

    def fit(rows: BoolArray) -> tuple[FloatArray, ...]:
        model = LogisticRegression(
            C=strength,
            max_iter=1_000,
            class_weight=class_weights(labels[rows]) if weighted else None,
        ).fit(standardised[rows], labels[rows])
        if len(model.coef_) == 1:  # two classes: row of the second minus row of the first
            return (
                np.concatenate((-model.coef_, model.coef_)) / 2,
                np.concatenate((-model.intercept_, model.intercept_)) / 2,
            )
        return model.coef_, model.intercept_

    # Products this small are slower on several threads, much slower on a busy machine.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        strength = best_strength(standardised, labels, groups, np.arange(len(labels)), seed=0)
        fold = stratified_folds(labels, groups, FOLDS, np.random.default_rng(0))
        held_out, truth = [], []
        for k in np.unique(fold):
            if len(np.unique(labels[fold != k])) > labels.max():  # every class remains
                rows, bias = fit(fold != k)
                held_out.append(standardised[fold == k] @ rows.T + bias)
                truth.append(labels[fold == k])
        rows, bias = fit(np.ones(len(labels), bool))
    # The part that all pieces share hardly varies; its weight replaces the bias.
    weights = rows @ matrix + bias[:, None] * shared
    if held_out:
        weights /= best_temperature(np.concatenate(held_out), np.concatenate(truth))
    found: Float32Array = weights.astype(np.float32)
    return found


def best_temperature(logits: AnyFloatArray, labels: IntArray) -> float:
    """Return the divisor of logits (n, C) that makes the labels (n,) likeliest, to 5 %."""

    def nats(temperature: float) -> float:
        scaled = logits / temperature
        scaled = scaled - scaled.max(axis=1, keepdims=True)
        total = np.log(np.exp(scaled).sum(axis=1))
        return float((total - scaled[np.arange(len(labels)), labels]).mean())

    return min(_TEMPERATURES, key=nats)


def states_of(backend: Backend, slices: AnyIntArray) -> Float32Array:
    """Return (n, 3 D) ``summaries`` of the hidden states of slices (n, T + 2) without padding."""
    counts = (slices[:, :-2] != PAD).sum(axis=1)
    found = np.zeros((len(slices), 3 * backend.config.d_model), np.float32)
    order = np.argsort(counts, kind="stable")
    for at in range(0, len(order), _BATCH_ROWS):
        rows = order[at : at + _BATCH_ROWS]
        ids = slices[rows, : counts[rows].max()].astype(np.int64)
        session = backend.new_session(len(rows))
        found[rows] = summaries(session.append(ids, counts=counts[rows]), counts[rows])
    return found


def pieces_of(states: Float32Array, slices: AnyIntArray) -> FloatArray:
    """Average the states (n, S) of the slices (n, T + 2) of each piece, weighted by tokens."""
    return means_of_pieces(states, _tokens(slices), slices[:, -1])


def piece_scores(logits: AnyFloatArray, slices: AnyIntArray, votes: str) -> dict[str, float]:
    """Return metrics of whole pieces from the logits (n, C) of their slices (n, T + 2)."""
    _, first = np.unique(slices[:, -1], return_index=True)
    predicted = vote(logits, _tokens(slices), slices[:, -1], votes).argmax(axis=1)
    confusion = np.zeros((logits.shape[1],) * 2)
    np.add.at(confusion, (slices[first, -2], predicted), 1)
    return scores(confusion)


def _tokens(slices: AnyIntArray) -> AnyIntArray:
    found: AnyIntArray = (slices[:, :-2] != PAD).sum(axis=1)
    return found
