"""`arietta serve` and `arietta studio`: what is refused, and that they start and stop."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from arietta.cli.main import run
from arietta.cli.serve import settings_of
from arietta.cli.studio import opened


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ("serve --host 0.0.0.0", 2, "ARIETTA_TOKEN"),
        ("serve --port 70000", 2, "--port"),
        ("serve --index mine", 2, "NAME=FOLDER"),
        ("studio nowhere.mid", 1, "nowhere.mid"),
    ],
)
def test_refusals(words: str, code: int, text: str, capsys, monkeypatch) -> None:
    monkeypatch.delenv("ARIETTA_TOKEN", raising=False)
    assert run(words.split()) == code
    assert text in capsys.readouterr().err


def test_options_become_settings(monkeypatch) -> None:
    monkeypatch.setenv("ARIETTA_TOKEN", "secret")
    found = settings_of("10.0.0.1", 80, "small", ["a=b", "c=http://d/e"], ["music.example"], 1)
    assert found.token == "secret" and found.indexes == {"a": "b", "c": "http://d/e"}
    assert found.hosts == ("music.example",) and found.threads == 1 and found.port == 80


def test_the_file_of_the_studio(prompts_dir: Path) -> None:
    found = opened(prompts_dir / "waltz.mid")
    assert found == ("waltz.mid", (prompts_dir / "waltz.mid").read_bytes())
    assert opened(None) is None


@pytest.mark.skipif(os.name == "nt", reason="Windows stops processes in another way")
def test_it_starts_answers_and_stops() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "arietta", "serve", "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert address, line
        with urlopen(f"{address[0]}/health") as answer:
            assert json.load(answer) == {"live": True, "ready": True, "queue_depth": 0}
        process.send_signal(signal.SIGINT)
        assert process.wait(30) in (0, 130)
    finally:
        process.kill()
        process.wait(30)
        process.stdout.close()
