"""Load test sets of rendering: scores with human takes, as files or as pairs.

Files: ``score/P.mid`` and ``human/P-K.mid`` as published with the Pianist Transformer; alignments
come from a file of pairs, by the content of the takes. Pairs: output of ``arietta data pairs``.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from arietta.data.pairs import OTHER_PIECE, Pair, Played, other_piece, read_pairs
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

Refuse = Callable[[str, str], None]
"""Called with the name and the reason of what is left out."""


def load_test_set(
    path: Path, pairs: Path | None = None, refuse: Refuse = lambda *_: None
) -> list[TestPiece]:
    """Load the pieces of a test set, sorted by name.

    Args:
        path: a folder of files, or a file of pairs.
        pairs: file of pairs with alignments of the takes of a folder.
        refuse: see ``of_pairs``.

    Raises:
        InputError: there is nothing to evaluate, or a file cannot be read.
        MissingExtraError: pairs need pyarrow.
    """
    if path.is_dir():
        return _folder(path, {} if pairs is None else _by_content(read_pairs(pairs)))
    return of_pairs(read_pairs(path, min_match=0.0), refuse)


def of_pairs(pairs: Iterable[Pair], refuse: Refuse = lambda *_: None) -> list[TestPiece]:
    """Build a test set from pairs: group them by score; poor alignments are dropped.

    Scores are told apart by their content, and each has a name of its own, also where several lie
    in one folder.

    Args:
        pairs: scores with takes.
        refuse: told the name and the reason of every take that seems to be of another piece.
    """
    scores: dict[str, tuple[str, ScoreNotes, list[HumanTake]]] = {}
    names: Counter[str] = Counter()
    for pair in pairs:
        share = min(pair.match_score, pair.match_take)
        if share < OTHER_PIECE:
            refuse(pair.id, other_piece(share))
            continue
        key = pair.about.get("score_sha256") or _content(pair.score)
        if key not in scores:
            name = PurePosixPath(pair.id.removeprefix("pairs/")).parent.as_posix()
            name = name.replace("/", "_")
            names[name] += 1
            number = names[name]
            scores[key] = (name if number == 1 else f"{name} {number}", pair.score, [])
        scores[key][2].append(
            HumanTake(
                pair.id,
                pair.about.get("performance_sha256", pair.id),
                histograms(merge_tracks(pair.take)),
                pair.played() if pair.good else None,
            )
        )
    return [
        TestPiece(name, score, histograms(merge_tracks(score.piece)), tuple(takes))
        for name, score, takes in scores.values()
    ]


def _content(score: ScoreNotes) -> str:
    """Return what tells a score from every other."""
    rows = (score.onset_tick, score.offset_tick, score.pitch)
    return hashlib.sha256(b"".join(np.ascontiguousarray(row).tobytes() for row in rows)).hexdigest()


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
