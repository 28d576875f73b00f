"""The frame around the commands: help, versions, errors, exit codes."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from arietta.cli import main as frame
from arietta.cli.main import COMMANDS

from .conftest import Command


def test_help(arietta: Command) -> None:
    done = arietta("--help")
    assert done.code == 0
    assert all(f"  {name} " in done.out for name in COMMANDS)
    assert arietta().out == done.out


def test_version(arietta: Command) -> None:
    from arietta import __version__

    assert arietta("--version").out == f"arietta {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_helps_with_an_example(arietta: Command, name: str) -> None:
    done = arietta(name, "--help")
    assert done.code == 0 and not done.err
    assert "Example" in done.out and f"  arietta {name}" in done.out
    assert arietta(name, "-h").out == done.out
    assert max(map(len, done.out.splitlines())) <= 100


SERVERS = {"serve", "studio"}
"""Commands that answer over HTTP, until they are stopped."""


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_json_or_is_a_group(name: str) -> None:
    import typer

    app = import_module(f"arietta.cli.{name}").app
    commands = [c.callback for c in app.registered_commands]
    assert isinstance(app, typer.Typer) and commands
    for command in commands:
        assert name in SERVERS or "as_json" in command.__annotations__, command


def test_wrong_usage_is_2_on_one_line(arietta: Command) -> None:
    for words in (["sing"], ["synth"], ["synth", "a.mid", "--loud"], ["--json"]):
        done = arietta(*words)
        assert done.code == 2
        assert done.err.startswith("arietta: error: ") and done.err.count("\n") == 1
    assert "did you mean synth?" in arietta("sinth", "a.mid").err


def test_faults_of_ours_are_told_apart(arietta: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str, args: list[str]) -> int:
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr(frame, "_call", broken)
    done = arietta("info", "a.mid")
    assert done.code == 1 and "please report" in done.err and done.err.count("\n") == 1
    with pytest.raises(ZeroDivisionError):
        arietta("info", "a.mid", "--debug")


WITHOUT_OPENVINO = """
import importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] == "openvino":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import arietta.models.aria.native
arietta.models.aria.native.supports = lambda *_: False  # the compiled kernel needs no OpenVINO
from arietta.cli.main import run

for words in sys.argv[1].split(";"):
    sys.stderr.write(f"{run(words.split())}\\n")
"""


def test_without_openvino_commands_say_so_on_one_line(prompts_dir: Path, tmp_path: Path) -> None:
    prompt = prompts_dir / "classical.mid"
    words = f"evaluate likelihood {prompt};embed {prompt} -o {tmp_path / 'v.npz'}"
    command = [sys.executable, "-c", WITHOUT_OPENVINO, words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    line = "arietta: error: this needs openvino, which is not installed: pip install openvino\n1\n"
    assert done.stderr == 2 * line


def test_interrupted_and_out_of_memory(arietta: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for error, code in ((KeyboardInterrupt, 130), (MemoryError, 1)):

        def stop(name: str, args: list[str], error: type[BaseException] = error) -> int:
            raise error

        monkeypatch.setattr(frame, "_call", stop)
        done = arietta("info", "a.mid")
        assert done.code == code and done.err.count("\n") == 1


def test_as_a_module_and_into_a_closed_pipe(prompts_dir: Path) -> None:
    command = [sys.executable, "-m", "arietta", "tokenize", str(prompts_dir / "classical.mid")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == b"6\tprefix instrument piano\n"
        process.stdout.close()
        err = process.stderr.read()
    assert b"Traceback" not in err and b"Exception" not in err
    assert process.returncode in (0, 1, 141)
