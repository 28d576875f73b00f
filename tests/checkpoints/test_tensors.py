"""Safetensors files: every stored type, laziness, damage, writing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from arietta.checkpoints.tensors import (
    CheckpointTensors,
    TensorFile,
    quantise_rows,
    stored_type,
    to_bfloat16,
    widen,
    write_tensors,
)
from arietta.errors import CheckpointError, OutputError, UsageError

RNG = np.random.default_rng(0)
SOME = {
    "a.weight": RNG.standard_normal((5, 8)).astype(np.float32),
    "b.bias": RNG.standard_normal(7).astype(np.float32),
    "empty": np.zeros((0, 4), np.float32),
}


def test_reads_what_the_library_writes(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    tensors = {**SOME, "half": SOME["b.bias"].astype(np.float16), "wide": np.arange(3.0)}
    save_file(tensors, path)
    found = CheckpointTensors(TensorFile(path))
    assert set(found) == set(tensors) and len(found) == 5
    for name, wanted in tensors.items():
        assert found[name].dtype == np.float32 and found.shape(name) == wanted.shape
        np.testing.assert_array_equal(found[name], wanted.astype(np.float32))


@pytest.mark.parametrize("stored", ["float32", "float16", "bfloat16", "int8"])
def test_writes_what_the_library_reads(tmp_path: Path, stored) -> None:
    path = tmp_path / "x.safetensors"
    write_tensors(path, SOME, stored=stored)
    with safe_open(path, "numpy") as file:
        names = set(file.keys())
    ours = CheckpointTensors(TensorFile(path))
    assert ours.stored_type() == stored
    if stored == "int8":
        assert names == {"a.weight.int8", "a.weight.scale", "b.bias", "empty.int8", "empty.scale"}
    else:
        assert names == set(SOME)
    error = {"float32": 0, "float16": 2e-3, "bfloat16": 2e-2, "int8": 2e-2}[stored]
    for name, wanted in SOME.items():
        np.testing.assert_allclose(ours[name], wanted, atol=error)
    assert (path.stat().st_mode & 0o777) == (0o666 & ~_umask())


def _umask() -> int:
    import os

    mask = os.umask(0)
    os.umask(mask)
    return mask


@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=30)
)
def test_bfloat16_rounds_to_nearest(values: list[float]) -> None:
    x = np.array(values, np.float32)
    near = widen(to_bfloat16(x), "BF16")
    finite = np.isfinite(near)  # the largest numbers round to infinity
    near, x = near[finite], x[finite]
    assert (np.abs(near - x) <= np.abs(x) * 2**-8 + 1e-38).all()
    np.testing.assert_array_equal(widen(to_bfloat16(near), "BF16"), near)


def test_bfloat16_agrees_with_torch() -> None:
    torch = pytest.importorskip("torch")
    bits = RNG.integers(0, 2**32, 20_000, dtype=np.uint32)
    x = bits.view(np.float32)
    wanted = torch.from_numpy(x.copy()).bfloat16().view(torch.int16).numpy().view(np.uint16)
    ours = to_bfloat16(x)
    number = ~np.isnan(x)
    np.testing.assert_array_equal(ours[number], wanted[number])
    assert np.isnan(widen(ours[~number], "BF16")).all()


def test_quantising_twice_changes_nothing() -> None:
    x = RNG.standard_normal((40, 64)).astype(np.float32)
    x[3] = 0
    q, scale = quantise_rows(x)
    again, _ = quantise_rows(q * scale[:, None])
    np.testing.assert_array_equal(q, again)
    assert np.abs(q * scale[:, None] - x).max() <= scale.max() / 2 + 1e-7


def test_int8_is_handed_through_unchanged(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a.safetensors", SOME, stored="int8")
    first = CheckpointTensors(TensorFile(tmp_path / "a.safetensors"))
    write_tensors(tmp_path / "b.safetensors", first, stored="int8")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    packed = first.packed("a.weight")
    assert packed is not None and first.packed("b.bias") is None
    np.testing.assert_array_equal(packed[0] * packed[1][:, None], first["a.weight"])


def damaged(path: Path, how: str) -> None:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    if how == "empty":
        data = b""
    elif how == "short":
        data = data[:5]
    elif how == "header length":
        data = (2**40).to_bytes(8, "little") + data[8:]
    elif how == "header text":
        data = data[:8] + b"x" * length + data[8 + length :]
    elif how == "header list":
        data = data[:8] + b"[]".ljust(length) + data[8 + length :]
    elif how == "truncated":
        data = data[:-3]
    elif how == "text":
        data = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n"
    else:
        entry = header["a.weight"]
        if how == "shape":
            entry["shape"] = [5, 9]
        elif how == "negative":
            entry["shape"] = [-5, -8]
        elif how == "offsets":
            entry["data_offsets"] = [10]
        elif how == "beyond":
            entry["data_offsets"] = [n + 10**6 for n in entry["data_offsets"]]
        elif how == "type":
            entry["dtype"] = "I64"
        text = json.dumps(header).encode()
        data = len(text).to_bytes(8, "little") + text + data[8 + length :]
    path.write_bytes(data)


@pytest.mark.parametrize(
    "how",
    [
        "empty", "short", "header length", "header text", "header list", "truncated", "text",
        "shape", "negative", "offsets", "beyond", "type",
    ],
)  # fmt: skip
def test_damage_is_named_in_one_line(tmp_path: Path, how: str) -> None:
    path = tmp_path / "x.safetensors"
    write_tensors(path, SOME)
    damaged(path, how)
    with pytest.raises(CheckpointError, match=r"x\.safetensors") as caught:
        TensorFile(path)
    assert "\n" not in str(caught.value)


@given(st.integers(0, 2**32 - 1))
def test_any_flipped_byte_is_read_or_refused(tmp_path_factory, seed: int) -> None:
    rng = np.random.default_rng(seed)
    path = tmp_path_factory.getbasetemp() / "flip.safetensors"
    write_tensors(path, SOME, overwrite=True)
    data = bytearray(path.read_bytes())
    for _ in range(int(rng.integers(1, 4))):
        data[int(rng.integers(len(data)))] = int(rng.integers(256))
    path.write_bytes(data)
    try:
        tensors = CheckpointTensors(TensorFile(path))
        assert all(tensors[name] is not None for name in tensors)
    except CheckpointError:
        pass


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        TensorFile(tmp_path / "none.safetensors")
    (tmp_path / "x.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match="pickled"):
        TensorFile(tmp_path / "x.pt")
    save_file({"x.int8": np.zeros((2, 3), np.int8)}, tmp_path / "i.safetensors")
    with pytest.raises(CheckpointError, match=r"x\.scale"):
        CheckpointTensors(TensorFile(tmp_path / "i.safetensors"))
    save_file(
        {"x.int8": np.zeros((2, 3), np.int8), "x.scale": np.zeros(3, np.float32)},
        tmp_path / "j.safetensors",
    )
    with pytest.raises(CheckpointError, match="do not fit"):
        CheckpointTensors(TensorFile(tmp_path / "j.safetensors"))
    save_file({"x": np.zeros((2, 3), np.int8)}, tmp_path / "k.safetensors")
    with pytest.raises(CheckpointError, match="not as floats"):
        CheckpointTensors(TensorFile(tmp_path / "k.safetensors"))
    with pytest.raises(UsageError, match="bfloat16"):
        stored_type("int3")


def test_writing_never_leaves_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_tensors(path, SOME)
    before = path.read_bytes()
    with pytest.raises(OutputError, match="exists"):
        write_tensors(path, SOME)
    bad = {**SOME, "c": np.array([1.0, np.nan], np.float32)}
    with pytest.raises(CheckpointError, match="not finite"):
        write_tensors(path, bad, overwrite=True)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]
    with pytest.raises(OutputError):
        write_tensors(tmp_path / "nowhere" / "x.safetensors", SOME)


@pytest.mark.parametrize("missing", [1, 2, 28])
def test_a_file_that_ends_too_early_says_by_how_much(tmp_path: Path, missing: int) -> None:
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"b.bias": SOME["b.bias"]})
    whole = path.read_bytes()
    TensorFile(path)
    path.write_bytes(whole[:-missing])
    with pytest.raises(CheckpointError, match=f"ends {missing} bytes before tensor b.bias"):
        TensorFile(path)


@pytest.mark.parametrize("off", [-1, 1])
def test_a_header_that_claims_more_than_the_file_holds(tmp_path: Path, off: int) -> None:
    path = tmp_path / "x.safetensors"
    text = b"{}"
    path.write_bytes((len(text)).to_bytes(8, "little") + text)
    assert TensorFile(path).names == ()  # as long as the rest of the file is allowed
    path.write_bytes((len(text) + off).to_bytes(8, "little") + text)
    what = "claims a header of 3 bytes" if off > 0 else "not JSON"
    with pytest.raises(CheckpointError, match=what):
        TensorFile(path)


@pytest.mark.parametrize(
    ("shape", "offsets"),
    [([7], [0, 27]), ([7], [0, 29]), ([8], [0, 28]), ([7], [4, 28]), ([7], [-4, 24])],
)
def test_the_size_of_a_tensor_is_that_of_its_shape(
    tmp_path: Path, shape: list[int], offsets: list[int]
) -> None:
    path = tmp_path / "x.safetensors"
    header = {"a": {"dtype": "F32", "shape": shape, "data_offsets": offsets}}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(64))
    with pytest.raises(CheckpointError, match="tensor a contradicts its shape"):
        TensorFile(path)
