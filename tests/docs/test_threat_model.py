"""Every line of the threat model names tests, and they exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINES = [
    line
    for line in (ROOT / "docs" / "threat-model.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith(("| threat", "| ---"))
]


def named(line: str) -> list[tuple[str, str]]:
    file, found = "", []
    for name, test in re.findall(r"`([\w.]*)::(test_\w+)`", line):
        file = name or file
        found.append((file, test))
    return found


def test_every_threat_has_tests_that_exist() -> None:
    assert len(LINES) > 15
    for line in LINES:
        tests = named(line)
        assert tests, line
        for file, test in tests:
            texts = [path.read_text() for path in (ROOT / "tests").rglob(file)]
            assert any(f"def {test}(" in text for text in texts), f"{file} has no {test}"
