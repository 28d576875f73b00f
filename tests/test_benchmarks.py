"""Filed results: their commands still parse, and what they depend on is written beside them."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shlex
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from arietta.cli.main import COMMANDS
from arietta.data.shards import PieceRecord, ShardWriter, dataset_sha256, open_dataset
from arietta.midi.reader import read
from arietta.paths import assets_dir
from arietta.training.config import load_recipes
from benchmarks import common

ROOT = Path(__file__).resolve().parent.parent
FILED = sorted(common.RESULTS.glob("*.json"))
CARDS = sorted(assets_dir().glob("*/README.md"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *CARDS]


class Parsed(Exception):
    """A command line was understood."""


def words_after_module(command: str) -> tuple[str, list[str]]:
    words = shlex.split(command)
    at = words.index("-m")
    return words[at + 1], words[at + 2 :]


@pytest.fixture
def parsing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let benchmarks parse their command line, and stop there."""
    parse = argparse.ArgumentParser.parse_args

    def parse_and_stop(parser: argparse.ArgumentParser, *words: Any, **options: Any) -> None:
        parse(parser, *words, **options)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)


def understood(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, words = words_after_module(command)
    monkeypatch.setattr(sys, "argv", [module, *words])
    with pytest.raises(Parsed):
        import_module(module).main()


def quoted(pattern: str) -> Iterator[tuple[Path, str]]:
    """Commands in the cards and pages, lines that go on joined."""
    for page in PAGES:
        text = page.read_text("utf-8").replace("\\\n", " ")
        for found in re.findall(pattern, text, re.MULTILINE):
            yield page, " ".join(found.split())


BENCHMARKS = sorted({line for _, line in quoted(r"(python -m benchmarks\.[^`\n]*)")})
RECIPES = sorted({line for page, line in quoted(r"^(arietta [^`\n]*)$") if page in CARDS})


@pytest.mark.usefixtures("parsing")
@pytest.mark.parametrize("path", FILED, ids=lambda path: path.stem)
def test_the_command_of_every_result_parses(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = json.loads(path.read_text("utf-8"))
    assert record["name"] == path.stem and record["figures"] and record["date"]
    understood(record["command"], monkeypatch)


@pytest.mark.usefixtures("parsing")
@pytest.mark.parametrize("line", BENCHMARKS)
def test_benchmarks_that_pages_quote_parse(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, words = words_after_module(line)
    if words:
        understood(line, monkeypatch)
    else:  # the name of a benchmark, not a whole command
        assert callable(import_module(module).main)


@pytest.mark.parametrize("line", RECIPES)
def test_recipes_that_cards_quote_parse(line: str) -> None:
    _, name, *words = shlex.split(line)
    assert name in COMMANDS
    command: Any = get_command(import_module(f"arietta.cli.{name}").app)
    context = command.make_context(name, list(words))
    while hasattr(command, "resolve_command"):
        _, command, rest = command.resolve_command(context, context._protected_args + context.args)
        context = command.make_context(command.name, rest, parent=context)
    if name == "train":
        recipe, changes = context.params["recipe"], context.params["changes"]
        assert load_recipes(recipe, list(changes or ()))


def test_a_wrong_command_is_noticed(parsing: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit):
        understood("python -m benchmarks.probe_quality data --no-such-flag", monkeypatch)


def test_what_a_result_depends_on_is_filed(
    tmp_path: Path, prompts_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ShardWriter(tmp_path / "set", "grid") as writer:
        writer.add(PieceRecord("a"), read(prompts_dir / "waltz.mid"))
    model = tmp_path / "run" / "model"
    model.mkdir(parents=True)
    (model / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "run" / "recipe.json").write_text('{"name": "mine", "seed": 3}')
    words = ["x.py", str(tmp_path / "set"), "--model", str(tmp_path / "run"), "--seed", "4"]
    monkeypatch.setattr(sys, "argv", words)
    monkeypatch.setattr(common, "RESULTS", tmp_path / "results")
    figures = {"a": [{"seed": 4}, {"seeds": [1, 2]}], "b": 1.0}
    record = json.loads(common.file_result("mine", figures).read_text("utf-8"))
    found = record["inputs"]
    assert found["datasets"] == {"set": dataset_sha256(open_dataset(tmp_path / "set"))}
    assert found["models"]["run/model"] == hashlib.sha256(b"weights").hexdigest()
    assert found["recipes"] == {"run/model": {"name": "mine", "seed": 3}}
    assert {"small", "performer"} <= set(found["models"])
    assert record["seeds"] == [1, 2, 4]


def test_the_commit_is_filed() -> None:
    state = common.code_state()
    assert not state or (re.fullmatch("[0-9a-f]{40}", state["commit"]) and "dirty" in state)
