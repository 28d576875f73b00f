"""Driving a session: feeding ragged rows, asking its head, cutting what no longer fits.

Shapes: B rows, T tokens, D = d_model, N places.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from arietta.arrays import Float32Array
from arietta.generation.sampling import Choices, Ranges
from arietta.models.aria.protocol import Session
from arietta.tokenizers.aria import AriaTokenizer
from arietta.tokenizers.vocabulary import BOS, TIME, Kind

CHUNK = 512
"""Tokens fed at once: a long prompt can be cancelled between two chunks."""


class Cancelled(Exception):
    """Work was given up because somebody asked for it."""


def forward(
    session: Session,
    rows: Sequence[Sequence[int]],
    *,
    cancelled: Callable[[], bool] | None = None,
) -> Float32Array:
    """Feed each row its own tokens, of which there may be none.

    Args:
        session: of B rows.
        rows: B sequences of ids, not all empty.
        cancelled: asked between chunks.

    Returns:
        (B, D) hidden state of each row's last token; rows without tokens mean nothing.

    Raises:
        Cancelled: ``cancelled`` said so; the session holds a part of the tokens.
    """
    lengths = np.array([len(row) for row in rows])
    longest = int(lengths.max())
    ids = np.zeros((len(rows), longest), np.int32)
    for b, row in enumerate(rows):
        ids[b, : len(row)] = row
    even = bool((lengths == longest).all())
    out: Float32Array | None = None
    for start in range(0, longest, CHUNK):
        if start and cancelled is not None and cancelled():
            raise Cancelled
        part = ids[:, start : start + CHUNK]
        counts = np.clip(lengths - start, 0, part.shape[1])
        hidden = session.append(part, last=True, counts=None if even else counts)
        if out is None:
            out = hidden
        else:
            out = np.where((counts > 0)[:, None], hidden, out)
    assert out is not None
    return out


def logits_for(
    session: Session, hidden: Float32Array, choices: Sequence[Choices]
) -> list[npt.NDArray[np.floating]]:
    """Logits of the tokens that are possible at N places.

    Places that ask for the same head rows share one call.

    Args:
        hidden: (N, D).
        choices: N sets of tokens.

    Returns:
        N arrays, each as long as its choices.
    """
    groups: dict[Ranges, list[int]] = {}
    for i, choice in enumerate(choices):
        groups.setdefault(choice.head, []).append(i)
    found: list[npt.NDArray[np.floating]] = [np.zeros(0)] * len(choices)
    for head, members in groups.items():
        everyone = len(members) == len(choices)
        logits = session.head(hidden if everyone else hidden[members], head)
        for row, i in enumerate(members):
            found[i] = logits[row, choices[i].columns]
    return found


def cut_left(tokenizer: AriaTokenizer, ids: Sequence[int], limit: int) -> tuple[list[int], int]:
    """Drop the oldest events so that at most ``limit`` ids are left.

    The cut falls behind a <T>, so that what is left begins with a segment; only where a single
    segment is longer than the limit it falls between two events. The prefix and <S> stay.

    Args:
        ids: prefix, <S>, events.
        limit: most ids to keep.

    Returns:
        The ids that are left, and how many segments (of five seconds) were dropped.
    """
    if len(ids) <= limit:
        return list(ids), 0
    array = np.asarray(ids)
    begin = np.flatnonzero(array == BOS)
    body = int(begin[0]) + 1 if len(begin) else 0
    earliest = len(array) - (limit - body)
    times = np.flatnonzero(array == TIME)
    times = times[times >= body]
    behind = times[times + 1 >= earliest]
    if len(behind):
        cut = int(behind[0]) + 1
    else:
        kinds = tokenizer.vocabulary.kinds[array]
        starts = np.flatnonzero((kinds < Kind.ONSET) & (np.arange(len(array)) >= earliest))
        cut = int(starts[0]) if len(starts) else len(array)
    return [*ids[:body], *ids[cut:]], int(np.count_nonzero(times < cut))
