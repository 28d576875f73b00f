"""Safetensors files: read lazily from a memory map, written as a stream.

Our own reader because the library's numpy front end knows no bf16 and answers damaged files with
messages that name no file. Layout: 8 bytes little-endian header length, a JSON header
``{name: {dtype, shape, data_offsets}}``, then the data.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast, get_args

import numpy as np
import numpy.typing as npt

from arietta.arrays import Float32Array, Int8Array, Uint8Array, Uint16Array
from arietta.errors import CheckpointError, UsageError
from arietta.output import check_output, whole_file

Shape = tuple[int, ...]
StoredType = Literal["float32", "bfloat16", "float16", "int8"]
"""How the matrices of a checkpoint are stored; vectors (norms) are float32 beside int8."""


def stored_type(text: str) -> StoredType:
    """Check a name from the outside as a ``StoredType``.

    Raises:
        UsageError: there is no such type.
    """
    for known in get_args(StoredType):
        if text == known:
            return cast(StoredType, known)
    raise UsageError(
        f"weights cannot be stored as {text!r}; choose {', '.join(get_args(StoredType))}"
    )


# bf16 has no numpy type; its bits travel as uint16.
_STORED: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "I8": np.dtype("i1"),
}
_FLOATS = ("F64", "F32", "F16", "BF16")
_MAX_HEADER_BYTES = 64 << 20


@dataclass(frozen=True)
class _Entry:
    dtype: str
    shape: Shape
    begin: int
    end: int


def widen(stored: npt.NDArray[Any], dtype: str) -> Float32Array:
    """Decode stored numbers of one safetensors type as float32; float32 itself is not copied."""
    if dtype == "BF16":
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return np.asarray(stored, np.float32)


def to_bfloat16(x: Float32Array) -> Uint16Array:
    """Return the bits of x rounded to bf16, ties to even; NaN stays NaN."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
    return np.where(np.isnan(x), np.uint16(0x7FC0), rounded.astype(np.uint16))


def quantise_rows(x: Float32Array) -> tuple[Int8Array, Float32Array]:
    """Symmetric int8 with one scale a row: x ≈ q * scale[:, None].

    Args:
        x: (out, in).

    Returns:
        q (out, in) in -127..127, scale (out,) > 0. Quantising the product again gives the same q.
    """
    scale = np.abs(x).max(axis=1) / np.float32(127)
    scale = np.where(scale > 0, scale, np.float32(1)).astype(np.float32)
    return np.rint(x / scale[:, None]).astype(np.int8), scale


class TensorFile:
    """One safetensors file, memory-mapped; a tensor is touched when it is asked for.

    Args:
        path: the file.

    Raises:
        CheckpointError: it is missing, unreadable, truncated or not safetensors.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.suffix in {".bin", ".pt", ".pth", ".ckpt"}:
            raise CheckpointError(
                f"{path}: pickled checkpoints are not opened, they can run code;"
                " save it as .safetensors first"
            )
        try:
            with path.open("rb") as file:
                self._size = os.fstat(file.fileno()).st_size
                self._entries, self._data_start = self._read_header(file)
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
        # A zero-byte data part cannot be mapped.
        self._map: Uint8Array | None = None

    def _damaged(self, what: str) -> CheckpointError:
        return CheckpointError(
            f"{self.path}: damaged or not a safetensors file ({what}); fetch or convert it again"
        )

    def _read_header(self, file: BinaryIO) -> tuple[dict[str, _Entry], int]:
        head = file.read(8)
        if len(head) < 8:
            raise self._damaged("shorter than its header")
        length = int.from_bytes(head, "little")
        if length > min(_MAX_HEADER_BYTES, self._size - 8):
            raise self._damaged(f"it claims a header of {length} bytes")
        try:
            header = json.loads(file.read(length).decode("utf-8"))
        except (ValueError, RecursionError):
            raise self._damaged("its header is not JSON") from None
        if not isinstance(header, dict):
            raise self._damaged("its header is not a table")
        header.pop("__metadata__", None)
        start = 8 + length
        entries = {name: self._read_entry(name, row, start) for name, row in header.items()}
        return entries, start

    def _read_entry(self, name: str, row: Any, start: int) -> _Entry:
        try:
            dtype, shape = str(row["dtype"]), tuple(int(n) for n in row["shape"])
            begin, end = (int(n) for n in row["data_offsets"])
        except (KeyError, TypeError, ValueError):
            raise self._damaged(f"no sound entry for tensor {name}") from None
        if dtype not in _STORED:
            known = ", ".join(_STORED)
            raise CheckpointError(
                f"{self.path}: tensor {name} is stored as {dtype}; known are {known}"
            )
        count = 1
        for n in shape:
            if n < 0:
                raise self._damaged(f"tensor {name} has shape {shape}")
            count *= n
        if begin < 0 or end - begin != count * _STORED[dtype].itemsize:
            raise self._damaged(f"the size of tensor {name} contradicts its shape {shape}")
        if start + end > self._size:
            raise self._damaged(f"it ends {start + end - self._size} bytes before tensor {name}")
        return _Entry(dtype, shape, begin, end)

    @property
    def names(self) -> tuple[str, ...]:
        """Tensor names as stored."""
        return tuple(self._entries)

    def shape(self, name: str) -> Shape:
        """Shape of one tensor, without reading it."""
        return self._entries[name].shape

    def dtype(self, name: str) -> str:
        """Return the stored type of one tensor: F32, BF16, F16, F64 or I8."""
        return self._entries[name].dtype

    def stored(self, name: str) -> npt.NDArray[Any]:
        """One tensor as stored, read-only; bf16 as its uint16 bits."""
        entry = self._entries[name]
        kind = _STORED[entry.dtype]
        if entry.begin == entry.end:
            return np.zeros(entry.shape, kind)
        if self._map is None:
            self._map = np.memmap(self.path, np.uint8, mode="r")
        begin, end = self._data_start + entry.begin, self._data_start + entry.end
        data = self._map[begin:end]
        if begin % kind.itemsize:  # the format allows it, a view does not
            data = data.copy()
        # A plain array, not a memmap subclass, which is slower in every later operation.
        return np.asarray(data).view(kind).reshape(entry.shape)

    def release(self) -> None:
        """Give back the memory of what was read so far; arrays that are still held stay valid."""
        # Mapped pages count as ours until the map goes, which it does with its last array.
        self._map = None


class CheckpointTensors(Mapping[str, Float32Array]):
    """Name -> float32 array of every tensor of a model, decoded when asked for.

    A matrix stored as int8 lies in the file as ``X.int8`` (out, in) and ``X.scale`` (out,); it is
    offered here as ``X``. ``packed`` gives the stored pair, so that nothing is quantised twice.

    Args:
        file: where the tensors lie.
        names: our name -> stored name; the names as stored by default.
    """

    def __init__(self, file: TensorFile, names: Mapping[str, str] | None = None) -> None:
        self.file = file
        self._names: list[str] = []  # in the order of the file
        self._plain: dict[str, str] = {}
        self._packed: dict[str, tuple[str, str]] = {}
        stored = dict(names) if names is not None else {n: n for n in file.names}
        for name, place in stored.items():
            if name.endswith(".int8"):
                stem = name.removesuffix(".int8")
                scale = stored.get(stem + ".scale")
                if scale is None:
                    raise CheckpointError(f"{file.path}: tensor {name} has no {stem}.scale")
                if (
                    file.dtype(place) != "I8"
                    or len(file.shape(place)) != 2
                    or file.shape(scale) != file.shape(place)[:1]
                ):
                    raise CheckpointError(
                        f"{file.path}: {name} {file.shape(place)} and {stem}.scale"
                        f" {file.shape(scale)} do not fit each other"
                    )
                self._packed[stem] = (place, scale)
        for name, place in stored.items():
            stem = name.removesuffix(".int8").removesuffix(".scale")
            if stem != name and stem in self._packed:
                if name.endswith(".int8"):
                    self._names.append(stem)
                continue
            if file.dtype(place) not in _FLOATS:
                raise CheckpointError(
                    f"{file.path}: tensor {name} is stored as {file.dtype(place)}, not as floats"
                )
            self._plain[name] = place
            self._names.append(name)

    def __getitem__(self, name: str) -> Float32Array:
        if name in self._packed:
            place, scale = self._packed[name]
            q, s = self.file.stored(place), self.file.stored(scale)
            return np.asarray(q * widen(s, self.file.dtype(scale))[:, None], np.float32)
        place = self._plain[name]
        return widen(self.file.stored(place), self.file.dtype(place))

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._plain or name in self._packed

    def shape(self, name: str) -> Shape:
        """Shape of one tensor, without reading it."""
        place = self._packed[name][0] if name in self._packed else self._plain[name]
        return self.file.shape(place)

    def packed(self, name: str) -> tuple[Int8Array, Float32Array] | None:
        """(q (out, in) int8, scale (out,) float32) of a matrix stored so, else None."""
        pair = self._packed.get(name)
        if pair is None:
            return None
        return self.file.stored(pair[0]), widen(self.file.stored(pair[1]), self.file.dtype(pair[1]))

    def release(self) -> None:
        """Give back the memory of what was read so far; arrays that are still held stay valid."""
        self.file.release()

    def stored_type(self) -> StoredType:
        """How the widest share of the tensors is stored."""
        if self._packed:
            return "int8"
        kinds = [self.file.dtype(place) for place in self._plain.values()]
        most = max(sorted(set(kinds)), key=kinds.count, default="F32")
        found: dict[str, StoredType] = {"BF16": "bfloat16", "F16": "float16"}
        return found.get(most, "float32")


_Writer = Callable[[], npt.NDArray[Any]]


def write_tensors(
    path: Path,
    tensors: Mapping[str, Float32Array],
    *,
    stored: StoredType = "float32",
    overwrite: bool = False,
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write a safetensors file, one tensor in memory at a time; never leaves half a file.

    Args:
        path: where to.
        tensors: name -> array; one that is lazy is read once.
        stored: how to store them. With ``int8`` every matrix becomes ``X.int8`` and ``X.scale``,
            vectors stay float32. Int8 in a ``CheckpointTensors`` is handed through unchanged.
        overwrite: whether an existing file is replaced.
        notes: text for the header.

    Raises:
        OutputError: the file exists, its directory does not, or the disk is full.
        CheckpointError: a value is not finite.
    """
    check_output(path, force=overwrite)
    plan: list[tuple[str, str, Shape, _Writer]] = []
    for name in tensors:
        plan += _plan_tensor(tensors, name, stored)
    header: dict[str, Any] = {"__metadata__": {"format": "pt", **(notes or {})}}
    at = 0
    for name, dtype, shape, _ in plan:
        size = int(np.prod(shape, dtype=np.int64)) * _STORED[dtype].itemsize
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # data aligned to 8 bytes, as the format asks

    with whole_file(path, force=overwrite) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for _, dtype, shape, read in plan:
            data = np.ascontiguousarray(read(), _STORED[dtype])
            assert data.shape == shape
            file.write(data.data)


def _plan_tensor(
    tensors: Mapping[str, Float32Array], name: str, stored: StoredType
) -> Sequence[tuple[str, str, Shape, _Writer]]:
    """Return the entries of one tensor: (stored name, type, shape, what gives the data)."""
    lazy = tensors if isinstance(tensors, CheckpointTensors) else None
    shape = lazy.shape(name) if lazy is not None else tuple(tensors[name].shape)

    def read() -> Float32Array:
        x = tensors[name]
        if not np.isfinite(x).all():
            raise CheckpointError(f"tensor {name} holds values that are not finite numbers")
        return x

    if stored == "int8" and len(shape) == 2:

        def pair() -> tuple[Int8Array, Float32Array]:
            ready = lazy.packed(name) if lazy is not None else None
            return ready if ready is not None else quantise_rows(read())

        return [
            (name + ".int8", "I8", shape, lambda: pair()[0]),
            (name + ".scale", "F32", shape[:1], lambda: pair()[1]),
        ]
    if stored == "bfloat16":
        return [(name, "BF16", shape, lambda: to_bfloat16(read()))]
    if stored == "float16":
        return [(name, "F16", shape, read)]
    return [(name, "F32", shape, read)]


def write_bytes(path: Path, data: bytes) -> None:
    """Write a small file, whole or not at all, over whatever is there.

    Raises:
        OutputError: see ``output.whole_file``.
    """
    with whole_file(path, force=True) as temporary:
        temporary.write_bytes(data)


def check_shapes(
    wanted: Mapping[str, Shape], shapes: Mapping[str, Shape], *, source: object
) -> None:
    """Compare tensors that are there with those that are wanted, by name and shape.

    Raises:
        CheckpointError: tensors are missing, of another shape, or not accounted for.
    """

    def some(names: Iterable[str]) -> str:
        ordered = sorted(names)
        more = f" and {len(ordered) - 3} more" if len(ordered) > 3 else ""
        return ", ".join(ordered[:3]) + more

    if missing := wanted.keys() - shapes.keys():
        raise CheckpointError(f"{source}: missing tensors {some(missing)}")
    if extra := shapes.keys() - wanted.keys():
        raise CheckpointError(f"{source}: tensors no part of the model uses: {some(extra)}")
    for name, shape in wanted.items():
        if tuple(shapes[name]) != shape:
            raise CheckpointError(
                f"{source}: tensor {name} has shape {tuple(shapes[name])},"
                f" the rest of the model asks for {shape}"
            )
