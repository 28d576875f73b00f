"""Which of several trained models is best, and how did their losses develop?

    python -m benchmarks.variants NAME RUN... [--dataset DATASET] [--split test] [--windows 600]
    python -m benchmarks.variants NAME RUN... --curves-only

The runs are folders of ``arietta train``, for instance the variants of one recipe; the first one is
the baseline. Every model scores the same notes of DATASET, so bits per note are comparable for any
tokens; the differences are paired. Files ``NAME.json`` and the learning curves as ``NAME.png``:
validation loss against tokens and against operations.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

from arietta.evaluation.likelihood import (
    ScoredStretches,
    backend_scorer,
    compare,
    draw_stretches,
    evaluate,
    score_stretches,
)
from arietta.evaluation.recordings import recordings_of_dataset
from arietta.models.aria.checkpoint import load
from arietta.models.executors import cpu_backend
from arietta.tokenizers.open import tokenizer_named
from arietta.training.config import plan, recipe_from
from arietta.training.hardware import training_flops_per_token
from arietta.training.loop import LOSSES, RECIPE, VALIDATION
from benchmarks.common import RESULTS, file_result


def curves(run: Path) -> dict[str, Any]:
    """Return the recipe of a run and its validation losses."""
    recipe = recipe_from(json.loads((run / RECIPE).read_text("utf8")))
    config = load(run / "model").config
    with (run / VALIDATION).open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (run / LOSSES).open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    spent = 0.0
    operations_at = {0: 0.0}
    for part in plan(recipe, 0):
        per_step = recipe.step_tokens(part.stage)
        for step in range(part.first_step, part.end_step):
            spent += per_step * training_flops_per_token(config, part.stage.seq_len)
            operations_at[step + 1] = spent
    operations = [operations_at[int(row["step"])] for row in rows]
    return {
        "parameters": config.parameter_count(),
        "vocabulary": recipe.tokenizer,
        "data_share": recipe.data.share,
        "jitter_ms": recipe.data.jitter_ms,
        "steps": int(last["step"]),
        "tokens": int(last["tokens"]),
        "hours": round(float(last["seconds"]) / 3600, 2),
        "valid_tokens": [int(row["tokens"]) for row in rows],
        "valid_operations": [float(f"{o:.4g}") for o in operations],
        "valid_nats_per_token": [round(float(row["nats_per_token"]), 4) for row in rows],
    }


def draw(path: Path, runs: dict[str, dict[str, Any]], unit: str) -> None:
    """Draw the curves of all runs against tokens and against operations."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), sharey=True)
    for axis, key, label in (
        (axes[0], "valid_tokens", "training tokens"),
        (axes[1], "valid_operations", "arithmetic operations"),
    ):
        lowest = []
        for name, run in runs.items():
            axis.plot(run[key], run["valid_nats_per_token"], ".-", markersize=3, label=name)
            lowest.append(min(run["valid_nats_per_token"]))
        axis.set_xscale("log")
        axis.set_xlabel(label)
        axis.grid(alpha=0.3)
        axis.set_ylim(min(lowest) - 0.05, max(min(lowest) + 1.2, max(lowest) + 0.2))
    axes[0].set_ylabel(f"validation, nats per token{unit}")
    axes[1].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})


def main() -> None:
    """Measure, print, file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--dataset", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--windows", type=int, default=600)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--curves-only", action="store_true", help="score nothing")
    arguments = parser.parse_args()
    if arguments.dataset is None and not arguments.curves_only:
        parser.error("give --dataset, or --curves-only")
    runs = {run.name: curves(run) for run in arguments.runs}
    figures: dict[str, Any] = {"runs": runs}
    if not arguments.curves_only:
        figures |= {"split": arguments.split, "window_tokens": arguments.length}
        stretches = draw_stretches(
            recordings_of_dataset(arguments.dataset, arguments.split),
            arguments.length,
            arguments.windows,
        )
        first: ScoredStretches | None = None
        for run in arguments.runs:
            checkpoint = load(run / "model")
            scorer = backend_scorer(cpu_backend(checkpoint, "f32"))
            scored = score_stretches(stretches, tokenizer_named(checkpoint.tokenizer), scorer)
            table = evaluate(scored)
            if first is None:
                first = scored
            else:
                table["difference"] = compare(scored, first)
            runs[run.name][arguments.split] = table
            print(run.name, {k: v for k, v in table.items() if not k.startswith("by")}, flush=True)
    mixed = len({run["vocabulary"] for run in runs.values()}) > 1
    draw(RESULTS / f"{arguments.name}.png", runs, " (of its own tokens)" if mixed else "")
    file_result(arguments.name, figures)


if __name__ == "__main__":
    main()
