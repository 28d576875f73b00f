"""Several takes of one continuation, judged by a plain critic; the best are kept.

The critic adds up what a listener notices first, each a number that ``--json`` shows, times its
weight. Nothing of it is learned by ear: the weights were chosen so that what people played next
comes out above what the model plays (``benchmarks/critic.py``, on the valid split).

    pulse       how clearly the onsets repeat after the prompt's own period, -1..1
    key         correlation of the pitch classes with the prompt's, -1..1
    clashes     share of chords with a minor second, beyond the prompt's
    density     how far notes a second are from the prompt's, in octaves
    shapes      share of the top line's shapes that came before
    short       share of notes shorter than 80 ms, beyond the prompt's
    surprise    nats a note that the model gave its own take, beyond what it usually gives
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from arietta.generation.measures import (
    Notes,
    clashes,
    key_correlation,
    pulse_agreement,
    returning_shapes,
)

DEFAULT_TAKES = 16
"""Takes of the shipped model that the best are chosen from."""

WEIGHTS: Mapping[str, float] = {
    "pulse": 1.5,
    "key": 2.0,
    "clashes": -6.0,
    "density": -0.7,
    "shapes": 1.0,
    "short": -3.0,
    "surprise": -0.3,
}
SHORT_MS = 80.0
USUAL_NATS = 9.0
"""Nats a note that a model usually gives its own music; only what is beyond counts."""
_SILENT = -1e6
"""Score of a take without notes."""


@dataclass(frozen=True)
class Verdict:
    """What the critic thinks of a take.

    Attributes:
        score: the sum of the terms times their weights; higher is better.
        terms: see the module; those that cannot be measured are 0.
    """

    score: float
    terms: Mapping[str, float]


def judge(
    new: Notes,
    prompt: Notes,
    length_ms: float,
    *,
    nats_per_note: float | None = None,
    density: float = 1.0,
) -> Verdict:
    """Judge a take.

    Args:
        new: its notes; their time counts from the start of the take.
        prompt: the notes that it goes on from.
        length_ms: of the take.
        nats_per_note: what the model gave it; None is not judged.
        density: notes a second that were asked for, as a multiple of the prompt's.
    """
    if not len(new) or length_ms <= 0:
        return Verdict(_SILENT, dict.fromkeys(WEIGHTS, 0.0))
    terms = dict.fromkeys(WEIGHTS, 0.0)
    if nats_per_note is not None:
        terms["surprise"] = max(0.0, nats_per_note - USUAL_NATS)
    terms["short"] = _short(new)
    terms["clashes"] = clashes(new.onset_ms, new.pitch) or 0.0
    terms["shapes"] = returning_shapes(new, prompt) or 0.0
    if len(prompt):
        terms["pulse"] = pulse_agreement(new.onset_ms, prompt.onset_ms) or 0.0
        terms["key"] = key_correlation(new.pitch, prompt.pitch) or 0.0
        terms["short"] = max(0.0, terms["short"] - _short(prompt))
        terms["clashes"] = max(
            0.0, terms["clashes"] - (clashes(prompt.onset_ms, prompt.pitch) or 0.0)
        )
        rate = _rate(prompt)
        if rate is not None:
            wanted = rate * density
            terms["density"] = abs(math.log2(len(new) / (length_ms / 1000) / wanted))
    return Verdict(sum(WEIGHTS[name] * value for name, value in terms.items()), terms)


def ranked(verdicts: Sequence[Verdict]) -> list[int]:
    """Return the numbers of the takes, the best first; equal ones in their order."""
    return sorted(range(len(verdicts)), key=lambda i: (-verdicts[i].score, i))


def _short(notes: Notes) -> float:
    return float((notes.duration_ms < SHORT_MS).mean())


def _rate(notes: Notes) -> float | None:
    """Return the notes a second of a prompt of a second or longer."""
    seconds = float(np.ptp(notes.onset_ms)) / 1000
    return len(notes) / seconds if seconds >= 1 else None
