"""The limits that SECURITY.md names: the numbers are the code's, and each holds at its edge."""

from __future__ import annotations

import importlib
import io
import re
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from arietta.checkpoints import tensors
from arietta.data import sources
from arietta.errors import CheckpointError, InputError, MidiError
from arietta.midi import reader, zips
from arietta.midi.piece import Piece
from arietta.notation.sources import load_source
from arietta.sound import sampler
from tests.midi.files import midi_file, variable

ROOT = Path(__file__).parents[1]
ROWS = re.findall(
    r"^\| .* \| ([\d,]+) (bytes|ticks|seconds) \| `([\w.]+)` \| (.*) \|$",
    (ROOT / "SECURITY.md").read_text("utf8"),
    re.MULTILINE,
)


def test_the_numbers_are_the_codes() -> None:
    assert len(ROWS) >= 8
    for number, _, name, _ in ROWS:
        module, _, constant = name.rpartition(".")
        value = getattr(importlib.import_module(f"arietta.{module}"), constant)
        assert int(number.replace(",", "")) == value, name


def test_every_limit_names_a_test_that_exists() -> None:
    for *_, tests in ROWS:
        named = re.findall(r"`([\w]+\.py)::(test_\w+)`", tests)
        assert named, tests
        for file, test in named:
            texts = [path.read_text("utf8") for path in (ROOT / "tests").rglob(file)]
            assert any(f"def {test}(" in text for text in texts), f"{file} has no {test}"


def test_a_midi_file_of_the_largest_size_is_read_and_one_byte_more_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.mid"
    music = midi_file([b"\0\x90\x3c\x40\x60\x3c\0"])
    path.write_bytes(music.ljust(reader.DEFAULT_MAX_BYTES, b"\0"))
    assert len(reader.file_data(str(path))) == reader.DEFAULT_MAX_BYTES
    path.write_bytes(music.ljust(reader.DEFAULT_MAX_BYTES + 1, b"\0"))
    with pytest.raises(MidiError, match="larger than 16777216 bytes"):
        reader.read(path)


def test_a_track_lasts_to_the_last_tick_and_no_longer() -> None:
    """4,096 of the longest steps are 4,096 ticks short of 2**40."""
    from arietta.midi.parse import MAX_TICK

    steps = (variable(2**28 - 1) + b"\xff\x01\x00") * 4096
    parsers = [p for p in (reader.parse_c, reader.parse_python) if p is not None]
    for extra, whole in ((4096, True), (4097, False)):
        last = variable(extra) + b"\x90\x3c\x40\x00\x3c\x00"
        data = midi_file([steps + last])
        assert 4096 * (2**28 - 1) + extra == MAX_TICK + (not whole)
        for parse in parsers:
            if whole:
                parse(data)
            else:
                with pytest.raises(MidiError, match="longer than 2"):
                    parse(data)


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_file_of_an_archive_is_not_larger_than_one_outside(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "DEFAULT_MAX_BYTES", 1000)
    path = tmp_path / f"a.{kind}"
    members = {"small.mid": bytes(1000), "large.mid": bytes(1001)}
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(path, "w") as tar:
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    found = {
        i.path: (len(i.data or b""), i.problem)
        for i in sources.read_source(sources.find_sources([path])[0])
    }
    assert found == {"small.mid": (1000, ""), "large.mid": (0, "larger than 1000 bytes")}


def test_what_stands_beside_the_music_in_an_archive_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "LARGEST_MEMBER", 1000)
    for size in (1000, 1001):
        path = tmp_path / f"{size}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.csv", bytes(size))
    assert [len(data) for _, data in sources.read_members(tmp_path / "1000.zip", ".csv")] == [1000]
    with pytest.raises(InputError, match=r"a\.csv is 1,001 bytes; at most 1,000"):
        list(sources.read_members(tmp_path / "1001.zip", ".csv"))


def test_a_score_is_bounded_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from arietta.notation import sources as scores

    monkeypatch.setattr(scores, "MAX_UNPACKED", 1000)
    path = tmp_path / "a.musicxml"
    path.write_bytes(b"<a/>".ljust(1000))
    load_source(path)
    path.write_bytes(b"<a/>".ljust(1001))
    with pytest.raises(InputError, match="1,001 bytes of notation; 1,000 at most"):
        load_source(path)


def test_the_header_of_tensors_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors, "_MAX_HEADER_BYTES", 100)
    path = tmp_path / "a.safetensors"
    for size in (100, 101):
        path.write_bytes(size.to_bytes(8, "little") + b"{}".ljust(size) + bytes(64))
        if size == 100:
            assert tensors.TensorFile(path).names == ()
        else:
            with pytest.raises(CheckpointError, match="claims a header of 101 bytes"):
                tensors.TensorFile(path)


def test_sound_is_made_for_so_long_and_no_longer() -> None:
    longest_ms = sampler.LONGEST_S * 1000
    piece = Piece.from_ms([0], [longest_ms], [60], [64])
    strikes, frames = sampler.schedule(piece)
    assert len(strikes) == 1 and frames > 0
    with pytest.raises(InputError, match="sound is made for at most 6 h"):
        sampler.schedule(Piece.from_ms([0], [longest_ms + 1], [60], [64]))


def test_a_piece_of_unpacked_data_is_small() -> None:
    assert zips.PIECE_BYTES <= 2**16
    assert np.log2(zips.PIECE_BYTES) % 1 == 0
