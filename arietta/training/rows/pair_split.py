"""Split pairs into training and validation pairs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from arietta.data.pairs import Pair
from arietta.training.rows.stream import piece_hash

_SHARE = 0.1


def split_pairs(
    pairs: Iterable[Pair], where: Mapping[str, str], valid: Mapping[str, str]
) -> tuple[list[Pair], list[Pair]]:
    """Return the training pairs and the validation pairs; a piece is on one side only.

    Args:
        pairs: all pairs.
        where: metadata that every used pair must have.
        valid: metadata of the validation pairs. If no pair matches, a tenth of the pieces, chosen
            by a hash of their names.
    """
    used = [pair for pair in pairs if _matches(pair, where)]
    held = {_piece(pair) for pair in used if _matches(pair, valid)}
    if not held:
        held = {_piece(pair) for pair in used if piece_hash(_piece(pair)) < _SHARE * 2**64}
    return (
        [pair for pair in used if _piece(pair) not in held],
        [pair for pair in used if _piece(pair) in held],
    )


def _piece(pair: Pair) -> str:
    return pair.about.get("piece_id", pair.id)


def _matches(pair: Pair, wanted: Mapping[str, str]) -> bool:
    return all(pair.about.get(name) == value for name, value in wanted.items())
