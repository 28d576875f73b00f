"""Change tempo and chord order on ids of the relative tokenizer (end of section C).

``augment`` changes pitch and velocity. By default times are scaled from the start of the sequence,
so rounding errors do not add up; ``compat="aria"`` rounds every wait on its own, as the public
reference does, and shuffles only chords before a wait.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from arietta.arrays import Int32Array
from arietta.tokenizers.quantise import MAX_DURATION_MS, STEP
from arietta.tokenizers.vocabulary import EOS, PAD, UNK, Kind, Vocabulary
from arietta.training.rows.augment import Mixup

LONGEST = MAX_DURATION_MS // STEP


def _waits(vocab: Vocabulary, steps: int) -> list[int]:
    """Return the ids of a wait in steps of 10 ms: the longest waits first, then the rest."""
    full, rest = divmod(max(steps, 0), LONGEST)
    return [vocab.onset_start + LONGEST] * full + ([vocab.onset_start + rest] if rest else [])


def scale_relative_tempo(
    ids: npt.ArrayLike,
    vocab: Vocabulary,
    factor: float,
    *,
    compat: Literal["aria"] | None = None,
) -> Int32Array:
    """Multiply waits and durations by a factor; cut or pad with <P> to the input length.

    A wait before <E> is removed, as no note follows it.
    """
    array = np.asarray(ids, np.int32)
    kinds = vocab.kinds[array].tolist()
    out: list[int] = []
    clock = written = pending = 0
    for token, kind in zip(array.tolist(), kinds, strict=True):
        if kind == Kind.PAD:
            continue
        if kind == Kind.ONSET:
            pending += token - vocab.onset_start
            continue
        if kind == Kind.DUR:
            steps = round((token - vocab.dur_zero) * factor)
            out.append(vocab.dur_zero + min(max(steps, 1), LONGEST))
            continue
        late = compat == "aria" and token == UNK
        if late:
            out.append(token)
        if pending and token != EOS:
            clock += pending
            target = written + round(pending * factor) if compat else round(clock * factor)
            out += _waits(vocab, target - written)
            written = target
            pending = 0
        if not late:
            out.append(token)
        if token == EOS:
            clock = written = pending = 0
    fitted = np.full(len(array), PAD, np.int32)
    fitted[: len(out)] = out[: len(array)]
    return fitted


def mix_relative_chords(
    ids: npt.ArrayLike,
    vocab: Vocabulary,
    mixup: Mixup,
    *,
    compat: Literal["aria"] | None = None,
) -> Int32Array:
    """Shuffle or reverse notes without a wait between them."""
    array = np.asarray(ids, np.int32)
    kinds = vocab.kinds[array].tolist()
    out: list[int] = []
    chord: list[list[int]] = []

    def close(waited: bool) -> None:
        events = list(chord)
        if mixup is not None and len(events) > 1 and (waited or compat is None):
            if mixup == "reverse":
                events.reverse()
            else:
                events = [events[i] for i in mixup.permutation(len(events))]
            if compat == "aria":
                events.reverse()
        for event in events:
            out.extend(event)
        chord.clear()

    i = 0
    while i < len(kinds):
        if kinds[i] == Kind.NOTE and kinds[i + 1 : i + 2] == [Kind.DUR]:
            chord.append([int(array[i]), int(array[i + 1])])
            i += 2
            continue
        if kinds[i] == Kind.DRUM:
            chord.append([int(array[i])])
        else:
            close(kinds[i] == Kind.ONSET)
            out.append(int(array[i]))
        i += 1
    close(False)
    return np.array(out, np.int32)
