"""How fast does one core make training rows of a dataset, and how much space does it take?

    python -m benchmarks.loader_speed DATASET

DATASET is a folder made by ``arietta data build``, of either form; its train split is read. Rates
are tokens of rows (without padding) per second of processor time of one process, with all
augmentation.
"""

from __future__ import annotations

import argparse
import io
import time
from itertools import islice
from pathlib import Path
from typing import Any
from unittest import mock

from arietta.data import shards
from arietta.data.shards import Dataset, Form, arrow, open_dataset, open_shard, rows_table
from arietta.training.rows.augment import Ranges
from arietta.training.rows.stream import LoaderSettings, RowStream
from benchmarks.common import file_result

TOKENS = 10_000_000
SAMPLE_GROUPS = 10


def split_sizes(dataset: Dataset) -> dict[str, Any]:
    """Return the size of each split."""
    sizes = {}
    for split in dataset.splits:
        stored = [s for s in dataset.shards if s.split == split]
        if not all((dataset.path / s.file).is_file() for s in stored):
            continue
        n_bytes = sum((dataset.path / s.file).stat().st_size for s in stored)
        notes = sum(s.notes for s in stored)
        sizes[split] = {
            "pieces": sum(s.rows for s in stored),
            "notes": notes,
            "mib": round(n_bytes / 2**20, 2),
            "bits_per_note": round(n_bytes * 8 / notes, 2),
        }
    return sizes


def column_bits(dataset: Dataset) -> dict[str, float]:
    """Return the stored bits per note of every column of the train split."""
    _, pq = arrow()
    bits: dict[str, float] = {}
    stored = dataset.of_split("train")
    notes = sum(s.notes for s in stored)
    for shard in stored:
        metadata = pq.ParquetFile(dataset.path / shard.file).metadata
        for group in range(metadata.num_row_groups):
            for i in range(metadata.num_columns):
                column = metadata.row_group(group).column(i)
                name = column.path_in_schema.split(".")[0]
                bits[name] = bits.get(name, 0.0) + column.total_compressed_size * 8 / notes
    return {name: round(value, 3) for name, value in bits.items()}


def packing_choices(dataset: Dataset) -> list[dict[str, Any]]:
    """Compare the size and cost of other ways to store the grid form, on a few row groups."""
    _, pq = arrow()
    form: Form = "grid"
    rows = [
        (row, notes)
        for row, notes in islice(
            shards.read_grid(dataset, "train"), SAMPLE_GROUPS * shards.ROWS_PER_GROUP
        )
    ]
    step = shards.ROWS_PER_GROUP
    tables = [rows_table(form, rows[i : i + step]) for i in range(0, len(rows), step)]
    notes = sum(len(n) for _, n in rows)
    found = []
    for encoding in ("PLAIN", "DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT"):
        for level in (3, shards.ZSTD_LEVEL, 19):
            with mock.patch.object(shards, "ZSTD_LEVEL", level):
                options = shards._writer_options(form)
            options["column_encoding"] = dict.fromkeys(options["column_encoding"], encoding)
            start = time.process_time()
            packed = io.BytesIO()
            with pq.ParquetWriter(packed, tables[0].schema, **options) as writer:
                for table in tables:
                    writer.write_table(table, row_group_size=step)
            found.append(
                {
                    "encoding": encoding.lower(),
                    "zstd_level": level,
                    "bits_per_note": round(len(packed.getvalue()) * 8 / notes, 2),
                    "pieces_per_s": round(len(rows) / (time.process_time() - start)),
                }
            )
    return found


def read_rate(dataset: Dataset) -> float:
    """Measure million notes a second from disk to columns."""
    notes = 0
    start = time.process_time()
    for shard in dataset.of_split("train"):
        with open_shard(dataset, shard) as file:
            for group in range(file.num_row_groups):
                notes += len(file.read(group)["pitch"].combine_chunks().flatten())
    return notes / (time.process_time() - start) / 1e6


def row_rate(dataset: Dataset, settings: LoaderSettings) -> dict[str, Any]:
    """Measure the rate of one stream, its longest wait for a row, and the time of a seek."""
    stream = RowStream(dataset, "train", settings)
    pad = stream.tokenizer.pad
    tokens, longest = 0, 0.0
    start = mark = time.process_time()
    while tokens < TOKENS:
        row = next(stream)
        now = time.process_time()
        longest, mark = max(longest, now - mark), now
        # Padding is at the end.
        tokens += len(row) if row[-1] != pad else int((row != pad).sum())
    seconds = time.process_time() - start
    place = stream.position()
    again = RowStream(dataset, "train", settings)
    start = time.process_time()
    again.seek(place)
    next(again)
    return {
        "tokenizer": settings.tokenizer,
        "mode": settings.mode,
        "seq_len": settings.seq_len,
        "augment": settings.augment is not None,
        "jitter_ms": settings.jitter_ms,
        "million_tokens_per_s": round(tokens / seconds / 1e6, 2),
        "longest_wait_s": round(longest, 3),
        "seek_s": round(time.process_time() - start, 3),
    }


def main() -> None:
    """Measure, print, file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loader_speed", description=__doc__)
    parser.add_argument("dataset", type=Path)
    dataset = open_dataset(parser.parse_args().dataset)
    figures: dict[str, Any] = {"form": dataset.form, "splits": split_sizes(dataset)}
    for split, size in figures["splits"].items():
        print(f"{split}: {size}")
    if dataset.form == "grid":
        figures["train_bits_per_note"] = column_bits(dataset)
        figures["packing_choices"] = packing_choices(dataset)
        for choice in figures["packing_choices"]:
            print(choice)
    figures["read_million_notes_per_s"] = round(read_rate(dataset), 2)
    print(f"read: {figures['read_million_notes_per_s']} M notes/s")
    everything = LoaderSettings(augment=Ranges(), jitter_ms=10.0)
    figures["rows"] = []
    for change in (
        {"mode": "packed", "seq_len": 8192},
        {"mode": "aligned", "seq_len": 1024},
        {"mode": "separate", "seq_len": 8192},
        {"mode": "packed", "seq_len": 8192, "tokenizer": "full"},
        {"mode": "packed", "seq_len": 8192, "tokenizer": "relative-piano"},
        {"mode": "packed", "seq_len": 8192, "jitter_ms": 0.0},
        {"mode": "packed", "seq_len": 8192, "jitter_ms": 0.0, "augment": None},
    ):
        settings = LoaderSettings(**{**vars(everything), **change})
        figures["rows"].append(row_rate(dataset, settings))
        print(figures["rows"][-1])
    print("filed:", file_result(f"loader_speed_{dataset.form}", figures))


if __name__ == "__main__":
    main()
