"""Splits: no group on both sides, and nothing moves when files are added."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from arietta.data.splits import assign_splits, split_of

FRACTIONS = {"train": 0.8, "valid": 0.1, "test": 0.1}
GROUPS = st.lists(st.integers(0, 12).map(str), max_size=40)
SPLITS = st.sampled_from(["", "", "", "train", "valid", "test"])


@given(GROUPS, st.data())
def test_a_group_without_contradiction_is_in_one_split(
    groups: list[str], data: st.DataObject
) -> None:
    told = {group: data.draw(SPLITS) for group in set(groups)}
    given_splits = [data.draw(st.sampled_from(["", told[group]])) for group in groups]
    splits = assign_splits(groups, given_splits, FRACTIONS)
    where = {}
    for group, wanted, split in zip(groups, given_splits, splits, strict=True):
        assert not wanted or split == wanted
        assert where.setdefault(group, split) == split


@given(GROUPS, GROUPS)
def test_more_files_move_no_group(some: list[str], more: list[str]) -> None:
    # With a given split nothing has to be filled up.
    few = assign_splits(["g", *some], ["test"] + [""] * len(some), FRACTIONS)
    many = assign_splits(["g", *some, *more], ["test"] + [""] * len(some + more), FRACTIONS)
    assert many[: len(few)] == few


def test_the_strictest_given_split_decides() -> None:
    splits = assign_splits(["g"] * 3, ["train", "test", ""], FRACTIONS)
    assert splits == ["train", "test", "test"]


def test_shares_come_out_about_right() -> None:
    splits = [split_of(str(i), FRACTIONS) for i in range(5000)]
    for split, share in FRACTIONS.items():
        assert abs(splits.count(split) / 5000 - share) < 0.02
    assert splits != [split_of(str(i), FRACTIONS, seed=1) for i in range(5000)]
    assert {split_of(str(i), {"train": 1.0, "test": 0.0}) for i in range(500)} == {"train"}


def test_no_split_is_left_empty_where_there_are_pieces_enough() -> None:
    for count in range(3, 12):
        assert set(assign_splits([str(i) for i in range(count)], [""] * count, FRACTIONS)) == set(
            FRACTIONS
        )
    assert assign_splits(["a"], [""], FRACTIONS) in (["train"], ["valid"], ["test"])
