"""How good are filled gaps, and do they know what follows?

    python -m benchmarks.filling PART DATASET [--models small ...] [--pieces 60]

DATASET is what ``arietta data build`` makes; gaps lie in pieces of its test split, each of another
group of compositions. Intervals are 95 %, over pieces. PART is one of:

middle    Bits a note of what people played in the gap: under a model that knows gaps (vocabulary
          ``piano-fill``), the same without what follows, and with another piece's music following,
          where the gain has to vanish; under any model as a continuation; under a 5-gram of the
          train split.
seam      How many bits a note more the 5 s behind a gap cost the same model than behind what people
          played: with nothing in the gap, a copy of the stretch before, one take, the best of 16.
          For a model that knows gaps, takes are fills, else continuations.
detector  How well trees tell the seams of fills from places in untouched music, by 2 s on either
          side. They learn from random splices of the train split.
hands     What share of one hand's new chords lies within a hand's reach, beside people's.
density   Obtained against asked density, as multiples of what people played.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import arietta
from arietta.arrays import Int32Array
from arietta.evaluation.likelihood import Recording, backend_scorer
from arietta.evaluation.ngram import NgramModel
from arietta.evaluation.recordings import recordings_of_dataset
from arietta.generation.fill_settings import FillRequest
from arietta.generation.infill import Busy, Columns, FillStream, by_seam
from arietta.generation.pulse import GROOVE_LOOSENESS, bridged_pulse
from arietta.midi.hands import FINGERS, REACH, split_hands
from arietta.midi.piece import Piece
from arietta.tokenizers.gaps import GapPlace, event_ids, gap_header, kept_head
from arietta.tokenizers.open import tokenizer_named
from arietta.tokenizers.quantise import SEGMENT_MS, STEP
from arietta.tokenizers.vocabulary import BOS, EOS, Vocabulary
from benchmarks.common import file_result

GAPS_S = (1, 2, 5, 10)
TAKES = 16
DRAWS = 1_000
AROUND_MS = 2_000
CHORD_MS = 35
_FEWEST = 4
_NEAREST = 200
"""Notes that are kept on either side, at most, so that every model's context holds them."""
Array = npt.NDArray[Any]


class GapCase(NamedTuple):
    """A gap in a test piece.

    Attributes:
        kept: notes around it.
        true: what people played in it.
        place: of it.
    """

    kept: Columns
    true: Columns
    place: GapPlace


def columns_of(recording: Recording, start: int, end: int) -> Columns:
    """Return the notes that begin in a span, from the segment of its start."""
    onset, duration, pitch, velocity = (np.asarray(c).astype(np.int64) for c in recording.notes)
    chosen = (onset >= start) & (onset < end)
    zero = start // SEGMENT_MS * SEGMENT_MS
    return Columns(onset[chosen] - zero, duration[chosen], pitch[chosen], velocity[chosen])


def gap_cases(
    recordings: Sequence[Recording], gap_s: float, around_s: float, seed: int
) -> list[GapCase]:
    """Draw a gap in every recording that is long enough and plays in it and on either side."""
    rng = np.random.default_rng(seed)
    gap, around = int(gap_s * 1000), int(around_s * 1000)
    found = []
    for recording in recordings:
        onset = np.asarray(recording.notes.onset_ms)
        room = int(onset[-1]) - gap - 2 * around
        start = int(rng.integers(0, max(room, 1))) // STEP * STEP
        notes = columns_of(recording, start, start + 2 * around + gap)
        first = start % SEGMENT_MS + around
        place = GapPlace(first, first + gap)
        parts = (
            np.flatnonzero(notes.onset_ms < place.start_ms)[-_NEAREST:],
            np.flatnonzero((notes.onset_ms >= place.start_ms) & (notes.onset_ms < place.end_ms)),
            np.flatnonzero(notes.onset_ms >= place.end_ms)[:_NEAREST],
        )
        if room > 0 and min(map(len, parts)) >= _FEWEST:
            before, inside, behind = parts
            kept = notes.where(np.concatenate((before, behind)))
            found.append(GapCase(kept, notes.where(inside), place))
    return found


def test_recordings(dataset: Path, count: int) -> list[Recording]:
    """Return recordings of the test split, each of another group, drawn with a fixed seed."""
    pieces = list(recordings_of_dataset(dataset, "test"))
    found: dict[str, Recording] = {}
    for i in np.random.default_rng(1).permutation(len(pieces)).tolist():
        found.setdefault(pieces[i].group, pieces[i])
    return list(found.values())[:count]


def interval(values: Array, weights: Array | None = None) -> dict[str, float]:
    """Return a mean over pieces and its 95 % interval.

    Args:
        values: (n,) of each piece.
        weights: (n,) such as numbers of notes; the values are then their sums.
    """
    rng = np.random.default_rng(0)
    below = np.ones(len(values)) if weights is None else weights
    index = rng.integers(0, len(values), (DRAWS, len(values)))
    draws = values[index].sum(axis=1) / below[index].sum(axis=1)
    low, high = np.quantile(draws, (0.025, 0.975))
    mean = float(values.sum() / below.sum())
    return {"mean": round(mean, 3), "low": round(float(low), 3), "high": round(float(high), 3)}


def shown(found: dict[str, float]) -> str:
    """Return a mean and its interval in one word."""
    return f"{found['mean']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


# ---- middle --------------------------------------------------------------------------------------


def gap_ids(kept: Columns, case: GapCase, prefix: list[int], vocab: Vocabulary) -> tuple[Any, int]:
    """Return a row with a gap and the first place behind <MID>."""
    head = event_ids(kept.as_tuple(), vocab, kept_head(prefix, vocab))
    head = np.concatenate((head, np.array(gap_header(case.place, vocab), np.int32)))
    missing = event_ids(case.true.as_tuple(), vocab, (), case.place.segment)
    return np.concatenate((head, missing, np.array([EOS], np.int32))), len(head)


def plain_ids(case: GapCase, prefix: list[int], vocab: Vocabulary) -> tuple[Any, int]:
    """Return the music before a gap and in it, and the first place of the latter."""
    before = case.kept.where(case.kept.onset_ms < case.place.start_ms)
    head = event_ids(before.as_tuple(), vocab, [*prefix, BOS])
    both = [
        np.concatenate(pair) for pair in zip(before.as_tuple(), case.true.as_tuple(), strict=True)
    ]
    return event_ids(both, vocab, [*prefix, BOS]), len(head)


def followed_by(case: GapCase, other: GapCase) -> Columns:
    """Return what is kept, but with what follows another gap."""
    before = case.kept.where(case.kept.onset_ms < case.place.start_ms)
    behind = other.kept.where(other.kept.onset_ms >= other.place.end_ms)
    moved = behind.onset_ms - other.place.end_ms + case.place.end_ms
    behind = Columns(moved, behind.duration_ms, behind.pitch, behind.velocity)
    return Columns(
        *(np.concatenate(p) for p in zip(before.as_tuple(), behind.as_tuple(), strict=True))
    )


def middle(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure bits a note of what people played in the gap."""
    recordings = test_recordings(arguments.dataset, arguments.pieces)
    scorers: dict[str, tuple[Callable[..., Any], Vocabulary]] = {}
    for name in arguments.models:
        model = arietta.load(name)
        vocab = tokenizer_named(model.checkpoint.tokenizer).vocabulary
        scorers[label_of(model)] = backend_scorer(model.backend), vocab
    if not arguments.no_ngram:
        piano = tokenizer_named("piano")
        train = [
            piano.encode_columns(*r.notes).astype(np.uint16)
            for r in recordings_of_dataset(arguments.dataset, "train")
        ]
        five = NgramModel(np.concatenate(train), 5, piano.vocab_size)
        scorers["5-gram"] = five.nats, piano.vocabulary
    figures: dict[str, Any] = {}
    for gap_s in arguments.gaps:
        cases = gap_cases(recordings, gap_s, arguments.around, seed=gap_s)
        notes = np.array([len(case.true) for case in cases], float)
        table: dict[str, Any] = {"pieces": len(cases), "notes": int(notes.sum())}
        for name, (score, vocab) in scorers.items():
            prefix = [vocab.instrument_start]
            ways = layouts(cases, prefix, vocab)
            bits: dict[str, Array] = {}
            for way, ids in ways.items():
                bits[way] = np.array([score(*made).sum() / np.log(2) for made in ids])
                table[f"{name}, {way}"] = found = interval(bits[way], notes)
                print(f"{gap_s:3} s  {name}, {way}: {shown(found)}", flush=True)
            if "without" in bits:
                for way in ("with what follows", "another piece's"):
                    table[f"{name}, gain of {way}"] = found = interval(
                        bits["without"] - bits[way], notes
                    )
                    print(f"{gap_s:3} s  {name}, gain of {way}: {shown(found)}", flush=True)
        figures[f"{gap_s} s"] = table
    return figures


def layouts(
    cases: list[GapCase], prefix: list[int], vocab: Vocabulary
) -> dict[str, list[tuple[Int32Array, int]]]:
    """Return the ids of each case, and how many are given, in every layout a model knows."""
    found = {"as a continuation": [plain_ids(case, prefix, vocab) for case in cases]}
    if vocab.filling:
        others = [cases[-1], *cases[:-1]]
        found["with what follows"] = [gap_ids(case.kept, case, prefix, vocab) for case in cases]
        found["without"] = [
            gap_ids(case.kept.where(case.kept.onset_ms < case.place.start_ms), case, prefix, vocab)
            for case in cases
        ]
        found["another piece's"] = [
            gap_ids(followed_by(case, other), case, prefix, vocab)
            for case, other in zip(cases, others, strict=True)
        ]
    return found


def label_of(model: arietta.Model) -> str:
    """Return a model's name and the beginning of its hash."""
    return f"{model.name} {model.checkpoint.sha256[:8]}"


# ---- seam ----------------------------------------------------------------------------------------


def busy_of(notes: Columns) -> Busy:
    """Return when the keys of notes are down."""
    return Busy(notes.pitch, notes.onset_ms, notes.onset_ms + np.minimum(notes.duration_ms, 500))


def takes_of(model: arietta.Model, case: GapCase, seed: int, count: int = TAKES) -> FillStream:
    """Return a stream of ways to fill a gap, run to its end."""
    engine = model.engine
    onset_ms = np.unique(case.kept.onset_ms).astype(float)
    stream = FillStream(
        engine,
        case.kept,
        case.place,
        busy_of(case.kept),
        prefix=[engine.tokenizer.vocabulary.instrument_start],
        takes=count,
        seed=seed,
        pulse=bridged_pulse(
            onset_ms[onset_ms < case.place.start_ms],
            onset_ms[onset_ms >= case.place.end_ms],
            STEP,
            GROOVE_LOOSENESS[FillRequest.groove],
        ),
    )
    for _ in stream:
        pass
    return stream


def copied(case: GapCase) -> Columns:
    """Return the stretch before the gap, moved into it."""
    length = case.place.end_ms - case.place.start_ms
    onset = case.kept.onset_ms
    before = case.kept.where(
        (onset >= case.place.start_ms - length) & (onset < case.place.start_ms)
    )
    return Columns(before.onset_ms + length, before.duration_ms, before.pitch, before.velocity)


def seam(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure the extra surprise of what follows."""
    recordings = test_recordings(arguments.dataset, arguments.pieces)
    figures: dict[str, Any] = {}
    empty = Columns(*(np.zeros(0, np.int64) for _ in range(4)))
    for name in arguments.models:
        model = arietta.load(name)
        table = figures[label_of(model)] = {"fills": model.engine.tokenizer.vocabulary.filling}
        for gap_s in arguments.gaps:
            cases = gap_cases(recordings, gap_s, arguments.around, seed=gap_s)
            rows: list[list[float]] = []
            for seed, case in enumerate(cases):
                fills, others = takes_of(model, case, seed).results(
                    [case.true, empty, copied(case)]
                )
                true, nothing, copy = (float(bits or 0) for bits in others)
                best = float(by_seam(fills)[0].seam_bits or 0)
                mean = float(np.mean([one.seam_bits or 0 for one in fills]))
                rows.append([nothing - true, copy - true, mean - true, best - true])
            extra = np.array(rows)
            names = ("nothing", "a copy of the stretch before", "one take", f"best of {TAKES}")
            extras = {way: interval(extra[:, i]) for i, way in enumerate(names)}
            table[f"{gap_s} s"] = {"pieces": len(cases), **extras}
            for way in names:
                print(f"{label_of(model)} {gap_s:3} s  {way}: {shown(extras[way])}", flush=True)
    return figures


# ---- detector ------------------------------------------------------------------------------------


def seam_features(notes: Columns, at_ms: int) -> list[float]:
    """Return what 2 s before a place and 2 s behind it are like, and how they differ."""
    sides = []
    for low, high in ((at_ms - AROUND_MS, at_ms), (at_ms, at_ms + AROUND_MS)):
        part = notes.where((notes.onset_ms >= low) & (notes.onset_ms < high))
        classes = np.bincount(part.pitch % 12, weights=part.duration_ms, minlength=12)
        steps = np.diff(part.onset_ms)
        steps = steps[steps > CHORD_MS]
        if not len(part):
            sides.append(([0.0] * 9, classes))
            continue
        top = part.pitch[-6:] if high == at_ms else part.pitch[:6]
        near = part.onset_ms[-1] if high == at_ms else part.onset_ms[0]
        sides.append(
            (
                [
                    float(len(part)),
                    float(part.pitch.mean()),
                    float(part.pitch.std()),
                    float(part.velocity.mean()),
                    float(part.velocity.std()),
                    float(np.median(part.duration_ms)),
                    float(np.median(steps)) if len(steps) else float(AROUND_MS),
                    float(top.max()),
                    float(abs(near - at_ms)),
                ],
                classes,
            )
        )
    (before, classes_a), (behind, classes_b) = sides
    norm = np.linalg.norm(classes_a) * np.linalg.norm(classes_b)
    alike = float(classes_a @ classes_b / norm) if norm else 0.0
    ends = notes.onset_ms + notes.duration_ms
    across = float(((notes.onset_ms < at_ms) & (ends > at_ms)).sum())
    last = notes.where((notes.onset_ms >= at_ms - 700) & (notes.onset_ms < at_ms))
    first = notes.where((notes.onset_ms >= at_ms) & (notes.onset_ms < at_ms + 700))
    shared = float(len(set(last.pitch.tolist()) & set(first.pitch.tolist())))
    differences = [abs(a - b) for a, b in zip(before, behind, strict=True)]
    return [*before, *behind, *differences, alike, across, shared]


def joined(first: Columns, second: Columns) -> Columns:
    """Return both in order."""
    columns = [
        np.concatenate(pair) for pair in zip(first.as_tuple(), second.as_tuple(), strict=True)
    ]
    order = np.lexsort((columns[2], columns[0]))
    return Columns(*(column[order] for column in columns))


def spliced(
    recordings: Sequence[Recording], count: int, seed: int
) -> Iterator[tuple[list[float], int]]:
    """Yield features of places in untouched music (0) and of random splices of it (1)."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        recording = recordings[int(rng.integers(len(recordings)))]
        last = int(recording.notes.onset_ms[-1]) - 2 * AROUND_MS
        if last <= 4 * AROUND_MS:
            continue
        here, there = (int(rng.integers(2 * AROUND_MS, last)) // STEP * STEP for _ in range(2))
        one = columns_of(recording, here - 2 * AROUND_MS, here + 2 * AROUND_MS)
        at = (here - 2 * AROUND_MS) % SEGMENT_MS + 2 * AROUND_MS
        two = columns_of(recording, there, there + 2 * AROUND_MS)
        moved = two.onset_ms - there % SEGMENT_MS + at
        behind = Columns(moved, two.duration_ms, two.pitch, two.velocity)
        before = one.where(one.onset_ms < at)
        # As a fill does: what was held is let go where the other music begins.
        length = np.minimum(before.duration_ms, np.maximum(at - before.onset_ms, STEP))
        cut = Columns(before.onset_ms, length, before.pitch, before.velocity)
        yield seam_features(one, at), 0
        yield seam_features(joined(cut if rng.random() < 0.5 else before, behind), at), 1


def detector(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure how well trees tell seams of fills from untouched music."""
    from sklearn.ensemble import RandomForestClassifier

    train = list(recordings_of_dataset(arguments.dataset, "train"))[:: arguments.every]
    recordings = test_recordings(arguments.dataset, arguments.pieces)
    learned = list(spliced(train, 6_000, 1))
    held = list(spliced(recordings, 1_500, 2))
    trees = RandomForestClassifier(500, min_samples_leaf=3, random_state=0, n_jobs=1)
    trees.fit([x for x, _ in learned], [y for _, y in learned])
    guess = trees.predict([x for x, _ in held])
    truth = np.array([y for _, y in held])
    figures: dict[str, Any] = {
        "trained_on": len(learned),
        "accuracy_on_splices": round(float((guess == truth).mean()), 3),
    }
    print(f"splices of test pieces: {figures['accuracy_on_splices']}")
    for name in arguments.models:
        model = arietta.load(name)
        table = figures[label_of(model)] = {}
        for gap_s in arguments.gaps:
            right: dict[str, list[float]] = {}
            for seed, case in enumerate(gap_cases(recordings, gap_s, arguments.around, gap_s)):
                people = joined(case.kept, case.true)
                fills, _ = takes_of(model, case, seed).results()
                for way, one in (("one take", fills[0]), ("best", by_seam(fills)[0])):
                    filled = joined(case.kept, one.notes)
                    for side, at in (("left", case.place.start_ms), ("right", case.place.end_ms)):
                        told = trees.predict([seam_features(people, at), seam_features(filled, at)])
                        right.setdefault(f"{way}, {side} seam", []).append(
                            0.5 * float(told[0] == 0) + 0.5 * float(told[1] == 1)
                        )
            table[f"{gap_s} s"] = seams = {k: interval(np.array(v)) for k, v in right.items()}
            for way, interval_of in seams.items():
                print(f"{label_of(model)} {gap_s:3} s  {way}: {shown(interval_of)}", flush=True)
    return figures


# ---- hands and density ---------------------------------------------------------------------------


def piece_of(notes: Columns) -> Piece:
    """Return notes as a piece on a grid of milliseconds."""
    return Piece.from_ms(notes.onset_ms, notes.duration_ms, notes.pitch, notes.velocity)


def within_reach(onset_ms: Array, pitch: Array) -> tuple[int, int]:
    """Return how many notes lie in chords that a hand can take, and how many there are."""
    good = at = 0
    while at < len(onset_ms):
        end = int(np.searchsorted(onset_ms, onset_ms[at] + CHORD_MS, side="right"))
        chord = pitch[at:end]
        if int(np.ptp(chord)) <= REACH and len(chord) <= FINGERS:
            good += end - at
        at = end
    return good, len(onset_ms)


def hands(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure what share of one hand's new notes lies within its reach."""
    recordings = test_recordings(arguments.dataset, arguments.pieces)
    figures: dict[str, Any] = {}
    for name in arguments.models:
        model = arietta.load(name)
        table = figures[label_of(model)] = {}
        for other, keep in ((True, "left-hand"), (False, "right-hand")):
            ours: list[tuple[int, int]] = []
            theirs: list[tuple[int, int]] = []
            for seed, case in enumerate(gap_cases(recordings, 5, arguments.around, 5)):
                piece = piece_of(joined(case.kept, case.true))
                first, last = case.place.start_ms / 1000, case.place.end_ms / 1000
                made = model.fill(
                    piece, from_seconds=first, to_seconds=last, keep=keep, takes=TAKES,
                    variations=1, seed=seed,
                )[0]  # fmt: skip
                new = made.piece.notes.track == made.piece.notes.track.max()
                if made.new and made.replaced:
                    ours.append(within_reach(made.piece.onset_ms[new], made.piece.notes.pitch[new]))
                    right = split_hands(
                        piece.onset_ms, piece.onset_ms + piece.duration_ms, piece.notes.pitch
                    )
                    there = (right == other) & (piece.onset_ms >= first * 1000)
                    there &= piece.onset_ms < last * 1000
                    theirs.append(within_reach(piece.onset_ms[there], piece.notes.pitch[there]))
            hand = "right hand" if other else "left hand"
            for who, rows in (("ours", ours), ("people's", theirs)):
                good, total = np.array(rows, float).T
                table[f"{hand}, {who}"] = found = interval(good, total)
                print(f"{label_of(model)}  {hand}, {who}: {shown(found)}", flush=True)
    return figures


def density(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure obtained against asked density."""
    recordings = test_recordings(arguments.dataset, arguments.pieces)
    figures: dict[str, Any] = {}
    for name in arguments.models:
        model = arietta.load(name)
        table = figures[label_of(model)] = {}
        for asked in (None, 0.5, 1.0, 2.0):
            ratios = []
            for seed, case in enumerate(gap_cases(recordings, 5, arguments.around, 5)):
                made = model.fill(
                    piece_of(joined(case.kept, case.true)),
                    from_seconds=case.place.start_ms / 1000,
                    to_seconds=case.place.end_ms / 1000,
                    density=asked,
                    takes=TAKES,
                    variations=1,
                    seed=seed,
                )[0]
                ratios.append((made.new + 0.5) / (made.replaced + 0.5))
            quartiles = np.quantile(ratios, (0.25, 0.5, 0.75)).round(3).tolist()
            logs = interval(np.log2(ratios))
            table[str(asked)] = {"quartiles": quartiles, "mean_log2": logs}
            print(f"{label_of(model)}  asked {asked}: {quartiles}, log2 {shown(logs)}", flush=True)
    return figures


PARTS = {f.__name__: f for f in (middle, seam, detector, hands, density)}


def main() -> None:
    """Measure, print, file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--models", nargs="+", default=["small"])
    parser.add_argument("--pieces", type=int, default=60, help="of the test split")
    parser.add_argument("--gaps", type=int, nargs="+", default=list(GAPS_S), help="seconds")
    parser.add_argument("--around", type=float, default=20.0, help="seconds known on either side")
    parser.add_argument("--every", type=int, default=20, help="train pieces that splices come from")
    parser.add_argument("--no-ngram", action="store_true", help="skip the 5-gram")
    parser.add_argument("--no-file", action="store_true", help="print, but file no result")
    arguments = parser.parse_args()
    figures = PARTS[arguments.part](arguments)
    if not arguments.no_file:
        asked = {"pieces": arguments.pieces, "seconds_around": arguments.around}
        print(f"filed in {file_result(f'filling_{arguments.part}', {**asked, **figures}).name}")


if __name__ == "__main__":
    main()
