"""Is a continuation as loud in a player as the same notes alone?

    python -m benchmarks.level [--seconds S]

Every prompt of ``tests/cases/midi`` is continued by the shipped model and played by FluidSynth with
the bundled piano twice: behind the prompt, and the new notes as a file of their own that sets no
controller but the volume and expression under which the prompt's first note is struck. What a
prompt leaves behind (a fade, a pedal, a bend) must not change the level: filed is the difference in
dB from the seam on, without reverb and chorus, and how many lie within 3 dB.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

import arietta
from arietta.arrays import FloatArray
from arietta.midi.notes import ExtraTable
from arietta.midi.piece import Piece
from arietta.midi.seam import EXPRESSION, VOLUME, channel_states, tracks_of
from arietta.paths import assets_dir
from benchmarks.common import file_result

CASES = Path(__file__).resolve().parent.parent / "tests" / "cases" / "midi"
NEAR_DB = 3.0
RATE = 22_050


def sound(piece: Piece, folder: Path) -> FloatArray:
    """(frames,) what FluidSynth makes of a piece, both channels together."""
    midi, wav = folder / "in.mid", folder / "out.wav"
    piece.save(midi, force=True)
    command = ["fluidsynth", "-ni", "-q", "-R", "0", "-C", "0", "-g", "0.3", "-r", str(RATE)]
    command += ["-F", str(wav), str(assets_dir() / "piano.sf3"), str(midi)]
    subprocess.run(command, check=True, capture_output=True)
    return np.asarray(soundfile.read(wav, always_2d=True)[0].mean(axis=1), np.float64)


def level_db(frames: FloatArray) -> float:
    """Mean power in dB."""
    return float(10 * np.log10(max(float(np.mean(frames**2)), 1e-12)))


def alone(out: arietta.Continuation, notes: int) -> Piece:
    """Return the new notes at their place, with their own pedal and nothing of the prompt's."""
    piece = out.piece
    old = int(out.prompt.notes.track.max(initial=-1))
    seam = int(piece.tempo.tick_at(out.seam_ms))
    new = piece.notes.take(piece.notes.track > old)
    assert len(new) == notes
    pedals = piece.pedals.take((piece.pedals.track > old) & (piece.pedals.tick >= seam))
    first = int(out.prompt.notes.onset_tick.min(initial=0))
    set_first = [
        bytes((0xB0 | channel, number, state.values[number]))
        for channel, state in channel_states(tracks_of(out.prompt), first).items()
        for number in (VOLUME, EXPRESSION)
        if number in state.values
    ]
    zeros = np.zeros(len(set_first), np.int64)
    extra = ExtraTable(zeros, zeros.astype(np.int32), tuple(set_first))
    programs = piece.programs.take(piece.programs.track > old)
    return Piece(piece.tempo, new, pedals, programs, extra)


def main() -> None:
    """Measure, print a table, file the result."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=10.0, help="of each continuation")
    given = options.parse_args()
    if shutil.which("fluidsynth") is None:
        print("skipped: the program fluidsynth is not installed", file=sys.stderr)
        return
    model = arietta.load("small")
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        for path in sorted(CASES.glob("*.mid")):
            out = model.stream(arietta.read(path), seconds=given.seconds, seed=1).run()[0]
            parts = [sound(out.piece, Path(name)), sound(alone(out, out.stats.notes), Path(name))]
            # Behind the seam, when the prompt's last notes have died away.
            first = int((out.seam_ms / 1000 + 1.0) * RATE)
            last = min(len(part) for part in parts)
            together, single = (level_db(part[first:last]) for part in parts)
            found[path.stem] = round(together - single, 2)
            print(f"{path.stem:32} {found[path.stem]:+.2f} dB")
    off = np.abs(list(found.values()))
    figures = {
        "model_sha256": out.provenance["model_sha256"],
        "difference_db": found,
        "worst_db": float(off.max()),
        "within_3_db": int(np.count_nonzero(off <= NEAR_DB)),
        "cases": len(found),
    }
    print(f"{figures['within_3_db']} of {len(found)} within {NEAR_DB:g} dB")
    print(f"filed in {file_result('level', figures).name}")


if __name__ == "__main__":
    main()
