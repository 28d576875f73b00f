"""What a zip claims and what it holds: reading is bounded by the smaller of the two."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
import zlib

import pytest

from arietta.midi import zips
from arietta.midi.zips import open_zip, read_member

KINDS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
HELD = 40_000_000


def claiming(size: int, held: bytes, kind: int, *, checksum: int | None = None) -> zipfile.ZipFile:
    """An archive with one member whose headers claim a size, and a checksum, of their own."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as archive:
        archive.writestr("a.mid", held)
        (info,) = archive.infolist()
        info.file_size = size
        info.CRC = info.CRC if checksum is None else checksum
    return open_zip(file)


@pytest.mark.parametrize("kind", KINDS)
def test_an_honest_member_is_read(kind: int) -> None:
    for held in (b"", b"a", bytes(range(256)) * 1000):
        assert read_member(claiming(len(held), held, kind), "a.mid") == held


@pytest.mark.parametrize("kind", KINDS)
def test_a_member_that_holds_less_than_it_claims_is_refused(kind: int) -> None:
    archive = claiming(2**31, b"few", kind)
    tracemalloc.start()
    with pytest.raises(zipfile.BadZipFile):
        read_member(archive, "a.mid")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24  # the window of LZMA is 8 MiB


@pytest.mark.parametrize("kind", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_that_holds_more_than_it_claims_takes_no_memory_for_it(kind: int) -> None:
    held = bytes(HELD)
    for checksum in (None, zlib.crc32(held[:1000])):
        archive = claiming(1000, held, kind, checksum=checksum)
        tracemalloc.start()
        try:
            read_member(archive, "a.mid")
        except zipfile.BadZipFile:
            assert checksum is None
        else:
            assert checksum is not None
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        # The decompressors of bzip2 and LZMA give all that a piece of input holds at once.
        assert peak < (2**22 if kind == zipfile.ZIP_DEFLATED else HELD * 2.2)


def test_a_claim_beyond_the_limit_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = claiming(1001, b"few", zipfile.ZIP_DEFLATED)
    monkeypatch.setattr(zips, "PIECE_BYTES", None)  # nothing may be read
    with pytest.raises(zipfile.BadZipFile, match="1,001 bytes unpacked; at most 1,000"):
        read_member(archive, "a.mid", limit=1000)
