"""Composer and form from file names and text events (specification A.6).

A name counts when it stands alone: between white space, underscores and the ends of the text, in
any case, with or without accents. It is only believed when no other name of its list is there too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from arietta.midi.piece import Piece
from arietta.tokenizers.vocabulary import COMPOSERS, FORMS, plain_name


@lru_cache(maxsize=32)
def _pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    # The edges are not consumed: one underscore may end a name and begin the next.
    choice = "|".join(re.escape(plain_name(name)) for name in names)
    return re.compile(rf"(?:^|(?<=[\s_]))(?:{choice})(?=[\s_]|$)")


def only_name_in(texts: Iterable[str], names: Sequence[str]) -> str | None:
    """Return the one name of a list that the texts hold; None for no name or several."""
    pattern = _pattern(tuple(names))
    found = {match for text in texts for match in pattern.findall(plain_name(text))}
    if len(found) != 1:
        return None
    wanted = found.pop()
    return next(name for name in names if plain_name(name) == wanted)


def composer_of(texts: Iterable[str]) -> str | None:
    """Return the composer that text events, or a file stem, name."""
    return only_name_in(texts, COMPOSERS)


def form_of(stem: str) -> str | None:
    """Return the form that a file stem names."""
    return only_name_in([stem], FORMS)


def label(piece: Piece) -> Piece:
    """Return the piece with what its file name and text events tell of composer and form.

    Metadata it already has stays.
    """
    stem = Path(piece.source).stem if piece.source else ""
    found = {
        "composer": composer_of([stem]) or composer_of(text for _, text in piece.text),
        "form": form_of(stem),
    }
    new = {k: v for k, v in found.items() if v is not None and k not in piece.metadata}
    return piece.with_metadata(**new) if new else piece
