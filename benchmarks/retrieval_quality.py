"""Does search find the performances of a score, also from 20 seconds of it or in another key?

    python -m benchmarks.retrieval_quality CORPUS [--model NAME] [--performances 1]

CORPUS is a folder with ``manifest.csv`` that holds ASAP. ``arietta evaluate retrieval`` measures
the same on any folder; definitions stand in ``arietta.evaluation.retrieval``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from arietta.api import evaluate
from benchmarks.common import file_result


def main() -> None:
    """Measure, print, file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--model", nargs="*", help="instead of the shipped one")
    parser.add_argument("--performances", type=int, default=1, help="of each piece, in the gallery")
    parser.add_argument("--split", help="pieces of this split alone")
    parser.add_argument("--scores", type=int, help="at most so many queries")
    parser.add_argument("--no-file", action="store_true", help="print, but file no result")
    arguments = parser.parse_args()
    found = evaluate.retrieval(
        arguments.corpus,
        models=arguments.model or (None,),
        split=arguments.split,
        performances=arguments.performances,
        scores=arguments.scores,
        show=lambda line: print(line, flush=True),
    ).to_dict()
    for name, tasks in found["by"].items():
        for task, row in tasks.items():
            print(f"{name:26} {task:20}", row, flush=True)
    if not arguments.no_file:
        file_result("retrieval_quality", {**found, "music": arguments.corpus.name})


if __name__ == "__main__":
    main()
