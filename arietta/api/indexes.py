"""Look at an index: its pieces by number and title, and where they lie on a map."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arietta.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from arietta.vectors.index import Index


@dataclass(frozen=True)
class IndexedPiece:
    """A piece of an index.

    Attributes:
        id: stands for it in addresses: the beginning of its hash.
        title: what a person reads.
        path: where it lies on this machine.
        label: composer, or the folder that it lies in.
    """

    id: str
    title: str
    path: str
    label: str


def pieces_of(where: str) -> list[IndexedPiece]:
    """Return the pieces of an index in a folder.

    Raises:
        InputError: there is no such index.
    """
    with _opened(where) as index:
        return [_piece(row) for row in index.pieces()[0]]


def piece_bytes(where: str, id: str) -> bytes:
    """Return the MIDI file of a piece of an index; only what the index names is ever opened.

    Raises:
        KeyError: there is no such piece.
        InputError: its file is gone, or lies in an archive.
    """
    from arietta.data.sources import MIDI_SUFFIXES
    from arietta.midi.reader import file_data

    for piece in pieces_of(where):
        if piece.id == id:
            if not piece.path.lower().endswith(MIDI_SUFFIXES):
                raise InputError(f"{piece.title}: it lies in an archive; only files can be sent")
            return file_data(piece.path)
    raise KeyError(id)


def map_of(where: str, seed: int = 0) -> list[dict[str, Any]]:
    """Return every piece of an index with its place on a plane, ``x`` and ``y`` in -1..1.

    Raises:
        InputError: there is no such index.
        MissingExtraError: it has too many pieces for the exact layout, and openTSNE is missing.
    """
    import numpy as np

    from arietta.vectors.map import on_plane

    with _opened(where) as index:
        rows, vectors = index.pieces()
        if not rows:
            return []
        places = on_plane(vectors.astype(np.float64), seed)
        found = []
        for row, (x, y) in zip(rows, places.tolist(), strict=True):
            one = _piece(row)
            place = {"x": round(x, 4), "y": round(y, 4)}
            found.append({"id": one.id, "title": one.title, **place, "label": one.label})
        return found


def titles_with(where: str, text: str, count: int) -> list[IndexedPiece]:
    """Return pieces whose title, path or label has all the words of a text, at most ``count``."""
    words = text.casefold().split()
    found = []
    for piece in pieces_of(where):
        known = f"{piece.title} {piece.path} {piece.label}".casefold()
        if all(word in known for word in words):
            found.append(piece)
    return found[:count]


class _opened:
    """An index that is closed when it has been looked at."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> Index:
        from arietta.vectors.index import Index

        self._index = Index(self._where)
        return self._index

    def __exit__(self, *_: object) -> None:
        self._index.close()


def _piece(row: Mapping[str, Any]) -> IndexedPiece:
    metadata, path = row["metadata"], str(row["path"])
    label = _who(metadata) or Path(path).parent.name
    return IndexedPiece(piece_id(row["sha256"]), title_of(metadata, path), path, label)


def _who(metadata: Mapping[str, str]) -> str:
    found = (metadata.get(name) for name in ("composer_name", "composer", "performer"))
    return next(filter(None, found), "")


def title_of(metadata: Mapping[str, str], path: str) -> str:
    """Return what a person reads: composer and title where they are known, else the file's name."""
    title = (metadata.get("title") or Path(path).stem).replace("_", " ")
    who = _who(metadata)
    return f"{who}: {title}" if who else title


def piece_id(sha256: str) -> str:
    """Return the id of a piece in addresses."""
    return sha256[:16]
