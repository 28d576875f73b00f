"""Does ``--like`` steer, and how far?

    python -m benchmarks.steering DATASET [--model small-conditioned] [--pairs 48]

``arietta evaluate steering`` measures the same; definitions stand in
``arietta.evaluation.steering``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from arietta.api import evaluate
from benchmarks.common import file_result


def main() -> None:
    """Measure, print, file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--model", default="small-conditioned")
    parser.add_argument("--pairs", type=int, default=48)
    parser.add_argument("--strengths", type=float, nargs="+", default=[0, 1, 1.5, 2.5, 4])
    parser.add_argument("--split", default="test", help="another one to choose a model by")
    parser.add_argument("--name", default="steering")
    arguments = parser.parse_args()
    found = evaluate.steering(
        arguments.dataset,
        model=arguments.model,
        pairs=arguments.pairs,
        strengths=arguments.strengths,
        split=arguments.split,
        show=lambda line: print(line, flush=True),
    ).to_dict()
    for strength, line in found["strengths"].items():
        print(strength, line, flush=True)
    file_result(arguments.name, {**found, "dataset": arguments.dataset.name})


if __name__ == "__main__":
    main()
