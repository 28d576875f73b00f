"""What an evaluation returns, and the files it writes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from arietta.output import check_output, json_text, whole_file

Show = Callable[[str], None]
"""Called with a line on the progress of the work."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What an evaluation found.

    Attributes:
        figures: JSON values; each function lists them.
        refused: files that were left out, each with its reason.
    """

    figures: Mapping[str, Any]
    refused: tuple[dict[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the figures."""
        return dict(self.figures)


class Report:
    """The files of an evaluation; they are refused before any work where they exist.

    Args:
        output: file for the figures, as JSON.
        per_piece: file for the rows, ``.parquet`` or ``.csv``.
        force: replace files that exist.

    Raises:
        OutputError: a file exists or cannot be written.
        UsageError: the rows' file has another ending.
    """

    def __init__(
        self,
        output: str | PathLike[str] | None,
        per_piece: str | PathLike[str] | None = None,
        *,
        force: bool,
    ) -> None:
        from arietta.evaluation.intervals import check_rows

        self._force = force
        self._figures = None if output is None else check_output(output, force=force)
        self._rows = None if per_piece is None else Path(per_piece)
        check_rows(self._rows, force=force)

    def write(
        self,
        figures: Mapping[str, Any],
        rows: Iterable[Mapping[str, Any]] = (),
        refused: Iterable[dict[str, str]] = (),
    ) -> Evaluation:
        """Write what was asked for, and return what was found."""
        from arietta.evaluation.intervals import write_rows

        if self._figures is not None:
            with whole_file(self._figures, force=self._force) as part:
                part.write_text(json_text(figures, indent=2) + "\n", "utf-8")
        if self._rows is not None:
            write_rows(self._rows, list(rows), force=self._force)
        return Evaluation(figures, tuple(refused))


class Remaining:
    """Tell the time that work of equal steps will still take."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def text(self, done: int, total: int) -> str:
        """Return the time left, as 12.3 s, 3:05 min or 1:02:03 h."""
        seconds = (time.monotonic() - self._began) / max(done, 1) * (total - done)
        if seconds < 60:
            return f"{seconds:.1f} s"
        whole = round(seconds)
        if whole < 3600:
            return f"{whole // 60}:{whole % 60:02d} min"
        return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d} h"
