"""Every directory Arietta touches outside the files it is given."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """Where quantised weights and pulled checkpoints are kept; created on first use by its writer.

    ``ARIETTA_HOME`` moves it; the default is ``~/.cache/arietta``.
    """
    home = os.environ.get("ARIETTA_HOME")
    return Path(home).expanduser() if home else Path.home() / ".cache" / "arietta"


def assets_dir() -> Path:
    """Return the folder of files that ship with the package: models, piano bank, prompts."""
    return Path(__file__).resolve().parent / "assets"
