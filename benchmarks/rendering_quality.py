"""How close are renderings to human performances, on the published test set of 23 pieces?

    python -m benchmarks.rendering_quality TESTSET PAIRS [--models rules] [--renderings NAME=FOLDER]

TESTSET holds ``score/P.mid`` and ``human/P-K.mid`` as the Pianist Transformer publishes them, and
``performance/`` its own renderings. PAIRS is what ``arietta data pairs`` makes of the ASAP
alignments. The table compares the score itself, every model, the published renderings and people
with each other. It also shows the distance of our figures from the anchor figures of the public
script and of an independent measurement. Sizes (error of log tempo beside a metronome's, swing and
voicing beside people's) and how much two takes of one system differ stand beside that; give
``--variations 2`` for the latter. The tempo map is measured on the published renderings.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from arietta.data.pairs import Played
from arietta.evaluation.rendering import match_rendering
from arietta.midi.note_ons import read_note_ons
from arietta.midi.reader import read_bytes
from arietta.notation.score_notes import PerformedNotes, ScoreNotes
from arietta.rendering.tempo_map import editable
from benchmarks.common import file_result

PUBLISHED = "published"
ANCHORS = {
    (PUBLISHED, "files"): (0.1633, 0.8483),
    (PUBLISHED, "distinct"): (0.1510, 0.8634),
    ("score as is", "files"): (0.6577, 0.3262),
    ("score as is", "distinct"): (0.6926, 0.2939),
    ("human vs human", "distinct"): (0.0486, 0.9583),
    ("human vs human", "other_piece"): (0.0733, 0.9342),
}
"""Overall distance and intersection by the public functions."""

ALIGNED_ANCHORS = {
    "score as is": (0.348, 0.091, 0.579),
    PUBLISHED: (0.511, 0.268, 0.584),
    "human vs human": (0.660, 0.567, 0.757),
}
"""Velocity, tempo, articulation of an earlier measurement. It leaves out a piece whose published
rendering lacks a note, and treats constant velocities as unknown, not as 0."""


def main() -> None:
    """Measure, print, file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("testset", type=Path)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--models", nargs="+", default=["rules"])
    parser.add_argument("--renderings", nargs="*", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--variations", type=int, default=1)
    parser.add_argument("--result", default="rendering_quality", help="name of the result")
    parser.add_argument("--no-file", action="store_true", help="print, but file no result")
    arguments = parser.parse_args()
    words = ["evaluate", "rendering", str(arguments.testset), "--pairs", str(arguments.pairs)]
    words += ["--variations", str(arguments.variations), "--json"]
    words += [f"--model={name}" for name in arguments.models]
    folders = [f"{PUBLISHED}={arguments.testset / 'performance'}", *arguments.renderings]
    words += [f"--renderings={text}" for text in folders]
    done = subprocess.run(
        [sys.executable, "-m", "arietta", *words], check=True, capture_output=True, text=True
    )
    figures: dict[str, Any] = json.loads(done.stdout)
    figures["music"] = arguments.testset.name
    figures["anchors"] = {
        f"{name}, {weight}": {
            "anchor": wanted,
            "measured": [
                round(figures["systems"][name][weight]["overall"][key], 4)
                for key in ("distance", "intersection")
            ],
        }
        for (name, weight), wanted in ANCHORS.items()
    }
    figures["aligned_anchors"] = ALIGNED_ANCHORS
    figures["tempo_map"] = tempo_map_errors(arguments.testset)
    for name, system in figures["systems"].items():
        aligned = {key: system["aligned"][key] for key in ("velocity", "tempo", "articulation")}
        print(f"{name:16} {system['distinct']['overall']} {aligned}")
        print(f"{'':16} {system.get('sizes')} between takes {system.get('between_takes')}")
    for name, row in figures["anchors"].items():
        print(f"{name:32} {row}")
    print(figures["tempo_map"])
    if not arguments.no_file:
        print(file_result(arguments.result, rounded(figures)))


def tempo_map_errors(testset: Path) -> dict[str, Any]:
    """Measure the onset error of the editable form of every published rendering."""
    worst, on_grid, uneven = {}, {}, {}
    for path in sorted((testset / "performance").glob("*.mid"), key=lambda p: int(p.stem)):
        score = ScoreNotes.from_piece(read_note_ons(testset / "score" / path.name))
        piece = read_note_ons(path)
        played = whole(match_rendering(score, piece))
        result = editable(score, played)
        again = ScoreNotes.from_piece(read_bytes(result.piece.to_bytes()))
        wanted = np.lexsort((played.onset_ms, score.pitch))
        got = np.lexsort((again.onset_ms, again.pitch))
        assert np.array_equal(score.pitch[wanted], again.pitch[got])
        worst[path.stem] = float(np.abs(again.onset_ms[got] - played.onset_ms[wanted]).max())
        on_grid[path.stem] = float(result.on_grid.mean())
        change = np.abs(np.diff(np.log(result.piece.tempo.us_per_quarter.astype(float))))
        uneven[path.stem] = float(np.mean(change > np.log(1.5))) if len(change) else 0.0
    return {
        "pieces": len(worst),
        "worst_ms": max(worst.values()),
        "median_worst_ms": float(np.median(list(worst.values()))),
        "uneven_neighbours": max(uneven.values()),
        "notes_on_grid": float(np.mean(list(on_grid.values()))),
        "worst_ms_by_piece": worst,
    }


def whole(played: Played) -> PerformedNotes:
    """Fill in the rows that the program of a rendering lost, between their neighbours."""
    known = np.isfinite(played.onset_ms)
    rows = np.arange(len(known))
    columns = [np.interp(rows, rows[known], column[known]) for column in played]
    return PerformedNotes(columns[0], columns[1], np.clip(columns[2], 1, 127).astype(np.uint8))


def rounded(value: Any) -> Any:
    """Round figures to five digits."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return round(value, 5) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
