"""A small model drafts, the big one verifies; what comes out is distributed as without a draft.

Leviathan et al. 2023 (arXiv 2211.17192): a token x drafted from q is kept with probability
min(1, p(x) / q(x)), else one is drawn from max(p - q, 0). Here p and q are the distributions that
tokens are really drawn from, after grammar, kinds, min-p and a forced ending, so greedy output is
identical and sampled output has the target's distribution exactly. Both models need not share a
vocabulary: ids are mapped by a table, and events the draft has no ids for are hidden from it.

How many tokens are drafted follows each row's own acceptance so far, never the clock, so that a
seed gives the same music on a slower machine and beside other rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from arietta.arrays import FloatArray, IntArray
from arietta.errors import UsageError
from arietta.generation.constraints import Rules
from arietta.generation.forward_pass import cut_left, forward, logits_for
from arietta.generation.sampling import Choices, RowRandom, Sampler, pick
from arietta.models.aria.protocol import Backend, Session
from arietta.tokenizers.aria import AriaTokenizer
from arietta.tokenizers.vocabulary import Kind

MAX_DEPTH = 8
"""Most tokens drafted at once."""

_PROBE_EVERY = 48
"""Tokens between two looks at whether drafting has begun to pay, while it does not."""
_VERIFY_COST = 0.08
"""What one more token in a verifying pass costs, in passes of one token; measured with the next by
benchmarks/speculative_cost.py."""
_OVERHEAD = 0.02
"""What one drafted token costs beside the draft's own arithmetic, in the same unit."""
_START_RATE = 0.7
_MAX_CACHED = 4096
_MEMORY = 0.9


@dataclass(frozen=True, eq=False)
class Draft:
    """The small model.

    Attributes:
        backend: runs it.
        tokenizer: its vocabulary.
        depth: how many tokens to draft at once; None follows what is accepted.
    """

    backend: Backend
    tokenizer: AriaTokenizer
    depth: int | None = None

    def __post_init__(self) -> None:
        if self.depth is not None and not 0 <= self.depth <= MAX_DEPTH:
            raise UsageError(f"`depth` must lie between 0 and {MAX_DEPTH}, not {self.depth}")


@dataclass(eq=False)
class Proposal:
    """What was drafted for one row.

    Attributes:
        ids: drafted tokens x, in the target's vocabulary.
        drafted_from: q for each of them, over the ids of ``choices`` at its place.
        choices: what is possible at each drafted place and at the one after; one more than ids.
        forcing: whether an ending was being forced at each of these places.
    """

    ids: list[int] = field(default_factory=list)
    drafted_from: list[FloatArray] = field(default_factory=list)
    choices: list[Choices] = field(default_factory=list)
    forcing: list[bool] = field(default_factory=list)


def accept(
    target: FloatArray, draft: FloatArray, drafted: int, random: RowRandom
) -> tuple[int, bool]:
    """Keep a drafted token or draw another, so that the outcome is distributed as ``target``.

    Args:
        target: (n,) p.
        draft: (n,) q over the same tokens.
        drafted: index of the token that was drawn from q.

    Returns:
        Index of the token, and whether it is the drafted one.
    """
    if random.uniform() * draft[drafted] < target[drafted]:
        return drafted, True
    rest = np.maximum(target - draft, 0.0)
    # Only rounding can leave nothing: p and q are then the same.
    return pick(rest if rest.any() else target, random.uniform()), False


def best_depth(rate: float, cost: float) -> int:
    """How many tokens to draft: the most tokens per unit of work.

    With each drafted token kept with probability ``rate``, a round of k drafts gives
    (1 - rate^(k+1)) / (1 - rate) tokens and costs 1 + k * cost passes.

    Args:
        rate: 0..1.
        cost: of drafting and verifying one token, in passes of the target.
    """
    best, best_gain = 0, 1.0
    tokens, power = 1.0, 1.0
    for k in range(1, MAX_DEPTH + 1):
        power *= rate
        tokens += power
        gain = tokens / (1.0 + k * cost)
        if gain > best_gain:
            best, best_gain = k, gain
    return best


@dataclass(eq=False)
class _DraftRow:
    """One row as the draft model sees it.

    Attributes:
        context: ids (of the draft) that its cache holds.
        todo: ids that it has still to be fed.
        skipping: whether the event at hand has no ids in the draft's vocabulary.
        fed: how many of the last proposal's tokens are in the cache.
        rate: running share of drafted tokens that were kept.
        since: tokens decided since the last proposal.
    """

    context: list[int]
    todo: list[int]
    skipping: bool = False
    fed: int = 0
    rate: float = _START_RATE
    since: int = 0

    def copy(self) -> _DraftRow:
        return _DraftRow(
            list(self.context), list(self.todo), self.skipping, self.fed, self.rate, self.since
        )


@dataclass(frozen=True, eq=False)
class _View:
    """Some of the target's choices in the draft's ids.

    Attributes:
        choices: the tokens that the draft has, by its ids.
        positions: (m,) where they stand among the target's choices.
    """

    choices: Choices
    positions: IntArray


class Drafter:
    """The draft side of a stream: its session and what each row has been fed.

    Args:
        draft: the small model.
        target: the big model's tokenizer.
        target_parameters: size of the big model, to weigh the cost of drafting.
        sampler: of the stream.
        prompt: (n,) ids of the target that all rows start from.
        rows: how many.
    """

    def __init__(
        self,
        draft: Draft,
        target: AriaTokenizer,
        target_parameters: int,
        sampler: Sampler,
        prompt: Sequence[int],
        rows: int,
    ) -> None:
        self._draft = draft
        self._sampler = sampler
        self._kinds = target.vocabulary.kinds
        self._to_draft = target.map_to(draft.tokenizer)
        self._views: dict[Choices, _View] = {}
        share = draft.backend.config.parameter_count() / target_parameters
        self._cost = share + _VERIFY_COST + _OVERHEAD
        first = _DraftRow([], [])
        self._translate(first, prompt)
        self._session: Session = draft.backend.new_session(1)
        self._limit = draft.backend.max_seq_len - MAX_DEPTH - 1
        first.todo = cut_left(draft.tokenizer, first.todo, self._limit)[0]
        # Everything but the last id: a proposal starts by feeding what is left to do.
        if len(first.todo) > 1:
            forward(self._session, [first.todo[:-1]])
            first.context, first.todo = first.todo[:-1], first.todo[-1:]
        self._session.fork(np.zeros(rows, np.int64))
        self._rows = [first.copy() for _ in range(rows)]
        self._hidden = np.zeros((rows, draft.backend.config.d_model), np.float32)

    def fork(self, index: Sequence[int]) -> None:
        """Let row b go on from what row ``index[b]`` holds."""
        self._session.fork(np.asarray(index, np.int64))
        self._rows = [self._rows[i].copy() for i in index]
        self._hidden = self._hidden[np.asarray(index)]

    def _translate(self, row: _DraftRow, ids: Sequence[int]) -> None:
        """Queue target ids for the draft; an event it has no id for is left out whole."""
        for token in ids:
            kind = self._kinds[token]
            if kind in (Kind.ONSET, Kind.DUR) and row.skipping:
                continue
            mapped = int(self._to_draft[token])
            row.skipping = mapped < 0 and kind in (Kind.NOTE, Kind.DRUM, Kind.PEDAL)
            if mapped >= 0:
                row.todo.append(mapped)

    def depths(self, room: Sequence[int]) -> list[int]:
        """How many tokens to draft for each row; ``room`` is the most that each can use."""
        out = []
        for row, most in zip(self._rows, room, strict=True):
            if self._draft.depth is not None:
                depth = self._draft.depth
            else:
                depth = best_depth(row.rate, self._cost)
                if depth == 0 and row.since >= _PROBE_EVERY:
                    depth = 2
            if row.skipping:
                depth = 0
            out.append(min(depth, most))
        return out

    def propose(
        self, rules: Sequence[Rules], randoms: Sequence[RowRandom], depths: Sequence[int]
    ) -> list[Proposal]:
        """Draft ``depths[b]`` tokens for each row; fewer where the grammar or <E> says stop."""
        proposals = [Proposal() for _ in depths]
        ahead = [r.copy() for r in rules]
        for b, proposal in enumerate(proposals):
            proposal.choices.append(self._sampler.choices(ahead[b].allowed()))
            proposal.forcing.append(ahead[b].forcing)
            self._rows[b].fed = 0
        active = [b for b, depth in enumerate(depths) if depth > 0]
        if active:
            self._feed(active)
        step = 0
        while active:
            step += 1
            drawn = self._draw(active, proposals, ahead, randoms)
            active = [b for b, ok in zip(active, drawn, strict=True) if ok and step < depths[b]]
            if active:
                self._feed_drafted(active, proposals)
        return proposals

    def _draw(
        self,
        active: Sequence[int],
        proposals: Sequence[Proposal],
        ahead: Sequence[Rules],
        randoms: Sequence[RowRandom],
    ) -> list[bool]:
        """Draft one token for each of some rows; False where the row drafts no further."""
        views = [self._view(proposals[b].choices[-1]) for b in active]
        usable = [i for i, view in enumerate(views) if len(view.positions)]
        found = logits_for(
            self._session,
            self._hidden[[active[i] for i in usable]],
            [views[i].choices for i in usable],
        )
        goes_on = [False] * len(active)
        for i, logits in zip(usable, found, strict=True):
            b, view = active[i], views[i]
            proposal, choices = proposals[b], proposals[b].choices[-1]
            q = np.zeros(len(choices))
            q[view.positions] = self._sampler.probabilities(view.choices, logits)
            q = ahead[b].shape(choices, q)
            token = int(choices.ids[pick(q, randoms[b].uniform())])
            proposal.ids.append(token)
            proposal.drafted_from.append(q)
            ahead[b].advance(token)
            proposal.choices.append(self._sampler.choices(ahead[b].allowed()))
            proposal.forcing.append(ahead[b].forcing)
            # A forced <D> or <E> may have no id here; the draft cannot go on behind it.
            goes_on[i] = self._to_draft[token] >= 0 and token != Kind.EOS
        return goes_on

    def _view(self, choices: Choices) -> _View:
        """Return the part of some choices that the draft has ids for; made once for each."""
        found = self._views.get(choices)
        if found is None:
            if len(self._views) >= _MAX_CACHED:
                self._views.clear()
            found = self._views[choices] = self._make_view(choices)
        return found

    def _make_view(self, choices: Choices) -> _View:
        mapped = self._to_draft[choices.ids]
        positions = np.flatnonzero(mapped >= 0)
        ids = mapped[positions].astype(np.int64)
        ascending = np.sort(ids)
        edges = np.flatnonzero(np.diff(ascending) != 1) + 1
        runs = [r for r in np.split(ascending, edges) if len(r)]
        head = tuple((int(run[0]), int(run[-1]) + 1) for run in runs)
        groups = []
        for kind, first, end in choices.groups:
            inside = np.flatnonzero((positions >= first) & (positions < end))
            if len(inside):
                groups.append((kind, int(inside[0]), int(inside[-1]) + 1))
        part = Choices(ids, tuple(groups), head, np.searchsorted(ascending, ids))
        return _View(part, positions)

    def _feed(self, active: Sequence[int]) -> None:
        """Bring the cache of some rows up to date with what was decided."""
        waiting = [b for b in active if self._rows[b].todo]
        full = [b for b in waiting if self._length(b) > self._limit]
        for b in full:
            row = self._rows[b]
            row.todo = cut_left(self._draft.tokenizer, row.context + row.todo, self._limit // 2)[0]
            row.context = []
        if full:
            lengths = self._session.lengths
            lengths[full] = 0
            self._session.rewind(lengths)
        if waiting:
            rows: list[list[int]] = [[] for _ in self._rows]
            for b in waiting:
                rows[b] = self._rows[b].todo
            hidden = forward(self._session, rows)
            for b in waiting:
                row = self._rows[b]
                self._hidden[b] = hidden[b]
                row.context += row.todo
                row.todo = []

    def _length(self, b: int) -> int:
        return len(self._rows[b].context) + len(self._rows[b].todo)

    def _feed_drafted(self, active: Sequence[int], proposals: Sequence[Proposal]) -> None:
        """Put the token just drafted for some rows into the cache."""
        rows: list[list[int]] = [[] for _ in self._rows]
        for b in active:
            rows[b] = [int(self._to_draft[proposals[b].ids[-1]])]
            self._rows[b].fed += 1
        hidden = forward(self._session, rows)
        self._hidden[list(active)] = hidden[list(active)]

    def commit(
        self, proposals: Sequence[Proposal], kept: Sequence[int], decided: Sequence[Sequence[int]]
    ) -> None:
        """Take what was decided: rewind the cache behind it and queue the rest.

        Args:
            proposals: of this round.
            kept: how many tokens of each were accepted.
            decided: all tokens that each row gained.
        """
        lengths = self._session.lengths
        for b, row in enumerate(self._rows):
            proposal = proposals[b]
            row.since = 0 if proposal.ids else row.since + len(decided[b])
            tried = min(len(proposal.ids), kept[b] + 1)
            for i in range(tried):
                row.rate = _MEMORY * row.rate + (1 - _MEMORY) * (i < kept[b])
            known = min(kept[b], row.fed)
            lengths[b] -= row.fed - known
            row.context += [int(self._to_draft[t]) for t in proposal.ids[:known]]
            self._translate(row, decided[b][known:])
            if row.fed > known and not row.todo:
                # The hidden state is that of a rejected token: feed the last good one again.
                row.todo = [row.context.pop()]
                lengths[b] -= 1
            row.fed = 0
        self._session.rewind(lengths)
