"""Held-out likelihood: nats per token and bits per note, with bootstrap intervals.

Definition. A piece is seen through windows: prefix, ``<S>``, then a stretch of its tokens that
starts at an event boundary. Every token after ``<S>`` is scored given what stands before it in the
window.

Conventions. The instrument prefix alone is shown, no composer or genre. Windows of one split are
drawn once from a seed, at least one a piece, so that every model is scored on the same tokens (and
short pieces weigh more than their length); means weight these tokens equally; intervals resample
composition groups (95 %, 1,000 draws), because recordings of one work are not independent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from arietta.data.tokens import TokenPieces, event_starts
from arietta.errors import UsageError
from arietta.inference.backends import Backend
from arietta.tokenizers.aria import AriaTokenizer

Nats = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int32]
Scorer = Callable[[Ids, int], Nats]
"""(window ids (n,), first scored position) -> nats (n - first,)."""


@dataclass(frozen=True, eq=False)
class Window:
    """A stretch of a piece.

    Attributes:
        ids: (n,) prefix, ``<S>``, body.
        first: position of the first scored token.
        source, group: origin and composition group of the piece.
    """

    ids: Ids
    first: int
    source: str
    group: str


@dataclass(frozen=True, eq=False)
class ScoredWindows:
    """Windows and the nats of their scored tokens."""

    windows: tuple[Window, ...]
    nats: tuple[Nats, ...]

    def __post_init__(self) -> None:
        assert len(self.windows) == len(self.nats)


def draw_windows(
    pieces: TokenPieces, tokenizer: AriaTokenizer, length: int, count: int, seed: int = 0
) -> list[Window]:
    """``count`` windows, one a piece first, then by the length of the pieces.

    Args:
        pieces: tokenised pieces of a split.
        length: tokens a window, prefix included; the end of a piece may give a shorter one.
        count: number of windows; at most those that the pieces hold without overlap.

    Raises:
        UsageError: fewer windows are asked for than there are pieces.
    """
    if count < len(pieces):
        raise UsageError(f"at least one window a piece: ask for {len(pieces)} or more")
    rng = np.random.default_rng(seed)
    chosen: list[tuple[int, int]] = []
    spare: list[tuple[int, int]] = []
    starts = []
    room = length - 2  # the instrument prefix and <S>
    for i in range(len(pieces)):
        body = pieces.body(i)
        boundaries = event_starts(body, tokenizer)
        cuts = np.searchsorted(boundaries, np.arange(0, max(len(body) - room // 2, 1), room))
        starts.append(boundaries[np.unique(np.minimum(cuts, len(boundaries) - 1))])
        order = rng.permutation(len(starts[i]))
        chosen.append((i, int(order[0])))
        spare.extend((i, int(j)) for j in order[1:])
    more = rng.permutation(len(spare))[: count - len(pieces)]
    chosen.extend(spare[int(k)] for k in more)
    windows = []
    for i, j in sorted(chosen):
        at = int(starts[i][j])
        body = np.append(pieces.body(i), np.int32(tokenizer.eos))[at : at + room]
        head = np.array([pieces.prefixes[i][0], tokenizer.bos], np.int32)
        ids = np.concatenate((head, body)).astype(np.int32)
        windows.append(Window(ids, len(head), pieces.sources[i], pieces.groups[i]))
    return windows


def backend_scorer(backend: Backend, chunk: int = 256) -> Scorer:
    """Score windows with a language model; logits are made ``chunk`` positions at a time."""
    everything = ((0, backend.vocab_size),)

    def score(ids: Ids, first: int) -> Nats:
        session = backend.new_session(rows=1)
        hidden = session.append(ids[None, :-1])[0]
        nats = np.empty(len(ids) - first)
        for at in range(first - 1, len(ids) - 1, chunk):
            end = min(at + chunk, len(ids) - 1)
            logits = session.head(hidden[at:end], everything).astype(np.float64)
            logits -= logits.max(axis=1, keepdims=True)
            picked = logits[np.arange(end - at), ids[at + 1 : end + 1]]
            nats[at - first + 1 : end - first + 1] = np.log(np.exp(logits).sum(axis=1)) - picked
        return nats

    return score


def score_windows(windows: Sequence[Window], score: Scorer) -> ScoredWindows:
    """Nats of every scored token of every window."""
    return ScoredWindows(tuple(windows), tuple(score(w.ids, w.first) for w in windows))


def token_kinds(ids: Ids, tokenizer: AriaTokenizer) -> npt.NDArray[np.str_]:
    """``note``, ``onset``, ``duration`` or ``other`` for each id."""
    vocabulary = tokenizer.vocabulary
    kind = np.full(ids.shape, "other", "<U8")
    kind[(ids >= vocabulary.note_start) & (ids < vocabulary.drum_start)] = "note"
    kind[(ids >= vocabulary.dur_start) & (ids < vocabulary.onset_start)] = "duration"
    kind[(ids >= vocabulary.onset_start) & (ids < vocabulary.pedal_start)] = "onset"
    return kind


def evaluate(
    scored: ScoredWindows, tokenizer: AriaTokenizer, *, draws: int = 1_000, seed: int = 0
) -> dict[str, Any]:
    """Figures of scored windows.

    Returns:
        ``nats_per_token`` and ``bits_per_note`` with ``[low, high]`` intervals, ``tokens``,
        ``notes``, and nats per token by kind of token and by source.
    """
    kinds = [token_kinds(w.ids[w.first :], tokenizer) for w in scored.windows]
    nats = np.array([n.sum() for n in scored.nats])
    tokens = np.array([len(n) for n in scored.nats])
    notes = np.array([(k == "note").sum() for k in kinds])
    groups = np.unique([w.group for w in scored.windows], return_inverse=True)[1]
    by_group = np.stack(
        [np.bincount(groups, x.astype(float)) for x in (nats, tokens, notes)]
    )  # (3, G)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(
        by_group.shape[1], np.full(by_group.shape[1], 1 / by_group.shape[1]), draws
    )
    sums = drawn @ by_group.T  # (draws, 3)

    def interval(values: npt.NDArray[np.float64]) -> list[float]:
        return [round(float(x), 4) for x in np.quantile(values, (0.025, 0.975))]

    bits = 1 / math.log(2)
    all_kinds, all_nats = np.concatenate(kinds), np.concatenate(scored.nats)
    sources = np.array([w.source for w in scored.windows])
    return {
        "nats_per_token": round(float(nats.sum() / tokens.sum()), 4),
        "nats_per_token_95": interval(sums[:, 0] / sums[:, 1]),
        "bits_per_note": round(float(nats.sum() * bits / notes.sum()), 3),
        "bits_per_note_95": interval(sums[:, 0] * bits / sums[:, 2]),
        "tokens": int(tokens.sum()),
        "notes": int(notes.sum()),
        "windows": len(scored.windows),
        "groups": int(by_group.shape[1]),
        "by_kind": {
            k: round(float(all_nats[all_kinds == k].mean()), 4)
            for k in ("note", "onset", "duration", "other")
            if np.any(all_kinds == k)
        },
        "by_source": {
            str(s): round(float(nats[sources == s].sum() / tokens[sources == s].sum()), 4)
            for s in np.unique(sources)
        },
    }
