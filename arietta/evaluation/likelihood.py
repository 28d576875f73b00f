"""Measure held-out likelihood: nats per token and bits per note, with bootstrap intervals.

Definition. A recording is scored in stretches of whole notes. A model reads a stretch like a
prompt: prefix, ``<S>``, the notes, and ``<E>`` where the recording ends. Every token after ``<S>``
is scored given the tokens before it.

Conventions. The prefix is the instrument only, no composer or genre. Stretches are chosen by a hash
of the recording's name and a seed, at least one a recording (so short recordings have more weight),
and cut so that the absolute ``piano`` tokens fill a window; so every model scores the same notes,
whatever its vocabulary. Means weight scored tokens, or notes, equally; intervals
resample groups of recordings (95 %, 1,000 draws): recordings of one work are not independent.

*Nats per token* covers every scored token and compares models of one vocabulary. *Bits per note* is
the code length of everything after the first note of a stretch, divided by the number of these
notes: it compares models of any vocabulary. The first note is left out because only some
vocabularies encode where in a segment it starts.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from arietta.arrays import FloatArray, Int32Array
from arietta.data.token_grid import NoteColumns
from arietta.errors import UsageError
from arietta.models.aria.protocol import Backend
from arietta.tokenizers.open import Tokenizer
from arietta.tokenizers.quantise import SEGMENT_MS
from arietta.tokenizers.vocabulary import BOS, EOS, Kind, Vocabulary

Scorer = Callable[[Int32Array, int], FloatArray]
"""(window ids (n,), first scored position) -> nats (n - first,)."""

KINDS = ("note", "onset", "wait", "duration", "time", "end", "other")
"""Kinds of tokens; ``wait`` is what relative vocabularies have instead of ``onset``."""

MIN_WINDOW = 64
"""Smallest window in tokens: a dozen notes and the tokens before them."""


@dataclass(frozen=True, eq=False)
class Recording:
    """Hold a solo-piano recording to score.

    Attributes:
        name: unique name; its hash selects the stretches.
        group: recordings of one group are resampled together.
        notes: columns in token order; time may start anywhere.
        labels: labels by which figures can be split, such as ``source`` or ``genre``.
    """

    name: str
    group: str
    notes: NoteColumns
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Stretch:
    """Hold consecutive whole notes of a recording.

    Attributes:
        notes: columns; time 0 is the start of the five-second segment of the first note.
        ends: whether the recording ends here.
        name, group, labels: those of the recording.
    """

    notes: NoteColumns
    ends: bool
    name: str
    group: str
    labels: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class ScoredStretches:
    """Hold the scores of stretches by one model.

    Attributes:
        stretches: n stretches.
        nats: n arrays: nats of every token after ``<S>``.
        kinds: n arrays: ``token_kinds`` of the same tokens.
        opening: n counts of tokens up to the last token of the first note, inclusive.
    """

    stretches: tuple[Stretch, ...]
    nats: tuple[FloatArray, ...]
    kinds: tuple[npt.NDArray[Any], ...]
    opening: tuple[int, ...]


def stretches_of(recording: Recording, length: int) -> Iterator[Stretch]:
    """Yield all stretches of a recording without overlap; skip a last one shorter than half.

    Args:
        recording: a recording with at least one note.
        length: tokens of a window of the ``piano`` vocabulary; prefix, ``<S>`` and ``<E>`` count.
    """
    notes = recording.notes
    onset = notes.onset_ms - int(notes.onset_ms[0])
    segment = onset // SEGMENT_MS
    # Where the tokens of each note end, counted from the first token of the recording.
    end = 3 * np.arange(1, len(onset) + 1) + segment
    room = length - 3
    start = 0
    while start < len(onset):
        before = int(end[start]) - 3
        stop = int(np.searchsorted(end, before + room, side="right"))
        if start and int(end[-1]) - before < room // 2:
            return
        begin = int(segment[start]) * SEGMENT_MS
        yield Stretch(
            NoteColumns(
                # Copies: a stretch outlives the row group of its recording.
                (onset[start:stop] - begin).astype(np.int32),
                notes.duration_ms[start:stop].astype(np.int32),
                notes.pitch[start:stop].astype(np.uint8),
                notes.velocity[start:stop].astype(np.uint8),
            ),
            stop == len(onset),
            recording.name,
            recording.group,
            recording.labels,
        )
        start = stop


def draw_stretches(
    recordings: Iterable[Recording], length: int, count: int | None = None, seed: int = 0
) -> list[Stretch]:
    """Draw one stretch a recording first, then more in proportion to length.

    The choice depends on the name of each recording, not on other recordings or their order. Memory
    holds ``count`` stretches for any number of recordings.

    Args:
        recordings: recordings without notes are skipped.
        length: tokens a window, see ``stretches_of``.
        count: largest number of stretches; None for all. If there are more recordings, a random
            selection of them gives one stretch each.
        seed: seed of the choice.

    Raises:
        UsageError: ``length`` or ``count`` is too small.
    """
    if length < MIN_WINDOW:
        raise UsageError(f"`length` must be at least {MIN_WINDOW} tokens, not {length}")
    if count is not None and count < 1:
        raise UsageError(f"`windows` must be at least 1, not {count}")
    kept: list[tuple[float, int, Stretch]] = []  # a heap: the first one to drop on top
    seen = 0
    for recording in recordings:
        if not len(recording.notes.pitch):
            continue
        named = f"{seed} {recording.name}".encode("utf8", "surrogatepass")
        digest = hashlib.blake2b(named, digest_size=8).digest()
        rng = np.random.default_rng(int.from_bytes(digest, "little"))
        parts = list(stretches_of(recording, length))
        keys = rng.random(len(parts))
        keys[rng.integers(len(parts))] -= 1.0  # before every second stretch of any recording
        for key, part in zip(keys.tolist(), parts, strict=True):
            seen += 1
            if count is None or len(kept) < count:
                heapq.heappush(kept, (-key, seen, part))
            elif -key > kept[0][0]:
                heapq.heapreplace(kept, (-key, seen, part))
    return [part for _, _, part in sorted(kept, key=lambda row: row[1])]


def window_ids(stretch: Stretch, tokenizer: Tokenizer) -> Int32Array:
    """Return the ids (n,) of a stretch: piano prefix, ``<S>``, notes, ``<E>`` at the end."""
    return tokenizer.encode_columns(*stretch.notes, eos=stretch.ends)


def backend_scorer(backend: Backend, chunk: int = 256) -> Scorer:
    """Score windows with a language model; logits are made ``chunk`` positions at a time."""
    everything = ((0, backend.vocab_size),)

    def score(ids: Int32Array, first: int) -> FloatArray:
        session = backend.new_session(rows=1)
        hidden = session.append(ids[None, :-1])[0]
        nats = np.empty(len(ids) - first)
        for at in range(first - 1, len(ids) - 1, chunk):
            end = min(at + chunk, len(ids) - 1)
            logits = session.head(hidden[at:end], everything)
            logits = logits - logits.max(axis=1, keepdims=True)
            picked = logits[np.arange(end - at), ids[at + 1 : end + 1]]
            total = np.exp(logits).sum(axis=1, dtype=np.float64)
            nats[at - first + 1 : end - first + 1] = np.log(total) - picked
        return nats

    return score


def score_stretches(
    stretches: Sequence[Stretch],
    tokenizer: Tokenizer,
    score: Scorer,
    *,
    report: Callable[[int, int], None] | None = None,
) -> ScoredStretches:
    """Score every token after ``<S>`` of every stretch.

    Args:
        stretches: see ``draw_stretches``.
        tokenizer: tokenizer of the scored model.
        score: see ``backend_scorer``.
        report: callback with (done, all) after each stretch.
    """
    nats, kinds, opening = [], [], []
    for done, stretch in enumerate(stretches, start=1):
        ids = window_ids(stretch, tokenizer)
        first = int(np.flatnonzero(ids == BOS)[0]) + 1
        found = token_kinds(ids[first:], tokenizer.vocabulary)
        nats.append(score(ids, first))
        kinds.append(found)
        opening.append(int(np.argmax(found == "duration")) + 1)
        if report is not None:
            report(done, len(stretches))
    return ScoredStretches(tuple(stretches), tuple(nats), tuple(kinds), tuple(opening))


def token_kinds(ids: Int32Array, vocabulary: Vocabulary) -> npt.NDArray[Any]:
    """Return one of ``KINDS`` for each id."""
    names = np.full(Kind.FOREIGN + 1, "other", "<U8")
    names[[Kind.NOTE, Kind.DUR, Kind.ONSET]] = (
        "note",
        "duration",
        "wait" if vocabulary.relative else "onset",
    )
    names[EOS] = "end"
    if not vocabulary.relative:
        names[Kind.TIME] = "time"
    kinds: npt.NDArray[Any] = names[vocabulary.kinds[ids]]
    return kinds


_BITS = 1 / math.log(2)


def _sums(scored: ScoredStretches) -> FloatArray:
    """Return sums (4, n) per stretch: nats, tokens; nats after the first note, notes there."""
    opened = list(zip(scored.nats, scored.kinds, scored.opening, strict=True))
    return np.array(
        [
            [n.sum() for n in scored.nats],
            [len(n) for n in scored.nats],
            [n[at:].sum() for n, _, at in opened],
            [np.count_nonzero(k[at:] == "note") for _, k, at in opened],
        ],
        np.float64,
    ).reshape(4, len(opened))


def _grouped(sums: FloatArray, stretches: Sequence[Stretch]) -> FloatArray:
    """Sum over the stretches of each group; return (..., groups)."""
    groups = np.unique([s.group for s in stretches], return_inverse=True)[1]
    return np.stack([np.bincount(groups, row) for row in sums])


def _resampled(by_group: FloatArray, draws: int, seed: int) -> FloatArray:
    """Return sums (draws, rows) of as many groups as there are, drawn with replacement."""
    groups = by_group.shape[1]
    drawn = np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), draws)
    out: FloatArray = drawn @ by_group.T
    return out


def _interval(values: FloatArray, groups: int, digits: int) -> list[float] | None:
    """Return the 95 % interval of the draws; None for a single group."""
    values = values[np.isfinite(values)]
    if groups < 2 or not len(values):
        return None
    return [round(float(x), digits) for x in np.quantile(values, (0.025, 0.975))]


def _ratio(part: float, whole: float, digits: int) -> float | None:
    return round(part / whole, digits) if whole else None


def _figures(
    sums: FloatArray, stretches: Sequence[Stretch], draws: int, seed: int
) -> dict[str, Any]:
    by_group = _grouped(sums, stretches)
    groups = by_group.shape[1]
    nats, tokens, tail, notes = sums.sum(axis=1).tolist()
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = _resampled(by_group, draws, seed)
        per_token, per_note = drawn[:, 0] / drawn[:, 1], drawn[:, 2] * _BITS / drawn[:, 3]
    return {
        "nats_per_token": _ratio(nats, tokens, 4),
        "nats_per_token_95": _interval(per_token, groups, 4),
        "bits_per_note": _ratio(tail * _BITS, notes, 3),
        "bits_per_note_95": _interval(per_note, groups, 3),
        "tokens": int(tokens),
        "notes": int(notes),
        "windows": len(stretches),
        "groups": groups,
    }


def evaluate(
    scored: ScoredStretches,
    *,
    by: Sequence[str] = ("source",),
    draws: int = 1_000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compute the figures of scored stretches.

    Args:
        scored: see ``score_stretches``.
        by: labels to split by; a recording without the label counts as ``-``.
        draws, seed: number of bootstrap draws, and their seed.

    Returns:
        ``nats_per_token`` and ``bits_per_note`` with their 95 % intervals (``..._95``, None for a
        single group), ``tokens``, ``notes`` (those that bits per note counts), ``windows``,
        ``groups``; ``by_kind`` with ``nats_per_token``, ``bits_per_note`` (the part of the sum) and
        ``tokens`` of each kind of token; ``by_<label>`` with all of these for each value of a
        label.
    """
    sums = _sums(scored)
    table = _figures(sums, scored.stretches, draws, seed)
    kinds, nats = np.concatenate(scored.kinds), np.concatenate(scored.nats)
    behind = np.concatenate(
        [np.arange(len(n)) >= o for n, o in zip(scored.nats, scored.opening, strict=True)]
    )
    table["by_kind"] = {
        kind: {
            "nats_per_token": round(float(nats[mine].mean()), 4),
            "bits_per_note": _ratio(float(nats[mine & behind].sum()) * _BITS, sums[3].sum(), 3),
            "tokens": int(mine.sum()),
        }
        for kind in KINDS
        if (mine := kinds == kind).any()
    }
    for label in by:
        values = np.array([s.labels.get(label, "") or "-" for s in scored.stretches])
        table[f"by_{label}"] = {
            str(value): _figures(
                sums[:, values == value],
                [s for s, v in zip(scored.stretches, values, strict=True) if v == value],
                draws,
                seed,
            )
            for value in np.unique(values)
        }
    return table


def piece_rows(scored: ScoredStretches) -> list[dict[str, Any]]:
    """Return a row for each recording: its name, group and labels, and the sums of its stretches.

    Returns:
        ``nats`` of ``tokens``; ``bits`` of ``notes``, as bits per note counts them.
    """
    sums = _sums(scored)
    rows: dict[str, dict[str, Any]] = {}
    names = sorted({label for s in scored.stretches for label in s.labels})
    for stretch, (nats, tokens, tail, notes) in zip(scored.stretches, sums.T, strict=True):
        row = rows.setdefault(
            stretch.name,
            {
                "piece": stretch.name,
                "group": stretch.group,
                **{name: stretch.labels.get(name, "") for name in names},
                **dict.fromkeys(("windows", "tokens", "notes"), 0),
                **dict.fromkeys(("nats", "bits"), 0.0),
            },
        )
        row["windows"] += 1
        row["tokens"] += int(tokens)
        row["notes"] += int(notes)
        row["nats"] += float(nats)
        row["bits"] += float(tail) * _BITS
    return list(rows.values())


def compare(
    scored: ScoredStretches, baseline: ScoredStretches, *, draws: int = 1_000, seed: int = 0
) -> dict[str, Any]:
    """Compare the bits per note of two models on the same stretches.

    Returns:
        ``bits_per_note`` (below 0: ``scored`` is better), ``percent`` of the baseline,
        each with its 95 % interval from paired draws.
    """
    assert scored.stretches == baseline.stretches
    ours, theirs = _sums(scored), _sums(baseline)
    sums = np.stack((ours[2] * _BITS, theirs[2] * _BITS, ours[3]))
    by_group = _grouped(sums, scored.stretches)
    drawn = _resampled(by_group, draws, seed)
    groups = by_group.shape[1]
    a, b, notes = sums.sum(axis=1).tolist()
    with np.errstate(invalid="ignore", divide="ignore"):
        differences = (drawn[:, 0] - drawn[:, 1]) / drawn[:, 2]
        percents = (drawn[:, 0] / drawn[:, 1] - 1) * 100
    return {
        "bits_per_note": _ratio(a - b, notes, 4),
        "bits_per_note_95": _interval(differences, groups, 4),
        "percent": _ratio((a - b) * 100, b, 3),
        "percent_95": _interval(percents, groups, 3),
    }
