"""Measure how much a model's predictions gain from a longer context: its memory.

Definition. The same ``TARGETS`` notes of a recording are predicted behind the last 8, 32, 64, …
notes before them. *Bits per note* is the code length of all tokens of these notes, divided by their
number. The gain is the difference between two lengths of context.

Conventions. One place a recording, chosen by a hash of its name and a seed, with room for the
longest context. The prefix is the instrument only. The first note of a context begins at 0.
Intervals resample groups of recordings (95 %, 1,000 draws).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from arietta.data.token_grid import NoteColumns
from arietta.evaluation.likelihood import Recording, Scorer
from arietta.tokenizers.open import Tokenizer

CONTEXTS = (8, 32, 64, 256, 560)
TARGETS = 10
Array = npt.NDArray[np.float64]


def places(
    recordings: Iterable[Recording], count: int, contexts: Sequence[int] = CONTEXTS, seed: int = 0
) -> list[tuple[str, NoteColumns]]:
    """Draw places to measure at.

    Args:
        recordings: those with too few notes are skipped.
        count: largest number of places; those with the smallest hash are kept.
        contexts: lengths of context in notes, ascending.
        seed: seed of the choice.

    Returns:
        For each place the group of its recording, and the columns of the longest context followed
        by those of the targets.
    """
    longest = contexts[-1]
    found: list[tuple[float, str, NoteColumns]] = []
    for recording in recordings:
        room = len(recording.notes.pitch) - longest - TARGETS
        if room < 0:
            continue
        digest = hashlib.blake2b(f"{seed} {recording.name}".encode(), digest_size=8).digest()
        rng = np.random.default_rng(int.from_bytes(digest, "little"))
        start = int(rng.integers(room + 1))
        columns = NoteColumns(
            *(np.array(c[start : start + longest + TARGETS]) for c in recording.notes)
        )
        found.append((float(rng.random()), recording.group, columns))
    found.sort(key=lambda one: one[0])
    return [(group, columns) for _, group, columns in found[:count]]


def bits_behind(columns: NoteColumns, context: int, tokenizer: Tokenizer, score: Scorer) -> float:
    """Return the bits per note of the last ``TARGETS`` notes behind so many notes.

    Args:
        columns: notes of a context of at least ``context`` notes, then the targets.
        context: notes that the model sees before the targets; at least 1.
        tokenizer: of the model.
        score: see ``arietta.evaluation.likelihood.backend_scorer``.
    """
    last = [np.asarray(column)[-(context + TARGETS) :] for column in columns]
    last[0] = last[0] - last[0][0]
    ids = tokenizer.encode_columns(*last, eos=False)
    before = tokenizer.encode_columns(*(column[:context] for column in last), eos=False)
    first = len(before)
    return float(score(ids, first).sum()) / math.log(2) / TARGETS


def context_gain(
    drawn: Sequence[tuple[str, NoteColumns]],
    tokenizer: Tokenizer,
    score: Scorer,
    contexts: Sequence[int] = CONTEXTS,
    report: Callable[[int, int], None] | None = None,
) -> dict[str, object]:
    """Return bits per note at each length of context, and the gains.

    Args:
        drawn: see ``places``.
        tokenizer, score: of the model.
        contexts: lengths of context in notes, ascending.
        report: callback with (done, all) after each place.

    Returns:
        ``places``; ``bits_per_note``: context -> mean; ``gain``: "8 -> 560" and "64 -> 560"
        (first and third to last length) -> [mean, low, high].
    """
    table = np.empty((len(drawn), len(contexts)))
    for i, (_, columns) in enumerate(drawn):
        table[i] = [bits_behind(columns, context, tokenizer, score) for context in contexts]
        if report is not None:
            report(i + 1, len(drawn))
    groups = [group for group, _ in drawn]
    gains = {
        f"{contexts[at]} -> {contexts[-1]}": _interval(table[:, at] - table[:, -1], groups)
        for at in (0, 2)
        if at < len(contexts) - 1
    }
    means = {str(c): float(m) for c, m in zip(contexts, table.mean(axis=0), strict=True)}
    return {"places": len(drawn), "bits_per_note": means, "gain": gains}


def _interval(values: Array, groups: Sequence[str]) -> list[float]:
    """Return mean and 95 % interval; groups are resampled."""
    _, of = np.unique(np.array(groups), return_inverse=True)
    sums, counts = np.bincount(of, values), np.bincount(of)
    rng = np.random.default_rng(0)
    draws = rng.integers(len(sums), size=(1_000, len(sums)))
    means = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
    return [float(values.mean()), *np.quantile(means, (0.025, 0.975)).tolist()]
