"""How well does the shipped model predict held-out music, and what does quantisation cost?

    python -m benchmarks.likelihood TOKENS [--model arietta/assets/small] [--windows 1500]

TOKENS is the folder of token files that ``python -m arietta.training.prepare`` writes. The model in
float32, int8 and int4, as ``arietta.load`` runs it here and as an OpenVINO graph, and a Kneser-Ney
5-gram of the same train split score the same windows.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from arietta.checkpoints.store import load
from arietta.data.tokens import TokenPieces
from arietta.evaluation.likelihood import (
    ScoredWindows,
    backend_scorer,
    draw_windows,
    evaluate,
    score_windows,
)
from arietta.evaluation.ngram import NgramModel
from arietta.inference.backends import Backend, OpenVinoBackend, cpu_backend
from arietta.tokenizers.aria import AriaTokenizer
from benchmarks.common import file_result


def paired_cost(a: ScoredWindows, b: ScoredWindows, draws: int = 1_000) -> dict[str, Any]:
    """Loss of ``b`` over that of ``a`` in per cent, with a bootstrap interval over groups."""
    groups = np.unique([w.group for w in a.windows], return_inverse=True)[1]
    sums = np.stack([np.bincount(groups, [n.sum() for n in x.nats]) for x in (a, b)])  # (2, groups)
    drawn = np.random.default_rng(0).multinomial(
        sums.shape[1], np.full(sums.shape[1], 1 / sums.shape[1]), draws
    )
    ratios = (drawn @ sums[1]) / (drawn @ sums[0]) * 100 - 100
    low, high = np.quantile(ratios, (0.025, 0.975))
    return {
        "percent": round(float(sums[1].sum() / sums[0].sum() * 100 - 100), 3),
        "percent_95": [round(float(low), 3), round(float(high), 3)],
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tokens", type=Path)
    parser.add_argument("--model", default="arietta/assets/small")
    parser.add_argument("--windows", type=int, default=1_500)
    parser.add_argument("--length", type=int, default=1_024)
    parser.add_argument("--splits", nargs="+", default=["valid", "test"])
    parser.add_argument("--precisions", nargs="+", default=["f32", "int8", "int4"])
    parser.add_argument("--no-ngram", action="store_true", help="skip the 5-gram")
    parser.add_argument("--no-file", action="store_true", help="print, but file no result")
    arguments = parser.parse_args()
    checkpoint = load(arguments.model)
    tokenizer = AriaTokenizer(checkpoint.tokenizer)
    figures: dict[str, Any] = {
        "model": checkpoint.name,
        "model_sha256": checkpoint.sha256,
        "parameters": checkpoint.config.parameter_count(),
        "trained_tokens": checkpoint.info.get("trained_tokens"),
        "window_tokens": arguments.length,
    }
    windows = {
        split: draw_windows(
            TokenPieces.load(arguments.tokens / f"{split}.npz"),
            tokenizer,
            arguments.length,
            arguments.windows,
        )
        for split in arguments.splits
    }
    scored: dict[tuple[str, str], ScoredWindows] = {}
    names = []
    for precision in arguments.precisions:
        chosen = cpu_backend(checkpoint, precision)
        runners: list[Backend] = [chosen]
        if not isinstance(chosen, OpenVinoBackend):
            runners.append(OpenVinoBackend(checkpoint, precision))
        for backend in runners:
            name = f"{precision} {type(backend).__name__.removesuffix('Backend').lower()}"
            names.append(name)
            for split, drawn in windows.items():
                scored[split, name] = score_windows(drawn, backend_scorer(backend))
    if not arguments.no_ngram:
        train = TokenPieces.load(arguments.tokens / "train.npz")
        five = NgramModel(train.ids, 5, tokenizer.vocab_size)
        for split, drawn in windows.items():
            scored[split, "5-gram"] = score_windows(drawn, five.nats)
    for split in windows:
        table = {}
        for name in [n for k, n in scored if k == split]:
            table[name] = evaluate(scored[split, name], tokenizer)
            if name.startswith("int") and not names[0].startswith("int"):
                table[name]["cost"] = paired_cost(scored[split, names[0]], scored[split, name])
            print(f"{split:6} {name:7}", table[name], flush=True)
        figures[split] = table
    if not arguments.no_file:
        file_result("_".join(("likelihood", *arguments.splits)), figures)


if __name__ == "__main__":
    main()
