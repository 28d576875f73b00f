"""No text of a file reaches a terminal as anything but text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from arietta.cli.console import print_pairs, print_table, printable
from arietta.cli.main import run
from tests.midi.files import midi_file

CASES = Path(__file__).parent.parent / "cases" / "midi"
RAW = [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x202E, 0x2066]


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
