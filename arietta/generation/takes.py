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
    closing     1 where an ending was asked for and the take comes to rest (``measures.closes``)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from arietta.generation.measures import (
    Notes,
    clashes,
    closes,
    key_correlation,
    pulse_agreement,
    returning_shapes,
)
from arietta.generation.settings import DEFAULT_TAKES
from arietta.tokenizers.decoding import NoteEvent

CHEAP_WEIGHTS = 50_000_000
"""A model of at most so many weights decides 16 takes while a big one decides one."""
PROMPT_MS = 30_000.0
"""The end of the prompt that takes are compared with."""
WEIGHTS: Mapping[str, float] = {
    "pulse": 1.5,
    "key": 2.0,
    "clashes": -6.0,
    "density": -0.7,
    "shapes": 1.0,
    "short": -3.0,
    "surprise": -0.3,
    "closing": 8.0,
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

    @property
    def in_time(self) -> float:
        """How clearly it keeps the prompt's pulse, 0..1."""
        return min(1.0, max(0.0, self.terms["pulse"]))

    @property
    def in_key(self) -> float:
        """How well its keys agree with the prompt's, 0..1."""
        return min(1.0, max(0.0, self.terms["key"]))

    @property
    def like_prompt(self) -> float:
        """How near it is to the prompt in density, short notes and clashes, 0..1."""
        away = self.terms["density"] + 2 * self.terms["short"] + 2 * self.terms["clashes"]
        return math.exp(-away)

    def to_dict(self) -> dict[str, float]:
        """Return score and terms, rounded."""
        named = {
            "score": self.score,
            "in_time": self.in_time,
            "in_key": self.in_key,
            "like_prompt": self.like_prompt,
            **self.terms,
        }
        return {name: round(value, 3) for name, value in named.items()}


def judge(
    new: Notes,
    prompt: Notes,
    length_ms: float,
    *,
    nats_per_note: float | None = None,
    density: float = 1.0,
    ending: bool = False,
) -> Verdict:
    """Judge a take.

    Args:
        new: its notes; their time counts from the start of the take.
        prompt: the notes that it goes on from.
        length_ms: of the take; less than a second counts as one.
        nats_per_note: what the model gave it; None is not judged.
        density: notes a second that were asked for, as a multiple of the prompt's.
        ending: whether the take was to come to an end.
    """
    if not len(new):
        return Verdict(_SILENT, dict.fromkeys(WEIGHTS, 0.0))
    terms = dict.fromkeys(WEIGHTS, 0.0)
    if ending:
        terms["closing"] = float(closes(new, prompt))
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
            terms["density"] = abs(math.log2(len(new) / (max(length_ms, 1000) / 1000) / wanted))
    return Verdict(sum(WEIGHTS[name] * value for name, value in terms.items()), terms)


def default_takes(weights: int) -> int:
    """Return how many takes a model of so many weights decides where nothing is asked for."""
    return DEFAULT_TAKES if weights <= CHEAP_WEIGHTS else 1


def ending_of(prompt: Notes) -> Notes:
    """Return the last ``PROMPT_MS`` of a prompt."""
    if not len(prompt):
        return prompt
    return prompt.where(prompt.onset_ms >= prompt.onset_ms.max() - PROMPT_MS)


def take_of(events: Sequence[NoteEvent]) -> Notes:
    """Return the notes of a take, from its own start."""
    columns = np.array(
        [(one.onset_ms, one.duration_ms, one.pitch, one.velocity) for one in events], np.int64
    ).reshape(-1, 4)
    onset_ms = columns[:, 0].astype(np.float64)
    if len(onset_ms):
        onset_ms -= onset_ms.min()
    return Notes(onset_ms, columns[:, 1].astype(np.float64), columns[:, 2], columns[:, 3])


def ranked(verdicts: Sequence[Verdict]) -> list[int]:
    """Return the numbers of the takes, the best first; equal ones in their order."""
    return sorted(range(len(verdicts)), key=lambda i: (-verdicts[i].score, i))


def _short(notes: Notes) -> float:
    return float((notes.duration_ms < SHORT_MS).mean())


def _rate(notes: Notes) -> float | None:
    """Return the notes a second of a prompt of a second or longer."""
    seconds = float(np.ptp(notes.onset_ms)) / 1000
    return len(notes) / seconds if seconds >= 1 else None
