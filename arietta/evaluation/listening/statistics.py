"""Statistics of paired preferences.

Definitions. A *judgement* is one answer to one pair: a win, a tie or a loss of the first system.
The *share* of a system is its wins among the judgements that are no ties. Probabilities and
intervals of one comparison are those of ``scipy.stats.binomtest``: the exact two-sided test against
one half, and Wilson's interval. Several comparisons are corrected by Holm's step-down (Holm 1979,
"A simple sequentially rejective multiple test procedure"). Strengths are those of Bradley and Terry
(1952), fitted by the iteration of Hunter 2004, "MM algorithms for generalized Bradley-Terry
models", section 2.

Conventions. Ties count nowhere; as half wins they would draw all strengths together. Every pair of
systems that was compared gets half a win on both sides, so that a system that never lost has a
finite strength. Strengths are natural logarithms: where it is no tie, a system wins against another
with odds ``exp(difference)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from arietta.arrays import BoolArray, FloatArray
from arietta.errors import MissingExtraError, UsageError

CONFIDENCE = 0.95
_STEPS, _CLOSE = 10_000, 1e-10


@dataclass(frozen=True)
class Preference:
    """How one system did against another.

    Attributes:
        wins, ties, losses: judgements.
        share: wins among wins and losses; None where all are ties.
        low, high: Wilson's interval of the share, 95 %; None likewise.
        p_value: two-sided, of a share of one half; 1 where all are ties.
    """

    wins: int
    ties: int
    losses: int
    share: float | None
    low: float | None
    high: float | None
    p_value: float


def preference(wins: int, ties: int, losses: int) -> Preference:
    """Test wins against losses; ties stand aside.

    Raises:
        MissingExtraError: scipy is not installed.
        UsageError: a count is negative.
    """
    if min(wins, ties, losses) < 0:
        raise UsageError(f"counts of judgements are 0 or more, not {wins}, {ties}, {losses}")
    decided = wins + losses
    if not decided:
        return Preference(wins, ties, losses, None, None, None, 1.0)
    _need_scipy()
    from scipy.stats import binomtest

    test = binomtest(wins, decided)
    span = test.proportion_ci(CONFIDENCE, method="wilson")
    return Preference(
        wins, ties, losses, wins / decided, float(span.low), float(span.high), float(test.pvalue)
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the probabilities corrected for their number, in the order given."""
    order = np.argsort(p_values, kind="stable")
    corrected = np.empty(len(p_values))
    highest = 0.0
    for rank, at in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * float(p_values[at])))
        corrected[at] = highest
    return [float(p) for p in corrected]


def strengths(wins: FloatArray, compared: BoolArray) -> FloatArray:
    """Fit strengths of Bradley and Terry; they sum to 0.

    Args:
        wins: (..., n, n): entry [i, j] counts wins of i over j.
        compared: (n, n) which systems were compared, with a tie too; symmetric.

    Returns:
        (..., n) natural logarithms.

    Raises:
        UsageError: the comparisons do not connect all systems.
    """
    if not connected(compared):
        raise UsageError("strengths need comparisons that connect all systems")
    wins = wins + 0.5 * compared
    matches = wins + np.swapaxes(wins, -1, -2)
    won = wins.sum(axis=-1)
    weights = np.ones(wins.shape[:-1])
    for _ in range(_STEPS):
        together = weights[..., :, None] + weights[..., None, :]
        after = won / (matches / together).sum(axis=-1)
        after /= np.exp(np.log(after).mean(axis=-1, keepdims=True))
        moved = float(np.abs(np.log(after / weights)).max())
        weights = after
        if moved < _CLOSE:
            break
    fitted: FloatArray = np.log(weights)
    return fitted


def connected(compared: BoolArray) -> bool:
    """Tell whether (n, n) symmetric comparisons lead from every system to every other."""
    seen, todo = {0}, [0]
    while todo:
        for other in np.flatnonzero(compared[todo.pop()]):
            if int(other) not in seen:
                seen.add(int(other))
                todo.append(int(other))
    return len(seen) == len(compared)


def resampled(wins: FloatArray, draws: int, seed: int) -> FloatArray:
    """Draw listeners with replacement and sum their wins.

    Args:
        wins: (listeners, n, n).
        draws: how many.
        seed: of the draws.

    Returns:
        (draws, n, n).
    """
    listeners = len(wins)
    times = np.random.default_rng(seed).multinomial(
        listeners, np.full(listeners, 1 / listeners), size=draws
    )
    drawn: FloatArray = np.einsum("dl,lij->dij", times.astype(np.float64), wins)
    return drawn


def interval(values: FloatArray) -> tuple[float, float]:
    """Return the central 95 % of draws (d,), those that are no numbers left out."""
    edge = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(values, (edge, 1 - edge))
    return float(low), float(high)


# ---- before the test ---------------------------------------------------------------------------


def power(judgements: int, share: float, alpha: float = 0.05) -> float:
    """Return how often the exact test finds a preference that is really there.

    Args:
        judgements: without ties, and independent.
        share: the true one, 0..1.
        alpha: level of the test; with Holm over m comparisons, alpha / m is the strictest.

    Raises:
        MissingExtraError: scipy is not installed.
        UsageError: a value is out of range.
    """
    if judgements < 0 or not 0 <= share <= 1 or not 0 < alpha < 1:
        raise UsageError(
            f"power needs `judgements` of 0 or more, a `share` in 0..1 and `alpha` between 0 and 1,"
            f" not {judgements}, {share}, {alpha}"
        )
    _need_scipy()
    from scipy.stats import binom

    fewest = np.arange((judgements + 1) // 2)  # of wins or of losses, below one half
    enough = np.flatnonzero(2 * binom.cdf(fewest, judgements, 0.5) <= alpha)
    if not len(enough):
        return 0.0
    edge = int(enough[-1])
    lost = binom.cdf(edge, judgements, share)
    won = binom.sf(judgements - edge - 1, judgements, share)
    return float(lost + won)


def smallest_share(judgements: int, alpha: float = 0.05, wanted: float = 0.8) -> float | None:
    """Return the smallest share above one half that is found with the wanted power.

    To three places; None where not even a share of 1 is.
    """
    if power(judgements, 1.0, alpha) < wanted:
        return None
    low, high = 500, 1000
    while low < high:
        middle = (low + high) // 2
        if power(judgements, middle / 1000, alpha) >= wanted:
            high = middle
        else:
            low = middle + 1
    return high / 1000


def agreement(counts: FloatArray) -> float | None:
    """Return Fleiss' kappa of listeners' answers to the same pairs (Fleiss 1971).

    Args:
        counts: (pairs, answers): how many listeners gave each answer; pairs may have different
            numbers of listeners, and those with fewer than two are left out.

    Returns:
        1 where all agree, 0 where they agree as often as by chance; None where nothing can be
        compared or only one answer was ever given.
    """
    raters = counts.sum(axis=1)
    counts, raters = counts[raters > 1], raters[raters > 1]
    if not len(counts):
        return None
    same = ((counts**2).sum(axis=1) - raters) / (raters * (raters - 1))
    chance = float(((counts.sum(axis=0) / counts.sum()) ** 2).sum())
    if chance == 1:
        return None
    return float((same.mean() - chance) / (1 - chance))


def _need_scipy() -> None:
    try:
        import scipy.stats  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("a listening test", "listen") from error
