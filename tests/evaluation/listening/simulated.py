"""Listeners whose preferences are known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from arietta.evaluation.listening.answers import Answers, Choice
from arietta.evaluation.listening.plan import Clip, Plan, make_plan

TRUE = {"good": 0.6, "weak": -0.8, "human": 0.0, "floor": -3.0}


def a_plan(items: int = 6, **options: int) -> Plan:
    """Return two systems against the human and each other, and the human against the floor."""
    versus = [("good", "human"), ("weak", "human"), ("good", "weak"), ("human", "floor")]
    pairs = [
        (Clip("", a, f"{i}", f"{a}-{i}"), Clip("", b, f"{i}", f"{b}-{i}"))
        for a, b in versus
        for i in range(items)
    ]
    return make_plan(pairs, human="human", floor="floor", **options)


def listen(
    plan: Plan,
    listeners: int,
    *,
    strengths: Mapping[str, float] = TRUE,
    ties: float = 0.15,
    left: float = 0.0,
    seed: int = 0,
) -> list[Answers]:
    """Let listeners answer by the model of Bradley and Terry.

    Args:
        plan: of the test.
        listeners: how many.
        strengths: of the systems.
        ties: share of judgements that are ties.
        left: what the left side has ahead.
        seed: of the answers.
    """
    rng = np.random.default_rng(seed)
    found = []
    for number in range(1, listeners + 1):
        form = (number - 1) % len(plan.forms)
        said: list[tuple[int, Choice]] = []
        for place, trial in enumerate(plan.forms[form]):
            if trial.kind == "identical":
                said.append((place, "same"))
                continue
            ahead = (
                strengths[plan.clips[trial.left].system]
                - strengths[plan.clips[trial.right].system]
                + left
            )
            choice: Choice = "left" if rng.random() < 1 / (1 + np.exp(-ahead)) else "right"
            said.append((place, "same" if rng.random() < ties else choice))
        found.append(Answers(number, form, tuple(said), True, f"{number}.json"))
    return found
