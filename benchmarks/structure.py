"""How is a checkout structured: cycles of files, imports against the order, long functions?

    python -m benchmarks.structure [CHECKOUT] [--name NAME]

Every import counts, including late imports and those for type checkers. A cycle (``circle``) is a
set of files of which each reaches each. A command body is the code after options and docstring.
"""

from __future__ import annotations

import argparse
import ast
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import file_result

ORDER = (
    *("errors", "paths", "output", "_version", "arrays", "settings", "display"),
    *("midi", "notation", "tokenizers", "checkpoints", "models"),
    *("data", "generation", "vectors", "rendering", "sound"),
    *("evaluation", "training", "realtime", "api", "server", "cli", "__main__"),
)
"""Parts of the package; a file imports from its own part and from those before it."""

FORMER = {"graphs": "models", "inference": "generation", "retrieval": "vectors"}
"""Parts of older checkouts -> their place in the order."""


@dataclass(frozen=True)
class Function:
    """Describe a function of the package.

    Attributes:
        module, name: place of the function; the name of a method includes its class.
        lines: number of lines from ``def`` to the last.
        body: number of lines after signature and docstring.
        command: whether it is registered as a command.
    """

    module: str
    name: str
    lines: int
    body: int
    command: bool


def modules_of(checkout: Path) -> dict[str, ast.Module]:
    """Parse every file of the package; return syntax trees by dotted name."""
    found = {}
    for path in sorted((checkout / "arietta").rglob("*.py")):
        parts = path.relative_to(checkout).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imports_of(tree: ast.Module, modules: set[str]) -> set[str]:
    """Return the files of the package that a file imports.

    ``from a import b`` is ``a.b`` if that is a file.
    """
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in modules else str(node.module))
    return found & modules


def import_graph(trees: dict[str, ast.Module]) -> dict[str, set[str]]:
    """Return the imports of every file; leave out the root, which only collects names."""
    graph = {name: imports_of(tree, set(trees)) - {name} for name, tree in trees.items()}
    graph["arietta"] = set()
    return graph


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the sets of files of which each reaches each."""
    reach: dict[str, set[str]] = {}
    for start in graph:
        seen: set[str] = set()
        todo = [start]
        while todo:
            for other in graph[todo.pop()] - seen:
                seen.add(other)
                todo.append(other)
        reach[start] = seen
    found = {tuple(sorted(b for b in reach[a] if a in reach[b])) for a in graph if a in reach[a]}
    return [list(circle) for circle in sorted(found)]


def part_of(module: str) -> str:
    """Return the part of the package to which a file belongs."""
    part = module.split(".")[1]
    return FORMER.get(part, part)


def against_order(graph: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Return imports of a file from a later part than its own, or of the root."""
    return [
        (name, other)
        for name, others in sorted(graph.items())
        for other in sorted(others)
        if other == "arietta" or ORDER.index(part_of(other)) > ORDER.index(part_of(name))
    ]


def functions_of(trees: dict[str, ast.Module]) -> list[Function]:
    """Return every function of a file and every method of its classes."""
    commands = set()
    for tree in trees.values():
        for node in ast.walk(tree):
            # app.command()(function)
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Call)
                and getattr(node.func.func, "attr", "") == "command"
            ):
                commands |= {arg.id for arg in node.args if isinstance(arg, ast.Name)}
    found = []
    for module, tree in trees.items():
        in_cli = module.startswith("arietta.cli")
        holders: list[tuple[str, list[ast.stmt]]] = [("", tree.body)]
        holders += [(f"{n.name}.", n.body) for n in tree.body if isinstance(n, ast.ClassDef)]
        for prefix, body in holders:
            for function in body:
                if not isinstance(function, ast.FunctionDef):
                    continue
                decorators = " ".join(map(ast.unparse, function.decorator_list))
                registered = not prefix and function.name in commands
                inside = [n for n in function.body if not _is_text(n)] or function.body
                end = function.end_lineno or function.lineno
                found.append(
                    Function(
                        module,
                        prefix + function.name,
                        end - function.lineno + 1,
                        end - inside[0].lineno + 1,
                        in_cli and (registered or ".command" in decorators),
                    )
                )
    return found


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def measure(checkout: Path) -> dict[str, Any]:
    """Return the figures of a checkout."""
    trees = modules_of(checkout)
    graph = import_graph(trees)
    round_trips = circles(graph)
    upward = against_order(graph)
    functions = functions_of(trees)
    largest = max(functions, key=lambda f: f.lines)
    longest_body = max(functions, key=lambda f: f.body)
    lines = {
        path.relative_to(checkout).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in (checkout / "arietta").rglob("*.py")
    }
    bodies = sorted((f for f in functions if f.command), key=lambda f: -f.body)
    return {
        "files": len(trees),
        "lines": sum(lines.values()),
        "largest_file": max(lines, key=lambda name: lines[name]),
        "largest_file_lines": max(lines.values()),
        "imports": sum(map(len, graph.values())),
        "circles": len(round_trips),
        "files_in_circles": sum(map(len, round_trips)),
        "circle_members": round_trips,
        "imports_against_order": len(upward),
        "against_order": [f"{a} -> {b}" for a, b in upward],
        "functions": len(functions),
        "median_function_lines": sorted(f.lines for f in functions)[len(functions) // 2],
        "largest_function": f"{largest.module}.{largest.name}",
        "largest_function_lines": largest.lines,
        "largest_body": f"{longest_body.module}.{longest_body.name}",
        "largest_body_lines": longest_body.body,
        "commands": len(bodies),
        "command_bodies_above_60_lines": sum(f.body > 60 for f in bodies),
        "command_body_lines": {f.name: f.body for f in bodies},
    }


def main() -> None:
    """Measure a checkout; print a table and one JSON line; file it under ``--name``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", nargs="?", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--name", help="file the figures as results/NAME.json")
    given = parser.parse_args()
    figures = measure(given.checkout)
    for name, value in figures.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {lines}" for key, lines in value.items())
        if not isinstance(value, list):
            print(f"{name.replace('_', ' '):<32} {value}")
            continue
        for line in value:
            print(f"  {line if isinstance(line, str) else ' '.join(line)}")
    print(json.dumps(figures, ensure_ascii=False))
    if given.name:
        file_result(given.name, figures)


if __name__ == "__main__":
    main()
