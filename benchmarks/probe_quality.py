"""How good are our embeddings beside a histogram baseline, on every labelled collection here?

    python -m benchmarks.probe_quality CORPUS [--benchmarks NAME ...] [--models NAME ...]

Does the same as ``arietta evaluate probe``, for several benchmarks; the tables are filed together.
CORPUS is a folder with ``manifest.csv``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from arietta.evaluation.labels import named
from arietta.evaluation.probe import baseline_alone, compared, evaluate, markdown
from arietta.evaluation.probe_vectors import baseline_vectors, limited, model_vectors
from arietta.models.aria.checkpoint import load
from arietta.vectors.embedding import Embedder, default_model
from benchmarks.common import file_result

HERE = ("asap-composer", "pijama30", "pijama30-albums", "maestro-composer", "style")


def main() -> None:
    """Measure, print, file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--benchmarks", nargs="+", default=list(HERE))
    parser.add_argument("--models", nargs="*", help="instead of the shipped one")
    parser.add_argument("--limit", type=int, help="files of each class")
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--cache", type=Path, help="folder to keep embeddings in")
    parser.add_argument("--result", default="probe_quality", help="name of the result")
    parser.add_argument("--no-file", action="store_true", help="print, but file no result")
    arguments = parser.parse_args()
    names = [default_model()] if arguments.models is None else arguments.models
    embedders = [Embedder(load(name), full=True) for name in names]
    figures: dict[str, Any] = {}
    for name in arguments.benchmarks:
        benchmark = named(name)
        examples = limited(benchmark.gather(arguments.corpus), arguments.limit)
        examples, baseline, refused = baseline_vectors(examples)
        vectors = baseline_alone(baseline)
        for one in embedders:
            x = model_vectors(examples, one, arguments.cache)
            vectors += compared(one.checkpoint.name, x, one.short_size, baseline)
        found = evaluate(benchmark, examples, vectors, splits=arguments.splits)
        figures[name] = {**found, "refused": len(refused)}
        print(markdown(found), flush=True)
    if not arguments.no_file:
        file_result(arguments.result, figures)


if __name__ == "__main__":
    main()
