"""Does the critic tell what people played next from what the model plays, and with which weights?

    python -m benchmarks.critic fit DATASET     # weights from prompts of the valid split
    python -m benchmarks.critic test DATASET    # how well the weights in use do on the test split

For each prompt there are eight takes of the model and what the player played next, all judged by
``arietta.generation.takes.judge``. Figures, each the mean over prompts with a 95 % interval over
them: ``auc``, the share of takes that the human continuation is placed above (.5 is chance);
``first``, how often it is placed above all of them (1 of 9 is chance). Weights are those of a
conditional logit, the probability that the human continuation is the one chosen among its takes,
with a small ridge and none of the wrong sign.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import arietta
from arietta.data.token_grid import NoteColumns
from arietta.evaluation.excerpts import FOLLOW_MS, PROMPT_MS, Excerpt, draw_excerpts
from arietta.evaluation.surprise import surprise
from arietta.generation.measures import Notes, notes_of
from arietta.generation.takes import WEIGHTS, judge
from benchmarks.common import file_result

TAKES = 8
RIDGE = 0.02
STEPS, RATE = 4_000, 0.02
TERMS = tuple(name for name in WEIGHTS if name != "closing")
"""Endings are not asked for here."""

Array = npt.NDArray[np.float64]


def nats_per_note(model: arietta.Model, prompt: Notes, new: Notes) -> float:
    """Return the nats a note of a continuation behind its prompt."""
    joined = NoteColumns(
        *(
            np.concatenate((a, b)).astype(np.int64)
            for a, b in (
                (prompt.onset_ms, new.onset_ms + PROMPT_MS),
                (prompt.duration_ms, new.duration_ms),
                (prompt.pitch, new.pitch),
                (prompt.velocity, new.velocity),
            )
        )
    )
    found = surprise(joined, model.backend, model.engine.tokenizer, removal=False)
    return float(np.mean(found.total[len(prompt) :])) * float(np.log(2))


def terms_of(model: arietta.Model, excerpt: Excerpt, seed: int) -> Array:
    """Return the terms (1 + takes, terms) of the human continuation and of the model's takes."""
    takes = model.generate_many(
        excerpt.prompt,
        seconds=FOLLOW_MS / 1000,
        variations=TAKES,
        of=TAKES,
        seed=seed,
        pedal=False,
    )
    rows = []
    for notes in (excerpt.human, *(notes_of(take.new) for take in takes)):
        if not len(notes):
            continue
        verdict = judge(
            notes,
            excerpt.prompt_notes,
            FOLLOW_MS,
            nats_per_note=nats_per_note(model, excerpt.prompt_notes, notes),
        )
        rows.append([verdict.terms[name] for name in TERMS])
    return np.array(rows)


def fitted(groups: list[Array]) -> Array:
    """Return the weights (terms,) of a conditional logit; the first row of a group is chosen."""
    sign = np.sign([WEIGHTS[name] for name in TERMS])
    weights = np.zeros(len(TERMS))
    for _ in range(STEPS):
        slope = -2 * RIDGE * weights
        for group in groups:
            odds = np.exp(group @ weights - (group @ weights).max())
            slope += (group[0] - odds @ group / odds.sum()) / len(groups)
        weights += RATE * slope
        weights = np.where(weights * sign < 0, 0.0, weights)
    return weights


def places(groups: list[Array], weights: Array) -> dict[str, Any]:
    """Return how well the human continuations are told."""
    auc, first = [], []
    for group in groups:
        score = group @ weights
        auc.append(float(np.mean((score[0] > score[1:]) + 0.5 * (score[0] == score[1:]))))
        first.append(float(score[0] > score[1:].max()))
    return {"auc": interval(np.array(auc)), "first": interval(np.array(first))}


def interval(values: Array) -> dict[str, float]:
    """Return the mean and its 95 % interval by resampling."""
    drawn = np.random.default_rng(0).choice(values, (2_000, len(values))).mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return {
        name: round(float(v), 3)
        for name, v in zip(("mean", "low", "high"), (values.mean(), low, high), strict=True)
    }


def main() -> None:
    """Measure, print, file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("fit", "test"))
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--model", default="small")
    parser.add_argument("--prompts", type=int, default=60)
    arguments = parser.parse_args()
    model = arietta.load(arguments.model)
    split = "valid" if arguments.what == "fit" else "test"
    excerpts = draw_excerpts(arguments.dataset, split, arguments.prompts, seed=2)
    groups = []
    for seed, excerpt in enumerate(excerpts):
        groups.append(terms_of(model, excerpt, seed))
        print(f"\r{seed + 1} of {len(excerpts)}", end="", flush=True)
    print()
    used = np.array([WEIGHTS[name] for name in TERMS])
    figures: dict[str, Any] = {
        "model_sha256": model.checkpoint.sha256,
        "split": split,
        "prompts": len(groups),
        "takes": TAKES,
        "weights in use": dict(zip(TERMS, used.tolist(), strict=True)),
        "critic": places(groups, used),
    }
    for i, name in enumerate(TERMS):
        alone = np.zeros(len(TERMS))
        alone[i] = np.sign(WEIGHTS[name])
        figures[f"{name} alone"] = places(groups, alone)
    if arguments.what == "fit":
        weights = fitted(groups)
        figures["fitted weights"] = dict(zip(TERMS, weights.round(2).tolist(), strict=True))
        figures["fitted"] = places(groups, weights)
    for name, value in figures.items():
        print(f"{name:16} {value}")
    file_result(f"critic_{split}", figures)


if __name__ == "__main__":
    main()
