"""Is everything that is generated a valid piece? A thousand generations with random weights.

Random weights generate everything that the grammar allows, so every possible fault occurs. The
result counts ids that decoding drops, notes without length, keys pressed twice at once, and notes
that are lost when a file is written and read (for instance notes that never end).

    python -m benchmarks.validity
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from arietta.arrays import Float32Array
from arietta.generation.continuation import Continuation, ContinuationStream, prepare
from arietta.generation.engine import Engine
from arietta.generation.settings import Request, SamplingSettings
from arietta.midi.piece import Piece
from arietta.midi.reader import read_bytes
from arietta.models.aria.config import AriaConfig
from arietta.models.executors import cpu_backend
from arietta.tokenizers.aria import AriaTokenizer
from benchmarks.common import file_result

VOCABULARIES = ("piano", "full", "piano-demo", "full-pedal-delimiter")
SETTINGS = (
    SamplingSettings(0.98, 0.035),
    SamplingSettings(temperature=1.5, min_p=None),
    SamplingSettings(temperature=1.0, min_p=None, top_p=0.7, density=4.0),
    SamplingSettings(temperature=2.0, min_p=None, density=0.2),
)
ROWS = 25


@dataclass(frozen=True)
class RandomModel:
    """Hold the settings and tensors of an untrained model."""

    config: AriaConfig
    tensors: dict[str, Float32Array]

    @classmethod
    def of(cls, vocab: str, seed: int) -> RandomModel:
        """Make a small random model."""
        size = AriaTokenizer(vocab).vocab_size
        config = AriaConfig(d_model=64, n_heads=2, n_layers=2, vocab_size=size, max_seq_len=512)
        rng = np.random.default_rng(seed)
        tensors: dict[str, Float32Array] = {}
        for name, shape in config.tensor_shapes().items():
            x = 0.2 * rng.standard_normal(shape, np.float32)
            tensors[name] = x + 1 if "norm" in name and name.endswith("weight") else x
        return cls(config, tensors)


def prompt() -> Piece:
    """Make eight notes on a coarse grid with a tempo change and the pedal down at the end."""
    at = np.arange(8) * 300
    return Piece.from_ms(
        at, 400, 60 + np.arange(8), 70, pedal_time_ms=[100, 900, 2000], pedal_value=[127, 0, 90]
    )


def faults(out: Continuation, tokenizer: AriaTokenizer, start: Piece | None) -> Counter[str]:
    """Count the faults of one generation by kind."""
    found: Counter[str] = Counter()
    ids = [*prepare(tokenizer, start, Request()).ids, *out.ids]
    columns = tokenizer.decode_columns(ids)
    found["dropped ids"] = columns.dropped
    new = slice(len(columns.onset_ms) - out.stats.notes, None)
    found["notes without length"] = int((columns.duration_ms[new] <= 0).sum())
    keys = [
        columns.onset_ms[new].astype(np.int64) * 4096
        + columns.channel[new].astype(np.int64) * 128
        + columns.pitch[new]
    ]
    found["keys struck twice at once"] = out.stats.notes - len(np.unique(keys[0]))
    for piece in (out.piece, out.new):
        again = read_bytes(piece.to_bytes())
        found["notes lost in the file"] += abs(len(piece) - len(again))
        lengths = again.notes.offset_tick - again.notes.onset_tick
        found["notes without length"] += int((lengths <= 0).sum())
    found["pedals left down"] = sum(
        bool(len(p.pedals) and p.pedals.value[-1] >= 64) for p in (out.piece, out.new)
    )
    return found


def main() -> None:
    """Generate, check, file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--generations", type=int, default=1000)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    started = time.monotonic()
    total: Counter[str] = Counter()
    done = notes = 0
    for batch in range(-(-options.generations // ROWS)):
        vocab = VOCABULARIES[batch % len(VOCABULARIES)]
        tokenizer = AriaTokenizer(vocab)
        model = RandomModel.of(vocab, batch)
        engine = Engine(cpu_backend(model, "int8", options.threads), tokenizer)
        start = prompt() if batch % 3 else None
        request = Request(tokens=options.tokens, end=batch % 5 == 0, variations=ROWS, seed=batch)
        settings = SETTINGS[batch // len(VOCABULARIES) % len(SETTINGS)]
        for out in ContinuationStream(engine, start, request, settings).run():
            total.update(faults(out, tokenizer, start))
            done += 1
            notes += out.stats.notes
    figures: dict[str, Any] = {
        "generations": done,
        "notes": notes,
        "faults": dict(total),
        "seconds": round(time.monotonic() - started, 1),
    }
    print(f"{done} generations, {notes} notes, {figures['seconds']} s")
    for kind, count in total.items():
        print(f"  {kind:<28} {count}")
    file_result("validity", figures)
    if any(total.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
