"""Where pairs come from: alignments that are given, as for ASAP, and takes of one's own.

Given: a folder with ``asap-pairs.tar.zst`` (or its content unpacked: ``index.csv``, ``pairs/``,
``scores/``) beside the archives that the index names, or beside their unpacked files.

One's own: a folder for each piece with one score and any number of takes. The score is the file in
a score format (MusicXML, MEI, kern), or the MIDI file with "score" in its name; all other MIDI
files are takes. They are aligned with parangonar (Peter et al., Apache-2.0).
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import numpy as np

from arietta.arrays import IntArray
from arietta.data.pairs import OTHER_PIECE, Pair, other_piece
from arietta.data.sources import MIDI_SUFFIXES, read_members
from arietta.errors import InputError, MissingExtraError
from arietta.midi.note_ons import read_note_ons
from arietta.midi.piece import Piece
from arietta.notation.score_notes import ScoreNotes

ALIGNMENTS = "asap-pairs.tar.zst"
INDEX = "index.csv"
_KEPT = (
    "performance_id",
    "score_midi_id",
    "piece_id",
    "split",
    "match_perf",
    "match_score",
    "robust",
    "pt_test",
)

Refuse = Callable[[str, str], None]


def is_given(folder: Path) -> bool:
    """Whether a folder holds alignments in the form of ``asap-pairs``."""
    return (folder / ALIGNMENTS).is_file() or (folder / INDEX).is_file()


# Alignments that are given


def given_pairs(folder: Path, refuse: Refuse) -> Iterator[Pair]:
    """Yield the pairs of an index, grouped by score.

    Args:
        folder: see above.
        refuse: told the name and the reason of every pair that cannot be had.

    Raises:
        InputError: the index or an archive cannot be read.
        MissingExtraError: archives are there, but zstandard is not installed.
    """
    texts = _tables(folder)
    try:
        index = list(csv.DictReader(io.StringIO(texts[INDEX].decode("utf-8"))))
        index.sort(key=lambda row: (row["score_midi_path"], row["pair"]))
        files = _files(
            folder,
            {(row["performance_shard"], row["performance_path"]) for row in index}
            | {(row["score_midi_shard"], row["score_midi_path"]) for row in index},
        )
    except KeyError as error:
        raise InputError(f"{folder}: {INDEX} has no {error}") from None
    for row in index:
        score_at = (row["score_midi_shard"], row["score_midi_path"])
        take_at = (row["performance_shard"], row["performance_path"])
        try:
            for at in (score_at, take_at):
                if at not in files:
                    raise InputError(f"{at[1]} is not in {at[0]}")
            for name in ("pair", "score_table"):
                if row[name] not in texts:
                    raise InputError(f"{row[name]} is missing")
            score = ScoreNotes.from_piece(read_note_ons(files[score_at], source=score_at[1]))
            take = read_note_ons(files[take_at], source=take_at[1])
            stroke = _given_strokes(score, take, texts[row["score_table"]], texts[row["pair"]])
        except InputError as error:
            refuse(row["pair"], str(error))
            continue
        about = {name: row[name] for name in _KEPT}
        about["performance_sha256"] = hashlib.sha256(files[take_at]).hexdigest()
        about["score_sha256"] = hashlib.sha256(files[score_at]).hexdigest()
        yield Pair(row["pair"], score, take, stroke, about)


def _tables(folder: Path) -> dict[str, bytes]:
    """Return the CSV tables of the alignments, by their path."""
    archive = folder / ALIGNMENTS
    if archive.is_file():
        return dict(read_members(archive, ".csv"))
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for part in (INDEX, "pairs/**/*.csv", "scores/**/*.csv")
        for path in folder.glob(part)
    }


def _files(folder: Path, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
    """Return the bytes of files in archives, or unpacked in a folder named like the archive."""
    found: dict[tuple[str, str], bytes] = {}
    for shard in sorted({shard for shard, _ in wanted}):
        names = {path for s, path in wanted if s == shard}
        if (folder / shard).is_file():
            for name, data in read_members(folder / shard, MIDI_SUFFIXES):
                if name in names:
                    found[shard, name] = data
            continue
        for base in (folder / shard.split(".")[0], folder):
            for name in names:
                if (shard, name) not in found and (base / name).is_file():
                    found[shard, name] = (base / name).read_bytes()
    return found


def _given_strokes(score: ScoreNotes, take: Piece, table: bytes, pairs: bytes) -> IntArray:
    """Strokes of the take for the rows of the score; both tables count by onset, then pitch."""
    rows = _numbers(table, "mid")[0]
    source, played = score.piece.notes, take.notes
    by_score = np.lexsort((source.pitch, source.onset_tick))
    by_take = np.lexsort((played.pitch, played.onset_tick))
    s, p = _numbers(pairs, "s", "p")
    both = (s >= 0) & (p >= 0)
    s, p = s[both], p[both]
    if len(s) and (int(s.max()) >= len(rows) or int(p.max()) >= len(by_take)):
        raise InputError("the alignment counts other notes than the files hold")
    mid = rows[s]
    if len(mid) and int(mid.max()) >= len(by_score):
        raise InputError("the score table counts other notes than the score file holds")
    p, mid = p[mid >= 0], mid[mid >= 0]
    row, stroke = score.row_of_source[by_score[mid]], by_take[p]
    same = (row >= 0) & (score.pitch[row] == played.pitch[stroke])
    found = np.full(len(score), -1, np.int64)
    # Of a unison's strokes the first counts: it is written last.
    found[row[same][::-1]] = stroke[same][::-1]
    return found


def _numbers(table: bytes, *names: str) -> tuple[IntArray, ...]:
    """Columns of whole numbers of a CSV table."""
    lines = table.decode("utf-8").splitlines()
    head = lines[0].split(",")
    at = [head.index(name) for name in names]
    cells = [line.split(",") for line in lines[1:]]
    return tuple(np.array([int(cell[i]) for cell in cells], np.int64) for i in at)


# One's own


def own_pairs(
    folder: Path,
    read_score: Callable[[Path], Piece],
    score_suffixes: frozenset[str],
    refuse: Refuse,
) -> Iterator[Pair]:
    """Yield the pairs of a folder of pieces, aligned here.

    Args:
        folder: one piece, or folders of pieces.
        read_score: reads any score file.
        score_suffixes: of files that are scores whatever their name.
        refuse: told the name and the reason of everything that is left out.

    Raises:
        MissingExtraError: parangonar is not installed.
    """
    for place in sorted({folder, *(p for p in folder.rglob("*") if p.is_dir())}):
        files = sorted(p for p in place.iterdir() if p.is_file() and not p.name.startswith("."))
        midi = [p for p in files if p.suffix.lower() in MIDI_SUFFIXES]
        notated = [p for p in files if p.suffix.lower() in score_suffixes]
        scores = notated or [p for p in midi if "score" in p.stem.lower()]
        takes = [p for p in midi if p not in scores]
        if not takes:
            continue
        where = str(place.relative_to(folder))
        if len(scores) != 1:
            refuse(where, f"{len(scores)} scores beside {len(takes)} takes; one is needed")
            continue
        try:
            score = ScoreNotes.from_piece(read_score(scores[0]))
        except InputError as error:
            refuse(where, str(error))
            continue
        for path in takes:
            name = path.relative_to(folder).as_posix()
            try:
                take = read_note_ons(path)
                stroke = align(score, take)
            except InputError as error:
                refuse(name, str(error))
                continue
            about = {"piece_id": where, "split": "train", "pt_test": "0"}
            about["performance_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
            about["score_sha256"] = hashlib.sha256(scores[0].read_bytes()).hexdigest()
            pair = Pair(name, score, take, stroke, about)
            share = min(pair.match_score, pair.match_take)
            if share < OTHER_PIECE:
                refuse(name, other_piece(share))
                continue
            yield pair


def align(score: ScoreNotes, take: Piece) -> IntArray:
    """(n,) the stroke of a take that plays each row of a score, or -1.

    Raises:
        InputError: the take has no notes, or the aligner fails on it.
        MissingExtraError: parangonar is not installed.
    """
    try:
        matcher = import_module("parangonar.match.matchers").DualDTWNoteMatcher()
    except ImportError:
        raise MissingExtraError("aligning takes with their score", "align") from None
    if not len(take):
        raise InputError(f"{take.source or 'the take'}: no notes")
    kinds = [("onset_beat", "f4"), ("duration_beat", "f4"), ("pitch", "i4"), ("id", "U16")]
    asked = np.zeros(len(score), np.dtype([*kinds, ("is_grace", "?"), ("voice", "i4")]))
    asked["onset_beat"], asked["duration_beat"] = score.onset_quarter, score.duration_quarter
    asked["pitch"], asked["id"] = score.pitch, np.arange(len(score)).astype("U16")
    kinds = [("onset_sec", "f4"), ("duration_sec", "f4"), ("pitch", "i4"), ("id", "U16")]
    heard = np.zeros(len(take), np.dtype([*kinds, ("velocity", "i4")]))
    heard["onset_sec"], heard["duration_sec"] = take.onset_ms / 1000, take.duration_ms / 1000
    heard["pitch"], heard["velocity"] = take.notes.pitch, take.notes.velocity
    heard["id"] = np.arange(len(take)).astype("U16")
    # It prints, and it warns of empty means.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = matcher(asked, heard)
        except (ValueError, IndexError, KeyError) as error:
            raise InputError(f"{take.source or 'the take'}: cannot be aligned ({error})") from None
    stroke = np.full(len(score), -1, np.int64)
    for row in found:
        if row["label"] == "match":
            stroke[int(row["score_id"])] = int(row["performance_id"])
    return stroke
