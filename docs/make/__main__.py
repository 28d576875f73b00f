"""Write the generated pages, or name the stale ones."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from docs.make import api, commands, dataset, measured, models

ROOT = Path(__file__).resolve().parents[2]


def pages() -> dict[Path, str]:
    """Every generated file -> what it should hold."""
    readme, figures = ROOT / "README.md", ROOT / "docs/measured.md"
    return {
        ROOT / "docs/reference/commands.md": commands.page(),
        ROOT / "docs/reference/api.md": api.page(),
        ROOT / "docs/reference/dataset.md": dataset.page(),
        ROOT / "docs/reference/models.md": models.page(),
        **{ROOT / f"docs/models/{name}.md": models.card(name) for name in models.shipped()},
        figures: measured.with_tables(figures.read_text(encoding="utf-8")),
        readme: models.with_table(readme.read_text(encoding="utf-8")),
    }


def stale() -> list[Path]:
    """Return the generated files that differ from what they should hold."""
    return [
        path
        for path, text in pages().items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]


def main() -> int:
    """Write what is stale, or with ``--check`` only name it; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m docs.make")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if stale")
    check = parser.parse_args().check
    made = pages()
    found = stale()
    for path in found:
        print(f"{'stale' if check else 'wrote'}: {path.relative_to(ROOT)}")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(made[path], encoding="utf-8")
    if check and found:
        print("run: python -m docs.make")
    return int(check and bool(found))


if __name__ == "__main__":
    sys.exit(main())
