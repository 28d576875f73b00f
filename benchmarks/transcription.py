"""How much of our own synthesis does ``arietta transcribe`` write down again?

    python -m benchmarks.transcription [--seconds 40]

Every shipped prompt is sounded by the bundled piano and transcribed. mir_eval compares the notes:
an onset is right within 50 ms, and a velocity within a tenth after its own linear fit. The pedal is
compared every 10 ms. Clean synthesis: expect less of recordings.

It needs the extra ``transcribe``, which brings mir_eval.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import mir_eval.transcription as notes_of
import mir_eval.transcription_velocity as velocities_of
import numpy as np

from arietta.arrays import FloatArray, IntArray
from arietta.midi.pedal import pedal_offsets
from arietta.midi.piece import Piece
from arietta.midi.reader import read
from arietta.paths import assets_dir
from arietta.sound.files import write_piece
from arietta.sound.torch_transkun import Transkun
from arietta.sound.transcription import read_blocks, transcribe, without_overtones
from benchmarks.common import file_result

TOLERANCE_S = 0.05
FRAME_MS = 10.0


def beginning(piece: Piece, seconds: float) -> Piece:
    """Return the notes and pedals of the first seconds."""
    times = piece.tempo.ms_at(piece.pedals.tick)
    notes, pedals = piece.onset_ms < seconds * 1000, times < seconds * 1000
    return Piece.from_ms(
        piece.onset_ms[notes],
        piece.duration_ms[notes],
        piece.notes.pitch[notes],
        piece.notes.velocity[notes],
        pedal_time_ms=times[pedals],
        pedal_value=piece.pedals.value[pedals],
    )


def columns(piece: Piece, *, pedalled: bool) -> tuple[FloatArray, FloatArray, IntArray]:
    """Return (n, 2) seconds, (n,) frequencies and (n,) velocities, as mir_eval takes them."""
    start = piece.onset_ms / 1000
    end = (piece.onset_ms + piece.duration_ms) / 1000
    if pedalled:
        end = np.maximum(end, piece.tempo.ms_at(pedal_offsets(piece)) / 1000)
    spans = np.stack([start, np.maximum(end, start + 0.001)], axis=1)
    frequency = 440.0 * 2 ** ((piece.notes.pitch.astype(np.float64) - 69) / 12)
    return spans, frequency, piece.notes.velocity.astype(np.int64)


def pedal_frames(piece: Piece, end_ms: float) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return whether the pedal is down, every 10 ms."""
    at = np.arange(0, end_ms, FRAME_MS)
    times = piece.tempo.ms_at(piece.pedals.tick)
    last = np.searchsorted(times, at, side="right") - 1
    if not len(times):
        return np.zeros(len(at), bool)
    return np.where(last >= 0, piece.pedals.value[np.maximum(last, 0)] >= 64, False)


def compare(truth: Piece, found: Piece) -> dict[str, float | None]:
    """Return the figures of one piece."""
    spans, pitches, velocities = columns(truth, pedalled=True)
    spans_found, pitches_found, velocities_found = columns(found, pedalled=True)
    onset = notes_of.precision_recall_f1_overlap(
        spans, pitches, spans_found, pitches_found, onset_tolerance=TOLERANCE_S, offset_ratio=None
    )
    ends = notes_of.precision_recall_f1_overlap(
        spans, pitches, spans_found, pitches_found, onset_tolerance=TOLERANCE_S
    )
    loud = velocities_of.precision_recall_f1_overlap(
        *(spans, pitches, velocities, spans_found, pitches_found, velocities_found),
        onset_tolerance=TOLERANCE_S,
        offset_ratio=None,
    )
    end_ms = max(truth.end_ms, found.end_ms)
    down, down_found = pedal_frames(truth, end_ms), pedal_frames(found, end_ms)
    both = int((down & down_found).sum())
    pedal = 2 * both / (down.sum() + down_found.sum()) if down.any() or down_found.any() else None
    return {
        "precision": round(onset[0], 4),
        "recall": round(onset[1], 4),
        "onset_f1": round(onset[2], 4),
        "onset_and_sounding_end_f1": round(ends[2], 4),
        "onset_and_velocity_f1": round(loud[2], 4),
        "pedal_f1": None if pedal is None else round(float(pedal), 4),
    }


def main() -> None:
    """Measure every prompt and file the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transcription", description=__doc__)
    parser.add_argument("--seconds", type=float, default=40.0, help="of each prompt")
    given = parser.parse_args()
    rows: dict[str, Any] = {}
    sound = 0.0
    began, used = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted((assets_dir() / "prompts").glob("*.mid")):
            truth = beginning(read(path), given.seconds)
            wav = Path(folder) / f"{path.stem}.wav"
            sound += write_piece(wav, truth)
            model = Transkun()
            raw = transcribe(read_blocks(wav, model.sample_rate)[1], model)
            rows[path.stem] = {
                "notes": len(truth),
                "onset_f1_with_overtones": compare(truth, raw)["onset_f1"],
                **compare(truth, without_overtones(raw)),
            }
            print(path.stem, rows[path.stem], flush=True)
    total = sum(row["notes"] for row in rows.values())
    figures = {
        "model": model.name,
        "sound_seconds": round(sound, 1),
        "notes": total,
        "mean_onset_f1": round(float(np.mean([row["onset_f1"] for row in rows.values()])), 4),
        "lowest_onset_f1": min(row["onset_f1"] for row in rows.values()),
        "pieces": rows,
        "cpu_seconds_per_second_of_sound": round((time.process_time() - used) / sound, 2),
        "wall_seconds_per_second_of_sound": round((time.perf_counter() - began) / sound, 2),
        "peak_memory_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }
    print(figures)
    file_result("transcription", figures)


if __name__ == "__main__":
    main()
