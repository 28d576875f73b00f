"""Zip files in which whatever is wrong is one kind of error: ``zipfile.BadZipFile``.

``zipfile`` itself says RuntimeError of a member with a password, NotImplementedError (a kind of
RuntimeError) of a compression or a version of the format that it does not know, and lets the
errors of the decompressors through. Only calls into it stand in the ``try``, so that no fault of
ours is taken for one of the file.
"""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO

PIECE_BYTES = 2**12
"""Of unpacked data; also of the packed data that bzip2 and LZMA unpack at once."""

# Numbers of its headers that lead nowhere, and names that are no UTF-8 though said to be.
_NOT_AS_IT_SAYS = (ValueError, IndexError, OverflowError, struct.error)


def open_zip(file: Path | IO[bytes]) -> zipfile.ZipFile:
    """Open a zip file.

    Raises:
        BadZipFile: it is none, it is damaged, or of a version of the format that is not known.
        OSError: it cannot be read.
    """
    try:
        return zipfile.ZipFile(file)
    except NotImplementedError as error:
        raise zipfile.BadZipFile(f"{error} cannot be read") from None
    except _NOT_AS_IT_SAYS as error:
        raise zipfile.BadZipFile(str(error)) from None


def read_member(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo | str, *, limit: int | None = None
) -> bytes:
    """Return the bytes of a member, in memory bounded by what it claims and by what it holds.

    Args:
        archive: an open zip file.
        member: one of its files.
        limit: most bytes unpacked that a member may claim.

    Raises:
        BadZipFile: it is damaged, has a password or an unknown compression, holds less than it
            claims, or claims more than the limit.
        OSError: the archive cannot be read.
        KeyError: there is no such member.
    """
    size = archive.getinfo(member).file_size if isinstance(member, str) else member.file_size
    if limit is not None and size > limit:
        raise zipfile.BadZipFile(f"{size:,} bytes unpacked; at most {limit:,} are read")
    try:
        with archive.open(member) as file:
            # In pieces: asked for everything at once, zipfile unpacks 2 GiB before it cuts.
            content = b"".join(iter(lambda: file.read(PIECE_BYTES), b""))
    except (RuntimeError, EOFError, zlib.error, lzma.LZMAError, *_NOT_AS_IT_SAYS) as error:
        raise zipfile.BadZipFile(str(error) or "it ends too early") from None
    except OSError as error:
        if error.errno is None:  # of the bzip2 decompressor, not of the disk
            raise zipfile.BadZipFile(str(error)) from None
        raise
    if len(content) != size:
        raise zipfile.BadZipFile(f"it holds {len(content):,} bytes and claims {size:,}")
    return content
