"""``arietta fill`` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import arietta
from arietta.cli.main import run
from arietta.midi.reader import read

WALTZ = Path(arietta.__file__).parent / "assets" / "prompts" / "waltz.mid"


def test_a_gap_is_filled_in_several_ways(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"fill {WALTZ} --from 8 --to 1:10 --of 2 --variations 2 --seed 5 --json"
    assert run([*words.split(), "-o", str(tmp_path)]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    rows = found["variations"]
    assert [Path(row["midi"]).name for row in rows] == ["waltz-filled-1.mid", "waltz-filled-2.mid"]
    for row in rows:
        piece = read(row["midi"])
        assert len(piece) == len(read(WALTZ)) - row["replaced"] + row["notes"]
    assert found["provenance"]["fill"] == {"from_seconds": 8.0, "to_seconds": 70.0}


def test_the_screen_names_files_and_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "one.mid"
    words = f"fill {WALTZ} --bars 5-6 --keep right-hand --variations 1 --of 3 --seed 1"
    assert run([*words.split(), "-o", str(out)]) == 0
    screen = capsys.readouterr().out
    assert str(out) in screen and "best of 3" in screen and "seed 1" in screen
    assert run([*words.split(), "-o", str(out)]) == 1  # nothing is overwritten
    assert "--force" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--from 3", "--from and --to"),
        ("--from 3 --to 1", "holds nothing"),
        ("--bars 1-2 --from 1 --to 2", "--bars"),
        ("--bars x", "5-8"),
        ("--bars 2 --keep tenor", "--keep"),
        ("--bars 2 --density 20", "--density"),
        ("--bars 2 --keep A0-C8", "no key"),
        ("--opening 3 --bars 2", "--opening"),
        ("--bars 2 --keep nothing-here.mid", "nothing-here.mid"),
    ],
)
def test_requests_that_make_no_sense_cost_one_line(
    words: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["fill", str(WALTZ), *words.split(), "-o", str(tmp_path / "x.mid")]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())
