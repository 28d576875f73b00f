"""Names of the library's arguments -> flags of the command line: the one place that maps them.

Errors of the library name an argument in backticks, as in "`min_p` must lie between 0 and 1".
"""

from __future__ import annotations

import re

_NAME = re.compile(r"`([a-z][a-z0-9_]*)(=True)?`")

_OTHERS = {
    "changes": "--set",
    "filters": "--filter",
    "fractions": "--splits",
    "from_seconds": "--from",
    "to_seconds": "--to",
    "takes": "--of",
    "grammar": "--no-grammar",
    "passages": "--passages",
    "input_port": "--in",
    "prompt": "PROMPT",
    "depth": "--draft-depth",
    "output": "-o",
    "output_port": "--out",
}
"""Arguments whose flags have other names."""


def flag_of(name: str) -> str:
    """Return the flag of an argument: ``--min-p`` for ``min_p``."""
    return _OTHERS.get(name, f"--{name.replace('_', '-')}")


def with_flags(text: str) -> str:
    """Return a message of the library with flags instead of its arguments' names."""
    return _NAME.sub(lambda match: flag_of(match.group(1)), text)
