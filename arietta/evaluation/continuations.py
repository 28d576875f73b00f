"""Compare statistics of generated continuations with human ones, to detect degeneration.

Definition. A continuation is a stretch of music of known length; ``describe`` computes its
statistics, ``compare`` compares generated stretches with the human stretches of the same prompts.

Conventions. Performances carry no bar lines, so a *bar* here is a stretch of 2 s, and two bars are
equal when they hold the same pitches in the same order (at least four notes). A *chord note* starts
within 30 ms of another note. Entropies are in bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from arietta.arrays import FloatArray

BAR_MS = 2_000.0
CHORD_MS = 30.0
PHRASE_NOTES = 8


@dataclass(frozen=True)
class Description:
    """Hold the statistics of one stretch of music.

    Attributes:
        notes_per_second: onsets per second.
        chord_share: share of notes that start within 30 ms of another.
        pitch_class_entropy: 0..3.58 bits.
        pitch_mean, pitch_sd: MIDI pitch.
        velocity_mean, velocity_sd: 0..127.
        duration_log_mean: mean natural log of the duration in ms, pedal included.
        repeated_bars: share of bars that equal an earlier one.
        repeated_phrases: share of eight-pitch sequences that occurred before.
        longest_gap_s: longest time without an onset.
    """

    notes_per_second: float
    chord_share: float
    pitch_class_entropy: float
    pitch_mean: float
    pitch_sd: float
    velocity_mean: float
    velocity_sd: float
    duration_log_mean: float
    repeated_bars: float
    repeated_phrases: float
    longest_gap_s: float


def describe(
    onset_ms: npt.NDArray[Any],
    duration_ms: npt.NDArray[Any],
    pitch: npt.NDArray[Any],
    velocity: npt.NDArray[Any],
    length_ms: float,
) -> Description | None:
    """Compute the statistics of a stretch from 0 to ``length_ms``; None without notes.

    Args:
        onset_ms, duration_ms, pitch, velocity: (n,) columns in onset order.
        length_ms: length of the stretch, including silence at its end.
    """
    if not len(onset_ms):
        return None
    onset = np.asarray(onset_ms, np.float64)
    keys = np.asarray(pitch, np.int64)
    share = np.bincount(keys % 12, minlength=12) / len(keys)
    share = share[share > 0]
    near = np.diff(onset) <= CHORD_MS
    in_chord = np.append(near, False) | np.insert(near, 0, False)
    bars: list[bytes] = []
    index = (onset // BAR_MS).astype(np.int64)
    for bar in np.unique(index):
        inside = keys[index == bar]
        if len(inside) >= 4:
            bars.append(inside.astype(np.uint8).tobytes())
    phrases = [keys[i : i + PHRASE_NOTES].tobytes() for i in range(len(keys) - PHRASE_NOTES + 1)]
    edges = np.concatenate(([0.0], onset, [max(length_ms, float(onset[-1]))]))
    return Description(
        notes_per_second=len(onset) / (length_ms / 1000.0),
        chord_share=float(in_chord.mean()),
        pitch_class_entropy=float(-(share * np.log2(share)).sum()),
        pitch_mean=float(keys.mean()),
        pitch_sd=float(keys.std()),
        velocity_mean=float(np.mean(velocity)),
        velocity_sd=float(np.std(velocity)),
        duration_log_mean=float(np.log(np.maximum(duration_ms, 1)).mean()),
        repeated_bars=1 - len(set(bars)) / len(bars) if bars else 0.0,
        repeated_phrases=1 - len(set(phrases)) / len(phrases) if phrases else 0.0,
        longest_gap_s=float(np.diff(edges).max()) / 1000.0,
    )


def overlap(a: FloatArray, b: FloatArray, bins: int = 8) -> float:
    """Return the shared area of two histograms over the quantiles of both together, 0..1.

    Quantile bins make it independent of the unit; two samples of n = 40 from one distribution reach
    about 0.8, which is the ceiling.
    """
    edges = np.unique(np.quantile(np.concatenate((a, b)), np.linspace(0, 1, bins + 1)))
    if len(edges) < 2:
        return 1.0
    ha, hb = np.histogram(a, edges)[0] / len(a), np.histogram(b, edges)[0] / len(b)
    return float(np.minimum(ha, hb).sum())


def compare(
    generated: Sequence[Description | None], human: Sequence[Description | None]
) -> dict[str, Any]:
    """Compare each statistic: medians and quartiles of both, overlap, and mean paired error.

    Args:
        generated, human: one entry a prompt, in the same order; None for a stretch without notes.

    Returns:
        ``silent``: generated stretches without notes; ``mean_overlap``; ``statistics``.
    """
    pairs = [
        (g, h) for g, h in zip(generated, human, strict=True) if g is not None and h is not None
    ]
    table: dict[str, Any] = {}
    for name in (f.name for f in fields(Description)):
        a = np.array([getattr(g, name) for g, _ in pairs])
        b = np.array([getattr(h, name) for _, h in pairs])
        table[name] = {
            "generated": [round(float(q), 3) for q in np.quantile(a, (0.25, 0.5, 0.75))],
            "human": [round(float(q), 3) for q in np.quantile(b, (0.25, 0.5, 0.75))],
            "overlap": round(overlap(a, b), 3),
            "paired_error": round(float(np.abs(a - b).mean()), 3),
        }
    return {
        "pairs": len(pairs),
        "silent": sum(g is None for g in generated),
        "mean_overlap": round(float(np.mean([t["overlap"] for t in table.values()])), 3),
        "statistics": table,
    }
