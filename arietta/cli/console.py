"""What every command shares: options, one progress line, tables, JSON."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arietta.cli.flags import with_flags
from arietta.errors import InputError, UsageError

if TYPE_CHECKING:
    from arietta.midi.piece import Piece

_STEERS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
ForceFlag = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]


def new_app(**settings: Any) -> typer.Typer:
    """Return a typer application in the house's plain style, errors left to ``main``."""
    return typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        **settings,
    )


def printable(text: str, keep: str = "") -> str:
    """Return a text that cannot steer a terminal: control characters stand as escapes.

    Those are C0, DEL and C1, the marks that turn the direction of writing, and the two separators
    of lines and paragraphs. The bytes of a file's name that are no UTF-8, which stand in a text as
    halves of surrogate pairs, are escaped as well: some terminals obey them.

    Args:
        text: of a file or of its name.
        keep: control characters that may stay, such as a line break.
    """
    return "".join(
        c if c in keep or not _STEERS.match(c) else c.encode("unicode_escape").decode("ascii")
        for c in text
    )


def say(text: str = "") -> None:
    """One line for a human, on stdout."""
    print(printable(text, keep="\t"))


def note(text: str) -> None:
    """Print one line beside the result, on stderr; names of arguments become flags."""
    print(f"arietta: {printable(with_flags(text))}", file=sys.stderr)


def with_notices(piece: Piece) -> Piece:
    """Return a piece that was read, after one line on what was repaired in reading it."""
    if piece.notices:
        note(f"{piece.source or 'MIDI data'}: read, though damaged: {'; '.join(piece.notices)}")
    return piece


def left_out(*, quiet: bool) -> Callable[[str, InputError], None]:
    """Return what notes each file that is left out, and why; nothing when quiet."""
    return lambda _, error: None if quiet else note(f"left out: {error}")


def emit(value: Any) -> None:
    """One JSON value on stdout."""
    text = json.dumps(value, ensure_ascii=False)
    print(_STEERS.sub(lambda match: f"\\u{ord(match.group()):04x}", text))


def clock(seconds: float) -> str:
    """12.3 s, 3:05 min or 1:02:03 h."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d} h"


def seconds_of(text: str, flag: str) -> float:
    """Return the seconds that 80, 80.5, 1:20 or 1:02:03 stand for.

    Raises:
        UsageError: it has another form.
    """
    parts = text.strip().split(":")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if not 1 <= len(numbers) <= 3 or not all(0 <= n < 1e6 for n in numbers):
        raise UsageError(f"{flag} is a time such as 80, 1:20 or 1:02:03, not {text}")
    total = 0.0
    for number in numbers:
        total = total * 60 + number
    return total


def print_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    """Aligned ``name  value`` lines; a value of several lines is indented as a whole."""
    rows = [(name, value) for name, value in pairs if value]
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        first, *rest = value.split("\n")
        say(f"{name:<{width}}  {first}")
        for line in rest:
            say(" " * (width + 2) + line)


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Aligned columns under a head line; a cell stays on its line."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        cells = (f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True))
        say("  ".join(cells).rstrip())


def free_name(path: Path) -> Path:
    """Return the path, or its first free numbered neighbour: a.wav, a-2.wav, a-3.wav."""
    number, candidate = 1, path
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return candidate


class ProgressLine:
    """One line on stderr that is written over; where stderr is no terminal, a line now and then.

    Args:
        quiet: say nothing at all.
    """

    _TERMINAL_S, _PLAIN_S = 0.1, 10.0

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._next = time.monotonic() + (0 if self._terminal else self._PLAIN_S)
        self._shown = 0

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.clear()

    def due(self) -> bool:
        """Whether a new text would be shown now; lets a caller spare itself the making of it."""
        return not self._quiet and time.monotonic() >= self._next

    def show(self, text: str) -> None:
        """Show a text if one is due."""
        if not self.due():
            return
        text = printable(text)
        if self._terminal:
            text = text[: shutil.get_terminal_size().columns - 1]
            sys.stderr.write("\r" + text.ljust(self._shown))
            sys.stderr.flush()
            self._shown = len(text)
            self._next = time.monotonic() + self._TERMINAL_S
        else:
            note(text)
            self._next = time.monotonic() + self._PLAIN_S

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            sys.stderr.write("\r" + " " * self._shown + "\r")
            sys.stderr.flush()
            self._shown = 0
