"""Plans of listening tests: balance, anchors, checks, and what the key holds."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise

import pytest

from arietta.errors import InputError, UsageError
from arietta.evaluation.listening.plan import Clip, Plan, make_plan

ITEMS = [f"piece {i}" for i in range(6)]


def clip(system: str, item: str) -> Clip:
    return Clip("", system, item, f"{system}/{item}.mid")


def pairs(items: list[str] = ITEMS) -> list[tuple[Clip, Clip]]:
    versus = [("model a", "human"), ("model b", "human"), ("human", "floor")]
    return [(clip(a, item), clip(b, item)) for a, b in versus for item in items]


def plan(**options: int) -> Plan:
    return make_plan(pairs(), human="human", floor="floor", **options)


def test_every_form_asks_everything_once() -> None:
    made = plan(forms=6, identical=3, repeats=2)
    assert len(made.forms) == 6
    wanted = {frozenset((a.source, b.source)) for a, b in pairs()}
    for form in made.forms:
        kinds = Counter(one.kind for one in form)
        assert kinds == {"pair": 18, "identical": 3, "repeat": 2}
        asked = [
            frozenset((made.clips[one.left].source, made.clips[one.right].source))
            for one in form
            if one.kind == "pair"
        ]
        assert len(asked) == 18 and set(asked) == wanted
        assert all(one.left == one.right for one in form if one.kind == "identical")


def test_sides_are_balanced() -> None:
    made = plan(forms=8)
    left = Counter(
        (made.clips[one.left].source, made.clips[one.right].source)
        for form in made.forms
        for one in form
        if one.kind == "pair"
    )
    assert set(left.values()) == {4}  # of eight forms, every pair both ways
    for form in made.forms:
        sides = Counter(
            (made.clips[one.left].system, made.clips[one.right].system)
            for one in form
            if one.kind == "pair"
        )
        assert set(sides.values()) == {3}  # of six items


def test_places_are_balanced_and_neighbours_differ() -> None:
    made = plan(forms=12, repeats=0, identical=0)
    places: dict[frozenset[str], list[int]] = {}
    for form in made.forms:
        for place, one in enumerate(form):
            places.setdefault(frozenset((one.left, one.right)), []).append(place)
        items = [made.clips[one.left].item for one in form]
        assert sum(a == b for a, b in pairwise(items)) <= 1  # where the cycle is cut
    for found in places.values():
        assert max(found) - min(found) >= 9 and abs(sum(found) / 12 - 8.5) < 4


def test_the_cycle_never_plays_an_item_twice_in_a_row() -> None:
    for seed in range(20):
        made = plan(repeats=0, seed=seed)
        items = [made.clips[one.left].item for one in made.forms[0]]
        assert all(a != b for a, b in pairwise(items)), seed


def test_no_pair_always_follows_another() -> None:
    made = plan(forms=4, repeats=0, identical=0)
    first, second = (
        {(frozenset((a.left, a.right)), frozenset((b.left, b.right))) for a, b in pairwise(form)}
        for form in (made.forms[0], made.forms[2])
    )
    assert not first & second
    assert first == {
        (frozenset((a.left, a.right)), frozenset((b.left, b.right)))
        for a, b in pairwise(made.forms[1])
    }


def test_repeats_swap_sides_and_come_late() -> None:
    for form in plan(repeats=3).forms:
        for at, one in enumerate(form):
            if one.kind != "repeat":
                continue
            first = next(
                i for i, other in enumerate(form)
                if other.kind == "pair" and (other.left, other.right) == (one.right, one.left)
            )  # fmt: skip
            assert at - first >= 6 and at >= len(form) - 5


def test_the_seed_decides() -> None:
    assert plan(seed=3) == plan(seed=3)
    assert plan(seed=3).forms != plan(seed=4).forms and plan(seed=3).test != plan(seed=4).test


def test_a_key_is_read_back() -> None:
    made = plan()
    assert Plan.from_dict(json.loads(json.dumps(made.to_dict()))) == made
    with pytest.raises(InputError, match="no key"):
        Plan.from_dict({"test": "x"})
    broken = made.to_dict()
    broken["forms"][0][0]["left"] = "nobody"
    with pytest.raises(InputError, match="lacks: nobody"):
        Plan.from_dict(broken)


def test_anchors_and_connections_are_asked_for() -> None:
    with pytest.raises(InputError, match=r"floor anchor 'noise'; there are floor, human"):
        make_plan(pairs(), human="human", floor="noise")
    with pytest.raises(InputError, match="human anchor"):
        make_plan(pairs(), human="people", floor="floor")
    apart = [*pairs(), (clip("c", "x"), clip("d", "x"))]
    with pytest.raises(InputError, match="never compared"):
        make_plan(apart, human="human", floor="floor")
    for wrong in ({"forms": 3}, {"forms": 0}, {"identical": -1}, {"repeats": 10}):
        with pytest.raises(UsageError, match=f"`{next(iter(wrong))}`"):
            plan(**wrong)
