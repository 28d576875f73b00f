"""How close are renderings to human performances, on the published test set of 23 pieces?

    python -m benchmarks.rendering_quality TESTSET PAIRS [--models rules] [--renderings NAME=FOLDER]

TESTSET holds ``score/P.mid`` and ``human/P-K.mid`` as the Pianist Transformer publishes them, and
``performance/`` its own renderings. PAIRS is what ``arietta data pairs`` makes of the ASAP
alignments. The table compares the score itself, every model, the published renderings and people
with each other. It also shows the distance of our figures from the anchor figures of the public
script and of an independent measurement. Sizes (error of log tempo beside a metronome's, swing and
voicing beside people's) and how much two takes of one system differ stand beside that; give
``--variations 2`` for the latter. Pieces whose music other pairs hold under another name
are found by content, and figures are given without them as well; then by composer, and the tempo of
textures at metronome marks. Music of the test set should be looked at rarely: choose on validation
pairs. The tempo map is measured on the published renderings.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from arietta.api.evaluate import rendering
from arietta.data.pairs import Played, read_pairs
from arietta.data.twins import KeptApart
from arietta.evaluation.rendering import ALIGNED, match_rendering
from arietta.midi.note_ons import read_note_ons
from arietta.midi.notes import note_table
from arietta.midi.piece import Piece
from arietta.midi.reader import read_bytes
from arietta.midi.tempo import TempoMap
from arietta.notation.score_notes import PerformedNotes, ScoreNotes
from arietta.rendering.render import open_player, render
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

MARKS = (50, 72, 100, 132, 180)
TEXTURES = {
    "melody": [(480 * i, 470, 60 + (i * 5) % 13) for i in range(32)],
    "hymn": [(480 * i, 470, p + i % 3) for i in range(32) for p in (48, 60, 64, 67)],
    "whole notes": [(1920 * i, 1900, 60 + i % 5) for i in range(12)],
    "Alberti": [(240 * i, 230, (48, 55, 52, 55)[i % 4]) for i in range(64)]
    + [(960 * i, 900, 72 + i % 4) for i in range(16)],
    "sixteenths": [(120 * i, 110, 60 + (i * 7) % 24) for i in range(128)],
}
"""Notes as (onset, length, pitch) in ticks of 480 a quarter."""

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
    folders = {PUBLISHED: arguments.testset / "performance"}
    folders |= {name: Path(folder) for name, _, folder in map(split, arguments.renderings)}
    done = rendering(
        arguments.testset,
        pairs=arguments.pairs,
        models=arguments.models,
        renderings=folders,
        variations=arguments.variations,
    )
    figures: dict[str, Any] = done.to_dict()
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
    known = of_scores(arguments.testset, arguments.pairs)
    figures["twins"] = {name: twin for name, (_, twin) in known.items() if twin}
    figures["without_twins"] = without(figures["systems"], set(figures["twins"]))
    figures["by_composer"] = by_composer(figures["systems"], {n: c for n, (c, _) in known.items()})
    figures["textures"] = {name: textures(name) for name in arguments.models}
    for name, system in figures["systems"].items():
        aligned = {key: system["aligned"][key] for key in ("velocity", "tempo", "articulation")}
        print(f"{name:16} {system['distinct']['overall']} {aligned}")
        print(f"{'':16} {system.get('sizes')} between takes {system.get('between_takes')}")
        print(f"{'':16} consensus {system['consensus']}")
        print(f"{'':16} without twins {figures['without_twins'][name]}")
    for name in ("by_composer", "textures", "twins"):
        print(name, json.dumps(figures[name], indent=1))
    for name, row in figures["anchors"].items():
        print(f"{name:32} {row}")
    print(figures["tempo_map"])
    if not arguments.no_file:
        print(file_result(arguments.result, rounded(figures)))


def split(text: str) -> tuple[str, str, str]:
    """Return NAME, =, FOLDER."""
    return text.partition("=")


def of_scores(testset: Path, pairs: Path) -> dict[str, tuple[str, str]]:
    """Return composer of every test piece, and the score with its music that is not marked so."""
    files = sorted((testset / "score").glob("*.mid"))
    names = {hashlib.sha256(path.read_bytes()).hexdigest(): path.stem for path in files}
    composers: dict[str, str] = {}
    others = {}
    for pair in read_pairs(pairs, min_match=0.0):
        digest = pair.about.get("score_sha256", pair.id)
        if digest in names:
            composers[names[digest]] = pair.id.removeprefix("pairs/").split("/")[0]
        elif pair.about.get("pt_test") != "1":
            others[digest] = (pair.id, pair.score.piece)
    apart = KeptApart(others.values())
    found = {}
    for path in files:
        twin = apart.twin(path.stem, read_note_ons(path))
        found[path.stem] = (composers.get(path.stem, "?"), twin.of if twin else "")
    return found


def without(systems: dict[str, Any], twins: set[str]) -> dict[str, dict[str, float]]:
    """Return the mean correlations of every system without some pieces."""
    return {
        name: means([row for piece, row in system["by_piece"].items() if piece not in twins])
        for name, system in systems.items()
    }


def by_composer(systems: dict[str, Any], composers: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Return the mean correlations of every system by composer."""
    found: dict[str, dict[str, Any]] = {}
    for composer in sorted(set(composers.values())):
        for name, system in systems.items():
            rows = [row for n, row in system["by_piece"].items() if composers[n] == composer]
            if rows:
                found.setdefault(composer, {})[name] = {**means(rows), "pieces": len(rows)}
    return found


def means(rows: list[dict[str, float | None]]) -> dict[str, float]:
    """Return the mean of every measure where it is known."""
    return {
        name: float(np.mean([row[name] for row in rows if row[name] is not None] or [np.nan]))
        for name in ALIGNED
    }


def textures(model: str) -> dict[str, dict[str, float]]:
    """Return the tempo of renderings over the written one, by texture and metronome mark."""
    player = open_player(model)
    found: dict[str, dict[str, float]] = {}
    for name, notes in TEXTURES.items():
        onset, length, pitch = np.array(sorted(notes)).T
        piece = Piece(TempoMap.constant(480), note_table(onset, onset + length, pitch, 64))
        score = ScoreNotes.from_piece(piece)
        quarters = float(score.onset_quarter[-1])
        found[name] = {}
        for bpm in MARKS:
            (take,) = render(score, player, tempo=bpm)
            chord = take.score.chord
            onset_ms = np.bincount(chord, take.performed.onset_ms) / np.bincount(chord)
            played = quarters * 60_000 / float(onset_ms[-1] - onset_ms[0])
            found[name][str(bpm)] = played / bpm
    return found


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
