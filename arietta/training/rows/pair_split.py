"""Which pairs are learned from, and which are held out to validate on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from arietta.data.pairs import Pair
from arietta.training.rows.stream import piece_hash

_SHARE = 0.1


def split_pairs(
    pairs: Iterable[Pair], where: Mapping[str, str], valid: Mapping[str, str]
) -> tuple[list[Pair], list[Pair]]:
    """Pairs to learn from, and pairs to validate on; a piece is on one side only.

    Args:
        pairs: all there are.
        where: only pairs of which this is known.
        valid: pairs of which this is known are held out. Where none are, a tenth of the pieces,
            chosen by their names.
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
