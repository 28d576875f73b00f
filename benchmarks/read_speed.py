"""How many MIDI files a second does one core read?

    python -m benchmarks.read_speed [--data FOLDER] [--files N]

FOLDER holds ``manifest.csv`` and the ``.tar.zst`` shards it names; N of the ASAP performances in it
are read, drawn with a fixed seed. Without it the readable MIDI files of the test fixtures are read.
All bytes are in memory before the clock starts. Readers take turns over all files; each figure is
the median pass, in processor time of one process. mido and symusic run if they are installed; they
build other objects: mido a message object per event, symusic note lists without the pairing of the
public reference.
"""

from __future__ import annotations

import argparse
import io
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from arietta.errors import MidiError
from arietta.midi import reader
from benchmarks.common import file_result
from benchmarks.tokenize_speed import FIXTURES, asap_performances

SEED = 0


def readers() -> dict[str, tuple[Callable[[bytes], Any], Callable[[bytes], Any]]]:
    """Return functions of the bytes of a file by name, with the parser that ours uses meanwhile."""
    found: dict[str, tuple[Callable[[bytes], Any], Callable[[bytes], Any]]] = {}
    if reader.parse_c is not None:
        found["arietta, C twin"] = reader.read_bytes, reader.parse_c
    found["arietta, pure Python"] = reader.read_bytes, reader.parse_python
    try:
        import symusic

        found["symusic"] = symusic.Score.from_midi, reader.parse_python
    except ImportError:
        pass
    try:
        import mido

        found["mido"] = lambda data: mido.MidiFile(file=io.BytesIO(data)), reader.parse_python
    except ImportError:
        pass
    return found


def sample(folder: Path | None, count: int) -> list[bytes]:
    """Return the bytes of the files to read."""
    if folder is None:
        files = []
        for path in sorted(FIXTURES.glob("*.mid")):
            try:
                reader.read(path)
            except MidiError:
                continue  # some fixtures are broken on purpose
            files.append(path.read_bytes())
    else:
        files = asap_performances(folder)
    return files if len(files) <= count else random.Random(SEED).sample(files, count)


def main() -> None:
    """Measure, print a table, file the result."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path, help="corpus with ASAP in it (default: fixtures)")
    options.add_argument("--files", type=int, default=60, help="how many files to read")
    given = options.parse_args()
    files = sample(given.data, given.files)
    notes = sum(len(reader.read_bytes(data)) for data in files)
    tools = readers()
    seconds: dict[str, list[float]] = {name: [] for name in tools}
    for turn in range(9):
        for name, (read, parser) in tools.items():
            if name == "mido" and turn >= 3:
                continue  # a pass takes seconds and varies little
            with mock.patch.object(reader, "_parse", parser):
                start = time.process_time()
                for data in files:
                    read(data)
                seconds[name].append(time.process_time() - start)
    figures: dict[str, Any] = {
        "corpus": "ASAP performances" if given.data else "test fixtures",
        "files": len(files),
        "mean_kilobytes": round(sum(map(len, files)) / len(files) / 1000, 1),
        "mean_notes": round(notes / len(files)),
        "readers": {},
    }
    print(f"{len(files)} files, {figures['mean_notes']} notes each")
    for name, times in seconds.items():
        rate = len(files) / statistics.median(times)
        figures["readers"][name] = {
            "files_per_s": round(rate, 1),
            "notes_per_s": round(rate * notes / len(files)),
        }
        print(f"{name:22} {rate:9.1f} files/s {rate * notes / len(files) / 1e6:7.2f} M notes/s")
    print(f"filed in {file_result('read_speed', figures).name}")


if __name__ == "__main__":
    main()
