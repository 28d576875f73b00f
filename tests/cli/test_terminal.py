"""No text of a file reaches a terminal as anything but text."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from arietta.cli.console import ProgressLine, print_pairs, print_table, printable, say
from arietta.cli.main import run
from tests.midi.files import midi_file

CASES = Path(__file__).parent.parent / "cases" / "midi"
RAW = [*range(0x20), *range(0x7F, 0xA0), 0x061C, 0x2028, 0x202E, 0x2066, 0xD800, 0xDC9B, 0xDFFF]


def steers(text: str) -> bool:
    return any(ord(c) in RAW and c != "\n" for c in text)


@pytest.mark.parametrize("code", RAW)
def test_every_control_character_is_shown_escaped(code: int) -> None:
    shown = printable(f"a{chr(code)}b")
    assert shown != f"a{chr(code)}b" and shown.isascii() and shown.isprintable()


def test_other_text_stays() -> None:
    assert printable("Prélude № 4 – 音 𝄞") == "Prélude № 4 – 音 𝄞"


@pytest.mark.parametrize("kind", [1, 2, 3, 4])
@pytest.mark.parametrize("code", [0x1B, 0x07, 0x0A, 0x9B, 0x7F])
def test_info_of_hostile_texts(
    kind: int, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"x{chr(code)}]0;y".encode()
    meta = bytes((0, 0xFF, kind, len(text))) + text
    file = tmp_path / "a.mid"
    file.write_bytes(midi_file([meta + b"\0\x90\x3c\x40\x60\x3c\0"]))
    assert run(["info", str(file)]) == 0
    plain = capsys.readouterr().out
    assert not steers(plain)
    assert not any(line.startswith("]0;y") for line in plain.splitlines())
    assert run(["info", str(file), "--json"]) == 0
    shown = capsys.readouterr().out
    assert not steers(shown)
    json.loads(shown)


def test_the_case_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["info", str(CASES / "name_escape.mid")]) == 0
    assert not steers(capsys.readouterr().out)


def test_errors_and_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["info", str(tmp_path / "no\x1b[31m.mid")]) == 1
    assert not steers(capsys.readouterr().err)
    print_table(("a", "b"), [("x\x1b", "y\ny")])
    print_pairs([("a", "x\x9b")])
    assert not steers(capsys.readouterr().out)


def test_a_mended_file_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    file = CASES / "cc_value_255.mid"
    assert run(["tokenize", str(file), "--json"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "read, though damaged" in said[0]


def test_a_name_makes_no_lines_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\nb\r: done")
    assert capsys.readouterr().out == "a\\nb\\r: done\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_progress(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    monkeypatch.setattr(ProgressLine, "_PLAIN_S", -1.0)
    with ProgressLine() as progress:
        progress.show("x\x1b]0;y\x07\udc9b")
    shown = capsys.readouterr().err
    assert "x\\x1b]0;y\\x07\\udc9b" in shown
    assert not steers(shown.replace("\r", ""))  # its own, which goes back to the margin


NAMES = (b"a\x1b[31m.mid", b"b\n\x07.mid", b"c\xff\x9b2J.mid", b"bad\x1bc\x9b.mid")


@pytest.fixture
def hostile(tmp_path: Path, prompts_dir: Path) -> Path:
    """A folder of files whose names would steer a terminal; one of them is no music."""
    folder = tmp_path / "in"
    folder.mkdir()
    music = (prompts_dir / "waltz.mid").read_bytes()
    for name in NAMES:
        try:
            path = folder / os.fsdecode(name)
            path.write_bytes(b"none" if name.startswith(b"bad") else music)
        except (OSError, UnicodeError):
            pytest.skip("this system has no such names")
    return folder


def test_batches(hostile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index, made = tmp_path / "index", tmp_path / "made"
    first = min(map(str, hostile.iterdir()))
    for command in (
        ["info", first],
        ["embed", str(hostile), "-o", str(tmp_path / "a.npz"), "--force"],
        ["index", str(hostile), "-o", str(index)],
        ["search", first, "--in", str(index)],
        ["classify", str(hostile), "-o", str(tmp_path / "a.csv"), "--force"],
        ["data", "build", str(hostile), "-o", str(made), "--dedup", "none", "--force"],
        ["data", "stats", str(made)],
        ["evaluate", "likelihood", str(hostile), "--windows", "1", "--length", "64"],
    ):
        for flags in ([], ["--json"])[: 2 if command[0] == "classify" else 1]:
            done = run([*command, *flags])
            said = capsys.readouterr()
            assert done == 0, (command, said.err)
            for text in said:
                assert not steers(text), command
                assert not any(line.startswith("\\x07") for line in text.splitlines()), command
    with np.load(tmp_path / "a.npz") as arrays:
        assert len(arrays["paths"]) == 3
