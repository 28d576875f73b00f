"""A piece that was read and not edited is written as it was, event for event."""

from __future__ import annotations

import csv
import io
import random
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arietta.errors import MidiError
from arietta.midi.piece import Piece
from arietta.midi.reader import read_bytes
from arietta.midi.writer import write_midi
from arietta.paths import assets_dir
from tests.midi.dump import dump
from tests.midi.files import midi_file, random_file, rmid

CASES = Path(__file__).parent.parent / "cases" / "midi"
WHOLE = [
    name
    for name in sorted(path.name for path in CASES.glob("*.mid"))
    # Damaged so that nothing but a mended file can be read or dumped.
    if name
    not in {
        "alien_chunk_counted.mid",
        "cc_value_255.mid",
        "end_of_track_padding.mid",
        "running_status_after_sysex.mid",
        "tail_broken_chunk.mid",
        "tempo_two_bytes.mid",
        "negative_delta.mid",
    }
]


def again(data: bytes) -> bytes:
    return write_midi(read_bytes(data, strict=False))


@pytest.mark.parametrize("name", WHOLE)
def test_cases(name: str) -> None:
    data = (CASES / name).read_bytes()
    assert dump(again(data)) == dump(data)


def test_golden_files_and_prompts(golden_dir: Path) -> None:
    files = [
        *(golden_dir / "aria" / "midi").glob("*.mid"),
        *(assets_dir() / "prompts").glob("*.mid"),
    ]
    compared = 0
    for path in files:
        data = path.read_bytes()
        for given in (data, rmid(data)):
            try:
                piece = read_bytes(given)
            except MidiError:
                continue
            assert dump(write_midi(piece)) == dump(data), path.name
            compared += 1
    assert compared > 100


def test_random_files() -> None:
    rng = random.Random(11)
    for i in range(300):
        data = random_file(rng)
        assert write_midi(read_bytes(data)) == data, i


def corpus_sample(shared: Path, each: int) -> Iterator[tuple[str, bytes]]:
    """The first files of every shard of the shared corpus."""
    zstandard = pytest.importorskip("zstandard")
    with (shared / "data" / "manifest.csv").open(encoding="utf8") as file:
        shards = sorted({row["shard"] for row in csv.DictReader(file)})
    for shard in shards:
        count = 0
        with (
            (shared / "data" / shard).open("rb") as packed,
            zstandard.ZstdDecompressor().stream_reader(packed) as stream,
            tarfile.open(fileobj=stream, mode="r|") as tar,
        ):
            for member in tar:
                content = (
                    tar.extractfile(member) if member.name.endswith((".mid", ".midi")) else None
                )
                if content is not None:
                    yield f"{shard}/{member.name}", content.read()
                    count += 1
                if count == each:
                    break


def test_real_files(shared_dir: Path) -> None:
    compared = 0
    for name, data in corpus_sample(shared_dir, 12):
        assert dump(again(data)) == dump(data), name
        compared += 1
    for path in (shared_dir / "data" / "fixtures").glob("*.mid"):
        data = path.read_bytes()
        assert dump(again(data)) == dump(data), path.name
        compared += 1
    assert compared > 100


def test_mido_reads_the_same_messages() -> None:
    mido = pytest.importorskip("mido")

    def messages(data: bytes) -> list[list[Any]]:
        return [list(track) for track in mido.MidiFile(file=io.BytesIO(data)).tracks]

    for name in ("overlap_fifo.mid", "release_velocity.mid", "end_of_track_later.mid"):
        data = (CASES / name).read_bytes()
        assert messages(again(data)) == messages(data)


def test_a_text_is_added_and_nothing_else_changes() -> None:
    data = (CASES / "release_velocity.mid").read_bytes()
    piece = read_bytes(data)
    made = write_midi(piece, extra_text=["made here ♪"])
    before, after = dump(data), dump(made)
    assert after.tracks[0] == [(0, b"\xff\1" + "made here ♪".encode()), *before.tracks[0]]
    assert after.tracks[1:] == before.tracks[1:]
    assert write_midi(read_bytes(made), extra_text=["made here ♪"]) == made


def test_edits_are_written() -> None:
    data = midi_file([b"\0\x90\x3c\x40\x60\x80\x3c\x11", b"\0\xff\3\1a"])
    piece = read_bytes(data)
    assert write_midi(replace(piece, metadata={"composer": "x"})) == data
    louder = replace(piece.notes, velocity=piece.notes.velocity + np.uint8(1))
    assert read_bytes(write_midi(replace(piece, notes=louder))).notes.velocity.tolist() == [65]
    # A column that was changed in place is an edit too.
    piece.notes.velocity[:] = 99
    assert read_bytes(write_midi(piece)).notes.velocity.tolist() == [99]
    other = replace(read_bytes(data), text=((0, "new"),))
    assert read_bytes(write_midi(other)).text == ((0, "new"),)


def test_no_program_is_invented() -> None:
    for tracks in ([b"\0\x93\x3c\x40\x60\x3c\0"], [b"\0\xff\3\1a", b"\0\x92\x3c\x40\x60\x3c\0"]):
        piece = read_bytes(midi_file(tracks))
        edited = replace(piece, notes=replace(piece.notes, velocity=piece.notes.velocity + 1))
        for written in (write_midi(piece), write_midi(edited)):
            kinds = [message[0] & 0xF0 for track in dump(written).tracks for _, message in track]
            assert 0xC0 not in kinds


def test_pieces_of_datasets_are_built() -> None:
    piece = read_bytes((CASES / "overlap_fifo.mid").read_bytes())
    assert len(read_bytes(write_midi(Piece(piece.tempo, piece.notes)))) == len(piece)
