"""From logits to the next id: temperature, min-p, top-p, greedy.

Two forms share one code path:

*Flat*, the public reference's (specification E.3): softmax over all tokens that are possible, then
min-p or top-p over them.

*By kind*, ours, used with the grammar: where several kinds of token are possible (a note, <T>,
<E>, a pedal), first the kind is drawn from the kinds' total probabilities, then a token of that
kind, with min-p and top-p among that kind alone. A temperature below 1, min-p and top-p sharpen
*what* is struck, pitch and velocity; *when* and *how long* come from the model's own distribution,
because they are spread over up to 500 tokens, and any sharpening prefers the short ones: at 0.8 the
music was twice as fast. The reason for kinds: at the start of an event the chance of
"a note" is spread over up to 1,536 tokens (pitch times velocity) while the chance of "next segment"
sits on the single token <T>. Measured against that one peak, min-p cuts notes that are together
the likelier choice, and low temperatures do the same, so chords starve. With one kind possible, as
for an onset or a duration, the two forms are equal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from arietta.arrays import AnyFloatArray, BoolArray, FloatArray, IntArray
from arietta.errors import UsageError
from arietta.generation.settings import SamplingSettings
from arietta.tokenizers.vocabulary import SPECIALS, Kind, Vocabulary

Ranges = tuple[tuple[int, int], ...]
"""Half-open id ranges, ascending."""


@dataclass(frozen=True, eq=False)
class Choices:
    """The tokens that are possible at one place.

    Attributes:
        ids: (n,) int64, grouped by kind.
        groups: (kind, first, end) of each stretch of ``ids`` of one kind.
        head: the id ranges to ask the model's head for; few distinct ones occur.
        columns: (n,) where each of ``ids`` stands in what the head gives for ``head``.
        mask: (W,) which tokens of the head's layout are possible; None for all.
    """

    ids: IntArray
    groups: tuple[tuple[int, int, int], ...]
    head: Ranges
    columns: IntArray | slice
    mask: BoolArray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def index(self, token: int) -> int:
        """Position of a token among ``ids``, -1 when it is not possible."""
        found = np.flatnonzero(self.ids == token)
        return int(found[0]) if len(found) else -1


class _Layout(NamedTuple):
    """What a head gives for some id ranges, ordered by kind, so that rows can be drawn together.

    Attributes:
        ids: (W,) tokens.
        columns: where each stands in what the head gives; None where the order is the same.
        groups: (kind, first, end) of each stretch of one kind.
    """

    ids: IntArray
    columns: IntArray | None
    groups: tuple[tuple[int, int, int], ...]


class Sampler:
    """Draws tokens; built once from settings and a vocabulary's kinds.

    Args:
        settings: see ``SamplingSettings``.
        vocabulary: of the model.
    """

    def __init__(self, settings: SamplingSettings, vocabulary: Vocabulary) -> None:
        self.settings = settings
        own = settings.temperature == 0 or not settings.grammar
        self._timing = (
            settings
            if own
            else replace(
                settings, temperature=max(1.0, settings.temperature), min_p=0.0, top_p=None
            )
        )
        kinds = vocabulary.kinds
        # Drums start an event as notes do: one kind.
        self._kinds = np.where(kinds == Kind.DRUM, np.uint8(Kind.NOTE), kinds)
        edges = (
            0,
            len(SPECIALS),
            *(vocabulary.class_range(i)[0] for i in range(len(vocabulary.classes))),
            vocabulary.drum_start,
            vocabulary.dur_start,
            vocabulary.onset_start,
            vocabulary.pedal_start,
            vocabulary.size,
        )
        blocks = edges if settings.grammar else (edges[0], edges[-1])
        self._blocks = tuple((a, b) for a, b in pairwise(blocks) if a < b)
        self._cache: dict[Ranges, Choices] = {}
        self._layouts: dict[Ranges, _Layout] = {}

    def choices(self, allowed: Sequence[tuple[int, int]]) -> Choices:
        """Return the tokens of some id ranges, grouped; made once for each set of ranges."""
        key = tuple(allowed)
        found = self._cache.get(key)
        if found is None:
            if len(self._cache) >= _MAX_CACHED:
                self._cache.clear()
            found = self._cache[key] = self._make_choices(key)
        return found

    def _make_choices(self, allowed: Ranges) -> Choices:
        ids = np.concatenate([np.arange(lo, hi) for lo, hi in allowed])
        # Onset ranges shrink as a segment goes on; asking for whole blocks keeps the sets of rows
        # that a head is built for few.
        head = tuple(
            (first, end)
            for first, end in self._blocks
            if any(lo < end and first < hi for lo, hi in allowed)
        )
        offered = np.concatenate([np.arange(lo, hi) for lo, hi in head])
        ids, groups = self._by_kind(ids)
        where = np.searchsorted(offered, ids)
        start = int(where[0])
        run = np.array_equal(where, np.arange(start, start + len(ids)))
        columns = slice(start, start + len(ids)) if run else where  # a slice is a view
        layout = self._layouts.get(head)
        if layout is None:
            ordered, kinds = self._by_kind(offered)
            places = np.searchsorted(offered, ordered)
            same = np.array_equal(places, np.arange(len(offered)))
            layout = self._layouts[head] = _Layout(ordered, None if same else places, kinds)
        mask = None
        if len(ids) < len(offered):
            possible = np.zeros(int(offered[-1]) + 1, np.bool_)
            possible[ids] = True
            mask = possible[layout.ids]
        return Choices(ids, groups, head, columns, mask)

    def _by_kind(self, ids: IntArray) -> tuple[IntArray, tuple[tuple[int, int, int], ...]]:
        """Return ids ordered by kind, and the stretches of one kind."""
        if not self.settings.grammar:
            return ids, ((int(Kind.NOTE), 0, len(ids)),)
        kind_of = self._kinds[ids]
        order = np.argsort(kind_of, kind="stable")
        ids, kind_of = ids[order], kind_of[order]
        edges = [0, *(np.flatnonzero(np.diff(kind_of)) + 1).tolist(), len(ids)]
        return ids, tuple((int(kind_of[a]), a, b) for a, b in pairwise(edges))

    def draw(
        self, choices: Sequence[Choices], logits: AnyFloatArray, uniforms: Sequence[float]
    ) -> tuple[IntArray, FloatArray]:
        """Draw a token for each of N rows at once; a row's token does not depend on the others.

        Args:
            choices: N sets of tokens with one ``head``.
            logits: (N, W) of that head.
            uniforms: N numbers in [0, 1).

        Returns:
            (N,) tokens, and the probability that each had.
        """
        layout = self._layouts[choices[0].head]
        z = np.asarray(logits, np.float64)
        if layout.columns is not None:
            z = z[:, layout.columns]
        masks = [choice.mask for choice in choices]
        if any(mask is not None for mask in masks):
            everything = np.ones(z.shape[1], np.bool_)
            possible = np.stack([everything if mask is None else mask for mask in masks])
            z = np.where(possible, z, -np.inf)
        if len(layout.groups) == 1:
            p = self._within_rows(z, layout.groups[0][0])
        else:
            p = np.empty_like(z)
            shares = self._share_rows(z, layout.groups)
            for k, (kind, first, end) in enumerate(layout.groups):
                p[:, first:end] = shares[:, k, None] * self._within_rows(z[:, first:end], kind)
        edges = np.cumsum(p, axis=1)
        target = np.asarray(uniforms) * edges[:, -1]
        index = (edges <= target[:, None]).sum(axis=1)
        for row in np.flatnonzero(index == z.shape[1]):  # rounding put it on the last edge
            index[row] = np.flatnonzero(p[row])[-1]
        return layout.ids[index], p[np.arange(len(p)), index]

    def _share_rows(self, z: FloatArray, groups: Sequence[tuple[int, int, int]]) -> FloatArray:
        """(N, K) probability of each kind in each row; see ``_shares``."""
        top = z.max(axis=1, keepdims=True)
        mass = np.stack([np.exp(z[:, a:b] - top).sum(axis=1) for _, a, b in groups], axis=1)
        possible = np.stack([z[:, a:b].max(axis=1) > -np.inf for _, a, b in groups], axis=1)
        logs = np.where(possible, np.log(np.maximum(mass, 1e-300)), -np.inf)
        temperature = self._timing.temperature
        if temperature == 0:
            return np.asarray(np.arange(len(groups)) == logs.argmax(axis=1)[:, None], np.float64)
        weights = np.exp((logs - logs.max(axis=1, keepdims=True)) / temperature)
        return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float64)

    def _of_kind(self, kind: int) -> SamplingSettings:
        """Return the settings for tokens of one kind."""
        return self._timing if kind in (Kind.ONSET, Kind.DUR) else self.settings

    def _within_rows(self, z: FloatArray, kind: int) -> FloatArray:
        """(N, n) distributions among tokens of one kind, zeros in a row where none is possible."""
        settings = self._of_kind(kind)
        top = z.max(axis=1, keepdims=True)
        if settings.temperature == 0:
            best = np.arange(z.shape[1]) == z.argmax(axis=1)[:, None]
            return np.asarray(best & (top > -np.inf), np.float64)
        weight = np.exp((z - np.where(top > -np.inf, top, 0.0)) / settings.temperature)
        if settings.min_p:
            weight[weight < settings.min_p] = 0.0
        if settings.top_p is not None and settings.top_p < 1.0:
            order = np.argsort(-weight, axis=1, kind="stable")
            mass = np.take_along_axis(weight, order, axis=1)
            mass /= np.maximum(weight.sum(axis=1, keepdims=True), 1e-300)
            before = np.cumsum(mass, axis=1) - mass
            kept = np.where(before > settings.top_p, 0.0, np.take_along_axis(weight, order, axis=1))
            np.put_along_axis(weight, order, kept, axis=1)
        total = weight.sum(axis=1, keepdims=True)
        return np.asarray(weight / np.where(total > 0, total, 1.0), np.float64)

    def probabilities(self, choices: Choices, logits: AnyFloatArray) -> FloatArray:
        """Return the distribution that a token is drawn from.

        Args:
            choices: what is possible.
            logits: (n,) of ``choices.ids``.

        Returns:
            (n,) float64 that add up to 1; one-hot when greedy.
        """
        z = np.asarray(logits, np.float64)
        if len(choices.groups) == 1:
            return self._within(z, choices.groups[0][0])
        shares = self._shares(z, choices)
        out = np.zeros(len(z))
        for share, (kind, first, end) in zip(shares, choices.groups, strict=True):
            if share > 0:
                out[first:end] = share * self._within(z[first:end], kind)
        return out

    def _shares(self, z: FloatArray, choices: Choices) -> list[float]:
        """Probability of each kind: total masses, then temperature."""
        top = z.max()
        values = [
            math.log(max(float(np.exp(z[first:end] - top).sum()), 1e-300))
            for _, first, end in choices.groups
        ]
        temperature = self._timing.temperature
        best = max(values)
        if temperature == 0:
            winner = values.index(best)
            return [float(i == winner) for i in range(len(values))]
        weights = [math.exp((value - best) / temperature) for value in values]
        total = sum(weights)
        return [weight / total for weight in weights]

    def _within(self, z: FloatArray, kind: int) -> FloatArray:
        """Distribution among tokens of one kind."""
        settings = self._of_kind(kind)
        if settings.temperature == 0:
            out = np.zeros(len(z))
            out[int(np.argmax(z))] = 1.0
            return out
        weight = np.exp((z - z.max()) / settings.temperature)
        if settings.min_p:
            weight[weight < settings.min_p] = 0.0
        if settings.top_p is not None and settings.top_p < 1.0:
            order = np.argsort(-weight, kind="stable")
            mass = weight[order] / weight.sum()
            before = np.cumsum(mass) - mass
            weight[order[before > settings.top_p]] = 0.0
        return np.asarray(weight / weight.sum(), np.float64)


_MAX_CACHED = 4096
"""A row meets a few hundred sets of ranges; more only where keys struck at once differ."""


def pick(probabilities: FloatArray, uniform: float) -> int:
    """Index drawn by inverting the running sum; never one of probability 0.

    Args:
        probabilities: (n,) >= 0, not all 0.
        uniform: in [0, 1).
    """
    edges = np.cumsum(probabilities)
    index = int(np.searchsorted(edges, uniform * edges[-1], side="right"))
    # Rounding may put the target on the last edge.
    return index if index < len(edges) else int(np.flatnonzero(probabilities)[-1])


MAX_SEED = 2**64 - 1


class RowRandom:
    """The random numbers of one variation, the same however many others run beside it.

    A counter-based generator (Philox) keyed by seed and variation.

    Raises:
        UsageError: the seed is negative or wider than 64 bits.
    """

    def __init__(self, seed: int, variation: int) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
            raise UsageError(f"`seed` must be a whole number from 0 to 2^64-1, not {seed}")
        key = np.array([seed, variation], np.uint64)
        self._generator = np.random.Generator(np.random.Philox(key=key))

    def uniform(self) -> float:
        """Return the next number in [0, 1)."""
        return float(self._generator.random())
