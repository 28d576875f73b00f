"""Split pairs into training and validation pairs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from arietta.data.pairs import Pair, read_pairs
from arietta.data.twins import KeptApart
from arietta.training.rows.stream import piece_hash

_SHARE = 0.1


class Choice(Protocol):
    """Settings that choose pairs; see ``split_pairs``."""

    @property
    def where(self) -> Mapping[str, str]:
        """Metadata that every used pair must have."""

    @property
    def valid(self) -> Mapping[str, str]:
        """Metadata of the validation pairs."""

    @property
    def apart(self) -> Mapping[str, str]:
        """Metadata of pairs whose music is not used."""


def chosen_pairs(file: Path, choice: Choice) -> tuple[list[Pair], list[Pair]]:
    """Return the training pairs and the validation pairs of a file."""
    pairs = read_pairs(file, min_match=0.0)
    return split_pairs(pairs, choice.where, choice.valid, choice.apart)


def split_pairs(
    pairs: Iterable[Pair],
    where: Mapping[str, str],
    valid: Mapping[str, str],
    apart: Mapping[str, str] | None = None,
) -> tuple[list[Pair], list[Pair]]:
    """Return the training pairs and the validation pairs.

    A piece is on one side only, unless it is the only one.

    Args:
        pairs: all pairs, badly matched ones included: they are left out, but a score of theirs is
            kept apart where it has to be.
        where: metadata that every used pair must have.
        valid: metadata of the validation pairs. If no pair matches, a tenth of the pieces, chosen
            by a hash of their names, and at least one where another is left to train on. Of a
            single piece a tenth of the takes.
        apart: metadata of pairs whose music is not used, under whatever name other pairs hold it.
    """
    used, hidden = [], {}
    for pair in pairs:
        if apart and _matches(pair, apart):
            hidden[pair.about.get("score_sha256", pair.id)] = (pair.id, pair.score.piece)
        elif pair.good and _matches(pair, where):
            used.append(pair)
    used = _without(used, KeptApart(hidden.values()))
    name = _piece
    held = {name(pair) for pair in used if _matches(pair, valid)}
    if not held:
        if len({name(pair) for pair in used}) == 1:
            name = _take
        held = _tenth({name(pair) for pair in used})
    return (
        [pair for pair in used if name(pair) not in held],
        [pair for pair in used if name(pair) in held],
    )


def _tenth(names: set[str]) -> set[str]:
    """Return a tenth of some names, but one at least where that leaves another."""
    ordered = sorted(names, key=piece_hash)
    count = sum(piece_hash(name) < _SHARE * 2**64 for name in ordered)
    return set(ordered[: min(max(count, 1), len(ordered) - 1)])


def _without(pairs: list[Pair], apart: KeptApart) -> list[Pair]:
    """Return the pairs whose scores hold nothing of what is kept apart; each score asks once."""
    known: dict[str, bool] = {}
    found = []
    for pair in pairs:
        score = pair.about.get("score_sha256", pair.id)
        if score not in known:
            known[score] = apart.twin(pair.id, pair.score.piece) is not None
        if not known[score]:
            found.append(pair)
    return found


def _piece(pair: Pair) -> str:
    return pair.about.get("piece_id", pair.id)


def _take(pair: Pair) -> str:
    return pair.id


def _matches(pair: Pair, wanted: Mapping[str, str]) -> bool:
    return all(pair.about.get(name) == value for name, value in wanted.items())
