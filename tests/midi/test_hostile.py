"""Hostile files end in a piece or an error of ours, in bounded memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from arietta.midi import reader

pytest.importorskip("resource", reason="needs resource limits")


@pytest.mark.parametrize("which", ["python", "c"])
def test_hostile_files(which: str, golden_dir: Path) -> None:
    if which == "c" and reader.parse_c is None:
        pytest.skip("needs the compiled reader")
    done = subprocess.run(
        [sys.executable, "-m", "tests.midi.hostile_worker", which, golden_dir / "aria" / "midi"],
        cwd=golden_dir.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["read"] > 50 and result["refused"] > 50
    assert result["peak_mb"] < 500, result  # the corpus itself and numpy are part of it
