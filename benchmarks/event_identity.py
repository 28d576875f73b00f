"""Does every event of a file survive a save and a continuation?

    python -m benchmarks.event_identity --data FOLDER [--files N]

FOLDER holds ``manifest.csv`` and the ``.tar.zst`` shards it names; up to N files of every source
are read like a file of a user. The result counts three properties. A saved file must have the same
events in the same order, ends of tracks included. A continuation by fixed notes, without a model,
with the default options must have the same events before the seam in every track. If mido is
installed, it must open every output and find the new notes. Events are compared as (tick, bytes),
by the dumper of the tests, which shares no code with the package.
"""

from __future__ import annotations

import argparse
import csv
import io
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zstandard

from arietta.generation.joining import join
from arietta.generation.settings import JoinOptions
from arietta.midi.reader import read_bytes
from arietta.tokenizers.decoding import NoteEvent
from benchmarks.common import file_result
from tests.midi.dump import dump

_END, _TEMPO, _KEY, _METRE = (bytes((0xFF, kind)) for kind in (0x2F, 0x51, 0x59, 0x58))


def files(folder: Path, count: int) -> Iterator[tuple[str, str, bytes]]:
    """Yield (source, path, bytes) of the first files of every source."""
    with (folder / "manifest.csv").open(encoding="utf8") as file:
        rows = {(row["shard"], row["path"]): row["source"] for row in csv.DictReader(file)}
    for shard in sorted({shard for shard, _ in rows}):
        found: dict[str, int] = defaultdict(int)
        with (
            (folder / shard).open("rb") as packed,
            zstandard.ZstdDecompressor().stream_reader(packed) as stream,
            tarfile.open(fileobj=stream, mode="r|") as tar,
        ):
            for member in tar:
                source = rows.get((shard, member.name))
                content = tar.extractfile(member) if source is not None else None
                if source is None or content is None:
                    continue
                yield source, member.name, content.read()
                found[source] += 1
                if found[source] >= count:
                    break


def stand_in(start_ms: float) -> list[NoteEvent]:
    """Return twelve seconds of broken chords that ring from bar to bar."""
    pitches = (40, 52, 59, 64, 67, 71, 76, 76)
    return [
        NoteEvent(round(start_ms / 10) * 10 + i * 180, (8 - i % 8) * 180, pitches[i % 8], 70, 0, 0)
        for i in range(64)
    ]


def before_seam(data: bytes, seam: int, factor: int) -> list[list[tuple[int, bytes]]]:
    """Return the events of each track before a seam, without ends of tracks and signatures.

    Continuations drop signatures that no reader accepts.
    """
    left_out = (_END, _TEMPO, _KEY, _METRE)
    return [
        [
            (tick * factor, message)
            for tick, message in track
            if tick * factor < seam and message[:2] not in left_out
        ]
        for track in dump(data).tracks
    ]


def main() -> None:
    """Compare, print what differs, file the counts."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path, required=True, help="corpus with a manifest")
    options.add_argument("--files", type=int, default=150, help="of every source")
    given = options.parse_args()
    try:
        import mido
    except ImportError:
        mido = None
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for source, name, data in files(given.data, given.files):
        piece = read_bytes(data, strict=False)
        count = counts[source]
        count["files"] += 1
        count["mended"] += bool(piece.notices)
        before = dump(piece.to_bytes())
        count["events"] += sum(map(len, before.tracks))
        same = bool(piece.notices) or before == dump(data)
        count["saved_alike"] += same
        made = join(piece, 0.0, stand_in(piece.end_ms), (), JoinOptions())
        out = made.piece.to_bytes()
        factor = made.piece.tempo.division // piece.tempo.division
        seam = int(made.piece.tempo.tick_at(made.seam_ms))
        wanted = before_seam(piece.to_bytes(), seam, factor)
        continued = before_seam(out, seam, 1)[: len(wanted)] == wanted
        count["continued_alike"] += continued
        if mido is not None:
            opened = mido.MidiFile(file=io.BytesIO(out))
            strokes = sum(
                message.type == "note_on" and message.velocity > 0
                for track in opened.tracks[-2:]
                for message in track
            )
            count["opened_by_mido"] += strokes >= len(made.alone)
        if not (same and continued):
            print(f"differs: {source} {name}: saved {same}, continued {continued}")
    total: dict[str, int] = defaultdict(int)
    for count in counts.values():
        for key, value in count.items():
            total[key] += value
    figures: dict[str, Any] = {
        "sources": {k: dict(v) for k, v in counts.items()},
        "all": dict(total),
    }
    print(dict(total))
    print(f"filed in {file_result('event_identity', figures).name}")


if __name__ == "__main__":
    main()
