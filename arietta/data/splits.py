"""Which split a piece belongs to: decided by its composition group, and by nothing else.

A group goes where a hash of its name says, so adding files moves no other group. Given splits are
kept; a group with a given member follows it, so that no work is on both sides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

# Of several given splits in one group the one that must see least of the others decides.
_STRICTEST = ("test", "valid", "validation", "train")


def hashed(seed: int, *parts: str) -> int:
    """64 bits that depend on the texts alone."""
    text = "\0".join((str(seed), *parts)).encode("utf8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def split_of(group: str, fractions: Mapping[str, float], seed: int = 0) -> str:
    """Return the split of a group without a given one.

    Args:
        group: its name.
        fractions: split -> share; they add up to 1.
        seed: another one deals anew.
    """
    place = hashed(seed, group) / 2**64
    upper = 0.0
    for split, share in fractions.items():
        upper += share
        if place < upper:
            return split
    return next(reversed([s for s, share in fractions.items() if share > 0]))


def assign_splits(
    groups: Sequence[str],
    given: Sequence[str],
    fractions: Mapping[str, float],
    seed: int = 0,
) -> list[str]:
    """Return a split for every piece.

    A split that no group fell into, as happens with few pieces, takes one group of the largest
    split that has several, unless any split was given.

    Args:
        groups: (n,) the group of each piece.
        given: (n,) its given split, or an empty string.
        fractions: split -> share of the groups.
        seed: decides which groups go where.

    Returns:
        (n,) names of splits.
    """
    told: dict[str, str] = {}
    for group, split in zip(groups, given, strict=True):
        if split:
            told[group] = min(told.get(group, split), split, key=_strictness)
    decided = {g: told.get(g) or split_of(g, fractions, seed) for g in dict.fromkeys(groups)}
    if not told:
        _fill(decided, fractions, seed)
    return [split or decided[group] for group, split in zip(groups, given, strict=True)]


def _strictness(split: str) -> tuple[int, str]:
    return (_STRICTEST.index(split) if split in _STRICTEST else len(_STRICTEST), split)


def _fill(decided: dict[str, str], fractions: Mapping[str, float], seed: int) -> None:
    for split, share in fractions.items():
        members: dict[str, list[str]] = {}
        for group, other in decided.items():
            members.setdefault(other, []).append(group)
        if share <= 0 or split in members or not members:
            continue
        largest = max(members, key=lambda name: (len(members[name]), name))
        if len(members[largest]) > 1:
            moved = min(members[largest], key=lambda group: hashed(seed, split, group))
            decided[moved] = split
