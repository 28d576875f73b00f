"""The public Transkun model (MIT; Yan and Duan 2024), as the package ``transkun`` carries it.

Its own command line needs ``pkg_resources``, pydub and ffmpeg, and holds a whole recording in
memory; here only its network runs, one segment at a time.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from math import ceil
from types import ModuleType, SimpleNamespace
from typing import Any

from arietta.arrays import Float32Array
from arietta.errors import CheckpointError, MissingExtraError
from arietta.sound.transcription import Event


class Transkun:
    """Read one segment after the other of one recording.

    Raises:
        MissingExtraError: the package is not installed.
        CheckpointError: it is another version than the one this was written for.
    """

    def __init__(self, device: str = "cpu") -> None:
        try:
            self.name = f"transkun {version('transkun')}"
        except PackageNotFoundError as error:
            raise MissingExtraError("transcribing audio", "transcribe") from error
        self._model, self._frames_of = _load(device)
        self._device = device
        model = self._model
        self.sample_rate = int(model.fs)
        self.segment_frames = ceil(model.segmentSizeInSecond * model.fs)
        self.step_frames = ceil(model.segmentHopSizeInSecond * model.fs / model.hopSize) * int(
            model.hopSize
        )
        pad_s = model.segmentSizeInSecond - model.segmentHopSizeInSecond
        self.pad_frames = ceil(pad_s * model.fs)
        self.begin()

    def begin(self) -> None:
        """Forget what was read: the next segment begins another recording."""
        model = self._model
        # Each pitch may have its first event behind the silence in front of the recording.
        self._starts = [self.pad_frames // model.hopSize] * len(model.targetMIDIPitch)

    def read(self, segment: Float32Array) -> list[Event]:
        """Return the events of the next segment, (frames, channels), in order of their starts."""
        import torch

        model = self._model
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations inside of the package
            sound = torch.from_numpy(segment.T.copy()).to(self._device)
            frames = self._frames_of(sound, model.hopSize, model.windowSize)
            (notes,), last = model.transcribeFrames(
                frames[None],
                forcedStartPos=self._starts,
                velocityCriteron="hamming",
                lastFrameIdx=round(self.segment_frames / model.hopSize),
            )
        step = self.step_frames // model.hopSize
        self._starts = [max(place - step, 0) for place in last]
        return [
            Event(
                float(one.start),
                float(one.end),
                int(one.pitch),
                int(one.velocity),
                bool(one.hasOnset),
                bool(one.hasOffset),
            )
            for one in notes
        ]


def _load(device: str) -> tuple[Any, Any]:
    with _without_torchaudio(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside of the package
        try:
            import moduleconf
            import torch
            from transkun.Util import makeFrame

            place = files("transkun") / "pretrained"
            settings = moduleconf.parseFromFile(str(place / "2.0.conf"))["Model"]
            model = settings.module.TransKun(conf=settings.config)
            state = torch.load(str(place / "2.0.pt"), map_location="cpu", weights_only=True)
            model.load_state_dict(state.get("best_state_dict", state["state_dict"]))
        except (ImportError, OSError, RuntimeError, KeyError, AttributeError) as error:
            raise CheckpointError(
                f"the package transkun cannot be used ({type(error).__name__}: {error}); its"
                " version 2.0.1 can: pip install 'arietta[transcribe]'"
            ) from error
    return model.to(device).eval(), makeFrame


@contextmanager
def _without_torchaudio() -> Iterator[None]:
    """Give the package a stand-in for torchaudio, which it asks for the size of one table alone.

    The table itself comes with its weights. A torchaudio of another version than torch cannot be
    loaded at all.
    """

    def table(*, n_freqs: int, n_mels: int, **_: object) -> Any:
        import torch

        return torch.zeros(n_freqs, n_mels)

    stand_in = ModuleType("torchaudio")
    stand_in.functional = SimpleNamespace(melscale_fbanks=table)  # type: ignore[attr-defined]
    before = sys.modules.get("torchaudio")
    sys.modules["torchaudio"] = stand_in
    try:
        yield
    finally:
        if before is None:
            del sys.modules["torchaudio"]
        else:
            sys.modules["torchaudio"] = before
