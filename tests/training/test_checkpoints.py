"""States that were damaged are refused, and a folder has one training at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from arietta.errors import CheckpointError, OutputError
from arietta.training import checkpoints
from arietta.training.checkpoints import held_run, load_state, save_state, saved_states


class OneProcess:
    """Saves a little file in the place of weights."""

    rank, world, is_main, sharded = 0, 1, True, False

    def wait(self) -> None:
        pass

    def save_state(self, folder: Path) -> None:
        (folder / "deeper").mkdir()
        (folder / "model.bin").write_bytes(bytes(range(64)))
        (folder / "deeper" / "shard.bin").write_bytes(b"weights")

    def load_state(self, folder: Path) -> None:
        assert (folder / "model.bin").is_file()


PROGRESS = {"step": 3, "tokens": 12}
POSITIONS = {0: {"piece": 7}, 1: {"piece": 9}}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    save_state(tmp_path, OneProcess(), PROGRESS, POSITIONS, 2)  # type: ignore[arg-type]
    return tmp_path


def load(run: Path) -> Any:
    return load_state(run, OneProcess())  # type: ignore[arg-type]


def test_what_was_saved_is_loaded(run: Path) -> None:
    assert load(run) == (PROGRESS, POSITIONS)


def test_a_flipped_bit_in_any_file_is_refused_in_one_line(run: Path) -> None:
    (state,) = saved_states(run)
    files = sorted(path for path in state.rglob("*") if path.is_file())
    assert {path.name for path in files} == {
        "checksums.json", "model.bin", "progress.json", "shard.bin", "streams-0.json",
    }  # fmt: skip
    for path in files:
        whole = path.read_bytes()
        for at in range(0, len(whole) * 8, 13):
            flipped = bytearray(whole)
            flipped[at // 8] ^= 1 << at % 8
            path.write_bytes(flipped)
            with pytest.raises(CheckpointError, match="step-00000003: this state is damaged") as e:
                load(run)
            assert "\n" not in str(e.value) and "delete the folder" in str(e.value)
        path.write_bytes(whole)
    assert load(run) == (PROGRESS, POSITIONS)


def test_a_missing_and_a_strange_file_are_refused(run: Path) -> None:
    (state,) = saved_states(run)
    (state / "strange.bin").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"strange\.bin"):
        load(run)
    (state / "strange.bin").unlink()
    (state / "deeper" / "shard.bin").unlink()
    with pytest.raises(CheckpointError, match=r"deeper/shard\.bin"):
        load(run)


def test_processes_share_the_files_and_all_refuse(run: Path) -> None:
    (state,) = saved_states(run)
    (state / "model.bin").write_bytes(b"torn")
    found = [checkpoints._damaged(state, rank, 3) for rank in range(3)]
    assert sorted(name for part in found for name in part) == ["model.bin"]

    class OneOfThree(OneProcess):
        rank, world, device = found.index([]), 3, "cpu"

        def total(self, value: Any) -> Any:
            return value + 1  # what another process found

    with pytest.raises(CheckpointError, match="1 of its files"):
        load_state(run, OneOfThree())  # type: ignore[arg-type]


def test_a_state_from_before_there_were_checksums_is_loaded(run: Path) -> None:
    (state,) = saved_states(run)
    (state / checkpoints.CHECKSUMS).unlink()
    assert load(run) == (PROGRESS, POSITIONS)


def test_the_second_training_in_a_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fcntl")
    run = tmp_path / "deep" / "run"
    with held_run(run):
        with pytest.raises(OutputError, match="run: another process is training here"):
            held_run(run).__enter__()
        monkeypatch.setenv("RANK", "1")  # another process of the same training
        with held_run(run):
            pass
    monkeypatch.delenv("RANK")
    with held_run(run):
        pass
    assert not list(run.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be made"):
        held_run(tmp_path / "file").__enter__()


def test_checksums_are_sha256(run: Path) -> None:
    import hashlib

    (state,) = saved_states(run)
    found = json.loads((state / checkpoints.CHECKSUMS).read_text())
    assert found["deeper/shard.bin"] == hashlib.sha256(b"weights").hexdigest()
