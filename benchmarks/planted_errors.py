"""How well does surprise detect wrong notes? Errors planted into held-out performances.

    python -m benchmarks.planted_errors DATASET [--model small] [--performances 50]
    python -m benchmarks.planted_errors DATASET --fit

A thousand notes of each of 50 test performances (one a composition) get ten wrong notes, two of
each kind that players and transcriptions make: a neighbouring key, a wrong octave, a stray note, a
note 80 to 250 ms off its time, a velocity off by 50. Scores are compared by the area under the ROC
curve, a mean over performances, with intervals from resampling them, and by how many of the ten are
among the ten (twenty) highest scores. All other notes count as right, though some are not.

``--fit`` fits the weights of ``arietta/assets/error_detector.json`` on the valid split instead.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from arietta.arrays import FloatArray, IntArray
from arietta.data.token_grid import NoteColumns
from arietta.evaluation.error_detector import FEATURES, KINDS, Detector, features, find_errors
from arietta.evaluation.ngram import NgramModel
from arietta.evaluation.recordings import recordings_of_dataset
from arietta.evaluation.surprise import Surprise, surprise
from arietta.models.aria.checkpoint import load
from arietta.models.executors import cpu_backend
from arietta.output import whole_file
from arietta.paths import assets_dir
from arietta.tokenizers.aria import AriaTokenizer
from arietta.tokenizers.open import tokenizer_named
from arietta.tokenizers.quantise import SEGMENT_MS
from arietta.tokenizers.vocabulary import BOS
from benchmarks.common import file_result

NOTES, PER_KIND = 1_000, 2


class Corrupted(NamedTuple):
    """Hold a performance with wrong notes.

    Attributes:
        name, genre: those of the performance.
        notes: columns, including the wrong notes.
        kinds: (n,) 0 for a right note, 1 + index into ``KINDS`` for a wrong one.
    """

    name: str
    genre: str
    notes: NoteColumns
    kinds: IntArray


def plant(notes: NoteColumns, rng: np.random.Generator) -> tuple[NoteColumns, IntArray]:
    """Plant ``PER_KIND`` errors of each kind, spread evenly; return the notes and their kinds."""
    onset, duration, pitch, velocity = (np.array(column, np.int64) for column in notes)
    kinds = np.zeros(len(onset), np.int64)
    stray: list[tuple[int, int, int, int]] = []
    wanted = rng.permutation(np.repeat(np.arange(len(KINDS)), PER_KIND))
    places = np.array_split(np.arange(20, len(onset) - 5), len(wanted))
    for kind, place in zip(wanted.tolist(), places, strict=True):
        while True:
            i = int(rng.choice(place))
            start, key = int(onset[i]), int(pitch[i])
            if KINDS[kind] == "wrong key":
                key += int(rng.choice((-2, -1, 1, 2)))
            elif KINDS[kind] == "wrong octave":
                key += int(rng.choice((-12, 12)))
            elif KINDS[kind] == "stray note":
                near = np.flatnonzero(np.abs(onset - start) < 2_000)
                start += int(rng.integers(0, 50)) * 10
                key = int(rng.integers(pitch[near].min(), pitch[near].max() + 1))
                i = int(rng.choice(near))  # source of its length and velocity
            elif KINDS[kind] == "timing":
                start = max(start + int(rng.integers(8, 26)) * int(rng.choice((-10, 10))), 0)
            else:
                louder = velocity[i] + (50 if velocity[i] < 60 else -50)
                if not 10 <= louder <= 120:
                    continue
                velocity[i] = louder
            # Not onto a key that is played at that time.
            beside = (np.abs(onset - start) < 1_500) & (pitch == key)
            taken = bool(beside.any()) or not 21 <= key <= 108
            if taken and (key != pitch[i] or KINDS[kind] == "stray note"):
                continue
            if KINDS[kind] == "stray note":
                stray.append((start, int(duration[i]), key, int(velocity[i])))
            else:
                onset[i], pitch[i], kinds[i] = start, key, kind + 1
            break
    if stray:
        columns = zip((onset, duration, pitch, velocity), zip(*stray, strict=True), strict=True)
        onset, duration, pitch, velocity = (np.append(a, b) for a, b in columns)
        kinds = np.append(kinds, np.full(len(stray), KINDS.index("stray note") + 1))
    order = np.argsort(onset, kind="stable")
    corrupted = NoteColumns(
        onset[order],
        duration[order],
        pitch[order].astype(np.uint8),
        velocity[order].astype(np.uint8),
    )
    return corrupted, kinds[order]


def performances(dataset: Path, split: str, count: int) -> Iterator[Corrupted]:
    """Yield corrupted performances, one a composition, chosen by a hash of their names."""
    found = [r for r in recordings_of_dataset(dataset, split) if len(r.notes.pitch) >= NOTES // 2]
    found.sort(key=lambda r: hashlib.sha256(r.name.encode()).digest())
    used: set[str] = set()
    for recording in found:
        if recording.group in used or len(used) == count:
            continue
        used.add(recording.group)
        rng = np.random.default_rng(len(used))
        n = len(recording.notes.pitch)
        start = int(rng.integers(0, max(n - NOTES, 0) + 1))
        part = NoteColumns(*(column[start : start + NOTES] for column in recording.notes))
        zero = int(part.onset_ms[0]) // SEGMENT_MS * SEGMENT_MS
        notes, kinds = plant(part._replace(onset_ms=part.onset_ms - zero), rng)
        yield Corrupted(recording.name, recording.labels.get("genre", ""), notes, kinds)


def auc(wrong: FloatArray, right: FloatArray) -> float:
    """Return the probability that a wrong note scores above a right one, ties counting half."""
    values, place = np.unique(np.concatenate((wrong, right)), return_inverse=True)
    of_right = np.bincount(place[len(wrong) :], minlength=len(values))
    below = np.cumsum(of_right) - of_right
    mine = place[: len(wrong)]
    return float((below[mine] + of_right[mine] / 2).sum() / (len(wrong) * len(right)))


def interval(values: list[float]) -> list[float]:
    """Return [mean, low, high]: 95 % from 2,000 draws of performances."""
    found = np.array(values)
    drawn = found[np.random.default_rng(0).integers(0, len(found), (2_000, len(found)))].mean(1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return [round(float(x), 4) for x in (found.mean(), low, high)]


def measure(scores: list[FloatArray], corrupted: list[Corrupted]) -> dict[str, Any]:
    """Compute the figures of one score over all performances."""
    table: dict[str, Any] = {}
    pairs = list(zip(scores, corrupted, strict=True))
    table["auc"] = interval([auc(s[p.kinds > 0], s[p.kinds == 0]) for s, p in pairs])
    for number, kind in enumerate(KINDS, start=1):
        table[f"auc {kind}"] = interval(
            [auc(s[p.kinds == number], s[p.kinds == 0]) for s, p in pairs]
        )
    for top in (10, 20):
        hits = [float((p.kinds[np.argsort(-s, kind="stable")[:top]] > 0).sum()) for s, p in pairs]
        table[f"found in the top {top}"] = interval(hits)
    for genre in sorted({p.genre for p in corrupted if p.genre}):
        mine = [auc(s[p.kinds > 0], s[p.kinds == 0]) for s, p in pairs if p.genre == genre]
        table[f"auc {genre}"] = [*interval(mine), len(mine)]
    return table


def ngram_scores(dataset: Path, corrupted: list[Corrupted]) -> list[FloatArray]:
    """Return the bits of each note's three tokens under a 5-gram of the train split."""
    piano = AriaTokenizer("piano")
    train = recordings_of_dataset(dataset, "train")
    rows = [piano.encode_columns(*r.notes).astype(np.uint16) for r in train]
    five = NgramModel(np.concatenate(rows), 5, piano.vocab_size)
    scores = []
    for one in corrupted:
        ids = piano.encode_columns(*one.notes, eos=False)
        bits = five.nats(ids) / math.log(2)
        at = piano.decode_columns(ids).at
        assert ids[at[0] - 1] == BOS or len(at) == len(one.kinds)
        scores.append(bits[at] + bits[at + 1] + bits[at + 2])
    return scores


def main() -> None:
    """Measure, print, file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--model", default="small")
    parser.add_argument("--performances", type=int, default=50)
    parser.add_argument("--fit", action="store_true", help="fit the weights on the valid split")
    parser.add_argument("--no-ngram", action="store_true", help="skip the 5-gram")
    parser.add_argument("--no-file", action="store_true", help="print, but file no result")
    arguments = parser.parse_args()
    checkpoint = load(arguments.model)
    backend, tokenizer = cpu_backend(checkpoint), tokenizer_named(checkpoint.tokenizer)
    split = "valid" if arguments.fit else "test"
    corrupted = list(performances(arguments.dataset, split, arguments.performances))
    began = time.perf_counter()
    found: list[Surprise] = []
    for one in corrupted:
        found.append(surprise(one.notes, backend, tokenizer))
        print(f"{len(found)} of {len(corrupted)}: {one.name}", flush=True)
    seconds = time.perf_counter() - began
    known = [features(p.notes, s) for p, s in zip(corrupted, found, strict=True)]
    if arguments.fit:
        kinds = np.concatenate([p.kinds for p in corrupted])
        fitted = Detector.fit(np.concatenate(known), kinds).to_json()
        fitted["fitted_on"] = f"{len(corrupted)} performances of the valid split"
        fitted["model_sha256"] = checkpoint.sha256
        with whole_file(assets_dir() / "error_detector.json", force=True) as part:
            part.write_text(json.dumps(fitted, indent=1) + "\n", encoding="utf-8")
        return
    scores = {
        "rarity of the pitch around (no model)": [
            values[:, FEATURES.index("rare_pitch")] for values in known
        ],
        "surprise": [s.total for s in found],
        "surprise and what removal gains": [s.total + s.removal for s in found],
        "suspicion": [
            find_errors(p.notes, s).probability for p, s in zip(corrupted, found, strict=True)
        ],
    }
    if not arguments.no_ngram:
        scores["surprise of a 5-gram"] = ngram_scores(arguments.dataset, corrupted)
    figures: dict[str, Any] = {
        "model": checkpoint.name,
        "model_sha256": checkpoint.sha256,
        "performances": len(corrupted),
        "notes": sum(len(p.kinds) for p in corrupted),
        "planted": sum(int((p.kinds > 0).sum()) for p in corrupted),
        "notes_per_second": round(sum(len(p.kinds) for p in corrupted) / seconds),
        "intervals": "[mean, low, high], 95 % from resampling performances",
    }
    for name, values in scores.items():
        figures[name] = measure(values, corrupted)
        print(name, figures[name], flush=True)
    if not arguments.no_file:
        file_result("planted_errors", figures)


if __name__ == "__main__":
    main()
