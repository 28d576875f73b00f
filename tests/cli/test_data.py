"""``arietta data``: what a person sees of building and counting."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .conftest import Command


@pytest.fixture
def desk(tmp_path: Path, prompts_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(prompts_dir, tmp_path / "midi")
    (tmp_path / "midi" / "bad.mid").write_text("no")
    return tmp_path


def test_a_dataset_and_its_figures(desk: Path, arietta: Command) -> None:
    prompts = len(list((desk / "midi").glob("*.mid"))) - 1
    done = arietta("data", "build", "midi", "-o", "set", "--workers", 1, "--json")
    assert done.code == 0, done.err
    assert done.json["kept"] == prompts and done.json["refused"] == {"unreadable": 1}
    done = arietta("data", "stats", "set")
    assert done.code == 0
    assert "refused by" in done.out and "unreadable" in done.out
    done = arietta("data", "stats", "set", "--json", "--png", "set.png")
    assert done.json["kept"]["files"] == prompts
    assert (desk / "set.png").stat().st_size > 10_000
    done = arietta("data", "build", "midi", "-o", "set")
    assert (done.code, done.out) == (1, "") and "--force" in done.err


def test_settings_reach_the_build(desk: Path, arietta: Command) -> None:
    call = "data build midi -o set --workers 1 --form grid --splits train=0.5,valid=0.5"
    done = arietta(*call.split(), "--filter", "length=60:900", "--per-work", 0)
    assert done.code == 0, done.err
    assert "refused by length" in done.out
    assert {p.name for p in (desk / "set").glob("*.parquet")} == {
        "manifest.parquet",
        "train-00000.parquet",
        "valid-00000.parquet",
    }


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [
        ("build midi", 2, "--out"),
        ("build none -o set", 1, "none: no such"),
        ("build midi -o midi", 1, "not empty"),
        ("build midi -o midi/bad.mid", 1, "is a file"),
        ("build midi -o set --preset wild", 2, "pretrain, finetune, none"),
        ("build midi -o set --form wav", 2, "'pieces', 'grid'"),
        ("build midi -o set --filter size=3", 2, "max_programs"),
        ("build midi -o set --filter length=3", 2, "30:7200"),
        ("build midi -o set --exclude score", 2, "FIELD=VALUE"),
        ("build midi -o set --splits train=half", 2, "half"),
        ("build midi -o set --splits train=0.5", 2, "add up"),
        ("build midi -o set --dedup all", 2, "recordings"),
        ("build midi -o set --any-key --dedup none", 2, "exact"),
        ("build midi -o set --engine spark", 2, "local or ray"),
        ("build midi -o set --compat mido", 2, "aria"),
        ("build midi -o set --workers 0", 2, "--workers"),
        ("build midi -o set --metadata none.csv", 1, "none.csv"),
        ("build midi -o set --filter max_programs=0", 1, "none of"),
        ("stats midi", 1, "dataset.json"),
        ("stats none", 1, "none"),
    ],
)
def test_what_cannot_be_done_is_said(
    desk: Path, arietta: Command, call: str, code: int, words: str
) -> None:
    before = sorted(desk.rglob("*"))
    done = arietta("data", *call.split())
    assert (done.code, done.out) == (code, "")
    assert words in done.err and len(done.err.splitlines()) == 1
    assert sorted(desk.rglob("*")) == before


def test_a_missing_manifest_and_a_cut_one(desk: Path, arietta: Command) -> None:
    assert arietta("data", "build", "midi", "-o", "set", "--workers", 1).code == 0
    path = desk / "set" / "manifest.parquet"
    path.write_bytes(path.read_bytes()[:100])
    done = arietta("data", "stats", "set")
    assert done.code == 1 and "not a readable manifest" in done.err
    path.unlink()
    assert arietta("data", "stats", "set").code == 1
