"""Model cards: what their tables say stands in the results that they name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from arietta.paths import assets_dir
from docs.make import measured

RESULTS = measured.RESULTS
CARDS = sorted(assets_dir().glob("*/README.md"))
_NAMED = re.compile(r"(?:`(?:benchmarks/results/)?|--result )(\w[\w-]*)(?:\.json)?`")


def numbers(value: Any) -> Iterator[float]:
    """Every number among figures."""
    if isinstance(value, dict):
        for one in value.values():
            yield from numbers(one)
    elif isinstance(value, list):
        for one in value:
            yield from numbers(one)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)


def sections(card: Path) -> Iterator[tuple[str, list[str]]]:
    """Text of each section that names results, and their names."""
    text = card.read_text("utf-8")
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        names = [n for n in _NAMED.findall(part) if (RESULTS / f"{n}.json").is_file()]
        if names:
            # A script may file several results: continuations_test, continuations_presets.
            for script in re.findall(r"`benchmarks/(\w+)\.py`", part):
                names += [path.stem for path in RESULTS.glob(f"{script}_*.json")]
            yield part, names


def stale(part: str, names: list[str]) -> list[str]:
    """Numbers with decimals in the tables of a section that no named result holds."""
    files = [json.loads((RESULTS / f"{name}.json").read_text("utf-8")) for name in names]
    known = list(numbers(files))
    missing = []
    for line in part.splitlines():
        if not line.startswith("|") or "published" in line:
            continue
        # The first cell says what is measured, the others how it came out.
        cells = line.strip("|").partition("|")[2]
        for text in re.findall(r"(?<![\w.])-?\d+\.\d+(?![\w.])", cells):
            digits = len(text.partition(".")[2])
            near = 0.5001 * 10.0**-digits
            wanted = float(text)
            if not any(abs(x * scale - wanted) <= near for x in known for scale in (1, 100)):
                missing.append(f"{text} in {line[:80]}")
    return missing


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.parent.name)
def test_tables_of_a_card_stand_in_its_results(card: Path) -> None:
    found = list(sections(card))
    assert found, "a card names the results that its figures come from"
    for part, names in found:
        assert stale(part, names) == [], part.splitlines()[0]


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.parent.name)
def test_results_that_a_card_names_are_there(card: Path) -> None:
    for name in re.findall(r"`benchmarks/results/([\w.-]+)`", card.read_text("utf-8")):
        assert (RESULTS / name).is_file(), name


def test_a_wrong_figure_is_noticed() -> None:
    (card,) = (one for one in CARDS if one.parent.name == "small-conditioned")
    (part, names), *_ = sections(card)
    assert "0.65 (0.57" in part
    assert stale(part.replace("0.65 (0.57", "0.6543 (0.57"), names)


def test_figures_of_the_page_come_from_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(measured.__file__).resolve().parents[1] / "measured.md"
    text = page.read_text("utf-8")
    assert measured.with_tables(text) == text
    changed = json.loads((RESULTS / "read_speed.json").read_text("utf-8"))["figures"]
    changed["readers"]["symusic"]["files_per_s"] = 9_999.0
    monkeypatch.setattr(
        measured,
        "_figures",
        lambda name, known=measured._figures: changed if name == "read_speed" else known(name),
    )
    assert "symusic 9,999" in measured.with_tables(text)
