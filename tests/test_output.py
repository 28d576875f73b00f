from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from arietta.errors import OutputError
from arietta.output import check_output, held, whole_file


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


HOLD = """
import sys, time
from pathlib import Path
from arietta.output import held
with held(Path(sys.argv[1]), "busy"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_is_held_by_one_process_and_freed_when_it_dies(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    lock = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(OutputError, match=r"^busy$"), held(lock, "busy"):
            raise AssertionError("two hold it")
        other.kill()
        other.wait()
    assert lock.exists()  # left behind, and in nobody's way
    with held(lock, "busy"), pytest.raises(OutputError, match="busy"), held(lock, "busy"):
        raise AssertionError("two hold it")
    assert not lock.exists()


def test_a_lock_whose_file_was_taken_away_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")
    lock = tmp_path / "lock"
    monkeypatch.setattr(fcntl, "flock", lambda *_: lock.unlink())  # its holder ends just now
    with pytest.raises(OutputError, match="busy"), held(lock, "busy"):
        raise AssertionError("it locked a file that nobody else can see")


def test_file_systems_without_locks_refuse_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    fcntl = pytest.importorskip("fcntl")

    def none_here(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none_here)
    with held(tmp_path / "lock", "busy"):
        pass
    with pytest.raises(OutputError, match="cannot be written"), held(tmp_path / "a" / "b", "busy"):
        pass
