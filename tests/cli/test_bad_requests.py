"""Requests that cannot be served: one clear line, the right exit code, nothing half-written."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest

from .conftest import Command

BAD = [
    # command, exit code, words of the message
    ("generate none.mid -o out.mid", 1, "none.mid"),
    ("generate text.mid -o out.mid", 1, "text.mid"),
    ("generate empty.mid -o out.mid", 1, "no notes"),
    ("generate waltz.mid -o there.mid", 1, "--force"),
    ("generate waltz.mid -o out.mid --wav", 1, "out.wav: exists"),
    ("generate waltz.mid -o var.mid --variations 2", 1, "var-2.mid: exists"),
    ("generate waltz.mid -o no/out.mid", 1, "make it first"),
    ("generate waltz.mid -o folder.mid", 1, "is a directory"),
    ("generate waltz.mid -o out.wav", 2, "call it out.mid"),
    ("generate waltz.mid -o out.mid --model smal", 1, "did you mean small"),
    ("generate waltz.mid -o out.mid --model text.safetensors", 1, "text.safetensors"),
    ("generate waltz.mid -o out.mid --model other", 1, "other"),
    ("generate waltz.mid -o out.mid --model cut-short", 1, "cut-short"),
    ("generate waltz.mid -o out.mid --model flipped", 1, "flipped"),
    ("generate waltz.mid -o out.mid --model no-tensors", 1, "no-tensors"),
    ("generate waltz.mid -o out.mid --draft nothing-like-it", 1, "no model called"),
    ("generate waltz.mid -o out.mid --temperature -1", 2, "--temperature"),
    ("generate waltz.mid -o out.mid --temperature hot", 2, "--temperature"),
    ("generate waltz.mid -o out.mid --temperature nan", 2, "--temperature"),
    ("generate waltz.mid -o out.mid --min-p 2", 2, "--min-p"),
    ("generate waltz.mid -o out.mid --top-p 0", 2, "--top-p"),
    ("generate waltz.mid -o out.mid --density 0", 2, "--density"),
    ("generate waltz.mid -o out.mid --density 2 --no-grammar", 2, "grammar"),
    ("generate waltz.mid -o out.mid --preset wild", 2, "faithful"),
    ("generate waltz.mid -o out.mid --precision int3", 2, "int8"),
    ("generate waltz.mid -o out.mid --seconds 0", 2, "--seconds"),
    ("generate waltz.mid -o out.mid --seconds inf", 2, "--seconds"),
    ("generate waltz.mid -o out.mid --bars -1", 2, "--bars"),
    ("generate waltz.mid -o out.mid --bars 4 --seconds 9", 2, "--bars"),
    ("generate waltz.mid -o out.mid --prompt-seconds 0", 2, "--prompt-seconds"),
    ("generate waltz.mid -o out.mid --variations 0", 2, "--variations"),
    ("generate waltz.mid -o out.mid --seed -1", 2, "--seed"),
    ("generate waltz.mid -o out.mid --threads 0", 2, "--threads"),
    ("generate waltz.mid -o out.mid --style zappa", 1, "zappa"),
    ("generate -o out.mid --bars 4", 2, "--bars"),
    ("generate -o out.mid --prompt-seconds 4", 2, "--prompt-seconds"),
    ("generate waltz.mid nocturne.mid", 2, "nocturne.mid"),
    ("generate waltz.mid -o out.mid --colour blue", 2, "--colour"),
    ("tokenize none.mid", 1, "none.mid"),
    ("tokenize waltz.mid --tokenizer pianola", 2, "aria-full"),
    ("tokenize empty.mid", 1, "note"),
    ("tokenize waltz.mid --prefix zappa", 1, "zappa"),
    ("tokenize folder.mid", 1, "folder.mid"),
    ("detokenize ids.json -o there.mid", 1, "--force"),
    ("detokenize ids.json -o no/out.mid", 1, "make it first"),
    ("detokenize none.json -o out.mid", 1, "none.json"),
    ("detokenize waltz.mid -o out.mid", 1, "waltz.mid"),
    ("detokenize ids.json", 2, "--output"),
    ("info none.mid", 1, "none.mid"),
    ("info text.mid", 1, "text.mid"),
    ("info cut.mid", 1, "byte"),
    ("synth none.mid", 1, "none.mid"),
    ("synth waltz.mid -o there.wav", 1, "--force"),
    ("synth waltz.mid -o out.aac", 2, ".flac"),
    ("synth waltz.mid -o a.wav --sample-rate 11025", 2, "44100"),
    ("synth waltz.mid -o a.mp3 --sample-rate 96000", 2, "MP3"),
    ("synth cut.mid -o a.wav", 1, "cut.mid"),
    ("play none.mid", 1, "none.mid"),
    ("play waltz.mid -o no/a.wav", 1, "make it first"),
    ("models info nothing", 1, "no model called"),
    ("models info text.safetensors", 1, "text.safetensors"),
    ("models info other", 1, "other"),
    ("models frobnicate", 2, "frobnicate"),
    ("models convert small", 1, "exists"),
    ("models convert small --to public", 1, "file name"),
    ("bench nothing", 2, "nothing"),
]


@pytest.fixture
def folder(tmp_path: Path, prompts_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with good files and bad ones."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARIETTA_HOME", str(tmp_path / "home"))
    waltz = (prompts_dir / "waltz.mid").read_bytes()
    (tmp_path / "waltz.mid").write_bytes(waltz)
    (tmp_path / "nocturne.mid").write_bytes((prompts_dir / "nocturne.mid").read_bytes())
    (tmp_path / "cut.mid").write_bytes(waltz[:13])
    (tmp_path / "text.mid").write_text("dear diary")
    (tmp_path / "text.safetensors").write_text("dear diary")
    (tmp_path / "empty.mid").write_bytes(b"MThd\0\0\0\6\0\0\0\1\1\xe0MTrk\0\0\0\4\0\xff\x2f\0")
    for name in ("there.mid", "there.wav", "out.wav", "var-2.mid"):
        (tmp_path / name).write_bytes(b"mine")
    (tmp_path / "folder.mid").mkdir()
    (tmp_path / "ids.json").write_text('{"ids": [6, 0, 1085, 17227, 16893, 1]}')
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text(json.dumps({"format": "arietta-1", "architecture": "gpt"}))
    (other / "model.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    small = prompts_dir.parent / "small"
    tensors = bytearray((small / "model.safetensors").read_bytes())
    half = bytes(tensors[: len(tensors) // 2])
    tensors[len(tensors) // 2] ^= 0x40
    for name, data in (("cut-short", half), ("flipped", bytes(tensors)), ("no-tensors", None)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_bytes((small / "config.json").read_bytes())
        if data is not None:
            (tmp_path / name / "model.safetensors").write_bytes(data)
    mine = tmp_path / "home" / "models" / "small"
    mine.mkdir(parents=True)
    (mine / "config.json").write_text("{}")
    return tmp_path


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and "home" not in p.relative_to(folder).parts
    }


@pytest.mark.parametrize(("command", "code", "words"), BAD, ids=[row[0] for row in BAD])
def test_one_line_and_nothing_written(
    arietta: Command, folder: Path, command: str, code: int, words: str
) -> None:
    before = files(folder)
    done = arietta(*command.split())
    assert done.code == code, done.err
    assert done.err.startswith("arietta: error: ") and done.err.count("\n") == 1
    assert words in done.err
    assert "fault of ours" not in done.err and not done.out
    assert files(folder) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_without_permission(arietta: Command, folder: Path) -> None:
    locked = folder / "locked"
    locked.mkdir(mode=0o500)
    done = arietta("synth", "waltz.mid", "-o", locked / "a.wav")
    assert done.code == 1 and "cannot be written" in done.err


def test_a_full_disk(arietta: Command, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def full(path: object, mode: str = "r", *args: object, **kwargs: object) -> object:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = files(folder)
    monkeypatch.setattr(os, "link", full)
    done = arietta("detokenize", "ids.json", "-o", "out.mid")
    assert done.code == 1 and "No space left" in done.err
    assert files(folder) == before
