"""How well does the included model predict held-out music, and what does quantisation cost?

    python -m benchmarks.likelihood DATASET [--model small ...] [--windows 1500]

DATASET is what ``arietta data build`` makes. Each model in float32, int8 and int4, as
``arietta.load`` runs it here and as an OpenVINO graph, and three Kneser-Ney 5-grams of the train
split score the same notes: over all tokens, backing off by kind of token, and so on waits. Without
names behind ``--models`` these floors are measured alone. To score models only, use ``arietta
evaluate likelihood``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from arietta.api.evaluate.likelihood import NGRAM_ORDER, NGRAMS
from arietta.evaluation.likelihood import (
    ScoredStretches,
    Stretch,
    backend_scorer,
    compare,
    draw_stretches,
    evaluate,
    score_stretches,
)
from arietta.evaluation.ngram import NgramModel, follows_of
from arietta.evaluation.recordings import recordings_of_dataset
from arietta.models.aria.checkpoint import load
from arietta.models.aria.openvino import OpenVinoBackend
from arietta.models.aria.protocol import Backend
from arietta.models.executors import cpu_backend
from arietta.tokenizers.open import tokenizer_named
from benchmarks.common import file_result


def main() -> None:
    """Measure, print, file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--models", nargs="*", default=["small"], help="none for the floors alone")
    parser.add_argument("--windows", type=int, default=1_500)
    parser.add_argument("--length", type=int, default=1_024)
    parser.add_argument("--splits", nargs="+", default=["valid", "test"])
    parser.add_argument("--precisions", nargs="+", default=["f32", "int8", "int4"])
    parser.add_argument(
        "--no-graph", action="store_true", help="skip the graph where our kernel runs"
    )
    parser.add_argument("--no-ngram", action="store_true", help="skip the 5-grams")
    parser.add_argument("--result", default="likelihood", help="how the result is called")
    parser.add_argument("--no-file", action="store_true", help="print, but file no result")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {"window_tokens": arguments.length, "models": {}}
    drawn: dict[str, list[Stretch]] = {
        split: draw_stretches(
            recordings_of_dataset(arguments.dataset, split), arguments.length, arguments.windows
        )
        for split in arguments.splits
    }
    scored: dict[tuple[str, str], ScoredStretches] = {}
    precise: dict[str, str] = {}  # run -> most precise run of the same model
    for model in arguments.models:
        checkpoint = load(model)
        tokenizer = tokenizer_named(checkpoint.tokenizer)
        figures["models"][model] = {
            "sha256": checkpoint.sha256,
            "parameters": checkpoint.config.parameter_count(),
            "trained_tokens": checkpoint.info.get("trained_tokens"),
            "vocabulary": checkpoint.tokenizer,
        }
        best = ""
        for precision in arguments.precisions:
            chosen = cpu_backend(checkpoint, precision)
            runners: list[Backend] = [chosen]
            if not isinstance(chosen, OpenVinoBackend) and not arguments.no_graph:
                runners.append(OpenVinoBackend(checkpoint, precision))
            for backend in runners:
                runner = type(backend).__name__.removesuffix("Backend").lower()
                name = f"{model} {precision} {runner}"
                best = precise[name] = best or name
                for split, stretches in drawn.items():
                    found = score_stretches(stretches, tokenizer, backend_scorer(backend))
                    scored[split, name] = found
    if not arguments.no_ngram:
        for name, (vocabulary, by_kind) in NGRAMS.items():
            tokenizer = tokenizer_named(vocabulary)
            train = [
                tokenizer.encode_columns(*r.notes).astype(np.uint16)
                for r in recordings_of_dataset(arguments.dataset, "train")
            ]
            follows = follows_of(tokenizer.vocabulary) if by_kind else None
            five = NgramModel(np.concatenate(train), NGRAM_ORDER, tokenizer.vocab_size, follows)
            for split, stretches in drawn.items():
                scored[split, name] = score_stretches(stretches, tokenizer, five.nats)
            del five
    for split in drawn:
        figures[split] = {}
        for (which, name), found in scored.items():
            if which != split:
                continue
            table = figures[split][name] = evaluate(found)
            if name in NGRAMS and name != next(iter(NGRAMS)):
                table["against_plain"] = compare(found, scored[split, next(iter(NGRAMS))])
            if precise.get(name, name) != name:
                table["cost"] = compare(found, scored[split, precise[name]])
            print(f"{split:6} {name}", table, flush=True)
    if not arguments.no_file:
        what = [arguments.result, *([] if arguments.models else ["floors"])]
        file_result("_".join((*what, *arguments.splits)), figures)


if __name__ == "__main__":
    main()
