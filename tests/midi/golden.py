"""The golden MIDI files, in the repository and beside the checkout."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def golden_files(folder: Path) -> Iterator[tuple[str, bytes, dict[str, Any]]]:
    """Name, bytes and expectations of every file of a golden folder."""
    for path in sorted((folder / "midi").glob("*.mid")):
        packed = folder / "tokens" / f"{path.stem}.json.gz"
        if packed.exists():
            text = gzip.decompress(packed.read_bytes())
        else:
            text = (folder / "tokens" / f"{path.stem}.json").read_bytes()
        yield path.stem, path.read_bytes(), json.loads(text)
