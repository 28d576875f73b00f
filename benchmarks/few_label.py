"""How many labelled pieces does a classifier need, and is finetuning better than a probe?

    python -m benchmarks.few_label NAME --data CORPUS [--n 25 50 100 200 all] [--no-finetune]

NAME is a labelled collection of ``arietta evaluate probe`` (asap-composer, pijama30, …).
``arietta evaluate few-label`` measures the same; definitions stand in ``arietta.api.few_label``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from arietta.api import evaluate
from benchmarks.common import RESULTS, file_result


def draw_curves(path: Path, found: dict[str, Any]) -> None:
    """Draw accuracy and macro F1 against labelled pieces, with their intervals."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    systems = list(dict.fromkeys(row["system"] for row in found["rows"]))
    colours = dict(zip(systems, ("#8a8a94", "#0072b2", "#009e73", "#d55e00"), strict=False))
    for axis, key, label in zip(
        figure.subplots(1, 2, sharey=True),
        ("accuracy", "macro_f1"),
        ("accuracy", "macro F1"),
        strict=True,
    ):
        for system in systems:
            rows = [row for row in found["rows"] if row["system"] == system]
            x = [row["pieces"] for row in rows]
            low, high = np.array([row[key]["interval_95"] for row in rows]).T * 100
            axis.plot(
                x,
                [100 * row[key]["mean"] for row in rows],
                "o-",
                color=colours[system],
                markersize=4,
                label=system,
            )
            axis.fill_between(x, low, high, color=colours[system], alpha=0.13, linewidth=0)
        axis.set_xscale("log")
        # If classes are small, two n may mean nearly the same pieces: the larger one has the label.
        all_sizes = {row["pieces"]: row["n"] for row in found["rows"]}
        room = (max(all_sizes) / min(all_sizes)) ** 0.12
        sizes: dict[float, str] = {}
        for size in sorted(all_sizes, reverse=True):
            if not sizes or size * room < min(sizes):
                sizes[size] = all_sizes[size]
        axis.set_xticks(list(sizes), [f"{n}\n({x:,.0f})" for x, n in sizes.items()], fontsize=8)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.set_xlabel(f"labelled {found['n_is']} (together)", fontsize=9)
        axis.set_title(f"{label}, per cent", fontsize=10)
    axis.legend(fontsize=8, loc="lower right")
    figure.suptitle(
        f"{found['benchmark']}: {len(found['classes'])} classes,"
        f" {found['test_pieces']:,} test pieces of {found['test_groups']:,} compositions",
        fontsize=11,
    )
    figure.savefig(path, metadata={"Software": None})


def main() -> None:
    """Measure, print, file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="asap-composer, pijama30, …")
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.csv")
    parser.add_argument("--n", nargs="+", default=["25", "50", "100", "200", "all"])
    parser.add_argument("--in-total", action="store_true", help="n of all classes together")
    parser.add_argument("--draws", type=int, default=1, help="choices of pieces")
    parser.add_argument("--init", help="model to finetune; the shipped one by default")
    parser.add_argument("--embedding", help="model to probe; the shipped one by default")
    parser.add_argument("--epochs", type=float, help="of finetuning; the recipe's by default")
    parser.add_argument("--most-tokens", type=float, help="of a finetuning, padding included")
    parser.add_argument("--set", nargs="*", default=[], help="changes of the recipe")
    parser.add_argument("--no-finetune", action="store_true", help="the cheap rows alone")
    parser.add_argument("--cpu", action="store_true", help="finetune on the processor")
    parser.add_argument("--runs", type=Path, default=Path("few-label-runs"))
    parser.add_argument("--cache", type=Path, help="folder to keep embeddings in")
    parser.add_argument("--limit", type=int, help="use only so many files of each class at all")
    parser.add_argument("--result", help="its name; few_label_NAME by default")
    parser.add_argument("--no-file", action="store_true", help="print, but file no result")
    given = parser.parse_args()
    found = evaluate.few_label(
        given.name,
        given.data,
        sizes=[None if n == "all" else int(n) for n in given.n],
        in_total=given.in_total,
        draws=given.draws,
        model=given.embedding,
        finetune=None if given.no_finetune else given.runs / given.name,
        init=given.init,
        epochs=given.epochs,
        most_tokens=given.most_tokens,
        changes=given.set,
        cpu=given.cpu,
        cache=given.cache,
        limit=given.limit,
        show=lambda line: print(line, flush=True),
    ).to_dict()
    for row in found["rows"]:
        cells = [f"{100 * row[key]['mean']:.1f}" for key in ("accuracy", "macro_f1")]
        print(f"{row['n']:>4} {row['pieces']:>6.0f}  {row['system']:<36}", *cells, flush=True)
    if not given.no_file:
        name = given.result or f"few_label_{given.name}{'_in_total' * given.in_total}"
        draw_curves(RESULTS / f"{name}.png", found)
        file_result(name, found)


if __name__ == "__main__":
    main()
