"""The command reference: the help of every command, as a user sees it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

HEAD = """\
# Commands

Generated from the help texts by `python -m docs.make`; a test refuses a stale page.

Every command takes `--debug`, which shows the traceback of an error. Exit codes: 0 done, 1 could
not be done (one line says why), 2 wrong usage, 130 interrupted.
"""
WIDTH = 100


def page() -> str:
    """Write the whole page."""
    from arietta.cli.main import COMMANDS

    parts = [HEAD]
    for name in COMMANDS:
        for path, text in helps(name):
            # Blank lines hold spaces in some versions of the option parser.
            lines = "\n".join(line.rstrip() for line in text.splitlines())
            parts.append(f"{'#' * (1 + len(path))} `arietta {' '.join(path)}`\n")
            parts.append(f"```text\n{lines}\n```\n")
    return "\n".join(parts)


def helps(name: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield a command and those inside it: path and help text."""
    from typer.main import get_command

    yield from _walk((name,), get_command(import_module(f"arietta.cli.{name}").app), None)


def _walk(path: tuple[str, ...], command: Any, above: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    settings = {"terminal_width": WIDTH, "max_content_width": WIDTH, "parent": above}
    shown = path[-1] if above else f"arietta {path[-1]}"
    context = command.context_class(
        command, info_name=shown, **settings, help_option_names=["-h", "--help"]
    )
    yield path, command.get_help(context)
    for name, inner in sorted(getattr(command, "commands", {}).items()):
        yield from _walk((*path, name), inner, context)
