"""How fast is the synthesis of a piece, and how close is its loudness to that of FluidSynth?

    python -m benchmarks.sound

Each included prompt is synthesised twice in a fresh process: cold (samples decoded and transposed)
and warm. If a ``fluidsynth`` command is installed, the loudness envelopes of both on the same bank
are compared.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from arietta.arrays import Float32Array
from arietta.midi.reader import read
from arietta.paths import assets_dir
from arietta.sound.sampler import SAMPLE_RATE, render
from benchmarks.common import file_result

PROMPTS = ("waltz", "nocturne", "classical", "smooth_jazz", "pokey_jazz")
ENVELOPE_FRAMES = SAMPLE_RATE // 20


def one(name: str) -> dict[str, Any]:
    """Return the figures of one prompt, in this process."""
    import resource

    path = assets_dir() / "prompts" / f"{name}.mid"
    piece = read(path)
    times = []
    for _ in range(2):
        began = time.perf_counter()
        audio = render(piece)
        times.append(time.perf_counter() - began)
    seconds = len(audio) / SAMPLE_RATE
    figures = {
        "notes": len(piece),
        "music_seconds": round(seconds, 1),
        "cold_seconds": round(times[0], 2),
        "warm_seconds": round(times[1], 2),
        "cold_times_realtime": round(seconds / times[0], 1),
        "peak": round(float(np.abs(audio).max()), 4),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    if shutil.which("fluidsynth"):
        figures["envelope_correlation_with_fluidsynth"] = round(compare(path, audio), 3)
    return figures


def compare(midi: Path, audio: Float32Array) -> float:
    """Correlate 50 ms levels in dB, over what lies within 60 dB of the peak."""
    import soundfile

    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "reference.wav"
        bank = assets_dir() / "piano.sf3"
        options = ["-ni", "-R", "0", "-C", "0", "-r", str(SAMPLE_RATE), "-O", "float", "-F"]
        command = ["fluidsynth", *options, str(wav), str(bank), str(midi)]
        subprocess.run(command, check=True, capture_output=True)
        reference, _ = soundfile.read(wav, dtype="float32")
    n = min(len(reference), len(audio)) // ENVELOPE_FRAMES * ENVELOPE_FRAMES
    ours, theirs = (_envelope_db(x[:n]) for x in (audio, reference))
    audible = theirs > theirs.max() - 60
    return float(np.corrcoef(ours[audible], theirs[audible])[0, 1])


def _envelope_db(audio: Float32Array) -> Float32Array:
    power = (audio**2).mean(axis=1).reshape(-1, ENVELOPE_FRAMES).mean(axis=1)
    return np.asarray(10 * np.log10(power + 1e-12), np.float32)


def main() -> None:
    """Measure every prompt in a separate process and file the result; a named prompt alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prompt", nargs="?", help="measure this one here, and file nothing")
    given = parser.parse_args()
    if given.prompt is not None:
        print(json.dumps(one(given.prompt)))
        return
    figures = {}
    for name in PROMPTS:
        command = [sys.executable, "-m", "benchmarks.sound", name]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        figures[name] = json.loads(done.stdout)
        print(name, done.stdout.strip())
    print(file_result("sound", figures))


if __name__ == "__main__":
    main()
