"""A checkpoint's tensors in the form that an executor takes, kept on disk once they are made.

Making the narrow form of a big model takes seconds, reading it back less than one. The file it is
kept in lies under ``paths.cache_dir()/weights``; it is written whole or not at all, carries a
checksum of every array, and is made again when it is damaged, of another version, or when the
checkpoint has changed.

    file    MAGIC, then the arrays, each from a multiple of 4096 bytes on, then the index as JSON
            {key, arrays: {name: {dtype, shape, offset, crc}}}, its length as 8 bytes, MAGIC
"""

from __future__ import annotations

import json
import math
import mmap
import os
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from arietta.arrays import Float32Array, IntArray
from arietta.errors import CheckpointError
from arietta.models.aria.config import AriaConfig
from arietta.models.kernel.packing import (
    Packed,
    Precision,
    alternate,
    group_by_head,
    pack,
    tile,
)
from arietta.paths import cache_dir

Layout = Literal["rows", "tiles"]
"""``rows``: matrices as ``Packed``, for graphs. ``tiles``: as ``kernel/_vnni.c`` reads them."""

VERSION = 1
"""Raise it when what is made of a checkpoint changes."""
MAGIC = b"ARIETTAW"
_ALIGN = 4096
_CACHED_PARAMETERS = 32_000_000  # smaller models are made anew faster than a user notices
_PUBLIC = {
    "qkv": "mixed_qkv",
    "proj": "att_proj_linear",
    "gate": "ff_gate_proj",
    "up": "ff_up_proj",
    "down": "ff_down_proj",
}
Arrays = Mapping[str, NDArray[Any]]
Kept = tuple[Arrays, mmap.mmap | None]
"""Arrays of a weights file, and the mapping they lie in unless they were read."""


class Source(Protocol):
    """What is read of a checkpoint (``checkpoints.store.LoadedCheckpoint``)."""

    @property
    def config(self) -> AriaConfig:
        """Architecture settings."""

    @property
    def tensors(self) -> Mapping[str, Float32Array]:
        """Public name -> float32 array, read when asked for."""


class Weights:
    """Matrices, norms, embedding table and head of one checkpoint in one form.

    Args:
        config: architecture settings.
        precision: of the matrices.
        arrays: what ``make`` yields.
        mapped: the file that the arrays lie in, if they were not read into memory.

    Attributes:
        head_rows: rows of the head.
    """

    def __init__(
        self,
        config: AriaConfig,
        precision: Precision,
        arrays: Arrays,
        mapped: mmap.mmap | None = None,
    ) -> None:
        self._config = config
        self._mapped = mapped
        self._precision: Precision = precision
        self.arrays = arrays
        self._table = arrays["embedding"]
        self._table_scale = arrays.get("embedding.scale")
        self.head_rows = int(config.tensor_shapes()[f"{config.head}.weight"][0])

    @property
    def adapter(self) -> Float32Array:
        """(D, E) of a conditioned model.

        Raises:
            CheckpointError: the model takes no condition.
        """
        if not self._config.conditioned:
            raise CheckpointError("this model takes no condition vector; use a conditioned one")
        return self.arrays["adapter"]

    def embed(self, ids: NDArray[Any], waits: IntArray | None = None) -> Float32Array:
        """Rows of the embedding table: ids (...) -> (..., D).

        Args:
            ids: token ids.
            waits: (...) rows of the wait table to add, -1 for none.
        """
        rows: Float32Array = self._table[ids].astype(np.float32)
        if self._table_scale is not None:
            rows *= self._table_scale[ids][..., None]
        if waits is not None:
            timed = waits >= 0
            rows[timed] += self.arrays["wait_embedding"][waits[timed]]
        return rows

    def vector(self, name: str) -> Float32Array:
        """Scale or shift of a norm, under its public name."""
        return self.arrays[name]

    def matrix(self, name: str) -> Packed:
        """``layers.{i}.qkv | proj | gate | up | down``, the rows of qkv grouped by head."""
        return self._packed(name, slice(None))

    def head(self, low: int, high: int) -> Packed:
        """Rows low..high of the head."""
        return self._packed("head", slice(low, high))

    def wait_head(self) -> Packed:
        """Return the head of waits of a model that has one."""
        return self._packed("wait_head", slice(None))

    def _packed(self, name: str, rows: slice) -> Packed:
        data = self.arrays[name][rows]
        scale = self.arrays.get(f"{name}.scale")
        k = data.shape[1] * (2 if self._precision == "int4" else 1)
        return Packed(self._precision, (len(data), k), data, None if scale is None else scale[rows])

    @property
    def mapped(self) -> bool:
        """Whether the arrays lie in a mapped file."""
        return self._mapped is not None

    def release(self) -> None:
        """Give back the memory of mapped arrays; touched again, they come from the file again."""
        if self._mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._mapped.madvise(mmap.MADV_DONTNEED)

    def matrix_bytes(self) -> int:
        """Bytes of layer matrices and head: what one token has to read."""
        matrices = ("layers.", "head", "wait_head")
        return sum(x.nbytes for name, x in self.arrays.items() if name.startswith(matrices))


def open_weights(source: Source, precision: Precision, layout: Layout) -> Weights:
    """Return the weights of a checkpoint in one form, from disk where they are kept there.

    Args:
        source: settings and tensors; with a ``path`` it can be kept.
        precision: of the matrices; f32 is never kept, it would only double the checkpoint.
        layout: of the matrices.
    """
    config = source.config
    path: Path | None = getattr(source, "path", None)
    if precision != "f32" and path is not None and config.parameter_count() >= _CACHED_PARAMETERS:
        kept = _kept(source, path, precision, layout)
        if kept is not None:
            return Weights(config, precision, *kept)
    return Weights(config, precision, dict(make(source, precision, layout)))


def make(
    source: Source, precision: Precision, layout: Layout
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Name -> array of everything that an executor needs; one tensor of the source at a time.

    Names: ``embedding`` (V, D) float16, float32 for f32, or int8 with ``embedding.scale`` (V,);
    norms under their public names; ``adapter`` (D, E); ``wait_embedding`` (W, D) float32 and
    ``wait_head`` of a model with waits; ``layers.{i}.{part}`` and ``head``, each
    with ``.scale`` unless f32. With tiles, gate and up are one matrix ``gate_up``, 16 rows of
    each in turn.
    """
    config, tensors = source.config, source.tensors
    # Lets go of mapped pages between tensors, so that a big checkpoint never fills the memory.
    release = getattr(tensors, "release", lambda: None)
    stored = getattr(tensors, "packed", lambda name: None)

    def quantised(name: str) -> Packed:
        pair = stored(name) if precision == "int8" else None
        if pair is None:
            return pack(np.asarray(tensors[name], np.float32), precision)
        return Packed("int8", pair[0].shape, pair[0], pair[1][:, None])

    def lay(name: str, packed: Packed) -> Iterator[tuple[str, NDArray[Any]]]:
        if layout == "tiles":
            codes, scales = tile(packed)
            yield name, codes
            yield f"{name}.scale", scales
        else:
            yield name, packed.data
            if packed.scale is not None:
                yield f"{name}.scale", packed.scale

    table = "model.tok_embeddings.weight"
    pair = stored(table) if precision != "f32" else None
    if pair is not None:
        yield "embedding", pair[0]
        yield "embedding.scale", pair[1]
    else:
        kind = np.float32 if precision == "f32" else np.float16
        yield "embedding", np.asarray(tensors[table], kind)
    release()
    for i in range(config.n_layers):
        public = f"model.encode_layers.{i}."
        for norm in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"):
            yield public + norm, np.ascontiguousarray(tensors[public + norm], np.float32)
        parts = {p: quantised(f"{public}{name}.weight") for p, name in _PUBLIC.items()}
        if layout == "tiles":
            parts["gate_up"] = _both(alternate, parts.pop("gate"), parts.pop("up"))
        else:
            parts["qkv"] = _both(lambda x: group_by_head(x, config.n_heads), parts["qkv"])
        for part in list(parts):
            yield from lay(f"layers.{i}.{part}", parts.pop(part))
            release()
    for name in ("weight", "bias"):
        public = f"model.out_layer_norm.{name}"
        yield public, np.ascontiguousarray(tensors[public], np.float32)
    if config.conditioned:
        yield "adapter", np.array(tensors["embedding_adapter.weight"], np.float32)
    if config.waits is not None:
        waits = tensors["model.wait_embeddings.weight"]
        yield "wait_embedding", np.array(waits, np.float32)
        if config.head == "lm_head":
            yield from lay("wait_head", quantised("wait_head.weight"))
    yield from lay("head", quantised(f"{config.head}.weight"))
    release()


def _both(change: Any, *packed: Packed) -> Packed:
    """Apply one change of rows to codes and scales."""
    data = change(*(p.data for p in packed))
    scale = None if packed[0].scale is None else change(*(p.scale for p in packed))
    return Packed(packed[0].precision, (len(data), packed[0].shape[1]), data, scale)


# ---- the file --------------------------------------------------------------------------------


def _kept(source: Source, path: Path, precision: Precision, layout: Layout) -> Kept | None:
    """Return the arrays from their file, made when it is missing; None where it cannot be."""
    try:
        state = path.stat()
    except OSError:
        return None
    key = {
        "version": VERSION,
        "source": str(path.resolve()),
        "size": state.st_size,
        "mtime_ns": state.st_mtime_ns,
        "precision": precision,
        "layout": layout,
        "config": source.config.to_dict(),
    }
    digest = zlib.crc32(json.dumps(key["source"]).encode())
    name = f"{path.parent.name}-{path.stem}-{digest:08x}-{precision}-{layout}.weights"
    file = cache_dir() / "weights" / name
    # A graph's compiler copies the matrices into a layout of its own: there the file is mapped, so
    # that they need not be in memory twice.
    mapped = layout == "rows"
    kept = read_arrays(file, key, mapped=mapped)
    if kept is not None:
        return kept
    try:
        write_arrays(file, key, make(source, precision, layout))
    except OSError:
        # A cache that cannot be written costs time, not correctness.
        return None
    return read_arrays(file, key, mapped=mapped)


def write_arrays(
    file: Path, key: Mapping[str, Any], arrays: Iterator[tuple[str, NDArray[Any]]]
) -> None:
    """Write a weights file, one array in memory at a time.

    Raises:
        OSError: the directory is not writable or the disk is full; nothing is left behind.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(MAGIC)
            index: dict[str, Any] = {}
            for name, array in arrays:
                array = np.ascontiguousarray(array)
                out.write(b"\0" * (-out.tell() % _ALIGN))
                raw = array.reshape(-1).view(np.uint8).data
                index[name] = {
                    "dtype": array.dtype.str,
                    "shape": list(array.shape),
                    "offset": out.tell(),
                    "crc": zlib.crc32(raw),
                }
                out.write(raw)
            text = json.dumps({"key": dict(key), "arrays": index}).encode()
            out.write(text + len(text).to_bytes(8, "little") + MAGIC)
        os.replace(temporary, file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_arrays(file: Path, key: Mapping[str, Any], *, mapped: bool) -> Kept | None:
    """Return the arrays of a weights file; None: it is missing, damaged or of another key.

    Every array is checked against its checksum.

    Args:
        file: the weights file.
        key: what it has to have been made for.
        mapped: map the file instead of reading it into memory. Reading is better where the arrays
            are used in place: the memory can lie in huge pages, which are read about a fifth
            faster, and no token ever waits for the disk.
    """
    try:
        with file.open("rb") as stream:
            index = _read_index(stream)
            if index is None or index["key"] != json.loads(json.dumps(dict(key))):
                return None
            places = {str(n): dict(row) for n, row in index["arrays"].items()}
            return (_map_places if mapped else _read_places)(stream.fileno(), places)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _read_index(stream: BinaryIO) -> dict[str, Any] | None:
    tail = len(MAGIC) + 8
    size = stream.seek(0, os.SEEK_END)
    if size < tail + len(MAGIC):
        return None
    stream.seek(size - tail)
    length, magic = int.from_bytes(stream.read(8), "little"), stream.read()
    if magic != MAGIC or length > size - tail:
        return None
    stream.seek(size - tail - length)
    found = json.loads(stream.read(length))
    return found if isinstance(found, dict) else None


def _array(memory: memoryview, start: int, size: int, row: Mapping[str, Any]) -> NDArray[Any]:
    part = memory[start : start + size]
    return np.frombuffer(part, np.dtype(row["dtype"])).reshape(row["shape"])


def _size(row: Mapping[str, Any]) -> int:
    return math.prod(int(n) for n in row["shape"]) * int(np.dtype(row["dtype"]).itemsize)


def _map_places(handle: int, places: dict[str, dict[str, Any]]) -> Kept | None:
    # Private and writable, because graph constants refuse read-only arrays; nothing writes.
    mapped = mmap.mmap(handle, 0, access=mmap.ACCESS_COPY)
    memory = memoryview(mapped)
    arrays: dict[str, NDArray[Any]] = {}
    for name, row in places.items():
        start, size = int(row["offset"]), _size(row)
        if zlib.crc32(memory[start : start + size]) != row["crc"]:
            return None
        arrays[name] = _array(memory, start, size, row)
        if hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)
    return arrays, mapped


def _read_places(handle: int, places: dict[str, dict[str, Any]]) -> Kept | None:
    sizes = {name: _size(row) for name, row in places.items()}
    starts, total = {}, 0
    for name, size in sizes.items():
        starts[name] = total
        total += -(-size // _ALIGN) * _ALIGN
    if hasattr(mmap, "MADV_HUGEPAGE"):
        # Only private memory is given huge pages; the default would be shared.
        buffer = mmap.mmap(-1, max(total, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        buffer.madvise(mmap.MADV_HUGEPAGE)
    else:
        buffer = mmap.mmap(-1, max(total, 1))
    memory = memoryview(buffer)

    def read(name: str) -> bool:
        part = memory[starts[name] : starts[name] + sizes[name]]
        at, offset = 0, int(places[name]["offset"])
        while at < len(part):
            got = os.preadv(handle, [part[at : at + (64 << 20)]], offset + at)
            if got == 0:
                return False
            at += got
        return bool(zlib.crc32(part) == places[name]["crc"])

    with ThreadPoolExecutor(2) as pool:
        if not all(pool.map(read, places)):
            return None
    arrays = {n: _array(memory, starts[n], sizes[n], row) for n, row in places.items()}
    return arrays, None
