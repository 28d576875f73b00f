"""Answers of listeners whose preferences are known: the analysis finds them again."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from arietta.errors import InputError
from arietta.evaluation.listening.analysis import Comparison, analyse
from arietta.evaluation.listening.answers import Choice
from arietta.evaluation.listening.plan import Plan
from tests.evaluation.listening.simulated import TRUE, a_plan, listen


@pytest.fixture(scope="module")
def plan() -> Plan:
    return a_plan()


def by_name(rows: tuple[Comparison, ...]) -> dict[tuple[str, str], Comparison]:
    return {(row.system, row.other): row for row in rows}


def test_preferences_are_recovered(plan: Plan) -> None:
    found = analyse(listen(plan, 80), plan, draws=300)
    assert found.listeners == 80 and found.judgements == 80 * 24
    for row in found.strengths:
        assert row.low is not None and row.high is not None
        assert row.strength == pytest.approx(TRUE[row.system], abs=0.3)
        if row.system != "human":
            assert row.low < TRUE[row.system] < row.high
    assert [row.system for row in found.strengths] == ["good", "human", "weak", "floor"]
    rows = by_name(found.comparisons)
    assert set(rows) == {("good", "weak"), ("good", "human"), ("weak", "human"), ("human", "floor")}
    good = rows["good", "human"]
    assert good.wins + good.ties + good.losses == 480
    assert good.share == pytest.approx(0.65, abs=0.06) and good.p_value < 1e-4
    assert good.low is not None and good.high is not None
    assert good.low < 0.65 < good.high
    assert rows["weak", "human"].share == pytest.approx(0.31, abs=0.06)
    # Human against floor is a check, and no result that is corrected.
    assert rows["human", "floor"].p_holm is None
    smallest = min((r for r in found.comparisons if r.p_holm is not None), key=lambda r: r.p_value)
    assert smallest.p_holm == pytest.approx(3 * smallest.p_value)
    json.dumps(found.to_dict())


def test_no_preference_is_rarely_found(plan: Plan) -> None:
    """Of 60 tests of equal systems, Holm keeps the share with any finding near 5 %."""
    equal = dict.fromkeys(TRUE, 0.0)
    wrong = 0
    for seed in range(60):
        found = analyse(listen(plan, 4, strengths=equal, seed=seed), plan, draws=2)
        wrong += any(row.p_holm is not None and row.p_holm < 0.05 for row in found.comparisons)
    assert wrong <= 7


def test_a_liking_for_the_left_side_does_not_move_the_result(plan: Plan) -> None:
    """Sides are balanced, so a side that is preferred costs power but tilts nothing."""
    found = analyse(listen(plan, 80, left=1.0), plan, draws=10)
    strength = {row.system: row.strength for row in found.strengths}
    assert strength["good"] == pytest.approx(0.6, abs=0.3)
    assert found.reliability.p_side < 1e-6 and found.reliability.left > found.reliability.right


def test_repeats_count_once_and_measure_listeners(plan: Plan) -> None:
    sure = {name: 40 * value for name, value in TRUE.items()}
    found = analyse(listen(plan, 8, strengths=sure, ties=0), plan, draws=10).reliability
    assert (found.repeats, found.repeats_same) == (16, 16)
    assert (found.identical, found.identical_same) == (16, 16)
    assert (found.anchors, found.anchors_right) == (48, 48)
    assert found.agreement == pytest.approx(1) and found.headphones_passed == 8
    doubting = analyse(listen(plan, 8, strengths=dict.fromkeys(TRUE, 0.0), ties=0), plan, draws=10)
    assert doubting.reliability.repeats_same < 14
    assert doubting.reliability.agreement == pytest.approx(0, abs=0.15)


def test_doubtful_listeners_are_named_and_left_out_when_strict(plan: Plan) -> None:
    answers = listen(plan, 4, strengths={name: 40 * value for name, value in TRUE.items()})
    turned: dict[Choice, Choice] = {"left": "right", "right": "left", "same": "same"}
    answers[1] = replace(answers[1], headphones=False)
    answers[2] = replace(
        answers[2], choices=tuple((place, turned[said]) for place, said in answers[2].choices)
    )
    answers[3] = replace(
        answers[3],
        choices=tuple(
            (place, "left" if plan.forms[3][place].kind == "identical" else said)
            for place, said in answers[3].choices
        ),
    )
    found = analyse(answers, plan, draws=10)
    assert found.listeners == 4
    assert [(one["listener"], one["reason"].split()[-1]) for one in found.doubtful] == [
        (2, "failed"), (3, "0"), (4, "pairs"),
    ]  # fmt: skip
    strict = analyse(answers, plan, draws=10, strict=True)
    assert strict.listeners == 1 and strict.doubtful == found.doubtful
    assert strict.strengths[0].low is None and strict.comparisons[0].low_listeners is None
    with pytest.raises(InputError, match="doubtful"):
        analyse(answers[1:], plan, draws=10, strict=True)


def test_few_answers(plan: Plan) -> None:
    (one,) = listen(plan, 1)
    with pytest.raises(InputError, match="judged a pair"):
        analyse([replace(one, choices=())], plan)
    place = next(i for i, trial in enumerate(plan.forms[0]) if trial.kind == "pair")
    found = analyse([replace(one, choices=((place, "left"),))], plan, draws=10)
    assert found.judgements == 1 and found.strengths == ()
    assert found.comparisons[0].smallest_share is None
