"""Where the golden checkpoints lie."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def aria_model_dir(golden_dir: Path) -> Path:
    """Random checkpoints in the public form with what the public code makes of them."""
    return golden_dir / "aria" / "model"
