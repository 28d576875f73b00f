"""Every exception Arietta raises on purpose.

    AriettaError                 exit code 1
    ├── InputError               a file or value we were given cannot be used
    │   ├── MidiError            a MIDI file is malformed; carries the byte offset
    │   └── TokenError           ids or tokens that no piece can be made of
    ├── CheckpointError          a model is missing, damaged or of another architecture
    ├── OutputError              a result cannot be written where it was asked for
    ├── TrainingError            a run went wrong: its loss is not a number
    ├── MissingExtraError        an optional dependency is not installed
    └── UsageError               a request that contradicts itself; exit code 2

Beside it stands ``Interrupted``, a ``KeyboardInterrupt``: a signal ended a run that can go on.

A message is one line that says what was given, what is wrong with it and how to mend it.
"""

from __future__ import annotations


class AriettaError(Exception):
    """Root of every error raised on purpose."""

    exit_code = 1


class InputError(AriettaError):
    """A file or value we were given cannot be used."""


class MidiError(InputError):
    """A MIDI file is malformed.

    Attributes:
        reason: what is wrong, without the place.
        byte_offset: where in the file it was noticed, or None.
        source: name of the file, or None for bytes in memory.
    """

    def __init__(
        self, reason: str, *, byte_offset: int | None = None, source: str | None = None
    ) -> None:
        self.reason = reason
        self.byte_offset = byte_offset
        self.source = source
        where = "" if byte_offset is None else f" (byte {byte_offset})"
        super().__init__(f"{source or 'MIDI data'}: {reason}{where}")


class TokenError(InputError):
    """Ids or tokens that no piece can be made of."""


class CheckpointError(AriettaError):
    """A model is missing, damaged or of another architecture."""


class OutputError(AriettaError):
    """A result cannot be written where it was asked for."""


class TrainingError(AriettaError):
    """A run went wrong: its loss is not a number."""


class MissingExtraError(AriettaError):
    """An optional dependency is not installed.

    Attributes:
        extra: the extra of the ``arietta`` distribution that brings it.
    """

    def __init__(self, what: str, extra: str) -> None:
        self.extra = extra
        super().__init__(f"{what} needs an extra: pip install 'arietta[{extra}]'")


class UsageError(AriettaError):
    """A request that contradicts itself or lies outside the allowed range."""

    exit_code = 2


class Interrupted(KeyboardInterrupt):
    """A signal ended a run whose state is saved.

    Attributes:
        exit_code: 128 and the number of the signal: 130 for Ctrl-C, 143 for SIGTERM.
    """

    def __init__(self, message: str, number: int) -> None:
        self.exit_code = 128 + number
        super().__init__(message)
