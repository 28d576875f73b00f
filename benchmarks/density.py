"""Does ``--density`` give the rate of notes that it asks for?

    python -m benchmarks.density DATASET [--prompts 30] [--split test]

Each prompt is 15 s out of a performance, continued for 20 s by one take at each density. The figure
is the median over prompts of the rate of the new notes divided by that of the prompt's, with the
quartiles; asked for are 0.5, 1 and 2.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import arietta
from arietta.evaluation.excerpts import FOLLOW_MS, PROMPT_MS, draw_excerpts
from benchmarks.common import file_result

ASKED = (0.5, 1.0, 2.0)


def main() -> None:
    """Measure, print, file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--model", default="small")
    parser.add_argument("--split", default="test")
    parser.add_argument("--prompts", type=int, default=30)
    parser.add_argument("--no-file", action="store_true", help="print, but file no result")
    arguments = parser.parse_args()
    model = arietta.load(arguments.model)
    excerpts = draw_excerpts(arguments.dataset, arguments.split, arguments.prompts, seed=1)
    figures: dict[str, Any] = {
        "model_sha256": model.checkpoint.sha256,
        "split": arguments.split,
        "prompts": len(excerpts),
        "rate_by_asked": {},
    }
    for asked in ASKED:
        ratios = []
        for seed, excerpt in enumerate(excerpts):
            out = model.generate(
                excerpt.prompt, seconds=FOLLOW_MS / 1000, density=asked, of=1, seed=seed
            )
            rate = len(out.new) / max(out.music_seconds, 1e-9)
            ratios.append(rate / (len(excerpt.prompt_notes) / PROMPT_MS * 1000))
        low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75)).round(3).tolist()
        figures["rate_by_asked"][f"{asked:g}"] = {"median": middle, "quartiles": [low, high]}
        print(f"asked {asked:g}: {middle} ({low} to {high}) times the prompt's rate", flush=True)
    if not arguments.no_file:
        file_result("density", figures)


if __name__ == "__main__":
    main()
