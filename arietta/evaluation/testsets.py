"""Load test sets of rendering: scores with human takes, as files or as pairs.

Files: ``score/P.mid`` and ``human/P-K.mid`` as published with the Pianist Transformer; alignments
come from a file of pairs, by the content of the takes. Pairs: output of ``arietta data pairs``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from arietta.data.pairs import MIN_MATCH, Pair, Played, read_pairs
from arietta.errors import InputError
from arietta.evaluation.rendering import (
    HumanTake,
    Rendering,
    TestPiece,
    histograms,
    match_rendering,
    played_rows,
)
from arietta.midi.merged import merge_tracks, read_merged
from arietta.midi.note_ons import read_note_ons
from arietta.notation.score_notes import PerformedNotes, ScoreNotes


def load_test_set(path: Path, pairs: Path | None = None) -> list[TestPiece]:
    """Load the pieces of a test set, sorted by name.

    Args:
        path: a folder of files, or a file of pairs.
        pairs: file of pairs with alignments of the takes of a folder.

    Raises:
        InputError: there is nothing to evaluate, or a file cannot be read.
        MissingExtraError: pairs need pyarrow.
    """
    if path.is_dir():
        return _folder(path, {} if pairs is None else _by_content(read_pairs(pairs)))
    return of_pairs(read_pairs(path, min_match=0.0))


def of_pairs(pairs: Iterable[Pair]) -> list[TestPiece]:
    """Build a test set from pairs: group them by score; poor alignments are dropped."""
    scores: dict[str, tuple[str, ScoreNotes, list[HumanTake]]] = {}
    for pair in pairs:
        name = PurePosixPath(pair.id.removeprefix("pairs/")).parent.as_posix().replace("/", "_")
        key = pair.about.get("score_sha256", name)
        takes = scores.setdefault(key, (name, pair.score, []))[2]
        good = min(pair.match_score, pair.match_take) >= MIN_MATCH
        takes.append(
            HumanTake(
                pair.id,
                pair.about.get("performance_sha256", pair.id),
                histograms(merge_tracks(pair.take)),
                pair.played() if good else None,
            )
        )
    return [
        TestPiece(name, score, histograms(merge_tracks(score.piece)), tuple(takes))
        for name, score, takes in scores.values()
    ]


def rendering_of(score: ScoreNotes, performed: PerformedNotes) -> Rendering:
    """Convert a performance of our renderer for evaluation."""
    return Rendering(
        histograms(merge_tracks(performed.to_piece(score))), played_rows(score, performed)
    )


def rendering_file(score: ScoreNotes, path: Path) -> Rendering:
    """Read a rendering of another program.

    Raises:
        InputError: the file cannot be read.
    """
    data = _bytes(path)
    counts = histograms(read_merged(data, source=str(path)))
    return Rendering(counts, match_rendering(score, read_note_ons(data, source=str(path))))


def _folder(path: Path, known: Mapping[tuple[str, str], Played]) -> list[TestPiece]:
    files = sorted((path / "score").glob("*.mid"), key=lambda p: (len(p.stem), p.stem))
    if not files:
        raise InputError(f"{path}: no score/*.mid; give a test set, or a file of pairs")
    pieces = []
    for file in files:
        data = _bytes(file)
        score = ScoreNotes.from_piece(read_note_ons(data, source=str(file)))
        written = histograms(read_merged(data, source=str(file)))
        own = hashlib.sha256(data).hexdigest()
        takes = []
        for take in sorted(
            (path / "human").glob(f"{file.stem}-*.mid"), key=lambda p: (len(p.stem), p.stem)
        ):
            data = _bytes(take)
            key = hashlib.sha256(data).hexdigest()
            counts = histograms(read_merged(data, source=str(take)))
            takes.append(HumanTake(take.name, key, counts, known.get((own, key))))
        pieces.append(TestPiece(file.stem, score, written, tuple(takes)))
    return pieces


def _by_content(pairs: Iterable[Pair]) -> dict[tuple[str, str], Played]:
    """Index performances by the content of score and take."""
    return {
        (pair.about["score_sha256"], pair.about["performance_sha256"]): pair.played()
        for pair in pairs
        if {"score_sha256", "performance_sha256"} <= set(pair.about)
    }


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
