"""Runs a notebook without a server, and turns it into a page of the site.

The code cells run one after the other in one namespace, in the current folder. What a cell shows is
what it prints and the value of its last line, by ``_repr_mimebundle_`` where it has one.
"""

from __future__ import annotations

import ast
import io
import json
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Cell:
    """A cell as it was run.

    Attributes:
        kind: ``markdown`` or ``code``.
        source: its text.
        printed: what it wrote on stdout.
        shown: MIME type -> its value's form; empty without a value.
    """

    kind: str
    source: str
    printed: str = ""
    shown: dict[str, str] = field(default_factory=dict)


def run(text: str) -> Iterator[Cell]:
    """Run a notebook (nbformat 4), cell by cell.

    Raises:
        Exception: whatever a cell raises, with the number of the cell as a note.
    """
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(json.loads(text)["cells"], start=1):
        source = "".join(cell["source"])
        if cell["cell_type"] != "code":
            yield Cell("markdown", source)
            continue
        try:
            yield _run_code(source, namespace, f"cell {number}")
        except Exception as error:
            error.add_note(f"in cell {number} of the notebook")
            raise


def _run_code(source: str, namespace: dict[str, Any], name: str) -> Cell:
    tree = ast.parse(source, name)
    last = tree.body[-1] if tree.body else None
    value: Any = None
    out = io.StringIO()
    with redirect_stdout(out):
        if isinstance(last, ast.Expr):
            tree.body.pop()
            exec(compile(tree, name, "exec"), namespace)
            value = eval(compile(ast.Expression(last.value), name, "eval"), namespace)
        else:
            exec(compile(tree, name, "exec"), namespace)
    shown: dict[str, str] = {}
    if value is not None:
        bundle = getattr(value, "_repr_mimebundle_", None)
        shown = bundle() if bundle else {"text/plain": repr(value)}
    return Cell("code", source, out.getvalue(), shown)


def page(text: str) -> str:
    """Run a notebook and write it as Markdown: its cells, and what they show."""
    parts = []
    for cell in run(text):
        if cell.kind == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        if cell.printed:
            parts.append(f"```text\n{cell.printed.rstrip()}\n```")
        if "text/html" in cell.shown:
            parts.append(cell.shown["text/html"])
        elif cell.shown:
            parts.append(f"```text\n{cell.shown['text/plain']}\n```")
    return "\n\n".join(parts) + "\n"
