"""The page of the studio: all of it is served, and it asks for nothing from elsewhere."""

from __future__ import annotations

import re
from urllib.parse import urljoin, urlsplit

import pytest

from arietta.paths import assets_dir
from arietta.server.app import STATIC

BUILT = sorted(path.name for path in STATIC.iterdir())


@pytest.mark.parametrize("name", BUILT)
def test_a_built_file_is_served_as_it_is(running, name: str) -> None:
    status, data, headers = running.ask("GET", f"/{name}")
    assert status == 200 and data == (STATIC / name).read_bytes()
    if name.endswith(".js"):
        assert headers.get_content_type() == "text/javascript"


def test_the_piano_bank_is_the_shipped_one(running) -> None:
    status, data, _ = running.ask("GET", "/piano.sf3")
    assert status == 200 and data == (assets_dir() / "piano.sf3").read_bytes()


def test_what_the_page_names_lies_beside_it() -> None:
    html = (STATIC / "index.html").read_text("utf-8")
    css = "".join(path.read_text("utf-8") for path in STATIC.glob("*.css"))
    named = re.findall(r'(?:src|href)="([^"]+)"', html) + re.findall(r"url\(([^)]+)\)", css)
    assert len(named) >= 4
    for address in named:
        parts = urlsplit(urljoin("http://studio/", address))
        assert parts.netloc == "studio" and parts.path[1:] in BUILT


def test_no_source_map_is_shipped() -> None:
    assert not [name for name in BUILT if name.endswith(".map")]
