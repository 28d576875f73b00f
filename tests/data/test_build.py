"""Datasets out of files: the same bytes whoever builds them, and however often they are stopped."""

from __future__ import annotations

import bz2
import csv
import errno
import gzip
import hashlib
import io
import json
import lzma
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard

from arietta.data import build as builder
from arietta.data.build import BuildReport, build_dataset
from arietta.data.engines import Local, Ray
from arietta.data.filters import CHECKS, OFF, with_setting
from arietta.data.settings import BuildSettings, preset
from arietta.data.shards import open_dataset, read_grid, read_pieces
from arietta.data.sources import find_sources, read_members, read_source
from arietta.data.stats import dataset_stats, draw_stats, read_manifest
from arietta.errors import InputError, OutputError, UsageError
from arietta.midi.piece import Piece
from arietta.midi.reader import read_bytes

ROOT = Path(__file__).resolve().parents[2]
NONE = preset("none")


def tune(seed: int, notes: int = 90) -> Piece:
    rng = np.random.default_rng(seed)
    onset = np.cumsum(rng.integers(30, 700, notes))
    return Piece.from_ms(
        onset,
        rng.integers(50, 900, notes),
        rng.integers(40, 90, notes),
        rng.integers(40, 90, notes),
    )


def folder_of(path: Path, count: int = 12, first: int = 0) -> Path:
    """A folder of tunes, one damaged file and one without notes."""
    for i in range(first, first + count):
        place = path / f"part{i % 3}" / f"tune{i:03d}.mid"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(tune(i).to_bytes())
    (path / "broken.mid").write_bytes(b"MThd" + bytes(20))
    (path / "silent.mid").write_bytes(Piece.from_ms([], [], [], []).to_bytes())
    (path / "readme.txt").write_text("not music")
    return path


def files_of(dataset: Path) -> dict[str, str]:
    return {
        path.relative_to(dataset).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(dataset.rglob("*"))
        if path.is_file()
    }


def built(
    sources: Path | Sequence[Path], out: Path, settings: BuildSettings = NONE, **options: Any
) -> BuildReport:
    options.setdefault("engine", Local(1))
    return build_dataset(
        [sources] if isinstance(sources, Path) else sources, out, settings, **options
    )


def manifest(dataset: Path) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in read_manifest(dataset).to_pylist()}


def test_every_input_has_a_row_and_every_kept_piece_its_music(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "music")
    report = built(source, tmp_path / "set")
    rows = manifest(tmp_path / "set")
    assert (report.inputs, report.kept) == (len(rows), 12) == (14, 12)
    assert report.refused == {"no_notes": 1, "unreadable": 1}
    assert "byte" in rows["music/broken.mid"]["detail"]
    seen = 0
    for row, piece in read_pieces(open_dataset(tmp_path / "set")):
        told = rows[row.id]
        assert (told["split"], told["group"]) == (row.split, row.group)
        assert told["shard"].startswith(row.split)
        assert told["kept"] and told["notes"] == len(piece) == 90
        original = read_bytes((source / told["path"]).read_bytes())
        assert piece.notes.pitch.tolist() == original.notes.pitch.tolist()
        assert all(told[name] is not None for name in CHECKS)
        seen += 1
    assert seen == 12


def test_processes_and_chunks_change_no_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = folder_of(tmp_path / "music")
    settings = preset("pretrain", filters=OFF, form="grid")
    built(source, tmp_path / "one", settings)
    monkeypatch.setattr(builder, "CHUNK_FILES", 3)
    built(source, tmp_path / "many", settings, engine=Local(2))
    assert files_of(tmp_path / "one") == files_of(tmp_path / "many")
    assert not (tmp_path / "many" / builder.WORK).exists()


def packed(folder: Path, archive: Path) -> Path:
    """The MIDI files of a folder in an archive of the kind that its name says."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    names = [p.relative_to(folder).as_posix() for p in files]
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as box:
            for path, name in zip(files, names, strict=True):
                box.write(path, name)
        return archive
    plain = archive.with_suffix(".plain") if archive.suffix == ".zst" else archive
    with tarfile.open(plain, "w:gz" if archive.suffix == ".gz" else "w") as tar:
        for path, name in zip(files, names, strict=True):
            tar.add(path, name)
    if archive.suffix == ".zst":
        import zstandard

        archive.write_bytes(zstandard.compress(plain.read_bytes()))
        plain.unlink()
    return archive


@pytest.mark.parametrize("name", ["music.tar", "music.tar.gz", "music.tar.zst", "music.zip"])
def test_an_archive_gives_what_its_folder_gives(tmp_path: Path, name: str) -> None:
    source = folder_of(tmp_path / "music")
    built(source, tmp_path / "plain")
    built(packed(source, tmp_path / name), tmp_path / "packed")
    plain, from_archive = manifest(tmp_path / "plain"), manifest(tmp_path / "packed")
    assert set(plain) == set(from_archive)
    for key, row in plain.items():
        for column in ("kept", "rule", "split", "group", "content_hash", "notes", "bytes"):
            assert from_archive[key][column] == row[column], (key, column)


def test_a_dataset_and_a_parquet_file_are_sources(tmp_path: Path) -> None:
    built(folder_of(tmp_path / "music"), tmp_path / "first")
    shards = sorted((tmp_path / "first").glob("train-*.parquet"))
    built(tmp_path / "first", tmp_path / "again")
    built(shards, tmp_path / "some")
    first, again = manifest(tmp_path / "first"), manifest(tmp_path / "again")
    kept = {key for key, row in first.items() if row["kept"]}
    assert set(again) == kept
    assert all(again[key]["split"] == first[key]["split"] for key in kept)
    assert set(manifest(tmp_path / "some")) == {k for k in kept if first[k]["split"] == "train"}
    old = dict(_music(tmp_path / "first"))
    assert all(old[key] == music for key, music in _music(tmp_path / "again"))


def _music(dataset: Path) -> list[tuple[str, tuple[Any, ...]]]:
    return [
        (row.id, (piece.onset_ms.tolist(), piece.notes.pitch.tolist(), row.metadata))
        for row, piece in read_pieces(open_dataset(dataset))
    ]


def test_a_damaged_archive_gives_what_it_holds(tmp_path: Path) -> None:
    archive = packed(folder_of(tmp_path / "music"), tmp_path / "music.tar")
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2 + 700])
    other = folder_of(tmp_path / "other", first=50)
    report = built([archive, other], tmp_path / "set")
    rows = manifest(tmp_path / "set")
    assert 12 < report.kept < 24
    assert any("damaged from here on" in row["detail"] for row in rows.values())


def test_a_fault_in_one_file_costs_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from arietta.data import scan

    real = scan.content_hash

    def faulty(piece: Piece, **options: Any) -> str:
        if piece.notes.pitch[0] == tune(3).notes.pitch[0]:
            raise ZeroDivisionError("seldom")
        return real(piece, **options)

    monkeypatch.setattr(scan, "content_hash", faulty)
    report = built(folder_of(tmp_path / "music"), tmp_path / "set")
    assert report.refused["unreadable"] >= 2
    details = [row["detail"] for row in manifest(tmp_path / "set").values()]
    assert "fault of ours: ZeroDivisionError: seldom" in details


def test_names_in_other_scripts_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "music"
    folder.mkdir()
    (folder / "Größe 夜想曲.MID").write_bytes(tune(3).to_bytes())
    assert built(folder, tmp_path / "set").kept == 1
    assert "music/Größe 夜想曲.MID" in manifest(tmp_path / "set")


def test_names_that_are_no_text_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "music"
    folder.mkdir()
    data = tune(3).to_bytes()
    name = os.fsdecode(b"caf\xe9.mid")
    with tarfile.open(tmp_path / "packed.tar", "w") as archive:  # which any file system takes
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    assert built(tmp_path / "packed.tar", tmp_path / "from-tar").kept == 1
    assert "packed/caf\\udce9.mid" in manifest(tmp_path / "from-tar")
    try:
        (folder / name).write_bytes(data)
    except OSError as error:
        if error.errno != errno.EILSEQ:  # how macOS refuses the name
            raise
        return
    assert built(folder, tmp_path / "set").kept == 1
    assert "music/caf\\udce9.mid" in manifest(tmp_path / "set")


@pytest.mark.parametrize(
    ("at", "value", "reason"),
    # Flags and method in the directory's entry.
    [(8, 1, "password"), (10, 97, "compression"), (10, 14, "music.zip")],
)
def test_members_that_zipfile_cannot_open_cost_one_row(
    tmp_path: Path, at: int, value: int, reason: str
) -> None:
    path = tmp_path / "music.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("bad.mid", "good.mid"):
            archive.writestr(name, tune(len(name)).to_bytes())
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")  # of the first file
    data[entry + at] = value
    data[data.index(b"PK\x03\x04") + at - 2] = value
    path.write_bytes(data)
    assert built(path, tmp_path / "set").kept == 1
    details = [row["detail"] for row in manifest(tmp_path / "set").values()]
    assert any("music.zip" in text and reason in text for text in details), details
    with pytest.raises(InputError, match=reason):
        list(read_members(path, ".mid"))


def test_a_zip_of_a_later_format_is_one_row(tmp_path: Path) -> None:
    path = tmp_path / "music.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good.mid", tune(3).to_bytes())
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 6] = 99  # version needed, tenths
    path.write_bytes(data)
    good = folder_of(tmp_path / "good", count=1)
    build_dataset([path, good], tmp_path / "set", NONE, engine=Local(1))
    details = [row["detail"] for row in manifest(tmp_path / "set").values()]
    assert any("version 9.9" in text for text in details), details
    with pytest.raises(InputError, match=r"version 9\.9"):
        list(read_members(path, ".mid"))


def test_an_archive_that_ends_within_its_header_costs_one_line(tmp_path: Path) -> None:
    path = tmp_path / "music.tar.gz"
    # A name, more fields and a checksum are announced, so that the header has every part.
    header = b"\x1f\x8b\x08\x1f" + bytes(6) + b"\x02\x00ab" + b"name\x00note\x00" + b"\x00\x00"
    for length in range(1, len(header) + 1):
        path.write_bytes(header[:length])
        (item,) = read_source(find_sources([path])[0])
        assert not item.data and "damaged from here on" in item.problem, length
        with pytest.raises(InputError, match="damaged, or cannot be unpacked"):
            list(read_members(path, ".mid"))


@pytest.mark.parametrize("kind", ["xz", "zst", "gz", "bz2"])
def test_packed_archives_that_are_damaged_cost_one_line(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"music.tar.{kind}"
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for i in range(30):
            noise = bytes(np.random.default_rng(i).integers(0, 8, 40_000).tolist())
            member = tarfile.TarInfo(f"{i}.mid")
            member.size = len(noise)
            archive.addfile(member, io.BytesIO(noise))
    pack = {
        "xz": lzma.compress,
        "gz": gzip.compress,
        "bz2": bz2.compress,
        "zst": zstandard.compress,
    }
    data = bytearray(pack[kind](plain.getvalue()))
    if kind == "gz":  # any bits are valid there; the checksum lies behind all that is read
        del data[len(data) // 2 :]
    else:
        data[len(data) // 2 : len(data) // 2 + 200] = b"\xff" * 200
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"music\.tar"):
        list(read_members(path, ".csv"))
    items = list(read_source(find_sources([path])[0]))
    assert items[-1].problem and all(item.problem or item.data for item in items)


# Stopped and begun again

SCRIPT = """
import sys
from pathlib import Path
from arietta.data import build as builder
from arietta.data.engines import Local
from arietta.data.settings import preset
if __name__ == "__main__":
    builder.CHUNK_FILES = 2
    settings = preset("none", rows_per_group=2, rows_per_shard=2)
    builder.build_dataset([Path(sys.argv[1])], Path(sys.argv[2]), settings, engine=Local(2))
"""


def test_killed_at_any_moment_it_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = folder_of(tmp_path / "music", count=60)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    monkeypatch.setattr(builder, "CHUNK_FILES", 2)
    settings = preset("none", rows_per_group=2, rows_per_shard=2)
    built(source, tmp_path / "whole", settings)
    out = tmp_path / "killed"
    work = out / builder.WORK
    rng = random.Random(1)
    # A few chunks, nearly all chunks, a few shards: then somewhere in between.
    moments = [("*.records", 3), ("*.records", 25), ("shards-*/*.parquet", 4)]
    killed = 0
    for pattern, count in moments:
        process = subprocess.Popen([sys.executable, script, source, out], cwd=ROOT)
        while process.poll() is None and len(list(work.glob(pattern))) < count:
            time.sleep(rng.random() / 100)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
        assert not (out / "dataset.json").exists() or process.returncode == 0
    assert killed >= 2
    before = {p.name for p in work.glob("*.records")} if work.exists() else set()
    assert len(before) >= 25
    subprocess.run([sys.executable, script, source, out], cwd=ROOT, check=True)
    assert files_of(out) == files_of(tmp_path / "whole")


class Stop(Exception):
    """Stands for a power cut."""


def test_stopped_while_finished_files_are_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = folder_of(tmp_path / "music")
    settings = preset("none", rows_per_group=2, rows_per_shard=2)
    built(source, tmp_path / "whole", settings)
    real, moved = os.replace, 0

    def replace(a: Any, b: Any) -> None:
        nonlocal moved
        moved += Path(b).parent == tmp_path / "set"
        if moved == 3:
            raise Stop
        real(a, b)

    with monkeypatch.context() as patch:
        patch.setattr(builder.os, "replace", replace)
        with pytest.raises(Stop):
            built(source, tmp_path / "set", settings)
    assert not (tmp_path / "set" / "dataset.json").exists()
    built(source, tmp_path / "set", settings)
    assert files_of(tmp_path / "set") == files_of(tmp_path / "whole")


def test_what_is_done_is_not_done_again_and_what_changed_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builder, "CHUNK_FILES", 2)
    source = folder_of(tmp_path / "music")
    real = builder.select

    def stop(*_: Any) -> Any:
        raise Stop

    monkeypatch.setattr(builder, "select", stop)
    with pytest.raises(Stop):
        built(source, tmp_path / "set")
    done: list[int] = []
    measured = builder.scan_chunk

    def counted(chunk: Any) -> int:
        done.append(len(chunk.items))
        return measured(chunk)

    monkeypatch.setattr(builder, "select", real)
    monkeypatch.setattr(builder, "scan_chunk", counted)
    (source / "part0" / "tune000.mid").write_bytes(tune(900).to_bytes())
    built(source, tmp_path / "set")
    assert done == [2]
    hashes = [row["content_hash"] for row in manifest(tmp_path / "set").values()]
    built(source, tmp_path / "fresh")
    assert hashes == [row["content_hash"] for row in manifest(tmp_path / "fresh").values()]


def test_two_nodes_of_ray_change_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(builder, "CHUNK_FILES", 3)
    source = folder_of(tmp_path / "music")
    settings = preset("pretrain", filters=OFF, form="grid")
    built(source, tmp_path / "here", settings)
    options = {"num_cpus": 1, "object_store_memory": 80 << 20}
    cluster = Cluster(initialize_head=True, head_node_args=options)
    try:
        cluster.add_node(**options)
        cluster.wait_for_nodes()
        engine = Ray(cluster.address)
        assert sum(node["Alive"] for node in ray.nodes()) == 2
        built(source, tmp_path / "there", settings, engine=engine)
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert files_of(tmp_path / "here") == files_of(tmp_path / "there")


# Duplicates, works, splits


def variants(folder: Path) -> Path:
    folder.mkdir()
    piece = tune(1, 400)
    onset, notes = np.rint(piece.onset_ms), piece.notes
    length = np.rint(piece.duration_ms)

    def save(name: str, shift: float = 0, key: int = 0, speed: float = 1, take: int = 400) -> None:
        part = slice(400 - take, None)
        Piece.from_ms(
            (onset[part] + shift) * speed,
            length[part] * speed,
            notes.pitch[part].astype(int) + key,
            notes.velocity[part],
        ).save(folder / f"{name}.mid")

    save("a")
    save("b_later", shift=2000)
    save("c_higher", key=2)
    save("d_slower", speed=2)
    save("e_cut", take=300)
    tune(2, 400).save(folder / "f_other.mid")
    return folder


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        ({"dedup": "none"}, {}),
        ({"dedup": "exact"}, {"b_later": "duplicate"}),
        (
            {"dedup": "exact", "any_key": True},
            {"b_later": "duplicate", "c_higher": "duplicate"},
        ),
        (
            {"dedup": "exact", "any_tempo": True},
            {"b_later": "duplicate", "d_slower": "duplicate"},
        ),
        ({"dedup": "recordings"}, {"b_later": "duplicate", "e_cut": "same_recording"}),
    ],
)
def test_duplicates_are_refused_as_far_as_asked(
    tmp_path: Path, settings: dict[str, Any], refused: dict[str, str]
) -> None:
    source = variants(tmp_path / "music")
    built(source, tmp_path / "set", preset("none", **settings))
    rows = manifest(tmp_path / "set")
    found = {Path(key).stem: row["rule"] for key, row in rows.items() if row["rule"]}
    assert found == refused
    for key in refused:
        assert rows[f"music/{key}.mid"]["duplicate_of"] == "music/a.mid"


def test_files_of_one_work_share_a_split_and_are_capped(tmp_path: Path) -> None:
    source = variants(tmp_path / "music")
    settings = preset("none", dedup="none", compositions=True)
    built(source, tmp_path / "all", settings)
    rows = manifest(tmp_path / "all")
    # The same notes in another key are no more the same sequences.
    same = {rows[f"music/{n}.mid"]["group"] for n in ("a", "b_later", "d_slower", "e_cut")}
    assert len(same) == 1
    assert rows["music/f_other.mid"]["group"] not in same
    built(source, tmp_path / "one", preset("none", dedup="none", compositions=True, cap_per_work=1))
    capped = [k for k, row in manifest(tmp_path / "one").items() if row["rule"]]
    assert len(capped) == 3
    assert {manifest(tmp_path / "one")[k]["rule"] for k in capped} == {"too_many_of_a_work"}


def test_composers_with_many_tagged_files_are_capped(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "music", count=12)
    table = {
        f"tune{i:03d}": {
            "composer": "Chopin" if i < 10 else "Ravel",
            "opus": "28" if i < 9 else "",
            "piece_number": str(i % 2) if i < 9 else "",
        }
        for i in range(12)
    }
    path = tmp_path / "about.json"
    path.write_text(json.dumps(table))
    settings = preset("none", cap_limit=8, cap_per_work=3)
    built(source, tmp_path / "set", settings, metadata=path)
    rows = {Path(k).stem: r["rule"] for k, r in manifest(tmp_path / "set").items()}
    gone = {name for name, rule in rows.items() if rule == "too_many_of_a_work"}
    # Five pieces with number 0, four with number 1, one untagged of the same composer.
    assert len(gone) == 2 + 1 + 1
    assert "tune009" in gone
    assert not rows["tune010"] and not rows["tune011"]


def corpus(folder: Path) -> Path:
    """A folder with a manifest, one shard, and a shard that is missing."""
    folder.mkdir()
    music = folder_of(folder / "unpacked")
    packed(music, folder / "x.tar.zst")
    rows = []
    for i in range(12):
        rows.append(
            {
                "id": f"x:{i}",
                "shard": "x.tar.zst",
                "path": f"part{i % 3}/tune{i:03d}.mid",
                "split": ("train", "test")[i % 2],
                "piece_id": f"p{i // 4 * 2 + i % 2}",
                "composer": "Ludwig van Beethoven",
                "kind": "score" if i == 4 else "performance",
                "dup_of": "x:0" if i == 6 else "",
            }
        )
    rows.append({**rows[0], "id": "y:0", "split": "", "piece_id": ""})
    rows.append({**rows[1], "id": "x:gone", "path": "nowhere.mid"})
    rows.append({**rows[1], "id": "z:0", "shard": "z.tar.zst"})
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def test_a_corpus_keeps_its_splits_and_tells_what_is_missing(tmp_path: Path) -> None:
    source = corpus(tmp_path / "corpus")
    settings = preset("none", exclude=(("kind", "score"),))
    built(source, tmp_path / "set", settings)
    rows = manifest(tmp_path / "set")
    assert len(rows) == 15
    for i in range(12):
        row = rows[f"x:{i}"]
        if row["kept"]:
            assert row["split"] == ("train", "test")[i % 2]
            assert row["group"] == f"p{i // 4 * 2 + i % 2}"
            texts = {one["key"]: one["value"] for one in row["metadata"]}
            assert texts["composer"] == "beethoven"
            assert texts["composer_name"] == "Ludwig van Beethoven"
    assert rows["x:4"]["rule"] == "excluded"
    assert (rows["x:6"]["rule"], rows["x:6"]["duplicate_of"]) == ("known_duplicate", "x:0")
    assert rows["x:gone"]["detail"] == "not in x.tar.zst"
    assert "not there" in rows["z:0"]["detail"]
    # A row without a group of its own, with the music of one that has: it follows that one.
    assert (rows["y:0"]["group"], rows["y:0"]["split"]) == ("p0", "train")
    # One archive of the corpus, by its name, knows its rows as well.
    built(source / "x.tar.zst", tmp_path / "part", settings)
    assert set(manifest(tmp_path / "part")) == set(rows) - {"z:0"}


def test_the_same_source_twice_gets_new_names(tmp_path: Path) -> None:
    source = corpus(tmp_path / "corpus")
    built([source, source], tmp_path / "set", preset("none", dedup="none"))
    rows = manifest(tmp_path / "set")
    assert len(rows) == 30
    assert "corpus-2:x:3" in rows
    assert rows["corpus-2:x:3"]["group"] == rows["x:3"]["group"]


# Wrong use


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "music")
    built(source, tmp_path / "set")
    before = files_of(tmp_path / "set")
    with pytest.raises(OutputError, match="`force=True`"):
        built(source, tmp_path / "set", preset("none", form="grid"))
    assert files_of(tmp_path / "set") == before
    built(source, tmp_path / "set", preset("none", form="grid"), force=True)
    assert len(list(read_grid(open_dataset(tmp_path / "set")))) == 12
    built(source, tmp_path / "fresh", preset("none", form="grid"))
    assert files_of(tmp_path / "set") == files_of(tmp_path / "fresh")
    with pytest.raises(OutputError, match="not empty"):
        built(source, source)


def test_two_builds_of_one_dataset_do_not_meet(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    work = tmp_path / "set" / builder.WORK
    work.mkdir(parents=True)
    with (work / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(OutputError, match="another process"):
            built(folder_of(tmp_path / "music"), tmp_path / "set")


def test_useless_sources_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("no")
    with pytest.raises(InputError, match="no MIDI files"):
        built(tmp_path / "empty", tmp_path / "a")
    with pytest.raises(InputError, match="no such file"):
        built(tmp_path / "none", tmp_path / "b")
    with pytest.raises(InputError, match="not a source"):
        built(tmp_path / "text.txt", tmp_path / "c")
    with pytest.raises(UsageError, match="name a folder"):
        built([], tmp_path / "d")
    short = folder_of(tmp_path / "music")
    with pytest.raises(InputError, match=r"none of 14 files can be kept: length 13"):
        built(short, tmp_path / "e", preset("none", filters=with_setting(OFF, "length=90:900")))
    assert not any((tmp_path / name).exists() for name in "abcde")


@pytest.mark.parametrize(
    "changes",
    [
        {"form": "midi"},
        {"dedup": "some"},
        {"any_key": True, "dedup": "known"},
        {"fractions": {"train": 0.5}},
        {"cap_per_work": 0},
        {"rows_per_group": 0},
    ],
)
def test_settings_that_contradict_themselves(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        preset("pretrain", **changes)


def test_a_worker_that_dies_is_told_in_one_line() -> None:
    from arietta.errors import AriettaError

    with pytest.raises(AriettaError, match="goes on where it stopped"):
        list(Local(2).run(os._exit, [3]))


# What is in it


def test_stats_count_what_the_shards_hold(tmp_path: Path) -> None:
    from arietta.tokenizers.aria import AriaTokenizer

    dataset = tmp_path / "set"
    built(folder_of(tmp_path / "music"), dataset, preset("none", form="grid"))
    stats = dataset_stats(dataset)
    rows = list(read_grid(open_dataset(dataset)))
    assert stats.inputs == 14 and stats.kept.files == len(rows) == 12
    assert stats.kept.notes == sum(len(notes) for _, notes in rows)
    assert sum(a.files for a in stats.by_split.values()) == 12
    assert {rule: a.files for rule, a in stats.refused.items()} == {"no_notes": 1, "unreadable": 1}
    tokenizer = AriaTokenizer("piano")
    exact = sum(len(tokenizer.encode(tune(i))) for i in range(12))
    assert abs(stats.kept.tokens - exact) <= 12
    seconds = sum((tune(i).end_ms - tune(i).onset_ms[0]) / 1000 for i in range(12))
    assert stats.kept.hours == pytest.approx(seconds / 3600, abs=1e-3)
    draw_stats(dataset, tmp_path / "stats.png")
    assert (tmp_path / "stats.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(OutputError, match="exists"):
        draw_stats(dataset, tmp_path / "stats.png")
