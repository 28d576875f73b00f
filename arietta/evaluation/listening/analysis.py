"""What the answers of a listening test say of systems and of listeners."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from arietta.arrays import FloatArray
from arietta.errors import InputError
from arietta.evaluation.listening.answers import CHOICES, Answers, Choice
from arietta.evaluation.listening.plan import Plan, Trial
from arietta.evaluation.listening.statistics import (
    agreement,
    connected,
    holm,
    interval,
    preference,
    resampled,
    smallest_share,
    strengths,
)

_SWAPPED: dict[Choice, Choice] = {"left": "right", "right": "left", "same": "same"}


@dataclass(frozen=True)
class Comparison:
    """How one system did against another.

    Attributes:
        system, other: their names.
        wins, ties, losses: judgements of the system.
        share: wins among wins and losses; None where all are ties.
        low, high: Wilson's interval of the share, 95 %, every judgement for itself.
        low_listeners, high_listeners: the same when whole listeners are drawn: wider where
            listeners differ in taste. None for one listener.
        p_value: exact, two-sided, without ties.
        p_holm: corrected for the number of comparisons; None for human against floor, which is a
            check of the listeners and no result.
        smallest_share: what as many decided judgements find with a power of 80 %, before any
            correction; None where they are too few for any.
    """

    system: str
    other: str
    wins: int
    ties: int
    losses: int
    share: float | None
    low: float | None
    high: float | None
    low_listeners: float | None
    high_listeners: float | None
    p_value: float
    p_holm: float | None
    smallest_share: float | None


@dataclass(frozen=True)
class Strength:
    """A system on the scale of Bradley and Terry.

    Attributes:
        system: its name.
        strength: natural logarithm; 0 is the human anchor.
        low, high: central 95 % over drawn listeners; None for one listener.
        share_against_human: how often the model of the scale has it win against the human.
    """

    system: str
    strength: float
    low: float | None
    high: float | None
    share_against_human: float


@dataclass(frozen=True)
class Reliability:
    """Whether the listeners can be relied on.

    Attributes:
        repeats, repeats_same: pairs that were played again, and those answered the same way.
        identical, identical_same: pairs of one clip, and those heard as no different.
        anchors, anchors_right: human against floor, and those that the human won.
        left, right: answers for each side; identical pairs too.
        p_side: two-sided, of no preference for a side.
        agreement: Fleiss' kappa between listeners; None where no pair has two listeners.
        headphones_passed, headphones_failed: listeners by the headphone check.
    """

    repeats: int
    repeats_same: int
    identical: int
    identical_same: int
    anchors: int
    anchors_right: int
    left: int
    right: int
    p_side: float
    agreement: float | None
    headphones_passed: int
    headphones_failed: int


@dataclass(frozen=True)
class Analysis:
    """What a listening test found.

    Attributes:
        listeners, judgements: that count; of repeats only the first time does.
        comparisons: of every two systems that were compared; the human and the floor stand last.
        strengths: strongest first; empty where answers do not connect all systems.
        reliability: of the listeners that count.
        doubtful: listener and reason, whether they count or not.
    """

    listeners: int
    judgements: int
    comparisons: tuple[Comparison, ...]
    strengths: tuple[Strength, ...]
    reliability: Reliability
    doubtful: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def analyse(
    answers: Sequence[Answers],
    plan: Plan,
    *,
    draws: int = 1000,
    seed: int = 0,
    strict: bool = False,
) -> Analysis:
    """Analyse the answers to a test.

    Args:
        answers: one entry a listener.
        plan: of the test.
        draws: of listeners, for intervals.
        seed: of the draws.
        strict: leave doubtful listeners out.

    Raises:
        InputError: nobody is left, or nobody judged a pair.
        MissingExtraError: scipy is not installed.
    """
    doubtful = [
        {"listener": one.listener, "reason": why}
        for one in answers
        if (why := _doubt(one, plan)) is not None
    ]
    if strict:
        out = {one["listener"] for one in doubtful}
        answers = [one for one in answers if one.listener not in out]
        if not answers:
            raise InputError("every listener is doubtful; without `strict` they count")
    systems = _systems(plan)
    wins, ties = _counts(answers, plan, systems)
    judgements = int(wins.sum() + ties.sum() / 2)
    if not judgements:
        raise InputError("no listener has judged a pair")
    drawn = resampled(wins, draws, seed)
    alone = len(answers) == 1
    return Analysis(
        len(answers),
        judgements,
        _comparisons(systems, plan, wins.sum(0), ties.sum(0), None if alone else drawn),
        _strengths(
            systems,
            systems.index(plan.human),
            wins.sum(0),
            (wins + ties).sum(0),
            None if alone else drawn,
        ),
        _reliability(answers, plan),
        tuple(doubtful),
    )


def _systems(plan: Plan) -> list[str]:
    """Return names of systems in order of the alphabet, the anchors last."""
    names = {clip.system for clip in plan.clips.values()} - {plan.human, plan.floor}
    return [*sorted(names), plan.human, plan.floor]


def _winner(trial: Trial, choice: Choice, plan: Plan) -> tuple[str, str] | None:
    """Return (winner, loser) of a judgement; None of a tie."""
    if choice == "same":
        return None
    left, right = plan.clips[trial.left].system, plan.clips[trial.right].system
    return (left, right) if choice == "left" else (right, left)


def _counts(
    answers: Sequence[Answers], plan: Plan, systems: list[str]
) -> tuple[FloatArray, FloatArray]:
    """Return (listeners, n, n) wins of row over column, and ties on both sides of the diagonal."""
    at = {name: i for i, name in enumerate(systems)}
    wins = np.zeros((len(answers), len(systems), len(systems)))
    ties = np.zeros_like(wins)
    for row, one in enumerate(answers):
        for place, choice in one.choices:
            trial = plan.forms[one.form][place]
            if trial.kind != "pair":
                continue
            found = _winner(trial, choice, plan)
            if found is None:
                i, j = (at[plan.clips[name].system] for name in (trial.left, trial.right))
                ties[row, i, j] += 1
                ties[row, j, i] += 1
            else:
                wins[row, at[found[0]], at[found[1]]] += 1
    return wins, ties


def _comparisons(
    systems: list[str], plan: Plan, wins: FloatArray, ties: FloatArray, drawn: FloatArray | None
) -> tuple[Comparison, ...]:
    rows = []
    for i, system in enumerate(systems):
        for j in range(i + 1, len(systems)):
            won, tied, lost = int(wins[i, j]), int(ties[i, j]), int(wins[j, i])
            if not won + tied + lost:
                continue
            span: tuple[float | None, float | None] = (None, None)
            if drawn is not None and won + lost:
                decided = drawn[:, i, j] + drawn[:, j, i]
                shares = np.where(decided > 0, drawn[:, i, j] / np.maximum(decided, 1), np.nan)
                span = interval(shares)
            rows.append((system, systems[j], preference(won, tied, lost), span))
    check = {plan.human, plan.floor}
    family = [at for at, row in enumerate(rows) if {row[0], row[1]} != check]
    corrected = dict(zip(family, holm([rows[at][2].p_value for at in family]), strict=True))
    return tuple(
        Comparison(
            system,
            other,
            **{key: value for key, value in asdict(found).items() if key != "p_value"},
            low_listeners=span[0],
            high_listeners=span[1],
            p_value=found.p_value,
            p_holm=corrected.get(at),
            smallest_share=smallest_share(found.wins + found.losses),
        )
        for at, (system, other, found, span) in enumerate(rows)
    )


def _strengths(
    systems: list[str],
    human: int,
    wins: FloatArray,
    judged: FloatArray,
    drawn: FloatArray | None,
) -> tuple[Strength, ...]:
    compared = judged + judged.T > 0
    if not connected(compared):
        return ()
    found = strengths(wins, compared)
    found = found - found[human]
    spread = None
    if drawn is not None:
        spread = strengths(drawn, compared)
        spread = spread - spread[:, human, None]
    rows = []
    for i in np.argsort(-found, kind="stable"):
        low, high = (None, None) if spread is None else interval(spread[:, i])
        against = float(1 / (1 + np.exp(-found[i])))
        rows.append(Strength(systems[i], float(found[i]), low, high, against))
    return tuple(rows)


# ---- the listeners -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Checks:
    """Counts of one listener: asked, and right; how often the floor won against the human."""

    repeats: tuple[int, int]
    identical: tuple[int, int]
    anchors: tuple[int, int]
    floor_won: int


def _checks(one: Answers, plan: Plan) -> _Checks:
    form, said = plan.forms[one.form], dict(one.choices)
    first = {
        (trial.left, trial.right): said[place]
        for place, trial in enumerate(form)
        if trial.kind == "pair" and place in said
    }
    repeats, identical, anchors = [], [], []
    floor_won = 0
    for place, choice in one.choices:
        trial = form[place]
        if trial.kind == "identical":
            identical.append(choice == "same")
        elif trial.kind == "repeat":
            before = first.get((trial.right, trial.left))
            if before is not None:
                repeats.append(choice == _SWAPPED[before])
        else:
            found = _winner(trial, choice, plan)
            names = {plan.clips[trial.left].system, plan.clips[trial.right].system}
            if names == {plan.human, plan.floor}:
                anchors.append(found is not None and found[0] == plan.human)
                floor_won += found is not None and found[0] == plan.floor
    return _Checks(
        (len(repeats), sum(repeats)),
        (len(identical), sum(identical)),
        (len(anchors), sum(anchors)),
        floor_won,
    )


def _doubt(one: Answers, plan: Plan) -> str | None:
    """Say why a listener is doubtful; None for all others."""
    checks = _checks(one, plan)
    if one.headphones is False:
        return "the headphone check failed"
    asked, right = checks.anchors
    if asked and right <= checks.floor_won:
        return f"the floor won {checks.floor_won} of {asked} against the human, and lost {right}"
    asked, right = checks.identical
    if asked and not right:
        return f"a difference was heard in all {asked} identical pairs"
    return None


def _reliability(answers: Sequence[Answers], plan: Plan) -> Reliability:
    checks = [_checks(one, plan) for one in answers]
    sides = Counter(choice for one in answers for _, choice in one.choices)
    return Reliability(
        repeats=sum(one.repeats[0] for one in checks),
        repeats_same=sum(one.repeats[1] for one in checks),
        identical=sum(one.identical[0] for one in checks),
        identical_same=sum(one.identical[1] for one in checks),
        anchors=sum(one.anchors[0] for one in checks),
        anchors_right=sum(one.anchors[1] for one in checks),
        left=sides["left"],
        right=sides["right"],
        p_side=preference(sides["left"], 0, sides["right"]).p_value,
        agreement=agreement(_answers_by_pair(answers, plan)),
        headphones_passed=sum(one.headphones is True for one in answers),
        headphones_failed=sum(one.headphones is False for one in answers),
    )


def _answers_by_pair(answers: Sequence[Answers], plan: Plan) -> FloatArray:
    """Return (pairs, 3) answers, sides set right."""
    counts: dict[tuple[str, str], Counter[Choice]] = defaultdict(Counter)
    for one in answers:
        for place, choice in one.choices:
            trial = plan.forms[one.form][place]
            if trial.kind != "pair":
                continue
            straight = trial.left < trial.right
            pair = (trial.left, trial.right) if straight else (trial.right, trial.left)
            counts[pair][choice if straight else _SWAPPED[choice]] += 1
    table = [[found[name] for name in CHOICES] for found in counts.values()]
    return np.array(table, np.float64).reshape(-1, len(CHOICES))
