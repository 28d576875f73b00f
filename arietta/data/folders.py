"""A folder of MIDI -> a dataset to finetune on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from arietta.data.build import build_dataset
from arietta.data.settings import preset
from arietta.data.shards import DESCRIPTION
from arietta.errors import InputError, UsageError
from arietta.output import json_text, whole_file

FRACTIONS = {"train": 0.9, "valid": 0.1}


def dataset_of(
    data: Path,
    out: Path,
    *,
    labels: Path | None = None,
    folders_are_classes: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Return a dataset as it is; make one of a folder of MIDI files.

    Everything that can be read stays, exact duplicates aside; a tenth of the files is for
    validation. A dataset that was made before is used again.

    Args:
        data: a dataset, or a folder of MIDI files.
        out: folder that takes the new dataset as ``dataset``.
        labels: table with the class of each file, for a folder.
        folders_are_classes: without ``labels``, take each file's sub-folder as its class and write
            the table as ``labels.json`` into ``out``.
        say: called with a line for the user.

    Raises:
        InputError: there is no ``data``, or not one file of the folder can be kept.
        OutputError: the dataset cannot be written.
        UsageError: labels are given for a dataset, or a folder of classes has no sub-folders.
    """
    if not data.exists():
        raise InputError(f"{data}: no such dataset, file or folder")
    if (data / DESCRIPTION).is_file() or not data.is_dir():
        if labels is not None:
            raise UsageError(
                f"`labels` goes with a folder of MIDI; {data} is none. For a dataset: arietta data"
                " build … --metadata CSV, and `changes` classify.label=COLUMN"
            )
        return data
    folder = out / "dataset"
    if (folder / DESCRIPTION).is_file():
        return folder
    say(f"{data}: making a dataset of its MIDI files in {folder}")
    settings = preset("none", form="grid", dedup="exact", fractions=FRACTIONS)
    if folders_are_classes and labels is None:
        labels = out / "labels.json"
        write_folder_labels(data, labels)
    done = build_dataset([data], folder, settings, metadata=labels)
    say(f"{folder}: {done.kept} of {done.inputs} files")
    return folder


def write_folder_labels(data: Path, labels: Path) -> None:
    """Write a table that gives each file in a sub-folder of ``data`` the folder's name as class.

    Raises:
        UsageError: there are no sub-folders.
    """
    table = {
        path.relative_to(data).as_posix(): {"label": path.relative_to(data).parts[0]}
        for path in sorted(data.glob("*/**/*"))
        if path.is_file()
    }
    if not table:
        raise UsageError(f"{data}: holds no folders; make one for each class, or give `labels` CSV")
    labels.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(labels, force=True) as part:
        part.write_text(json_text(table), encoding="utf8")
