"""The public model, where it is installed: ``make test-transcribe``, some minutes of a core."""

from __future__ import annotations

import os

import numpy as np
import pytest

from arietta.midi.passages import piece_from
from arietta.midi.reader import read
from arietta.paths import assets_dir
from arietta.sound.sampler import render
from arietta.sound.torch_transkun import Transkun
from arietta.sound.transcription import Event, _piece, transcribe

pytestmark = pytest.mark.skipif(
    os.environ.get("ARIETTA_TRANSCRIBE") != "1", reason="takes minutes: make test-transcribe"
)


@pytest.mark.filterwarnings("ignore")  # deprecations inside of the package
def test_segments_from_a_stream_give_what_the_public_code_gives() -> None:
    import torch

    prompt = read(assets_dir() / "prompts" / "waltz.mid")
    sound = render(piece_from(prompt, float(prompt.onset_ms[0])))[: 12 * 44_100]
    model = Transkun()
    ours = transcribe([sound[i : i + 88_200] for i in range(0, len(sound), 88_200)], model)
    with torch.inference_mode():
        found = model._model.transcribe(torch.from_numpy(sound))
    theirs = _piece([Event(e.start, e.end, e.pitch, e.velocity) for e in found])
    assert len(ours) > 30
    for a, b in (
        (ours.onset_ms, theirs.onset_ms),
        (ours.duration_ms, theirs.duration_ms),
        (ours.notes.pitch, theirs.notes.pitch),
        (ours.notes.velocity, theirs.notes.velocity),
        (ours.pedals.tick, theirs.pedals.tick),
    ):
        np.testing.assert_array_equal(a, b)
