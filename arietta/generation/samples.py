"""Continuations written while a training run goes on, to listen to."""

from __future__ import annotations

import time
from pathlib import Path

from arietta.generation.continuation import ContinuationStream
from arietta.generation.engine import Engine
from arietta.generation.settings import Request, settings_from
from arietta.midi.reader import read
from arietta.models.aria.checkpoint import load_folder
from arietta.paths import assets_dir
from arietta.tokenizers.aria import AriaTokenizer

SECONDS = 20.0
PROMPT_SECONDS = 10.0
LIMIT_S = 60.0
"""After so many seconds no further sample is begun: the other processes of the run wait."""


def write_samples(model: Path, folder: Path, step: int, device: str = "cpu") -> list[Path]:
    """Write one piece from nothing and one continuation of each shipped prompt.

    A large model on the CPU writes fewer, see ``LIMIT_S``; on a GPU it runs in bfloat16.

    Args:
        model: folder of the model.
        folder: target folder; created if missing.
        step: step of the run; part of the names, and the seed.
        device: torch device to decode on, that of the training.

    Returns:
        The MIDI files, ``step-00000200-nocturne.mid`` and so on.
    """
    from arietta.models.aria.torch_executor import light_backend

    began = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = load_folder(model)
    backend = light_backend(checkpoint, device)
    engine = Engine(backend, AriaTokenizer(checkpoint.tokenizer))
    prompts = {"scratch": None} | {
        path.stem: read(path) for path in sorted((assets_dir() / "prompts").glob("*.mid"))
    }
    written: list[Path] = []
    for name, prompt in prompts.items():
        if written and time.monotonic() - began > LIMIT_S:
            break
        request = Request(
            seconds=SECONDS, prompt_seconds=None if prompt is None else PROMPT_SECONDS, seed=step
        )
        found = ContinuationStream(engine, prompt, request, settings_from("balanced")).run()[0]
        path = folder / f"step-{step:08d}-{name}.mid"
        found.save(path, force=True)
        written.append(path)
    return written
