from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from arietta.cli.console import ProgressLine, clock, free_name, print_pairs, print_table


class Screen(io.StringIO):
    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (59.94, "59.9 s"), (60, "1:00 min"), (185.4, "3:05 min"), (3723, "1:02:03 h")],
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_free_name(tmp_path: Path) -> None:
    names = []
    for _ in range(3):
        path = free_name(tmp_path / "a.wav")
        path.touch()
        names.append(path.name)
    assert names == ["a.wav", "a-2.wav", "a-3.wav"]


def test_progress_is_one_line_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(terminal=True)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(ProgressLine, "_TERMINAL_S", 0.0)
    monkeypatch.setenv("COLUMNS", "40")
    with ProgressLine() as progress:
        progress.show("a" * 100)
        progress.show("short")
    text = screen.getvalue()
    assert "\n" not in text and "a" * 39 in text and "a" * 40 not in text
    assert text.endswith("\r" + " " * 5 + "\r")


def test_progress_without_a_terminal_is_sparse(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(terminal=False)
    monkeypatch.setattr(sys, "stderr", screen)
    with ProgressLine() as progress:
        progress.show("too soon")
    assert screen.getvalue() == ""
    monkeypatch.setattr(ProgressLine, "_PLAIN_S", -1.0)
    with ProgressLine() as progress:
        progress.show("now")
    with ProgressLine(quiet=True) as progress:
        progress.show("never")
    assert screen.getvalue() == "arietta: now\n"


def test_tables(capsys: pytest.CaptureFixture[str]) -> None:
    print_pairs([("a", "1"), ("long", "2\n3"), ("left out", "")])
    print_table(["x", "yy"], [["10", "b"]])
    assert capsys.readouterr().out == "a     1\nlong  2\n      3\nx   yy\n10  b\n"
