"""Where fuzzing begins: files that are sound, and every input that once went wrong.

``corpus/TARGET`` holds files by target; for MIDI and scores those of ``tests/cases`` come before
them. ``python -m tests.fuzz.corpus`` makes the sound ones anew; what fuzzing finds is put beside
them by hand, when it is mended.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from functools import cache
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent / "corpus"
CASES = Path(__file__).parent.parent / "cases"
LARGEST = 40_000
"""Bytes; what is larger is mutated too slowly."""


@cache
def seeds(target: str) -> tuple[bytes, ...]:
    """Return the inputs of a target, smallest first."""
    paths = list((HERE / target).glob("*"))
    if target in ("midi", "tokens"):
        paths += (CASES / "midi").glob("*.mid")
    if target == "musicxml":
        paths += (CASES / "score").glob("*.musicxml")
    found = sorted({path.read_bytes() for path in paths}, key=lambda data: (len(data), data))
    return tuple(data for data in found if len(data) <= LARGEST)


def _tar(music: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name in ("a.mid", "b/c.midi", "readme.txt"):
            info = tarfile.TarInfo(name)
            info.size = len(music)
            archive.addfile(info, io.BytesIO(music))
    return out.getvalue()


def _zip(kind: int, members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", kind) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, kind)
    return out.getvalue()


def _tensors(dtype: str, shape: list[int], size: int) -> bytes:
    entry = {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}
    text = json.dumps({"__metadata__": {"format": "pt"}, "a": entry}).encode()
    return len(text).to_bytes(8, "little") + text + bytes(range(size))


def main() -> None:
    """Write the sound files of every target that the cases of other tests do not serve."""
    music = (CASES / "midi" / "same_tick_pedal_catch.mid").read_bytes()
    score = (CASES / "score" / "artic-staccato-a.musicxml").read_bytes()
    container = b'<container><rootfiles><rootfile full-path="a.xml"/></rootfiles></container>'
    bomb = b'<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>'
    made = {
        "tensors/floats": _tensors("F32", [2, 4], 32),
        "tensors/halves": _tensors("BF16", [3], 6),
        "tensors/bytes": _tensors("I8", [4, 4], 16),
        "zip/stored": _zip(zipfile.ZIP_STORED, {"a.mid": music, "b/c.mid": music}),
        "zip/deflated": _zip(zipfile.ZIP_DEFLATED, {"a.mid": music, "b/": b"", "x.txt": b"x"}),
        "zip/bzip2": _zip(zipfile.ZIP_BZIP2, {"a.mid": music}),
        "zip/lzma": _zip(zipfile.ZIP_LZMA, {"a.mid": music}),
        "tar/three": _tar(music),
        "tar.gz/three": gzip.compress(_tar(music), mtime=0),
        "mxl/one": _zip(
            zipfile.ZIP_DEFLATED, {"META-INF/container.xml": container, "a.xml": score}
        ),
        "musicxml/entities": score.replace(b"<score-partwise", bomb + b"<score-partwise", 1),
        "tokens/ids": b"\0" + np.arange(0, 2_000, 7, dtype="<u2").tobytes(),
        "tokens/relative": b"\2" + np.arange(0, 900, 3, dtype="<u2").tobytes(),
    }
    for name, data in made.items():
        path = HERE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


if __name__ == "__main__":
    main()
