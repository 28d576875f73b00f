"""Read ``Recording``s from MIDI files, folders of them, and datasets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from arietta.data.shards import DESCRIPTION, open_dataset, read_grid
from arietta.data.token_grid import grid_of
from arietta.errors import InputError, UsageError
from arietta.evaluation.likelihood import Recording
from arietta.midi.reader import read

SUFFIXES = {".mid", ".midi", ".kar"}


def is_dataset(path: Path) -> bool:
    """Return whether a path is a dataset folder, finished or not."""
    return (path / DESCRIPTION).is_file() or (path.is_dir() and any(path.glob("*.parquet")))


def recordings_of_dataset(path: Path, split: str | None) -> Iterator[Recording]:
    """Yield every piece of a split, or of all splits; labels are the source and all metadata.

    Raises:
        InputError: the dataset or split does not exist, or a shard is damaged.
        MissingExtraError: pyarrow is not installed.
    """
    for row, notes in read_grid(open_dataset(path), split):
        labels = {**row.metadata, "source": row.source, "split": row.split}
        yield Recording(row.id, row.group or row.id, notes.columns(), labels)


def midi_files(path: Path) -> list[Path]:
    """Return the MIDI files under a folder, sorted; a file is returned itself.

    Raises:
        InputError: the path does not exist, or the folder holds no MIDI file.
    """
    if not path.is_dir():
        if not path.exists():
            raise InputError(f"{path}: no such file or folder")
        return [path]
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not found:
        raise InputError(f"{path}: no MIDI files in it")
    return found


def recordings_of_files(
    paths: Sequence[Path], refused: Callable[[Path, InputError], None]
) -> Iterator[Recording]:
    """Read MIDI files and folders of them; the source of a file is the name of its folder.

    Args:
        paths: files and folders.
        refused: callback for every file that cannot be used.

    Raises:
        InputError: a path does not exist, or a folder holds no MIDI file.
    """
    for path in paths:
        for file in midi_files(path):
            try:
                notes = grid_of(read(file)).columns()
            except InputError as error:
                refused(file, error)
                continue
            yield Recording(str(file), str(file), notes, {"source": file.parent.name or "."})


def recordings(
    paths: Sequence[Path],
    split: str | None,
    refused: Callable[[Path, InputError], None],
) -> Iterator[Recording]:
    """Read datasets or MIDI files, not both.

    Args:
        paths: dataset folders, or MIDI files and folders of them.
        split: split of datasets; None for all splits.
        refused: callback for every MIDI file that cannot be used.

    Raises:
        UsageError: datasets and MIDI are mixed, or a split of MIDI files is given.
        InputError: see ``recordings_of_dataset`` and ``recordings_of_files``.
    """
    datasets = [is_dataset(path) for path in paths]
    if all(datasets):
        return (r for path in paths for r in recordings_of_dataset(path, split))
    if any(datasets):
        raise UsageError("give either datasets or MIDI files and folders, not both")
    if split is not None:
        raise UsageError("`split` is for datasets; MIDI files have none")
    return recordings_of_files(paths, refused)
