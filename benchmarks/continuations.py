"""Does generated music degenerate, and which sampling settings come closest to what people played?

    python -m benchmarks.continuations presets DATASET    # grid on the valid split
    python -m benchmarks.continuations test DATASET [--previous MODEL]    # 40 test prompts
    python -m benchmarks.continuations endings DATASET    # how often an ending is found there

Each prompt is 15 s out of a performance, taken at random; the human continuation is the 20 s that
followed. ``arietta evaluate continuations`` measures the same; figures are defined in
``arietta.evaluation.continuations`` and ``musicality``. ``test`` measures one take by each preset,
the best of 16 takes, and one take of an earlier model. As a ceiling, the human continuations are
also compared with those of 40 other performances.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import arietta
from arietta.api import GenerateOptions, evaluate
from arietta.api.evaluate.continuations import OTHERS, PEOPLE, SHUFFLED
from arietta.evaluation.excerpts import FOLLOW_MS, Excerpt, draw_excerpts
from arietta.generation.settings import PRESETS
from benchmarks.common import file_result


def endings(model: arietta.Model, excerpts: list[Excerpt]) -> dict[str, int]:
    """Count why continuations with an ending stop: ``end`` is an ending, ``seconds`` a cut."""
    reasons: Counter[str] = Counter()
    for seed, excerpt in enumerate(excerpts):
        out = model.generate(excerpt.prompt, seconds=FOLLOW_MS / 1000, end=True, seed=seed)
        reasons[str(out.stats.reason)] += 1
    return dict(reasons)


def grid() -> dict[str, GenerateOptions]:
    """Return the settings to try; "flat" is the public sampler, without grammar and kinds."""
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


def musicality_line(system: Mapping[str, Any]) -> str:
    """Return the medians of what a listener notices, and the metronome test."""
    medians = {n: value for n, value in system["musicality"].items() if value is not None}
    metronome = system.get("metronome", {})
    return "  ".join(
        [f"{name} {value:.3f}" for name, value in medians.items()]
        + [f"metronome {bpm}: {all_:.2f}" for bpm, (all_, _, _) in metronome.items()]
    )


def main() -> None:
    """Measure, print, file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("presets", "test", "endings"))
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--model", default="small")
    parser.add_argument("--previous", help="an earlier model, measured beside it")
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
    tried: dict[str, Mapping[str, Any]] = {
        name: {**one, "of": 1, "model": arguments.model} for name, one in grid().items()
    }
    if arguments.what == "test":
        tried = {name: {"preset": name, "of": 1, "model": arguments.model} for name in PRESETS}
        tried["best of 16"] = {"of": 16, "model": arguments.model}
        if arguments.previous:
            tried["previous model"] = {"of": 1, "model": arguments.previous}
    found = evaluate.continuations(
        arguments.dataset,
        systems=tried,
        split=split,
        prompts=arguments.prompts,
        show=lambda line: print(line, flush=True),
    )
    systems = found.figures["systems"]
    figures = {
        "model_sha256": model.checkpoint.sha256,
        "split": split,
        "prompts": len(excerpts),
        "other_humans": systems[OTHERS],
        "people": systems[PEOPLE],
        "people_shuffled": systems[SHUFFLED],
    }
    for name in tried:
        figures[name] = systems[name]
        row = systems[name]["statistics"]
        print(
            f"{name:36} overlap {systems[name]['mean_overlap']}  silent {systems[name]['silent']}  "
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
    for name in (PEOPLE, SHUFFLED, *tried):
        print(f"{name:18} {musicality_line(systems[name])}", flush=True)
    file_result(f"continuations_{arguments.what}", figures)


if __name__ == "__main__":
    main()
