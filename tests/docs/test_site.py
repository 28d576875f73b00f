"""The documentation: generated pages are fresh, names exist, the site builds without a warning."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from importlib import import_module
from pathlib import Path

import pytest
import yaml

import arietta
from arietta.checkpoints.registry import listing
from docs.make import api, models, notebook
from docs.make.__main__ import stale

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
WRITTEN = [*DOCS.glob("*.md"), *DOCS.glob("how-to/*.md")]
AT_THE_TOP = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES = [*WRITTEN, *AT_THE_TOP]


def resolve(name: str) -> object:
    """The module, or what a module holds, of a dotted name."""
    try:
        return import_module(name)
    except ModuleNotFoundError:
        module, _, attribute = name.rpartition(".")
        return getattr(import_module(module), attribute)


def test_generated_pages_are_fresh() -> None:
    names = [str(path.relative_to(ROOT)) for path in stale()]
    assert not names, f"run: python -m docs.make ({', '.join(names)})"


def test_every_public_name_resolves_and_is_documented() -> None:
    page = (DOCS / "reference/api.md").read_text("utf-8")
    for name in arietta.__all__:
        value = getattr(arietta, name)
        assert isinstance(value, str) or f":: arietta.{name}\n" in page


@pytest.mark.parametrize("module", [m for group in api.MODULES.values() for m in group])
def test_modules_of_the_reference_exist(module: str) -> None:
    assert import_module(module).__doc__


def test_the_glossary_names_what_the_code_has() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    rows = re.findall(r"^\| ([\w ]+) \| `(arietta[\w.]+)` \| (.+) \|$", text, re.MULTILINE)
    assert len(rows) >= 30
    assert len({word for word, _, _ in rows}) == len(rows)
    for _, name, _ in rows:
        assert resolve(name) is not None


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_paths_in_the_text_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    for path in re.findall(r"`((?:arietta|benchmarks|tests|docs)/[\w./-]+)`", text):
        assert (ROOT / path).exists() or path in ("docs/_site", "arietta/cli/NAME.py"), path


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text("utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_every_shipped_model_is_in_the_readme_and_in_notice() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    notice = (ROOT / "NOTICE").read_text("utf-8")
    for name in models.shipped():
        assert f"[`{name}`](arietta/assets/{name}/README.md)" in readme
        assert re.search(rf"[ /]{name}[ ,]", notice), name
        assert (ROOT / f"arietta/assets/{name}/README.md").is_file()


def test_the_model_table_says_what_the_settings_say() -> None:
    table = models.table()
    for row in listing():
        if row["source"] == "shipped":
            folder = ROOT / "arietta/assets" / row["name"]
            settings = json.loads((folder / "config.json").read_text("utf-8"))
            megabytes = round((folder / "model.safetensors").stat().st_size / 1e6)
            shown = f"{settings['parameters'] / 1e6:.1f} M | ships, {megabytes} MB"
            assert f"{shown} | {settings['licence']} |" in table
        elif row["source"] == "hub":
            assert "Apache-2.0" in row["licence"]


def test_the_picture_of_the_readme_is_an_svg_with_both_parts() -> None:
    from arietta import display

    svg = (DOCS / "images/continuation.svg").read_text("utf-8")
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert f'stroke="{display._PROMPT}"' in svg and f'stroke="{display._NEW}"' in svg


def test_versions_agree() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    assert str(citation["version"]) == arietta.__version__
    assert f'\nversion = "{arietta.__version__}"' in project


@pytest.mark.parametrize("name", ["ci", "wheels"])
def test_workflows_say_that_they_are_unproved(name: str) -> None:
    text = (ROOT / f".github/workflows/{name}.yml").read_text("utf-8")
    assert text.startswith("# Unproved") and yaml.safe_load(text)["jobs"]


def test_a_notebook_runs_cell_by_cell() -> None:
    code = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
    book = json.dumps(
        {
            "cells": [
                {"cell_type": "markdown", "metadata": {}, "source": ["# A ", "title"]},
                {**code, "source": ["a = 2\n", "print('two')"]},
                {**code, "source": "a + 1"},
            ]
        }
    )
    title, first, second = notebook.run(book)
    assert (title.kind, title.source) == ("markdown", "# A title")
    assert (first.printed, first.shown) == ("two\n", {})
    assert second.shown == {"text/plain": "3"}
    assert notebook.page(book).endswith("```python\na + 1\n```\n\n```text\n3\n```\n")


def test_a_failing_cell_is_named() -> None:
    cell = {"cell_type": "code", "source": "1 / 0"}
    with pytest.raises(ZeroDivisionError) as caught:
        list(notebook.run(json.dumps({"cells": [cell]})))
    assert "in cell 1 of the notebook" in caught.value.__notes__


def test_the_site_builds_and_the_tutorial_runs(tmp_path: Path) -> None:
    site = tmp_path / "site"
    words = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
    done = subprocess.run(
        [*words, "-d", str(tmp_path / "doctrees"), "docs", str(site)],
        cwd=ROOT,
        env={**os.environ, "ARIETTA_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    tutorial = (site / "tutorial.html").read_text("utf-8")
    assert tutorial.count("data:image/svg+xml;base64,") == 3
    assert tutorial.count("data:audio/mpeg;base64,") == 3
    for page in ("index", "reference/commands", "reference/api", "models/small", "contributing"):
        html = (site / f"{page}.html").read_text("utf-8")
        # Nothing is fetched from elsewhere when a page is read.
        assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="https?://', html)
