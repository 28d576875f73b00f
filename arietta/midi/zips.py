"""Zip files in which whatever is wrong is one kind of error: ``zipfile.BadZipFile``.

``zipfile`` itself says RuntimeError of a member with a password, NotImplementedError (a kind of
RuntimeError) of a compression or a version of the format that it does not know, and lets the
errors of the decompressors through. Only calls into it stand in the ``try``, so that no fault of
ours is taken for one of the file.
"""

from __future__ import annotations

import lzma
import zipfile
import zlib
from pathlib import Path
from typing import IO


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


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo | str) -> bytes:
    """Return the bytes of a member.

    Raises:
        BadZipFile: it is damaged, has a password or an unknown compression.
        OSError: the archive cannot be read.
        KeyError: there is no such member.
    """
    try:
        return archive.read(member)
    except (RuntimeError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise zipfile.BadZipFile(str(error) or "it ends too early") from None
    except OSError as error:
        if error.errno is None:  # of the bzip2 decompressor, not of the disk
            raise zipfile.BadZipFile(str(error)) from None
        raise
