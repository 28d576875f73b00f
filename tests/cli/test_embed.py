"""``arietta embed``, ``index``, ``search``, ``map`` and ``evaluate probe``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from arietta.models.aria import checkpoint as aria_checkpoint
from arietta.models.aria.config import AriaConfig
from arietta.vectors import collection, embedding

from .conftest import Command


@pytest.fixture
def desk(tmp_path: Path, prompts_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three pieces, a broken one, labels, and a tiny model as the default."""
    config = AriaConfig(d_model=32, n_heads=1, n_layers=1, vocab_size=2_565, max_seq_len=512)
    rng = np.random.default_rng(0)
    tensors = {
        n: rng.standard_normal(shape, np.float32) for n, shape in config.tensor_shapes().items()
    }
    tiny = aria_checkpoint.save(tmp_path / "tiny", config, tensors, name="tiny")
    monkeypatch.setattr(embedding, "default_model", lambda: str(tiny))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "music").mkdir()
    for name in ("waltz", "nocturne", "classical"):
        data = (prompts_dir / f"{name}.mid").read_bytes()
        (tmp_path / "music" / f"{name}.mid").write_bytes(data)
    (tmp_path / "music" / "broken.mid").write_text("dear diary")
    (tmp_path / "there.npz").write_text("mine")
    (tmp_path / "there.html").write_text("mine")
    return tmp_path


def test_embed(arietta: Command, desk: Path) -> None:
    done = arietta("embed", "music", "-o", "a.npz", "--chunks", "--json")
    assert done.code == 0, done.err
    assert done.json["pieces"] == 3 and done.json["refused"][0]["file"] == "music/broken.mid"
    with np.load("a.npz") as arrays:
        assert arrays["embeddings"].shape == (3, 32)
        assert arrays["paths"].tolist() == [
            f"music/{n}.mid" for n in ("classical", "nocturne", "waltz")
        ]
        before = arrays["embeddings"]
        mean = [arrays["chunk_embeddings"][arrays["chunk_piece"] == i].mean(0) for i in range(3)]
    np.testing.assert_allclose(before, mean, rtol=1e-5)
    (desk / "music" / "waltz.mid").rename(desk / "music" / "walzer.mid")
    done = arietta("embed", "music", "-o", "b.npz", "--update", "a.npz")
    assert done.code == 0 and "3 pieces" in done.out and "1 files left out" in done.out
    with np.load("b.npz") as arrays:
        np.testing.assert_array_equal(arrays["embeddings"], before)
        assert "chunk_embeddings" not in arrays
    done = arietta("embed", "music/walzer.mid", "-o", "b.npz", "--update", "b.npz", "--json")
    assert done.json["pieces"] == 1
    done = arietta("embed", "music", "-o", "full.npz", "--full", "--json")
    assert done.json["size"] == 64 and done.json["pooling"] == "full"
    with np.load("full.npz") as arrays:
        # Of a model without a head for it: the mean as before, and the deviation behind it.
        np.testing.assert_allclose(arrays["embeddings"][:, :32], before, atol=1e-5)
        assert (arrays["embeddings"][:, 32:] > 0).all()
    done = arietta("embed", "music", "-o", "moved.npz", "--transposed", "12", "--json")
    assert done.json["pieces"] == 6
    refused = arietta("embed", "music", "-o", "b.npz", "--full", "--update", "a.npz", "--force")
    assert refused.code == 2 and "in another way" in refused.err
    assert not list(desk.glob(".*"))


def test_a_stopped_embed_goes_on(
    arietta: Command, desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "_BATCH_TOKENS", 1)
    whole = collection._entry
    count = 0

    def stop(*args: object) -> object:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return whole(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(collection, "_entry", stop)
    done = arietta("embed", "music", "-o", "a.npz")
    assert done.code == 130 and "goes on from there" in done.err
    assert not (desk / "a.npz").exists()
    done = arietta("embed", "music", "-o", "a.npz")
    assert done.code == 0 and "went on from" in done.out and not list(desk.glob(".*"))


def test_index_and_search(arietta: Command, desk: Path) -> None:
    done = arietta("index", "music", "-o", "i", "--json")
    assert done.code == 0, done.err
    assert done.json["pieces"] == 3 and list(done.json["refused"]) == ["music/broken.mid"]
    done = arietta("search", "music/waltz.mid", "--in", "i", "--itself", "--json")
    assert done.code == 0, done.err
    first, *others = done.json["hits"]
    assert first["path"] == "music/waltz.mid" and first["score"] > 0.999 and len(others) == 2
    assert first["match"]["start_ms"] == first["match"]["query_start_ms"]
    done = arietta("search", "music/waltz.mid", "--in", "i", "-n", 1)
    head, row = done.out.splitlines()
    assert "like there" in head and "waltz" not in row and "semitones" not in head
    done = arietta("search", "music/waltz.mid", "--in", "i", "--by", "notes", "--itself", "--json")
    assert done.json["sense"] == "notes" and done.json["hits"][0]["path"] == "music/waltz.mid"
    done = arietta("search", "music/waltz.mid", "--in", "i", "--by", "notes", "--itself")
    assert "semitones" in done.out.splitlines()[0]
    (desk / "music" / "waltz.mid").unlink()
    done = arietta("index", "-o", "i", "--prune", "--json")
    assert done.json["removed"] == ["music/waltz.mid"] and done.json["pieces"] == 2
    done = arietta("index", "-o", "i", "--remove", "music/nocturne.mid")
    assert "1 pieces (1 removed)" in done.out


def test_map(arietta: Command, desk: Path) -> None:
    done = arietta("map", "music", "-o", "m.html", "--json")
    assert done.code == 0, done.err
    assert done.json["written"] == ["m.html", "m.png"] and done.json["pieces"] == 3
    assert "const data = {" in (desk / "m.html").read_text(encoding="utf-8")
    assert (desk / "m.png").read_bytes()[:4] == b"\x89PNG"
    assert arietta("embed", "music", "-o", "a.npz").code == 0
    done = arietta("map", "a.npz", "-o", "n.html", "--no-png", "--colour", "minutes", "--json")
    assert done.json["written"] == ["n.html"] and done.json["colour"] == "minutes"


def test_probe_of_a_table(arietta: Command, desk: Path, prompts_dir: Path) -> None:
    rows = ["path,label,group"]
    for i in range(10):
        name = f"{i}.mid"
        source = ("waltz", "smooth_jazz")[i % 2]
        (desk / name).write_bytes((prompts_dir / f"{source}.mid").read_bytes() + b"\0" * i)
        rows.append(f"{name},{source},{i}")
    rows.append("music/broken.mid,waltz,10")
    (desk / "l.csv").write_text("\n".join(rows))
    words = ["evaluate", "probe", "l.csv", "--splits", 5, "--cache", "c", "-o", "r.md"]
    done = arietta(*words, "--json")
    assert done.code == 0, done.err
    assert done.json["files"] == 10 and done.json["refused"][0]["file"] == "music/broken.mid"
    figures = {(r["vectors"], r["probe"]): r["accuracy"]["mean"] for r in done.json["rows"]}
    assert figures["tiny, full and floor", "logistic"] == 1
    assert figures["tiny, full", "logistic"] == figures["tiny", "logistic"] == 1
    assert figures["floor: 101 histogram numbers", "logistic"] == 1
    assert json.loads((desk / "r.json").read_text()) == done.json
    assert "| tiny | logistic |" in (desk / "r.md").read_text()
    assert len(list((desk / "c").iterdir())) == 1
    done = arietta(*words[:-2], "--limit", 3)
    assert done.code == 0 and "5 files in 5 groups" in done.out


BAD = [
    ("embed music/broken.mid -o a.npz", 1, "nothing to embed"),
    ("embed nothing -o a.npz", 1, "no such file"),
    ("embed music -o a.txt", 2, ".npz"),
    ("embed music -o there.npz", 1, "--force"),
    ("embed music -o a.npz --update there.npz", 1, "not a collection"),
    ("embed music -o a.npz --precision int2", 2, "'int8', 'int4'"),
    ("embed music -o a.npz --model nobody", 1, "nobody"),
    ("index music", 2, "-o INDEX"),
    ("index -o i", 2, "nothing to do"),
    ("index -o i --prune", 1, "no index here"),
    ("index music -o music", 1, "is no index"),
    ("search music/waltz.mid --in i", 1, "no index here"),
    ("search music/broken.mid --in i", 1, "not a MIDI file"),
    ("search music/waltz.mid --in i --by colour", 2, "--by"),
    ("map music -o there.html", 1, "--force"),
    ("map music -o m.svg", 2, ".html"),
    ("map music/waltz.mid -o m.html --colour depth", 2, "minutes"),
    ("map music/broken.mid -o m.html", 1, "no piece"),
    ("evaluate probe nothing music", 2, "no benchmark"),
    ("evaluate probe vgmidi music", 1, "204 files"),
    ("evaluate probe vgmidi", 2, "FOLDER"),
    ("evaluate probe none.csv", 1, "none.csv"),
    ("evaluate probe vgmidi music -o a.txt", 2, ".md"),
]


@pytest.mark.parametrize(("command", "code", "words"), BAD, ids=[row[0] for row in BAD])
def test_bad_requests(arietta: Command, desk: Path, command: str, code: int, words: str) -> None:
    before = sorted(desk.iterdir())
    done = arietta(*command.split())
    assert done.code == code, done.err
    *notes, last = done.err.splitlines()
    assert last.startswith("arietta: error: ") and words in last and "fault of ours" not in last
    assert all("left out" in line for line in notes)
    assert not done.out and sorted(desk.iterdir()) == before
    assert (desk / "there.npz").read_text() == (desk / "there.html").read_text() == "mine"
