"""Continuations written while a training run goes on, to listen to."""

from __future__ import annotations

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


def write_samples(model: Path, folder: Path, step: int) -> list[Path]:
    """Write one piece from nothing and one continuation of each shipped prompt.

    Args:
        model: folder of the model.
        folder: where they go; made if missing.
        step: of the run; part of the names, and the seed.

    Returns:
        The MIDI files, ``step-00000200-nocturne.mid`` and so on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = load_folder(model)
    from arietta.models.aria.torch_executor import TorchBackend

    engine = Engine(TorchBackend(checkpoint, "cpu"), AriaTokenizer(checkpoint.tokenizer))
    prompts = {"scratch": None} | {
        path.stem: read(path) for path in sorted((assets_dir() / "prompts").glob("*.mid"))
    }
    written = []
    for name, prompt in prompts.items():
        request = Request(
            seconds=SECONDS, prompt_seconds=None if prompt is None else PROMPT_SECONDS, seed=step
        )
        found = ContinuationStream(engine, prompt, request, settings_from("balanced")).run()[0]
        path = folder / f"step-{step:08d}-{name}.mid"
        found.save(path, force=True)
        written.append(path)
    return written
