"""Which part may import which, and that nothing heavy is loaded before it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "arietta"

# A part imports only from rows above its own, or from within itself.
LAYERS = (
    {"errors", "paths"},
    {"output"},
    {"midi"},
    {"notation", "tokenizers"},
    {"checkpoints", "models"},
    {"data", "generation", "vectors", "rendering", "sound", "evaluation", "training", "realtime"},
    {"api"},
    {"server"},
    {"cli"},
    {"__main__"},
)
RANK = {part: rank for rank, row in enumerate(LAYERS) for part in row}

# Saving a piece is offered on the piece itself, by a late import inside one method.
FILES = sorted(PACKAGE.rglob("*.py"))


def imports_of(path: Path) -> set[str]:
    """Every arietta module a file imports, type-checking imports included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: write imports in full"
            found.add(node.module or "")
    return {name for name in found if name.split(".")[0] == "arietta" and name != "arietta"}


def part_of(module: str) -> str:
    return module.split(".")[1]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    relative = path.relative_to(PACKAGE)
    part = relative.parts[0].removesuffix(".py")
    if part == "__init__":
        return  # the public names; resolved on first use
    assert part in RANK, f"give {part} its place in the order"
    for module in imports_of(path):
        other = part_of(module)
        assert other == part or RANK[other] <= RANK[part], f"{relative} imports {module}"


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
    ".".join(p.relative_to(ROOT).with_suffix("").parts)
    for p in FILES
    if p.relative_to(PACKAGE).parts[0] in {"midi", "tokenizers", "checkpoints", "sound", "cli"}
    and p.name != "__init__.py"
)


def test_the_core_loads_no_torch() -> None:
    extra = ["arietta.models.aria.graph", "arietta.generation.engine", "arietta.api"]
    code = "\n".join(f"import {name}" for name in [*CORE, *extra])
    assert "torch" not in loaded_by(code)


def test_midi_tokenizers_and_sound_load_no_openvino() -> None:
    names = [n for n in CORE if n.split(".")[1] in {"midi", "tokenizers", "sound"}]
    assert not loaded_by("\n".join(f"import {n}" for n in names)) & {"openvino", "torch"}
