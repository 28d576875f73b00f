"""What every test may ask for."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.tiny_model import aria_model_dir, numpy_backend, tiny  # noqa: F401 (fixtures)

# Tests run on shared machines: how long an example takes says nothing about the code.
settings.register_profile(
    "arietta", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("arietta")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The reference material that lies beside a developer's checkout; without it the test skips."""
    path = ROOT.parent / "shared"
    if not path.is_dir():
        pytest.skip("needs the reference material beside the checkout")
    return path


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Golden data that is part of the repository."""
    return ROOT / "tests" / "golden"


@pytest.fixture(scope="session")
def prompts_dir() -> Path:
    """The prompts that ship with the package."""
    return ROOT / "arietta" / "assets" / "prompts"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the caches of a test run out of the user's own."""
    monkeypatch.setenv("ARIETTA_HOME", str(tmp_path_factory.getbasetemp() / "arietta-home"))
