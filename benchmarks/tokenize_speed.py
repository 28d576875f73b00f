"""How fast does one core convert MIDI bytes to ids, and ids to notes?

    python -m benchmarks.tokenize_speed [--data FOLDER] [--every N] [--miditok]

FOLDER holds ``manifest.csv`` and the ``.tar.zst`` shards it names; the ASAP performances in it are
read. Without it the MIDI files of the test fixtures are read. All files are in memory before the
clock starts; each figure is the best of three passes over all files, in processor time of one
process.
"""

from __future__ import annotations

import argparse
import csv
import io
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from arietta.data.token_grid import NoteColumns
from arietta.errors import AriettaError
from arietta.midi import reader
from arietta.tokenizers.aria import AriaTokenizer
from arietta.tokenizers.relative import RelativeTokenizer
from arietta.training.rows.augment import Ranges, augment_columns, augment_ids
from benchmarks.common import file_result

FIXTURES = Path(__file__).resolve().parent.parent / "tests" / "golden" / "aria" / "midi"


def asap_performances(root: Path) -> list[bytes]:
    """Return the bytes of every ASAP performance in the corpus, also from other shards."""
    import zstandard

    wanted: dict[str, set[str]] = {}
    with (root / "manifest.csv").open(encoding="utf8", newline="") as f:
        for row in csv.DictReader(f):
            if row["source"] == "asap" and row["kind"] == "performance":
                wanted.setdefault(row["shard"], set()).add(row["path"])
    files = []
    for shard, paths in sorted(wanted.items()):
        with (root / shard).open("rb") as raw:
            stream = zstandard.ZstdDecompressor(max_window_size=1 << 28).stream_reader(raw)
            with tarfile.open(fileobj=io.BufferedReader(stream), mode="r|") as tar:
                for member in tar:
                    if member.name in paths:
                        content = tar.extractfile(member)
                        assert content is not None
                        files.append(content.read())
    return files


def readable(files: list[bytes]) -> list[bytes]:
    """Return the files with a piano piece; some fixtures have none on purpose."""
    kept = []
    piano = AriaTokenizer("piano")
    for data in files:
        try:
            piano.encode(reader.read_bytes(data))
        except AriettaError:
            continue
        kept.append(data)
    return kept


def best_seconds(work: Callable[[], Any], passes: int = 3) -> float:
    """Return the processor time of the fastest of a few passes."""
    times = []
    for _ in range(passes):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def miditok_seconds(files: list[bytes]) -> float | None:
    """Measure the default TSD of MidiTok (no pedal) on the same bytes; None without MidiTok."""
    try:
        import miditok
        import symusic
    except ImportError:
        return None
    tsd = miditok.TSD()

    def work() -> None:
        for data in files:
            tsd(symusic.Score.from_midi(data))

    return best_seconds(work, 1)


def main() -> None:
    """Measure, print, file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with manifest.csv and its shards")
    parser.add_argument("--every", type=int, default=1, help="take every n-th file")
    parser.add_argument("--miditok", action="store_true", help="measure MidiTok TSD beside")
    args = parser.parse_args()
    if args.data:
        files = asap_performances(args.data)
    else:
        files = [path.read_bytes() for path in sorted(FIXTURES.glob("*.mid"))]
    files = readable(files)[:: args.every]

    piano, full, relative = AriaTokenizer("piano"), AriaTokenizer("full"), RelativeTokenizer()
    pieces = [reader.read_bytes(data) for data in files]
    ids = [piano.encode(piece) for piece in pieces]
    columns = [piano.decode_columns(row) for row in ids]
    notes = [NoteColumns(c.onset_ms, c.duration_ms, c.pitch, c.velocity) for c in columns]
    n_notes = sum(len(piece) for piece in pieces)
    n_ids = sum(len(row) for row in ids)
    rng = np.random.default_rng(0)
    ranges = Ranges()

    def augmented() -> None:
        for c in notes:
            piano.encode_columns(*augment_columns(c, ranges.draw(rng), rng))

    def bytes_to_ids() -> None:
        for data in files:
            piano.encode(reader.read_bytes(data))

    def streamed() -> None:
        for row in ids[:20]:
            piano.decoder().extend(row)

    def grammar() -> None:
        for row in ids[:20]:
            state = piano.grammar()
            for token in row.tolist():
                state.allowed()
                state.advance(token)

    figures: dict[str, Any] = {
        "files": len(files),
        "notes": n_notes,
        "ids": n_ids,
        "corpus": "ASAP performances" if args.data else "test fixtures",
        "compiled_reader": reader.parse_c is not None,
    }

    def record(name: str, work: Callable[[], Any], per: int, passes: int = 3) -> None:
        figures[name] = round(per / best_seconds(work, passes))
        print(f"{name:45s} {figures[name]:>14,}")

    print(f"{len(files)} files, {n_notes:,} notes, {n_ids:,} ids")
    if reader.parse_c is not None:
        record("bytes_to_ids_compiled_notes_per_s", bytes_to_ids, n_notes)
    with mock.patch.object(reader, "_parse", reader.parse_python):
        record("bytes_to_ids_plain_python_notes_per_s", bytes_to_ids, n_notes, 1)
    record("encode_piano_notes_per_s", lambda: [piano.encode(p) for p in pieces], n_notes)
    record("encode_full_notes_per_s", lambda: [full.encode(p) for p in pieces], n_notes)
    record("encode_relative_notes_per_s", lambda: [relative.encode(p) for p in pieces], n_notes)
    record("decode_notes_per_s", lambda: [piano.decode(row) for row in ids], n_notes)
    record(
        "encode_columns_ids_per_s",
        lambda: [piano.encode_columns(*c) for c in notes],
        n_ids,
    )
    record("augment_and_encode_columns_ids_per_s", augmented, n_ids)
    record(
        "augment_ids_ids_per_s",
        lambda: [augment_ids(row, piano.vocabulary, rng, ranges) for row in ids],
        n_ids,
    )
    few = sum(len(row) for row in ids[:20])
    record("incremental_decoder_ids_per_s", streamed, few)
    record("grammar_steps_per_s", grammar, few)
    if args.miditok:
        seconds = miditok_seconds(files)
        if seconds is None:
            print("MidiTok is not installed: pip install miditok")
        else:
            figures["miditok_tsd_bytes_to_ids_notes_per_s"] = round(n_notes / seconds)
            print(f"{'miditok_tsd_bytes_to_ids_notes_per_s':45s} {n_notes / seconds:>14,.0f}")
            ratio = figures.get("bytes_to_ids_compiled_notes_per_s", 0) * seconds / n_notes
            figures["compiled_over_miditok"] = round(ratio, 1)
    print(file_result("tokenize_speed", figures).name)


if __name__ == "__main__":
    main()
