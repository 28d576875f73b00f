"""What is fuzzed: each target takes bytes and ends in silence or in an error of ours.

Beside not crashing, a target holds what the docs promise of the format: both readers agree, what is
written is read back, nothing of a piece lies outside its ranges.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from arietta.checkpoints.tensors import CheckpointTensors, TensorFile
from arietta.data.sources import find_sources, read_source
from arietta.errors import AriettaError, MidiError
from arietta.midi import reader
from arietta.midi.piece import Piece
from arietta.notation.reader import read_score
from arietta.tokenizers.open import tokenizer_named

VOCABULARIES = ("piano", "full", "piano-relative")
_PLAIN_BYTES = 20_000  # the plain reader takes a microsecond a byte; longer files are for the fast


def _sound(piece: Piece) -> None:
    """Check the ranges that every table of a piece keeps."""
    notes = piece.notes
    assert (notes.offset_tick > notes.onset_tick).all() and (notes.onset_tick >= 0).all()
    assert (notes.pitch < 128).all() and (notes.velocity < 128).all() and (notes.channel < 16).all()
    assert (piece.pedals.tick >= 0).all() and (piece.pedals.value < 128).all()
    assert np.isfinite(piece.onset_ms).all() and np.isfinite(piece.duration_ms).all()


def midi(data: bytes) -> None:
    """Read a MIDI file with both readers, strictly and mended; write it and read that."""
    if reader.parse_c is not None and len(data) <= _PLAIN_BYTES:
        found = []
        for parse in (reader.parse_c, reader.parse_python):
            try:
                raw = parse(data)
            except MidiError as error:
                found.append(str(error))
            else:
                found.append(repr(_columns(raw)))
        assert found[0] == found[1], "the readers differ"
    for strict in (True, False):
        try:
            piece = reader.read_bytes(data, strict=strict)
        except MidiError:
            continue
        _sound(piece)
        again = reader.read_bytes(piece.to_bytes())
        assert len(again) == len(piece)


def _columns(raw: object) -> list[object]:
    shown: list[object] = []
    names = getattr(raw, "_fields", None) or raw.__dataclass_fields__  # type: ignore[attr-defined]
    for name in names:
        value = getattr(raw, name)
        if isinstance(value, np.ndarray):
            shown.append(value.tolist())
        elif hasattr(value, "__dataclass_fields__"):
            shown.append(_columns(value))
        elif hasattr(value, "blob"):
            shown += [value.blob, value.bounds.tolist()]
        else:
            shown.append(value)
    return shown


def tokens(data: bytes) -> None:
    """Take the bytes as ids of a vocabulary, and as a file to make ids of."""
    name = VOCABULARIES[data[0] % len(VOCABULARIES)] if data else VOCABULARIES[0]
    tokenizer = tokenizer_named(name)
    ids = np.frombuffer(data[1 : 1 + len(data[1:]) // 2 * 2], "<u2").astype(np.int64)
    try:
        piece = tokenizer.decode(ids)
    except AriettaError:
        pass
    else:
        _sound(piece)
    try:
        piece = reader.read_bytes(data[1:], strict=False)
        made = tokenizer.encode(piece)
    except AriettaError:
        return
    again = tokenizer.encode(tokenizer.decode(made))
    assert np.array_equal(tokenizer.encode(tokenizer.decode(again)), again), "not settled"


def tensors(data: bytes) -> None:
    """Read a safetensors file and every tensor of it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.safetensors"
        path.write_bytes(data)
        file = TensorFile(path)
        for name in file.names:
            stored = file.stored(name)
            assert stored.shape == file.shape(name)
            assert stored.nbytes <= len(data)
        found = CheckpointTensors(file)
        for name in found:
            assert found[name].dtype == np.float32


def _archive(suffix: str) -> Callable[[bytes], None]:
    def target(data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"a{suffix}"
            path.write_bytes(data)
            for item in read_source(find_sources([path])[0]):
                assert item.problem or item.data is not None
                assert not item.problem or "\n" not in item.problem
            assert [p.name for p in Path(folder).iterdir()] == [path.name], "it was unpacked"

    target.__doc__ = f"Read what an archive ({suffix}) holds."
    return target


def _score(suffix: str) -> Callable[[bytes], None]:
    def target(data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"a{suffix}"
            path.write_bytes(data)
            _sound(read_score(path))

    target.__doc__ = f"Read a score in {suffix}."
    return target


TARGETS: dict[str, Callable[[bytes], None]] = {
    "midi": midi,
    "tokens": tokens,
    "tensors": tensors,
    "zip": _archive(".zip"),
    "tar": _archive(".tar"),
    "tar.gz": _archive(".tar.gz"),
    "musicxml": _score(".musicxml"),
    "mxl": _score(".mxl"),
}


def run(name: str, data: bytes) -> bool:
    """Run a target; whether it took the input, false where it was refused as it should be.

    Raises:
        Exception: what a user would see as a fault of ours.
    """
    try:
        TARGETS[name](data)
    except AriettaError as error:
        assert str(error) and "\n" not in str(error), "a message is one line"
        return False
    return True
