"""What a release is installed from is pinned, hashed, tested and listed."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
RELEASE = (ROOT / "requirements" / "release.txt").read_text("utf8")
PINS = dict(re.findall(r"^([\w.-]+)==([\w.]+)", RELEASE, re.MULTILINE))


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_package_has_hashes_and_no_address() -> None:
    blocks = re.split(r"^(?=[\w.-]+==)", RELEASE, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(PINS) > 20
    for block in blocks:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), block.splitlines()[0]
    assert "://" not in RELEASE


def test_what_is_tested_is_what_is_released() -> None:
    lines = re.findall(
        r"^([\w.-]+)==([\w.]+)$", (ROOT / "constraints.txt").read_text("utf8"), re.MULTILINE
    )
    tested = {plain(name): version for name, version in lines}
    assert {name: tested.get(plain(name)) for name in PINS} == PINS


def test_the_core_is_in_it_and_nothing_of_the_extras() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]
    wanted = {plain(re.split(r"[<>=]", line)[0]) for line in project["dependencies"]}
    assert wanted <= {plain(name) for name in PINS}
    assert not {"torch", "fastapi", "pytest"} & {plain(name) for name in PINS}


def test_the_list_names_the_same_packages() -> None:
    found = json.loads((ROOT / "requirements" / "sbom.cdx.json").read_text("utf8"))
    assert found["bomFormat"] == "CycloneDX"
    listed = {plain(c["name"]): c["version"] for c in found["components"]}
    assert listed == {plain(name): version for name, version in PINS.items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]
    assert found["metadata"]["component"]["version"] == project["version"]
