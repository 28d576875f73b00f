"""Arguments of the library become flags of the command line in one place."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import arietta
from arietta.cli.flags import with_flags

PACKAGE = Path(arietta.__file__).parent


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("`min_p` must lie between 0 and 1", "--min-p must lie between 0 and 1"),
        ("`prompt_seconds` needs a `prompt`", "--prompt-seconds needs a PROMPT"),
        ("a.mid: exists already; `force=True` replaces it", "a.mid: exists already; --force"),
        ("`arietta data build` makes one", "`arietta data build` makes one"),
        ("`filters` x: write NAME=VALUE", "--filter x: write NAME=VALUE"),
    ],
)
def test_names_become_flags(text: str, shown: str) -> None:
    assert with_flags(text).startswith(shown)


def test_the_library_raises_no_flags() -> None:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        part = path.relative_to(PACKAGE).parts[0]
        if part == "cli":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and node.exc is not None:
                for inside in ast.walk(node.exc):
                    text = getattr(inside, "value", None)
                    if isinstance(text, str) and re.search(r"(^|[^-\w`])--[a-z]", text):
                        found.append((path.name, text))
    # What names a whole command may show its flags.
    assert [one for one in found if "arietta " not in one[1]] == []
