"""A corpus of MIDI: ``manifest.csv`` plus compressed tar shards, read as a stream."""

from __future__ import annotations

import csv
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from arietta.errors import InputError, MissingExtraError


@dataclass(frozen=True)
class CorpusRow:
    """One file of the corpus.

    Attributes:
        id: source and path, unique.
        source, kind, style, split: as in the manifest.
        composer: as the manifest spells it, may be empty.
        piece_id: composition group; two files of one group hold the same work.
        data: the bytes of the MIDI file.
    """

    id: str
    source: str
    kind: str
    style: str
    split: str
    composer: str
    piece_id: str
    data: bytes


def read_corpus(root: Path, splits: frozenset[str]) -> Iterator[CorpusRow]:
    """Every performance of the splits, in shard order; scores and duplicate recordings left out.

    Args:
        root: folder with ``manifest.csv`` and the ``.tar.zst`` shards it names.
        splits: which of ``train``, ``valid``, ``test``.

    Raises:
        InputError: the manifest is missing, or names a file that its shard does not hold.
        MissingExtraError: the ``zstandard`` package is not installed.
    """
    try:
        import zstandard
    except ImportError:
        raise MissingExtraError("reading compressed shards", "train") from None
    manifest = root / "manifest.csv"
    if not manifest.is_file():
        raise InputError(f"{manifest}: no such manifest; give the folder that holds manifest.csv")
    wanted: dict[str, dict[str, dict[str, str]]] = {}
    with manifest.open(encoding="utf8", newline="") as f:
        for row in csv.DictReader(f):
            if row["split"] in splits and row["kind"] != "score" and not row["dup_of"]:
                wanted.setdefault(row["shard"], {})[row["path"]] = row
    for shard in sorted(wanted):
        by_path = wanted[shard]
        with (root / shard).open("rb") as raw:
            stream = io.BufferedReader(
                zstandard.ZstdDecompressor(max_window_size=1 << 28).stream_reader(raw), 1 << 20
            )
            with tarfile.open(fileobj=stream, mode="r|") as tar:
                for member in tar:
                    found = by_path.pop(member.name, None)
                    if found is None:
                        continue
                    content = tar.extractfile(member)
                    assert content is not None
                    yield CorpusRow(
                        id=found["id"],
                        source=found["source"],
                        kind=found["kind"],
                        style=found["style"],
                        split=found["split"],
                        composer=found["composer"],
                        piece_id=found["piece_id"],
                        data=content.read(),
                    )
        if by_path:
            raise InputError(f"{root / shard}: lacks {len(by_path)} files of the manifest")
