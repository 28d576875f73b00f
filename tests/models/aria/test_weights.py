"""The file that narrow weights are kept in: same bits as made anew, and never trusted blindly."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from arietta.checkpoints.tensors import write_tensors
from arietta.models.aria import checkpoint as aria_checkpoint
from arietta.models.aria import weights
from arietta.models.aria.config import AriaConfig
from arietta.models.aria.openvino import OpenVinoBackend
from arietta.models.aria.weights import Layout, make, open_weights
from arietta.paths import cache_dir

CONFIG = AriaConfig(d_model=32, n_heads=2, n_layers=2, vocab_size=2565, max_seq_len=64)


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> aria_checkpoint.LoadedCheckpoint:
    monkeypatch.setenv("ARIETTA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(weights, "_CACHED_PARAMETERS", 0)
    rng = np.random.default_rng(0)
    tensors = {
        name: rng.standard_normal(shape).astype(np.float32)
        for name, shape in CONFIG.tensor_shapes().items()
    }
    aria_checkpoint.save(tmp_path / "model", CONFIG, tensors, name="tiny")
    return aria_checkpoint.load(tmp_path / "model")


def kept_file() -> Path:
    (file,) = (cache_dir() / "weights").glob("*.weights")
    return file


@pytest.mark.parametrize("layout", ["rows", "tiles"])
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_kept_equals_made(
    checkpoint: aria_checkpoint.LoadedCheckpoint, precision: weights.Precision, layout: Layout
) -> None:
    made = dict(make(checkpoint, precision, layout))
    for _ in range(2):  # written, then read
        kept = open_weights(checkpoint, precision, layout).arrays
        assert kept.keys() == made.keys()
        for name, array in made.items():
            np.testing.assert_array_equal(kept[name], array)
            assert kept[name].dtype == array.dtype
    assert kept_file().stat().st_size > 0


def flip_a_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[5_000] ^= 4  # in the first array, which starts at 4096
    file.write_bytes(data)


def cut_the_end(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def spoil_the_index(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data[:-30] + b"x" * 14 + data[-16:])


def empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("damage", [flip_a_bit, cut_the_end, spoil_the_index, empty])
def test_damage_is_noticed_and_mended(
    checkpoint: aria_checkpoint.LoadedCheckpoint, damage: Callable[[Path], None]
) -> None:
    sound = dict(make(checkpoint, "int8", "tiles"))
    open_weights(checkpoint, "int8", "tiles")
    file = kept_file()
    whole = file.read_bytes()
    damage(file)
    again = open_weights(checkpoint, "int8", "tiles").arrays
    for name, array in sound.items():
        np.testing.assert_array_equal(again[name], array)
    assert kept_file().read_bytes() == whole


def test_a_changed_checkpoint_is_packed_again(checkpoint: aria_checkpoint.LoadedCheckpoint) -> None:
    before = open_weights(checkpoint, "int8", "rows").arrays["head"].copy()
    tensors = {name: -checkpoint.tensors[name] for name in checkpoint.tensors}
    write_tensors(checkpoint.path, tensors, overwrite=True)
    fresh = aria_checkpoint.load_file(checkpoint.path)
    after = open_weights(fresh, "int8", "rows").arrays["head"]
    np.testing.assert_array_equal(after, -before)


def test_a_cache_that_cannot_be_written_only_costs_time(
    checkpoint: aria_checkpoint.LoadedCheckpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("ARIETTA_HOME", str(blocked))
    kept = open_weights(checkpoint, "int8", "tiles").arrays
    np.testing.assert_array_equal(kept["head"], dict(make(checkpoint, "int8", "tiles"))["head"])


def test_nothing_is_left_behind_when_writing_fails(tmp_path: Path) -> None:
    def arrays() -> weights.Iterator[tuple[str, np.ndarray]]:
        yield "one", np.zeros(10)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        weights.write_arrays(tmp_path / "x.weights", {}, arrays())
    assert not list(tmp_path.iterdir())


def test_int8_in_the_checkpoint_is_taken_as_it_is(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    tensors = {
        name: rng.standard_normal(shape).astype(np.float32)
        for name, shape in CONFIG.tensor_shapes().items()
    }
    aria_checkpoint.save(tmp_path / "model", CONFIG, tensors, name="tiny", stored="int8")
    checkpoint = aria_checkpoint.load(tmp_path / "model")
    pair = checkpoint.tensors.packed("lm_head.weight")
    assert pair is not None
    head = open_weights(checkpoint, "int8", "rows").head(0, CONFIG.vocab_size)
    np.testing.assert_array_equal(head.data, pair[0])
    assert head.scale is not None
    np.testing.assert_array_equal(head.scale[:, 0], pair[1])


def test_a_mapped_file_gives_its_memory_back(checkpoint: aria_checkpoint.LoadedCheckpoint) -> None:
    kept = open_weights(checkpoint, "int8", "rows")
    assert kept.mapped
    before = {name: array.copy() for name, array in kept.arrays.items()}
    kept.release()
    for name, array in kept.arrays.items():
        np.testing.assert_array_equal(array, before[name])


def test_a_graph_of_mapped_weights(checkpoint: aria_checkpoint.LoadedCheckpoint) -> None:
    ids = np.arange(20)[None]
    found = OpenVinoBackend(checkpoint, "int8").new_session().append(ids)
    again = OpenVinoBackend(checkpoint, "int8").new_session().append(ids)
    np.testing.assert_array_equal(found, again)
    exact = OpenVinoBackend(checkpoint, "f32").new_session().append(ids)
    assert np.sqrt(((found - exact) ** 2).mean() / (exact**2).mean()) < 0.05


@pytest.mark.parametrize("mapped", [True, False])
def test_a_flipped_bit_in_any_array_is_refused(tmp_path: Path, mapped: bool) -> None:
    file, key = tmp_path / "a.weights", {"made": "for this"}
    arrays = {"a": np.arange(6, dtype=np.int8), "b": np.arange(5, dtype=np.float32)}
    weights.write_arrays(file, key, iter(arrays.items()))
    kept = weights.read_arrays(file, key, mapped=mapped)
    assert kept is not None
    for name, wanted in arrays.items():
        np.testing.assert_array_equal(kept[0][name], wanted)
    assert weights.read_arrays(file, {"made": "for that"}, mapped=mapped) is None
    whole = file.read_bytes()
    for array in arrays.values():
        at = whole.index(array.tobytes())
        for bit in (0, 8 * array.nbytes - 1):
            flipped = bytearray(whole)
            flipped[at + bit // 8] ^= 1 << bit % 8
            file.write_bytes(flipped)
            assert weights.read_arrays(file, key, mapped=mapped) is None, (at, bit)


def test_a_checkpoint_of_the_same_size_is_known_by_its_time(
    checkpoint: aria_checkpoint.LoadedCheckpoint,
) -> None:
    open_weights(checkpoint, "int8", "rows")
    state = checkpoint.path.stat()
    before = kept_file().read_bytes()
    data = bytearray(checkpoint.path.read_bytes())
    data[-4:] = np.float32(3).tobytes()
    checkpoint.path.write_bytes(data)
    assert checkpoint.path.stat().st_size == state.st_size
    os.utime(checkpoint.path, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    fresh = aria_checkpoint.load_file(checkpoint.path)
    made = dict(make(fresh, "int8", "rows"))
    for name, array in open_weights(fresh, "int8", "rows").arrays.items():
        np.testing.assert_array_equal(array, made[name])
    assert kept_file().read_bytes() != before
