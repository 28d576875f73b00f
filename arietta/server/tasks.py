"""What workers do: one use case of ``arietta.api`` each, bytes in, JSON values or bytes out.

Everything here runs in a process of ``workers``; a model that is needed is loaded once for each.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arietta.server.problems import Problem
from arietta.server.settings import ServerSettings

if TYPE_CHECKING:
    from arietta.midi.piece import Piece

Upload = tuple[str, bytes]
"""Name and bytes of a file; the name is not a path."""


class Tools:
    """What tasks work with: settings, and models that stay loaded.

    Args:
        settings: of the server.
        report: tells the client how far a task is.
    """

    def __init__(self, settings: ServerSettings, report: Callable[[Any], None]) -> None:
        self.settings = settings
        self.report = report

    def read(self, file: Upload, *, score: bool = False) -> Piece:
        """Return the piece of a file, if it is not too long.

        Raises:
            InputError: it cannot be read.
            Problem: it has too many notes.
        """
        from arietta.api.reading import read_upload

        piece = read_upload(*file, score=score)
        if len(piece) > self.settings.max_notes:
            raise Problem(
                "too-large",
                413,
                "The piece is too long",
                f"it has {len(piece)} notes; {self.settings.max_notes} at most",
                "Send a part of it.",
            )
        return piece


def read(tools: Tools, file: Upload) -> dict[str, Any]:
    """Describe a piece for a roll."""
    from arietta.api.reading import view

    return view(tools.read(file)).to_dict()


def piece(tools: Tools, file: Upload) -> Piece:
    """Read a piece for the generating loop."""
    return tools.read(file)


def synth(tools: Tools, file: Upload, suffix: str) -> bytes:
    """Sound a piece; the bytes of an audio file."""
    import tempfile

    from arietta.api.synthesis import synth as run

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / f"sound.{suffix}"
        run(tools.read(file), target)
        return target.read_bytes()


TASKS: Mapping[str, Callable[..., Any]] = {
    "read": read,
    "piece": piece,
    "synth": synth,
}
