"""The plan of a listening test: which two clips each listener hears, in which order and on which
sides.

A *form* is one order with its sides; listener n gets form (n - 1) modulo the number of forms.
Forms 2k and 2k + 1 have one order and opposite sides, so that every clip stands on both sides as
often; the orders of different k begin at different places of one cycle, every other one runs
backwards, so that no pair is always early or late. In the cycle, two pairs of one item stand apart
where that is possible.

Identical pairs play one clip on both sides. Repeats are pairs of the first half that come again
near the end with their sides swapped.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from arietta.errors import InputError, UsageError
from arietta.evaluation.listening.statistics import connected

Kind = Literal["pair", "identical", "repeat"]


@dataclass(frozen=True)
class Clip:
    """A stretch of sound, by whom and of what.

    Attributes:
        id: what the page calls it.
        system: who plays.
        item: what it plays or continues.
        source: file that it is made from.
    """

    id: str
    system: str
    item: str
    source: str


@dataclass(frozen=True)
class Trial:
    """What is played at one place of a form.

    Attributes:
        kind: a pair, an identical pair or a repeat of an earlier pair.
        left, right: ids of clips.
    """

    kind: Kind
    left: str
    right: str


@dataclass(frozen=True)
class Plan:
    """A test without its sound.

    Attributes:
        test: its id; answers carry it.
        human, floor: systems that are the anchors.
        clips: by id.
        forms: the trials of each form, in order.
        seed: decided everything.
    """

    test: str
    human: str
    floor: str
    clips: Mapping[str, Clip]
    forms: tuple[tuple[Trial, ...], ...]
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values: the key of the test, which listeners must not see."""
        return {
            "test": self.test,
            "human": self.human,
            "floor": self.floor,
            "seed": self.seed,
            "clips": {
                clip.id: {"system": clip.system, "item": clip.item, "source": clip.source}
                for clip in self.clips.values()
            },
            "forms": [
                [{"kind": one.kind, "left": one.left, "right": one.right} for one in form]
                for form in self.forms
            ],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Plan:
        """Read what ``to_dict`` gave.

        Raises:
            InputError: it is no key of a test.
        """
        try:
            clips = {
                name: Clip(name, one["system"], one["item"], one["source"])
                for name, one in values["clips"].items()
            }
            forms = tuple(
                tuple(Trial(one["kind"], one["left"], one["right"]) for one in form)
                for form in values["forms"]
            )
            plan = cls(
                str(values["test"]), values["human"], values["floor"], clips, forms, values["seed"]
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"this is no key of a listening test: {error!r}") from error
        unknown = {
            name for form in forms for one in form for name in (one.left, one.right)
        } - clips.keys()
        if unknown:
            raise InputError(f"the key of the test names clips that it lacks: {min(unknown)}")
        return plan


def make_plan(
    pairs: Sequence[tuple[Clip, Clip]],
    *,
    human: str,
    floor: str,
    seed: int = 0,
    forms: int = 8,
    identical: int = 2,
    repeats: int = 2,
) -> Plan:
    """Plan a test.

    Args:
        pairs: two clips of one item each; a file has one clip, whose id any text may be.
        human, floor: systems of the anchors, which have to be among them.
        seed: decides ids, sides and orders.
        forms: how many; even.
        identical: pairs of a clip with itself in each form.
        repeats: pairs that each form plays again.

    Raises:
        InputError: an anchor is missing, or the pairs do not connect all systems.
        UsageError: a number is out of range.
    """
    _check(pairs, human, floor, forms, identical, repeats)
    rng = np.random.default_rng(seed)
    test, clips = _named(pairs, rng)
    renamed = {clip.source: clip for clip in clips.values()}
    both = [(renamed[a.source].id, renamed[b.source].id) for a, b in pairs]
    cycle = _cycle(_sided(both, clips, rng), list(clips.values()), identical, rng)
    made = tuple(
        _with_repeats(_form(cycle, number, forms), repeats, number, seed) for number in range(forms)
    )
    return Plan(test, human, floor, clips, made, seed)


def _check(
    pairs: Sequence[tuple[Clip, Clip]],
    human: str,
    floor: str,
    forms: int,
    identical: int,
    repeats: int,
) -> None:
    if forms < 2 or forms % 2:
        raise UsageError(f"`forms` is an even number from 2 on, not {forms}")
    for name, value in (("identical", identical), ("repeats", repeats)):
        if value < 0:
            raise UsageError(f"`{name}` must be at least 0, not {value}")
    if repeats > (len(pairs) + 1) // 2:
        raise UsageError(
            f"`repeats` come from the first half of {len(pairs)} pairs: at most"
            f" {(len(pairs) + 1) // 2}, not {repeats}"
        )
    systems = sorted({clip.system for pair in pairs for clip in pair})
    for role, name in (("human", human), ("floor", floor)):
        if name not in systems:
            raise InputError(
                f"no pair has the {role} anchor {name!r}; there are {', '.join(systems)}. Add one,"
                f" or name it with `{role}`"
            )
    compared = np.zeros((len(systems), len(systems)), bool)
    for a, b in pairs:
        one, other = systems.index(a.system), systems.index(b.system)
        compared[one, other] = compared[other, one] = True
    if not connected(compared):
        raise InputError(
            "the pairs fall into groups of systems that are never compared with each other; add"
            f" pairs with {human!r}"
        )


def _named(
    pairs: Sequence[tuple[Clip, Clip]], rng: np.random.Generator
) -> tuple[str, dict[str, Clip]]:
    """Give every clip a random id, in an order that says nothing."""
    known = {clip.source: clip for pair in pairs for clip in pair}
    sources = sorted(known)
    numbers = rng.choice(16**6, len(sources) + 1, replace=False)
    ids = {source: f"{number:06x}" for source, number in zip(sources, numbers[1:], strict=True)}
    clips = {
        ids[s]: Clip(ids[s], known[s].system, known[s].item, s)
        for s in sorted(sources, key=ids.__getitem__)
    }
    return f"{int(numbers[0]):06x}", clips


def _sided(
    pairs: Sequence[tuple[str, str]], clips: Mapping[str, Clip], rng: np.random.Generator
) -> list[Trial]:
    """Choose sides: of the pairs of two systems, each stands on the left in half of them."""
    groups: dict[tuple[str, ...], list[tuple[str, str]]] = defaultdict(list)
    for one, other in pairs:
        ordered = sorted((one, other), key=lambda name: (clips[name].system, name))
        groups[tuple(clips[name].system for name in ordered)].append((ordered[0], ordered[1]))
    trials = []
    for group in groups.values():
        first = int(rng.integers(2))
        for place, at in enumerate(rng.permutation(len(group))):
            left, right = group[at][:: 1 if (place + first) % 2 else -1]
            trials.append(Trial("pair", left, right))
    return trials


def _cycle(
    trials: list[Trial], clips: list[Clip], identical: int, rng: np.random.Generator
) -> list[Trial]:
    """Shuffle the trials so that neighbours have different items where that is possible."""
    item = {clip.id: clip.item for clip in clips}
    chosen = rng.choice(len(clips), min(identical, len(clips)), replace=False)
    rest = [*trials, *(Trial("identical", clips[i].id, clips[i].id) for i in chosen)]
    rest = [rest[i] for i in rng.permutation(len(rest))]
    cycle: list[Trial] = []
    while rest:
        # The item with most trials left comes first, unless it has just been heard.
        left = Counter(item[one.left] for one in rest)
        before = item[cycle[-1].left] if cycle else None
        at = min(
            range(len(rest)),
            key=lambda i: (item[rest[i].left] == before, -left[item[rest[i].left]], i),
        )
        cycle.append(rest.pop(at))
    return cycle


def _form(cycle: list[Trial], number: int, forms: int) -> list[Trial]:
    """Return the order and the sides of one form."""
    turn = number // 2
    start = round(turn * len(cycle) / (forms // 2))
    order = [*cycle[start:], *cycle[:start]]
    if turn % 2:
        order.reverse()
    return [_swapped(one) for one in order] if number % 2 else order


def _with_repeats(form: list[Trial], repeats: int, number: int, seed: int) -> tuple[Trial, ...]:
    """Play some pairs of the first half again near the end, as the two forms of an order agree."""
    rng = np.random.default_rng((seed, number // 2))
    pairs = [one for one in form if one.kind == "pair"]
    again = rng.choice((len(pairs) + 1) // 2, repeats, replace=False)
    result = list(form)
    for at in again:
        place = int(rng.integers(max(len(result) - 2, 1), len(result) + 1))
        result.insert(place, _swapped(pairs[at], "repeat"))
    return tuple(result)


def _swapped(trial: Trial, kind: Kind | None = None) -> Trial:
    return Trial(kind or trial.kind, trial.right, trial.left)
