"""How fast is the rendering of scores, compared with the published code?

    python -m benchmarks.render_speed [--preset pianist-135m] [--notes 600 3000] [--threads N]
    python -m benchmarks.render_speed --shipped

Weights and score are random: the time does not depend on them. With --shipped the included model
plays twice; the first time includes its compilation. The published code needs 292 s for 633 notes
on two cores (4.2 notes a second of processor time each).
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from arietta.arrays import Float32Array, Int32Array
from arietta.midi.piece import Piece
from arietta.models.executors import pianist_cpu_backend
from arietta.models.pianist.config import PIANIST_PRESETS, PianistConfig
from arietta.models.pianist.openvino import PianistOpenVino
from arietta.notation.score_notes import ScoreNotes
from arietta.rendering.blocks import BlockRender
from arietta.rendering.render import open_player, render
from arietta.rendering.settings import BlockSettings
from arietta.tokenizers.pianist import SLOT_RANGES
from benchmarks.common import file_result

PUBLISHED_NOTES_PER_S = 633 / 292


@dataclass
class RandomCheckpoint:
    """Hold a checkpoint of random weights."""

    config: PianistConfig
    tensors: Mapping[str, Float32Array]


def random_checkpoint(config: PianistConfig) -> RandomCheckpoint:
    """Make weights like those of a fresh model; norms are 0."""
    rng = np.random.default_rng(0)
    tensors = {
        name: rng.standard_normal(shape, np.float32) * np.float32(0.02 * (len(shape) > 1))
        for name, shape in config.tensor_shapes().items()
    }
    return RandomCheckpoint(config, tensors)


def random_score(notes: int) -> Int32Array:
    """Return the ids of a random score."""
    rng = np.random.default_rng(1)
    columns = [rng.integers(low, high, notes) for low, high in SLOT_RANGES]
    return np.stack(columns, axis=1).reshape(-1).astype(np.int32)


def shipped(sizes: Sequence[int]) -> dict[str, Any]:
    """Measure the seconds from notes to notes with the default model."""
    figures: dict[str, Any] = {"scores": {}}
    for notes in sizes:
        rng = np.random.default_rng(1)
        onset = np.cumsum(rng.choice((0, 250, 250, 500), notes)).astype(float)
        pitch, length = rng.integers(30, 100, notes), rng.choice((240.0, 480.0), notes)
        score = ScoreNotes.from_piece(Piece.from_ms(onset, length, pitch, np.full(notes, 64)))
        began = time.perf_counter()
        player = open_player()
        opened = time.perf_counter()
        render(score, player, variations=[0])
        first = time.perf_counter()
        render(score, player, variations=[1])
        figures["scores"][str(len(score))] = row = {
            "open_seconds": round(opened - began, 2),
            "first_seconds": round(first - opened, 2),
            "again_seconds": round(time.perf_counter() - first, 2),
        }
        print(f"{len(score)} notes: {row}")
    figures["peak_memory_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return figures


def main() -> None:
    """Measure, print, file the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="pianist-135m", choices=PIANIST_PRESETS)
    parser.add_argument("--notes", type=int, nargs="+", default=[600, 3000])
    parser.add_argument("--variations", type=int, default=1)
    parser.add_argument("--precision", default="int8", choices=("int8", "int4", "f32"))
    parser.add_argument("--threads", type=int)
    parser.add_argument("--openvino", action="store_true", help="not our own kernel")
    parser.add_argument("--shipped", action="store_true", help="the shipped model instead")
    parser.add_argument("--dry", action="store_true", help="file no result")
    args = parser.parse_args()
    if args.shipped:
        measured = shipped(args.notes)
        if not args.dry:
            file_result("render_speed_shipped", measured)
        return
    config = PIANIST_PRESETS[args.preset]
    checkpoint = random_checkpoint(config)
    began = time.perf_counter()
    make = PianistOpenVino if args.openvino else pianist_cpu_backend
    backend: Any = make(checkpoint, args.precision, args.threads)
    figures: dict[str, Any] = {
        "preset": args.preset,
        "parameters": config.parameter_count(),
        "precision": args.precision,
        "runner": type(backend).__name__.removeprefix("Pianist").lower(),
        "threads": backend.threads,
        "variations": args.variations,
        "load_seconds": round(time.perf_counter() - began, 2),
        "published_code_notes_per_s": round(PUBLISHED_NOTES_PER_S, 2),
        "scores": {},
    }
    BlockRender(backend, [random_score(2)], BlockSettings()).run()  # work of the first run only
    for notes in args.notes:
        score = random_score(notes)
        wall, processor = time.perf_counter(), time.process_time()
        render = BlockRender(backend, [score] * args.variations, BlockSettings())
        made = render.run()
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        assert all(len(ids) == len(score) for ids in made)
        played = notes * args.variations
        figures["scores"][str(notes)] = row = {
            "seconds": round(wall, 2),
            "notes_per_s": round(played / wall, 1),
            "notes_per_processor_second": round(played / processor, 1),
            "ratio_to_published_code": round(played / wall / PUBLISHED_NOTES_PER_S, 1),
            "notes_decoded": render.progress().notes,
        }
        print(f"{notes} notes: {row}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    figures["peak_memory_mb"] = round(peak / 1024)
    print(figures)
    if not args.dry:
        file_result(f"render_speed_{args.preset}", figures)


if __name__ == "__main__":
    main()
