"""Read the bytes of a file, and describe a piece as a roll shows it: the use case behind uploads.

No name that a client gives becomes a path: notation, which verovio's reader takes from a file, goes
through a folder of our own under a name of our own.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arietta.errors import InputError

if TYPE_CHECKING:
    from arietta.midi.piece import Piece

MAX_LINES = 20_000
"""Bar lines and beats that are listed at most; a damaged tempo can ask for millions."""
MAX_HANDED = 20_000
"""Notes of a piece whose hands are told apart; it takes about 50 microseconds a note."""
PREFIX = "upload"


def read_upload(name: str, data: bytes, *, score: bool = False) -> Piece:
    """Return the piece that the bytes of a file hold: MIDI, MusicXML, MXL, MEI, kern or ABC.

    Args:
        name: of the file; its suffix alone is looked at, and errors show it.
        data: its bytes.
        score: read MIDI key stroke by key stroke, as scores want it; see ``midi.note_ons``.

    Raises:
        InputError: the bytes are damaged, or of a format that cannot be read.
        MissingExtraError: notation needs verovio.
    """
    from arietta.midi.note_ons import read_note_ons
    from arietta.midi.reader import read_bytes
    from arietta.notation.reader import NOTATION, read_score
    from arietta.notation.sources import OTHER_FORMATS

    shown = Path(name.replace("\\", "/")).name or "file"
    suffix = Path(shown).suffix.lower()
    if suffix not in NOTATION and suffix not in OTHER_FORMATS:
        if score:
            return read_note_ons(data, source=shown, strict=False)
        return read_bytes(data, source=shown, strict=False)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{PREFIX}{suffix}"
        file.write_bytes(data)
        try:
            piece = read_score(file)
        except InputError as error:
            raise type(error)(str(error).replace(str(file), shown)) from None
    return replace(piece, source=shown)


@dataclass(frozen=True, eq=False)
class PieceView:
    """What a piano roll shows of a piece; times in seconds from the start of the piece.

    Attributes:
        title: of the music, or the name of the file.
        duration_seconds: to the last release.
        notes: columns ``pitch``, ``velocity``, ``onset_seconds``, ``duration_seconds``, ``hand``.
        pedal: columns ``time_seconds`` and ``value`` of the sustain pedal.
        bars_seconds, beats_seconds: lines; empty where the file has no metre.
        tempo: (seconds, quarters a minute) of every change.
        key: ``name`` and ``confidence``, or None.
        is_score: whether the notes stand on a grid, as written music does.
        last_release_seconds: where the last key comes up.
        notices: what the user should know of how it was read.
    """

    title: str
    duration_seconds: float
    notes: dict[str, list[Any]]
    pedal: dict[str, list[Any]]
    bars_seconds: list[float]
    beats_seconds: list[float]
    tempo: list[tuple[float, float]]
    key: dict[str, Any] | None
    is_score: bool
    last_release_seconds: float
    notices: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return dict(self.__dict__)


def view(piece: Piece, *, new_from_ms: float | None = None) -> PieceView:
    """Describe a piece for a roll.

    Args:
        piece: of any length.
        new_from_ms: notes that begin there or later are marked as new.
    """
    from arietta.midi.grid import estimate_kind
    from arietta.midi.seam import has_metre
    from arietta.notation.reader import NOTATION

    kind = estimate_kind(piece)
    written = Path(piece.source or "").suffix.lower() in NOTATION
    is_score = written or (kind is not None and kind.kind == "score")
    bars, beats = lines(piece) if is_score or has_metre(piece) else ([], [])
    notices = [*piece.notices, *getattr(piece, "remarks", ())]
    if len(beats) >= MAX_LINES:
        notices.append(f"only the first {MAX_LINES:,} beats are shown")
    end = piece.end_ms / 1000
    return PieceView(
        title_of(piece),
        round(end, 3),
        notes_table(piece, new_from_ms=new_from_ms),
        pedal_table(piece),
        bars,
        beats,
        tempo_changes(piece),
        _key(piece),
        is_score,
        round(end, 3),
        notices,
    )


def title_of(piece: Piece) -> str:
    """Return what a piece is called: its metadata, its first track, or its file."""
    named = piece.metadata.get("title")
    if named:
        return named
    stem = Path(piece.source or "").stem.replace("_", " ").strip()
    return stem or next(iter(piece.track_names.values()), "Untitled")


def notes_table(piece: Piece, *, new_from_ms: float | None = None) -> dict[str, list[Any]]:
    """Return the notes of a piece as columns, drums left out; hands where the piece is short."""
    import numpy as np

    from arietta.midi.hands import split_hands
    from arietta.midi.notes import DRUM_CHANNEL

    keep = np.flatnonzero(piece.notes.channel != DRUM_CHANNEL)
    onset, length = piece.onset_ms[keep], piece.duration_ms[keep]
    order = np.lexsort((piece.notes.pitch[keep], onset))
    keep, onset, length = keep[order], onset[order], length[order]
    pitch = piece.notes.pitch[keep]
    table: dict[str, list[Any]] = {
        "pitch": pitch.tolist(),
        "velocity": piece.notes.velocity[keep].tolist(),
        "onset_seconds": np.round(onset / 1000, 4).tolist(),
        "duration_seconds": np.round(length / 1000, 4).tolist(),
    }
    if new_from_ms is not None:
        table["new"] = (onset >= new_from_ms - 0.5).tolist()
    if len(keep) <= MAX_HANDED:
        right = split_hands(onset, onset + length, pitch)
        table["hand"] = np.where(right, "right", "left").tolist()
    return table


def pedal_table(piece: Piece) -> dict[str, list[Any]]:
    """Return the movements of the sustain pedal as columns."""
    import numpy as np

    from arietta.midi.notes import DRUM_CHANNEL

    pedals = piece.pedals.take(piece.pedals.channel != DRUM_CHANNEL)
    return {
        "time_seconds": np.round(piece.tempo.ms_at(pedals.tick) / 1000, 4).tolist(),
        "value": pedals.value.tolist(),
    }


def lines(piece: Piece) -> tuple[list[float], list[float]]:
    """Return the bar lines and the beats of a piece in seconds; none without a metre.

    The lines go on to the first one behind the last release.
    """
    import numpy as np

    from arietta.midi.seam import metre_changes

    division = piece.tempo.division
    if division <= 0 or not len(piece):
        return [], []
    last = int(piece.notes.offset_tick.max())
    bars: list[float] = []
    beats: list[float] = []
    changes = metre_changes(piece)
    for i, (start, above, below) in enumerate(changes):
        stop = changes[i + 1][0] if i + 1 < len(changes) else last + division * 4 * above // below
        room = MAX_LINES - len(beats)
        if start > last or room <= 0:
            break
        step = division * 4 / below
        count = min(int(np.ceil((stop - start) / step)), room)
        ticks = np.round(start + np.arange(count) * step)
        beats += ticks.tolist()
        bars += ticks[::above].tolist()

    def seconds(ticks: list[float]) -> list[float]:
        found = piece.tempo.ms_at(np.asarray(ticks, np.int64)) / 1000
        return [float(value) for value in np.round(found, 4)]

    return seconds(bars), seconds(beats)


def tempo_changes(piece: Piece) -> list[tuple[float, float]]:
    """Return (seconds, quarters a minute) of every change of tempo; none in SMPTE time."""
    import numpy as np

    tempo = piece.tempo.from_start
    if tempo.division <= 0:
        return []
    at = np.round(tempo.ms_at(tempo.tick) / 1000, 4)
    bpm = np.round(60e6 / np.maximum(tempo.us_per_quarter, 1), 3)
    changed = np.r_[True, np.diff(bpm) != 0]
    return [(float(a), float(b)) for a, b in zip(at[changed], bpm[changed], strict=True)][
        :MAX_LINES
    ]


def _key(piece: Piece) -> dict[str, Any] | None:
    from arietta.midi.key import estimate_key, key_name

    found = estimate_key(piece)
    if found is None:
        return None
    return {"name": key_name(found.sharps, found.is_minor), "confidence": found.confidence}
