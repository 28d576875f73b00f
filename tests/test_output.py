from __future__ import annotations

import os
from pathlib import Path

import pytest

from arietta.errors import OutputError
from arietta.output import check_output, whole_file


def test_the_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "Étude 練習.mid"
    with whole_file(target) as part:
        assert part.suffix == ".mid"
        part.write_bytes(b"x")
        assert not target.exists()
    assert target.read_bytes() == b"x"
    mask = os.umask(0)
    os.umask(mask)
    assert target.stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), whole_file(tmp_path / "a") as part:
        part.write_bytes(b"half")
        raise error
    assert not list(tmp_path.iterdir())


def test_a_file_that_came_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "a"
    with pytest.raises(OutputError, match="exists already"), whole_file(target) as part:
        part.write_bytes(b"new")
        target.write_bytes(b"theirs")
    assert target.read_bytes() == b"theirs"
    assert len(list(tmp_path.iterdir())) == 1


def test_refusals(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(OutputError, match="`force=True`"):
        check_output(tmp_path / "a")
    assert check_output(tmp_path / "a", force=True) == tmp_path / "a"
    with pytest.raises(OutputError, match="is a directory"):
        check_output(tmp_path)
    with pytest.raises(OutputError, match="make it first"):
        check_output(tmp_path / "no" / "a")
