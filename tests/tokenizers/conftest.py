from __future__ import annotations

from pathlib import Path

import pytest

from tests.tokenizers.golden import Golden


@pytest.fixture(params=["repository", "shared"])
def golden(request: pytest.FixtureRequest, golden_dir: Path) -> Golden:
    """Golden data in the repository; all of it where it lies beside the checkout."""
    if request.param == "repository":
        return Golden(golden_dir / "aria")
    return Golden(request.getfixturevalue("shared_dir") / "golden" / "aria")
