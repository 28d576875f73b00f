"""Does ``--like`` steer, and how far?

    python -m benchmarks.steering DATASET [--model small-conditioned] [--pairs 48]

Prompts are parts of 15 s of performances of a split (test), references are whole performances of
other works there. Each prompt is continued by 20 s at several strengths of guidance, with the same
seed, and compared with its continuation at strength 0. Reported with bootstrap intervals over the
pairs:

* cosine between the embeddings (the short ones) of continuation and reference, and between
  continuation and another pair's reference, which guidance should not bring nearer;
* the distance of notes per second, mean pitch and mean velocity from those of the reference, and
  its difference from strength 0; for comparison the distance of a random passage of the reference,
  as long as the continuation, from the whole reference, which is the best that can be expected;
* how far each statistic follows that of the reference: its slope on the statistic of the reference
  over the pairs at a fixed statistic of the prompt (1: completely, 0: not at all; references are
  paired with prompts at random);
* bits per note of the continuation under the plain model, which shows whether it is still music.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import arietta
from arietta.arrays import FloatArray
from arietta.data.token_grid import grid_of
from arietta.evaluation.continuations import Description, describe
from arietta.evaluation.excerpts import FOLLOW_MS, draw_excerpts
from arietta.evaluation.recordings import recordings_of_dataset
from arietta.evaluation.surprise import surprise
from arietta.midi.piece import Piece
from arietta.tokenizers.open import tokenizer_named
from benchmarks.common import file_result

STATISTICS = ("notes_per_second", "pitch_mean", "velocity_mean")


def draw_references(dataset: Path, split: str, count: int, seed: int) -> list[Piece]:
    """Draw ``count`` whole performances of a split, each of another work."""
    pieces = list(recordings_of_dataset(dataset, split))
    found: list[Piece] = []
    used: set[str] = set()
    for i in np.random.default_rng(seed).permutation(len(pieces)):
        notes = pieces[i].notes
        if pieces[i].group in used or len(notes.onset_ms) < 200:
            continue
        used.add(pieces[i].group)
        found.append(Piece.from_ms(notes.onset_ms, notes.duration_ms, notes.pitch, notes.velocity))
        if len(found) == count:
            return found
    raise SystemExit(f"only {len(found)} of {count} references found in {dataset}")


def passages(references: list[Piece]) -> list[Description]:
    """Return the statistics of a random passage of each reference, as long as a continuation."""
    rng = np.random.default_rng(7)
    found = []
    for piece in references:
        last = float(piece.onset_ms.max()) - FOLLOW_MS
        # Start at a note: no passage is empty.
        starts = piece.onset_ms[piece.onset_ms <= max(last, float(piece.onset_ms.min()))]
        start = float(rng.choice(starts))
        inside = (piece.onset_ms >= start) & (piece.onset_ms < start + FOLLOW_MS)
        cut = replace(piece, notes=piece.notes.take(inside))
        found.append(description(cut, FOLLOW_MS))
    return found


def description(piece: Piece, length_ms: float | None = None) -> Description:
    """Return the statistics of a piece."""
    onset = piece.onset_ms - piece.onset_ms.min()
    found = describe(
        onset,
        piece.duration_ms,
        piece.notes.pitch,
        piece.notes.velocity,
        float(onset.max()) if length_ms is None else length_ms,
    )
    assert found is not None
    return found


def interval(values: FloatArray) -> list[float]:
    """Return the mean and its 95 % bootstrap interval."""
    rng = np.random.default_rng(0)
    draws = values[rng.integers(0, len(values), (2000, len(values)))].mean(axis=1)
    low, high = np.quantile(draws, (0.025, 0.975))
    return [round(float(x), 4) for x in (values.mean(), low, high)]


def slope(got: FloatArray, wanted: FloatArray, prompt: FloatArray) -> list[float]:
    """Regress ``got`` on ``wanted`` and ``prompt``, all (n,); return the slope on ``wanted``.

    Returns:
        The least-squares slope and its 95 % bootstrap interval.
    """
    design = np.stack((wanted, prompt, np.ones(len(got))), axis=1)
    rng = np.random.default_rng(0)
    draws = [np.arange(len(got)), *rng.integers(0, len(got), (2000, len(got)))]
    found = [float(np.linalg.lstsq(design[i], got[i])[0][0]) for i in draws]
    return [round(x, 4) for x in (found[0], *np.quantile(found, (0.025, 0.975)).tolist())]


def cosine(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    """Return the cosine of the angle between two vectors."""
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


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
    model, plain = arietta.load(arguments.model), arietta.load()
    tokenizer = tokenizer_named(plain.checkpoint.tokenizer)
    excerpts = draw_excerpts(arguments.dataset, arguments.split, arguments.pairs, seed=5)
    references = draw_references(arguments.dataset, arguments.split, arguments.pairs, seed=6)
    embedder = model.likeness
    goals = [embedder.embed(piece).vector for piece in references]
    # A full vector begins with the short one; distances use the short one.
    short = slice(embedder.checkpoint.config.embedding_size)
    centre = np.mean(goals, axis=0)[short]  # all embeddings share a direction without information
    wanted = [description(piece) for piece in references]
    aim, near, start = (
        {name: np.array([getattr(d, name) for d in found]) for name in STATISTICS}
        for found in (
            wanted,
            passages(references),
            [description(excerpt.prompt) for excerpt in excerpts],
        )
    )
    figures: dict[str, Any] = {
        "model_sha256": model.checkpoint.sha256,
        "split": arguments.split,
        "pairs": len(excerpts),
        "passage_of_the_reference": {
            f"{name}_distance": interval(abs(near[name] - aim[name])) for name in STATISTICS
        },
        "strengths": {},
    }
    print(figures, flush=True)
    rows: dict[float, dict[str, FloatArray]] = {}
    for strength in sorted({0.0, *arguments.strengths}):
        found: dict[str, list[float]] = {
            k: [] for k in ("cosine", "cosine_other", "bits_per_note", *STATISTICS)
        }
        silent = 0
        for i, excerpt in enumerate(excerpts):
            out = model.generate(
                excerpt.prompt,
                seconds=FOLLOW_MS / 1000,
                seed=i,
                guidance_vector=goals[i],
                guidance=strength,
            )
            if not len(out.new):
                silent += 1
                for values in found.values():
                    values.append(float("nan"))
                continue
            vector = embedder.embed(out.new).vector[short] - centre
            found["cosine"].append(cosine(vector, goals[i][short] - centre))
            other = goals[(i + 1) % len(goals)][short] - centre
            found["cosine_other"].append(cosine(vector, other))
            whole = surprise(
                grid_of(out.piece).columns(), plain.backend, tokenizer, removal=False
            ).total
            found["bits_per_note"].append(float(whole[-len(out.new) :].mean()))
            got = description(out.new, FOLLOW_MS)
            for name in STATISTICS:
                found[name].append(getattr(got, name))
        rows[strength] = {name: np.array(values) for name, values in found.items()}
        base = rows[0.0]
        both = ~np.isnan(rows[strength]["cosine"]) & ~np.isnan(base["cosine"])
        line: dict[str, Any] = {"silent": silent}
        for name in ("cosine", "cosine_other", "bits_per_note"):
            line[name] = interval(rows[strength][name][both])
            line[f"{name}_gain"] = interval(rows[strength][name][both] - base[name][both])
        line["nearer_share"] = round(
            float((rows[strength]["cosine"][both] > base["cosine"][both]).mean()), 3
        )
        for name in STATISTICS:
            reached = rows[strength][name]
            distance, before = (abs(x - aim[name])[both] for x in (reached, base[name]))
            line[f"{name}_distance"] = interval(distance)
            line[f"{name}_gain"] = interval(distance - before)
            line[f"{name}_slope"] = slope(*(x[both] for x in (reached, aim[name], start[name])))
        figures["strengths"][f"{strength:g}"] = line
        print(strength, line, flush=True)
    file_result(arguments.name, figures)


if __name__ == "__main__":
    main()
