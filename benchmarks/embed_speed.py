"""How fast is the embedding of pieces, and what does int8 instead of floats cost?

    python -m benchmarks.embed_speed big [--torch]     the published 632 M size, random weights
    python -m benchmarks.embed_speed shipped           the included model on the included prompts

``big`` embeds one file of 520 notes, the size of an earlier measurement of the public code on the
same kind of machine (7.4 s in bf16, 12 s in f32); ``--torch`` also runs the same decoder in torch
bf16, chunk by chunk like the public code, without reading and copying files. ``shipped`` counts
files a second and compares int8 with float32.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from arietta.evaluation.decode_speed import _RandomTensors
from arietta.midi.piece import Piece
from arietta.midi.reader import read
from arietta.models.aria.checkpoint import load
from arietta.models.aria.config import PRESETS
from arietta.paths import assets_dir
from arietta.vectors.embedding import Embedder, default_model
from benchmarks.common import file_result

NOTES = 520


def main() -> None:
    """Measure, print, file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("big", "shipped"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--torch", action="store_true", help="also torch in bf16")
    parser.add_argument("--model", help="instead of the shipped one")
    parser.add_argument("--no-file", action="store_true", help="print, but file no result")
    arguments = parser.parse_args()
    if arguments.what == "big":
        figures = _big(arguments.repeats, arguments.torch)
    else:
        figures = _shipped(arguments.model or default_model(), arguments.repeats)
    print(figures)
    if not arguments.no_file:
        file_result(f"embed_speed_{arguments.what}", figures)


def _excerpt(notes: int) -> Piece:
    piece = read(assets_dir() / "prompts" / "pokey_jazz.mid")
    return replace(piece, notes=piece.notes.take(slice(0, notes)))


def _timed(call: Callable[[], Any], repeats: int) -> dict[str, float]:
    call()
    wall, work = [], []
    for _ in range(repeats):
        began, cpu = time.perf_counter(), time.process_time()
        call()
        wall.append(time.perf_counter() - began)
        work.append(time.process_time() - cpu)
    return {
        "seconds": round(statistics.median(wall), 3),
        "best_seconds": round(min(wall), 3),
        "processor_seconds": round(statistics.median(work), 3),
    }


def _big(repeats: int, with_torch: bool) -> dict[str, Any]:
    config = PRESETS["medium-emb"]
    checkpoint: Any = SimpleNamespace(
        name="random",
        config=config,
        tensors=_RandomTensors(config, 0),
        tokenizer="full",
        require=lambda *kinds: None,
        info={},
    )
    piece = _excerpt(NOTES)
    began = time.perf_counter()
    embedder = Embedder(checkpoint, precision="int8")
    loaded = time.perf_counter() - began
    chunks, _ = embedder._rows(piece, False, None)
    tokens = sum(len(ids) for ids in chunks.ids)
    found = _timed(lambda: embedder.embed(piece), repeats)
    # Two operations for each weight and token; attention is not counted.
    work = 2 * tokens * (config.parameter_count() - config.vocab_size * config.d_model)
    figures: dict[str, Any] = {
        "parameters": config.parameter_count(),
        "notes": len(piece),
        "chunks": len(chunks.ids),
        "tokens": tokens,
        "threads": getattr(embedder._backend, "threads", None),
        "runner": type(embedder._backend).__name__,
        "pack_and_load_s": round(loaded, 2),
        "int8": {**found, "gop_per_s": round(work / found["seconds"] / 1e9)},
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "public_code_elsewhere_s": {"bf16": 7.4, "f32": 12.0},
    }
    if with_torch:
        figures["torch bf16"] = _torch(config, chunks.ids, max(2, repeats // 2))
        figures["times_faster"] = round(
            figures["torch bf16"]["seconds"] / figures["int8"]["seconds"], 2
        )
    return figures


def _torch(config: Any, rows: list[Any], repeats: int) -> dict[str, float]:
    import torch

    from arietta.models.aria.torch_module import AriaDecoder

    with torch.device("meta"):
        model = AriaDecoder(config)
    model = model.to_empty(device="cpu").to(torch.bfloat16).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.02)

    def run() -> None:
        with torch.inference_mode():
            for ids in rows:
                hidden, _ = model.model(torch.from_numpy(np.asarray(ids, np.int64))[None])
                model.head(hidden[:, -1])

    return _timed(run, repeats)


def _shipped(name: str, repeats: int) -> dict[str, Any]:
    checkpoint = load(name)
    pieces = [read(path) for path in sorted((assets_dir() / "prompts").glob("*.mid"))]
    excerpts = [_excerpt(NOTES)] * 20
    packed = Embedder(checkpoint)
    figures: dict[str, Any] = {"model": checkpoint.name, "pooling": packed.pooling}
    for label, group in ((f"files of {NOTES} notes", excerpts), ("the prompts", pieces * 2)):
        found = _timed(lambda group=group: list(packed.embed_many(enumerate(group))), repeats)  # type: ignore[misc]
        figures[label] = {
            **found,
            "files": len(group),
            "mean_notes": round(sum(map(len, group)) / len(group)),
            "files_per_s": round(len(group) / found["seconds"], 1),
            "files_per_processor_s": round(len(group) / found["processor_seconds"], 1),
        }
    exact = Embedder(checkpoint, precision="f32")
    folder = Path(__file__).resolve().parents[1] / "tests" / "golden" / "aria" / "midi"
    music = pieces + [read(path) for path in sorted(folder.glob("pop_*.mid"))]
    cosines = [
        _cosine(a.vector, b.vector)
        for one in music
        for a, b in [(exact.embed(one, any_program=True), packed.embed(one, any_program=True))]
    ]
    figures["cosine_int8_to_f32"] = {
        "least": round(min(cosines), 5),
        "mean": round(sum(cosines) / len(cosines), 5),
        "pieces": len(cosines),
    }
    return figures


def _cosine(a: Any, b: Any) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


if __name__ == "__main__":
    main()
