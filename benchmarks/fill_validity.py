"""Is every filled gap valid, and everything that was kept identical? Ten thousand fills.

    python -m benchmarks.fill_validity [--data FOLDER] [--fills 10000] [--part 1/4]

Pieces are the included prompts and cases, real files of FOLDER (``manifest.csv`` and ``.tar.zst``
shards), and hostile ones: keys struck while they are down, storms of pedal, notes without length,
notes that no piano has, other instruments. Gaps are empty, longer than a context, before the first
note, behind the last, a step long, in front of the piece or between two; hands, ranges, given notes
or every note stay. Models have random weights, which give everything that the grammar allows, with
and without the layout of gaps, or are the shipped one.

Fills are numbered: ``--part 2/4`` does the second quarter and files it by itself; ``--sum`` adds
the parts up. Events are compared as (tick, bytes) by the dumper of the tests, which shares no code
with the package.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import arietta
from arietta.errors import InputError, UsageError
from arietta.generation.engine import Engine
from arietta.generation.fill_settings import FillRequest, kept_keys
from arietta.generation.filling import FilledPiece, PieceFillStream
from arietta.generation.settings import SamplingSettings
from arietta.midi.events import END_OF_TRACK, Event
from arietta.midi.interpret import in_sequence, is_sequence
from arietta.midi.piece import Piece
from arietta.midi.reader import read, read_bytes
from arietta.midi.seam import join_bytes
from arietta.models.executors import cpu_backend
from arietta.tokenizers.aria import AriaTokenizer
from benchmarks.common import RESULTS, file_result
from benchmarks.event_identity import files
from benchmarks.validity import RandomModel
from tests.midi.dump import dump

PROMPTS = Path(arietta.__file__).parent / "assets" / "prompts"
CASES = Path(__file__).parent.parent / "tests" / "cases" / "midi"
WAYS = 4
KEEPS = (None, None, "right-hand", "left-hand", "C4-C8", "A0-B3", "C3-C5", "some", "all")
SPANS = ("inside", "empty", "long", "first", "last", "step", "bars", "opening", "then")
_SLACK_MS = 6.0
"""Half a step of the tokens, and a tick."""


class Case(NamedTuple):
    """A fill to be made.

    Attributes:
        piece: with the gap.
        request: what is wanted.
        what: kind of piece, span and keep.
    """

    piece: Piece
    request: FillRequest
    what: tuple[str, str, str]


def hostile(rng: np.random.Generator) -> Piece:
    """Return a piece as no player plays: one of everything that files get wrong."""
    division = int(rng.choice([24, 96, 480, 960]))
    tracks: list[list[Event]] = [
        [Event(0, b"\xff\x51\x03" + bytes((int(rng.integers(1, 16)), 0, 0)))]
    ]
    for channel in rng.choice(16, int(rng.integers(1, 4)), replace=False).tolist():
        track: list[Event] = []
        if rng.random() < 0.5:
            program = int(rng.choice([0, 0, 1, 40, 122]))
            track.append(Event(0, bytes((0xC0 | channel, program))))
        few = rng.choice(np.arange(1, 127), int(rng.integers(1, 30)))
        for _ in range(int(rng.integers(2, 150))):
            tick = int(rng.integers(0, 60 * division))
            pitch, velocity = int(rng.choice(few)), int(rng.integers(1, 128))
            length = int(rng.choice([0, 1, division // 4, division, 8 * division]))
            track.append(Event(tick, bytes((0x90 | channel, pitch, velocity))))
            if rng.random() < 0.95:
                off = bytes((0x80 | channel, pitch, 64)) if rng.random() < 0.5 else None
                track.append(Event(tick + length, off or bytes((0x90 | channel, pitch, 0))))
        for _ in range(int(rng.integers(0, 200))):
            number = int(rng.choice([64, 64, 64, 66, 67, 7, 11, 123]))
            value = int(rng.choice([0, 30, 63, 64, 90, 127]))
            tick = int(rng.integers(0, 60 * division))
            track.append(Event(tick, bytes((0xB0 | channel, number, value))))
        track.sort(key=lambda event: event.tick)
        tracks.append(track)
    tracks = [[*t, Event(max((e.tick for e in t), default=0), END_OF_TRACK)] for t in tracks]
    return read_bytes(join_bytes(division, tracks), source="hostile.mid")


def case_of(number: int, real: Sequence[Piece], ways: int = WAYS) -> Case | None:
    """Return a fill by its number; None where the piece has no room for its span."""
    rng = np.random.default_rng(number)
    kind = "hostile" if rng.random() < 0.4 or not real else "real"
    piece = hostile(rng) if kind == "hostile" else real[int(rng.integers(len(real)))]
    span, keep = SPANS[number % len(SPANS)], KEEPS[number // len(SPANS) % len(KEEPS)]
    if not len(piece):
        return None
    end = piece.end_ms / 1000
    wanted: dict[str, Any] = {}
    if span == "inside":
        start = rng.uniform(0, end)
        wanted = {"from_seconds": start, "to_seconds": start + rng.uniform(0.05, 6)}
    elif span == "empty":
        onset = np.append(piece.onset_ms, piece.end_ms) / 1000
        at = int(np.argmax(np.diff(np.sort(onset))))
        first = float(np.sort(onset)[at]) + 0.02
        wanted = {
            "from_seconds": first,
            "to_seconds": float(max(np.sort(onset)[at + 1], first + 0.02)),
        }
    elif span == "long":
        start = rng.uniform(0, end / 2)
        # Longer than the context: of the shipped model, or the short one of random weights.
        length = rng.uniform(40, 90) if number % 3 == 0 else rng.uniform(8, 20)
        wanted = {"from_seconds": start, "to_seconds": start + length}
    elif span == "first":
        wanted = {"from_seconds": 0.0, "to_seconds": float(piece.onset_ms.min()) / 1000 + 0.01}
    elif span == "last":
        wanted = {"from_seconds": end, "to_seconds": end + rng.uniform(0.5, 4)}
    elif span == "step":
        start = float(rng.choice(piece.onset_ms)) / 1000
        wanted = {"from_seconds": start, "to_seconds": start + 0.01}
    elif span == "bars":
        bar = int(rng.integers(1, 12))
        wanted = {"bars": (bar, bar + int(rng.integers(0, 3)))}
    elif span == "opening":
        wanted = {"opening": float(rng.uniform(0.1, 6))}
    else:
        wanted = {"then": read(PROMPTS / "waltz.mid"), "between": float(rng.uniform(0.1, 6))}
    kept: Any = keep
    if keep in ("some", "all"):
        chosen = np.ones(len(piece), bool) if keep == "all" else rng.random(len(piece)) < 0.5
        kept = None
        if chosen.any() and "opening" not in wanted and "then" not in wanted:
            kept = Piece(piece.tempo, piece.notes.take(chosen), source="kept.mid")
    request = FillRequest(**wanted, keep=kept, variations=ways, takes=ways, seed=number)
    return Case(piece, request, (kind, span, str(keep)))


def faults(before: Piece, filled: FilledPiece, request: FillRequest) -> list[str]:
    """Return what is wrong with a filled piece; nothing if all is right.

    Args:
        before: the piece with its gap, as the stream holds it.
        filled: one way to fill it.
        request: what was wanted.
    """
    whole = filled.piece.to_bytes()
    again = read_bytes(whole)
    found = []
    if len(again) != len(before) - filled.replaced + filled.new:
        found.append("the number of notes is not what was said")
    data = before.to_bytes()
    old, new = dump(in_sequence(data) if is_sequence(data) else data), dump(whole)
    factor = again.tempo.division / before.tempo.division
    found += _kept_faults(old.tracks, new.tracks, factor, before, filled, request)
    if filled.new:
        found += _new_faults(again, len(old.tracks), filled, request)
    return found


def _kept_faults(
    old: Any, new: Any, factor: float, before: Piece, filled: FilledPiece, request: FillRequest
) -> list[str]:
    if len(new) != len(old) + (filled.new > 0):
        return ["tracks are lost or added"]
    start, end = filled.start_ms - _SLACK_MS, filled.end_ms + _SLACK_MS
    gone = 0
    for one, other in zip(old, new, strict=False):
        kept, at = list(other), 0
        for tick, message in one:
            if at < len(kept) and kept[at] == (round(tick * factor), message):
                at += 1
                continue
            ms = float(before.tempo.ms_at(tick))
            kind = message[0] & 0xF0
            if kind == 0x90 and message[2]:
                if not start <= ms < end:
                    return ["a note outside the gap is gone"]
                gone += 1
            elif kind == 0xB0 and message[1] == 64:
                if request.keep is not None or not start <= ms < end:
                    return ["pedal that has to stay is gone"]
            elif kind not in (0x80, 0x90):
                return [f"an event {message[:2].hex()} is gone"]
        if at != len(kept):
            return ["a track holds an event that was not there"]
    return [] if gone == filled.replaced else [f"{gone} notes are gone, not {filled.replaced}"]


def _new_faults(again: Piece, track: int, filled: FilledPiece, request: FillRequest) -> list[str]:
    found = []
    notes, onset = again.notes, again.onset_ms
    offset = onset + again.duration_ms
    mine = notes.track == track
    if int(mine.sum()) != filled.new:
        found.append("the new track has another number of notes")
    inside = (onset >= filled.start_ms - _SLACK_MS) & (onset < filled.end_ms + _SLACK_MS)
    if not inside[mine].all():
        found.append("a new note begins outside the gap")
    pitch = notes.pitch.astype(int)
    if (pitch[mine] < 21).any() or (pitch[mine] > 108).any():
        found.append("a new note has no key")
    banned = kept_keys(request.keep)
    if banned is not None and ((pitch[mine] >= banned[0]) & (pitch[mine] <= banned[1])).any():
        found.append("a new note lies on a kept key")
    channel = notes.channel[mine][0]
    for row in np.flatnonzero(mine).tolist():
        same = (pitch == pitch[row]) & (notes.channel == channel)
        same[row] = False
        down = same & (onset <= onset[row] + 0.01) & (offset > onset[row] + 0.01)
        if down.any():
            found.append("a key is struck while it is down")
            break
        struck = onset[same & (onset > onset[row])]
        if len(struck) and offset[row] > struck.min() + 0.01:
            found.append("a new note lasts beyond the next stroke of its key")
            break
    return found


def engines() -> dict[str, Engine]:
    """Return the models that fill."""
    found = {"shipped": arietta.load("small").engine}
    for vocab in ("piano", "piano-fill"):
        found[f"random {vocab}"] = Engine(
            cpu_backend(RandomModel.of(vocab, 1), "f32", 1), AriaTokenizer(vocab)
        )
    return found


def real_pieces(folder: Path | None, count: int) -> list[Piece]:
    """Return the included prompts and cases, and some files of every source of a corpus."""
    found = []
    for path in (*sorted(PROMPTS.glob("*.mid")), *sorted(CASES.glob("*.mid"))):
        found.append(read(path))
    for _, _, data in files(folder, count) if folder is not None else ():
        try:
            found.append(read_bytes(data))
        except InputError:
            continue
    return found


def check_numbers(
    numbers: Sequence[int], real: Sequence[Piece], models: dict[str, Engine], ways: int = WAYS
) -> Counter[str]:
    """Make and check the fills of some numbers, several ways each; count what came of them."""
    counts: Counter[str] = Counter()
    names = list(models)
    for number in numbers:
        case = case_of(number, real, ways)
        if case is None:
            counts["no notes"] += ways
            continue
        name = names[number % len(names)]
        try:
            stream = PieceFillStream(models[name], case.piece, case.request, SamplingSettings())
        except (InputError, UsageError) as error:
            counts[f"refused: {str(error).rpartition(': ')[2][:60]}"] += ways
            continue
        for filled in stream.run():
            wrong = faults(stream.piece, filled, case.request)
            counts["valid" if not wrong else "faulty"] += 1
            counts[f"span {case.what[1]}"] += 1
            counts[f"keep {case.what[2]}"] += 1
            counts[f"{case.what[0]} piece"] += 1
            counts[f"model {name}"] += 1
            counts["new notes"] += filled.new
            for fault in wrong:
                counts[f"fault: {fault}"] += 1
                print(number, name, case.what, fault, flush=True)
    return counts


def main() -> None:
    """Measure, print, file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="corpus of real files")
    parser.add_argument("--files", type=int, default=30, help="of every source")
    parser.add_argument("--fills", type=int, default=10_000)
    parser.add_argument("--part", default="1/1", help="which part of them, such as 2/4")
    parser.add_argument("--sum", action="store_true", help="add up the parts that are filed")
    arguments = parser.parse_args()
    part, parts = map(int, arguments.part.split("/"))
    if arguments.sum:
        total: Counter[str] = Counter()
        for path in sorted(RESULTS.glob("fill_validity_part*.json")):
            total.update(json.loads(path.read_text())["figures"])
            path.unlink()
        print(f"filed in {file_result('fill_validity', dict(total)).name}")
        return
    # One in nine numbers or so is refused: as many more are drawn.
    numbers = range(part - 1, -(-arguments.fills // WAYS), parts)
    counts = check_numbers(numbers, real_pieces(arguments.data, arguments.files), engines())
    for name, count in sorted(counts.items()):
        print(f"{count:9,}  {name}")
    name = "fill_validity" if parts == 1 else f"fill_validity_part{part}"
    print(f"filed in {file_result(name, dict(sorted(counts.items()))).name}")


if __name__ == "__main__":
    main()
