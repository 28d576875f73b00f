"""Where checkpoints are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from arietta.checkpoints.registry import locate


def test_the_model_of_a_run_is_found_in_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "mine" / "model"
    inner.mkdir(parents=True)
    (inner / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert locate("mine")[0] == Path("mine/model")
    assert locate(tmp_path / "mine")[0] == inner
    assert locate(inner)[0] == inner
