"""Does <T>, the step to the next five seconds, suppress chords? Held-out music, no sampling.

    python -m benchmarks.chord_starvation DATASET [--model small]

At every position where an event of a test piece may start, the distribution of the model passes the
filters of the public sampler (flat) and ours (by kind: note or <T> first). Compared with the human
music: how often <T> occurs, the probability of <T> before and after the filters, the nats that the
filters cost on the choice between <T> and a note, and the number of notes that people played where
the filters allow no note. The same figures for positions inside a chord (the next note starts
within 30 ms of the last one), where a <T> instead of a note breaks the chord.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from arietta.arrays import BoolArray, FloatArray
from arietta.evaluation.likelihood import Stretch, draw_stretches, window_ids
from arietta.evaluation.recordings import recordings_of_dataset
from arietta.generation.sampling import Sampler
from arietta.generation.settings import SamplingSettings
from arietta.models.aria.checkpoint import load
from arietta.models.aria.protocol import Backend
from arietta.models.executors import cpu_backend
from arietta.tokenizers.aria import AriaTokenizer
from arietta.tokenizers.vocabulary import TIME, Kind
from benchmarks.common import file_result

CHORD_STEPS = 3
"""Onsets at most this many steps of 10 ms apart belong to one chord."""


def samplers(tokenizer: AriaTokenizer) -> dict[str, Sampler]:
    """Return the samplers to compare."""
    found: dict[str, Sampler] = {}
    for temperature, min_p in ((1.0, None), (0.98, 0.035), (0.9, 0.1), (0.8, None)):
        for grammar in (False, True):
            if temperature == 1.0 and not grammar:
                continue  # without filters both are the model
            name = f"T={temperature} min_p={min_p} {'by kind' if grammar else 'flat'}"
            settings = SamplingSettings(temperature, min_p, grammar=grammar)
            found["model" if temperature == 1.0 else name] = Sampler(settings, tokenizer.vocabulary)
    return found


def measure(
    stretches: list[Stretch], backend: Backend, tokenizer: AriaTokenizer
) -> tuple[dict[str, FloatArray], BoolArray, BoolArray]:
    """Compute the share of <T> under each sampler at every event boundary, and the actual events.

    Returns:
        name -> (n,) probability of <T>; (n,) whether <T> occurs; (n,) whether a chord continues.
    """
    vocabulary = tokenizer.vocabulary
    allowed = ((TIME, TIME + 1), vocabulary.class_range(0))
    tried = samplers(tokenizer)
    shares: dict[str, list[float]] = {name: [] for name in tried}
    came: list[bool] = []
    inside: list[bool] = []
    for stretch in stretches:
        ids = window_ids(stretch, tokenizer)
        kind = vocabulary.kinds[ids]
        starts = np.flatnonzero((kind == Kind.NOTE) | (kind == Kind.TIME))
        # The first event, after prefix and <S>, has no context.
        starts = starts[(starts > 2) & (starts < len(ids) - 2)]
        hidden = backend.new_session().append(ids[None, :-1])[0][starts - 1]
        session = backend.new_session()
        for name, sampler in tried.items():
            choices = sampler.choices(allowed)
            at = choices.index(TIME)
            for first in range(0, len(starts), 128):
                logits = session.head(hidden[first : first + 128], choices.head)
                for row in logits[:, choices.columns]:
                    shares[name].append(float(sampler.probabilities(choices, row)[at]))
        came += (kind[starts] == Kind.TIME).tolist()
        # The onset of a note follows it; the onset of the previous note is two ids before it.
        previous = starts - 2
        chord = (
            (kind[starts] == Kind.NOTE)
            & (kind[previous] == Kind.ONSET)
            & (ids[starts + 1] - ids[previous] <= CHORD_STEPS)
        )
        inside += chord.tolist()
    return (
        {name: np.array(values) for name, values in shares.items()},
        np.array(came),
        np.array(inside),
    )


def summary(share: FloatArray, came: BoolArray, inside: BoolArray) -> dict[str, Any]:
    """Return the figures of one sampler."""
    right = np.where(came, share, 1 - share)
    negligible = 1e-6
    return {
        "time_share": round(float(share.mean()), 5),
        "time_share_inside_chords": round(float(share[inside].mean()), 5),
        "nats_time_or_note": round(float(-np.log(np.maximum(right, negligible)).mean()), 5),
        "notes_made_impossible": int(((share > 1 - negligible) & ~came).sum()),
        "times_made_impossible": int(((share < negligible) & came).sum()),
    }


def main() -> None:
    """Measure, print, file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--model", default="small")
    parser.add_argument("--windows", type=int, default=200)
    parser.add_argument("--length", type=int, default=512)
    arguments = parser.parse_args()
    checkpoint = load(arguments.model)
    tokenizer = AriaTokenizer(checkpoint.tokenizer)
    test_recordings = recordings_of_dataset(arguments.dataset, "test")
    stretches = draw_stretches(test_recordings, arguments.length, arguments.windows)
    backend = cpu_backend(checkpoint, "int8")
    shares, came, inside = measure(stretches, backend, tokenizer)
    figures: dict[str, Any] = {
        "model": checkpoint.name,
        "model_sha256": checkpoint.sha256,
        "event_boundaries": len(came),
        "inside_chords": int(inside.sum()),
        "human_time_share": round(float(came.mean()), 5),
    }
    print(f"{len(came)} boundaries, people went on to the next segment at {came.mean():.4f}")
    for name, share in shares.items():
        figures[name] = summary(share, came, inside)
        print(f"  {name:<28} {figures[name]}")
    file_result("chord_starvation", figures)


if __name__ == "__main__":
    main()
