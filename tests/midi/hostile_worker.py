"""Reads hostile files under limits; run in its own process by ``test_hostile.py``.

Usage: python -m tests.midi.hostile_worker python|c FOLDER

Prints one JSON line: files read, files refused, the slowest file and the peak memory.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import time
from pathlib import Path

from arietta.errors import AriettaError
from arietta.midi import reader
from tests.midi.files import damaged, hostile_files


def peak_kb() -> int:
    """Most memory this process held. ``ru_maxrss`` would count its parent's too, from the fork."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    lines = status.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def main() -> None:
    which, folder = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_CPU, (300, 300))  # a hang ends here
    parser = reader.parse_python if which == "python" else reader.parse_c
    assert parser is not None
    reader._parse = parser
    rng = random.Random(11)
    real = [path.read_bytes() for path in sorted(Path(folder).glob("*.mid"))]
    corpus = [*hostile_files()]
    corpus += [(f"damaged {i}", damaged(rng.choice(real), rng)) for i in range(600)]
    read = refused = 0
    slowest, slowest_name = 0.0, ""
    for name, data in corpus:
        start = time.process_time()
        try:
            piece = reader.read_bytes(data)
        except AriettaError as error:
            assert "\n" not in str(error)
            refused += 1
        else:
            assert (piece.notes.offset_tick > piece.notes.onset_tick).all()
            read += 1
        taken = time.process_time() - start
        if taken > slowest:
            slowest, slowest_name = taken, name
    peak_mb = peak_kb() / 1024
    result = {"read": read, "refused": refused, "peak_mb": round(peak_mb)}
    print(json.dumps(result | {"slowest_s": round(slowest, 3), "slowest": slowest_name}))  # noqa: T201


if __name__ == "__main__":
    main()
