"""Scores with the performances of them, note by note: what rendering is learned and judged by.

A ``Pair`` is lossless: both pieces and which key stroke plays which row of the score. On disk it is
a row of a Parquet file, with the columns of ``arietta.data.tables`` for each of the two. ``label``
makes the target of finetuning out of a pair, by the rules of the Pianist Transformer (arXiv
2512.02652; specification, section 3.3).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from arietta.arrays import BoolArray, FloatArray, IntArray
from arietta.data.tables import (
    PIECE_COLUMNS,
    arrow,
    list_array,
    piece_to_row,
    row_to_piece,
    texts_array,
    texts_rows,
    texts_type,
)
from arietta.errors import InputError
from arietta.midi.merged import merge_tracks
from arietta.midi.piece import Piece
from arietta.notation.score_notes import ScoreNotes
from arietta.output import whole_file

MIN_MATCH = 0.85
"""Shares of matched notes, of the score and of the take, under which a pair is not to be used."""

OTHER_PIECE = 0.4
"""Shares under which a take seems to be of another piece."""

GAP = 5  # missing notes in a row that end a segment
MIN_SEGMENT = 64  # notes
_PEDAL_TAIL_MS = 4999  # pedal is kept as long behind the last note as the notes' own tokens reach
_ROWS_PER_GROUP = 16
_SIDES = ("score", "take")


@dataclass(frozen=True, eq=False)
class Pair:
    """A score and one performance of it.

    Attributes:
        id: unique among the pairs.
        score: the rows that are played.
        take: the performance, every key stroke; see ``note_ons.read_note_ons``.
        stroke: (n,) int64, the row of ``take.notes`` that plays each row of the score, or -1.
        about: what is known, as strings: ``split``, ``piece_id``, ``pt_test`` and more.
    """

    id: str
    score: ScoreNotes
    take: Piece
    stroke: IntArray
    about: Mapping[str, str]

    @property
    def match_score(self) -> float:
        """Share of the score's rows that the take plays; the builder's figure where it gave one."""
        given = self.about.get("match_score")
        return float(given) if given else float(np.mean(self.stroke >= 0))

    @property
    def match_take(self) -> float:
        """Share of the take's strokes that the score asks for; given or counted, as above."""
        given = self.about.get("match_perf")
        return float(given) if given else float(np.sum(self.stroke >= 0) / max(len(self.take), 1))

    @property
    def good(self) -> bool:
        """Whether enough of both sides is matched to learn from the pair or to judge by it."""
        return min(self.match_score, self.match_take) >= MIN_MATCH

    def played(self) -> Played:
        """Return the rows of the score as this take plays them, NaN where it does not."""
        row = self.stroke
        there = row >= 0

        def column(values: npt.NDArray[Any]) -> FloatArray:
            return np.where(there, np.asarray(values, np.float64)[np.maximum(row, 0)], np.nan)

        take = self.take
        if not len(take):
            nothing = np.full(len(row), np.nan)
            return Played(nothing, nothing, nothing)
        return Played(column(take.onset_ms), column(take.duration_ms), column(take.notes.velocity))


def other_piece(share: float) -> str:
    """Return why a take of which so little matches is left out."""
    return f"only {share:.0%} of the notes match its score: it seems to be of another piece"


class Played(NamedTuple):
    """Rows of a score as somebody plays them; (n,) float64, NaN where a row is not played."""

    onset_ms: FloatArray
    duration_ms: FloatArray
    velocity: FloatArray


@dataclass(frozen=True, eq=False)
class Label:
    """A performance of every row of a score, whole milliseconds.

    Attributes:
        onset_ms: (n,) int64, never falling: the onsets that were played, dealt out in the score's
            order.
        duration_ms: (n,) int64, at least 1.
        velocity: (n,) int64, 1..127.
        played: (n,) bool; the other rows were filled in between their neighbours.
        pedal_ms, pedal_value: (m,) int64, the take's pedal.
        segments: (start, stop) rows of the stretches without long gaps.
    """

    onset_ms: IntArray
    duration_ms: IntArray
    velocity: IntArray
    played: BoolArray
    pedal_ms: IntArray
    pedal_value: IntArray
    segments: tuple[tuple[int, int], ...]


def label(
    score_onset: npt.ArrayLike,
    stroke: npt.ArrayLike,
    onset_ms: npt.ArrayLike,
    duration_ms: npt.ArrayLike,
    velocity: npt.ArrayLike,
    pedal_ms: npt.ArrayLike = (),
    pedal_value: npt.ArrayLike = (),
) -> Label:
    """Return what a model shall play for each row of a score (specification 3.3, steps 2-5, 7).

    Args:
        score_onset: (n,) when a row is due, in any unit; not falling.
        stroke: (n,) the stroke that plays it, or -1.
        onset_ms, duration_ms, velocity: (p,) the strokes of the take.
        pedal_ms, pedal_value: (m,) its pedal in the order of time.

    Raises:
        InputError: no row is played.
    """
    due = np.asarray(score_onset, np.float64)
    stroke = np.asarray(stroke, np.int64)
    hit = stroke >= 0
    if not hit.any():
        raise InputError("a take that plays no note of its score")
    onset = np.rint(np.asarray(onset_ms, np.float64)).astype(np.int64)
    length = np.rint(np.asarray(duration_ms, np.float64)).astype(np.int64)
    loud = np.asarray(velocity, np.int64)
    n = len(due)
    # The ends of a score are always played: a missing first (last) row gets the first (last)
    # stroke that was matched at all, and counts as matched from here on.
    filled = stroke.copy()
    if not hit[0]:
        filled[0] = stroke[hit].min()
    if not hit[-1]:
        filled[-1] = stroke[hit].max()
    known = filled >= 0
    at = filled[known]
    due = due + np.linspace(0, 1e-5, n)  # interpolation needs one value for each place
    start = np.zeros(n, np.int64)
    start[known] = np.sort(onset[at])
    start[~known] = np.rint(np.interp(due[~known], due[known], start[known])).astype(np.int64)
    when = start + np.linspace(0, 1e-5, n)
    columns = []
    for values in (length, loud):
        column = np.zeros(n, np.int64)
        column[known] = values[at]
        between = np.interp(when[~known], when[known], column[known])
        column[~known] = np.rint(between).astype(np.int64)
        columns.append(np.maximum(column, 1))
    pedal = np.rint(np.asarray(pedal_ms, np.float64)).astype(np.int64)
    kept = pedal <= int((start + columns[0]).max()) + _PEDAL_TAIL_MS
    return Label(
        start,
        columns[0],
        columns[1],
        known,
        pedal[kept],
        np.asarray(pedal_value, np.int64)[kept],
        _segments(known),
    )


def label_of(pair: Pair) -> Label:
    """Return the label of a pair, in the rows of its score; of several pedals the deepest counts.

    Raises:
        InputError: no row is played.
    """
    take = pair.take
    pedal = merge_tracks(take)
    return label(
        pair.score.onset_ms,
        pair.stroke,
        take.onset_ms,
        take.duration_ms,
        take.notes.velocity,
        pedal.pedal_ms,
        pedal.pedal_value,
    )


def _segments(played: BoolArray) -> tuple[tuple[int, int], ...]:
    """Stretches that ``GAP`` missing rows end; a longer gap leaves its rest to the next one."""
    start, missing = 0, 0
    found: list[tuple[int, int]] = []
    for row, hit in enumerate(played.tolist()):
        missing = 0 if hit else missing + 1
        if missing == GAP:
            found.append((start, row + 1 - GAP))
            start, missing = row + 1, 0
    found.append((start, len(played)))
    return tuple((a, b) for a, b in found if b - a >= MIN_SEGMENT)


# Parquet


def write_pairs(path: str | PathLike[str], pairs: Iterable[Pair], *, force: bool = False) -> int:
    """Write pairs as one Parquet file, whole or not at all; returns how many.

    Raises:
        MissingExtraError: pyarrow is not installed.
        OutputError: see ``arietta.output``.
        InputError: there are no pairs.
    """
    _, parquet = arrow()
    schema = _schema()
    count = 0
    with whole_file(path, force=force) as temporary:
        writer = parquet.ParquetWriter(temporary, schema, compression="zstd", compression_level=9)
        with writer:
            rows: list[Pair] = []

            def flush() -> None:
                if rows:
                    writer.write_table(_table(rows, schema))
                rows.clear()

            for pair in pairs:
                rows.append(pair)
                count += 1
                if len(rows) == _ROWS_PER_GROUP:
                    flush()
            flush()
        if not count:
            raise InputError(f"{path}: no pair to write")
    return count


def read_pairs(
    path: str | PathLike[str],
    *,
    where: Mapping[str, str] | None = None,
    min_match: float = MIN_MATCH,
) -> Iterator[Pair]:
    """Yield the pairs of a Parquet file, one by one.

    Args:
        path: what ``write_pairs`` made.
        where: only pairs that this is known of, such as ``{"split": "train", "pt_test": "0"}``.
        min_match: only pairs whose two matched shares reach it.

    Raises:
        InputError: there is no such file, or it holds something else.
        MissingExtraError: pyarrow is not installed.
    """
    pa, parquet = arrow()
    try:
        file = parquet.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path}: cannot be read as pairs: {error}") from None
    with file:
        if not set(_schema().names) <= set(file.schema_arrow.names):
            raise InputError(f"{path}: not made by arietta data pairs")
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            for row, about in enumerate(texts_rows(table["about"])):
                if any(about.get(name) != value for name, value in (where or {}).items()):
                    continue
                pair = _pair(table, row, about)
                if min(pair.match_score, pair.match_take) >= min_match:
                    yield pair


def _schema() -> Any:
    pa, _ = arrow()
    fields = [
        pa.field("id", pa.string(), nullable=False),
        pa.field("about", texts_type(), nullable=False),
        pa.field("stroke", _list_of("int32"), nullable=False),
    ]
    for side in _SIDES:
        fields.append(pa.field(f"{side}.file", pa.string()))
        fields.append(pa.field(f"{side}.division", pa.int32(), nullable=False))
        fields += [
            pa.field(f"{side}.{name}", _list_of(kind), nullable=False)
            for name, kind in PIECE_COLUMNS.items()
        ]
    return pa.schema(fields)


def _list_of(kind: str) -> Any:
    pa, _ = arrow()
    return pa.list_(pa.field("element", getattr(pa, kind)(), nullable=False))


def _table(pairs: list[Pair], schema: Any) -> Any:
    pa, _ = arrow()
    columns: dict[str, Any] = {
        "id": [pair.id for pair in pairs],
        "about": texts_array(pair.about for pair in pairs),
        "stroke": list_array([pair.stroke for pair in pairs], "int32"),
    }
    for side in _SIDES:
        parts = [piece_to_row(p.score.piece if side == "score" else p.take) for p in pairs]
        columns[f"{side}.file"] = [part["file"] for part in parts]
        columns[f"{side}.division"] = pa.array([part["division"] for part in parts], pa.int32())
        for name, kind in PIECE_COLUMNS.items():
            columns[f"{side}.{name}"] = list_array([part[name] for part in parts], kind)
    return pa.table(columns, schema=schema)


def _pair(table: Any, row: int, about: Mapping[str, str]) -> Pair:
    def value(name: str) -> Any:
        cell = table[name][row]
        if hasattr(cell, "values"):
            listed = cell.values
            texts = str(listed.type) in ("string", "binary")
            return listed.to_pylist() if texts else listed.to_numpy()
        return cell.as_py()

    pieces = [
        row_to_piece({n: value(f"{side}.{n}") for n in ("file", "division", *PIECE_COLUMNS)})
        for side in _SIDES
    ]
    score = ScoreNotes.from_piece(pieces[0])
    stroke = np.asarray(value("stroke"), np.int64)
    name = str(value("id"))
    if len(stroke) != len(score) or (len(stroke) and int(stroke.max()) >= len(pieces[1])):
        raise InputError(f"{name}: its matches do not fit its notes; build the pairs again")
    return Pair(name, score, pieces[1], stroke, about)
