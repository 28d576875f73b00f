"""Datasets as others see them: units in the fields, a card, opened by Hugging Face's library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from arietta.api import data
from arietta.data.card import CARD, card_text
from arietta.data.shards import (
    DESCRIPTION,
    MANIFEST,
    PieceRecord,
    ShardWriter,
    dataset_sha256,
    open_dataset,
    read_grid,
    read_pieces,
    shard_sha256,
)
from arietta.data.tables import GRID_COLUMNS, PIECE_COLUMNS, Form, described_fields, schema_of
from arietta.midi.reader import read


@pytest.fixture
def dataset(tmp_path: Path, prompts_dir: Path) -> Path:
    settings = data.settings_of("none", licence="CC-BY-4.0", fractions={"train": 0.5, "test": 0.5})
    data.build([prompts_dir], tmp_path / "set", settings=settings, workers=1)
    return tmp_path / "set"


def kinds_inside(kind: Any) -> set[str]:
    inner = [kind.field(i).type for i in range(kind.num_fields)]
    return {type(kind).__name__}.union(*map(kinds_inside, inner))


@pytest.mark.parametrize("form", ["pieces", "grid"])
def test_every_field_has_a_unit_and_a_type_that_everybody_opens(form: Form) -> None:
    schema = schema_of(form)
    assert schema.names == list(described_fields(form))
    for field in schema:
        assert "MapType" not in kinds_inside(field.type)
        assert field.metadata[b"description"]
    for name in PIECE_COLUMNS if form == "pieces" else GRID_COLUMNS:
        assert name == "text" or schema.field(name).metadata[b"unit"], name
    assert schema_of("pieces").field("onset_tick").metadata[b"unit"] == b"tick"
    assert schema_of("grid").field("velocity").metadata[b"unit"] == b"10 MIDI velocities"


def test_units_are_in_the_files(dataset: Path) -> None:
    for shard in open_dataset(dataset).shards:
        stored = pq.read_schema(dataset / shard.file)
        assert stored.field("tempo_us_per_quarter").metadata[b"unit"] == (
            b"microseconds per quarter note"
        )
    assert "MapType" not in set().union(
        *(kinds_inside(f.type) for f in pq.read_schema(dataset / MANIFEST))
    )


def test_hugging_face_opens_it(dataset: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    found = datasets.load_dataset(str(dataset), cache_dir=str(tmp_path / "cache"))
    counts = {split: len(rows) for split, rows in found.items()}
    opened = open_dataset(dataset)
    assert counts == {name: sum(s.rows for s in opened.of_split(name)) for name in opened.splits}
    ours = {row.id: piece for row, piece in read_pieces(opened)}
    for rows in found.values():
        for row in rows:
            assert row["pitch"] == ours[row["id"]].notes.pitch.tolist()


def test_the_card_says_what_is_there(dataset: Path) -> None:
    text = (dataset / CARD).read_text("utf-8")
    front = yaml.safe_load(text.split("---")[1])
    opened = open_dataset(dataset)
    assert front["license"] == "cc-by-4.0"
    files = front["configs"][0]["data_files"]
    assert {one["split"] for one in files} == set(opened.splits)
    for one in files:
        names = {path.name for path in dataset.glob(one["path"])}
        assert names == {shard.file for shard in opened.of_split(one["split"])}
    assert f"`{dataset_sha256(opened)}`" in text
    for name, (unit, what) in described_fields("pieces").items():
        assert f"| `{name}` | {unit or 'text'} | {what} |" in text
    assert card_text(opened, "you/piano").count("you/piano") == 3
    # Terms that the hub has no word for are written out; none at all are told.
    (dataset / DESCRIPTION).write_text(
        (dataset / DESCRIPTION).read_text().replace("CC-BY-4.0", 'my "own" terms'.replace('"', "'"))
    )
    front = yaml.safe_load(card_text(open_dataset(dataset)).split("---")[1])
    assert (front["license"], front["license_name"]) == ("other", "my 'own' terms")


def test_the_hash_is_that_of_the_music(dataset: Path, tmp_path: Path, prompts_dir: Path) -> None:
    opened = open_dataset(dataset)
    for shard in opened.shards:
        assert shard.sha256 == shard_sha256(dataset / shard.file)
    described = json.loads((dataset / DESCRIPTION).read_text())
    for shard in described["shards"]:
        del shard["sha256"]
    (dataset / DESCRIPTION).write_text(json.dumps(described))
    assert dataset_sha256(open_dataset(dataset)) == dataset_sha256(opened)
    for number, name in enumerate(("waltz", "nocturne")):
        with ShardWriter(tmp_path / name, "grid") as writer:
            writer.add(PieceRecord("a"), read(prompts_dir / f"{name}.mid"))
        other = dataset_sha256(open_dataset(tmp_path / name))
        assert other != dataset_sha256(opened), number


def test_datasets_of_version_1_are_still_read(tmp_path: Path, prompts_dir: Path) -> None:
    known = {"composer": "chopin", "title": "A"}
    with ShardWriter(tmp_path / "set", "grid") as writer:
        writer.add(PieceRecord("a", metadata=known), read(prompts_dir / "waltz.mid"))
        writer.add(PieceRecord("b"), read(prompts_dir / "nocturne.mid"))
    before = [(r.row, r.notes.pitch.tolist()) for r in read_grid(open_dataset(tmp_path / "set"))]
    (shard,) = open_dataset(tmp_path / "set").shards
    path = tmp_path / "set" / shard.file
    table = pq.read_table(path)
    texts = [[(one["key"], one["value"]) for one in row] for row in table["metadata"].to_pylist()]
    place = table.schema.get_field_index("metadata")
    maps = pa.array(texts, pa.map_(pa.string(), pa.string()))
    pq.write_table(table.set_column(place, "metadata", maps), path)
    description = tmp_path / "set" / DESCRIPTION
    described = json.loads(description.read_text())
    del described["shards"][0]["sha256"]
    description.write_text(json.dumps({**described, "version": 1}))
    after = [(r.row, r.notes.pitch.tolist()) for r in read_grid(open_dataset(tmp_path / "set"))]
    assert after == before and after[0][0].metadata == known
