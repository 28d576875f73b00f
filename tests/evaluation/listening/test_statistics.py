"""Statistics of preferences against numbers worked out by other means."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np
import pytest

from arietta.errors import UsageError
from arietta.evaluation.listening.statistics import (
    agreement,
    connected,
    holm,
    interval,
    power,
    preference,
    resampled,
    smallest_share,
    strengths,
)

# Wins, ties and losses of Aria's continuations in the paper's listening test.
PAPER = {
    "Anticipatory Music Transformer": (38, 0, 6),
    "Suno": (18, 9, 21),
    "MusicGen": (49, 1, 0),
    "ground truth": (15, 9, 17),
}


def exact_p(wins: int, losses: int) -> Fraction:
    """Sum the chances of everything that is as unlikely, in whole numbers."""
    n = wins + losses
    return Fraction(sum(comb(n, k) for k in range(n + 1) if comb(n, k) <= comb(n, wins)), 2**n)


@pytest.mark.parametrize("counts", PAPER.values(), ids=PAPER.keys())
def test_the_papers_counts(counts: tuple[int, int, int]) -> None:
    wins, ties, losses = counts
    found = preference(wins, ties, losses)
    assert (found.wins, found.ties, found.losses) == counts
    assert found.p_value == pytest.approx(float(exact_p(wins, losses)), rel=1e-9)
    assert found.share == wins / (wins + losses)
    # Wilson 1927: the shares whose own deviation reaches the observed one.
    z, n = 1.959963984540054, wins + losses
    for edge in (found.low, found.high):
        assert edge is not None
        assert (found.share - edge) ** 2 == pytest.approx(z * z * edge * (1 - edge) / n, abs=1e-9)


def test_ties_stand_aside() -> None:
    few, many = preference(8, 0, 2), preference(8, 90, 2)
    assert (few.p_value, few.share, few.low) == (many.p_value, many.share, many.low)
    assert few.p_value == pytest.approx(112 / 1024)
    nothing = preference(0, 5, 0)
    assert (nothing.p_value, nothing.share, nothing.low) == (1.0, None, None)
    with pytest.raises(UsageError):
        preference(-1, 0, 0)


def test_holm() -> None:
    # 4 * .005, 3 * .01, then 2 * .03 and 1 * .04, which may not fall below the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_two_systems_have_the_odds_of_their_wins() -> None:
    # Half a win is added on both sides: 30.5 against 10.5.
    found = strengths(np.array([[0.0, 30.0], [10.0, 0.0]]), ~np.eye(2, dtype=bool))
    assert found[0] - found[1] == pytest.approx(np.log(30.5 / 10.5), abs=1e-6)
    assert found.sum() == pytest.approx(0, abs=1e-9)


def test_strengths_are_recovered_and_batched() -> None:
    true = np.array([1.2, 0.3, -0.4, -1.1])
    chance = 1 / (1 + np.exp(true[None, :] - true[:, None]))
    wins = 5_000 * chance * (1 - np.eye(4))
    all_of_them = ~np.eye(4, dtype=bool)
    assert strengths(wins, all_of_them) == pytest.approx(true - true.mean(), abs=2e-3)
    both = strengths(np.stack([wins, wins.T]), all_of_them)
    assert both[1] == pytest.approx(-both[0], abs=1e-6)
    # A system that never lost has a finite strength, above all others.
    sweep = np.zeros((3, 3))
    sweep[0, 1] = sweep[1, 2] = 10
    found = strengths(sweep, sweep + sweep.T > 0)
    assert np.isfinite(found).all() and found.argmax() == 0


def test_strengths_need_a_connection() -> None:
    apart = np.zeros((4, 4))
    apart[0, 1] = apart[2, 3] = 1
    with pytest.raises(UsageError, match="connect"):
        strengths(apart, apart + apart.T > 0)
    assert not connected(apart + apart.T > 0)
    apart[1, 2] = 1
    assert connected(apart + apart.T > 0)


def test_listeners_are_drawn_whole() -> None:
    # Twenty listeners who each always say the same: no draw splits one of them.
    wins = np.zeros((20, 2, 2))
    wins[:10, 0, 1] = wins[10:, 1, 0] = 7
    drawn = resampled(wins, 500, seed=1)
    assert (drawn % 7 == 0).all() and (drawn.sum(axis=(1, 2)) == 140).all()
    low, high = interval(drawn[:, 0, 1] / 140)
    alone = preference(70, 0, 70)
    assert alone.low is not None and low < alone.low - 0.1 and high > 0.65
    assert (resampled(wins, 500, seed=1) == drawn).all()
    assert (resampled(wins, 500, seed=2) != drawn).any()


def test_power_is_what_simulation_finds() -> None:
    rng = np.random.default_rng(0)
    wins = rng.binomial(40, 0.7, 2_000)
    p = {int(k): preference(int(k), 0, 40 - int(k)).p_value for k in np.unique(wins)}
    found = np.mean([p[int(k)] <= 0.05 for k in wins])
    assert power(40, 0.7) == pytest.approx(found, abs=0.03)
    assert power(40, 0.5) <= 0.05
    assert power(40, 0.3) == pytest.approx(power(40, 0.7))
    assert power(5, 1.0) == 0.0  # five of five have a p of 1/16


def test_the_smallest_share() -> None:
    share = smallest_share(60)
    assert share is not None
    assert power(60, share) >= 0.8 > power(60, share - 0.001)
    assert smallest_share(60, alpha=0.01) > share  # type: ignore[operator]
    assert smallest_share(5) is None


def test_fleiss_own_example() -> None:
    # Wikipedia's worked example of Fleiss' kappa: 14 raters, 10 subjects, 5 categories: 0.210.
    counts = np.array(
        [
            [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
            [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
        ],
        float,
    )  # fmt: skip
    assert agreement(counts) == pytest.approx(0.210, abs=5e-4)
    assert agreement(np.array([[4.0, 0], [0, 4]])) == pytest.approx(1)
    assert agreement(np.array([[1.0, 0]])) is None
    assert agreement(np.array([[3.0, 0]])) is None
