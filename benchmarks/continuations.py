"""Does generated music degenerate, and which sampling settings come closest to what people played?

    python -m benchmarks.continuations presets DATASET    # grid on the valid split
    python -m benchmarks.continuations test DATASET       # the presets on 40 test prompts
    python -m benchmarks.continuations endings DATASET    # how often an ending is found there

Each prompt is 15 s out of a performance, taken at random; the human continuation is the 20 s that
followed. Statistics and their overlap are defined in ``arietta.evaluation.continuations``. As a
ceiling, the human continuations are also compared with those of 40 other performances.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import arietta
from arietta.api import GenerateOptions
from arietta.evaluation.continuations import Description, compare, describe
from arietta.evaluation.recordings import recordings_of_dataset
from arietta.generation.settings import PRESETS
from arietta.midi.piece import Piece
from benchmarks.common import file_result

PROMPT_MS, FOLLOW_MS = 15_000, 20_000


@dataclass(frozen=True, eq=False)
class Excerpt:
    """A prompt and the statistics of what the player played next."""

    prompt: Piece
    human: Description


def draw_excerpts(dataset: Path, split: str, count: int, seed: int) -> list[Excerpt]:
    """``count`` excerpts, each from another composition group."""
    pieces = list(recordings_of_dataset(dataset, split))
    rng = np.random.default_rng(seed)
    excerpts: list[Excerpt] = []
    used: set[str] = set()
    for i in rng.permutation(len(pieces)):
        if pieces[i].group in used:
            continue
        onset, duration, pitch, velocity = pieces[i].notes
        room = onset[-1] - PROMPT_MS - FOLLOW_MS
        if room < 0:
            continue
        start = onset[np.searchsorted(onset, rng.uniform(0, room))]
        inside = (onset >= start) & (onset < start + PROMPT_MS)
        after = (onset >= start + PROMPT_MS) & (onset < start + PROMPT_MS + FOLLOW_MS)
        if inside.sum() < 10 or after.sum() < 10:
            continue
        human = describe(
            (onset[after] - start - PROMPT_MS).astype(float),
            duration[after].astype(float),
            pitch[after],
            velocity[after],
            FOLLOW_MS,
        )
        assert human is not None
        prompt = Piece.from_ms(
            onset[inside] - start, duration[inside], pitch[inside], velocity[inside]
        )
        excerpts.append(Excerpt(prompt, human))
        used.add(pieces[i].group)
        if len(excerpts) == count:
            return excerpts
    raise SystemExit(f"only {len(excerpts)} of {count} excerpts found in {dataset}")


def continuations(
    model: arietta.Model, excerpts: list[Excerpt], options: Mapping[str, Any]
) -> list[Description | None]:
    """Statistics of one continuation of every prompt."""
    found = []
    for seed, excerpt in enumerate(excerpts):
        asked = {**options, "seconds": FOLLOW_MS / 1000, "seed": seed}
        out = model.generate(excerpt.prompt, **asked)
        new = out.new
        found.append(
            describe(new.onset_ms, new.duration_ms, new.notes.pitch, new.notes.velocity, FOLLOW_MS)
        )
    return found


def endings(model: arietta.Model, excerpts: list[Excerpt]) -> dict[str, int]:
    """Why continuations stop that are asked to end: ``end`` is an ending, ``seconds`` a cut."""
    reasons: Counter[str] = Counter()
    for seed, excerpt in enumerate(excerpts):
        out = model.generate(excerpt.prompt, seconds=FOLLOW_MS / 1000, end=True, seed=seed)
        reasons[str(out.stats.reason)] += 1
    return dict(reasons)


def grid() -> dict[str, GenerateOptions]:
    """Settings that are tried; "flat" is the public sampler, without grammar and kinds."""
    found: dict[str, GenerateOptions] = {
        f"T={t} min_p={p}": {"temperature": t, "min_p": p}
        for t in (0.94, 1.0, 1.05)
        for p in (0.0, 0.005, 0.02)
    }
    public: GenerateOptions = {"temperature": 0.98, "min_p": 0.035}
    found["T=0.98 min_p=0.035"] = public
    found["T=1.0 top_p=0.98"] = {"temperature": 1.0, "top_p": 0.98}
    found["T=0.85 min_p=0.02"] = {"temperature": 0.85, "min_p": 0.02}
    found["flat T=0.98 min_p=0.035"] = {**public, "grammar": False}
    for density in (0.5, 2.0):
        found[f"T=0.98 min_p=0.035 density={density}"] = {**public, "density": density}
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("presets", "test", "endings"))
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--model", default="small")
    parser.add_argument("--prompts", type=int, default=40)
    arguments = parser.parse_args()
    split = "valid" if arguments.what == "presets" else "test"
    excerpts = draw_excerpts(arguments.dataset, split, arguments.prompts, seed=1)
    model = arietta.load(arguments.model)
    figures: dict[str, Any] = {}
    if arguments.what == "endings":
        stopped = endings(model, excerpts)
        print(stopped)
        figures |= {"model_sha256": model.checkpoint.sha256, "stopped": stopped}
        file_result("endings", {"prompts": len(excerpts), **figures})
        return
    others = draw_excerpts(arguments.dataset, split, arguments.prompts, seed=2)
    human = [e.human for e in excerpts]
    ceiling = compare([e.human for e in others], human)
    figures = {
        "model_sha256": model.checkpoint.sha256,
        "split": split,
        "prompts": len(excerpts),
        "other_humans": ceiling,
    }
    print(f"{'other humans':36} overlap {ceiling['mean_overlap']}", flush=True)
    tried: Mapping[str, Mapping[str, Any]] = grid()
    if arguments.what == "test":
        tried = {name: {"preset": name} for name in PRESETS}
    for name, options in tried.items():
        found = compare(continuations(model, excerpts, options), human)
        figures[name] = found
        row = found["statistics"]
        print(
            f"{name:36} overlap {found['mean_overlap']}  silent {found['silent']}  "
            + "  ".join(
                f"{k} {row[k]['generated'][1]} ({row[k]['human'][1]})"
                for k in (
                    "notes_per_second",
                    "chord_share",
                    "pitch_class_entropy",
                    "repeated_phrases",
                    "longest_gap_s",
                )
            ),
            flush=True,
        )
    file_result(f"continuations_{arguments.what}", figures)


if __name__ == "__main__":
    main()
