"""Writing a file whole or not at all, never over another one by accident; locks; JSON text."""

from __future__ import annotations

import errno
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import Any

from arietta.errors import OutputError

_HALF = re.compile("[\ud800-\udfff]")
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)


def json_text(value: Any, indent: int | None = None) -> str:
    """Return JSON that can be written as UTF-8, whatever files are called.

    Letters stand as they are. The bytes of a name that are no UTF-8, which Python keeps as halves
    of surrogate pairs, stand as escapes, and are read back as they were.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return _HALF.sub(lambda half: f"\\u{ord(half.group()):04x}", text)


def check_output(path: str | PathLike[str], *, force: bool = False) -> Path:
    """Return the path, if a file could be put there now.

    Called before long work, so that nobody waits for a result that has no place.

    Raises:
        OutputError: the directory does not exist or cannot be written to, the path is a directory,
            or the file exists and ``force`` is not set.
    """
    target = Path(path)
    parent = target.parent
    if target.is_dir():
        raise OutputError(f"{target}: is a directory; name a file in it")
    if not parent.is_dir():
        raise OutputError(f"{target}: there is no directory {parent}; make it first")
    if target.exists() and not force:
        raise OutputError(f"{target}: exists already; `force=True` replaces it")
    if not os.access(parent, os.W_OK):
        raise OutputError(f"{target}: the directory {parent} cannot be written to")
    return target


@contextmanager
def whole_file(path: str | PathLike[str], *, force: bool = False) -> Iterator[Path]:
    """Open a temporary file beside ``path``; it takes the name when the block succeeds.

    It keeps the suffix of ``path``. When the block fails nothing is left behind and what was there
    before is untouched.

    Raises:
        OutputError: see ``check_output``; also when the disk is full or the write fails otherwise,
            and when the file came to exist meanwhile without ``force``.
    """
    target = check_output(path, force=force)
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(
            prefix=f".{target.stem[:100]}.", suffix=target.suffix, dir=target.parent
        )
        temporary = Path(name)
        # mkstemp makes a private file; the result gets the permissions any new file would.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.close(handle)
        yield temporary
        if force:
            os.replace(temporary, target)
        else:
            _rename_new(temporary, target)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            with suppress(FileNotFoundError):
                temporary.unlink()


@contextmanager
def held(path: Path, busy: str) -> Iterator[None]:
    """Hold a lock file for this process alone; it is gone afterwards.

    The system takes the lock away when the process dies, however it dies, so that a file that is
    left behind stands in nobody's way. Windows and some network file systems have no such locks:
    there nothing is refused.

    Args:
        path: of the lock file; its folder exists.
        busy: message of the error where another process holds it.

    Raises:
        OutputError: another process holds it, or the folder cannot be written to.
    """
    try:
        file = path.open("a")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from None
    with file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it until now may have taken away the file that we opened.
            mine = path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())
        except ImportError:
            mine = True
        except OSError as error:
            mine = error.errno in _NO_LOCKS
        if not mine:
            raise OutputError(busy)
        try:
            yield
        finally:
            with suppress(OSError):
                path.unlink()


def _rename_new(temporary: Path, target: Path) -> None:
    """Rename without replacing, also when two processes write the same name at once."""
    try:
        os.link(temporary, target)
    except FileExistsError as error:
        raise OutputError(f"{target}: exists already; `force=True` replaces it") from error
    except OSError as error:
        # Some file systems know no hard links: check, then rename.
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK):
            raise
        check_output(target)
        os.replace(temporary, target)
