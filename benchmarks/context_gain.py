"""How much do the included model's predictions gain from what it heard before?

    python -m benchmarks.context_gain DATASET [--models small ...] [--split test] [--places 200]

``arietta.evaluation.context`` defines the figures. All models see the same notes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from arietta.evaluation.context import context_gain, places
from arietta.evaluation.likelihood import backend_scorer
from arietta.evaluation.recordings import recordings_of_dataset
from arietta.models.aria.checkpoint import load
from arietta.models.executors import cpu_backend
from arietta.tokenizers.open import tokenizer_named
from benchmarks.common import file_result


def main() -> None:
    """Measure, print, file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--models", nargs="+", default=["small"])
    parser.add_argument("--split", default="test")
    parser.add_argument("--places", type=int, default=200)
    parser.add_argument("--no-file", action="store_true", help="print, but file no result")
    arguments = parser.parse_args()
    drawn = places(recordings_of_dataset(arguments.dataset, arguments.split), arguments.places)
    figures = {}
    for name in arguments.models:
        checkpoint = load(name)
        figures[name] = {
            "sha256": checkpoint.sha256,
            **context_gain(
                drawn,
                tokenizer_named(checkpoint.tokenizer),
                backend_scorer(cpu_backend(checkpoint, "int8")),
            ),
        }
        print(name, figures[name], flush=True)
    if not arguments.no_file:
        file_result("context_gain", {"split": arguments.split, "models": figures})


if __name__ == "__main__":
    main()
