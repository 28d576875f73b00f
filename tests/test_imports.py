"""Which file may import which, and that nothing heavy is loaded before it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.structure import (
    ORDER,
    against_order,
    circles,
    import_graph,
    modules_of,
    part_of,
)

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "arietta"
FILES = sorted(PACKAGE.rglob("*.py"))
TREES = modules_of(ROOT)
GRAPH = import_graph(TREES)

# What plays or renders: no file of training reaches it, so that training runs on a bare GPU image.
PLAYS = {"generation", "rendering", "sound", "realtime", "api", "server", "cli"}


def outside(module: str) -> set[str]:
    """Packages of others that a file imports, late or early; not what only type checkers read."""
    tree = TREES[module]
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: write imports in full"
            found.add((node.module or "").split(".")[0])
    return found - {"arietta"}


def reached(module: str) -> set[str]:
    """Every file that a file needs, directly or through others."""
    seen: set[str] = set()
    todo = [module]
    while todo:
        for other in GRAPH[todo.pop()] - seen:
            seen.add(other)
            todo.append(other)
    return seen


def test_every_part_has_its_place() -> None:
    assert {part_of(name) for name in TREES if name != "arietta"} <= set(ORDER)


def test_files_import_only_from_their_left() -> None:
    assert against_order(GRAPH) == []


def test_no_circle_of_files() -> None:
    assert circles(GRAPH) == []


def test_a_circle_and_an_upward_import_are_found() -> None:
    graph = {
        "arietta.midi.a": {"arietta.midi.b"},
        "arietta.midi.b": {"arietta.midi.a", "arietta.cli.c"},
        "arietta.cli.c": {"arietta"},
        "arietta": set(),
    }
    assert circles(graph) == [["arietta.midi.a", "arietta.midi.b"]]
    assert against_order(graph) == [
        ("arietta.cli.c", "arietta"),
        ("arietta.midi.b", "arietta.cli.c"),
    ]


@pytest.mark.parametrize("module", sorted(TREES))
def test_heavy_packages_stay_in_their_files(module: str) -> None:
    name = module.rpartition(".")[2]
    found = outside(module)
    if not module.startswith("arietta.training") and not name.startswith("torch_"):
        assert not found & {"torch", "accelerate"}
    if name not in ("graph", "openvino", "openvino_layers"):
        assert "openvino" not in found


def test_training_reaches_nothing_that_plays() -> None:
    for module in TREES:
        if module.startswith("arietta.training"):
            plays = {name for name in reached(module) if part_of(name) in PLAYS}
            assert not plays, module


def test_every_package_folder_says_what_it_is() -> None:
    for folder in {p.parent for p in FILES}:
        docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
        assert docstring, folder


def loaded_by(code: str) -> set[str]:
    """Top-level modules in memory after running code in a fresh interpreter."""
    script = f"{code}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(done.stdout.split())


def test_importing_arietta_loads_nothing_heavy() -> None:
    heavy = {"torch", "openvino", "numpy", "soundfile", "typer", "huggingface_hub", "safetensors"}
    assert not loaded_by("import arietta") & heavy


def test_help_loads_nothing_at_all() -> None:
    code = "from arietta.cli.main import run\nassert run(['--help']) == 0"
    done = loaded_by(
        f"import io, sys\nsys.stdout = io.StringIO()\n{code}\nsys.stdout = sys.__stdout__"
    )
    assert not done & {"torch", "openvino", "numpy", "typer", "rich", "click"}


CORE = sorted(
    name
    for name in TREES
    if name.count(".") > 1
    and part_of(name) in {"midi", "notation", "tokenizers", "checkpoints", "sound", "cli"}
)


def test_the_core_loads_no_torch() -> None:
    extra = ["arietta.models.aria.graph", "arietta.generation.engine", "arietta.api"]
    code = "\n".join(f"import {name}" for name in [*CORE, *extra])
    assert "torch" not in loaded_by(code)


def test_midi_tokenizers_and_sound_load_no_openvino() -> None:
    names = [n for n in CORE if part_of(n) in {"midi", "notation", "tokenizers", "sound"}]
    assert not loaded_by("\n".join(f"import {n}" for n in names)) & {"openvino", "torch"}


def test_training_needs_nothing_that_the_command_line_needs() -> None:
    names = [n for n in TREES if n.startswith("arietta.training")]
    core = {"openvino", "soundfile", "typer", "huggingface_hub"}
    assert not loaded_by("\n".join(f"import {n}" for n in names)) & core
