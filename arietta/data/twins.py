"""Which scores of a collection hold the music of another, whatever their names.

Collections hold one piece under several names: with its repeats and without, a movement beside the
whole sonata. A model that learned from one of them must not be judged by the other. Scores of one
piece hold the same sequences of notes, so their fingerprints tell (``dedup``).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from arietta.data.dedup import Fingerprint, fingerprint, same_composition
from arietta.midi.piece import Piece

TWIN_SHARE = 0.2
"""Share of the shorter score's sequences that the other holds, at least, in scores of one piece.
Of the 221 scores of ASAP, the same pieces share .97 and more, and others at most .08."""


class Twin(NamedTuple):
    """A score that holds the music of one that is kept apart.

    Attributes:
        name: of the score.
        of: of the one that is kept apart.
        share: 0..1, what they share of the shorter one.
    """

    name: str
    of: str
    share: float


class KeptApart:
    """Find out whether a score holds the music of one that is kept apart, such as a test set.

    Args:
        scores: names and notes of those that are kept apart.
    """

    def __init__(self, scores: Iterable[tuple[str, Piece]]) -> None:
        self._prints: list[tuple[str, Fingerprint]] = [
            (name, fingerprint(score)) for name, score in scores
        ]

    def twin(self, name: str, score: Piece) -> Twin | None:
        """Return which score that is kept apart has the same music; None if there is none."""
        mine = fingerprint(score)
        found: list[Twin] = []
        for other, theirs in self._prints:
            match = same_composition(mine, theirs, TWIN_SHARE)
            if match.same:
                found.append(Twin(name, other, match.share))
        return max(found, key=lambda twin: twin.share, default=None)
