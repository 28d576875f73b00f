"""The best linear head on a model as it is: where finetuning starts, or all that is learned.

Finetuning from a random head first spoils what the model knows; from the best linear one it does
not (Kumar et al. 2022, arXiv 2202.10054). On a processor it takes seconds where finetuning takes
hours, because the model passes over each slice once.

Shapes: n slices, T ids a slice, D width of the model, S numbers that the head reads, C classes.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from arietta.errors import MissingExtraError
from arietta.evaluation.probe import scores
from arietta.inference.backends import Backend, Floats, cpu_backend
from arietta.inference.classification import vote
from arietta.inference.embedding import summaries
from arietta.tokenizers.vocabulary import PAD
from arietta.training.evening import evening

if TYPE_CHECKING:
    from arietta.checkpoints.store import LoadedCheckpoint

Ints = npt.NDArray[np.integer[Any]]

JUDGED_SLICES = 8
"""Slices of a piece that a head is fitted to or judged by: more of one piece tell little more."""
STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0)
"""Candidates of the inverse regularisation, for pieces that weigh one each on average."""
WEIGHTINGS = (0.0, 0.5, 1.0)
"""Candidates of how much rare classes count for more: none; by the root of their rarity; so that
all classes weigh the same."""
_USUAL_STRENGTH, _USUAL_WEIGHTING = 0.3, 0.5
_BATCH_ROWS = 16


def linear_head(
    checkpoint: LoadedCheckpoint, train: Ints, valid: Ints | None, *, pooling: str, weighted: bool
) -> Floats:
    """Weights (C, S) of logistic regression without bias on summaries of the hidden states.

    Its strength and the weights of classes are those whose votes have the best macro F1 on the
    validation pieces; without them, or for the weights without some of the classes among them, they
    are usual ones.

    Args:
        checkpoint: the model; its own head is not used.
        train, valid: (n, T + 2) slices padded with <P>, their classes, the numbers of their pieces;
            as of ``arietta.data.views.labelled_slices``. Every class is in ``train``.
        pooling: what the head reads, as of ``AriaConfig``: S = D for ``end``, 3 D for ``full``.
        weighted: whether rare classes may count for more.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits  # comes with scikit-learn
    except ImportError:
        raise MissingExtraError("fitting a head", "train") from None
    backend = cpu_backend(checkpoint)

    def read(slices: Ints) -> Floats:
        found = states_of(backend, slices)
        return found if pooling == "full" else found[:, : backend.config.d_model]

    x, labels = read(train), train[:, -2]
    matrix, shared = evening(x)
    # In the place of a bias stands what all slices share, and hardly varies.
    evened = np.concatenate((x @ matrix.T, (x @ shared)[:, None]), axis=1)
    fold = np.concatenate((matrix, shared[None]))
    judged = None if valid is None or not len(valid) else (read(valid), valid)
    asked = judged[1][:, -2] if judged else None
    best: tuple[float, Floats] | None = None
    # Products this small are slower on several threads, much slower on a busy machine.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(fit_intercept=False, max_iter=500, warm_start=True)
        for weighting, strength in _candidates(weighted, labels, asked):
            model.C = strength
            model.fit(evened, labels, _sample_weights(train, weighting))
            weights = _of_all_classes(model.coef_) @ fold
            merit = piece_scores(judged[0] @ weights.T, judged[1])["macro_f1"] if judged else 0.0
            if best is None or merit > best[0]:
                best = merit, weights.astype(np.float32)
    assert best is not None
    return best[1]


def states_of(backend: Backend, slices: Ints) -> Floats:
    """(n, 3 D) ``summaries`` of the hidden states of slices (n, T + 2) without their padding."""
    counts = (slices[:, :-2] != PAD).sum(axis=1)
    found = np.zeros((len(slices), 3 * backend.config.d_model), np.float32)
    order = np.argsort(counts, kind="stable")
    for at in range(0, len(order), _BATCH_ROWS):
        rows = order[at : at + _BATCH_ROWS]
        ids = slices[rows, : counts[rows].max()].astype(np.int64)
        session = backend.new_session(len(rows))
        found[rows] = summaries(session.append(ids, counts=counts[rows]), counts[rows])
    return found


def _candidates(weighted: bool, labels: Ints, judged: Ints | None) -> list[tuple[float, float]]:
    """Weightings and strengths to try, similar ones after each other."""
    usual = (_USUAL_WEIGHTING,) if weighted else (0.0,)
    if judged is None:
        return [(usual[0], _USUAL_STRENGTH)]
    # What rare classes gain is not seen where they are not asked about.
    all_there = set(labels.tolist()) == set(judged.tolist())
    return [(w, s) for w in (WEIGHTINGS if weighted and all_there else usual) for s in STRENGTHS]


def _sample_weights(slices: Ints, weighting: float) -> npt.NDArray[np.float64]:
    """(n,) of slices: pieces weigh one each on average."""
    _, piece, count = np.unique(slices[:, -1], return_inverse=True, return_counts=True)
    weights: npt.NDArray[np.float64] = 1 / count[piece]
    weights /= np.bincount(slices[:, -2], weights)[slices[:, -2]] ** weighting
    found: npt.NDArray[np.float64] = weights * (len(count) / weights.sum())
    return found


def _of_all_classes(weights: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.floating[Any]]:
    """Two classes have one row of weights in scikit-learn: the second's against the first's."""
    return np.concatenate((-weights, weights)) / 2 if len(weights) == 1 else weights


def piece_scores(logits: npt.NDArray[np.floating[Any]], slices: Ints) -> dict[str, float]:
    """Metrics of whole pieces, by the votes (n, C) of their slices (n, T + 2)."""
    _, first = np.unique(slices[:, -1], return_index=True)
    tokens = (slices[:, :-2] != PAD).sum(axis=1)
    said = vote(logits, tokens, slices[:, -1]).argmax(axis=1)
    confusion = np.zeros((logits.shape[1],) * 2)
    np.add.at(confusion, (slices[first, -2], said), 1)
    return scores(confusion)
